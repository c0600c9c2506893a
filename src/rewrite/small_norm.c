/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite/small_norm.h"

#include <math.h>

#include "op/parameters.h"
#include "rewrite/vectors.h"

static const char *const k_parameters[] = {"scale", "offset", "mean", "variance"};

const char *amct_small_norm_name(int parameter) {
  return k_parameters[parameter];
}

/* ---- the structure ---- */

/* The parts of the chain are seen through Identity and the like. */
static amct_edge input(const amct_node *node, int index) {
  return amct_see_through(node->inputs[index]);
}

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
static bool read_inverse(amct_edge edge, amct_small_norm *c) {
  c->inv = edge;
  c->parameter[AMCT_NORM_SCALE] = (amct_edge){NULL, 0};
  if (is_binary(edge, "Mul")) {
    const int root = is_unary(input(edge.node, 0), "Rsqrt") ? 0 : 1;
    c->parameter[AMCT_NORM_SCALE] = edge.node->inputs[1 - root];
    edge = input(edge.node, root);
  }
  if (!is_unary(edge, "Rsqrt") || !is_binary(input(edge.node, 0), "Add|AddV2"))
    return false;
  const amct_edge *term = input(edge.node, 0).node->inputs;
  const int epsilon = is_scalar(term[0]) && !is_scalar(term[1]) ? 0 : 1;
  c->epsilon = term[epsilon];
  c->parameter[AMCT_NORM_VARIANCE] = term[1 - epsilon];
  return true;
}

/* The factor beside inv of a product; no node: it is no such product. */
static amct_edge other_factor(amct_edge product, amct_edge inv) {
  if (is_binary(product, "Mul"))
    for (int i = 0; i < 2; i++)
      if (amct_edge_equal(input(product.node, i), inv))
        return product.node->inputs[1 - i];
  return (amct_edge){NULL, 0};
}

/* offset - mean * inv, or (-mean) * inv */
static bool read_shift(amct_edge edge, amct_small_norm *c) {
  c->parameter[AMCT_NORM_OFFSET] = (amct_edge){NULL, 0};
  if (is_binary(edge, "Sub")) {
    c->parameter[AMCT_NORM_OFFSET] = edge.node->inputs[0];
    c->parameter[AMCT_NORM_MEAN] = other_factor(input(edge.node, 1), c->inv);
    return c->parameter[AMCT_NORM_MEAN].node != NULL;
  }
  const amct_edge negative = other_factor(edge, c->inv);
  if (!negative.node || !is_unary(amct_see_through(negative), "Neg")) return false;
  c->parameter[AMCT_NORM_MEAN] = amct_see_through(negative).node->inputs[0];
  return true;
}

bool amct_small_norm_read(amct_node *root, amct_small_norm *c) {
  *c = (amct_small_norm){.root = root};
  if (root->data_count != 2) return false;
  for (int way = 0; way < 4; way++) { /* operands of the sum, operands of the product */
    const amct_edge product = input(root, way & 1), shift = input(root, ~way & 1);
    if (!is_binary(product, "Mul")) continue;
    c->product = product.node;
    c->scaled = root->inputs[way & 1];
    c->data = product.node->inputs[way >> 1];
    if (read_inverse(input(product.node, way >> 1 ? 0 : 1), c) && read_shift(shift, c))
      return true;
  }
  return false;
}

/* ---- what must hold ---- */

static amct_status check_parameters(amct_pass *pass, const amct_small_norm *c) {
  for (int i = 0; i < AMCT_NORM_PARAMETERS; i++) {
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

static amct_status check_epsilon(amct_pass *pass, amct_small_norm *c, amct_error *err) {
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

amct_status amct_small_norm_check(amct_pass *pass, amct_small_norm *c, amct_error *err) {
  amct_dtype dtype = AMCT_DTYPE_INVALID;
  amct_attr_type(c->root, "T", &dtype);
  if (dtype != AMCT_DTYPE_FLOAT) return amct_decline(pass, "is not float32");
  const amct_node *reader = c->root;
  amct_edge scaled = c->scaled;
  AMCT_TRY(amct_pass_through(pass, &scaled, &reader, &c->passed, err));
  if (!pass->reason)
    AMCT_TRY(amct_check_sole_use(pass, "product", c->product, reader, err));
  if (!pass->reason) AMCT_TRY(check_parameters(pass, c));
  return pass->reason ? AMCT_OK : check_epsilon(pass, c, err);
}

amct_status amct_small_norm_axis(amct_pass *pass, amct_small_norm *c, amct_error *err) {
  AMCT_TRY(amct_pass_shapes(pass, &c->shapes, err));
  const amct_shape first = amct_shapes_of(c->shapes, c->parameter[AMCT_NORM_VARIANCE]);
  c->channels = amct_shape_count(&first);
  c->axis = amct_vector_axis(&first);
  for (int i = 0; i < AMCT_NORM_PARAMETERS; i++) {
    if (!c->parameter[i].node) continue;
    const amct_shape shape = amct_shapes_of(c->shapes, c->parameter[i]);
    const int32_t axis = amct_vector_axis(&shape);
    if (shape.rank < 1 || shape.rank > 4 || amct_shape_count(&shape) != c->channels ||
        axis != c->axis || (c->channels != 1 && axis != 1 && axis != 3))
      return amct_decline(pass, "%s \"%s\" has not one value for each channel",
                          k_parameters[i], c->parameter[i].node->name);
  }
  return AMCT_OK;
}
