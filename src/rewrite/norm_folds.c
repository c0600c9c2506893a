/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite/norm_folds.h"

#include "rewrite/fold_values.h"
#include "rewrite/vectors.h"

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
static const amct_node *statistics_reader(const amct_node *norm) {
  for (uint32_t i = 0; i < norm->use_count; i++) {
    const amct_use *use = &norm->uses[i];
    if (use->input < use->node->data_count && use->node->inputs[use->input].port > 0)
      return use->node;
  }
  return NULL;
}

/* ---- what attributes and readers say ---- */

static amct_status check_norm(amct_pass *pass, const amct_node *norm) {
  bool training = true; /* TensorFlow's default */
  float epsilon;
  amct_attr_bool(norm, "is_training", &training);
  if (training)
    return amct_decline(pass,
                        "is in training mode: export the graph with is_training=False");
  const amct_node *reader = statistics_reader(norm);
  if (reader)
    return amct_decline(pass, "%s \"%s\" reads an output other than the first",
                        reader->op, reader->name);
  if (amct_attr_has(norm, "epsilon") && !amct_attr_float(norm, "epsilon", &epsilon))
    return amct_decline(pass, "has an attribute epsilon that is not a float");
  return AMCT_OK;
}

static amct_status check_layer(amct_pass *pass, const amct_match *m) {
  const amct_node *norm = m->node[ROW_NORM], *conv = m->node[ROW_CONV];
  const amct_node *sum = m->node[ROW_SUM];
  if (!is_float(norm, "T") || !is_float(norm, "U") || !is_float(conv, "T") ||
      (sum && !is_float(sum, "T")))
    return amct_decline(pass, "is not float32 throughout, \"%s\" included", conv->name);
  const amct_format format = amct_node_format(norm);
  const bool has_format = sum && strcmp(sum->op, "BiasAdd") == 0;
  if (format == AMCT_FORMAT_OTHER || amct_node_format(conv) != format ||
      (has_format && amct_node_format(sum) != format))
    return amct_decline(pass, "data_format differs from that of \"%s\"", conv->name);
  return AMCT_OK;
}

/* ---- one value a channel ---- */

static amct_status decline_count(amct_pass *pass, const char *name,
                                 const amct_node *source, int64_t channels,
                                 const char *owner) {
  return amct_decline(pass,
                      "%s \"%s\" has not one value for each of %lld channels of \"%s\"",
                      name, source->name, (long long)channels, owner);
}

/* The bias as it is added: along the channels of the convolution. */
static bool bias_fits(const amct_match *m, const amct_shape *shape, int64_t channels) {
  if (strcmp(m->node[ROW_SUM]->op, "BiasAdd") == 0)
    return shape->rank == 1 && shape->dims[0] == channels;
  const bool nchw = amct_node_format(m->node[ROW_CONV]) == AMCT_NCHW;
  if (amct_vector_count(shape) != channels || shape->rank > 4) return false;
  return channels == 1 || amct_vector_axis(shape) == (nchw ? 1 : 3);
}

static amct_status check_bias(amct_pass *pass, const amct_match *m, int64_t channels,
                              amct_error *err) {
  const amct_shapes *shapes = NULL;
  const amct_node *source = m->node[ROW_BIAS], *conv = m->node[ROW_CONV];
  if (!source || amct_plan_fold(pass->plan, conv))
    return AMCT_OK; /* no bias, or that of an earlier fold, which has no value yet */
  AMCT_TRY(amct_pass_shapes(pass, &shapes, err));
  const amct_shape shape = amct_shapes_of(shapes, m->edge[ROW_BIAS]);
  if (!bias_fits(m, &shape, channels))
    return decline_count(pass, "bias", source, channels, conv->name);
  if (amct_param_dtype(source) != AMCT_DTYPE_FLOAT)
    return amct_decline(pass, "bias \"%s\" is not float32", source->name);
  return AMCT_OK;
}

amct_status amct_norm_check(amct_pass *pass, amct_norm_fold *fold, amct_error *err) {
  const amct_match *m = fold->match;
  const amct_node *conv = m->node[ROW_CONV];
  amct_shape shape;
  if (is_excluded(pass, conv->name))
    return amct_decline(pass, "fusion into \"%s\" is switched off", conv->name);
  AMCT_TRY(check_norm(pass, m->node[ROW_NORM]));
  if (!pass->reason) AMCT_TRY(check_layer(pass, m));
  if (pass->reason) return AMCT_OK;
  AMCT_TRY(amct_param_shape(m->node[ROW_WEIGHT], &shape, err));
  if (shape.rank != 4 || amct_param_dtype(m->node[ROW_WEIGHT]) != AMCT_DTYPE_FLOAT)
    return amct_decline(pass, "weights of \"%s\" are not float32 of rank 4", conv->name);
  fold->channels = amct_op_channels(amct_op_find(conv->op), &shape).channels;
  if (fold->channels <= 0)
    return amct_decline(pass, "\"%s\" has an unknown number of channels", conv->name);
  return check_bias(pass, m, fold->channels, err);
}

amct_status amct_norm_check_counts(amct_pass *pass, const amct_match *m, int64_t channels,
                                   const amct_node *owner, amct_error *err) {
  static const int rows[] = {ROW_SCALE, ROW_OFFSET, ROW_MEAN, ROW_VARIANCE};
  static const char *const names[] = {"scale", "offset", "mean", "variance"};
  const amct_shapes *shapes = NULL;
  AMCT_TRY(amct_pass_shapes(pass, &shapes, err));
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const amct_node *source = m->node[rows[i]];
    const amct_made *made = amct_plan_made(pass->plan, source);
    amct_shape shape = {1, {made ? made->channels : -1}};
    if (!made) shape = amct_shapes_of(shapes, m->edge[rows[i]]);
    if (shape.rank != 1 || shape.dims[0] != channels)
      return decline_count(pass, names[i], source, channels, owner->name);
    if (amct_param_dtype(source) != AMCT_DTYPE_FLOAT)
      return amct_decline(pass, "%s \"%s\" is not float32", names[i], source->name);
  }
  return AMCT_OK;
}

/* ---- steps ---- */

/* A parameter as the unfused graph has it. */
static amct_edge original(const amct_pass *pass, amct_edge edge) {
  const amct_made *made = amct_plan_made(pass->plan, edge.node);
  return made ? made->from : edge;
}

static amct_status list_steps(amct_pass *pass, amct_norm_fold *fold, amct_error *err) {
  const amct_match *m = fold->match;
  const amct_fold *earlier = amct_plan_fold(pass->plan, m->node[ROW_CONV]);
  const size_t before = earlier ? earlier->steps.count : m->node[ROW_SUM] != NULL;
  fold->steps = amct_arena_array(pass->arena, before + 1, sizeof *fold->steps);
  if (!fold->steps) return amct_fail_memory(err);
  if (earlier)
    memcpy(fold->steps, earlier->steps.at, before * sizeof *fold->steps);
  else if (before)
    fold->steps[0] = (amct_fold_ref){.kind = AMCT_FOLD_BIAS, .bias = m->edge[ROW_BIAS]};
  amct_fold_ref *norm = &fold->steps[before];
  *norm = (amct_fold_ref){.kind = AMCT_FOLD_BATCH_NORM,
                          .scale = original(pass, m->edge[ROW_SCALE]),
                          .offset = original(pass, m->edge[ROW_OFFSET]),
                          .mean = original(pass, m->edge[ROW_MEAN]),
                          .variance = original(pass, m->edge[ROW_VARIANCE]),
                          .epsilon = 1e-4f, /* TensorFlow's default */
                          .first = fold->first,
                          .total = fold->total};
  amct_attr_float(m->node[ROW_NORM], "epsilon", &norm->epsilon);
  fold->count = before + 1;
  return AMCT_OK;
}

/* Values are there for a frozen pb; for variables the observer looks when they are. */
amct_status amct_norm_try(amct_pass *pass, amct_norm_fold *fold, amct_error *err) {
  const amct_match *m = fold->match;
  amct_foldable result = AMCT_FOLDABLE;
  size_t channel = 0;
  AMCT_TRY(list_steps(pass, fold, err));
  if (!m->constant[ROW_WEIGHT] || !amct_fold_is_constant(fold->steps, fold->count))
    return AMCT_OK;
  AMCT_TRY(
      amct_fold_try(m->node[ROW_CONV], fold->steps, fold->count, &result, &channel, err));
  if (result != AMCT_FOLDABLE)
    return amct_decline(pass, "%s, at channel %zu of \"%s\"", amct_foldable_text(result),
                        channel, m->node[ROW_CONV]->name);
  return AMCT_OK;
}

amct_status amct_norm_commit(amct_pass *pass, const amct_norm_fold *fold, amct_spec *sum,
                             amct_node *near, amct_error *err) {
  const amct_match *m = fold->match;
  const char *wanted = amct_arena_format(pass->arena, "%s/bias", near->name);
  const char *bias = wanted ? amct_edits_free_name(pass->edits, wanted) : NULL;
  if (!bias) return amct_fail_memory(err);
  amct_spec_type(amct_edits_add(pass->edits, bias, "Const", near, true), "dtype",
                 AMCT_DTYPE_FLOAT);
  amct_spec_input(sum, m->node[ROW_CONV]->name);
  amct_spec_input(sum, bias);
  amct_spec_type(sum, "T", AMCT_DTYPE_FLOAT);
  const bool nchw = amct_node_format(m->node[ROW_NORM]) == AMCT_NCHW;
  amct_spec_text(sum, "data_format", nchw ? "NCHW" : "NHWC");
  return amct_plan_note(pass->plan, m->node[ROW_CONV], fold->steps, fold->count, bias,
                        err);
}
