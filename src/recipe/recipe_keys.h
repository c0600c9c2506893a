/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of configurations as rows (recipe_keys.def, retrain_keys.def), and values of
 * jansson read and written by them. */
#ifndef AMCT_RECIPE_KEYS_H
#define AMCT_RECIPE_KEYS_H

#include <jansson.h>

#include "base/alloc.h"
#include "recipe/recipe.h"

typedef enum amct_recipe_object {
  AMCT_RECIPE_GLOBAL,
  AMCT_RECIPE_LAYER,
  AMCT_RECIPE_ACTIVATION,
  AMCT_RECIPE_WEIGHT,
  AMCT_RECIPE_TENSOR,
  /* of a configuration for retraining */
  AMCT_RECIPE_RETRAIN,
  AMCT_RECIPE_RETRAIN_LAYER,
  AMCT_RECIPE_RETRAIN_DATA,
  AMCT_RECIPE_RETRAIN_WEIGHT,
} amct_recipe_object;

/** The top of a configuration, and a layer in it. */
static inline amct_recipe_object amct_recipe_top(amct_recipe_purpose purpose) {
  return purpose == AMCT_FOR_RETRAINING ? AMCT_RECIPE_RETRAIN : AMCT_RECIPE_GLOBAL;
}
static inline amct_recipe_object amct_recipe_entry(amct_recipe_purpose purpose) {
  return purpose == AMCT_FOR_RETRAINING ? AMCT_RECIPE_RETRAIN_LAYER : AMCT_RECIPE_LAYER;
}

/** An element of tensor_quantize. */
typedef struct amct_tensor_recipe {
  const char *layer_name;
  int64_t input_index;
} amct_tensor_recipe;

typedef enum amct_recipe_kind {
  AMCT_RECIPE_ONLY,
  AMCT_RECIPE_FLAG,
  AMCT_RECIPE_COUNT,
  AMCT_RECIPE_REAL,
  AMCT_RECIPE_PAIR,
  AMCT_RECIPE_TEXT,
  AMCT_RECIPE_NAMES,
  AMCT_RECIPE_TENSORS,
  AMCT_RECIPE_OBJECT,
  AMCT_RECIPE_REFUSED,
  AMCT_RECIPE_SIZE,
  AMCT_RECIPE_ALGORITHM,
  AMCT_RECIPE_WEIGHTING,
  AMCT_RECIPE_PRESET,
} amct_recipe_kind;

typedef enum amct_recipe_written {
  AMCT_RECIPE_NO,
  AMCT_RECIPE_YES,
  AMCT_RECIPE_IF_CHANGED,
} amct_recipe_written;

typedef struct amct_recipe_key {
  amct_recipe_object object; /* that it stands in */
  const char *name;
  amct_recipe_kind kind;
  size_t place; /* in amct_recipe, amct_layer_recipe or amct_tensor_recipe; OBJECT: an
                   amct_recipe_object */
  const char *fallback; /* as JSON; NULL: from another setting */
  amct_recipe_written written;
  double low, high;
  const char *allowed;
  const char *meaning;
} amct_recipe_key;

/** Row i; NULL past the last. */
const amct_recipe_key *amct_recipe_key_at(size_t i);
const amct_recipe_key *amct_recipe_key_find(amct_recipe_object object, const char *name);
/** Row i where it is an object within `object`, else NULL. */
const amct_recipe_key *amct_recipe_section_at(size_t i, amct_recipe_object object);
/** The key that holds an object, "weight_quant_params"; "" for the top and a layer. */
const char *amct_recipe_section(amct_recipe_object object);

enum {
  AMCT_RECIPE_KEY_COUNT = 0
#define KEY(...) +1
#include "recipe/recipe_keys.def"
#include "recipe/retrain_keys.def"
#undef KEY
};

/** The defaults of all rows, parsed; NULL where there is none. */
typedef struct amct_recipe_fallbacks {
  json_t *at[AMCT_RECIPE_KEY_COUNT];
} amct_recipe_fallbacks; /* zero-initialise */
AMCT_NODISCARD amct_status amct_recipe_fallbacks_make(amct_recipe_fallbacks *fallbacks,
                                                      amct_error *err);
void amct_recipe_fallbacks_free(amct_recipe_fallbacks *fallbacks);

/** Where a value stands, for messages. */
typedef struct amct_recipe_spot {
  const char *path;  /* file */
  const char *layer; /* NULL: a global */
  const amct_recipe_key *key;
} amct_recipe_spot;

/** AMCT_BAD_CONFIG "<path>: "<layer>": <key> is <value>: <allowed> is allowed". `value`
 * NULL: without it. */
amct_status amct_recipe_fail(const amct_recipe_spot *spot, const json_t *value,
                             const char *allowed, amct_error *err);
/** Checks a value against its row and stores it; `base` is an amct_recipe (GLOBAL), an
 * amct_tensor_recipe (TENSOR) or an amct_layer_recipe. */
AMCT_NODISCARD amct_status amct_recipe_store(const amct_recipe_spot *spot,
                                             const json_t *value, void *base,
                                             amct_arena *arena, amct_error *err);
/** False for a setting of other algorithms than those of the layer. */
bool amct_recipe_fits(const amct_recipe_key *key, const amct_layer_recipe *layer);
/** AMCT_BAD_CONFIG for a setting that does not fit. */
AMCT_NODISCARD amct_status amct_recipe_check_fits(const amct_recipe_spot *spot,
                                                  const json_t *value,
                                                  const amct_layer_recipe *layer,
                                                  amct_error *err);
/** The name of value `i` of a kind that is one of several names; NULL past the last. */
const char *amct_recipe_choice(amct_recipe_kind kind, int64_t i);
enum { AMCT_SEARCH_WRONG_BYTES = 200 };
/** Searches that make no sense or would not end: the key that is wrong, search_range or
 * search_step, and why; NULL: none. */
const char *amct_recipe_search_wrong(const amct_range_options *range,
                                     char text[AMCT_SEARCH_WRONG_BYTES]);
AMCT_NODISCARD amct_status amct_recipe_check_search(const amct_recipe_spot *spot,
                                                    const amct_range_options *range,
                                                    amct_error *err);

/** Parses a whole file; the top is an object. AMCT_IO; AMCT_BAD_FORMAT with line and
 * column. */
AMCT_NODISCARD amct_status amct_recipe_load(json_t **root, const char *path,
                                            amct_error *err);
/** Appends `root` as Python's json.dumps(indent=4, separators=(",", ":")) prints it. */
AMCT_NODISCARD amct_status amct_recipe_dump(json_t *root, amct_buffer *buffer,
                                            amct_error *err);
/** The same in one line. */
AMCT_NODISCARD amct_status amct_recipe_dump_line(json_t *root, amct_buffer *buffer,
                                                 amct_error *err);
/** A JSON string; NULL when memory runs out, and, with `*not_utf8` set, for other text.
 */
json_t *amct_recipe_text(amct_slice text, bool *not_utf8);
/** jansson allocates through base/alloc.h from now on. */
void amct_recipe_use_alloc(void);

#endif
