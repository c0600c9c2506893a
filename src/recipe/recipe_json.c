/* SPDX-License-Identifier: Apache-2.0 */
/* JSON files in and out, through jansson. */
#include "recipe/recipe_keys.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* A parsed file takes up to some twenty times its size; a layer is written in 600 bytes.
 */
enum { FILE_MAX_BYTES = 32 << 20, DIGITS_LEAST = 15, DIGITS_MOST = 17 };

/* jansson does not tell in every place that memory ran out. */
static _Thread_local bool memory_ran_out;

static void *allocate(size_t bytes) {
  void *block = amct_alloc(bytes);
  if (block == NULL) memory_ran_out = true;
  return block;
}

static void set_alloc(void) {
  json_set_alloc_funcs(allocate, amct_free);
}

void amct_recipe_use_alloc(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, set_alloc);
}

json_t *amct_recipe_text(amct_slice text, bool *not_utf8) {
  memory_ran_out = false;
  json_t *value = json_stringn(text.size ? (const char *)text.data : "", text.size);
  if (value == NULL && !memory_ran_out) *not_utf8 = true;
  return value;
}

static amct_status parse(json_t **root, amct_slice text, const char *path,
                         amct_error *err) {
  json_error_t wrong = {0};
  memory_ran_out = false;
  *root = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &wrong);
  if (memory_ran_out) { /* what was parsed may lack characters */
    json_decref(*root);
    *root = NULL;
    return amct_fail_memory(err);
  }
  if (*root == NULL)
    return amct_fail_at(err, AMCT_BAD_FORMAT, NULL, (uint64_t)wrong.position,
                        "%s: line %d, column %d: %s", path, wrong.line, wrong.column,
                        wrong.text);
  if (json_is_object(*root)) return AMCT_OK;
  json_decref(*root);
  *root = NULL;
  return amct_fail(err, AMCT_BAD_FORMAT, NULL,
                   "%s: the top of the file is a list, it must be an object", path);
}

amct_status amct_recipe_load(json_t **root, const char *path, amct_error *err) {
  static const uint8_t byte_order_mark[] = {0xEF, 0xBB, 0xBF};
  amct_file file = {0};
  *root = NULL;
  amct_recipe_use_alloc();
  AMCT_TRY(amct_file_open(&file, path, err));
  amct_slice text = file.bytes;
  if (text.size >= 3 && memcmp(text.data, byte_order_mark, 3) == 0) {
    text.data += 3;
    text.size -= 3;
  }
  amct_status status;
  if (text.size > FILE_MAX_BYTES)
    status = amct_fail(err, AMCT_BAD_FORMAT, NULL,
                       "%s: %zu bytes are no configuration: at most %d are read", path,
                       text.size, FILE_MAX_BYTES);
  else if (text.size == 0)
    status = amct_fail(err, AMCT_BAD_FORMAT, NULL, "%s: the file is empty", path);
  else
    status = parse(root, text, path, err);
  amct_file_close(&file);
  return status;
}

/* jansson prints all reals of a dump with one precision: the least that keeps each of
 * them. */
static int digits_of(double value) {
  char text[64];
  for (int digits = DIGITS_LEAST; digits < DIGITS_MOST; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) return digits;
  }
  return DIGITS_MOST;
}

/* As deep as what is written: four levels. */
static int digits_within(json_t *value) {
  int most = DIGITS_LEAST;
  if (json_is_real(value)) return digits_of(json_real_value(value));
  for (size_t i = 0; i < json_array_size(value); i++) {
    int digits = digits_within(json_array_get(value, i));
    if (digits > most) most = digits;
  }
  const char *name;
  json_t *member;
  json_object_foreach(value, name, member) {
    int digits = digits_within(member);
    if (digits > most) most = digits;
  }
  return most;
}

/* jansson drops some answers of this, the buffer keeps its failure. */
static int append(const char *text, size_t size, void *buffer) {
  amct_buffer_append(buffer, text, size);
  return ((amct_buffer *)buffer)->failed ? -1 : 0;
}

amct_status amct_recipe_dump(json_t *root, amct_buffer *buffer, amct_error *err) {
  size_t flags = JSON_INDENT(4) | JSON_COMPACT | JSON_PRESERVE_ORDER;
  flags |= JSON_REAL_PRECISION((size_t)digits_within(root));
  if (json_dump_callback(root, append, buffer, flags) != 0 || buffer->failed)
    return amct_fail_memory(err);
  return AMCT_OK;
}

amct_status amct_recipe_dump_line(json_t *root, amct_buffer *buffer, amct_error *err) {
  const bool fine = json_dump_callback(root, append, buffer, JSON_COMPACT) == 0;
  return fine && !buffer->failed ? AMCT_OK : amct_fail_memory(err);
}
