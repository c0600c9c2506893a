/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite/norm_folds.h"

#include "op/constraints.h"
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
static const amct_node *statistics_reader(const amct_plan *plan, const amct_node *norm) {
  for (uint32_t i = 0; i < norm->use_count; i++) {
    const amct_use *use = &norm->uses[i];
    if (amct_map_get(&plan->orphans, use->node)) continue;
    if (use->input < use->node->data_count && use->node->inputs[use->input].port > 0)
      return use->node;
  }
  return NULL;
}

/* ---- what attributes and readers say ---- */

bool amct_norm_trains(const amct_node *node) {
  bool training = true;
  if (!amct_ops_have(AMCT_NORM_OPS, node->op)) return false;
  (void)amct_attr_bool(node, "is_training", &training);
  return training;
}

static amct_status check_norm(amct_pass *pass, const amct_node *norm) {
  float epsilon;
  if (amct_norm_trains(norm))
    return amct_decline(pass,
                        "is in training mode: export the graph with is_training=False");
  const amct_node *reader = statistics_reader(pass->plan, norm);
  if (reader)
    return amct_decline(pass, "%s \"%s\" reads an output other than the first",
                        reader->op, reader->name);
  if (amct_attr_has(norm, "epsilon") && !amct_attr_float(norm, "epsilon", &epsilon))
    return amct_decline(pass, "has an attribute epsilon that is not a float");
  return AMCT_OK;
}

static bool is_norm(const amct_node *node) {
  return amct_ops_have(AMCT_NORM_OPS, node->op);
}

/* True if the addition, where it has a layout, has that of `node`. */
static bool format_fits(const amct_node *sum, const amct_node *node) {
  return !amct_node_is(sum, "BiasAdd") || amct_node_format(sum) == amct_node_format(node);
}

static amct_status check_layer(amct_pass *pass, const amct_match *m) {
  const amct_node *root = m->node[ROW_NORM], *conv = m->node[ROW_CONV];
  const amct_node *sum = m->node[ROW_SUM], *outer = m->node[ROW_OUTER];
  char text[AMCT_REASON_BYTES];
  if (!is_float(root, "T") || !is_float(root, "U") || !is_float(conv, "T") ||
      (sum && !is_float(sum, "T")) || (outer && !is_float(outer, "T")))
    return amct_decline(pass, "is not float32 throughout, \"%s\" included", conv->name);
  const amct_format format = amct_node_format(conv);
  const amct_node *move = m->node[ROW_MOVE]; /* to another layout, perhaps */
  const bool moved = move && amct_ops_have("Reshape|Transpose", move->op);
  if (format == AMCT_FORMAT_OTHER || !format_fits(sum, conv) ||
      (is_norm(root) && !moved && amct_node_format(root) != format) ||
      !format_fits(outer, root))
    return amct_decline(pass, "data_format differs from that of \"%s\"", conv->name);
  if (amct_node_is(conv, "MatMul") && amct_constraint_broken(conv, false, text))
    return amct_decline(pass, "\"%s\": %s", conv->name, text);
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

/* The bias as it is added to a tensor of as many axes as the layer's weight has: along
 * the channels, which are axis 1 (NCHW) or the last. */
static bool bias_fits(const amct_node *sum, const amct_shape *shape, bool nchw,
                      int32_t rank, int64_t channels) {
  if (amct_node_is(sum, "BiasAdd")) return shape->rank == 1 && shape->dims[0] == channels;
  if (amct_shape_count(shape) != channels || shape->rank > rank) return false;
  return channels == 1 || amct_vector_axis(shape) == (nchw ? 1 : 3);
}

/* The bias that `sum` adds; `like` has the layout of what it is added to. */
static amct_status check_bias(amct_pass *pass, const amct_norm_fold *fold, int sum,
                              int bias, const amct_node *like, amct_error *err) {
  const amct_match *m = fold->match;
  const amct_shapes *shapes = NULL;
  const amct_node *source = m->node[bias], *conv = m->node[ROW_CONV];
  if (!source) return AMCT_OK;
  AMCT_TRY(amct_pass_shapes(pass, &shapes, err));
  const amct_shape shape = amct_shapes_of(shapes, m->edge[bias]);
  const int32_t rank = sum == ROW_OUTER ? 4 : amct_op_find(conv->op)->weight_rank;
  const bool nchw = amct_node_format(like) == AMCT_NCHW;
  if (!bias_fits(m->node[sum], &shape, nchw, rank, fold->channels))
    return decline_count(pass, "bias", source, fold->channels, conv->name);
  if (amct_param_dtype(source) != AMCT_DTYPE_FLOAT)
    return amct_decline(pass, "bias \"%s\" is not float32", source->name);
  return AMCT_OK;
}

amct_status amct_norm_check_operand(amct_pass *pass, const amct_norm_fold *fold,
                                    amct_edge edge, const amct_node *source, bool *single,
                                    amct_error *err) {
  const amct_node *conv = fold->match->node[ROW_CONV];
  const amct_shapes *shapes = NULL;
  AMCT_TRY(amct_pass_shapes(pass, &shapes, err));
  const amct_shape shape = amct_shapes_of(shapes, edge);
  const int32_t rank = amct_op_find(conv->op)->weight_rank;
  const bool nchw = amct_node_format(conv) == AMCT_NCHW;
  *single = shape.rank <= rank && amct_shape_count(&shape) == 1;
  if (!*single && !bias_fits(NULL, &shape, nchw, rank, fold->channels))
    return decline_count(pass, "operand", source, fold->channels, conv->name);
  if (amct_param_dtype(source) != AMCT_DTYPE_FLOAT)
    return amct_decline(pass, "operand \"%s\" is not float32", source->name);
  return AMCT_OK;
}

static amct_status check_weight(amct_pass *pass, amct_norm_fold *fold, amct_error *err) {
  const amct_node *conv = fold->match->node[ROW_CONV];
  const amct_node *weight = fold->match->node[ROW_WEIGHT];
  const amct_op *op = amct_op_find(conv->op);
  amct_shape shape;
  AMCT_TRY(amct_param_shape(weight, &shape, err));
  if (shape.rank != op->weight_rank || amct_param_dtype(weight) != AMCT_DTYPE_FLOAT)
    return amct_decline(pass, "weights of \"%s\" are not float32 of rank %d", conv->name,
                        (int)op->weight_rank);
  fold->channels = amct_op_channels(op, &shape).channels;
  if (fold->channels <= 0)
    return amct_decline(pass, "\"%s\" has an unknown number of channels", conv->name);
  return AMCT_OK;
}

amct_status amct_norm_check(amct_pass *pass, amct_norm_fold *fold, amct_error *err) {
  const amct_match *m = fold->match;
  const amct_node *conv = m->node[ROW_CONV], *root = m->node[ROW_NORM];
  if (is_excluded(pass, conv->name))
    return amct_decline(pass, "fusion into \"%s\" is switched off", conv->name);
  if (pass->options->keeps_grids && amct_op_find(conv->op)->grid == AMCT_PER_TENSOR)
    return amct_decline(pass,
                        "\"%s\" has one scale for all its weights, and would lose the "
                        "steps that they were trained on",
                        conv->name);
  if (is_norm(root)) AMCT_TRY(check_norm(pass, root));
  if (!pass->reason) AMCT_TRY(check_layer(pass, m));
  if (!pass->reason) AMCT_TRY(check_weight(pass, fold, err));
  /* the bias of an earlier fold has no value yet, and fits */
  if (!pass->reason && !amct_plan_fold(pass->plan, conv))
    AMCT_TRY(check_bias(pass, fold, ROW_SUM, ROW_BIAS, conv, err));
  if (pass->reason || m->node[ROW_CONCAT]) return AMCT_OK;
  return amct_norm_check_outer(pass, fold, err);
}

amct_status amct_norm_check_outer(amct_pass *pass, const amct_norm_fold *fold,
                                  amct_error *err) {
  return check_bias(pass, fold, ROW_OUTER, ROW_OUTER_BIAS, fold->match->node[ROW_NORM],
                    err);
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

amct_status amct_norm_check_all(amct_pass *pass, amct_norm_fold *fold, amct_error *err) {
  const amct_match *m = fold->match;
  AMCT_TRY(amct_norm_check(pass, fold, err));
  if (pass->reason) return AMCT_OK;
  return amct_norm_check_counts(pass, m, fold->channels, m->node[ROW_CONV], err);
}

/* ---- steps ---- */

/* A parameter as the unfused graph has it. */
static amct_edge original(const amct_pass *pass, amct_edge edge) {
  const amct_made *made = amct_plan_made(pass->plan, edge.node);
  return made ? made->from : edge;
}

amct_fold_ref amct_norm_step(const amct_pass *pass, const amct_norm_fold *fold) {
  const amct_match *m = fold->match;
  amct_fold_ref step = {.kind = AMCT_FOLD_BATCH_NORM,
                        .scale = original(pass, m->edge[ROW_SCALE]),
                        .offset = original(pass, m->edge[ROW_OFFSET]),
                        .mean = original(pass, m->edge[ROW_MEAN]),
                        .variance = original(pass, m->edge[ROW_VARIANCE]),
                        .epsilon = 1e-4f, /* TensorFlow's default */
                        .first = fold->first,
                        .total = fold->total};
  amct_attr_float(m->node[ROW_NORM], "epsilon", &step.epsilon);
  return step;
}

static amct_fold_ref bias_step(amct_edge bias) {
  return (amct_fold_ref){.kind = AMCT_FOLD_BIAS, .bias = bias};
}

static amct_status list_steps(amct_pass *pass, amct_norm_fold *fold, amct_error *err) {
  const amct_match *m = fold->match;
  const amct_fold *earlier = amct_plan_fold(pass->plan, m->node[ROW_CONV]);
  size_t count = earlier ? earlier->steps.count : m->node[ROW_SUM] != NULL;
  fold->steps = amct_arena_array(pass->arena, count + 2, sizeof *fold->steps);
  if (!fold->steps) return amct_fail_memory(err);
  for (size_t i = 0; i < count; i++)
    fold->steps[i] = earlier ? earlier->steps.at[i] : bias_step(m->edge[ROW_BIAS]);
  if (m->node[ROW_OUTER]) {
    fold->steps[count] = bias_step(m->edge[ROW_OUTER_BIAS]);
    fold->steps[count].first = fold->first;
    fold->steps[count++].total = fold->total;
  }
  if (!fold->before)
    fold->steps[count++] = fold->step ? *fold->step : amct_norm_step(pass, fold);
  fold->count = count;
  return AMCT_OK;
}

/* The fold as it would be noted. */
static amct_status whole_fold(amct_pass *pass, const amct_norm_fold *fold, amct_fold *out,
                              amct_error *err) {
  amct_node *conv = fold->match->node[ROW_CONV];
  const amct_fold *earlier = amct_plan_fold(pass->plan, conv);
  *out = earlier ? *earlier : (amct_fold){.layer = conv};
  out->steps.at = fold->steps;
  out->steps.count = fold->count;
  if (!fold->before) return AMCT_OK;
  amct_fold_ref *norms =
      amct_arena_array(pass->arena, out->before.count + 1, sizeof *norms);
  if (!norms) return amct_fail_memory(err);
  norms[0] = amct_norm_step(pass, fold);
  if (out->before.count)
    memcpy(norms + 1, out->before.at, out->before.count * sizeof *norms);
  out->before.at = norms;
  out->before.count++;
  return AMCT_OK;
}

/* Values are there for a frozen pb; for variables the observer looks when they are. */
amct_status amct_norm_try(amct_pass *pass, amct_norm_fold *fold, amct_error *err) {
  const amct_match *m = fold->match;
  amct_foldable result = AMCT_FOLDABLE;
  size_t channel = 0;
  amct_fold whole;
  AMCT_TRY(list_steps(pass, fold, err));
  if (!m->constant[ROW_WEIGHT] || !amct_fold_is_constant(fold->steps, fold->count))
    return AMCT_OK;
  AMCT_TRY(whole_fold(pass, fold, &whole, err));
  AMCT_TRY(amct_fold_try(&whole, &result, &channel, err));
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
  const bool nchw = amct_node_format(m->node[ROW_CONV]) == AMCT_NCHW;
  amct_spec_text(sum, "data_format", nchw ? "NCHW" : "NHWC");
  return amct_plan_note(pass->plan, m->node[ROW_CONV], fold->steps, fold->count, bias,
                        err);
}

void amct_norm_absorb(amct_pass *pass, amct_spec *spec, amct_node *node) {
  for (uint32_t i = node->data_count; i < node->input_count; i++)
    amct_spec_input(spec, amct_edge_text(node->inputs[i]));
  amct_spec_origin(spec, node->name);
  amct_edits_detach(pass->edits, node);
}

void amct_norm_absorb_passed(amct_pass *pass, amct_spec *spec,
                             const amct_passed *passed) {
  for (size_t i = 0; i < passed->count; i++)
    amct_norm_absorb(pass, spec, passed->at[i]);
}

/* A Shape of the node reads `tensor` instead, which has the same. */
static void move_shapes(amct_pass *pass, const amct_node *node, const char *tensor) {
  for (uint32_t i = 0; i < node->use_count; i++)
    if (amct_reads_shape(&node->uses[i]))
      amct_edits_set_input(pass->edits, node->uses[i].node, 0, tensor);
}

amct_status amct_norm_commit_new(amct_pass *pass, const amct_norm_fold *fold,
                                 const char **tensor, amct_error *err) {
  amct_node *sum = fold->match->node[ROW_SUM], *conv = fold->match->node[ROW_CONV];
  amct_node *near = sum ? sum : conv;
  if (sum) amct_edits_detach(pass->edits, sum);
  const char *wanted = amct_arena_format(pass->arena, "%s/bias_add", conv->name);
  *tensor = wanted ? amct_edits_free_name(pass->edits, wanted) : NULL;
  if (!*tensor) return amct_fail_memory(err);
  amct_spec *spec = amct_edits_add(pass->edits, *tensor, "BiasAdd", near, false);
  amct_spec_device(spec, near->device);
  for (uint32_t i = sum ? sum->data_count : 0; sum && i < sum->input_count; i++)
    amct_spec_input(spec, amct_edge_text(sum->inputs[i]));
  move_shapes(pass, conv, *tensor);
  if (sum) move_shapes(pass, sum, *tensor);
  return amct_norm_commit(pass, fold, spec, conv, err);
}
