/* SPDX-License-Identifier: Apache-2.0 */
#include "insert/observe.h"

#include "base/number.h"
#include "insert/fold_spec.h"
#include "insert/observed.h"
#include "insert/scopes.h"

#include <stdio.h>

enum { TURNS_MAX = 64 }; /* of a loop, for each batch that is wanted */

typedef struct observer {
  amct_edits *edits;
  const amct_plan *plan;
  const amct_recipe *recipe;
  const amct_observe_options *options;
  amct_scopes scopes;
  amct_observed_list observed;
  amct_map gates; /* layer's node -> amct_spec of the Identity that it reads through */
} observer;

/* What every observer carries (calib/calibration.h, amct_calib_key). */
static void put_key(const observer *o, amct_spec *spec) {
  amct_spec_text(spec, "calibration_id", o->options->calibration_id);
  amct_spec_text(spec, "record_file", o->options->record_path);
  amct_spec_int(spec, "layer_total", o->observed.total);
}

static void put_range(amct_spec *spec, const amct_range_options *range) {
  const double values[] = {range->max_percentile, range->min_percentile,
                           range->search_start, range->search_end, range->search_step};
  enum { COUNT = sizeof values / sizeof *values };
  char text[COUNT][AMCT_NUMBER_BYTES];
  const char *at[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    amct_number_print_double(text[i], values[i]);
    at[i] = text[i];
  }
  amct_spec_texts(spec, "ifmr", at, COUNT);
  amct_spec_text(spec, "act_algo", amct_range_name(range->algorithm));
  amct_spec_int(spec, "num_of_bins", range->num_of_bins);
  amct_spec_bool(spec, "asymmetric", range->asymmetric);
}

static amct_status new_observer(observer *o, amct_spec **spec, const amct_layer *layer,
                                const char *group, const char *op, amct_error *err) {
  const char *scope = amct_scopes_take(&o->scopes, layer->node->name, group, op);
  const char *name =
      scope ? amct_arena_format(amct_graph_arena(o->plan->graph), "%s/%s", scope, op)
            : NULL;
  if (!name) return amct_fail_memory(err);
  *spec = amct_edits_add(o->edits, name, op, layer->node, true);
  return AMCT_OK;
}

/*
 * The layer waits for an observer. It reads its data through an Identity, which has the
 * control edge: where that leads to the layer itself, TensorFlow's graph optimizer does
 * not merge the layer with its bias, batch norm and activation.
 */
static amct_status hold(observer *o, const amct_layer *layer, const amct_spec *watcher,
                        amct_error *err) {
  amct_spec *gate = amct_map_get(&o->gates, layer->node);
  if (!gate) {
    AMCT_TRY(new_observer(o, &gate, layer, "observed", "Identity", err));
    if (!gate) return amct_fail_memory(err);
    amct_spec_device(gate, layer->node->device);
    amct_spec_input(gate, amct_edge_text(layer->data));
    amct_spec_type(gate, "T", AMCT_DTYPE_FLOAT);
    amct_edits_set_input(o->edits, layer->node, layer->input, amct_spec_name(gate));
    AMCT_TRY(amct_map_set(&o->gates, layer->node, gate, err));
  }
  const char *control =
      amct_arena_format(amct_graph_arena(o->plan->graph), "^%s", amct_spec_name(watcher));
  if (!control) return amct_fail_memory(err);
  amct_spec_input(gate, control);
  return AMCT_OK;
}

static amct_status observe_tensor(observer *o, const amct_observed *tensor,
                                  amct_error *err) {
  const amct_layer *first = tensor->first->layer;
  amct_spec *spec = NULL;
  AMCT_TRY(new_observer(o, &spec, first, "act_quant", "QuantIfmr", err));
  amct_spec_input(spec, amct_edge_text(tensor->data));
  amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
  put_key(o, spec);
  amct_spec_int(spec, "batch_num", o->recipe->batch_num);
  if (first->looped) amct_spec_int(spec, "turns", TURNS_MAX);
  amct_spec_texts(spec, "layer_names", tensor->names.at, tensor->names.count);
  amct_spec_ints(spec, "layer_indices", tensor->indices.at, tensor->indices.count);
  amct_spec_ints(spec, "layer_weighted", tensor->weighted.at, tensor->weighted.count);
  put_range(spec, &tensor->first->range);
  amct_spec_texts(spec, "windows", tensor->windows.at, tensor->windows.count);
  amct_spec_texts(spec, "row_windows", tensor->row_windows.at, tensor->row_windows.count);
  for (size_t i = 0; i < tensor->readers.count; i++)
    AMCT_TRY(hold(o, tensor->readers.at[i], spec, err));
  return AMCT_OK;
}

static amct_status observe_weights(observer *o, const amct_layer_recipe *recipe,
                                   int64_t index, amct_error *err) {
  const amct_layer *layer = recipe->layer;
  amct_spec *spec = NULL;
  size_t inputs = 0;
  AMCT_TRY(new_observer(o, &spec, layer, "weight_quant", "QuantArq", err));
  AMCT_TRY(amct_fold_spec_put(o->edits, o->plan, spec, layer, &inputs, err));
  AMCT_TRY(amct_fold_spec_types(amct_graph_arena(o->plan->graph), spec, inputs, err));
  put_key(o, spec);
  amct_spec_text(spec, "layer_name", recipe->name);
  amct_spec_int(spec, "layer_index", index);
  amct_spec_bool(spec, "channel_wise", recipe->channel_wise);
  amct_spec_float(spec, "damping",
                  amct_observed_rounds(recipe) ? (float)recipe->damping : 0.0f);
  amct_fold_spec_axes(spec, layer);
  return hold(o, layer, spec, err);
}

static amct_status observe_all(observer *o, amct_error *err) {
  const amct_recipe *recipe = o->recipe;
  AMCT_TRY(amct_observed_find(&o->observed, o->plan, recipe, err));
  for (size_t i = 0; i < o->observed.tensors.count; i++)
    AMCT_TRY(observe_tensor(o, o->observed.tensors.at[i], err));

  int64_t index = 0;
  for (size_t i = 0; i < recipe->layer_count; i++) {
    if (!recipe->layers[i].enabled) continue;
    if (recipe->layers[i].layer->weight.node)
      AMCT_TRY(observe_weights(o, &recipe->layers[i], index, err));
    index++;
  }
  return AMCT_OK;
}

amct_status amct_observe(amct_edits *edits, const amct_plan *plan,
                         const amct_recipe *recipe, const amct_observe_options *options,
                         amct_error *err) {
  observer o = {.edits = edits, .plan = plan, .recipe = recipe, .options = options};
  o.scopes = amct_scopes_of(plan->graph, edits);
  amct_status status = observe_all(&o, err);
  amct_observed_free(&o.observed);
  amct_map_free(&o.gates);
  amct_scopes_free(&o.scopes);
  return status;
}

static bool is_observer(const amct_node *node) {
  return strcmp(node->op, "QuantIfmr") == 0 || strcmp(node->op, "QuantArq") == 0;
}

/* An Identity that a layer reads through. */
static bool is_gate(const amct_node *node) {
  return strcmp(node->op, "Identity") == 0 && node->data_count == 1 &&
         node->input_count > 1 && is_observer(node->inputs[1].node);
}

static amct_status undo_all(amct_edits *edits, amct_graph *graph, size_t *count,
                            amct_error *err) {
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    amct_node *node = amct_graph_at(graph, i);
    if (is_observer(node)) {
      amct_edits_detach(edits, node);
      ++*count;
    } else if (is_gate(node)) {
      const char *source = amct_edge_text(node->inputs[0]);
      if (!source) return amct_fail_memory(err);
      amct_edits_rewire(edits, (amct_edge){node, 0}, source, NULL, 0);
      amct_edits_detach(edits, node);
    }
  }
  return amct_edits_apply(edits, err);
}

amct_status amct_observe_undo(amct_graph *graph, size_t *count, amct_error *err) {
  *count = 0;
  amct_edits *edits = amct_edits_new(graph);
  if (!edits) return amct_fail_memory(err);
  const amct_status status = undo_all(edits, graph, count, err);
  amct_edits_free(edits);
  return status;
}
