/* SPDX-License-Identifier: Apache-2.0 */
#include "recipe/recipe_private.h"

#include "base/vec.h"

/* An entry for the layers that a pattern, a type or a region takes. */
typedef struct group {
  amct_selector selector;
  const char *key;
  json_t *value;
} group;

typedef struct reader {
  const char *path;
  amct_recipe *recipe;
  const amct_layers *layers;
  const amct_graph *graph;
  json_t *root;
  amct_naming naming;
  amct_layer_recipe **by_layer;
  amct_recipe_fallbacks fallbacks;
  AMCT_VEC(group) groups; /* in file order */
  amct_map named;         /* nodes of layers with an entry of their own */
} reader;

static amct_recipe_object top_of(const reader *r) {
  return amct_recipe_top(r->recipe->purpose);
}

/* ---- objects of known keys ---- */

static amct_status fail_unknown_key(const reader *r, const char *layer,
                                    amct_recipe_object object, const char *name,
                                    amct_error *err) {
  char names[AMCT_NEAREST_BYTES];
  const char *section = amct_recipe_section(object);
  const amct_recipe_key *key;
  amct_nearest nearest;
  amct_nearest_start(&nearest, name);
  for (size_t i = 0; (key = amct_recipe_key_at(i)) != NULL; i++)
    if (key->object == object) amct_nearest_offer(&nearest, key->name);
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
    if (key == NULL && object == top_of(r)) continue; /* a layer */
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
    if (key->object == top_of(r)) amct_nearest_offer(&nearest, key->name);
  const char *refusal = amct_lookup_refusal(&r->naming.lookup, &nearest, why);
  return amct_fail(err, AMCT_BAD_CONFIG, name, "%s: %s\"%.200s\" %s", r->path,
                   json_is_object(value) ? "layer " : "", name,
                   refusal != NULL ? refusal : "is a layer: an object is wanted");
}

/* The algorithm may stand anywhere among the settings, so that they are held against it
 * last. Settings of another than the preset's, which no key named, are idle. */
static amct_status check_settings(const reader *r, const char *layer,
                                  amct_recipe_object object, json_t *from,
                                  const amct_layer_recipe *entry, amct_error *err) {
  const char *name, *own = object == AMCT_RECIPE_WEIGHT ? "wts_algo" : "act_algo";
  json_t *value;
  if (r->recipe->preset != AMCT_PRESET_NONE && json_object_get(from, own) == NULL)
    return AMCT_OK;
  json_object_foreach(from, name, value) {
    const amct_recipe_key *key = amct_recipe_key_find(object, name);
    const amct_recipe_spot spot = {r->path, layer, key};
    AMCT_TRY(amct_recipe_check_fits(&spot, value, entry, err));
  }
  return AMCT_OK;
}

static amct_status check_range(const reader *r, const char *layer, json_t *from,
                               const amct_layer_recipe *entry, amct_error *err) {
  AMCT_TRY(check_settings(r, layer, AMCT_RECIPE_ACTIVATION, from, entry, err));
  const amct_recipe_spot spot = {r->path, layer, NULL};
  return amct_recipe_check_search(&spot, &entry->range, err);
}

static amct_status read_params(const reader *r, const char *key, json_t *from,
                               amct_layer_recipe *entry, amct_error *err) {
  const amct_recipe_object own = amct_recipe_entry(r->recipe->purpose);
  const amct_recipe_key *section;
  entry->enabled = true; /* unless the file says otherwise */
  AMCT_TRY(read_object(r, key, own, from, entry, err));
  for (size_t i = 0; i < AMCT_RECIPE_KEY_COUNT; i++)
    if ((section = amct_recipe_section_at(i, own)) != NULL)
      AMCT_TRY(read_object(r, key, (amct_recipe_object)section->place,
                           json_object_get(from, section->name), entry, err));
  AMCT_TRY(check_settings(r, key, AMCT_RECIPE_WEIGHT,
                          json_object_get(from, "weight_quant_params"), entry, err));
  return check_range(r, key, json_object_get(from, "activation_quant_params"), entry,
                     err);
}

static amct_status read_layer(const reader *r, const char *key, json_t *from,
                              amct_layer_recipe *entry, amct_select_kind kind,
                              amct_error *err) {
  AMCT_TRY(read_params(r, key, from, entry, err));
  amct_recipe_settle_clips(entry, r->path);
  amct_recipe_settle_range(entry);
  if (amct_recipe_settle_channels(entry, kind)) return AMCT_OK;
  const amct_config_place place = {r->path, 0, ""};
  const bool retrain = r->recipe->purpose == AMCT_FOR_RETRAINING;
  return amct_config_fail(err, &place, entry->name,
                          "\"%.200s\": %s.channel_wise is true: %s has no scales by "
                          "channel, false is wanted",
                          key, retrain ? "retrain_weight_config" : "weight_quant_params",
                          entry->layer->op->op);
}

static amct_status read_named(reader *r, const char *name, json_t *from,
                              amct_error *err) {
  const amct_layer *layer = amct_lookup_layer(&r->naming.lookup, name);
  if (layer == NULL || layer->reason != NULL || !json_is_object(from))
    return fail_not_a_layer(r, name, from, err);
  AMCT_TRY(amct_map_set(&r->named, layer->node, r, err));
  amct_layer_recipe *entry = r->by_layer[layer - r->layers->at];
  return read_layer(r, name, from, entry, AMCT_SELECT_NAME, err);
}

/* ---- groups ---- */

/* What is wrong in the entry of a group is found once, whatever layers it takes. */
static amct_status add_group(reader *r, group *found, amct_error *err) {
  const amct_config_place place = {r->path, 0, "layers"};
  amct_layer_recipe scratch = {.range = AMCT_RANGE_DEFAULTS};
  if (!json_is_object(found->value))
    return amct_config_fail(err, &place, NULL, ": \"%.200s\": an object is wanted",
                            found->key);
  AMCT_TRY(amct_selector_check(&found->selector, &r->naming.layers, &place, err));
  AMCT_TRY(read_params(r, found->key, found->value, &scratch, err));
  return AMCT_VEC_PUSH(&r->groups, *found) ? AMCT_OK : amct_fail_memory(err);
}

/* The last that takes it. */
static const group *group_of(const reader *r, const amct_node *node) {
  for (size_t i = r->groups.count; i-- > 0;)
    if (amct_selector_takes(&r->groups.at[i].selector, node)) return &r->groups.at[i];
  return NULL;
}

static amct_status read_unnamed(const reader *r, amct_layer_recipe *entry,
                                amct_error *err) {
  const amct_node *node = entry->layer->node;
  const group *found = amct_map_get(&r->named, node) == NULL ? group_of(r, node) : NULL;
  if (found == NULL) return AMCT_OK;
  return read_layer(r, found->key, found->value, entry, found->selector.kind, err);
}

static amct_status read_layers(reader *r, amct_error *err) {
  const char *word = r->recipe->purpose == AMCT_FOR_RETRAINING ? "retrain" : "quant";
  const char *name;
  json_t *value;
  json_object_foreach(r->root, name, value) {
    if (amct_recipe_key_find(top_of(r), name) != NULL) continue;
    group found = {amct_selector_of(r->graph, name), name, value};
    if (found.selector.kind == AMCT_SELECT_NAME)
      AMCT_TRY(read_named(r, name, value, err));
    else
      AMCT_TRY(add_group(r, &found, err));
  }
  for (size_t i = 0; i < r->recipe->layer_count; i++)
    AMCT_TRY(read_unnamed(r, &r->recipe->layers[i], err));
  if (amct_recipe_enabled(r->recipe) + r->recipe->tensor_count != 0) return AMCT_OK;
  return amct_fail(err, AMCT_BAD_CONFIG, NULL,
                   "%s: no %s enable layer: %s_enable is true for none of the %zu "
                   "layers that can be quantized",
                   r->path, word, word, r->recipe->layer_count);
}

/* ---- tensor_quantize ---- */

static amct_status read_tensor(reader *r, json_t *from, amct_error *err) {
  static const char *const k_required[] = {"layer_name", "input_index"};
  static const char k_label[] = "tensor_quantize";
  const amct_config_place place = {r->path, 0, k_label};
  amct_tensor_recipe named = {0};
  amct_layer_recipe *entry = NULL;
  if (!json_is_object(from))
    return amct_config_fail(err, &place, NULL, ": an element is no object");
  AMCT_TRY(read_object(r, k_label, AMCT_RECIPE_TENSOR, from, &named, err));
  AMCT_TRY(amct_recipe_add_tensor(r->recipe, &r->fallbacks, &entry, err));
  json_t *range = json_object_get(from, "activation_quant_params");
  AMCT_TRY(read_object(r, k_label, AMCT_RECIPE_ACTIVATION, range, entry, err));
  AMCT_TRY(check_range(r, k_label, range, entry, err));
  for (size_t i = 0; i < 2; i++)
    if (json_object_get(from, k_required[i]) == NULL)
      return amct_config_fail(err, &place, NULL, ": %s is missing", k_required[i]);
  return amct_recipe_name_tensor(r->recipe, &named, &r->naming, &place, err);
}

static amct_status read_tensors(reader *r, amct_error *err) {
  const json_t *list = json_object_get(r->root, "tensor_quantize");
  AMCT_TRY(amct_recipe_expect_tensors(r->recipe, json_array_size(list), err));
  for (size_t i = 0; i < json_array_size(list); i++)
    AMCT_TRY(read_tensor(r, json_array_get(list, i), err));
  return AMCT_OK;
}

/* ---- files ---- */

/* Globals first: where they stand in the file does not matter to the layers. */
static amct_status read_globals(reader *r, amct_error *err) {
  AMCT_TRY(amct_recipe_fallbacks_make(&r->fallbacks, err));
  AMCT_TRY(amct_recipe_start(r->recipe, &r->fallbacks, err));
  AMCT_TRY(amct_recipe_load(&r->root, r->path, err));
  AMCT_TRY(read_object(r, NULL, top_of(r), r->root, r->recipe, err));
  return amct_recipe_name_unfused(r->recipe, r->graph, r->path, NULL, err);
}

static void free_reader(reader *r) {
  json_decref(r->root);
  amct_recipe_fallbacks_free(&r->fallbacks);
  amct_naming_free(&r->naming);
  AMCT_VEC_FREE(&r->groups);
  amct_map_free(&r->named);
}

static amct_status read_all(reader *r, amct_error *err) {
  AMCT_TRY(read_globals(r, err));
  AMCT_TRY(amct_naming_make(&r->naming, r->layers, r->graph, err));
  AMCT_TRY(
      amct_recipe_add_layers(r->recipe, r->layers, &r->fallbacks, &r->by_layer, err));
  r->naming.by_layer = r->by_layer;
  AMCT_TRY(read_tensors(r, err));
  return read_layers(r, err);
}

amct_status amct_recipe_read(amct_recipe *recipe, const char *path,
                             const amct_layers *layers, const amct_graph *graph,
                             amct_error *err) {
  reader r = {.path = path, .recipe = recipe, .layers = layers, .graph = graph};
  amct_status status = read_all(&r, err);
  free_reader(&r);
  if (status == AMCT_OK) amct_recipe_warn_joint(recipe, path);
  return status;
}

amct_status amct_recipe_read_fusion(amct_recipe_fusion *fusion, const char *path,
                                    const amct_graph *graph, amct_error *err) {
  amct_recipe recipe = {0};
  reader r = {.path = path, .recipe = &recipe, .graph = graph};
  amct_status status = read_globals(&r, err);
  free_reader(&r);
  if (status == AMCT_OK)
    *fusion = amct_recipe_fusion_of(&recipe);
  else
    amct_recipe_free(&recipe);
  return status;
}
