/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch norm in inference mode goes into the convolution before it.
 *
 *   before  bn(conv(data, weight), scale, offset, mean, variance); between them may stand
 *           a BiasAdd, or an Add or AddV2 of a constant with one value a channel.
 *           conv: Conv2D, DepthwiseConv2dNative, Conv2DBackpropInput
 *   after   bias_add(conv(data, weight'), bias'), under the batch norm's name
 *
 *   k = scale / sqrt(variance + epsilon)
 *   weight' = weight * k
 *   bias' = (bias - mean) * k + offset
 *
 * Declines: anything else reads the convolution or its bias, or the model has them as
 * outputs; training mode; other outputs of the batch norm are read; parameters that are
 * no constants or variables; counts, layouts or dtypes that do not fit; values that
 * cannot be folded; the layer is excluded.
 * Source: Jacob et al. 2018, arXiv:1712.05877, section 3.2.
 */
#include "rewrite/norm_folds.h"

static amct_status commit(amct_pass *pass, const amct_norm_fold *fold, amct_error *err) {
  amct_node *norm = fold->match->node[ROW_NORM], *sum = fold->match->node[ROW_SUM];
  amct_spec *spec = amct_edits_replace(pass->edits, norm, "BiasAdd");
  AMCT_TRY(amct_norm_commit(pass, fold, spec, norm, err));
  if (sum) amct_norm_absorb(pass, spec, sum);
  amct_norm_absorb_passed(pass, spec, &fold->match->passed);
  return AMCT_OK;
}

static amct_status rewrite(amct_pass *pass, const amct_match *m, amct_error *err) {
  amct_norm_fold fold = {.match = m};
  AMCT_TRY(amct_norm_check_all(pass, &fold, err));
  if (!pass->reason) AMCT_TRY(amct_norm_try(pass, &fold, err));
  return pass->reason ? AMCT_OK : commit(pass, &fold, err);
}

// clang-format off
const amct_rule amct_rule_fold_conv_bn = {
  .name    = "fold_conv_bn",
  .before  = "bn([bias_add](conv(data, weight), bias), scale, offset, mean, variance)",
  .after   = "bias_add(conv(data, weight'), bias')",
  .rewrite = rewrite,
  .row = {
    [ROW_NORM] = {"batch norm", AMCT_NORM_OPS, NULL,
                  {ROW_SUM, ROW_SCALE, ROW_OFFSET, ROW_MEAN, ROW_VARIANCE}},
    AMCT_LAYER_ROWS("convolution", AMCT_CONVOLUTIONS, false),
    AMCT_NORM_ROWS,
  },
};
// clang-format on
