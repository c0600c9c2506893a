/* SPDX-License-Identifier: Apache-2.0 */
#include "recipe/recipe_private.h"

amct_status amct_recipe_fill(amct_recipe_object object,
                             const amct_recipe_fallbacks *fallbacks, void *base,
                             amct_arena *arena, amct_error *err) {
  for (size_t i = 0; i < AMCT_RECIPE_KEY_COUNT; i++) {
    const amct_recipe_key *key = amct_recipe_key_at(i);
    if (key->object != object || key->fallback == NULL || key->kind == AMCT_RECIPE_ONLY)
      continue;
    const amct_recipe_spot spot = {"defaults", NULL, key};
    AMCT_TRY(amct_recipe_store(&spot, fallbacks->at[i], base, arena, err));
  }
  return AMCT_OK;
}

static amct_status fill_layer(amct_recipe *recipe, amct_layer_recipe *entry,
                              const amct_layer *layer,
                              const amct_recipe_fallbacks *fallbacks, amct_error *err) {
  const char *name = layer->node->name;
  AMCT_TRY(amct_recipe_fill(AMCT_RECIPE_LAYER, fallbacks, entry, &recipe->arena, err));
  AMCT_TRY(
      amct_recipe_fill(AMCT_RECIPE_ACTIVATION, fallbacks, entry, &recipe->arena, err));
  AMCT_TRY(amct_recipe_fill(AMCT_RECIPE_WEIGHT, fallbacks, entry, &recipe->arena, err));
  entry->name = amct_arena_text(&recipe->arena, name, strlen(name));
  entry->layer = layer;
  entry->enabled = false;
  entry->range.asymmetric = recipe->activation_offset;
  entry->channel_wise = layer->op->weight >= 0 && layer->grid == AMCT_PER_CHANNEL;
  return entry->name != NULL ? AMCT_OK : amct_fail_memory(err);
}

amct_status amct_recipe_add_layers(amct_recipe *recipe, const amct_layers *layers,
                                   const amct_recipe_fallbacks *fallbacks,
                                   amct_layer_recipe ***by_layer, amct_error *err) {
  amct_arena *arena = &recipe->arena;
  *by_layer = amct_arena_array(arena, layers->count + 1, sizeof **by_layer);
  recipe->layers = amct_arena_array(arena, layers->count + 1, sizeof *recipe->layers);
  if (*by_layer == NULL || recipe->layers == NULL) return amct_fail_memory(err);
  for (size_t i = 0; i < layers->count; i++) {
    const amct_layer *layer = &layers->at[i];
    if (layer->reason != NULL) continue;
    amct_layer_recipe *entry = &recipe->layers[recipe->layer_count];
    AMCT_TRY(fill_layer(recipe, entry, layer, fallbacks, err));
    (*by_layer)[i] = entry;
    recipe->layer_count++;
  }
  return AMCT_OK;
}

static amct_status skip_one(const char *name, const amct_lookup *lookup,
                            amct_layer_recipe *const *by_layer, amct_error *err) {
  amct_nearest nearest;
  char why[AMCT_REFUSAL_BYTES];
  amct_nearest_start(&nearest, name);
  if (amct_lookup_refusal(lookup, &nearest, why) != NULL)
    return amct_fail(err, AMCT_BAD_CONFIG, name, "skip_layers: \"%.200s\" %s", name, why);
  const amct_layer *layer = amct_lookup_layer(lookup, name);
  amct_layer_recipe *entry = by_layer[layer - lookup->layers->at];
  if (!entry->enabled)
    return amct_fail(err, AMCT_BAD_CONFIG, name, "skip_layers: \"%.200s\" stands twice",
                     name);
  entry->enabled = false;
  return AMCT_OK;
}

static amct_status enable_unskipped(amct_recipe *recipe,
                                    amct_layer_recipe *const *by_layer,
                                    const amct_lookup *lookup,
                                    const amct_recipe_options *options, amct_error *err) {
  if (recipe->layer_count == 0)
    return amct_fail(err, AMCT_BAD_CONFIG, NULL,
                     "%s: no layer can be quantized, %zu are of types that can",
                     amct_graph_label(lookup->graph), lookup->layers->count);
  for (size_t i = 0; i < recipe->layer_count; i++)
    recipe->layers[i].enabled = true;
  for (size_t i = 0; i < options->skip_count; i++)
    AMCT_TRY(skip_one(options->skip_layers[i], lookup, by_layer, err));
  if (options->skip_count == recipe->layer_count)
    return amct_fail(err, AMCT_BAD_CONFIG, NULL,
                     "skip_layers: no layer is left, all %zu are skipped",
                     recipe->layer_count);
  return AMCT_OK;
}

amct_status amct_recipe_defaults(amct_recipe *recipe, const amct_layers *layers,
                                 const amct_graph *graph,
                                 const amct_recipe_options *options, amct_error *err) {
  amct_recipe_fallbacks fallbacks = {0};
  amct_lookup lookup = {0};
  amct_layer_recipe **by_layer = NULL;
  amct_status status;

  if ((status = amct_recipe_fallbacks_make(&fallbacks, err)) != AMCT_OK ||
      (status = amct_recipe_fill(AMCT_RECIPE_GLOBAL, &fallbacks, recipe, &recipe->arena,
                                 err)) != AMCT_OK)
    goto done;
  recipe->batch_num = options->batch_num;
  recipe->activation_offset = options->activation_offset;
  if ((status = amct_recipe_add_layers(recipe, layers, &fallbacks, &by_layer, err)) !=
          AMCT_OK ||
      (status = amct_lookup_make(&lookup, layers, graph, err)) != AMCT_OK)
    goto done;
  status = enable_unskipped(recipe, by_layer, &lookup, options, err);
done:
  amct_lookup_free(&lookup);
  amct_recipe_fallbacks_free(&fallbacks);
  return status;
}

size_t amct_recipe_enabled(const amct_recipe *recipe) {
  size_t count = 0;
  for (size_t i = 0; i < recipe->layer_count; i++)
    count += recipe->layers[i].enabled;
  return count;
}

void amct_recipe_free(amct_recipe *recipe) {
  amct_arena_free(&recipe->arena);
  *recipe = (amct_recipe){0};
}
