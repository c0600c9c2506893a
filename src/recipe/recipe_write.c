/* SPDX-License-Identifier: Apache-2.0 */
#include "recipe/recipe_private.h"

#include <stdlib.h>

typedef struct writer {
  const amct_recipe *recipe;
  const amct_recipe_fallbacks *fallbacks;
} writer;

/* ---- values to JSON; NULL: memory ran out, or a name is not UTF-8 ---- */

static json_t *real_at(const uint8_t *place) {
  double real = 0;
  memcpy(&real, place, sizeof real);
  return json_real(real);
}

static json_t *pair_at(const uint8_t *place) {
  json_t *pair = json_array();
  if (json_array_append_new(pair, real_at(place)) != 0 ||
      json_array_append_new(pair, real_at(place + sizeof(double))) != 0) {
    json_decref(pair);
    return NULL;
  }
  return pair;
}

static json_t *names_of(const char *const *names, size_t count) {
  json_t *list = json_array();
  for (size_t i = 0; i < count; i++) {
    if (json_array_append_new(list, json_string(names[i])) != 0) {
      json_decref(list);
      return NULL;
    }
  }
  return list;
}

static json_t *tensors_of(const writer *w);

static json_t *value_at(const writer *w, size_t row, const void *base) {
  const amct_recipe_key *key = amct_recipe_key_at(row);
  const uint8_t *place = (const uint8_t *)base + key->place;
  bool flag = false;
  int64_t count = 0;
  switch (key->kind) {
  case AMCT_RECIPE_FLAG:
    memcpy(&flag, place, sizeof flag);
    return json_boolean(flag);
  case AMCT_RECIPE_COUNT:
  case AMCT_RECIPE_SIZE:
    memcpy(&count, place, sizeof count);
    return json_integer(count);
  case AMCT_RECIPE_ALGORITHM:
  case AMCT_RECIPE_WEIGHTING:
  case AMCT_RECIPE_PRESET:
    memcpy(&count, place, sizeof count);
    return json_string(amct_recipe_choice(key->kind, count));
  case AMCT_RECIPE_REAL:
    return real_at(place);
  case AMCT_RECIPE_PAIR:
    return pair_at(place);
  case AMCT_RECIPE_NAMES: /* the only one */
    return names_of(w->recipe->skip_fusion_layers, w->recipe->skip_fusion_count);
  case AMCT_RECIPE_TENSORS: /* the only one */
    return tensors_of(w);
  case AMCT_RECIPE_ONLY:
    return json_incref(w->fallbacks->at[row]);
  case AMCT_RECIPE_TEXT: /* in tensor_quantize only */
  case AMCT_RECIPE_OBJECT:
  case AMCT_RECIPE_REFUSED:
    break;
  }
  return NULL;
}

/* ---- objects ---- */

/* `value` differs from what the key is when it is left out. */
static bool is_changed(const writer *w, size_t row, const json_t *value,
                       const void *base) {
  const json_t *fallback = w->fallbacks->at[row];
  const amct_layer_recipe *entry = base;
  const amct_recipe_kind kind = amct_recipe_key_at(row)->kind;
  const bool algorithm = kind == AMCT_RECIPE_ALGORITHM || kind == AMCT_RECIPE_WEIGHTING;
  if (algorithm && w->recipe->preset != AMCT_PRESET_NONE) return true;
  if (kind == AMCT_RECIPE_REAL) return entry->clips.max != 0; /* both clips or none */
  if (fallback != NULL) return json_equal(value, fallback) == 0;
  return json_is_true(value) != w->recipe->activation_offset; /* `asymmetric` */
}

static bool put_row(const writer *w, json_t *to, size_t row, const void *base) {
  const amct_recipe_key *key = amct_recipe_key_at(row);
  json_t *value = value_at(w, row, base);
  if (value != NULL && key->written == AMCT_RECIPE_IF_CHANGED &&
      !is_changed(w, row, value, base)) {
    json_decref(value);
    return true;
  }
  return json_object_set_new(to, key->name, value) == 0;
}

static bool is_written(const amct_recipe_key *key, amct_recipe_object object,
                       const void *base) {
  if (key->object != object || key->kind == AMCT_RECIPE_OBJECT ||
      key->written == AMCT_RECIPE_NO)
    return false;
  const bool of_layer = object == AMCT_RECIPE_ACTIVATION || object == AMCT_RECIPE_WEIGHT;
  return !of_layer || amct_recipe_fits(key, base);
}

static bool put_rows(const writer *w, json_t *to, amct_recipe_object object,
                     const void *base) {
  for (size_t i = 0; i < AMCT_RECIPE_KEY_COUNT; i++)
    if (is_written(amct_recipe_key_at(i), object, base) && !put_row(w, to, i, base))
      return false;
  return true;
}

static bool put_section(const writer *w, json_t *to, const amct_recipe_key *key,
                        const amct_layer_recipe *entry) {
  json_t *section = json_object();
  if (section == NULL) return false;
  if (!put_rows(w, section, (amct_recipe_object)key->place, entry)) {
    json_decref(section);
    return false;
  }
  return json_object_set_new(to, key->name, section) == 0;
}

static json_t *tensor_object(const writer *w, const amct_layer_recipe *entry) {
  json_t *object = json_pack("{s:s,s:I}", "layer_name", entry->layer->node->name,
                             "input_index", (json_int_t)entry->layer->input);
  bool fine = object != NULL;
  for (size_t i = 0; fine && i < AMCT_RECIPE_KEY_COUNT; i++) {
    const amct_recipe_key *key = amct_recipe_section_at(i, AMCT_RECIPE_TENSOR);
    if (key != NULL) fine = put_section(w, object, key, entry);
  }
  if (fine) return object;
  json_decref(object);
  return NULL;
}

static json_t *tensors_of(const writer *w) {
  json_t *list = json_array();
  for (size_t i = 0; list != NULL && i < w->recipe->tensor_count; i++) {
    if (json_array_append_new(list, tensor_object(w, &w->recipe->tensors[i])) == 0)
      continue;
    json_decref(list);
    list = NULL;
  }
  return list;
}

static bool is_of_weights(const amct_recipe_key *section) {
  return section->place == AMCT_RECIPE_WEIGHT ||
         section->place == AMCT_RECIPE_RETRAIN_WEIGHT;
}

static json_t *layer_object(const writer *w, const amct_layer_recipe *entry) {
  json_t *object = json_object();
  bool weighted = entry->layer->op->weight >= 0 && entry->layer->second.node == NULL;
  const amct_recipe_object own = amct_recipe_entry(w->recipe->purpose);
  bool fine = object != NULL && put_rows(w, object, own, entry);
  for (size_t i = 0; fine && i < AMCT_RECIPE_KEY_COUNT; i++) {
    const amct_recipe_key *key = amct_recipe_section_at(i, own);
    if (key == NULL || (is_of_weights(key) && !weighted)) continue;
    fine = put_section(w, object, key, entry);
  }
  if (fine) return object;
  json_decref(object);
  return NULL;
}

/* ---- the file ---- */

static int by_name(const void *a, const void *b) {
  const amct_layer_recipe *const *left = a;
  const amct_layer_recipe *const *right = b;
  return strcmp((*left)->name, (*right)->name);
}

/* A name that a JSON file cannot hold. */
static amct_status check_text(const char *name, amct_error *err) {
  bool not_utf8 = false;
  json_t *value = amct_recipe_text(amct_slice_of(name), &not_utf8);
  if (value == NULL && !not_utf8) return amct_fail_memory(err);
  json_decref(value);
  if (!not_utf8) return AMCT_OK;
  return amct_fail(err, AMCT_BAD_CONFIG, name,
                   "layer \"%.200s\": the name is not UTF-8: JSON cannot hold it", name);
}

/* The same, as a layer. */
static amct_status check_name(const writer *w, const char *name, amct_error *err) {
  if (amct_recipe_key_find(amct_recipe_top(w->recipe->purpose), name) == NULL)
    return check_text(name, err);
  return amct_fail(err, AMCT_BAD_CONFIG, name,
                   "layer \"%s\": the configuration has a setting of that name: "
                   "rename the layer",
                   name);
}

static amct_status put_layers(const writer *w, json_t *root, amct_error *err) {
  size_t count = w->recipe->layer_count;
  const amct_layer_recipe **sorted = amct_alloc_array(count, sizeof *sorted);
  amct_status status = AMCT_OK;
  if (sorted == NULL) return amct_fail_memory(err);
  for (size_t i = 0; i < count; i++)
    sorted[i] = &w->recipe->layers[i];
  qsort(sorted, count, sizeof *sorted, by_name);
  for (size_t i = 0; i < count && status == AMCT_OK; i++) {
    status = check_name(w, sorted[i]->name, err);
    if (status == AMCT_OK &&
        json_object_set_new(root, sorted[i]->name, layer_object(w, sorted[i])) != 0)
      status = amct_fail_memory(err);
  }
  amct_free(sorted);
  return status;
}

amct_status amct_recipe_print(const amct_recipe *recipe, amct_buffer *buffer,
                              amct_error *err) {
  amct_recipe_fallbacks fallbacks = {0};
  const writer w = {recipe, &fallbacks};
  json_t *root = NULL;
  amct_status status;

  if ((status = amct_recipe_fallbacks_make(&fallbacks, err)) != AMCT_OK) goto done;
  for (size_t i = 0; i < recipe->tensor_count; i++)
    if ((status = check_text(recipe->tensors[i].layer->node->name, err)) != AMCT_OK)
      goto done;
  root = json_object();
  if (root == NULL || !put_rows(&w, root, amct_recipe_top(recipe->purpose), recipe)) {
    status = amct_fail_memory(err);
    goto done;
  }
  if ((status = put_layers(&w, root, err)) != AMCT_OK) goto done;
  status = amct_recipe_dump(root, buffer, err);
done:
  json_decref(root);
  amct_recipe_fallbacks_free(&fallbacks);
  return status;
}

amct_status amct_recipe_write(const amct_recipe *recipe, const char *path,
                              amct_error *err) {
  amct_buffer buffer = {0};
  amct_status status = amct_recipe_print(recipe, &buffer, err);
  if (status == AMCT_OK) status = amct_output_whole(path, buffer.data, buffer.size, err);
  amct_buffer_free(&buffer);
  return status;
}
