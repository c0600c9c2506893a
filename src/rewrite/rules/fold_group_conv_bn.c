/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch norm in inference mode goes into the convolutions of a group before it, whose
 * outputs are concatenated on the channels.
 *
 *   before  bn(concat(conv(data, weight), ...), scale, offset, mean, variance); any
 *           number of convolutions, of any number of channels, each with or without a
 *           bias as in fold_conv_bn, and a bias behind the concat. Where their data come
 *           from is of no account: the parts of a Split, or any others
 *   after   concat(bias_add(conv(data, weight'), bias'), ...), under the batch norm's
 *           name; the bias additions are called <convolution>/bias_add
 *
 * Formulas as in fold_conv_bn, each convolution with its part of the parameters, cut in
 * the order of the concat.
 *
 * Declines: as fold_conv_bn, if so much as one convolution is not fit; anything else
 * reads the concat, or the model has it as output; it is not on the channels.
 */
#include "rewrite/norm_folds.h"

/* A concat and its branches, in order. */
typedef struct group {
  const amct_match *match;
  amct_node *concat;
  uint32_t first, axis; /* inputs of the concat: the first branch; the axis */
  amct_match *branches;
  amct_norm_fold *folds;
  size_t count;
} group;

static bool is_concat(amct_edge edge) {
  edge = amct_see_through(edge);
  return edge.port == 0 && amct_ops_have("Concat|ConcatV2", edge.node->op);
}

static bool recognises(amct_node *root) {
  if (root->data_count == 0) return false;
  const amct_node *before = amct_see_through(root->inputs[0]).node;
  if (is_concat(root->inputs[0])) return true;
  if (!amct_ops_have("BiasAdd|Add|AddV2", before->op)) return false;
  for (uint32_t i = 0; i < before->data_count; i++)
    if (is_concat(before->inputs[i])) return true;
  return false;
}

static amct_status open_group(amct_pass *pass, const amct_match *m, group *g,
                              amct_error *err) {
  amct_node *concat = m->node[ROW_CONCAT];
  const bool axis_first = strcmp(concat->op, "Concat") == 0;
  *g = (group){.match = m, .concat = concat};
  if (concat->data_count < 2)
    return amct_decline(pass, "concat \"%s\" has %u inputs", concat->name,
                        concat->data_count);
  g->count = concat->data_count - 1;
  g->first = axis_first ? 1 : 0;
  g->axis = axis_first ? 0 : concat->data_count - 1;
  g->branches = amct_arena_array(pass->arena, g->count, sizeof *g->branches);
  g->folds = amct_arena_array(pass->arena, g->count, sizeof *g->folds);
  return g->branches && g->folds ? AMCT_OK : amct_fail_memory(err);
}

/* The concat must be on the channels of the batch norm. */
static amct_status check_axis(amct_pass *pass, const group *g, amct_error *err) {
  const int64_t wanted = amct_node_format(g->match->node[ROW_NORM]) == AMCT_NCHW ? 1 : 3;
  const amct_edge edge = g->concat->inputs[g->axis];
  bool constant = false;
  amct_arena scratch = {0};
  amct_tensor tensor;
  const int64_t *axis = NULL;
  const amct_node *source = amct_param_source(edge, &constant);
  if (!source || !constant)
    return amct_decline(pass, "the axis of concat \"%s\" is not a constant",
                        g->concat->name);
  amct_status status = amct_const_tensor(source, &tensor, err);
  if (status == AMCT_OK) status = amct_tensor_ints(&tensor, &scratch, &axis, source, err);
  const bool fits =
      status == AMCT_OK && tensor.count == 1 && (*axis == wanted || *axis == wanted - 4);
  amct_arena_free(&scratch);
  AMCT_TRY(status);
  if (!fits)
    return amct_decline(pass, "concat \"%s\" is not on the channels", g->concat->name);
  return AMCT_OK;
}

/* The bias behind the concat, as if that were a layer. */
static amct_status check_outer(amct_pass *pass, const group *g, int64_t channels,
                               amct_error *err) {
  amct_match whole = *g->match;
  whole.node[ROW_CONV] = g->concat;
  const amct_norm_fold fold = {.match = &whole, .channels = channels};
  return amct_norm_check_outer(pass, &fold, err);
}

static amct_status match_branches(amct_pass *pass, group *g, amct_error *err) {
  int64_t channels = 0;
  for (size_t i = 0; i < g->count; i++) {
    const amct_edge edge = g->concat->inputs[g->first + i];
    g->branches[i] = *g->match;
    g->branches[i].passed.count = 0;
    g->folds[i] = (amct_norm_fold){.match = &g->branches[i], .first = channels};
    AMCT_TRY(amct_match_row(pass, ROW_SUM, edge, g->concat, &g->branches[i], err));
    if (!pass->reason) AMCT_TRY(amct_norm_check(pass, &g->folds[i], err));
    if (pass->reason) return AMCT_OK;
    channels = amct_dim_add(channels, g->folds[i].channels);
  }
  AMCT_TRY(amct_norm_check_counts(pass, g->match, channels, g->concat, err));
  if (!pass->reason) AMCT_TRY(check_outer(pass, g, channels, err));
  for (size_t i = 0; i < g->count && !pass->reason; i++) {
    g->folds[i].total = channels;
    AMCT_TRY(amct_norm_try(pass, &g->folds[i], err));
  }
  return AMCT_OK;
}

/* ---- edits ---- */

/* The concat under the batch norm's name. */
static amct_status move_concat(amct_pass *pass, const group *g,
                               const char *const *tensors, amct_error *err) {
  const amct_node *concat = g->concat;
  amct_spec *spec = amct_edits_replace(pass->edits, g->match->node[ROW_NORM], concat->op);
  amct_slice key, value;
  for (uint32_t i = 0; i < concat->input_count; i++) {
    const bool branch = i >= g->first && i - g->first < g->count;
    amct_spec_input(spec,
                    branch ? tensors[i - g->first] : amct_edge_text(concat->inputs[i]));
  }
  for (size_t i = 0; amct_attr_at(concat, i, &key, &value); i++) {
    const char *text = amct_arena_text(pass->arena, (const char *)key.data, key.size);
    if (!text) return amct_fail_memory(err);
    amct_spec_raw(spec, text, value);
  }
  amct_spec_origin(spec, concat->name);
  amct_edits_detach(pass->edits, g->concat);
  if (g->match->node[ROW_OUTER]) amct_norm_absorb(pass, spec, g->match->node[ROW_OUTER]);
  amct_norm_absorb_passed(pass, spec, &g->match->passed);
  for (size_t i = 0; i < g->count; i++)
    amct_norm_absorb_passed(pass, spec, &g->branches[i].passed);
  return AMCT_OK;
}

static amct_status commit(amct_pass *pass, const group *g, amct_error *err) {
  const char **tensors = amct_arena_array(pass->arena, g->count, sizeof *tensors);
  amct_buffer names = {0};
  amct_status status = tensors ? AMCT_OK : amct_fail_memory(err);
  for (size_t i = 0; i < g->count && status == AMCT_OK; i++) {
    status = amct_norm_commit_new(pass, &g->folds[i], &tensors[i], err);
    amct_buffer_format(&names, "%s%s", i ? "," : "", g->branches[i].node[ROW_CONV]->name);
  }
  if (status == AMCT_OK) status = move_concat(pass, g, tensors, err);
  if (status == AMCT_OK) status = amct_pass_name_layers(pass, &names, err);
  amct_buffer_free(&names);
  return status;
}

static amct_status rewrite(amct_pass *pass, const amct_match *m, amct_error *err) {
  group g;
  AMCT_TRY(open_group(pass, m, &g, err));
  if (!pass->reason) AMCT_TRY(check_axis(pass, &g, err));
  if (!pass->reason) AMCT_TRY(match_branches(pass, &g, err));
  return pass->reason ? AMCT_OK : commit(pass, &g, err);
}

// clang-format off
const amct_rule amct_rule_fold_group_conv_bn = {
  .name       = "fold_group_conv_bn",
  .before     = "bn([bias_add](concat([bias_add](conv(data, weight), bias), ...), bias), scale, offset, mean, variance)",
  .after      = "concat(bias_add(conv(data, weight'), bias'), ...)",
  .rewrite    = rewrite,
  .recognises = recognises,
  .row = {
    [ROW_NORM]   = {"batch norm", AMCT_NORM_OPS, NULL,
                    {ROW_OUTER, ROW_SCALE, ROW_OFFSET, ROW_MEAN, ROW_VARIANCE}},
    [ROW_OUTER]  = {"bias", "BiasAdd", "Add|AddV2", {ROW_CONCAT, ROW_OUTER_BIAS},
                    .sole_use = true, .optional = true},
    [ROW_OUTER_BIAS] = {"bias", .vector = true},
    [ROW_CONCAT] = {"concat", "Concat|ConcatV2", .sole_use = true},
    AMCT_LAYER_ROWS("convolution", AMCT_CONVOLUTIONS, false),
    AMCT_NORM_ROWS,
  },
};
// clang-format on
