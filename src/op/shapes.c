/* SPDX-License-Identifier: Apache-2.0 */
#include "op/shapes.h"

#include "base/alloc.h"
#include "op/order.h"
#include "op/shape_rules.h"
#include "wire/proto.h"

typedef struct known {
  const amct_node *node;
  amct_shape first;
  amct_shape *rest; /* outputs 1, 2, ...; NULL: unknown */
} known;

struct amct_shapes {
  size_t count;
  known *at; /* by node index */
  amct_arena arena;
};

amct_shape amct_shape_unknown(void) {
  return (amct_shape){.rank = -1};
}

amct_shape amct_shape_of_rank(int64_t rank) {
  amct_shape shape = {.rank = -1};
  if (rank < 0 || rank > AMCT_RANK_MAX) return shape;
  shape.rank = (int32_t)rank;
  for (int32_t i = 0; i < shape.rank; i++)
    shape.dims[i] = -1;
  return shape;
}

amct_shape amct_shape_join(const amct_shape *a, const amct_shape *b) {
  amct_shape joined = *a;
  if (a->rank != b->rank) return amct_shape_unknown();
  for (int32_t i = 0; i < a->rank; i++)
    if (a->dims[i] != b->dims[i]) joined.dims[i] = -1;
  return joined;
}

amct_shape amct_shape_fill(const amct_shape *a, const amct_shape *b) {
  amct_shape filled = *a;
  if (a->rank < 0) return *b;
  if (a->rank != b->rank) return filled;
  for (int32_t i = 0; i < a->rank; i++)
    if (a->dims[i] < 0) filled.dims[i] = b->dims[i];
  return filled;
}

amct_shape amct_shapes_of(const amct_shapes *shapes, amct_edge edge) {
  const known *k;
  if (!edge.node || edge.port < 0 || edge.node->index >= shapes->count)
    return amct_shape_unknown();
  k = &shapes->at[edge.node->index];
  if (k->node != edge.node) return amct_shape_unknown();
  if (edge.port == 0) return k->first;
  return k->rest ? *k->rest : amct_shape_unknown();
}

amct_shape amct_shape_input(const amct_shape_call *call, int64_t i) {
  if (i < 0) i += call->node->data_count;
  if (i < 0 || i >= call->node->data_count) return amct_shape_unknown();
  if (call->given) return i == 0 ? *call->given : amct_shape_unknown();
  return amct_shapes_of(call->shapes, call->node->inputs[i]);
}

bool amct_shape_values(amct_shape_call *call, int64_t i, amct_ints *values) {
  amct_arena scratch = {0};
  amct_error local = {0};
  amct_tensor tensor;
  const int64_t *at = NULL;
  amct_node *source;
  bool is_const, found = false;

  if (i < 0) i += call->node->data_count;
  if (i < 0 || i >= call->node->data_count) return false;
  source = amct_param_source(call->node->inputs[i], &is_const);
  if (!source || !is_const) return false;
  if (amct_const_tensor(source, &tensor, &local) == AMCT_OK &&
      tensor.count <= AMCT_SHAPE_VALUES_MAX &&
      amct_tensor_ints(&tensor, &scratch, &at, source, &local) == AMCT_OK) {
    values->count = tensor.count;
    for (size_t k = 0; k < tensor.count; k++)
      values->at[k] = at[k];
    found = true;
  }
  if (local.status == AMCT_OUT_OF_MEMORY) call->status = amct_fail_memory(call->err);
  amct_arena_free(&scratch);
  return found;
}

bool amct_axis_wrap(int64_t value, int32_t limit, int32_t *axis) {
  if (value < -(int64_t)limit || value >= limit) return false;
  *axis = (int32_t)(value < 0 ? value + limit : value);
  return true;
}

bool amct_shape_axis(amct_shape_call *call, int64_t i, int32_t limit, int32_t *axis) {
  amct_ints values;
  if (!amct_shape_values(call, i, &values) || values.count != 1) return false;
  return amct_axis_wrap(values.at[0], limit, axis);
}

static bool read_shape(amct_slice message, amct_shape *shape);

/* Output shapes 0 and 1 that the writer of the graph left in `_output_shapes`: a list of
 * TensorShapeProto. */
static void written_shapes(const amct_node *node, amct_shape *first, amct_shape *rest) {
  amct_slice raw, list = {0};
  amct_field field;
  bool more = true;
  size_t n = 0;

  if (!amct_attr_raw(node, "_output_shapes", &raw)) return;
  for (amct_cursor c = amct_cursor_of(raw, raw.data);
       amct_cursor_next(&c, &field, &more, NULL) == AMCT_OK && more;)
    if (field.number == ATTR_LIST && field.wire == AMCT_WIRE_BYTES) list = field.bytes;
  for (amct_cursor c = amct_cursor_of(list, list.data);
       n < 2 && amct_cursor_next(&c, &field, &more, NULL) == AMCT_OK && more;) {
    amct_shape shape;
    if (field.number != ATTR_SHAPE || field.wire != AMCT_WIRE_BYTES) continue;
    if (read_shape(field.bytes, &shape)) *(n ? rest : first) = shape;
    n++;
  }
}

static int64_t read_dim(amct_slice message) {
  amct_field field;
  bool more = true;
  int64_t size = 0; /* protobuf leaves zeros out */
  for (amct_cursor c = amct_cursor_of(message, message.data);
       amct_cursor_next(&c, &field, &more, NULL) == AMCT_OK && more;)
    if (field.number == DIM_SIZE && field.wire == AMCT_WIRE_VARINT)
      size = (int64_t)field.varint;
  return size < 0 ? -1 : size;
}

static bool read_shape(amct_slice message, amct_shape *shape) {
  amct_field field;
  bool more = true;
  amct_shape read = {.rank = 0};

  for (amct_cursor c = amct_cursor_of(message, message.data);
       amct_cursor_next(&c, &field, &more, NULL) == AMCT_OK && more;) {
    if (field.number == SHAPE_UNKNOWN_RANK && field.varint) return false;
    if (field.number != SHAPE_DIM || field.wire != AMCT_WIRE_BYTES) continue;
    if (read.rank == AMCT_RANK_MAX) return false;
    read.dims[read.rank++] = read_dim(field.bytes);
  }
  *shape = read;
  return true;
}

static amct_status infer_node(amct_shapes *shapes, const amct_node *node,
                              amct_error *err) {
  const amct_op *op = amct_op_find(node->op);
  amct_shape first = amct_shape_unknown(), rest = amct_shape_unknown();
  known *slot = &shapes->at[node->index];
  amct_shape_call call = {.node = node,
                          .shapes = shapes,
                          .first = first,
                          .rest = rest,
                          .status = AMCT_OK,
                          .err = err};

  if (op) op->shape->infer(&call);
  AMCT_TRY(call.status);
  written_shapes(node, &first, &rest); /* only adds to what we know */
  slot->first = amct_shape_fill(&call.first, &first);
  rest = amct_shape_fill(&call.rest, &rest);
  if (rest.rank < 0) return AMCT_OK;
  slot->rest = amct_arena_alloc(&shapes->arena, sizeof *slot->rest);
  if (!slot->rest) return amct_fail_memory(err);
  *slot->rest = rest;
  return AMCT_OK;
}

amct_status amct_shapes_infer(amct_shapes **out, const amct_graph *graph,
                              amct_error *err) {
  amct_order order = {0};
  amct_shapes *shapes = NULL;
  amct_status status = AMCT_OK;

  *out = NULL;
  shapes = amct_alloc_array(1, sizeof *shapes);
  if (!shapes) return amct_fail_memory(err);
  shapes->count = amct_graph_count(graph);
  shapes->at = amct_alloc_array(shapes->count + 1, sizeof *shapes->at);
  if (!shapes->at) {
    status = amct_fail_memory(err);
    goto done;
  }
  for (size_t i = 0; i < shapes->count; i++)
    shapes->at[i] = (known){.node = amct_graph_at(graph, i), .first.rank = -1};
  if ((status = amct_order_make(&order, graph, err)) != AMCT_OK) goto done;
  for (size_t i = 0; i < order.count; i++)
    if ((status = infer_node(shapes, order.at[i], err)) != AMCT_OK) goto done;
  *out = shapes;
  shapes = NULL; /* moved to the caller */
done:
  amct_order_free(&order);
  amct_shapes_free(shapes);
  return status;
}

void amct_shapes_free(amct_shapes *shapes) {
  if (!shapes) return;
  amct_free(shapes->at);
  amct_arena_free(&shapes->arena);
  amct_free(shapes);
}
