/* SPDX-License-Identifier: Apache-2.0 */
#include "base/logging.h"
#include "base/map.h"
#include "base/names.h"
#include "base/number.h"
#include "factors/record.h"
#include "wire/textproto.h"

#include <strings.h>

typedef enum field_kind { FLOAT, INT32, UINT32, BOOL, WORD, IGNORED, REFUSED } field_kind;

typedef enum field_id {
#define FIELD(name, kind, repeated, note) FIELD_##name,
#include "factors/record_fields.def"
#undef FIELD
  FIELD_COUNT,
} field_id;

typedef struct field {
  const char *name;
  field_kind kind;
  bool repeated;
  const char *note;
} field;

static const field k_fields[] = {
#define FIELD(name, kind, repeated, note) {#name, kind, repeated, note},
#include "factors/record_fields.def"
#undef FIELD
};

typedef struct parser {
  amct_record *record;
  const char *label;
  amct_text_reader reader;
  amct_names keys; /* to find repeated ones */
  amct_map lines;  /* key -> its first factors.line, as a pointer */
  amct_factors now;
  bool has_value;
  bool seen[FIELD_COUNT]; /* in this value */
  AMCT_VEC(float) scale_w;
  AMCT_VEC(int32_t) offset_w;
  AMCT_VEC(uint32_t) shift_bit;
  amct_error *err;
} parser;

/* How a token or a name of the text is shown. */
#define SHOWN(slice)                                                                     \
  (int)((slice).size < 80 ? (slice).size : 80), (const char *)(slice).data

/* "<file>:<line>: "<key>": ..." */
#define FAIL(p, format, ...)                                                             \
  amct_fail_at((p)->err, AMCT_BAD_RECORD, (p)->now.key,                                  \
               (uint64_t)((p)->reader.at - (p)->reader.start),                           \
               "%s:%u: %s%.200s%s" format, (p)->label, (unsigned)(p)->reader.line,       \
               (p)->now.key != NULL ? "\"" : "",                                         \
               (p)->now.key != NULL ? (p)->now.key : "",                                 \
               (p)->now.key != NULL ? "\": " : "", __VA_ARGS__)

static amct_status next(parser *p, amct_text_event *event) {
  amct_error wrong = {0};
  amct_status status = amct_text_next(&p->reader, event, &wrong);
  if (status == AMCT_OK) return AMCT_OK;
  return amct_fail_at(p->err, status, NULL, wrong.byte_offset, "%s: %s", p->label,
                      wrong.text);
}

/* ---- one field ---- */

static field_id find_field(amct_slice name) {
  for (int i = 0; i < FIELD_COUNT; i++)
    if (amct_slice_equal(name, amct_slice_of(k_fields[i].name))) return (field_id)i;
  return FIELD_COUNT;
}

static amct_status fail_value(parser *p, const field *f, const char *wanted) {
  return FAIL(p, "%s is %s%.*s%s: %s is wanted", f->name, p->reader.quoted ? "\"" : "",
              SHOWN(p->reader.value), p->reader.quoted ? "\"" : "", wanted);
}

static amct_status take_float(parser *p, const field *f, float *value) {
  double real = 0;
  if (p->reader.quoted || !amct_number_read_double(p->reader.value, &real))
    return fail_value(p, f, "a number");
  *value = (float)real;
  return AMCT_OK;
}

static amct_status take_int(parser *p, const field *f, int64_t *value) {
  int64_t low = f->kind == UINT32 ? 0 : INT32_MIN;
  int64_t high = f->kind == UINT32 ? UINT32_MAX : INT32_MAX;
  if (p->reader.quoted || !amct_number_read_int(p->reader.value, value) || *value < low ||
      *value > high)
    return fail_value(p, f,
                      f->kind == UINT32 ? "a whole number of 32 bits, 0 or more"
                                        : "a whole number of 32 bits");
  return AMCT_OK;
}

static amct_status take_bool(parser *p, const field *f, bool *value) {
  static const char *const words[2][4] = {{"false", "False", "f", "0"},
                                          {"true", "True", "t", "1"}};
  for (int truth = 0; truth < 2 && !p->reader.quoted; truth++) {
    for (int i = 0; i < 4; i++) {
      if (!amct_slice_equal(p->reader.value, amct_slice_of(words[truth][i]))) continue;
      *value = truth != 0;
      return AMCT_OK;
    }
  }
  return fail_value(p, f, "true or false");
}

/* Enums are written bare, strings quoted: both. */
static amct_status take_word(parser *p, const field *f) {
  size_t size = strlen(f->note);
  if (p->reader.value.size == size &&
      strncasecmp((const char *)p->reader.value.data, f->note, size) == 0)
    return AMCT_OK;
  return FAIL(p, "%s is %.*s: this version handles %s only", f->name,
              SHOWN(p->reader.value), f->note);
}

/* Internal fields of the original that say nothing about the factors. */
static amct_status pass_over(parser *p, const field *f) {
  amct_log(AMCT_LOG_DEBUG, "record", "%s:%u: \"%s\": %s is ignored", p->label,
           (unsigned)p->reader.line, p->now.key != NULL ? p->now.key : "", f->name);
  return AMCT_OK;
}

static amct_status take_repeated(parser *p, field_id id) {
  float real = 0;
  int64_t whole = 0;
  bool pushed = true;
  if (id == FIELD_scale_w) {
    AMCT_TRY(take_float(p, &k_fields[id], &real));
    pushed = AMCT_VEC_PUSH(&p->scale_w, real);
  } else {
    AMCT_TRY(take_int(p, &k_fields[id], &whole));
    pushed = id == FIELD_offset_w ? AMCT_VEC_PUSH(&p->offset_w, (int32_t)whole)
                                  : AMCT_VEC_PUSH(&p->shift_bit, (uint32_t)whole);
  }
  return pushed ? AMCT_OK : amct_fail_memory(p->err);
}

static amct_status take_field(parser *p) {
  field_id id = find_field(p->reader.name);
  int64_t whole = 0;
  if (id == FIELD_COUNT)
    return FAIL(p, "%.*s is not a field of a layer's value", SHOWN(p->reader.name));
  const field *f = &k_fields[id];
  if (p->seen[id] && !f->repeated) return FAIL(p, "%s stands twice", f->name);
  p->seen[id] = true;
  switch (id) {
  case FIELD_scale_d:
    return take_float(p, f, &p->now.scale_d);
  case FIELD_offset_d:
    AMCT_TRY(take_int(p, f, &whole));
    p->now.offset_d = (int32_t)whole;
    return AMCT_OK;
  case FIELD_skip_fusion:
    return take_bool(p, f, &p->now.skip_fusion);
  case FIELD_scale_w:
  case FIELD_offset_w:
  case FIELD_shift_bit:
    return take_repeated(p, id);
  default:
    break;
  }
  if (f->kind == WORD) return take_word(p, f);
  if (f->kind == IGNORED) return pass_over(p, f);
  return FAIL(p, "%s (%s) is not handled by this version", f->name, f->note);
}

static amct_status parse_value(parser *p) {
  amct_text_event event;
  for (;;) {
    AMCT_TRY(next(p, &event));
    if (event == AMCT_TEXT_CLOSE) return AMCT_OK;
    if (event == AMCT_TEXT_SCALAR)
      AMCT_TRY(take_field(p));
    else
      return FAIL(p, "%.*s is not a message of a layer's value", SHOWN(p->reader.name));
  }
}

/* ---- one record ---- */

static amct_status take_key(parser *p) {
  amct_slice value = p->reader.value;
  if (p->now.key != NULL) return FAIL(p, "%s", "key stands twice");
  if (!p->reader.quoted) return FAIL(p, "key %.*s: a string is wanted", SHOWN(value));
  if (value.size == 0) return FAIL(p, "%s", "key is empty");
  if (memchr(value.data, 0, value.size) != NULL)
    return FAIL(p, "key \"%.*s\" holds a NUL byte", SHOWN(value));
  p->now.key = amct_arena_text(&p->record->arena, (const char *)value.data, value.size);
  return p->now.key != NULL ? AMCT_OK : amct_fail_memory(p->err);
}

/* Keys are unique: remembers this one with its line. */
static amct_status claim_key(parser *p) {
  amct_name key = amct_names_intern(&p->keys, amct_slice_of(p->now.key));
  if (key == NULL) return amct_fail_memory(p->err);
  uintptr_t line = (uintptr_t)amct_map_get(&p->lines, key);
  if (line != 0) {
    p->reader.line = p->now.line;
    return FAIL(p, "a second record of this key, the first is in line %u",
                (unsigned)line);
  }
  return amct_map_set(&p->lines, key, (void *)(uintptr_t)p->now.line, p->err);
}

static void *copy_array(parser *p, const void *from, size_t count, size_t bytes_each) {
  void *copy = amct_arena_array(&p->record->arena, count + 1, bytes_each);
  if (copy != NULL && count != 0) memcpy(copy, from, count * bytes_each);
  return copy;
}

static amct_status keep_record(parser *p) {
  amct_factors *now = &p->now;
  if (now->key == NULL)
    return FAIL(p, "record of line %u has no key", (unsigned)now->line);
  if (!p->has_value)
    return FAIL(p, "record of line %u has no value", (unsigned)now->line);
  if (p->seen[FIELD_scale_d] != p->seen[FIELD_offset_d])
    return FAIL(p, "%s without %s", p->seen[FIELD_scale_d] ? "scale_d" : "offset_d",
                p->seen[FIELD_scale_d] ? "offset_d" : "scale_d");
  AMCT_TRY(claim_key(p));
  now->has_data = p->seen[FIELD_scale_d];
  now->scale_w_count = p->scale_w.count;
  now->offset_w_count = p->offset_w.count;
  now->shift_count = p->shift_bit.count;
  now->scale_w = copy_array(p, p->scale_w.at, p->scale_w.count, sizeof(float));
  now->offset_w = copy_array(p, p->offset_w.at, p->offset_w.count, sizeof(int32_t));
  now->shift_bit = copy_array(p, p->shift_bit.at, p->shift_bit.count, sizeof(uint32_t));
  if (now->scale_w == NULL || now->offset_w == NULL || now->shift_bit == NULL ||
      !AMCT_VEC_PUSH(&p->record->layers, *now))
    return amct_fail_memory(p->err);
  return AMCT_OK;
}

static amct_status take_member(parser *p, amct_text_event event) {
  if (event == AMCT_TEXT_SCALAR && amct_slice_equal(p->reader.name, amct_slice_of("key")))
    return take_key(p);
  if (event != AMCT_TEXT_OPEN ||
      !amct_slice_equal(p->reader.name, amct_slice_of("value")))
    return FAIL(p, "%.*s is not a field of a record: key and value are",
                SHOWN(p->reader.name));
  if (p->has_value) return FAIL(p, "%s", "value stands twice");
  p->has_value = true;
  return parse_value(p);
}

static amct_status parse_record(parser *p) {
  amct_text_event event;
  p->now = (amct_factors){.line = p->reader.line};
  p->has_value = false;
  memset(p->seen, 0, sizeof p->seen);
  p->scale_w.count = p->offset_w.count = p->shift_bit.count = 0;
  for (;;) {
    AMCT_TRY(next(p, &event));
    if (event == AMCT_TEXT_CLOSE) return keep_record(p);
    AMCT_TRY(take_member(p, event));
  }
}

static amct_status parse_all(parser *p) {
  amct_text_event event;
  for (;;) {
    p->now = (amct_factors){0};
    AMCT_TRY(next(p, &event));
    if (event == AMCT_TEXT_END) return AMCT_OK;
    if (event != AMCT_TEXT_OPEN ||
        !amct_slice_equal(p->reader.name, amct_slice_of("record")))
      return FAIL(p, "%.*s where \"record {\" is wanted", SHOWN(p->reader.name));
    AMCT_TRY(parse_record(p));
  }
}

amct_status amct_record_parse(amct_record *record, amct_slice text, const char *label,
                              amct_error *err) {
  parser *p = amct_alloc_array(1, sizeof *p);
  if (p == NULL) return amct_fail_memory(err);
  p->record = record;
  p->label = label;
  p->err = err;
  amct_text_reader_open(&p->reader, text);
  amct_status status = parse_all(p);
  amct_text_reader_close(&p->reader);
  amct_map_free(&p->lines);
  amct_names_free(&p->keys);
  AMCT_VEC_FREE(&p->scale_w);
  AMCT_VEC_FREE(&p->offset_w);
  AMCT_VEC_FREE(&p->shift_bit);
  amct_free(p);
  return status;
}
