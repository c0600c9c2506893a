/* SPDX-License-Identifier: Apache-2.0 */
#include "insert/observed.h"

#include "numeric/input_sums.h"

static bool same_range(const amct_range_options *a, const amct_range_options *b) {
  return a->algorithm == b->algorithm && a->num_of_bins == b->num_of_bins &&
         a->max_percentile == b->max_percentile &&
         a->min_percentile == b->min_percentile && a->search_start == b->search_start &&
         a->search_end == b->search_end && a->search_step == b->search_step &&
         a->asymmetric == b->asymmetric;
}

static amct_observed *find_observed(const amct_observed_list *list,
                                    const amct_layer_recipe *recipe, amct_edge data) {
  amct_observed *tensor = amct_map_get(&list->by_node, data.node);
  while (tensor && !(amct_edge_equal(tensor->data, data) &&
                     same_range(&tensor->first->range, &recipe->range)))
    tensor = tensor->next;
  return tensor;
}

void amct_observed_free(amct_observed_list *list) {
  for (size_t i = 0; i < list->tensors.count; i++) {
    AMCT_VEC_FREE(&list->tensors.at[i]->readers);
    AMCT_VEC_FREE(&list->tensors.at[i]->names);
    AMCT_VEC_FREE(&list->tensors.at[i]->indices);
    AMCT_VEC_FREE(&list->tensors.at[i]->weighted);
    AMCT_VEC_FREE(&list->tensors.at[i]->windows);
    AMCT_VEC_FREE(&list->tensors.at[i]->row_windows);
  }
  AMCT_VEC_FREE(&list->tensors);
  amct_map_free(&list->by_node);
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

/* How the layer reads its input; false: not as a window does that has means. */
static bool find_window(const amct_layer *layer, amct_window *window) {
  *window = (amct_window){{1, 1}, {1, 1}, {1, 1}, false, false, true};
  if (amct_node_is(layer->node, "MatMul")) return true;
  if (!amct_node_is(layer->node, "Conv2D") &&
      !amct_node_is(layer->node, "DepthwiseConv2dNative"))
    return false;
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

static bool corrects(const amct_recipe *recipe, const amct_layer *layer) {
  return recipe->bias_correction && layer->bias && layer->weight.node;
}

bool amct_observed_rounds(const amct_layer_recipe *recipe) {
  return recipe->weighting == AMCT_WEIGHT_GPTQ && recipe->layer->weight.node &&
         !recipe->layer->looped;
}

/* The window of a layer, where something wants it, as text; "": none. NULL: no memory. */
static const char *window_text(const amct_plan *plan, const amct_layer *layer,
                               bool wanted) {
  amct_window window;
  char text[AMCT_WINDOW_BYTES] = "";
  if (wanted && find_window(layer, &window)) amct_window_print(text, &window);
  return amct_arena_text(amct_graph_arena(plan->graph), text, strlen(text));
}

typedef struct grouping {
  amct_observed_list *list;
  const amct_plan *plan;
  const amct_recipe *recipe;
} grouping;

/* What a layer does with a tensor. */
enum { WITHOUT_WEIGHTS = 0, WEIGHTED = 1, IN_PLACE_OF_WEIGHTS = 2 };

/* Puts the layer with a tensor that it reads, or starts a new one. */
static amct_status group_tensor(const grouping *g, const amct_layer_recipe *layer,
                                amct_edge data, int64_t role, amct_error *err) {
  amct_observed_list *list = g->list;
  amct_observed *tensor = find_observed(list, layer, data);
  if (!tensor) {
    tensor = amct_arena_alloc(amct_graph_arena(g->plan->graph), sizeof *tensor);
    if (!tensor || !AMCT_VEC_PUSH(&list->tensors, tensor)) return amct_fail_memory(err);
    tensor->first = layer;
    tensor->data = data;
    tensor->next = amct_map_get(&list->by_node, data.node);
    AMCT_TRY(amct_map_set(&list->by_node, data.node, tensor, err));
  }
  const bool corrected = corrects(g->recipe, layer->layer);
  const char *window = window_text(g->plan, layer->layer, corrected);
  const char *rows = window_text(g->plan, layer->layer, amct_observed_rounds(layer));
  if (!window || !rows || !AMCT_VEC_PUSH(&tensor->windows, window) ||
      !AMCT_VEC_PUSH(&tensor->row_windows, rows) ||
      !AMCT_VEC_PUSH(&tensor->readers, layer->layer) ||
      !AMCT_VEC_PUSH(&tensor->names, layer->name) ||
      !AMCT_VEC_PUSH(&tensor->indices, list->total) ||
      !AMCT_VEC_PUSH(&tensor->weighted, role))
    return amct_fail_memory(err);
  return AMCT_OK;
}

static amct_status group_layer(const grouping *g, const amct_layer_recipe *layer,
                               amct_error *err) {
  const amct_edge data = layer->layer->data, second = layer->layer->second;
  const bool weighted = layer->layer->weight.node || second.node;
  AMCT_TRY(group_tensor(g, layer, data, weighted ? WEIGHTED : WITHOUT_WEIGHTS, err));
  if (second.node) AMCT_TRY(group_tensor(g, layer, second, IN_PLACE_OF_WEIGHTS, err));
  g->list->total++;
  return AMCT_OK;
}

amct_status amct_observed_find(amct_observed_list *list, const amct_plan *plan,
                               const amct_recipe *recipe, amct_error *err) {
  const grouping g = {list, plan, recipe};
  for (size_t i = 0; i < recipe->layer_count; i++)
    if (recipe->layers[i].enabled) AMCT_TRY(group_layer(&g, &recipe->layers[i], err));
  for (size_t i = 0; i < recipe->tensor_count; i++)
    AMCT_TRY(group_layer(&g, &recipe->tensors[i], err));
  return AMCT_OK;
}
