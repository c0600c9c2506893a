/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch norm in small ops goes into the matrix product before it.
 *
 *   before  data * inv + shift, as in fuse_small_bn; data is matmul(...), with or without
 * a bias as in fold_conv_bn after   bias_add(matmul(..., weight'), bias'), under the name
 * of the last addition
 *
 * Formulas as in fold_conv_bn.
 *
 * Declines: as fuse_small_bn and fold_conv_bn; parameters of another shape than [C] and
 * [1,C], where C is the number of columns.
 */
#include "rewrite/norm_folds.h"
#include "rewrite/small_norm.h"

static bool is_product(amct_edge edge) {
  edge = amct_see_through(edge);
  return edge.port == 0 && strcmp(edge.node->op, "MatMul") == 0;
}

static bool recognises(amct_node *root) {
  amct_small_norm c;
  if (!amct_small_norm_read(root, &c)) return false;
  const amct_edge data = amct_see_through(c.data);
  if (is_product(data)) return true;
  if (data.port != 0 || !amct_ops_have("BiasAdd|Add|AddV2", data.node->op)) return false;
  for (uint32_t i = 0; i < data.node->data_count; i++)
    if (is_product(data.node->inputs[i])) return true;
  return false;
}

/* The parameters lie along the columns and give the product no other rank. */
static amct_status check_shapes(amct_pass *pass, amct_small_norm *c, int64_t columns,
                                amct_error *err) {
  AMCT_TRY(amct_small_norm_axis(pass, c, err));
  if (pass->reason) return AMCT_OK;
  for (int i = 0; i < AMCT_NORM_PARAMETERS; i++) {
    const amct_edge edge = c->parameter[i];
    if (!edge.node) continue;
    if (c->channels != columns || c->axis == 1 ||
        amct_shapes_of(c->shapes, edge).rank > 2)
      return amct_decline(pass, "%s \"%s\" has not one value for each of %lld channels",
                          amct_small_norm_name(i), edge.node->name, (long long)columns);
  }
  return AMCT_OK;
}

static amct_status commit(amct_pass *pass, const amct_norm_fold *fold,
                          const amct_small_norm *c, amct_error *err) {
  amct_node *root = fold->match->node[ROW_NORM], *sum = fold->match->node[ROW_SUM];
  amct_spec *spec = amct_edits_replace(pass->edits, root, "BiasAdd");
  AMCT_TRY(amct_norm_commit(pass, fold, spec, root, err));
  amct_norm_absorb(pass, spec, c->product);
  if (sum) amct_norm_absorb(pass, spec, sum);
  amct_norm_absorb_passed(pass, spec, &c->passed);
  amct_norm_absorb_passed(pass, spec, &fold->match->passed);
  pass->layers = fold->match->node[ROW_CONV]->name;
  return AMCT_OK;
}

static amct_status rewrite(amct_pass *pass, const amct_match *m, amct_error *err) {
  amct_small_norm c;
  amct_match found = *m;
  amct_norm_fold fold = {.match = &found};
  if (!amct_small_norm_read(m->node[ROW_NORM], &c)) return AMCT_OK; /* as recognised */
  AMCT_TRY(amct_small_norm_check(pass, &c, err));
  if (!pass->reason)
    AMCT_TRY(amct_match_row(pass, ROW_SUM, c.data, c.product, &found, err));
  if (!pass->reason) AMCT_TRY(amct_norm_check(pass, &fold, err));
  if (!pass->reason) AMCT_TRY(check_shapes(pass, &c, fold.channels, err));
  const amct_fold_ref step = {.kind = AMCT_FOLD_BATCH_NORM,
                              .scale = c.parameter[AMCT_NORM_SCALE],
                              .offset = c.parameter[AMCT_NORM_OFFSET],
                              .mean = c.parameter[AMCT_NORM_MEAN],
                              .variance = c.parameter[AMCT_NORM_VARIANCE],
                              .epsilon = c.epsilon_value};
  fold.step = &step;
  if (!pass->reason) AMCT_TRY(amct_norm_try(pass, &fold, err));
  return pass->reason ? AMCT_OK : commit(pass, &fold, &c, err);
}

// clang-format off
const amct_rule amct_rule_fold_matmul_bn = {
  .name       = "fold_matmul_bn",
  .before     = "add(mul([bias_add](matmul(data, weight), bias), inv), sub(offset, mul(mean, inv)))",
  .after      = "bias_add(matmul(data, weight'), bias')",
  .rewrite    = rewrite,
  .recognises = recognises,
  .row = {
    [ROW_NORM] = {"batch norm", "Add|AddV2"},
    AMCT_LAYER_ROWS("product", "MatMul", false),
  },
};
// clang-format on
