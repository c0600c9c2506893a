/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters behind ops that give them another shape, or more bits. */
#include "op/parameters.h"

#include "op/shape_rules.h"
#include "op/stored.h"

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

/* Values stored in few bits; a range by axis is not seen through. */
static bool is_stored(const amct_node *node) {
  int64_t axis = -1;
  (void)amct_attr_int(node, "axis", &axis);
  return amct_node_is(node, "Dequantize") && node->data_count == 3 && axis == -1;
}

static bool keeps_order(const amct_node *node) {
  return amct_node_is(node, "Reshape") || amct_node_is(node, "Squeeze") ||
         amct_node_is(node, "ExpandDims");
}

/* What it does does not depend on the run. */
static bool is_fixed(const amct_node *node) {
  bool constant = true;
  for (uint32_t i = 1; i < node->data_count; i++)
    if (!amct_param_source(node->inputs[i], &constant) || !constant) return false;
  return true;
}

/* Back to the op that shapes the values, through Identity and the like; NULL: none. */
static amct_node *find_shaping(amct_edge edge) {
  for (int hop = 0; hop < HOPS_MAX && edge.port == 0; hop++) {
    amct_node *node = edge.node;
    if (node->data_count == 0) return NULL;
    if (keeps_order(node) || amct_node_is(node, "Transpose") || is_stored(node))
      return node;
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

amct_dtype amct_weight_dtype(amct_edge edge) {
  const chain c = find_chain(edge);
  amct_dtype dtype = AMCT_DTYPE_FLOAT;
  if (!c.source) return AMCT_DTYPE_INVALID;
  for (int i = 0; i < c.count; i++) {
    if (!is_stored(c.shaping[i])) continue;
    (void)amct_attr_type(c.shaping[i], "dtype", &dtype); /* FLOAT where it does not say */
    return dtype;
  }
  return amct_param_dtype(c.source);
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
  if (keeps_order(node) || is_stored(node)) return AMCT_OK;
  return transpose_values(node, &from, shape, scratch, values, err);
}

/* ---- Dequantize ---- */

static amct_status read_limit(const amct_node *node, uint32_t input, amct_arena *scratch,
                              float *limit, amct_error *err) {
  bool is_const = false;
  const amct_node *source = amct_param_source(node->inputs[input], &is_const);
  const float *value = NULL;
  amct_tensor tensor = {0};
  if (source && is_const) {
    AMCT_TRY(amct_const_tensor(source, &tensor, err));
    AMCT_TRY(amct_tensor_floats(&tensor, scratch, &value, source, err));
  }
  if (!value || tensor.count != 1)
    return amct_fail(err, AMCT_BAD_GRAPH, node->name,
                     "Dequantize \"%s\": input %u is not a constant of one value",
                     node->name, input);
  *limit = value[0];
  return AMCT_OK;
}

static amct_status read_stored(amct_stored *stored, const amct_node *node,
                               amct_dtype dtype, amct_arena *scratch, amct_error *err) {
  static const char *const k_modes[] = {"MIN_COMBINED", "MIN_FIRST", "SCALED"};
  const bool is_signed = dtype == AMCT_DTYPE_QINT8 || dtype == AMCT_DTYPE_QINT16;
  const int32_t values = 1 << 8 * amct_dtype_bytes(dtype);
  *stored = (amct_stored){.lowest = is_signed ? -values / 2 : 0};
  stored->highest = stored->lowest + values - 1;
  (void)amct_attr_bool(node, "narrow_range", &stored->narrow);
  int mode = 0;
  while (mode < 3 && !amct_attr_is(node, "mode", k_modes[mode], mode == 0))
    mode++;
  stored->mode = (amct_stored_mode)mode;
  AMCT_TRY(read_limit(node, 1, scratch, &stored->min, err));
  AMCT_TRY(read_limit(node, 2, scratch, &stored->max, err));
  if (mode < 3) return AMCT_OK;
  return amct_fail(err, AMCT_BAD_GRAPH, node->name,
                   "Dequantize \"%s\" has an unknown mode", node->name);
}

static bool is_stored_type(amct_dtype dtype) {
  return dtype == AMCT_DTYPE_QINT8 || dtype == AMCT_DTYPE_QUINT8 ||
         dtype == AMCT_DTYPE_QINT16 || dtype == AMCT_DTYPE_QUINT16;
}

/* The constant's values in float32, read by the Dequantize that stands behind it. */
static amct_status source_floats(const chain *c, const amct_tensor *tensor,
                                 amct_arena *scratch, const float **values,
                                 amct_error *err) {
  const amct_node *node = NULL;
  for (int i = 0; i < c->count && !node; i++)
    if (is_stored(c->shaping[i])) node = c->shaping[i];
  if (!node || !is_stored_type(tensor->dtype))
    return amct_tensor_floats(tensor, scratch, values, c->source, err);
  amct_stored stored;
  const int64_t *q = NULL;
  AMCT_TRY(read_stored(&stored, node, tensor->dtype, scratch, err));
  AMCT_TRY(amct_tensor_ints(tensor, scratch, &q, c->source, err));
  float *out = amct_arena_array(scratch, tensor->count + 1, sizeof *out);
  if (!out) return amct_fail_memory(err);
  amct_stored_floats(out, q, tensor->count, &stored);
  *values = out;
  return AMCT_OK;
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
  AMCT_TRY(source_floats(&c, &tensor, scratch, values, err));
  *shape = tensor.shape;
  for (int i = c.count; i-- > 0;)
    AMCT_TRY(apply(c.shaping[i], shape, scratch, values, err));
  return AMCT_OK;
}
