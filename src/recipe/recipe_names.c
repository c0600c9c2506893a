/* SPDX-License-Identifier: Apache-2.0 */
/* Layers and ops that a configuration names. */
#include "recipe/recipe_private.h"

#include "base/vec.h"
#include "op/tensors.h"

static amct_status take_once(amct_map *seen, const amct_node *node,
                             const amct_config_place *place, amct_error *err) {
  if (amct_map_get(seen, node) != NULL)
    return amct_config_fail(err, place, node->name, ": \"%.200s\" stands twice",
                            node->name);
  return amct_map_set(seen, node, seen, err); /* any value */
}

/* ---- layers ---- */

amct_status amct_naming_make(amct_naming *naming, const amct_layers *layers,
                             const amct_graph *graph, amct_error *err) {
  amct_candidates *among = &naming->layers;
  *among = (amct_candidates){.graph = graph, .are = "can be quantized"};
  among->at = amct_alloc_array(layers->count + 1, sizeof *among->at);
  if (among->at == NULL) return amct_fail_memory(err);
  for (size_t i = 0; i < layers->count; i++)
    if (layers->at[i].reason == NULL) among->at[among->count++] = layers->at[i].node;
  return amct_lookup_make(&naming->lookup, layers, graph, err);
}

void amct_naming_free(amct_naming *naming) {
  amct_candidates_free(&naming->layers);
  amct_lookup_free(&naming->lookup);
  amct_map_free(&naming->skipped);
  amct_map_free(&naming->tensors);
}

amct_status amct_naming_entry(const amct_naming *naming, const char *name, amct_map *seen,
                              const amct_config_place *place, amct_layer_recipe **entry,
                              amct_error *err) {
  amct_nearest nearest;
  char why[AMCT_REFUSAL_BYTES];
  amct_nearest_start(&nearest, name);
  if (amct_lookup_refusal(&naming->lookup, &nearest, why) != NULL)
    return amct_config_fail(err, place, name, ": \"%.200s\" %s", name, why);
  const amct_layer *layer = amct_lookup_layer(&naming->lookup, name);
  *entry = naming->by_layer[layer - naming->lookup.layers->at];
  return take_once(seen, layer->node, place, err);
}

amct_status amct_naming_skip(amct_naming *naming, const char *text,
                             const amct_config_place *place, amct_error *err) {
  amct_selector selector = amct_selector_of(naming->layers.graph, text);
  if (selector.kind == AMCT_SELECT_NAME) {
    amct_layer_recipe *entry = NULL;
    AMCT_TRY(amct_naming_entry(naming, text, &naming->skipped, place, &entry, err));
    entry->enabled = false;
    return AMCT_OK;
  }
  AMCT_TRY(amct_selector_check(&selector, &naming->layers, place, err));
  for (size_t i = 0; i < naming->lookup.layers->count; i++) {
    amct_layer_recipe *entry = naming->by_layer[i];
    if (entry != NULL && amct_selector_takes(&selector, entry->layer->node))
      entry->enabled = false;
  }
  return AMCT_OK;
}

/* ---- skip_fusion_layers ---- */

static bool is_fusible(const amct_node *node) {
  const amct_op *op = amct_op_find(node->op);
  return op != NULL && amct_lookup_fusible_op(op);
}

typedef struct unfused {
  const amct_graph *graph;
  const char *path;
  const uint32_t *lines;
  amct_candidates among;
  amct_map seen;
  AMCT_VEC(const char *) names;
} unfused;

static amct_config_place place_of(const unfused *u, size_t i) {
  return (amct_config_place){u->path, u->lines != NULL ? u->lines[i] : 0,
                             "skip_fusion_layers"};
}

static amct_status check_unfused(unfused *u, const char *name, size_t i,
                                 amct_error *err) {
  const amct_config_place place = place_of(u, i);
  const amct_node *node = amct_graph_find(u->graph, name);
  if (node == NULL) {
    char names[AMCT_NEAREST_BYTES];
    amct_nearest nearest;
    amct_nearest_start(&nearest, name);
    for (size_t k = 0; k < u->among.count; k++)
      amct_nearest_offer(&nearest, u->among.at[k]->name);
    return amct_config_fail(err, &place, name, ": \"%.200s\" is not in the graph%s", name,
                            amct_nearest_text(&nearest, names));
  }
  if (!is_fusible(node))
    return amct_config_fail(err, &place, name,
                            ": \"%.200s\" is a %.60s: nothing is ever folded into it",
                            name, node->op);
  return take_once(&u->seen, node, &place, err);
}

/* A name as it is; for a pattern or type those that no other element has named. */
static amct_status put_unfused(unfused *u, const char *text, size_t i, amct_error *err) {
  const amct_config_place place = place_of(u, i);
  amct_selector selector = amct_selector_of(u->graph, text);
  if (selector.kind == AMCT_SELECT_NAME)
    return AMCT_VEC_PUSH(&u->names, text) ? AMCT_OK : amct_fail_memory(err);
  AMCT_TRY(amct_selector_check(&selector, &u->among, &place, err));
  for (size_t k = 0; k < u->among.count; k++) {
    const amct_node *node = u->among.at[k];
    if (amct_map_get(&u->seen, node) != NULL || !amct_selector_takes(&selector, node))
      continue;
    AMCT_TRY(amct_map_set(&u->seen, node, u, err));
    if (!AMCT_VEC_PUSH(&u->names, node->name)) return amct_fail_memory(err);
  }
  return AMCT_OK;
}

static amct_status find_fusible(amct_candidates *among, const amct_graph *graph,
                                amct_error *err) {
  *among = (amct_candidates){.graph = graph, .are = "anything is folded into"};
  among->at = amct_alloc_array(amct_graph_count(graph) + 1, sizeof *among->at);
  if (among->at == NULL) return amct_fail_memory(err);
  for (size_t i = 0; i < amct_graph_count(graph); i++)
    if (is_fusible(amct_graph_at(graph, i)))
      among->at[among->count++] = amct_graph_at(graph, i);
  return AMCT_OK;
}

static amct_status name_unfused(unfused *u, amct_recipe *recipe, amct_error *err) {
  AMCT_TRY(find_fusible(&u->among, u->graph, err));
  for (size_t i = 0; i < recipe->skip_fusion_count; i++) {
    const char *text = recipe->skip_fusion_layers[i];
    if (amct_selector_of(u->graph, text).kind == AMCT_SELECT_NAME)
      AMCT_TRY(check_unfused(u, text, i, err));
  }
  for (size_t i = 0; i < recipe->skip_fusion_count; i++)
    AMCT_TRY(put_unfused(u, recipe->skip_fusion_layers[i], i, err));

  amct_arena *arena = &recipe->arena;
  const char **names = amct_arena_array(arena, u->names.count + 1, sizeof *names);
  if (names == NULL) return amct_fail_memory(err);
  for (size_t i = 0; i < u->names.count; i++) {
    names[i] = amct_arena_text(arena, u->names.at[i], strlen(u->names.at[i]));
    if (names[i] == NULL) return amct_fail_memory(err);
  }
  recipe->skip_fusion_layers = names;
  recipe->skip_fusion_count = u->names.count;
  return AMCT_OK;
}

amct_status amct_recipe_name_unfused(amct_recipe *recipe, const amct_graph *graph,
                                     const char *path, const uint32_t *lines,
                                     amct_error *err) {
  unfused u = {.graph = graph, .path = path, .lines = lines};
  if (recipe->skip_fusion_count == 0) return AMCT_OK;
  amct_status status = name_unfused(&u, recipe, err);
  amct_candidates_free(&u.among);
  amct_map_free(&u.seen);
  AMCT_VEC_FREE(&u.names);
  return status;
}

/* ---- tensor_quantize ---- */

static amct_status fail_tensor_name(const char *name, const amct_graph *graph,
                                    const amct_config_place *place, amct_error *err) {
  char names[AMCT_NEAREST_BYTES];
  amct_nearest nearest;
  amct_nearest_start(&nearest, name);
  for (size_t i = 0; i < amct_graph_count(graph); i++)
    if (amct_tensor_op(amct_graph_at(graph, i)))
      amct_nearest_offer(&nearest, amct_graph_at(graph, i)->name);
  return amct_config_fail(err, place, name, ": \"%.200s\" is not in the graph%s", name,
                          amct_nearest_text(&nearest, names));
}

amct_status amct_recipe_name_tensor(amct_recipe *recipe, const amct_tensor_recipe *named,
                                    amct_naming *naming, const amct_config_place *place,
                                    amct_error *err) {
  const amct_graph *graph = naming->layers.graph;
  amct_layer_recipe *entry = &recipe->tensors[recipe->tensor_count - 1];
  amct_node *node = amct_graph_find(graph, named->layer_name);
  const uint64_t input = (uint64_t)named->input_index;
  char why[AMCT_REASON_BYTES];
  if (node == NULL) return fail_tensor_name(named->layer_name, graph, place, err);
  if (amct_tensor_refusal(node, input, why) != NULL)
    return amct_config_fail(err, place, node->name, ": \"%.200s\" %s", node->name, why);
  if (amct_map_get(&naming->tensors, &node->inputs[input]) != NULL)
    return amct_config_fail(err, place, node->name,
                            ": input %llu of \"%.200s\" stands twice",
                            (unsigned long long)input, node->name);
  AMCT_TRY(amct_map_set(&naming->tensors, &node->inputs[input], naming, err));
  amct_layer *layer = amct_arena_alloc(&recipe->arena, sizeof *layer);
  entry->name =
      amct_arena_format(&recipe->arena, "%s:%llu", node->name, (unsigned long long)input);
  if (layer == NULL || entry->name == NULL) return amct_fail_memory(err);
  *layer = amct_tensor_layer(node, (uint32_t)input);
  entry->layer = layer;
  return AMCT_OK;
}
