/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A product, quotient, sum or difference with a constant goes into the layer before it.
 *
 *   before  mul, real_div, add or sub of layer(data, weight) and a constant of one value,
 *           or of one value a channel; behind the layer may stand a bias as in
 * fold_conv_bn. Operands in either order, but for a constant that is divided after
 * bias_add(layer(data, weight'), bias'), under the name of the operation. A sum leaves
 * the weights as they are: it is made a bias, which can be quantized
 *
 *   mul       weight' = weight * c   bias' = bias * c
 *   real_div  weight' = weight / c   bias' = bias / c
 *   add       bias' = bias + c
 *   sub       bias' = bias - c; or weight' = -weight, bias' = c - bias
 *
 * Declines: anything else reads the layer or its bias, or the model has them as outputs;
 * weights that are no constants or variables; counts or dtypes that do not fit, and a
 * constant that gives the result another shape; values that cannot be folded; the layer
 * is excluded.
 */
#include "op/parameters.h"
#include "rewrite/norm_folds.h"

#define LAYERS AMCT_CONVOLUTIONS "|MatMul"

static bool is_layer(amct_edge edge) {
  edge = amct_see_through(edge);
  return edge.port == 0 && amct_ops_have(LAYERS, edge.node->op);
}

static bool is_vector(amct_edge edge) {
  bool constant;
  return amct_vector_source(edge, &constant) != NULL;
}

/* A layer, or the addition of a constant to one. */
static bool leads_to_layer(amct_edge edge) {
  edge = amct_see_through(edge);
  const amct_node *node = edge.node;
  if (is_layer(edge)) return true;
  if (edge.port != 0 || node->data_count != 2) return false;
  if (strcmp(node->op, "BiasAdd") == 0) return is_layer(node->inputs[0]);
  if (!amct_ops_have("Add|AddV2", node->op)) return false;
  for (uint32_t i = 0; i < 2; i++)
    if (is_layer(node->inputs[i]) && is_vector(node->inputs[1 - i])) return true;
  return false;
}

/* The input that is the constant; -1: neither. */
static int constant_input(const amct_node *root) {
  if (root->data_count != 2) return -1;
  const bool divides = amct_ops_have("RealDiv|Div", root->op);
  for (int i = divides ? 1 : 0; i < 2; i++)
    if (is_vector(root->inputs[i]) && leads_to_layer(root->inputs[1 - i])) return i;
  return -1;
}

static bool recognises(amct_node *root) {
  return constant_input(root) >= 0;
}

static amct_fold_kind kind_of(const amct_node *root, int constant) {
  if (strcmp(root->op, "Mul") == 0) return AMCT_FOLD_MULTIPLY;
  if (amct_ops_have("RealDiv|Div", root->op)) return AMCT_FOLD_DIVIDE;
  if (strcmp(root->op, "Sub") != 0) return AMCT_FOLD_ADD;
  return constant ? AMCT_FOLD_SUBTRACT : AMCT_FOLD_SUBTRACT_FROM;
}

static amct_status commit(amct_pass *pass, const amct_norm_fold *fold, amct_error *err) {
  amct_node *root = fold->match->node[ROW_NORM], *sum = fold->match->node[ROW_SUM];
  AMCT_TRY(amct_match_take(pass, fold->match, err));
  if (pass->deferred) return AMCT_OK;
  amct_spec *spec = amct_edits_replace(pass->edits, root, "BiasAdd");
  AMCT_TRY(amct_norm_commit(pass, fold, spec, root, err));
  if (sum) amct_norm_absorb(pass, spec, sum);
  amct_norm_absorb_passed(pass, spec, &fold->match->passed);
  pass->layers = fold->match->node[ROW_CONV]->name;
  return AMCT_OK;
}

static amct_status rewrite(amct_pass *pass, const amct_match *m, amct_error *err) {
  amct_node *root = m->node[ROW_NORM];
  const int constant = constant_input(root);
  if (constant < 0) return AMCT_OK; /* as recognised */
  amct_match found = *m;
  amct_norm_fold fold = {.match = &found};
  bool is_const;
  const amct_edge operand = root->inputs[constant];
  const amct_node *source = amct_vector_source(operand, &is_const);
  amct_fold_ref step = {.kind = kind_of(root, constant), .bias = operand};
  AMCT_TRY(amct_match_row(pass, ROW_SUM, root->inputs[1 - constant], root, &found, err));
  if (!pass->reason) AMCT_TRY(amct_norm_check(pass, &fold, err));
  if (!pass->reason)
    AMCT_TRY(amct_norm_check_operand(pass, &fold, operand, source, &step.single, err));
  fold.step = &step;
  if (!pass->reason) AMCT_TRY(amct_norm_try(pass, &fold, err));
  return pass->reason ? AMCT_OK : commit(pass, &fold, err);
}

// clang-format off
const amct_rule amct_rule_fold_arithmetic = {
  .name       = "fold_arithmetic",
  .before     = "mul([bias_add](layer(data, weight), bias), constant), or real_div, add, sub",
  .after      = "bias_add(layer(data, weight'), bias')",
  .rewrite    = rewrite,
  .recognises = recognises,
  .row = {
    [ROW_NORM] = {"operation", "Mul|RealDiv|Div|Add|AddV2|Sub"},
    AMCT_LAYER_ROWS("layer", LAYERS, false),
  },
};
// clang-format on
