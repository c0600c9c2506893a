/* SPDX-License-Identifier: Apache-2.0 */
#include "base/logging.h"
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

amct_status amct_recipe_start(amct_recipe *recipe, const amct_recipe_fallbacks *fallbacks,
                              amct_error *err) {
  recipe->activation_offset = true;
  recipe->do_fusion = true;
  return amct_recipe_fill(amct_recipe_top(recipe->purpose), fallbacks, recipe,
                          &recipe->arena, err);
}

void amct_recipe_settle_clips(amct_layer_recipe *entry, const char *path) {
  amct_clips *clips = &entry->clips;
  if ((clips->max != 0) == (clips->min != 0)) return;
  amct_log(AMCT_LOG_WARNING, "config",
           "%s: \"%s\": %s is ignored: clip_max and clip_min go together", path,
           entry->name, clips->max != 0 ? "clip_max" : "clip_min");
  clips->max = clips->min = 0;
}

void amct_recipe_settle_range(amct_layer_recipe *entry) {
  if (entry->layer->second.node != NULL) entry->range.asymmetric = false;
}

bool amct_recipe_by_channel(const amct_layer *layer) {
  return layer->op->weight >= 0 && layer->grid == AMCT_PER_CHANNEL;
}

bool amct_recipe_settle_channels(amct_layer_recipe *entry, amct_select_kind kind) {
  if (!entry->channel_wise) return true;
  const bool told = kind == AMCT_SELECT_NAME || kind == AMCT_SELECT_TYPE;
  if (told && !amct_lookup_fusible(entry->layer)) return false;
  if (kind != AMCT_SELECT_NAME)
    entry->channel_wise = amct_recipe_by_channel(entry->layer);
  return true;
}

static void use_preset(const amct_recipe *recipe, amct_layer_recipe *entry) {
  static const struct {
    int64_t range, weighting;
  } k_presets[] = {
#define PRESET(id, name, range, weighting) {AMCT_RANGE_##range, AMCT_WEIGHT_##weighting},
#include "recipe/presets.def"
#undef PRESET
  };
  if (recipe->preset == AMCT_PRESET_NONE) return;
  entry->range.algorithm = k_presets[recipe->preset].range;
  entry->weighting = k_presets[recipe->preset].weighting;
}

static amct_status fill_layer(amct_recipe *recipe, amct_layer_recipe *entry,
                              const amct_layer *layer,
                              const amct_recipe_fallbacks *fallbacks, amct_error *err) {
  const char *name = layer->node->name;
  const amct_recipe_object own = amct_recipe_entry(recipe->purpose);
  const amct_recipe_key *section;
  entry->range = (amct_range_options)AMCT_RANGE_DEFAULTS;
  AMCT_TRY(amct_recipe_fill(own, fallbacks, entry, &recipe->arena, err));
  for (size_t i = 0; i < AMCT_RECIPE_KEY_COUNT; i++)
    if ((section = amct_recipe_section_at(i, own)) != NULL)
      AMCT_TRY(amct_recipe_fill((amct_recipe_object)section->place, fallbacks, entry,
                                &recipe->arena, err));
  entry->name = amct_arena_text(&recipe->arena, name, strlen(name));
  entry->layer = layer;
  entry->enabled = false;
  entry->range.asymmetric = recipe->activation_offset;
  amct_recipe_settle_range(entry);
  entry->channel_wise = amct_recipe_by_channel(layer);
  use_preset(recipe, entry);
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

amct_status amct_recipe_expect_tensors(amct_recipe *recipe, size_t count,
                                       amct_error *err) {
  recipe->tensors = amct_arena_array(&recipe->arena, count + 1, sizeof *recipe->tensors);
  return recipe->tensors != NULL ? AMCT_OK : amct_fail_memory(err);
}

amct_status amct_recipe_add_tensor(amct_recipe *recipe,
                                   const amct_recipe_fallbacks *fallbacks,
                                   amct_layer_recipe **entry, amct_error *err) {
  *entry = &recipe->tensors[recipe->tensor_count++];
  (*entry)->range = (amct_range_options)AMCT_RANGE_DEFAULTS;
  AMCT_TRY(
      amct_recipe_fill(AMCT_RECIPE_ACTIVATION, fallbacks, *entry, &recipe->arena, err));
  (*entry)->enabled = true;
  (*entry)->range.asymmetric = recipe->activation_offset;
  return AMCT_OK;
}

amct_status amct_recipe_check_any(const amct_recipe *recipe, const amct_lookup *lookup,
                                  amct_error *err) {
  const size_t functions = amct_graph_function_count(lookup->graph);
  if (recipe->layer_count + recipe->tensor_count != 0) return AMCT_OK;
  if (functions == 0)
    return amct_fail(err, AMCT_BAD_CONFIG, NULL,
                     "%s: no layer can be quantized, %zu are of types that can",
                     amct_graph_label(lookup->graph), lookup->layers->count);
  return amct_fail(err, AMCT_BAD_CONFIG, NULL,
                   "%s: no layer can be quantized, %zu are of types that can. It has %zu "
                   "functions (of tf.function, compiled by XLA or not), whose layers are "
                   "out of sight: build the network in the graph itself",
                   amct_graph_label(lookup->graph), lookup->layers->count, functions);
}

amct_status amct_recipe_check_left(const amct_recipe *recipe,
                                   const amct_config_place *skipping, amct_error *err) {
  if (amct_recipe_enabled(recipe) + recipe->tensor_count != 0) return AMCT_OK;
  return amct_config_fail(err, skipping, NULL, ": no layer is left, all %zu are skipped",
                          recipe->layer_count);
}

static amct_status enable_unskipped(amct_recipe *recipe, amct_naming *naming,
                                    const amct_recipe_options *options, amct_error *err) {
  const amct_config_place place = {NULL, 0, "skip_layers"};
  AMCT_TRY(amct_recipe_check_any(recipe, &naming->lookup, err));
  for (size_t i = 0; i < recipe->layer_count; i++)
    recipe->layers[i].enabled = true;
  for (size_t i = 0; i < options->skip_count; i++)
    AMCT_TRY(amct_naming_skip(naming, options->skip_layers[i], &place, err));
  return amct_recipe_check_left(recipe, &place, err);
}

amct_status amct_recipe_defaults(amct_recipe *recipe, const amct_layers *layers,
                                 const amct_graph *graph,
                                 const amct_recipe_options *options, amct_error *err) {
  amct_recipe_fallbacks fallbacks = {0};
  amct_naming naming = {0};
  amct_layer_recipe **by_layer = NULL;
  amct_status status;

  if ((status = amct_recipe_fallbacks_make(&fallbacks, err)) != AMCT_OK ||
      (status = amct_recipe_start(recipe, &fallbacks, err)) != AMCT_OK)
    goto done;
  recipe->batch_num = options->batch_num;
  recipe->activation_offset = options->activation_offset;
  recipe->preset = options->preset;
  if ((status = amct_recipe_add_layers(recipe, layers, &fallbacks, &by_layer, err)) !=
          AMCT_OK ||
      (status = amct_naming_make(&naming, layers, graph, err)) != AMCT_OK)
    goto done;
  naming.by_layer = by_layer;
  status = enable_unskipped(recipe, &naming, options, err);
done:
  amct_naming_free(&naming);
  amct_recipe_fallbacks_free(&fallbacks);
  return status;
}

size_t amct_recipe_enabled(const amct_recipe *recipe) {
  size_t count = 0;
  for (size_t i = 0; i < recipe->layer_count; i++)
    count += recipe->layers[i].enabled;
  return count;
}

void amct_recipe_warn_joint(const amct_recipe *recipe, const char *path) {
  if (recipe->joint_quant)
    amct_log(AMCT_LOG_WARNING, "config",
             "%s: joint_quant is true: it has no effect in this version", path);
}

amct_recipe_fusion amct_recipe_fusion_of(amct_recipe *recipe) {
  const amct_recipe_fusion fusion = {recipe->do_fusion, recipe->skip_fusion_layers,
                                     recipe->skip_fusion_count, recipe->arena};
  *recipe = (amct_recipe){0};
  return fusion;
}

void amct_recipe_free(amct_recipe *recipe) {
  amct_arena_free(&recipe->arena);
  *recipe = (amct_recipe){0};
}
