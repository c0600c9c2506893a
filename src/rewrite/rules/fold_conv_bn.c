/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch norm in inference mode goes into the convolution before it.
 *
 *   before   bn(conv(data, weight), scale, offset, mean, variance), a bias_add between
 * them or not after    bias_add(conv(data, weight'), bias'), under the batch norm's name
 *
 *   k = scale / sqrt(variance + epsilon)      weight' = weight * k       bias' = (bias -
 * mean) * k + offset
 *
 * Declines: anything else reads the convolution or its bias, or the model has them as
 * outputs; training mode; other outputs of the batch norm are read; parameters that are
 * no constants or variables; counts, layouts or dtypes that do not fit; values that
 * cannot be folded; the layer is excluded.
 * Source: algorithms.md 4.13; the effect on the graph as amct.md 2.3.
 */
#include "rewrite/fold_values.h"
#include "rewrite/match.h"

enum { BN, BIAS_ADD, CONV, WEIGHT, BIAS, SCALE, OFFSET, MEAN, VARIANCE };

static bool is_float(const amct_node *node, const char *key) {
  amct_dtype dtype = AMCT_DTYPE_FLOAT;
  return !amct_attr_has(node, key) ||
         (amct_attr_type(node, key, &dtype) && dtype == AMCT_DTYPE_FLOAT);
}

static bool is_excluded(const amct_pass *pass, const char *layer) {
  for (size_t i = 0; i < pass->options->skip_count; i++)
    if (strcmp(pass->options->skip_layers[i], layer) == 0) return true;
  return false;
}

/* Who reads the batch statistics, outputs 1 to 5. */
static const amct_node *statistics_reader(const amct_node *bn) {
  for (uint32_t i = 0; i < bn->use_count; i++) {
    const amct_use *use = &bn->uses[i];
    if (use->input < use->node->data_count && use->node->inputs[use->input].port > 0)
      return use->node;
  }
  return NULL;
}

/* What the nodes' attributes and readers say. */
static amct_status check_nodes(amct_pass *pass, const amct_match *m) {
  const amct_node *bn = m->node[BN], *conv = m->node[CONV], *add = m->node[BIAS_ADD];
  bool training = true; /* TensorFlow's default */
  float epsilon;
  if (is_excluded(pass, conv->name))
    return amct_decline(pass, "fusion into \"%s\" is switched off", conv->name);
  amct_attr_bool(bn, "is_training", &training);
  if (training)
    return amct_decline(pass,
                        "is in training mode: export the graph with is_training=False");
  const amct_node *reader = statistics_reader(bn);
  if (reader)
    return amct_decline(pass, "%s \"%s\" reads an output other than the first",
                        reader->op, reader->name);
  if (amct_attr_has(bn, "epsilon") && !amct_attr_float(bn, "epsilon", &epsilon))
    return amct_decline(pass, "has an attribute epsilon that is not a float");
  if (!is_float(bn, "T") || !is_float(bn, "U") || !is_float(conv, "T") ||
      (add && !is_float(add, "T")))
    return amct_decline(pass, "is not float32 throughout, \"%s\" included", conv->name);
  const amct_format format = amct_node_format(bn);
  if (format == AMCT_FORMAT_OTHER || amct_node_format(conv) != format ||
      (add && amct_node_format(add) != format))
    return amct_decline(pass, "data_format differs from that of \"%s\"", conv->name);
  return AMCT_OK;
}

/* One value a channel in each parameter. */
static amct_status check_counts(amct_pass *pass, const amct_match *m, amct_error *err) {
  static const int rows[] = {BIAS, SCALE, OFFSET, MEAN, VARIANCE};
  static const char *const names[] = {"bias", "scale", "offset", "mean", "variance"};
  const amct_node *conv = m->node[CONV];
  amct_shape shape;
  AMCT_TRY(amct_param_shape(m->node[WEIGHT], &shape, err));
  if (shape.rank != 4 || amct_param_dtype(m->node[WEIGHT]) != AMCT_DTYPE_FLOAT)
    return amct_decline(pass, "weights of \"%s\" are not float32 of rank 4", conv->name);
  const int64_t channels = amct_op_channels(amct_op_find(conv->op), &shape).channels;
  if (channels <= 0)
    return amct_decline(pass, "\"%s\" has an unknown number of channels", conv->name);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const amct_node *source = m->node[rows[i]];
    if (!source || (rows[i] == BIAS && amct_plan_fold(pass->plan, conv)))
      continue; /* no bias, or that of an earlier fold, which has no value yet */
    AMCT_TRY(amct_param_shape(source, &shape, err));
    if (shape.rank != 1 || shape.dims[0] != channels)
      return amct_decline(
          pass, "%s \"%s\" has not one value for each of %lld channels of \"%s\"",
          names[i], source->name, (long long)channels, conv->name);
    if (amct_param_dtype(source) != AMCT_DTYPE_FLOAT)
      return amct_decline(pass, "%s \"%s\" is not float32", names[i], source->name);
  }
  return AMCT_OK;
}

/* The layer's steps with this batch norm behind them; the array lives in the graph's
 * arena. */
static amct_status list_steps(amct_pass *pass, const amct_match *m, amct_fold_ref **steps,
                              size_t *count, amct_error *err) {
  const amct_fold *fold = amct_plan_fold(pass->plan, m->node[CONV]);
  const size_t before = fold ? fold->steps.count : m->node[BIAS_ADD] != NULL;
  *steps = amct_arena_array(pass->arena, before + 1, sizeof **steps);
  if (!*steps) return amct_fail_memory(err);
  if (fold)
    memcpy(*steps, fold->steps.at, before * sizeof **steps);
  else if (before)
    (*steps)[0] = (amct_fold_ref){.kind = AMCT_FOLD_BIAS, .bias = m->edge[BIAS]};
  amct_fold_ref *norm = &(*steps)[before];
  norm->kind = AMCT_FOLD_BATCH_NORM;
  norm->scale = m->edge[SCALE];
  norm->offset = m->edge[OFFSET];
  norm->mean = m->edge[MEAN];
  norm->variance = m->edge[VARIANCE];
  norm->epsilon = 1e-4f; /* TensorFlow's default */
  amct_attr_float(m->node[BN], "epsilon", &norm->epsilon);
  *count = before + 1;
  return AMCT_OK;
}

/* Values are there for a frozen pb; for variables the observer looks when they are. */
static amct_status check_values(amct_pass *pass, const amct_match *m,
                                const amct_fold_ref *steps, size_t count,
                                amct_error *err) {
  amct_foldable result = AMCT_FOLDABLE;
  size_t channel = 0;
  if (!m->constant[WEIGHT] || !amct_fold_is_constant(steps, count)) return AMCT_OK;
  AMCT_TRY(amct_fold_try(m->node[CONV], steps, count, &result, &channel, err));
  if (result != AMCT_FOLDABLE)
    return amct_decline(pass, "%s, at channel %zu of \"%s\"", amct_foldable_text(result),
                        channel, m->node[CONV]->name);
  return AMCT_OK;
}

static amct_status commit(amct_pass *pass, const amct_match *m,
                          const amct_fold_ref *steps, size_t count, amct_error *err) {
  amct_node *bn = m->node[BN], *conv = m->node[CONV], *add = m->node[BIAS_ADD];
  const char *wanted = amct_arena_format(pass->arena, "%s/bias", bn->name);
  const char *bias = wanted ? amct_edits_free_name(pass->edits, wanted) : NULL;
  if (!bias) return amct_fail_memory(err);
  amct_spec_type(amct_edits_add(pass->edits, bias, "Const", bn, true), "dtype",
                 AMCT_DTYPE_FLOAT);
  amct_spec *sum = amct_edits_replace(pass->edits, bn, "BiasAdd");
  amct_spec_input(sum, conv->name);
  amct_spec_input(sum, bias);
  amct_spec_type(sum, "T", AMCT_DTYPE_FLOAT);
  amct_spec_text(sum, "data_format", amct_node_format(bn) == AMCT_NCHW ? "NCHW" : "NHWC");
  if (add) {
    for (uint32_t i = add->data_count; i < add->input_count; i++)
      amct_spec_input(sum, amct_edge_text(add->inputs[i]));
    amct_spec_origin(sum, add->name);
    amct_edits_remove(pass->edits, add);
  }
  return amct_plan_note(pass->plan, conv, steps, count, bias, err);
}

static amct_status fold(amct_pass *pass, const amct_match *m, amct_error *err) {
  amct_fold_ref *steps = NULL;
  size_t count = 0;
  AMCT_TRY(check_nodes(pass, m));
  if (!pass->reason) AMCT_TRY(check_counts(pass, m, err));
  if (pass->reason) return AMCT_OK;
  AMCT_TRY(list_steps(pass, m, &steps, &count, err));
  AMCT_TRY(check_values(pass, m, steps, count, err));
  return pass->reason ? AMCT_OK : commit(pass, m, steps, count, err);
}

// clang-format off
const amct_rule amct_rule_fold_conv_bn = {
  .name    = "fold_conv_bn",
  .before  = "bn([bias_add](conv(data, weight), bias), scale, offset, mean, variance)",
  .after   = "bias_add(conv(data, weight'), bias')",
  .rewrite = fold,
  .row = {
    [BN]       = {"batch norm", "FusedBatchNorm|FusedBatchNormV2|FusedBatchNormV3",
                  {BIAS_ADD, SCALE, OFFSET, MEAN, VARIANCE}},
    [BIAS_ADD] = {"bias", "BiasAdd", {CONV, BIAS}, .sole_use = true, .optional = true},
    [CONV]     = {"convolution", "Conv2D|DepthwiseConv2dNative", {0, WEIGHT}, .sole_use = true, .layer = true},
    [WEIGHT]   = {"weight of the convolution"},
    [BIAS]     = {"bias of the convolution"},
    [SCALE]    = {"scale of the batch norm"},
    [OFFSET]   = {"offset of the batch norm"},
    [MEAN]     = {"mean of the batch norm"},
    [VARIANCE] = {"variance of the batch norm"},
  },
};
// clang-format on
