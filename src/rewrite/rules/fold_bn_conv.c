/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch norm in inference mode goes into the convolutions behind it, where no rule
 * takes it into what stands before.
 *
 *   before  conv(bn(data, scale, offset, mean, variance), weight), any number of such
 *           convolutions; perhaps Identity and the like between them.
 *           conv: Conv2D, DepthwiseConv2dNative
 *   after   bias_add(conv(data, weight'), bias'): the BiasAdd that stands there, or a new
 *           one, <convolution>/bias_add, for all that read the convolution
 *
 *   k[i] = scale[i] / sqrt(variance[i] + epsilon)    of input channel i
 *   s[i] = offset[i] - mean[i] * k[i]
 *   weight' = weight * k[i]
 *   bias' = bias + the sum of weight * s[i] over height, width and input channels
 *
 * The convolution then reads another tensor than it did, for which a record has no
 * factors: only `amct fuse` does this. Whoever quantizes the model it writes has the
 * result.
 *
 * Declines: everywhere but in `amct fuse`; anything else reads the batch norm, or the
 * model has it as output; the convolution pads with zeros, which would need to be
 * -s[i] / k[i], and a shift s[i] is not zero; nothing adds a bias to it and it is a model
 * output; parameters that are no constants, or do not fit; as fold_conv_bn.
 */
#include "op/parameters.h"
#include "rewrite/fold_values.h"
#include "rewrite/norm_folds.h"

#define LAYERS "Conv2D|DepthwiseConv2dNative"
enum { INPUT_AXIS = 2 }; /* of a filter */

/* A batch norm, and the convolutions that read it. */
typedef struct reach {
  const amct_match *match;
  AMCT_VEC(amct_node *) layers;
  AMCT_VEC(amct_node *) passed; /* the batch norm, then what hands it on */
  amct_match *matches;
  amct_norm_fold *folds;
  int64_t channels; /* of the batch norm */
} reach;

static bool is_layer_data(const amct_use *use) {
  return use->input == 0 && amct_ops_have(LAYERS, use->node->op);
}

/* A convolution reads it, behind at most so many that hand it on. */
static bool leads_to_layer(const amct_node *node, int most) {
  for (uint32_t i = 0; i < node->use_count; i++) {
    const amct_use *use = &node->uses[i];
    if (is_layer_data(use)) return true;
    if (most > 0 && use->input == 0 && amct_op_passes(use->node) &&
        leads_to_layer(use->node, most - 1))
      return true;
  }
  return false;
}

static bool recognises(amct_node *root) {
  return leads_to_layer(root, AMCT_PASSED_MAX);
}

/* ---- who reads it ---- */

static amct_status add_readers(amct_pass *pass, reach *r, const amct_node *node,
                               amct_error *err) {
  if (amct_pass_keeps(pass, node))
    return amct_decline(pass, "%s \"%s\" is a model output and must keep its value",
                        node->op, node->name);
  for (uint32_t i = 0; i < node->use_count && !pass->reason; i++) {
    const amct_use *use = &node->uses[i];
    bool kept = true;
    if (amct_map_get(&pass->plan->orphans, use->node)) continue;
    if (is_layer_data(use))
      kept = AMCT_VEC_PUSH(&r->layers, use->node);
    else if (use->input == 0 && amct_op_passes(use->node))
      kept = AMCT_VEC_PUSH(&r->passed, use->node);
    else
      return amct_decline(pass, "%s \"%s\" is also read by %s \"%s\"", node->op,
                          node->name, use->node->op, use->node->name);
    if (!kept) return amct_fail_memory(err);
  }
  return AMCT_OK;
}

static amct_status find_layers(amct_pass *pass, reach *r, amct_error *err) {
  amct_node *norm = r->match->node[ROW_NORM];
  if (!AMCT_VEC_PUSH(&r->passed, norm)) return amct_fail_memory(err);
  for (size_t i = 0; i < r->passed.count && !pass->reason; i++)
    AMCT_TRY(add_readers(pass, r, r->passed.at[i], err));
  r->matches = amct_arena_array(pass->arena, r->layers.count + 1, sizeof *r->matches);
  r->folds = amct_arena_array(pass->arena, r->layers.count + 1, sizeof *r->folds);
  return r->matches && r->folds ? AMCT_OK : amct_fail_memory(err);
}

/* ---- one convolution ---- */

/* The BiasAdd that alone reads it, of a parameter; NULL. */
static amct_node *find_sum(const amct_pass *pass, const amct_node *layer) {
  amct_node *sum = NULL;
  bool constant;
  for (uint32_t i = 0; i < layer->use_count; i++) {
    const amct_use *use = &layer->uses[i];
    if (amct_map_get(&pass->plan->orphans, use->node)) continue;
    if (sum || use->input != 0 || strcmp(use->node->op, "BiasAdd") != 0) return NULL;
    sum = use->node;
  }
  if (!sum || sum->data_count != 2 || amct_pass_keeps(pass, layer)) return NULL;
  return amct_vector_source(sum->inputs[1], &constant) ? sum : NULL;
}

static amct_status check_layer(amct_pass *pass, reach *r, size_t i, amct_error *err) {
  amct_node *layer = r->layers.at[i];
  amct_match *m = &r->matches[i];
  amct_norm_fold *fold = &r->folds[i];
  *m = *r->match;
  *fold = (amct_norm_fold){.match = m, .before = true};
  amct_node *sum = amct_plan_fold(pass->plan, layer) ? NULL : find_sum(pass, layer);
  const amct_edge edge = {sum ? sum : layer, 0};
  amct_shape shape;
  AMCT_TRY(amct_match_row(pass, sum ? ROW_SUM : ROW_CONV, edge, NULL, m, err));
  if (!pass->reason) AMCT_TRY(amct_norm_check(pass, fold, err));
  if (pass->reason) return AMCT_OK;
  AMCT_TRY(amct_param_shape(m->node[ROW_WEIGHT], &shape, err));
  if (amct_pass_keeps(pass, layer))
    return amct_decline(pass, "\"%s\" is a model output and must keep its value",
                        layer->name);
  r->channels = shape.dims[INPUT_AXIS];
  return amct_norm_check_counts(pass, m, r->channels, layer, err);
}

/* ---- zeros around its input ---- */

static amct_status check_padding(const amct_match *m, bool *pads, amct_error *err) {
  const amct_node *layer = m->node[ROW_CONV];
  amct_shape shape;
  amct_ints sizes;
  *pads = !amct_attr_is(layer, "padding", "VALID", false);
  if (!*pads) return AMCT_OK;
  AMCT_TRY(amct_param_shape(m->node[ROW_WEIGHT], &shape, err));
  if (amct_attr_is(layer, "padding", "SAME", false)) {
    *pads = shape.dims[0] != 1 || shape.dims[1] != 1;
    return AMCT_OK;
  }
  if (!amct_attr_ints(layer, "explicit_paddings", &sizes)) return AMCT_OK;
  *pads = false;
  for (size_t i = 0; i < sizes.count; i++)
    *pads = *pads || sizes.at[i] != 0;
  return AMCT_OK;
}

static amct_status find_padded(const reach *r, const amct_node **padded,
                               amct_error *err) {
  *padded = NULL;
  for (size_t i = 0; i < r->layers.count && !*padded; i++) {
    bool pads;
    AMCT_TRY(check_padding(&r->matches[i], &pads, err));
    if (pads) *padded = r->layers.at[i];
  }
  return AMCT_OK;
}

/* The parameters of the batch norm and of the layer, with what is folded into it. */
static bool is_constant(const amct_pass *pass, const amct_norm_fold *fold) {
  const amct_match *m = fold->match;
  const amct_fold *earlier = amct_plan_fold(pass->plan, m->node[ROW_CONV]);
  const amct_fold_ref own[] = {amct_norm_step(pass, fold),
                               {.kind = AMCT_FOLD_BIAS, .bias = m->edge[ROW_BIAS]}};
  return m->constant[ROW_WEIGHT] && amct_fold_is_constant(own, 2) &&
         (!earlier || amct_fold_is_constant(earlier->steps.at, earlier->steps.count));
}

static amct_status check_constants(amct_pass *pass, const reach *r) {
  for (size_t i = 0; i < r->layers.count; i++)
    if (!is_constant(pass, &r->folds[i]))
      return amct_decline(pass, "it or \"%s\" reads variables: freeze the graph first",
                          r->layers.at[i]->name);
  return AMCT_OK;
}

/* Zeros that are added behind the batch norm stay zeros only if its shift is zero. */
static amct_status check_shifts(amct_pass *pass, const reach *r, const amct_node *padded,
                                amct_error *err) {
  const size_t channels = (size_t)r->channels;
  const amct_fold_ref norm = amct_norm_step(pass, &r->folds[0]);
  amct_fold_step step;
  amct_arena scratch = {0};
  size_t at = 0;
  double *factor = amct_arena_array(&scratch, channels + 1, sizeof *factor);
  double *shift = amct_arena_array(&scratch, channels + 1, sizeof *shift);
  amct_status status = factor && shift ? AMCT_OK : amct_fail_memory(err);
  if (status == AMCT_OK)
    status = amct_fold_read(&step, &norm, 1, channels, &scratch, err);
  if (status == AMCT_OK && amct_fold_run(&step, 1, channels, factor, shift, &at) ==
                               AMCT_FOLDABLE) /* else amct_norm_try says why not */
    for (at = 0; at < channels && shift[at] == 0.0; at++) {
    }
  if (status == AMCT_OK && at < channels)
    status = amct_decline(
        pass, "\"%s\" pads with zeros, and offset - mean * k is not zero in channel %zu",
        padded->name, at);
  amct_arena_free(&scratch);
  return status;
}

static amct_status check_values(amct_pass *pass, const reach *r, amct_error *err) {
  const amct_node *padded = NULL;
  AMCT_TRY(find_padded(r, &padded, err));
  if (!pass->options->moves_data && padded)
    return amct_decline(pass,
                        "\"%s\" pads with zeros, so offset - mean * k must be zero; "
                        "where it is, run `amct fuse`, and quantize the fused model",
                        padded->name);
  if (!pass->options->moves_data)
    return amct_decline(pass,
                        "\"%s\" would read a tensor that no factors are for: run `amct "
                        "fuse`, and quantize the fused model",
                        r->layers.at[0]->name);
  AMCT_TRY(check_constants(pass, r));
  if (padded && !pass->reason) AMCT_TRY(check_shifts(pass, r, padded, err));
  for (size_t i = 0; i < r->layers.count && !pass->reason; i++)
    AMCT_TRY(amct_norm_try(pass, &r->folds[i], err));
  return AMCT_OK;
}

static amct_status check(amct_pass *pass, reach *r, amct_error *err) {
  AMCT_TRY(find_layers(pass, r, err));
  if (!pass->reason && r->layers.count == 0)
    return amct_decline(pass, "no convolution reads it");
  for (size_t i = 0; i < r->layers.count && !pass->reason; i++)
    AMCT_TRY(check_layer(pass, r, i, err));
  return pass->reason ? AMCT_OK : check_values(pass, r, err);
}

/* An earlier rule looked at what stands before: both reasons, where they are two. */
static amct_status join_reasons(amct_pass *pass, const amct_node *root) {
  const char *earlier = amct_plan_refusal(pass->plan, root), *own = pass->reason;
  if (!own || !earlier || strcmp(own, earlier) == 0) return AMCT_OK;
  return amct_decline(pass, "%s; not forward either: %s", earlier, own);
}

/* ---- edits ---- */

static amct_status add_bias(amct_pass *pass, const amct_norm_fold *fold,
                            amct_error *err) {
  const amct_match *m = fold->match;
  amct_node *sum = m->node[ROW_SUM];
  const char *tensor = NULL;
  if (!sum) {
    AMCT_TRY(amct_norm_commit_new(pass, fold, &tensor, err));
    amct_edits_rewire(pass->edits, (amct_edge){m->node[ROW_CONV], 0}, tensor, NULL, 0);
    return AMCT_OK;
  }
  amct_spec *spec = amct_edits_replace(pass->edits, sum, "BiasAdd");
  AMCT_TRY(amct_norm_commit(pass, fold, spec, sum, err));
  amct_spec_origin(spec, sum->name);
  return AMCT_OK;
}

static amct_status commit_layer(amct_pass *pass, const reach *r,
                                const amct_norm_fold *fold, amct_error *err) {
  amct_node *layer = fold->match->node[ROW_CONV];
  const amct_fold_ref norm = amct_norm_step(pass, fold);
  if (!amct_plan_fold(pass->plan, layer)) AMCT_TRY(add_bias(pass, fold, err));
  amct_edits_set_input(pass->edits, layer, 0,
                       amct_edge_text(r->match->node[ROW_NORM]->inputs[0]));
  for (size_t i = 0; i < r->passed.count; i++) {
    const amct_node *node = r->passed.at[i];
    for (uint32_t k = node->data_count; k < node->input_count; k++)
      amct_edits_control(pass->edits, layer, node->inputs[k].node->name);
  }
  return amct_plan_note_before(pass->plan, layer, &norm, err);
}

static amct_status commit(amct_pass *pass, const reach *r, amct_error *err) {
  amct_buffer names = {0};
  amct_status status = AMCT_OK;
  for (size_t i = 0; i < r->layers.count && status == AMCT_OK; i++) {
    status = commit_layer(pass, r, &r->folds[i], err);
    amct_buffer_format(&names, "%s%s", i ? "," : "", r->layers.at[i]->name);
  }
  for (size_t i = 0; i < r->passed.count; i++)
    amct_edits_detach(pass->edits, r->passed.at[i]);
  if (status == AMCT_OK) status = amct_pass_name_layers(pass, &names, err);
  amct_buffer_free(&names);
  return status;
}

static amct_status rewrite(amct_pass *pass, const amct_match *m, amct_error *err) {
  reach r = {.match = m};
  amct_status status = check(pass, &r, err);
  if (status == AMCT_OK)
    status = pass->reason ? join_reasons(pass, m->node[ROW_NORM]) : commit(pass, &r, err);
  AMCT_VEC_FREE(&r.layers);
  AMCT_VEC_FREE(&r.passed);
  return status;
}

// clang-format off
const amct_rule amct_rule_fold_bn_conv = {
  .name       = "fold_bn_conv",
  .before     = "conv(bn(data, scale, offset, mean, variance), weight), ...",
  .after      = "bias_add(conv(data, weight'), bias'), ...",
  .rewrite    = rewrite,
  .recognises = recognises,
  .row = {
    [ROW_NORM] = {"batch norm", AMCT_NORM_OPS, NULL,
                  {0, ROW_SCALE, ROW_OFFSET, ROW_MEAN, ROW_VARIANCE}},
    AMCT_LAYER_ROWS("convolution", LAYERS, false),
    AMCT_NORM_ROWS,
  },
};
// clang-format on
