/* SPDX-License-Identifier: Apache-2.0 */
#include "insert/training_outputs.h"

#include "insert/fold_spec.h"
#include "rewrite/norm_folds.h"

amct_status amct_unfused_look(amct_unfused *unfused, const amct_graph *graph,
                              amct_error *err) {
  unfused->for_inference = true;
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    amct_node *node = amct_graph_at(graph, i);
    if (amct_norm_trains(node)) unfused->for_inference = false;
    AMCT_TRY(amct_map_set(&unfused->nodes, node->name, node, err));
  }
  return AMCT_OK;
}

void amct_unfused_free(amct_unfused *unfused) {
  amct_map_free(&unfused->nodes);
}

/* A flag that is fed says at run time which it is. */
static bool resolves_conds(const amct_plan *plan) {
  for (size_t i = 0; i < plan->decisions.count; i++)
    if (!plan->decisions.at[i].reason &&
        strcmp(plan->decisions.at[i].rule, "resolve_cond") == 0)
      return true;
  return false;
}

/* Where a layer's folded output is read. */
typedef struct place {
  amct_node *node;      /* its output 0 */
  int64_t first, total; /* the layer's channels; total 0: all */
} place;

/* The batch norm of a group stands behind the concat of its layers. */
static place find_place(const amct_plan *plan, const amct_layer *layer) {
  const amct_fold *fold = amct_plan_fold(plan, layer->node);
  const size_t count = fold ? fold->steps.count : 0;
  place at = {.node = layer->output};
  for (size_t i = 0; i < count; i++)
    if (fold->steps.at[i].total) {
      at.first = fold->steps.at[i].first;
      at.total = fold->steps.at[i].total;
    }
  if (!at.total) return at;
  const amct_node *sum = layer->output;
  amct_node *reader = sum->use_count == 1 ? sum->uses[0].node : NULL;
  at.node = reader && amct_ops_have("Concat|ConcatV2", reader->op) ? reader : NULL;
  return at;
}

static amct_status put_inputs(amct_edits *edits, const amct_plan *plan, amct_spec *spec,
                              const amct_layer_recipe *recipe, amct_error *err) {
  amct_arena *arena = amct_graph_arena(plan->graph);
  size_t inputs = 0;
  if (recipe->layer->weight.node) {
    AMCT_TRY(amct_fold_spec_put(edits, plan, spec, recipe->layer, &inputs, err));
    amct_fold_spec_axes(spec, recipe->layer);
  } else {
    amct_spec_texts(spec, "fold", NULL, 0);
    amct_spec_ints(spec, "channel_axes", NULL, 0);
  }
  const char *high = amct_arena_format(arena, "%s/ULQ/clip_max", recipe->name);
  const char *low = amct_arena_format(arena, "%s/ULQ/clip_min", recipe->name);
  if (!high || !low) return amct_fail_memory(err);
  amct_spec_input(spec, high);
  amct_spec_input(spec, low);
  return amct_fold_spec_types(arena, spec, inputs + 2, err);
}

static amct_status add_output(amct_map *outputs, amct_edits *edits, const amct_plan *plan,
                              const amct_layer_recipe *recipe, place at,
                              amct_error *err) {
  const amct_layer *layer = recipe->layer;
  amct_arena *arena = amct_graph_arena(plan->graph);
  const amct_spec *before = amct_map_get(outputs, at.node);
  const char *name = amct_arena_format(arena, "%s/retrain/RetrainOutput", recipe->name);
  if (name) name = amct_edits_free_name(edits, name);
  if (!name) return amct_fail_memory(err);
  amct_spec *spec = amct_edits_add(edits, name, "RetrainOutput", at.node, false);
  if (!spec) return amct_fail_memory(err);
  amct_spec_text(spec, "layer_name", recipe->name);
  amct_spec_input(spec, before ? amct_spec_name(before) : at.node->name);
  AMCT_TRY(put_inputs(edits, plan, spec, recipe, err));
  int64_t window[2];
  amct_layer_window(layer, window);
  amct_spec_bool(spec, "weighted", layer->weight.node != NULL);
  amct_spec_bool(spec, "channel_wise", recipe->channel_wise);
  amct_spec_bool(spec, "may_split", layer->op->grid == AMCT_PER_CHANNEL);
  amct_spec_bool(spec, "fixed_min", recipe->clips.fixed_min);
  amct_spec_text(spec, "data_format", layer->channels_first ? "NCHW" : "NHWC");
  amct_spec_int(spec, "first", at.first);
  amct_spec_int(spec, "total", at.total);
  amct_spec_ints(spec, "ksize", window, 2);
  return amct_map_set(outputs, at.node, spec, err);
}

/* Once all of them are in a row behind it. */
static void move_readers(const amct_map *outputs, amct_edits *edits,
                         const amct_graph *graph) {
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    amct_node *node = amct_graph_at(graph, i);
    const amct_spec *last = amct_map_get(outputs, node);
    if (last)
      amct_edits_rewire(edits, (amct_edge){node, 0}, amct_spec_name(last), NULL, 0);
  }
}

amct_status amct_train_outputs(amct_map *outputs, amct_edits *edits,
                               const amct_plan *plan, const amct_recipe *recipe,
                               const amct_unfused *unfused, amct_error *err) {
  if (!unfused->for_inference || resolves_conds(plan)) return AMCT_OK;
  for (size_t i = 0; i < recipe->layer_count; i++) {
    const amct_layer_recipe *layer = &recipe->layers[i];
    if (!layer->enabled) continue;
    const place at = find_place(plan, layer->layer);
    if (!at.node || !amct_map_get(&unfused->nodes, at.node->name) ||
        amct_node_readers(at.node, 0) == 0)
      continue;
    AMCT_TRY(add_output(outputs, edits, plan, layer, at, err));
  }
  move_readers(outputs, edits, plan->graph);
  return AMCT_OK;
}
