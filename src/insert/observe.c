/* SPDX-License-Identifier: Apache-2.0 */
#include "insert/observe.h"

#include "base/number.h"
#include "insert/fold_spec.h"
#include "insert/scopes.h"
#include "numeric/input_sums.h"

#include <stdio.h>

/* One observed tensor: the layers that read it with the same parameters. */
typedef struct observed {
  const amct_layer_recipe *first;
  AMCT_VEC(const char *) names;
  AMCT_VEC(int64_t) indices;
  AMCT_VEC(int64_t) weighted;
  AMCT_VEC(const char *) windows;
  struct observed *next; /* of the same node */
} observed;

typedef struct observer {
  amct_edits *edits;
  const amct_plan *plan;
  const amct_recipe *recipe;
  const amct_observe_options *options;
  amct_scopes scopes;
  amct_map by_node; /* data node -> observed */
  AMCT_VEC(observed *) tensors;
  int64_t total; /* layers enabled */
} observer;

static bool same_range(const amct_range_options *a, const amct_range_options *b) {
  return a->algorithm == b->algorithm && a->num_of_bins == b->num_of_bins &&
         a->max_percentile == b->max_percentile &&
         a->min_percentile == b->min_percentile && a->search_start == b->search_start &&
         a->search_end == b->search_end && a->search_step == b->search_step &&
         a->asymmetric == b->asymmetric;
}

static observed *find_observed(const observer *o, const amct_layer_recipe *recipe) {
  observed *tensor = amct_map_get(&o->by_node, recipe->layer->data.node);
  while (tensor && !(amct_edge_equal(tensor->first->layer->data, recipe->layer->data) &&
                     same_range(&tensor->first->range, &recipe->range)))
    tensor = tensor->next;
  return tensor;
}

static void free_tensors(observer *o) {
  for (size_t i = 0; i < o->tensors.count; i++) {
    AMCT_VEC_FREE(&o->tensors.at[i]->names);
    AMCT_VEC_FREE(&o->tensors.at[i]->indices);
    AMCT_VEC_FREE(&o->tensors.at[i]->weighted);
    AMCT_VEC_FREE(&o->tensors.at[i]->windows);
  }
  AMCT_VEC_FREE(&o->tensors);
}

/* Rows and columns of an attribute with four numbers; 1 where it is absent. */
static bool read_image(const amct_layer *layer, const char *key, int64_t to[2]) {
  const int image = layer->channels_first ? 2 : 1;
  amct_ints values;
  to[0] = to[1] = 1;
  if (!amct_attr_has(layer->node, key)) return true;
  if (!amct_attr_ints(layer->node, key, &values) || values.count != 4) return false;
  to[0] = values.at[image];
  to[1] = values.at[image + 1];
  return to[0] >= 1 && to[1] >= 1;
}

static bool is_op(const amct_layer *layer, const char *op) {
  return strcmp(layer->node->op, op) == 0;
}

/* How the layer reads its input; false: not as a window does that has means. */
static bool find_window(const amct_layer *layer, amct_window *window) {
  *window = (amct_window){{1, 1}, {1, 1}, {1, 1}, false, false, true};
  if (is_op(layer, "MatMul")) return true;
  if (!is_op(layer, "Conv2D") && !is_op(layer, "DepthwiseConv2dNative")) return false;
  if (layer->weight_shape.rank != 4) return false;
  window->flat = false;
  window->channels_first = layer->channels_first;
  window->same = amct_attr_is(layer->node, "padding", "SAME", false);
  for (int axis = 0; axis < 2; axis++) {
    window->kernel[axis] = layer->weight_shape.dims[axis];
    if (window->kernel[axis] < 1 || window->kernel[axis] > AMCT_WINDOW_KERNEL_MAX)
      return false;
  }
  return (window->same || amct_attr_is(layer->node, "padding", "VALID", false)) &&
         read_image(layer, "strides", window->stride) &&
         read_image(layer, "dilations", window->dilation);
}

/* The window of a layer whose bias is to be corrected, as text; "": none. NULL: no
 * memory. */
static const char *window_text(const observer *o, const amct_layer *layer) {
  amct_window window;
  char text[AMCT_WINDOW_BYTES] = "";
  if (o->recipe->bias_correction && layer->bias && layer->weight.node &&
      find_window(layer, &window))
    amct_window_print(text, &window);
  return amct_arena_text(amct_graph_arena(o->plan->graph), text, strlen(text));
}

/* Puts the layer with the tensor that it reads, or starts a new one. */
static amct_status group_layer(observer *o, const amct_layer_recipe *recipe,
                               int64_t index, amct_error *err) {
  observed *tensor = find_observed(o, recipe);
  if (!tensor) {
    tensor = amct_arena_alloc(amct_graph_arena(o->plan->graph), sizeof *tensor);
    if (!tensor || !AMCT_VEC_PUSH(&o->tensors, tensor)) return amct_fail_memory(err);
    tensor->first = recipe;
    tensor->next = amct_map_get(&o->by_node, recipe->layer->data.node);
    AMCT_TRY(amct_map_set(&o->by_node, recipe->layer->data.node, tensor, err));
  }
  const char *window = window_text(o, recipe->layer);
  if (!window || !AMCT_VEC_PUSH(&tensor->windows, window) ||
      !AMCT_VEC_PUSH(&tensor->names, recipe->name) ||
      !AMCT_VEC_PUSH(&tensor->indices, index) ||
      !AMCT_VEC_PUSH(&tensor->weighted, (int64_t)(recipe->layer->weight.node != NULL)))
    return amct_fail_memory(err);
  return AMCT_OK;
}

/* What every observer carries (calib/calibration.h, amct_calib_key). */
static void put_key(const observer *o, amct_spec *spec) {
  amct_spec_text(spec, "calibration_id", o->options->calibration_id);
  amct_spec_text(spec, "record_file", o->options->record_path);
  amct_spec_int(spec, "layer_total", o->total);
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

static amct_status observe_tensor(observer *o, const observed *tensor, amct_error *err) {
  const amct_layer *first = tensor->first->layer;
  amct_spec *spec = NULL;
  AMCT_TRY(new_observer(o, &spec, first, "act_quant", "QuantIfmr", err));
  amct_spec_input(spec, amct_edge_text(first->data));
  amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
  put_key(o, spec);
  amct_spec_int(spec, "batch_num", o->recipe->batch_num);
  amct_spec_texts(spec, "layer_names", tensor->names.at, tensor->names.count);
  amct_spec_ints(spec, "layer_indices", tensor->indices.at, tensor->indices.count);
  amct_spec_ints(spec, "layer_weighted", tensor->weighted.at, tensor->weighted.count);
  put_range(spec, &tensor->first->range);
  amct_spec_texts(spec, "windows", tensor->windows.at, tensor->windows.count);
  for (size_t i = 0; i < tensor->names.count; i++)
    amct_edits_control(o->edits, amct_graph_find(o->plan->graph, tensor->names.at[i]),
                       amct_spec_name(spec));
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
  amct_fold_spec_axes(spec, layer);
  amct_edits_control(o->edits, layer->node, amct_spec_name(spec));
  return AMCT_OK;
}

static amct_status observe_all(observer *o, amct_error *err) {
  const amct_recipe *recipe = o->recipe;
  for (size_t i = 0; i < recipe->layer_count; i++)
    if (recipe->layers[i].enabled)
      AMCT_TRY(group_layer(o, &recipe->layers[i], o->total++, err));
  for (size_t i = 0; i < o->tensors.count; i++)
    AMCT_TRY(observe_tensor(o, o->tensors.at[i], err));

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
  free_tensors(&o);
  amct_map_free(&o.by_node);
  amct_scopes_free(&o.scopes);
  return status;
}

static bool is_observer(const amct_node *node) {
  return strcmp(node->op, "QuantIfmr") == 0 || strcmp(node->op, "QuantArq") == 0;
}

amct_status amct_observe_undo(amct_graph *graph, size_t *count, amct_error *err) {
  *count = 0;
  amct_edits *edits = amct_edits_new(graph);
  if (!edits) return amct_fail_memory(err);
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    amct_node *node = amct_graph_at(graph, i);
    if (!is_observer(node)) continue;
    amct_edits_detach(edits, node);
    ++*count;
  }
  amct_status status = amct_edits_apply(edits, err);
  amct_edits_free(edits);
  return status;
}
