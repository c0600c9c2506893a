/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch norm that is spelled out in small ops becomes one op.
 *
 *   before  inv = rsqrt(variance + epsilon) [* scale]
 *           data * inv + (offset - mean * inv)      or, without offset,
 *           data * inv + (-mean) * inv
 *   after   bn(data, scale, offset, mean, variance) in inference mode, under the name of
 *           the last addition; scale 1 and offset 0 where there is none
 *
 * The operands of sums and products may stand in either order, the parameters behind
 * Identity, Reshape, Squeeze and ExpandDims: [C] and [1,1,1,C] are NHWC, [1,C,1,1] is
 * NCHW. The small ops that only parameters go through stay while others read them.
 *
 * Declines: data that are not known to be of rank 4 with as many channels as the
 * parameters have values; parameters that are no constants or variables, as the batch
 * statistics of training; an epsilon that is no constant; anything else reads the product
 * of data and inv, or the model has it as output; not float32; values along axis 1 where
 * nothing says that the data are NCHW.
 * Source: what tf.nn.batch_normalization makes in TensorFlow 1.15 and 2.x.
 */
#include <math.h>

#include "op/parameters.h"
#include "rewrite/match.h"
#include "rewrite/vectors.h"

enum { SCALE, OFFSET, MEAN, VARIANCE, PARAMETERS, HOPS_MAX = 64 };

static const char *const k_parameters[] = {"scale", "offset", "mean", "variance"};

typedef struct chain {
  amct_node *root, *product; /* the last sum; data * inv */
  amct_edge data, inv, epsilon;
  amct_edge parameter[PARAMETERS]; /* no node: there is none */
  /* found by the checks */
  const amct_shapes *shapes;
  int64_t channels;
  int32_t axis;
  float epsilon_value;
} chain;

/* ---- the structure ---- */

static bool is_binary(amct_edge edge, const char *ops) {
  return edge.port == 0 && amct_ops_have(ops, edge.node->op) &&
         edge.node->data_count == 2;
}

static bool is_unary(amct_edge edge, const char *op) {
  return edge.port == 0 && strcmp(edge.node->op, op) == 0 && edge.node->data_count == 1;
}

static bool is_scalar(amct_edge edge) {
  bool constant = false;
  amct_shape shape;
  const amct_node *source = amct_param_source(edge, &constant);
  return source && constant && amct_param_shape(source, &shape, NULL) == AMCT_OK &&
         shape.rank == 0;
}

/* rsqrt(variance + epsilon) [* scale] */
static bool read_inverse(amct_edge edge, chain *c) {
  c->inv = edge;
  c->parameter[SCALE] = (amct_edge){NULL, 0};
  if (is_binary(edge, "Mul")) {
    const amct_edge *factor = edge.node->inputs;
    const int root = is_unary(factor[0], "Rsqrt") ? 0 : 1;
    c->parameter[SCALE] = factor[1 - root];
    edge = factor[root];
  }
  if (!is_unary(edge, "Rsqrt") || !is_binary(edge.node->inputs[0], "Add|AddV2"))
    return false;
  const amct_edge *term = edge.node->inputs[0].node->inputs;
  const int epsilon = is_scalar(term[0]) && !is_scalar(term[1]) ? 0 : 1;
  c->epsilon = term[epsilon];
  c->parameter[VARIANCE] = term[1 - epsilon];
  return true;
}

/* The factor beside inv of a product; no node: it is no such product. */
static amct_edge other_factor(amct_edge product, amct_edge inv) {
  if (is_binary(product, "Mul"))
    for (int i = 0; i < 2; i++)
      if (amct_edge_equal(product.node->inputs[i], inv))
        return product.node->inputs[1 - i];
  return (amct_edge){NULL, 0};
}

/* offset - mean * inv, or (-mean) * inv */
static bool read_shift(amct_edge edge, chain *c) {
  c->parameter[OFFSET] = (amct_edge){NULL, 0};
  if (is_binary(edge, "Sub")) {
    c->parameter[OFFSET] = edge.node->inputs[0];
    c->parameter[MEAN] = other_factor(edge.node->inputs[1], c->inv);
    return c->parameter[MEAN].node != NULL;
  }
  const amct_edge negative = other_factor(edge, c->inv);
  if (!negative.node || !is_unary(negative, "Neg")) return false;
  c->parameter[MEAN] = negative.node->inputs[0];
  return true;
}

static bool read_chain(amct_node *root, chain *c) {
  *c = (chain){.root = root};
  if (root->data_count != 2) return false;
  for (int way = 0; way < 4; way++) { /* operands of the sum, operands of the product */
    const amct_edge product = root->inputs[way & 1], shift = root->inputs[~way & 1];
    if (!is_binary(product, "Mul")) continue;
    const amct_edge *factor = product.node->inputs;
    c->product = product.node;
    c->data = factor[way >> 1];
    if (read_inverse(factor[way >> 1 ? 0 : 1], c) && read_shift(shift, c)) return true;
  }
  return false;
}

static bool recognises(amct_node *root) {
  chain c;
  return read_chain(root, &c);
}

/* ---- what must hold ---- */

static amct_status check_parameters(amct_pass *pass, const chain *c) {
  for (int i = 0; i < PARAMETERS; i++) {
    const amct_node *at = c->parameter[i].node;
    bool constant;
    if (!at) continue;
    const amct_node *source = amct_vector_source(c->parameter[i], &constant);
    if (!source)
      return amct_decline(pass,
                          "%s of the batch norm is %s \"%s\", not a constant or variable",
                          k_parameters[i], at->op, at->name);
    if (amct_param_dtype(source) != AMCT_DTYPE_FLOAT)
      return amct_decline(pass, "%s \"%s\" is not float32", k_parameters[i],
                          source->name);
  }
  return AMCT_OK;
}

static amct_status check_epsilon(amct_pass *pass, chain *c, amct_error *err) {
  amct_arena scratch = {0};
  amct_tensor tensor;
  const float *values = NULL;
  bool constant = false;
  const amct_node *at = c->epsilon.node;
  const amct_node *source = amct_vector_source(c->epsilon, &constant);
  if (!source || !constant || amct_param_dtype(source) != AMCT_DTYPE_FLOAT)
    return amct_decline(pass, "epsilon is %s \"%s\", not a float32 constant", at->op,
                        at->name);
  AMCT_TRY(amct_const_tensor(source, &tensor, err));
  if (tensor.count != 1)
    return amct_decline(pass, "epsilon \"%s\" has %zu values", source->name,
                        tensor.count);
  const amct_status status = amct_tensor_floats(&tensor, &scratch, &values, source, err);
  if (status == AMCT_OK) c->epsilon_value = values[0];
  amct_arena_free(&scratch);
  AMCT_TRY(status);
  if (!(c->epsilon_value >= 0 && isfinite(c->epsilon_value)))
    return amct_decline(pass, "epsilon \"%s\" is negative or not finite", source->name);
  return AMCT_OK;
}

/* One count for all parameters, and one axis; -1 where there is one value alone. */
static amct_status find_axis(amct_pass *pass, chain *c) {
  const amct_shape first = amct_shapes_of(c->shapes, c->parameter[VARIANCE]);
  c->channels = amct_vector_count(&first);
  c->axis = amct_vector_axis(&first);
  for (int i = 0; i < PARAMETERS; i++) {
    if (!c->parameter[i].node) continue;
    const amct_shape shape = amct_shapes_of(c->shapes, c->parameter[i]);
    const int32_t axis = amct_vector_axis(&shape);
    if (shape.rank < 1 || shape.rank > 4 || amct_vector_count(&shape) != c->channels ||
        axis != c->axis || (c->channels != 1 && axis != 1 && axis != 3))
      return amct_decline(pass, "%s \"%s\" has not one value for each channel",
                          k_parameters[i], c->parameter[i].node->name);
  }
  return AMCT_OK;
}

/* True if an op before the tensor says NCHW; on each way the nearest that has a layout
 * decides. Looks at *left nodes at most. */
static bool is_nchw_before(const amct_node *node, const amct_shapes *shapes, int *left) {
  if (--*left < 0) return false;
  if (amct_attr_has(node, "data_format")) return amct_node_format(node) == AMCT_NCHW;
  for (uint32_t i = 0; i<node->data_count && * left> 0; i++)
    if (amct_shapes_of(shapes, node->inputs[i]).rank == 4 &&
        is_nchw_before(node->inputs[i].node, shapes, left))
      return true;
  return false;
}

/* True if the ops around say NCHW: the next behind the chain, or those before its data.
 */
static bool is_nchw(const chain *c) {
  int left = HOPS_MAX;
  for (uint32_t i = 0; i < c->root->use_count; i++)
    if (amct_attr_is(c->root->uses[i].node, "data_format", "NCHW", false)) return true;
  return is_nchw_before(c->data.node, c->shapes, &left);
}

/* Data of rank 4, whose channels the parameters count. */
static amct_status check_shapes(amct_pass *pass, chain *c, amct_error *err) {
  const char *name = c->data.node->name;
  AMCT_TRY(amct_pass_shapes(pass, &c->shapes, err));
  const amct_shape data = amct_shapes_of(c->shapes, c->data);
  if (data.rank < 0) return amct_decline(pass, "the rank of \"%s\" is not known", name);
  if (data.rank != 4)
    return amct_decline(pass, "\"%s\" has rank %d, not 4", name, (int)data.rank);
  AMCT_TRY(find_axis(pass, c));
  if (pass->reason) return AMCT_OK;
  if (c->axis < 0)
    c->axis = data.dims[1] == 1 && (data.dims[3] != 1 || is_nchw(c)) ? 1 : 3;
  if (data.dims[c->axis] != c->channels)
    return amct_decline(
        pass, "axis %d of \"%s\" has not %lld channels, or their number is not known",
        (int)c->axis, name, (long long)c->channels);
  if (c->axis == 1 && !is_nchw(c))
    return amct_decline(pass,
                        "normalises axis 1, and nothing around it has data_format NCHW");
  return AMCT_OK;
}

/* ---- the new op ---- */

/* The parameter as it was before it was given a rank; no node: it always had one. */
static amct_edge find_flat(const chain *c, amct_edge edge) {
  for (int hop = 0; edge.node && hop < HOPS_MAX; hop++) {
    if (amct_shapes_of(c->shapes, edge).rank == 1) return edge;
    edge = edge.node->data_count ? edge.node->inputs[0] : (amct_edge){NULL, 0};
  }
  return (amct_edge){NULL, 0};
}

static amct_status put_parameter(amct_pass *pass, amct_spec *spec, const chain *c, int i,
                                 amct_error *err) {
  amct_made made = {
      .from = c->parameter[i], .fill = i == SCALE ? 1.0f : 0.0f, .channels = c->channels};
  const amct_edge flat = find_flat(c, c->parameter[i]);
  if (flat.node) {
    amct_spec_input(spec, amct_edge_text(flat));
    return AMCT_OK;
  }
  made.name = amct_arena_format(pass->arena, "%s/%s", c->root->name, k_parameters[i]);
  if (made.name) made.name = amct_edits_free_name(pass->edits, made.name);
  if (!made.name) return amct_fail_memory(err);
  amct_spec_type(amct_edits_add(pass->edits, made.name, "Const", c->root, true), "dtype",
                 AMCT_DTYPE_FLOAT);
  amct_spec_input(spec, made.name);
  return amct_plan_note_made(pass->plan, &made, err);
}

static amct_status commit(amct_pass *pass, const chain *c, amct_error *err) {
  const amct_node *product = c->product;
  amct_spec *spec = amct_edits_replace(pass->edits, c->root, "FusedBatchNormV3");
  amct_spec_input(spec, amct_edge_text(c->data));
  for (int i = 0; i < PARAMETERS; i++)
    AMCT_TRY(put_parameter(pass, spec, c, i, err));
  for (uint32_t i = product->data_count; i < product->input_count; i++)
    amct_spec_input(spec, amct_edge_text(product->inputs[i]));
  amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
  amct_spec_type(spec, "U", AMCT_DTYPE_FLOAT);
  amct_spec_float(spec, "epsilon", c->epsilon_value);
  amct_spec_text(spec, "data_format", c->axis == 1 ? "NCHW" : "NHWC");
  amct_spec_bool(spec, "is_training", false);
  amct_spec_origin(spec, product->name);
  amct_edits_detach(pass->edits, c->product);
  return AMCT_OK;
}

static amct_status rewrite(amct_pass *pass, const amct_match *m, amct_error *err) {
  amct_dtype dtype = AMCT_DTYPE_INVALID;
  chain c;
  if (!read_chain(m->node[0], &c)) return AMCT_OK; /* recognises() has seen it */
  amct_attr_type(c.root, "T", &dtype);
  if (dtype != AMCT_DTYPE_FLOAT) return amct_decline(pass, "is not float32");
  AMCT_TRY(amct_check_sole_use(pass, "product", c.product, c.root, err));
  if (!pass->reason) AMCT_TRY(check_parameters(pass, &c));
  if (!pass->reason) AMCT_TRY(check_epsilon(pass, &c, err));
  if (!pass->reason) AMCT_TRY(check_shapes(pass, &c, err));
  return pass->reason ? AMCT_OK : commit(pass, &c, err);
}

// clang-format off
const amct_rule amct_rule_fuse_small_bn = {
  .name       = "fuse_small_bn",
  .before     = "add(mul(data, inv), sub(offset, mul(mean, inv))), inv = mul(rsqrt(add(variance, epsilon)), scale)",
  .after      = "bn(data, scale, offset, mean, variance)",
  .rewrite    = rewrite,
  .recognises = recognises,
  .row = {
    {"batch norm", "Add|AddV2"},
  },
};
// clang-format on
