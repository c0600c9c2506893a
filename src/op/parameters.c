/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters behind ops that give them another shape. */
#include "op/parameters.h"

#include "op/shape_rules.h"

enum {
  SHAPING_MAX = 8, /* ops that shape a parameter, one behind the other */
  HOPS_MAX = 64,   /* of Identity and the like */
};

/* A parameter and the ops that shape it, the last one first. */
typedef struct chain {
  amct_node *source; /* NULL: the edge is no parameter */
  bool is_const;
  const amct_node *shaping[SHAPING_MAX];
  int count;
} chain;

static bool is_op(const amct_node *node, const char *op) {
  return strcmp(node->op, op) == 0;
}

static bool keeps_order(const amct_node *node) {
  return is_op(node, "Reshape") || is_op(node, "Squeeze") || is_op(node, "ExpandDims");
}

/* What it does does not depend on the run. */
static bool is_fixed(const amct_node *node) {
  bool constant = true;
  if (node->data_count < 2) return true;
  return amct_param_source(node->inputs[1], &constant) && constant;
}

/* Back to the op that shapes the values, through Identity and the like; NULL: none. */
static amct_node *find_shaping(amct_edge edge) {
  for (int hop = 0; hop < HOPS_MAX && edge.port == 0; hop++) {
    amct_node *node = edge.node;
    if (node->data_count == 0) return NULL;
    if (keeps_order(node) || is_op(node, "Transpose")) return node;
    const amct_op *op = amct_op_find(node->op);
    if (!op || op->param != AMCT_PARAM_PASS) return NULL;
    edge = node->inputs[0];
  }
  return NULL;
}

static chain find_chain(amct_edge edge) {
  chain c = {NULL, false, {NULL}, 0};
  for (;;) {
    amct_node *source = amct_param_source(edge, &c.is_const);
    amct_node *shaping = source ? NULL : find_shaping(edge);
    if (!shaping || c.count == SHAPING_MAX) {
      c.source = source;
      return c;
    }
    c.shaping[c.count++] = shaping;
    edge = shaping->inputs[0];
  }
}

static amct_shape_call call_of(const amct_node *node, const amct_shape *input,
                               amct_error *err) {
  return (amct_shape_call){.node = node,
                           .given = input,
                           .first = amct_shape_unknown(),
                           .rest = amct_shape_unknown(),
                           .err = err};
}

/* The shape behind an op, from the one before it. */
static amct_status shape_after(const amct_node *node, amct_shape *shape,
                               amct_error *err) {
  const amct_shape before = *shape;
  amct_shape_call call = call_of(node, &before, err);
  amct_op_find(node->op)->shape->infer(&call);
  *shape = call.first;
  return call.status;
}

amct_node *amct_vector_source(amct_edge edge, bool *is_const) {
  const chain c = find_chain(edge);
  *is_const = c.is_const;
  for (int i = 0; i < c.count; i++)
    if (!keeps_order(c.shaping[i])) return NULL;
  return c.source;
}

amct_node *amct_weight_source(amct_edge edge, bool *is_const) {
  const chain c = find_chain(edge);
  *is_const = c.is_const;
  for (int i = 0; i < c.count; i++)
    if (!is_fixed(c.shaping[i])) return NULL;
  return c.source;
}

amct_status amct_weight_shape(amct_edge edge, amct_shape *shape, amct_error *err) {
  const chain c = find_chain(edge);
  shape->rank = -1;
  if (!c.source) return AMCT_OK;
  AMCT_TRY(amct_param_shape(c.source, shape, err));
  for (int i = c.count; i-- > 0;)
    AMCT_TRY(shape_after(c.shaping[i], shape, err));
  return AMCT_OK;
}

/* out[i] = in[j], the index of j along axis perm[k] being that of i along axis k. */
static void transpose(float *out, const float *in, const amct_shape *to,
                      const size_t *strides) {
  size_t index[AMCT_RANK_MAX] = {0}, from = 0, count = 1;
  for (int32_t k = 0; k < to->rank; k++)
    count *= (size_t)to->dims[k];
  for (size_t i = 0; i < count; i++) {
    out[i] = in[from];
    for (int32_t k = to->rank; k-- > 0;) {
      from += strides[k];
      if (++index[k] < (size_t)to->dims[k]) break;
      from -= strides[k] * index[k];
      index[k] = 0;
    }
  }
}

static amct_status transpose_values(const amct_node *node, const amct_shape *from,
                                    const amct_shape *to, amct_arena *scratch,
                                    const float **values, amct_error *err) {
  size_t stride[AMCT_RANK_MAX] = {0}, permuted[AMCT_RANK_MAX] = {0}, count = 1;
  amct_ints perm;
  for (int32_t k = from->rank; k-- > 0;) {
    stride[k] = count;
    count *= (size_t)from->dims[k];
  }
  amct_shape_call call = call_of(node, from, err);
  if (!amct_shape_values(&call, 1, &perm) || perm.count != (size_t)to->rank)
    return call.status == AMCT_OK ? amct_fail(err, AMCT_BAD_GRAPH, node->name,
                                              "\"%s\" has no permutation", node->name)
                                  : call.status;
  uint32_t seen = 0;
  for (int32_t k = 0; k < to->rank; k++) {
    int32_t axis = 0;
    if (!amct_axis_wrap(perm.at[k], from->rank, &axis) || seen >> axis & 1U)
      return amct_fail(err, AMCT_BAD_GRAPH, node->name,
                       "\"%s\" permutes axis %lld twice, or has no such axis", node->name,
                       (long long)perm.at[k]);
    seen |= 1U << axis;
    permuted[k] = stride[axis];
  }
  float *out = amct_arena_array(scratch, count + 1, sizeof *out);
  if (!out) return amct_fail_memory(err);
  transpose(out, *values, to, permuted);
  *values = out;
  return AMCT_OK;
}

static amct_status apply(const amct_node *node, amct_shape *shape, amct_arena *scratch,
                         const float **values, amct_error *err) {
  const amct_shape from = *shape;
  AMCT_TRY(shape_after(node, shape, err));
  if (!amct_shape_is_whole(shape) || amct_shape_count(&from) != amct_shape_count(shape))
    return amct_fail(err, AMCT_BAD_GRAPH, node->name,
                     "%s \"%s\" cannot give its constant that shape", node->op,
                     node->name);
  if (keeps_order(node)) return AMCT_OK;
  return transpose_values(node, &from, shape, scratch, values, err);
}

amct_status amct_weight_floats(amct_edge edge, amct_arena *scratch, const float **values,
                               amct_shape *shape, amct_error *err) {
  const chain c = find_chain(edge);
  amct_tensor tensor;
  if (!c.source || !c.is_const)
    return amct_fail(err, AMCT_UNSUPPORTED, edge.node->name,
                     "%s \"%s\" is not a constant: freeze the graph first", edge.node->op,
                     edge.node->name);
  AMCT_TRY(amct_const_tensor(c.source, &tensor, err));
  AMCT_TRY(amct_tensor_floats(&tensor, scratch, values, c.source, err));
  *shape = tensor.shape;
  for (int i = c.count; i-- > 0;)
    AMCT_TRY(apply(c.shaping[i], shape, scratch, values, err));
  return AMCT_OK;
}
