/* SPDX-License-Identifier: Apache-2.0 */
#include "base/logging.h"
#include "recipe/recipe_private.h"

#include <stdio.h>

static const char k_module[] = "config";

typedef struct reader {
  const char *path;
  amct_recipe *recipe;
  const amct_layers *layers;
  json_t *root;
  amct_lookup lookup;
  amct_layer_recipe **by_layer;
  amct_recipe_fallbacks fallbacks;
} reader;

/* ---- objects of known keys ---- */

static amct_status fail_unknown_key(const reader *r, const char *layer,
                                    amct_recipe_object object, const char *name,
                                    amct_error *err) {
  char names[AMCT_NEAREST_BYTES];
  const char *section = "";
  const amct_recipe_key *key;
  amct_nearest nearest;
  amct_nearest_start(&nearest, name);
  for (size_t i = 0; (key = amct_recipe_key_at(i)) != NULL; i++) {
    if (key->kind == AMCT_RECIPE_OBJECT && key->place == (size_t)object)
      section = key->name;
    if (key->object == object) amct_nearest_offer(&nearest, key->name);
  }
  return amct_fail(err, AMCT_BAD_CONFIG, layer,
                   "%s: \"%.200s\": %s%s%.100s is not a setting%s", r->path, layer,
                   section, *section ? "." : "", name,
                   amct_nearest_text(&nearest, names));
}

/* Known keys of one object; those that it lacks keep their defaults. */
static amct_status read_object(const reader *r, const char *layer,
                               amct_recipe_object object, json_t *from, void *base,
                               amct_error *err) {
  const char *name;
  json_t *value;
  json_object_foreach(from, name, value) {
    const amct_recipe_key *key = amct_recipe_key_find(object, name);
    if (key == NULL && object == AMCT_RECIPE_GLOBAL) continue; /* a layer */
    if (key == NULL) return fail_unknown_key(r, layer, object, name, err);
    const amct_recipe_spot spot = {r->path, layer, key};
    AMCT_TRY(amct_recipe_store(&spot, value, base, &r->recipe->arena, err));
  }
  return AMCT_OK;
}

/* ---- layers ---- */

static amct_status fail_not_a_layer(const reader *r, const char *name,
                                    const json_t *value, amct_error *err) {
  char why[AMCT_REFUSAL_BYTES];
  const amct_recipe_key *key;
  amct_nearest nearest;
  amct_nearest_start(&nearest, name);
  for (size_t i = 0; (key = amct_recipe_key_at(i)) != NULL; i++)
    if (key->object == AMCT_RECIPE_GLOBAL) amct_nearest_offer(&nearest, key->name);
  const char *refusal = amct_lookup_refusal(&r->lookup, &nearest, why);
  return amct_fail(err, AMCT_BAD_CONFIG, name, "%s: %s\"%.200s\" %s", r->path,
                   json_is_object(value) ? "layer " : "", name,
                   refusal != NULL ? refusal : "is a layer: an object is wanted");
}

static amct_status check_channel_wise(const amct_recipe_spot *spot,
                                      const amct_layer_recipe *entry, amct_error *err) {
  char wrong[160];
  if (!entry->channel_wise || amct_lookup_fusible(entry->layer)) return AMCT_OK;
  amct_recipe_spot where = *spot;
  where.key = amct_recipe_key_find(AMCT_RECIPE_WEIGHT, "channel_wise");
  snprintf(wrong, sizeof wrong, "is true: %s has no scales by channel, false is wanted",
           entry->layer->op->op);
  return amct_recipe_fail(&where, NULL, wrong, err);
}

static amct_status read_layer(const reader *r, const char *name, json_t *from,
                              amct_error *err) {
  const amct_layer *layer = amct_lookup_layer(&r->lookup, name);
  if (layer == NULL || layer->reason != NULL || !json_is_object(from))
    return fail_not_a_layer(r, name, from, err);
  amct_layer_recipe *entry = r->by_layer[layer - r->layers->at];
  entry->enabled = true; /* unless the file says otherwise */
  AMCT_TRY(read_object(r, name, AMCT_RECIPE_LAYER, from, entry, err));
  AMCT_TRY(read_object(r, name, AMCT_RECIPE_ACTIVATION,
                       json_object_get(from, "activation_quant_params"), entry, err));
  AMCT_TRY(read_object(r, name, AMCT_RECIPE_WEIGHT,
                       json_object_get(from, "weight_quant_params"), entry, err));
  const amct_recipe_spot spot = {r->path, name, NULL};
  AMCT_TRY(amct_recipe_check_search(&spot, &entry->range, err));
  return check_channel_wise(&spot, entry, err);
}

static amct_status read_layers(const reader *r, amct_error *err) {
  const char *name;
  json_t *value;
  json_object_foreach(r->root, name, value) {
    if (amct_recipe_key_find(AMCT_RECIPE_GLOBAL, name) == NULL)
      AMCT_TRY(read_layer(r, name, value, err));
  }
  for (size_t i = 0; i < r->recipe->layer_count; i++)
    if (r->recipe->layers[i].enabled) return AMCT_OK;
  return amct_fail(err, AMCT_BAD_CONFIG, NULL,
                   "%s: no quant enable layer: quant_enable is true for none of the %zu "
                   "layers that can be quantized",
                   r->path, r->recipe->layer_count);
}

/* ---- skip_fusion_layers ---- */

static amct_status check_unfused(const reader *r, const char *name, amct_map *seen,
                                 amct_error *err) {
  const amct_layer *layer = amct_lookup_layer(&r->lookup, name);
  const amct_node *node = amct_graph_find(r->lookup.graph, name);
  if (node == NULL) {
    char names[AMCT_NEAREST_BYTES];
    amct_nearest nearest;
    amct_nearest_start(&nearest, name);
    for (size_t i = 0; i < r->layers->count; i++)
      if (amct_lookup_fusible(&r->layers->at[i]))
        amct_nearest_offer(&nearest, r->layers->at[i].node->name);
    return amct_fail(err, AMCT_BAD_CONFIG, name,
                     "%s: skip_fusion_layers: \"%.200s\" is not in the graph%s", r->path,
                     name, amct_nearest_text(&nearest, names));
  }
  if (layer == NULL || !amct_lookup_fusible(layer))
    return amct_fail(err, AMCT_BAD_CONFIG, name,
                     "%s: skip_fusion_layers: \"%.200s\" is a %.60s: nothing is ever "
                     "folded into it",
                     r->path, name, node->op);
  if (amct_map_get(seen, node) != NULL)
    return amct_fail(err, AMCT_BAD_CONFIG, name,
                     "%s: skip_fusion_layers: \"%.200s\" stands twice", r->path, name);
  return amct_map_set(seen, node, seen, err); /* any value */
}

static amct_status check_skip_fusion(const reader *r, amct_error *err) {
  amct_map seen = {0};
  amct_status status = AMCT_OK;
  for (size_t i = 0; i < r->recipe->skip_fusion_count && status == AMCT_OK; i++)
    status = check_unfused(r, r->recipe->skip_fusion_layers[i], &seen, err);
  amct_map_free(&seen);
  return status;
}

/* ---- files ---- */

/* Globals first: where they stand in the file does not matter to the layers. */
static amct_status read_globals(reader *r, amct_error *err) {
  AMCT_TRY(amct_recipe_fallbacks_make(&r->fallbacks, err));
  AMCT_TRY(amct_recipe_fill(AMCT_RECIPE_GLOBAL, &r->fallbacks, r->recipe,
                            &r->recipe->arena, err));
  AMCT_TRY(amct_recipe_load(&r->root, r->path, err));
  return read_object(r, NULL, AMCT_RECIPE_GLOBAL, r->root, r->recipe, err);
}

static void free_reader(reader *r) {
  json_decref(r->root);
  amct_recipe_fallbacks_free(&r->fallbacks);
  amct_lookup_free(&r->lookup);
}

amct_status amct_recipe_read(amct_recipe *recipe, const char *path,
                             const amct_layers *layers, const amct_graph *graph,
                             amct_error *err) {
  reader r = {.path = path, .recipe = recipe, .layers = layers};
  amct_status status;

  if ((status = read_globals(&r, err)) != AMCT_OK ||
      (status = amct_lookup_make(&r.lookup, layers, graph, err)) != AMCT_OK ||
      (status = amct_recipe_add_layers(recipe, layers, &r.fallbacks, &r.by_layer, err)) !=
          AMCT_OK ||
      (status = check_skip_fusion(&r, err)) != AMCT_OK)
    goto done;
  status = read_layers(&r, err);
  if (status == AMCT_OK && recipe->joint_quant)
    amct_log(AMCT_LOG_WARNING, k_module,
             "%s: joint_quant is true: it has no effect in this version", path);
done:
  free_reader(&r);
  return status;
}

amct_status amct_recipe_read_fusion(amct_recipe_fusion *fusion, const char *path,
                                    amct_error *err) {
  amct_recipe recipe = {0};
  reader r = {.path = path, .recipe = &recipe};
  amct_status status = read_globals(&r, err);
  free_reader(&r);
  if (status != AMCT_OK) {
    amct_recipe_free(&recipe);
    return status;
  }
  *fusion = (amct_recipe_fusion){recipe.do_fusion, recipe.skip_fusion_layers,
                                 recipe.skip_fusion_count, recipe.arena};
  return AMCT_OK;
}
