/* SPDX-License-Identifier: Apache-2.0 */
#include "api/calibrate_runs.h"

#include "api/live.h"
#include "insert/fold_spec.h"
#include "rewrite/fold_values.h"

void amct_runs_free(amct_runs *runs) {
  amct_arena_free(&runs->arena);
}

/* ---- which part of the graph runs ---- */

typedef AMCT_VEC(amct_node *) node_stack;

static amct_status need(amct_map *needed, node_stack *stack, amct_node *node,
                        amct_error *err) {
  if (amct_map_get(needed, node)) return AMCT_OK;
  AMCT_TRY(amct_map_set(needed, node, node, err));
  return AMCT_VEC_PUSH(stack, node) ? AMCT_OK : amct_fail_memory(err);
}

static amct_status need_inputs(amct_map *needed, node_stack *stack, amct_error *err) {
  while (stack->count > 0) {
    const amct_node *node = stack->at[--stack->count];
    for (uint32_t i = 0; i < node->input_count; i++)
      AMCT_TRY(need(needed, stack, node->inputs[i].node, err));
  }
  return AMCT_OK;
}

amct_status amct_needed_find(amct_map *needed, amct_graph *graph,
                             const char *const *outputs, size_t count, amct_error *err) {
  node_stack stack = {0};
  amct_status status = AMCT_OK;
  for (size_t i = 0; i < count && status == AMCT_OK; i++) {
    amct_node *node = amct_graph_find(graph, outputs[i]);
    if (node) status = need(needed, &stack, node, err);
  }
  if (status == AMCT_OK) status = need_inputs(needed, &stack, err);
  AMCT_VEC_FREE(&stack);
  return status;
}

/* A batch norm that trains takes its mean from the batch. */
static bool mixes_samples(const amct_node *node) {
  bool training = true;
  if (strncmp(node->op, "FusedBatchNorm", 14) != 0) return false;
  return !amct_attr_bool(node, "is_training", &training) || training;
}

static amct_status remove_others(amct_graph *graph, const amct_map *needed, bool *splits,
                                 amct_error *err) {
  amct_edits *edits = amct_edits_new(graph);
  if (!edits) return amct_fail_memory(err);
  *splits = true;
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    amct_node *node = amct_graph_at(graph, i);
    if (!amct_map_get(needed, node))
      amct_edits_remove(edits, node);
    else if (mixes_samples(node))
      *splits = false;
  }
  const amct_status status = amct_edits_apply(edits, err);
  amct_edits_free(edits);
  return status;
}

amct_status amct_runs_prune(const amct_runs *runs, amct_graph *graph, bool *splits,
                            amct_error *err) {
  amct_map needed = {0};
  node_stack stack = {0};
  amct_status status = AMCT_OK;
  for (size_t i = 0; i < runs->count && status == AMCT_OK; i++) {
    const char *tensor = runs->fetches[i];
    const char *name = amct_arena_text(amct_graph_arena(graph), tensor,
                                       strcspn(tensor, ":")); /* no name holds one */
    amct_node *node = name ? amct_graph_find(graph, name) : NULL;
    status = node ? need(&needed, &stack, node, err) : amct_fail_memory(err);
  }
  if (status == AMCT_OK) status = need_inputs(&needed, &stack, err);
  if (status == AMCT_OK) status = remove_others(graph, &needed, splits, err);
  AMCT_VEC_FREE(&stack);
  amct_map_free(&needed);
  return status;
}

/* ---- tensors that are observed from outside ---- */

/* By layer, NULL where nothing is wanted. */
static amct_status copy_windows(amct_runs *runs, const amct_window *const **to,
                                const char *const *texts, size_t count, amct_error *err) {
  amct_window *windows = amct_arena_array(&runs->arena, count + 1, sizeof *windows);
  const amct_window **of =
      amct_arena_array(&runs->arena, count + 1, sizeof(amct_window *));
  if (!windows || !of) return amct_fail_memory(err);
  for (size_t i = 0; i < count; i++) {
    const amct_slice text = amct_slice_of(texts[i]);
    if (text.size == 0) continue;
    if (!amct_window_read(text, &windows[i]))
      return amct_fail(err, AMCT_UNSUPPORTED, NULL, "the window \"%s\" cannot be",
                       texts[i]);
    of[i] = &windows[i];
  }
  *to = of;
  return AMCT_OK;
}

static amct_status fill_spec(amct_runs *runs, amct_calib_range_spec *spec,
                             const amct_prepared *p, const amct_observed *tensor,
                             int64_t total, amct_error *err) {
  amct_calib_layer *layers =
      amct_arena_array(&runs->arena, tensor->names.count, sizeof *layers);
  if (!layers) return amct_fail_memory(err);
  for (size_t i = 0; i < tensor->names.count; i++)
    layers[i] =
        (amct_calib_layer){tensor->names.at[i], tensor->indices.at[i],
                           tensor->weighted.at[i] != 0, tensor->weighted.at[i] == 2};
  *spec = (amct_calib_range_spec){.key = {p->id, p->record_path, total},
                                  .layers = layers,
                                  .layer_count = tensor->names.count,
                                  .options = tensor->first->range};
  AMCT_TRY(
      copy_windows(runs, &spec->windows, tensor->windows.at, tensor->windows.count, err));
  return copy_windows(runs, &spec->row_windows, tensor->row_windows.at,
                      tensor->row_windows.count, err);
}

static amct_status make_room(amct_runs *runs, size_t count, amct_error *err) {
  runs->fetches = amct_arena_array(&runs->arena, count + 1, sizeof(char *));
  runs->specs = amct_arena_array(&runs->arena, count + 1, sizeof *runs->specs);
  return runs->fetches && runs->specs ? AMCT_OK : amct_fail_memory(err);
}

amct_status amct_runs_observed(amct_runs *runs, const amct_prepared *p,
                               const amct_observed_list *observed, amct_graph *graph,
                               const amct_map *needed, amct_error *err) {
  AMCT_TRY(make_room(runs, observed->tensors.count, err));
  for (size_t i = 0; i < observed->tensors.count; i++) {
    const amct_observed *tensor = observed->tensors.at[i];
    const amct_node *node = amct_graph_find(graph, tensor->data.node->name);
    if (!node || !amct_map_get(needed, node)) continue;
    if (tensor->first->layer->looped)
      return amct_fail(err, AMCT_UNSUPPORTED, tensor->first->name,
                       "layer \"%s\" is inside a while loop, where no engine but "
                       "tensorflow looks: take that, or leave the layer float",
                       tensor->first->name);
    runs->fetches[runs->count] = amct_edge_text(tensor->data);
    if (!runs->fetches[runs->count]) return amct_fail_memory(err);
    AMCT_TRY(fill_spec(runs, &runs->specs[runs->count], p, tensor, observed->total, err));
    runs->count++;
  }
  return AMCT_OK;
}

amct_status amct_runs_outputs(amct_runs *runs, amct_strings outputs, amct_error *err) {
  AMCT_TRY(make_room(runs, outputs.count, err));
  for (size_t i = 0; i < outputs.count; i++)
    runs->fetches[i] = outputs.at[i];
  runs->count = outputs.count;
  return AMCT_OK;
}

amct_status amct_runs_take(void *context, size_t fetch, int64_t row,
                           const amct_array *tensor, amct_error *err) {
  const amct_runs *runs = context;
  const amct_calib_batch batch = {tensor->data, tensor->count, tensor->shape.dims,
                                  tensor->shape.rank};
  (void)row;
  return amct_calib_observe(&runs->specs[fetch], &batch, err);
}

/* ---- weights ---- */

static amct_status weigh(const amct_prepared *p, const amct_layer_recipe *recipe,
                         const amct_calib_weight_spec *spec, amct_error *err) {
  const amct_layer *layer = recipe->layer;
  amct_fold_ref bias;
  size_t count = 0;
  const amct_fold_ref *steps = amct_fold_spec_steps(p->study.plan, layer, &bias, &count);
  amct_arena scratch = {0};
  amct_weight_layout layout;
  amct_shape shape;
  const float *weights = NULL;
  amct_fold_step *values = amct_arena_array(&scratch, count + 1, sizeof *values);
  amct_status status = values ? AMCT_OK : amct_fail_memory(err);
  if (status == AMCT_OK)
    status = amct_weight_read(layer->node, &scratch, &weights, &layout, &shape, err);
  if (status == AMCT_OK)
    status = amct_fold_read(values, steps, count, layout.channels, &scratch, err);
  if (status == AMCT_OK)
    status = amct_calib_weigh(spec, weights, layout, values, count, err);
  amct_arena_free(&scratch);
  return status;
}

amct_status amct_runs_weigh(const amct_prepared *p, const amct_observed_list *observed,
                            amct_error *err) {
  int64_t index = 0;
  for (size_t i = 0; i < p->recipe.layer_count; i++) {
    const amct_layer_recipe *recipe = &p->recipe.layers[i];
    if (!recipe->enabled) continue;
    const float damping = amct_observed_rounds(recipe) ? (float)recipe->damping : 0.0f;
    const amct_calib_weight_spec spec = {.key = {p->id, p->record_path, observed->total},
                                         .layer = {recipe->name, index++, true},
                                         .channel_wise = recipe->channel_wise,
                                         .damping = (double)damping};
    if (recipe->layer->weight.node) AMCT_TRY(weigh(p, recipe, &spec, err));
  }
  for (size_t i = 0; i < amct_graph_count(p->study.graph); i++) {
    const amct_node *node = amct_graph_at(p->study.graph, i);
    if (strcmp(node->op, "Const") == 0) amct_const_forget(node); /* not read again */
  }
  return AMCT_OK;
}

/* ---- observers in the graph ---- */

static amct_status insert_edit(amct_edits *edits, amct_graph *graph,
                               const amct_graph *observed, const amct_live_edit *edit,
                               amct_error *err) {
  if (edit->kind == AMCT_LIVE_SET_INPUT) {
    amct_node *layer = amct_graph_find(graph, edit->name);
    if (layer) amct_edits_set_input(edits, layer, edit->index, edit->near);
    return layer
               ? AMCT_OK
               : amct_fail(err, AMCT_BAD_GRAPH, edit->name, "no node \"%s\"", edit->name);
  }
  const amct_node *node = amct_graph_find(observed, edit->name);
  amct_spec *spec = amct_edits_add(edits, edit->name, node->op,
                                   amct_graph_find(graph, edit->near), true);
  for (uint32_t i = 0; i < node->input_count; i++) {
    const char *tensor = amct_edge_text(node->inputs[i]);
    if (!tensor) return amct_fail_memory(err);
    amct_spec_input(spec, tensor);
  }
  amct_spec_device(spec, node->device);
  amct_spec_copy_fields(spec, node);
  return AMCT_OK;
}

static amct_status insert_all(const amct_calibration *live, const amct_prepared *p,
                              amct_graph *graph, amct_error *err) {
  amct_edits *edits = amct_edits_new(graph);
  amct_status status = edits ? AMCT_OK : amct_fail_memory(err);
  for (size_t i = 0; i < live->count && status == AMCT_OK; i++)
    status = insert_edit(edits, graph, p->study.graph, &live->edits[i], err);
  if (status == AMCT_OK) status = amct_edits_apply(edits, err);
  if (status == AMCT_OK) status = amct_graph_verify(graph, err);
  amct_edits_free(edits);
  return status;
}

amct_status amct_runs_insert(amct_prepared *p, amct_graph *graph, amct_error *err) {
  const amct_strings no_variables = {NULL, 0};
  amct_calibration live = {0};
  amct_status status =
      amct_live_export(&live, p->edits, p->study.graph, no_variables, err);
  if (status == AMCT_OK) status = amct_edits_apply(p->edits, err);
  if (status == AMCT_OK) status = insert_all(&live, p, graph, err);
  amct_arena_free(&live.arena);
  return status;
}
