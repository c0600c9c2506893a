/* SPDX-License-Identifier: Apache-2.0 */
#include "recipe/recipe_keys.h"

#include <float.h>
#include <stdio.h>

enum {
  SHOWN_BYTES = 80,       /* of a value, in messages */
  CANDIDATES_MAX = 10000, /* of one range search: a step of 1e-300 would never end */
};
#define FLOAT_MOST ((double)FLT_MAX)
#define FLOAT_LEAST ((double)FLT_TRUE_MIN)
#define NOWHERE 0
#define OF_ALL(member) offsetof(amct_recipe, member)
#define OF_LAYER(member) offsetof(amct_layer_recipe, member)
#define OF_TENSOR(member) offsetof(amct_tensor_recipe, member)

static const amct_recipe_key k_keys[] = {
#define KEY(object, name, kind, place, fallback, written, low, high, allowed, meaning)   \
  {AMCT_RECIPE_##object,                                                                 \
   #name,                                                                                \
   AMCT_RECIPE_##kind,                                                                   \
   place,                                                                                \
   fallback,                                                                             \
   AMCT_RECIPE_##written,                                                                \
   low,                                                                                  \
   high,                                                                                 \
   allowed,                                                                              \
   meaning},
#include "recipe/recipe_keys.def"
#include "recipe/retrain_keys.def"
#undef KEY
};

/* A pair is stored from its first member on, a list as pointer and count. */
_Static_assert(offsetof(amct_layer_recipe, range.search_end) ==
                   offsetof(amct_layer_recipe, range.search_start) + sizeof(double),
               "search_range is two members in a row");
_Static_assert(offsetof(amct_recipe, skip_fusion_count) ==
                   offsetof(amct_recipe, skip_fusion_layers) + sizeof(char **),
               "names and their count are two members in a row");

const amct_recipe_key *amct_recipe_key_at(size_t i) {
  return i < AMCT_RECIPE_KEY_COUNT ? &k_keys[i] : NULL;
}

const amct_recipe_key *amct_recipe_key_find(amct_recipe_object object, const char *name) {
  for (size_t i = 0; i < AMCT_RECIPE_KEY_COUNT; i++)
    if (k_keys[i].object == object && strcmp(k_keys[i].name, name) == 0)
      return &k_keys[i];
  return NULL;
}

const amct_recipe_key *amct_recipe_section_at(size_t i, amct_recipe_object object) {
  const amct_recipe_key *key = &k_keys[i];
  return key->kind == AMCT_RECIPE_OBJECT && key->object == object ? key : NULL;
}

const char *amct_recipe_section(amct_recipe_object object) {
  for (size_t i = 0; i < AMCT_RECIPE_KEY_COUNT; i++)
    if (k_keys[i].kind == AMCT_RECIPE_OBJECT && k_keys[i].place == (size_t)object)
      return k_keys[i].name;
  return "";
}

amct_status amct_recipe_fallbacks_make(amct_recipe_fallbacks *fallbacks,
                                       amct_error *err) {
  amct_recipe_use_alloc();
  for (size_t i = 0; i < AMCT_RECIPE_KEY_COUNT; i++) {
    if (k_keys[i].fallback == NULL) continue;
    fallbacks->at[i] = json_loads(k_keys[i].fallback, JSON_DECODE_ANY, NULL);
    if (fallbacks->at[i] == NULL) return amct_fail_memory(err);
  }
  return AMCT_OK;
}

void amct_recipe_fallbacks_free(amct_recipe_fallbacks *fallbacks) {
  for (size_t i = 0; i < AMCT_RECIPE_KEY_COUNT; i++)
    json_decref(fallbacks->at[i]);
  *fallbacks = (amct_recipe_fallbacks){0};
}

/* ---- messages ---- */

/* The value as JSON, cut. */
static void show_value(const json_t *value, char text[SHOWN_BYTES + 8]) {
  char *whole =
      json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
  snprintf(text, SHOWN_BYTES + 8, "%.*s%s", SHOWN_BYTES, whole != NULL ? whole : "?",
           whole != NULL && strlen(whole) > SHOWN_BYTES ? "..." : "");
  amct_free(whole);
}

amct_status amct_recipe_fail(const amct_recipe_spot *spot, const json_t *value,
                             const char *allowed, amct_error *err) {
  char shown[SHOWN_BYTES + 8] = "";
  char owner[AMCT_ERROR_NODE_BYTES] = "";
  const char *section = amct_recipe_section(spot->key->object);
  if (value != NULL) show_value(value, shown);
  if (spot->layer != NULL) snprintf(owner, sizeof owner, "\"%.200s\": ", spot->layer);
  return amct_fail(err, AMCT_BAD_CONFIG, spot->layer, "%s: %s%s%s%s%s%s: %s", spot->path,
                   owner, section, *section ? "." : "", spot->key->name,
                   value != NULL ? " is " : "", shown, allowed);
}

static amct_status fail_wanted(const amct_recipe_spot *spot, const json_t *value,
                               amct_error *err) {
  char allowed[128];
  snprintf(allowed, sizeof allowed, "%s is wanted", spot->key->allowed);
  return amct_recipe_fail(spot, value, allowed, err);
}

/* ---- values ---- */

static amct_status store_only(const amct_recipe_spot *spot, const json_t *value,
                              amct_error *err) {
  char allowed[128];
  json_t *wanted = json_loads(spot->key->fallback, JSON_DECODE_ANY, NULL);
  if (wanted == NULL) return amct_fail_memory(err);
  bool equal = json_equal(value, wanted) != 0;
  json_decref(wanted);
  if (equal) return AMCT_OK;
  snprintf(allowed, sizeof allowed, "this version handles %s only", spot->key->fallback);
  return amct_recipe_fail(spot, value, allowed, err);
}

static amct_status store_count(const amct_recipe_spot *spot, const json_t *value,
                               uint8_t *place, amct_error *err) {
  int64_t count = json_integer_value(value);
  if (!json_is_integer(value) || (double)count < spot->key->low)
    return fail_wanted(spot, value, err);
  memcpy(place, &count, sizeof count);
  return AMCT_OK;
}

static amct_status store_size(const amct_recipe_spot *spot, const json_t *value,
                              uint8_t *place, amct_error *err) {
  const int64_t size = json_integer_value(value);
  if (!json_is_integer(value) || (double)size < spot->key->low ||
      (double)size > spot->key->high || (size & (size - 1)) != 0)
    return fail_wanted(spot, value, err);
  memcpy(place, &size, sizeof size);
  return AMCT_OK;
}

static const struct {
  const char *name, *settings;
} k_weightings[] = {
#define WEIGHT_ALGORITHM(id, name, settings) {name, settings},
#include "numeric/weight_algorithms.def"
#undef WEIGHT_ALGORITHM
};

static const char *const k_presets[] = {
#define PRESET(id, name, range, weighting) name,
#include "recipe/presets.def"
#undef PRESET
};

const char *amct_recipe_choice(amct_recipe_kind kind, int64_t i) {
  if (kind == AMCT_RECIPE_WEIGHTING)
    return i < AMCT_WEIGHT_ALGORITHMS ? k_weightings[i].name : NULL;
  if (kind == AMCT_RECIPE_PRESET) return i < AMCT_PRESETS ? k_presets[i] : NULL;
  return i < AMCT_RANGE_ALGORITHMS ? amct_range_name(i) : NULL;
}

amct_preset amct_preset_named(amct_slice name) {
  int i = 0;
  while (i < AMCT_PRESETS && !amct_slice_equal(name, amct_slice_of(k_presets[i])))
    i++;
  return (amct_preset)i;
}

static amct_status store_choice(const amct_recipe_spot *spot, const json_t *value,
                                uint8_t *place, amct_error *err) {
  const char *name;
  for (int64_t i = 0; (name = amct_recipe_choice(spot->key->kind, i)) != NULL; i++) {
    if (!json_is_string(value) || strcmp(name, json_string_value(value)) != 0) continue;
    memcpy(place, &i, sizeof i);
    return AMCT_OK;
  }
  return fail_wanted(spot, value, err);
}

/* Whole numbers are reals too; true and false are not numbers. */
static bool take_real(const amct_recipe_key *key, const json_t *value, uint8_t *place) {
  double real = json_number_value(value);
  if (!json_is_number(value) || !(real > key->low) || real > key->high) return false;
  memcpy(place, &real, sizeof real);
  return true;
}

static amct_status store_pair(const amct_recipe_spot *spot, const json_t *value,
                              uint8_t *place, amct_error *err) {
  if (json_is_array(value) && json_array_size(value) == 2 &&
      take_real(spot->key, json_array_get(value, 0), place) &&
      take_real(spot->key, json_array_get(value, 1), place + sizeof(double)))
    return AMCT_OK;
  return fail_wanted(spot, value, err);
}

static amct_status store_text(const amct_recipe_spot *spot, const json_t *value,
                              uint8_t *place, amct_arena *arena, amct_error *err) {
  if (!json_is_string(value)) return fail_wanted(spot, value, err);
  const char *text =
      amct_arena_text(arena, json_string_value(value), json_string_length(value));
  if (text == NULL) return amct_fail_memory(err);
  memcpy(place, &text, sizeof text);
  return AMCT_OK;
}

static amct_status store_names(const amct_recipe_spot *spot, const json_t *value,
                               uint8_t *place, amct_arena *arena, amct_error *err) {
  if (!json_is_array(value)) return fail_wanted(spot, value, err);
  size_t count = json_array_size(value);
  const char **names = amct_arena_array(arena, count + 1, sizeof *names);
  if (names == NULL) return amct_fail_memory(err);
  for (size_t i = 0; i < count; i++) {
    const json_t *name = json_array_get(value, i);
    if (!json_is_string(name)) return fail_wanted(spot, value, err);
    names[i] = amct_arena_text(arena, json_string_value(name), json_string_length(name));
    if (names[i] == NULL) return amct_fail_memory(err);
  }
  memcpy(place, &names, sizeof names);
  memcpy(place + sizeof names, &count, sizeof count);
  return AMCT_OK;
}

amct_status amct_recipe_store(const amct_recipe_spot *spot, const json_t *value,
                              void *base, amct_arena *arena, amct_error *err) {
  const amct_recipe_key *key = spot->key;
  bool flag = json_is_true(value);
  uint8_t *place = (uint8_t *)base + key->place;
  switch (key->kind) {
  case AMCT_RECIPE_ONLY:
    return store_only(spot, value, err);
  case AMCT_RECIPE_FLAG:
    if (!json_is_boolean(value)) return fail_wanted(spot, value, err);
    memcpy(place, &flag, sizeof flag);
    return AMCT_OK;
  case AMCT_RECIPE_COUNT:
    return store_count(spot, value, place, err);
  case AMCT_RECIPE_SIZE:
    return store_size(spot, value, place, err);
  case AMCT_RECIPE_ALGORITHM:
  case AMCT_RECIPE_WEIGHTING:
  case AMCT_RECIPE_PRESET:
    return store_choice(spot, value, place, err);
  case AMCT_RECIPE_REAL:
    return take_real(key, value, place) ? AMCT_OK : fail_wanted(spot, value, err);
  case AMCT_RECIPE_PAIR:
    return store_pair(spot, value, place, err);
  case AMCT_RECIPE_TEXT:
    return store_text(spot, value, place, arena, err);
  case AMCT_RECIPE_NAMES:
    return store_names(spot, value, place, arena, err);
  case AMCT_RECIPE_TENSORS: /* its elements are read with the graph */
    return json_is_array(value) ? AMCT_OK : fail_wanted(spot, value, err);
  case AMCT_RECIPE_OBJECT:
    return json_is_object(value) ? AMCT_OK : fail_wanted(spot, value, err);
  case AMCT_RECIPE_REFUSED:
    return amct_recipe_fail(spot, value, key->allowed, err);
  }
  return AMCT_OK;
}

/* ---- settings together ---- */

/* Whether a setting is one of algorithm i of its object. */
static bool takes(const amct_recipe_key *key, int64_t i) {
  if (key->object == AMCT_RECIPE_ACTIVATION) return amct_range_takes(i, key->name);
  return strcmp(k_weightings[i].settings, key->name) == 0; /* one at most */
}

/* How many algorithms there are for what the object is about. */
static int64_t algorithms_of(const amct_recipe_key *key) {
  if (key->object == AMCT_RECIPE_ACTIVATION) return AMCT_RANGE_ALGORITHMS;
  return key->object == AMCT_RECIPE_WEIGHT ? AMCT_WEIGHT_ALGORITHMS : 0;
}

static int64_t chosen(const amct_recipe_key *key, const amct_layer_recipe *layer) {
  return key->object == AMCT_RECIPE_ACTIVATION ? layer->range.algorithm
                                               : layer->weighting;
}

bool amct_recipe_fits(const amct_recipe_key *key, const amct_layer_recipe *layer) {
  const int64_t count = algorithms_of(key);
  bool anyones = true;
  if (count == 0 || takes(key, chosen(key, layer))) return true;
  for (int64_t i = 0; i < count; i++)
    anyones = anyones && !takes(key, i);
  return anyones;
}

amct_status amct_recipe_check_fits(const amct_recipe_spot *spot, const json_t *value,
                                   const amct_layer_recipe *layer, amct_error *err) {
  const amct_recipe_key *key = spot->key;
  const bool weights = key->object == AMCT_RECIPE_WEIGHT;
  const amct_recipe_kind kind = weights ? AMCT_RECIPE_WEIGHTING : AMCT_RECIPE_ALGORITHM;
  const char *owners[AMCT_RANGE_ALGORITHMS + AMCT_WEIGHT_ALGORITHMS] = {NULL};
  char allowed[128];
  size_t count = 0;
  if (amct_recipe_fits(key, layer)) return AMCT_OK;
  for (int64_t i = 0; i < algorithms_of(key); i++)
    if (takes(key, i)) owners[count++] = amct_recipe_choice(kind, i);
  snprintf(allowed, sizeof allowed, "it belongs to %s \"%s\"%s%s%s, not to \"%s\"",
           weights ? "wts_algo" : "act_algo", owners[0], count > 1 ? " or \"" : "",
           count > 1 ? owners[1] : "", count > 1 ? "\"" : "",
           amct_recipe_choice(kind, chosen(key, layer)));
  return amct_recipe_fail(spot, value, allowed, err);
}

const char *amct_recipe_search_wrong(const amct_range_options *range,
                                     char text[AMCT_SEARCH_WRONG_BYTES]) {
  const double width = range->search_end - range->search_start;

  /* the search runs in float32: there the ends must differ too */
  if (!((float)range->search_start < (float)range->search_end)) {
    snprintf(text, AMCT_SEARCH_WRONG_BYTES, "start %.9g is not below end %.9g",
             range->search_start, range->search_end);
    return "search_range";
  }
  /* 1.0 - 0.8 is a little below 0.2 */
  if (range->search_step > width * (1 + 1e-9)) {
    snprintf(text, AMCT_SEARCH_WRONG_BYTES,
             "%.9g is over end - start of search_range, %.9g", range->search_step, width);
    return "search_step";
  }
  if (range->search_step < width / CANDIDATES_MAX) {
    snprintf(text, AMCT_SEARCH_WRONG_BYTES,
             "%.9g gives more than %d candidates between %.9g and %.9g",
             range->search_step, CANDIDATES_MAX, range->search_start, range->search_end);
    return "search_step";
  }
  return NULL;
}

amct_status amct_recipe_check_search(const amct_recipe_spot *spot,
                                     const amct_range_options *range, amct_error *err) {
  char wrong[AMCT_SEARCH_WRONG_BYTES];
  const char *key = amct_recipe_search_wrong(range, wrong);
  if (key == NULL) return AMCT_OK;
  amct_recipe_spot where = *spot;
  where.key = amct_recipe_key_find(AMCT_RECIPE_ACTIVATION, key);
  return amct_recipe_fail(&where, NULL, wrong, err);
}
