/* SPDX-License-Identifier: Apache-2.0 */
#include "insert/training.h"

#include "insert/fold_spec.h"
#include "numeric/fake_quant.h"
#include "op/parameters.h"

#include <math.h>

typedef struct trainer {
  amct_edits *edits;
  const amct_plan *plan;
  const amct_recipe *recipe;
  amct_training *training;
  amct_arena *arena;
  amct_map outputs;              /* node -> the RetrainOutput behind it */
  const char **names, **factors; /* of the layers so far: their factors' tensors */
  size_t count;
} trainer;

void amct_train_limit(amct_layers *layers) {
  for (size_t i = 0; i < layers->count; i++) {
    amct_layer *layer = &layers->at[i];
    if (layer->reason) continue;
    if (layer->looped)
      layer->reason = "is inside a while loop, which is not retrained";
    else if (layer->second.node)
      layer->reason = "has two data inputs, and no weights to be retrained";
  }
}

/* A new node for a layer, `<layer>/<group>/<op>`. */
static amct_status add_node(trainer *t, amct_spec **spec, const amct_layer_recipe *recipe,
                            const char *group, const char *op, amct_error *err) {
  const char *name = amct_arena_format(t->arena, "%s/%s/%s", recipe->name, group, op);
  if (name) name = amct_edits_free_name(t->edits, name);
  if (!name) return amct_fail_memory(err);
  *spec = amct_edits_add(t->edits, name, op, recipe->layer->node, true);
  amct_spec_text(*spec, "layer_name", recipe->name);
  return AMCT_OK;
}

static amct_status add_scalar(trainer *t, const char **out,
                              const amct_layer_recipe *recipe, const char *clip,
                              double value, amct_error *err) {
  const amct_shape scalar = {0, {0}};
  const float first = (float)value;
  const char *name = amct_arena_format(t->arena, "%s/ULQ/%s", recipe->name, clip);
  if (!name) return amct_fail_memory(err);
  if (amct_edits_has_name(t->edits, name))
    return amct_fail(
        err, AMCT_BAD_GRAPH, name,
        "the graph has a node \"%s\" already: the clips of layer \"%s\" take "
        "that name",
        name, recipe->name);
  amct_spec_tensor(amct_edits_add(t->edits, name, "Const", recipe->layer->node, true),
                   AMCT_DTYPE_FLOAT, &scalar, &first, sizeof first);
  *out = name;
  return AMCT_OK;
}

/* A clip, and the one of the step before. */
static amct_status add_clip(trainer *t, const char **out, const amct_layer_recipe *recipe,
                            const char *clip, double value, amct_error *err) {
  amct_training *to = t->training;
  const char *kept = amct_arena_format(t->arena, "%s_pre", clip);
  if (!kept) return amct_fail_memory(err);
  AMCT_TRY(add_scalar(t, out, recipe, clip, value, err));
  to->variables[to->variable_count++] = *out;
  return add_scalar(t, &to->kept[to->kept_count++], recipe, kept, value, err);
}

static amct_status train_data(trainer *t, const amct_layer_recipe *recipe,
                              const char *clips[2], amct_error *err) {
  const amct_layer *layer = recipe->layer;
  const double low = recipe->clips.fixed_min ? 0 : recipe->clips.min;
  amct_spec *spec = NULL;
  AMCT_TRY(add_clip(t, &clips[0], recipe, "clip_max", recipe->clips.max, err));
  AMCT_TRY(add_clip(t, &clips[1], recipe, "clip_min", low, err));
  AMCT_TRY(add_node(t, &spec, recipe, "ULQ", "Ulq", err));
  const amct_spec *behind =
      layer->data.port == 0 ? amct_map_get(&t->outputs, layer->data.node) : NULL;
  amct_spec_input(spec, behind ? amct_spec_name(behind) : amct_edge_text(layer->data));
  amct_spec_input(spec, clips[0]);
  amct_spec_input(spec, clips[1]);
  amct_spec_bool(spec, "fixed_min", recipe->clips.fixed_min);
  amct_spec_int(spec, "batch_num", t->recipe->batch_num);
  amct_edits_set_input(t->edits, layer->node, (uint32_t)layer->op->data,
                       amct_spec_name(spec));
  return AMCT_OK;
}

static amct_status train_weights(trainer *t, const amct_layer_recipe *recipe,
                                 amct_error *err) {
  const amct_layer *layer = recipe->layer;
  amct_spec *spec = NULL;
  AMCT_TRY(add_node(t, &spec, recipe, "ARQ", "ArqRetrain", err));
  amct_spec_input(spec, amct_edge_text(layer->weight));
  amct_fold_spec_axes(spec, layer);
  amct_spec_bool(spec, "channel_wise", recipe->channel_wise);
  amct_edits_set_input(t->edits, layer->node, (uint32_t)layer->op->weight,
                       amct_spec_name(spec));
  return AMCT_OK;
}

static amct_status add_factors(trainer *t, const amct_layer_recipe *recipe,
                               const char *const clips[2], amct_error *err) {
  const amct_layer *layer = recipe->layer;
  const bool weighted = layer->weight.node != NULL;
  amct_spec *spec = NULL;
  size_t inputs = 0;
  AMCT_TRY(add_node(t, &spec, recipe, "retrain", "RetrainFactors", err));
  if (weighted) {
    AMCT_TRY(amct_fold_spec_put(t->edits, t->plan, spec, layer, &inputs, err));
    amct_fold_spec_axes(spec, layer);
  } else {
    amct_spec_texts(spec, "fold", NULL, 0);
    amct_spec_ints(spec, "channel_axes", NULL, 0);
  }
  amct_spec_input(spec, clips[0]);
  amct_spec_input(spec, clips[1]);
  inputs += 2;
  if (weighted && t->recipe->search_n) {
    amct_spec_input(spec, layer->node->name);
    amct_spec_int(spec, "search_batches", t->recipe->batch_num);
    amct_spec_text(spec, "data_format", layer->channels_first ? "NCHW" : "NHWC");
    inputs++;
  }
  AMCT_TRY(amct_fold_spec_types(t->arena, spec, inputs, err));
  amct_spec_bool(spec, "weighted", weighted);
  amct_spec_bool(spec, "channel_wise", recipe->channel_wise);
  amct_spec_bool(spec, "may_split", layer->op->grid == AMCT_PER_CHANNEL);
  amct_spec_bool(spec, "fixed_min", recipe->clips.fixed_min);
  t->names[t->count] = recipe->name;
  t->factors[t->count++] = amct_spec_name(spec);
  return AMCT_OK;
}

static amct_status train_layer(trainer *t, const amct_layer_recipe *recipe,
                               amct_error *err) {
  const char *clips[2];
  AMCT_TRY(train_data(t, recipe, clips, err));
  if (recipe->layer->weight.node) AMCT_TRY(train_weights(t, recipe, err));
  return add_factors(t, recipe, clips, err);
}

static amct_status add_record(trainer *t, amct_error *err) {
  const char *name = amct_edits_free_name(t->edits, "retrain/RetrainRecord");
  if (!name) return amct_fail_memory(err);
  amct_spec *spec = amct_edits_add(t->edits, name, "RetrainRecord", NULL, false);
  for (size_t i = 0; i < t->count; i++)
    amct_spec_input(spec, t->factors[i]);
  AMCT_TRY(amct_fold_spec_types(t->arena, spec, t->count, err));
  amct_spec_text(spec, "record_file", t->training->record_path);
  amct_spec_texts(spec, "layer_names", t->names, t->count);
  if (t->recipe->search_n) amct_spec_bool(spec, "search_n", true);
  return AMCT_OK;
}

static amct_status train_all(trainer *t, const amct_unfused *unfused, amct_error *err) {
  AMCT_TRY(amct_train_outputs(&t->outputs, t->edits, t->plan, t->recipe, unfused, err));
  for (size_t i = 0; i < t->recipe->layer_count; i++)
    if (t->recipe->layers[i].enabled)
      AMCT_TRY(train_layer(t, &t->recipe->layers[i], err));
  return add_record(t, err);
}

amct_status amct_train(amct_edits *edits, const amct_plan *plan,
                       const amct_recipe *recipe, const amct_unfused *unfused,
                       amct_training *training, amct_error *err) {
  trainer t = {.edits = edits, .plan = plan, .recipe = recipe, .training = training};
  const size_t room = recipe->layer_count + 1;
  t.arena = amct_graph_arena(plan->graph);
  t.names = amct_arena_array(t.arena, room, sizeof *t.names);
  t.factors = amct_arena_array(t.arena, room, sizeof *t.factors);
  training->variables = amct_arena_array(t.arena, 2 * room, sizeof *training->variables);
  training->kept = amct_arena_array(t.arena, 2 * room, sizeof *training->kept);
  training->variable_count = training->kept_count = 0;
  if (!t.names || !t.factors || !training->variables || !training->kept)
    return amct_fail_memory(err);
  const amct_status status = train_all(&t, unfused, err);
  amct_map_free(&t.outputs);
  return status;
}

/* ---- the record of a frozen graph ---- */

enum { CLIP_MAX = 1, CLIP_MIN = 2, ULQ_INPUTS = 3 };

/* `*known` false: no finite constant. */
static amct_status read_clip(amct_edge edge, float *clip, bool *known, amct_error *err) {
  amct_arena scratch = {0};
  amct_error wrong = {0};
  const float *values = NULL;
  amct_shape shape;
  const amct_status status = amct_weight_floats(edge, &scratch, &values, &shape, &wrong);
  *known = status == AMCT_OK && shape.rank == 0 && isfinite(values[0]);
  if (*known) *clip = values[0];
  amct_arena_free(&scratch);
  return status == AMCT_OUT_OF_MEMORY ? amct_fail_memory(err) : AMCT_OK;
}

static amct_status keep_grid(amct_map *grids, amct_node *ulq, const float clips[2],
                             amct_error *err) {
  amct_arena *arena = amct_graph_arena(ulq->graph);
  amct_slice layer;
  bool fixed_min = false;
  if (!amct_attr_text(ulq, "layer_name", &layer)) return AMCT_OK;
  (void)amct_attr_bool(ulq, "fixed_min", &fixed_min); /* false where it is left out */
  const amct_ulq_grid grid = amct_ulq_grid_of(clips[0], fixed_min ? 0.0f : clips[1]);
  const char *text = amct_arena_text(arena, (const char *)layer.data, layer.size);
  amct_name name = text ? amct_graph_intern(ulq->graph, text) : NULL;
  amct_range *range = amct_arena_alloc(arena, sizeof *range);
  if (!name || !range) return amct_fail_memory(err);
  *range = (amct_range){grid.scale, (int32_t)grid.offset};
  return amct_map_set(grids, name, range, err);
}

static amct_status read_grid(amct_map *grids, amct_node *ulq, amct_error *err) {
  float clips[2];
  bool known[2] = {false, false};
  if (ulq->data_count != ULQ_INPUTS) return AMCT_OK;
  AMCT_TRY(read_clip(ulq->inputs[CLIP_MAX], &clips[0], &known[0], err));
  AMCT_TRY(read_clip(ulq->inputs[CLIP_MIN], &clips[1], &known[1], err));
  return known[0] && known[1] ? keep_grid(grids, ulq, clips, err) : AMCT_OK;
}

amct_status amct_train_grids(amct_map *grids, amct_graph *graph, amct_error *err) {
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    amct_node *node = amct_graph_at(graph, i);
    if (strcmp(node->op, "Ulq") == 0) AMCT_TRY(read_grid(grids, node, err));
  }
  return AMCT_OK;
}

amct_status amct_train_check(const amct_map *grids, amct_graph *graph,
                             const amct_record *record, const char *record_path,
                             amct_error *err) {
  for (size_t i = 0; i < record->layers.count; i++) {
    const amct_factors *f = &record->layers.at[i];
    amct_name name = amct_graph_intern(graph, f->key);
    if (!name) return amct_fail_memory(err);
    const amct_range *range = amct_map_get(grids, name);
    if (!f->has_data || !range ||
        (f->scale_d == range->scale && f->offset_d == range->offset))
      continue;
    return amct_fail(err, AMCT_BAD_RECORD, name,
                     "%s: layer \"%s\": scale_d %.9g and offset_d %d, where the clips of "
                     "%s say %.9g and %d: run the last of the retrain_ops on the graph "
                     "that is frozen",
                     record_path, name, (double)f->scale_d, (int)f->offset_d,
                     amct_graph_label(graph), (double)range->scale, (int)range->offset);
  }
  return AMCT_OK;
}

/* ---- and back ---- */

static bool is_fake(const amct_node *node) {
  return amct_node_is(node, "Ulq") || amct_node_is(node, "ArqRetrain") ||
         amct_node_is(node, "RetrainOutput");
}

static bool is_beside(const amct_node *node) {
  return strcmp(node->op, "RetrainFactors") == 0 ||
         strcmp(node->op, "RetrainRecord") == 0;
}

/* What a layer's data were before: past the outputs of other layers. */
static amct_edge source_of(amct_edge edge) {
  while (edge.port == 0 && amct_node_is(edge.node, "RetrainOutput") &&
         edge.node->data_count > 0)
    edge = edge.node->inputs[0];
  return edge;
}

static void take_out(amct_edits *edits, amct_node *node) {
  if (is_fake(node) && node->data_count > 0)
    amct_edits_rewire(edits, (amct_edge){node, 0},
                      amct_edge_text(source_of(node->inputs[0])), NULL, 0);
  amct_edits_detach(edits, node);
}

amct_status amct_train_undo(amct_graph *graph, const char *const *keep, size_t keep_count,
                            size_t *count, amct_error *err) {
  amct_edits *edits = amct_edits_new(graph);
  *count = 0;
  if (!edits) return amct_fail_memory(err);
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    amct_node *node = amct_graph_at(graph, i);
    if (is_fake(node) || is_beside(node)) take_out(edits, node);
    *count += strcmp(node->op, "Ulq") == 0;
  }
  amct_status status = amct_edits_apply(edits, err);
  amct_edits_free(edits);
  return status == AMCT_OK ? amct_graph_sweep(graph, keep, keep_count, err) : status;
}
