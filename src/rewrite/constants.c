/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite/constants.h"

#include <math.h>

#include "op/ops.h"
#include "op/parameters.h"

enum { NODES_MAX = 64, BITS_LEAST = 2, BITS_MOST = 16 };

/* ---- fake quantization ---- */

bool amct_is_fake_quant(const amct_node *node) {
  return amct_node_is(node, "FakeQuantWithMinMaxVars") ||
         amct_node_is(node, "FakeQuantWithMinMaxVarsPerChannel") ||
         amct_node_is(node, "FakeQuantWithMinMaxArgs");
}

/* The ends of the ranges, min and max; `*count` 0: they are no constants. */
static amct_status read_ends(amct_node *node, const float *ends[2], size_t *count,
                             amct_arena *arena, amct_error *err) {
  *count = 0;
  if (amct_node_is(node, "FakeQuantWithMinMaxArgs")) {
    float *args = amct_arena_array(arena, 2, sizeof *args);
    if (!args) return amct_fail_memory(err);
    if (!amct_attr_float(node, "min", &args[0])) args[0] = -6;
    if (!amct_attr_float(node, "max", &args[1])) args[1] = 6;
    ends[0] = &args[0];
    ends[1] = &args[1];
    *count = 1;
    return AMCT_OK;
  }
  const int32_t rank = amct_node_is(node, "FakeQuantWithMinMaxVarsPerChannel") ? 1 : 0;
  amct_shape shape[2];
  if (node->data_count != 3) return AMCT_OK;
  for (uint32_t i = 0; i < 2; i++) {
    bool is_const = false;
    if (!amct_weight_source(node->inputs[1 + i], &is_const) || !is_const) return AMCT_OK;
    AMCT_TRY(amct_weight_floats(node->inputs[1 + i], arena, &ends[i], &shape[i], err));
    if (shape[i].rank != rank) return AMCT_OK;
  }
  if (rank == 1 && shape[0].dims[0] != shape[1].dims[0]) return AMCT_OK;
  *count = rank == 1 ? (size_t)shape[0].dims[0] : 1;
  return AMCT_OK;
}

static amct_status refuse(const char **reason, const char *text, amct_error *err) {
  *reason = text;
  return text ? AMCT_OK : amct_fail_memory(err);
}

amct_status amct_fake_read(amct_fake_grids *grids, const char **reason, amct_node *node,
                           amct_arena *arena, amct_error *err) {
  const float *ends[2] = {NULL, NULL};
  size_t count = 0;
  bool narrow = false;
  *grids = (amct_fake_grids){.bits = 8};
  *reason = NULL;
  (void)amct_attr_int(node, "num_bits", &grids->bits); /* absent: the defaults */
  (void)amct_attr_bool(node, "narrow_range", &narrow);
  AMCT_TRY(read_ends(node, ends, &count, arena, err));
  if (count == 0)
    return refuse(
        reason,
        amct_arena_format(arena, "the range of \"%.200s\" is not constant", node->name),
        err);
  if (grids->bits < BITS_LEAST || grids->bits > BITS_MOST)
    return refuse(reason,
                  amct_arena_format(arena, "num_bits of \"%.200s\" is %lld", node->name,
                                    (long long)grids->bits),
                  err);
  amct_nudged *at = amct_arena_array(arena, count, sizeof *at);
  if (!at) return amct_fail_memory(err);
  for (size_t i = 0; i < count; i++)
    if (!amct_nudge(&at[i], ends[0][i], ends[1][i], (int)grids->bits, narrow))
      return refuse(reason,
                    amct_arena_format(arena, "the range of \"%.200s\" is %g..%g",
                                      node->name, (double)ends[0][i], (double)ends[1][i]),
                    err);
  grids->at = at;
  grids->count = count;
  return AMCT_OK;
}

/* ---- which nodes ---- */

typedef float (*unary)(float a);
typedef float (*binary)(float a, float b);

static float add(float a, float b) {
  return a + b;
}
static float subtract(float a, float b) {
  return a - b;
}
static float multiply(float a, float b) {
  return a * b;
}
static float divide(float a, float b) {
  return a / b;
}
static float negate(float a) {
  return -a;
}
static float inverse_root(float a) {
  return 1.0f / sqrtf(a);
}
static float root(float a) {
  return sqrtf(a);
}
static float square(float a) {
  return a * a;
}

// clang-format off
static const struct { const char *op; binary compute; } k_binary[] = {
  {"Add", add}, {"AddV2", add}, {"Sub", subtract}, {"Mul", multiply}, {"RealDiv", divide}, {"Div", divide},
};
static const struct { const char *op; unary compute; } k_unary[] = {
  {"Neg", negate}, {"Rsqrt", inverse_root}, {"Sqrt", root}, {"Square", square},
};
// clang-format on

static binary find_binary(const amct_node *node) {
  for (size_t i = 0; i < sizeof k_binary / sizeof k_binary[0]; i++)
    if (amct_node_is(node, k_binary[i].op) && node->data_count == 2)
      return k_binary[i].compute;
  return NULL;
}

static unary find_unary(const amct_node *node) {
  for (size_t i = 0; i < sizeof k_unary / sizeof k_unary[0]; i++)
    if (amct_node_is(node, k_unary[i].op) && node->data_count == 1)
      return k_unary[i].compute;
  return NULL;
}

static bool passes(const amct_node *node) {
  return (amct_node_is(node, "Identity") || amct_node_is(node, "StopGradient")) &&
         node->data_count == 1;
}

static bool is_reshape(const amct_node *node) {
  return amct_node_is(node, "Reshape") && node->data_count == 2;
}

/* A node of an expression, and no end of it. */
static bool computes(const amct_node *node) {
  return find_binary(node) || find_unary(node) || passes(node) || is_reshape(node) ||
         (amct_is_fake_quant(node) && node->data_count > 0);
}

/* Constants of loops and branches wait for them: they stand in no expression. */
static bool is_const(const amct_node *node, amct_dtype dtype) {
  return amct_node_is(node, "Const") && node->input_count == 0 &&
         (dtype == AMCT_DTYPE_INVALID || amct_param_dtype(node) == dtype);
}

/* Looks at *left nodes at most. */
static bool is_constant(const amct_node *node, int *left) {
  if (--*left < 0) return false;
  if (is_const(node, AMCT_DTYPE_FLOAT)) return true;
  if (!computes(node) || node->input_count != node->data_count) return false;
  for (uint32_t i = 0; i < node->data_count; i++) {
    const amct_edge from = node->inputs[i];
    const bool sizes = i == 1 && is_reshape(node);
    if (from.port != 0) return false;
    if (sizes ? !is_const(from.node, AMCT_DTYPE_INVALID) : !is_constant(from.node, left))
      return false;
  }
  return true;
}

static bool is_expression(const amct_node *node) {
  int left = NODES_MAX;
  return computes(node) && is_constant(node, &left);
}

/* Only passes a constant on: what is before it folds, it stays. */
static bool only_passes(const amct_node *node) {
  return passes(node) || is_reshape(node);
}

/* An expression that is part of no larger one. */
static bool is_root(const amct_node *node) {
  if (only_passes(node) || !is_expression(node)) return false;
  for (uint32_t i = 0; i < node->use_count; i++)
    if (only_passes(node->uses[i].node) || !is_expression(node->uses[i].node))
      return true;
  return node->use_count == 0;
}

/* ---- values ---- */

typedef struct value {
  amct_shape shape;
  size_t count;
  const float *at;
  bool fits; /* shapes go together */
} value;

static amct_status evaluate(amct_node *node, value *v, amct_arena *scratch,
                            amct_error *err);

static amct_status read_const(amct_node *node, value *v, amct_arena *scratch,
                              amct_error *err) {
  amct_tensor tensor;
  AMCT_TRY(amct_const_tensor(node, &tensor, err));
  AMCT_TRY(amct_tensor_floats(&tensor, scratch, &v->at, node, err));
  *v = (value){tensor.shape, tensor.count, v->at, true};
  return AMCT_OK;
}

static amct_status reshape(const amct_node *node, value *v, amct_arena *scratch,
                           amct_error *err) {
  const amct_node *source = node->inputs[1].node;
  const int64_t *sizes = NULL;
  amct_tensor tensor;
  int64_t known = 1;
  int32_t open = -1;
  AMCT_TRY(amct_const_tensor(source, &tensor, err));
  AMCT_TRY(amct_tensor_ints(&tensor, scratch, &sizes, source, err));
  v->fits = v->fits && tensor.shape.rank == 1 && tensor.count <= AMCT_RANK_MAX;
  if (!v->fits) return AMCT_OK;
  v->shape.rank = (int32_t)tensor.count;
  for (int32_t i = 0; i < v->shape.rank; i++) {
    v->shape.dims[i] = sizes[i];
    if (sizes[i] == -1) {
      v->fits = v->fits && open < 0;
      open = i;
    } else {
      known = sizes[i] > 0 ? amct_dim_mul(known, sizes[i]) : -1;
    }
  }
  v->fits = v->fits && known > 0;
  if (v->fits && open >= 0) v->shape.dims[open] = (int64_t)v->count / known;
  if (v->fits && open >= 0) known = amct_dim_mul(known, v->shape.dims[open]);
  v->fits = v->fits && known == (int64_t)v->count;
  return AMCT_OK;
}

/* How far a step along axis `axis` of `out` goes in an operand; 0 where it is repeated.
 */
static void find_strides(size_t strides[AMCT_RANK_MAX], const value *operand,
                         const amct_shape *out) {
  const int32_t shift = out->rank - operand->shape.rank;
  size_t step = 1;
  for (int32_t k = out->rank; k-- > 0;) {
    const int64_t size = k >= shift ? operand->shape.dims[k - shift] : 1;
    strides[k] = size == 1 ? 0 : step;
    step *= (size_t)size;
  }
}

/* The shape of both; false: they do not go together, or make more than the larger has. */
static bool broadcast(value *out, const value *a, const value *b) {
  const int32_t rank = a->shape.rank > b->shape.rank ? a->shape.rank : b->shape.rank;
  int64_t count = 1;
  out->shape.rank = rank;
  for (int32_t k = 0; k < rank; k++) {
    const int32_t i = k - (rank - a->shape.rank), j = k - (rank - b->shape.rank);
    const int64_t m = i >= 0 ? a->shape.dims[i] : 1, n = j >= 0 ? b->shape.dims[j] : 1;
    if (m != n && m != 1 && n != 1) return false;
    out->shape.dims[k] = m == 1 ? n : m;
    count = amct_dim_mul(count, out->shape.dims[k]);
  }
  out->count = a->count > b->count ? a->count : b->count;
  return count > 0 && (size_t)count == out->count;
}

static void combine(float *to, const value *out, const value *a, const value *b,
                    binary compute) {
  size_t index[AMCT_RANK_MAX] = {0}, step[2][AMCT_RANK_MAX], from[2] = {0, 0};
  find_strides(step[0], a, &out->shape);
  find_strides(step[1], b, &out->shape);
  for (size_t i = 0; i < out->count; i++) {
    to[i] = compute(a->at[from[0]], b->at[from[1]]);
    for (int32_t k = out->shape.rank; k-- > 0;) {
      from[0] += step[0][k];
      from[1] += step[1][k];
      if (++index[k] < (size_t)out->shape.dims[k]) break;
      from[0] -= step[0][k] * index[k];
      from[1] -= step[1][k] * index[k];
      index[k] = 0;
    }
  }
}

static amct_status evaluate_binary(amct_node *node, value *v, amct_arena *scratch,
                                   amct_error *err) {
  value a, b;
  AMCT_TRY(evaluate(node->inputs[0].node, &a, scratch, err));
  AMCT_TRY(evaluate(node->inputs[1].node, &b, scratch, err));
  *v = (value){.fits = a.fits && b.fits};
  v->fits = v->fits && broadcast(v, &a, &b);
  if (!v->fits) return AMCT_OK;
  float *to = amct_arena_array(scratch, v->count, sizeof *to);
  if (!to) return amct_fail_memory(err);
  combine(to, v, &a, &b, find_binary(node));
  v->at = to;
  return AMCT_OK;
}

static amct_status evaluate_unary(amct_node *node, value *v, amct_arena *scratch,
                                  amct_error *err) {
  const unary compute = find_unary(node);
  AMCT_TRY(evaluate(node->inputs[0].node, v, scratch, err));
  if (!v->fits) return AMCT_OK;
  float *to = amct_arena_array(scratch, v->count + 1, sizeof *to);
  if (!to) return amct_fail_memory(err);
  for (size_t i = 0; i < v->count; i++)
    to[i] = compute(v->at[i]);
  v->at = to;
  return AMCT_OK;
}

static amct_status evaluate_fake(amct_node *node, value *v, amct_arena *scratch,
                                 amct_error *err) {
  amct_fake_grids grids;
  const char *reason = NULL;
  AMCT_TRY(evaluate(node->inputs[0].node, v, scratch, err));
  AMCT_TRY(amct_fake_read(&grids, &reason, node, scratch, err));
  const int32_t last = v->shape.rank - 1;
  v->fits =
      v->fits && !reason && v->count > 0 &&
      (grids.count == 1 || (last >= 0 && v->shape.dims[last] == (int64_t)grids.count));
  if (!v->fits) return AMCT_OK;
  float *to = amct_arena_array(scratch, v->count, sizeof *to);
  if (!to) return amct_fail_memory(err);
  if (grids.count == 1) amct_nudged_apply(to, v->at, v->count, grids.at);
  for (size_t i = 0; grids.count > 1 && i < v->count; i++)
    amct_nudged_apply(&to[i], &v->at[i], 1, &grids.at[i % grids.count]);
  v->at = to;
  return AMCT_OK;
}

/* is_constant has bounded the depth. */
static amct_status evaluate(amct_node *node, value *v, amct_arena *scratch,
                            amct_error *err) {
  if (amct_node_is(node, "Const")) return read_const(node, v, scratch, err);
  if (passes(node)) return evaluate(node->inputs[0].node, v, scratch, err);
  if (amct_is_fake_quant(node)) return evaluate_fake(node, v, scratch, err);
  if (find_binary(node)) return evaluate_binary(node, v, scratch, err);
  if (find_unary(node)) return evaluate_unary(node, v, scratch, err);
  AMCT_TRY(evaluate(node->inputs[0].node, v, scratch, err));
  return reshape(node, v, scratch, err);
}

static amct_status fold(amct_edits *edits, amct_node *node, amct_error *err) {
  amct_arena scratch = {0};
  value v;
  const amct_status status = evaluate(node, &v, &scratch, err);
  if (status == AMCT_OK && v.fits && v.count > 0)
    amct_spec_tensor(amct_edits_replace(edits, node, "Const"), AMCT_DTYPE_FLOAT, &v.shape,
                     v.at, v.count * sizeof *v.at);
  amct_arena_free(&scratch);
  return status;
}

amct_status amct_constants_fold(amct_graph *graph, amct_error *err) {
  amct_status status = AMCT_OK;
  amct_edits *edits = amct_edits_new(graph);
  if (!edits) return amct_fail_memory(err);
  for (size_t i = 0; i < amct_graph_count(graph) && status == AMCT_OK; i++)
    if (is_root(amct_graph_at(graph, i)))
      status = fold(edits, amct_graph_at(graph, i), err);
  if (status == AMCT_OK) status = amct_edits_apply(edits, err);
  amct_edits_free(edits);
  return status;
}
