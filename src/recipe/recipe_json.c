/* SPDX-License-Identifier: Apache-2.0 */
/* JSON files in and out, through jansson. */
#include "recipe/recipe_keys.h"

#include <pthread.h>

#include "base/number.h"

/* A parsed file takes up to some twenty times its size; a layer is written in 600 bytes.
 */
enum { FILE_MAX_BYTES = 32 << 20 };

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

/* ---- printing ---- */

/* jansson drops some answers of this, the buffer keeps its failure. */
static int append(const char *text, size_t size, void *buffer) {
  amct_buffer_append(buffer, text, size);
  return ((amct_buffer *)buffer)->failed ? -1 : 0;
}

static void put_line(amct_buffer *buffer, const char *text, size_t depth) {
  amct_buffer_text(buffer, text);
  amct_buffer_text(buffer, "\n");
  while (depth-- > 0)
    amct_buffer_text(buffer, "    ");
}

static bool put_value(amct_buffer *buffer, json_t *value, size_t depth);

static bool put_list(amct_buffer *buffer, const json_t *list, size_t depth) {
  const size_t count = json_array_size(list);
  for (size_t i = 0; i < count; i++) {
    put_line(buffer, i == 0 ? "[" : ",", depth + 1);
    if (!put_value(buffer, json_array_get(list, i), depth + 1)) return false;
  }
  put_line(buffer, "", depth);
  amct_buffer_text(buffer, "]");
  return true;
}

static bool put_object(amct_buffer *buffer, json_t *object, size_t depth) {
  const char *name;
  json_t *member;
  const char *before = "{";
  json_object_foreach(object, name, member) {
    json_t *text = json_string(name);
    put_line(buffer, before, depth + 1);
    const bool fine = text != NULL && put_value(buffer, text, depth + 1);
    json_decref(text);
    amct_buffer_text(buffer, ":");
    if (!fine || !put_value(buffer, member, depth + 1)) return false;
    before = ",";
  }
  put_line(buffer, "", depth);
  amct_buffer_text(buffer, "}");
  return true;
}

/* As deep as what is written: four levels. */
static bool put_value(amct_buffer *buffer, json_t *value, size_t depth) {
  char text[AMCT_NUMBER_BYTES];
  if (json_array_size(value) != 0) return put_list(buffer, value, depth);
  if (json_object_size(value) != 0) return put_object(buffer, value, depth);
  if (!json_is_real(value))
    return json_dump_callback(value, append, buffer, JSON_ENCODE_ANY) == 0;
  amct_number_print_repr(text, json_real_value(value));
  amct_buffer_text(buffer, text);
  return true;
}

amct_status amct_recipe_dump(json_t *root, amct_buffer *buffer, amct_error *err) {
  const bool fine = put_value(buffer, root, 0);
  return fine && !buffer->failed ? AMCT_OK : amct_fail_memory(err);
}

amct_status amct_recipe_dump_line(json_t *root, amct_buffer *buffer, amct_error *err) {
  const bool fine = json_dump_callback(root, append, buffer, JSON_COMPACT) == 0;
  return fine && !buffer->failed ? AMCT_OK : amct_fail_memory(err);
}
