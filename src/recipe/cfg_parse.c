/* SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <stdio.h>

#include "base/logging.h"
#include "base/number.h"
#include "op/nearest.h"
#include "recipe/cfg.h"
#include "recipe/recipe_keys.h"
#include "recipe/selector.h"
#include "wire/textproto.h"

enum { FIELD_BYTES = 160, VALUE_SHOWN_BYTES = 80, FILE_MAX_BYTES = 32 << 20 };
#define FLOAT_MOST ((double)FLT_MAX)
#define FLOAT_LEAST ((double)FLT_TRUE_MIN)
#define NOWHERE 0
#define OF_ALL(member) offsetof(amct_recipe, member)
#define OF_LAYER(member) offsetof(amct_layer_recipe, member)

static const char k_module[] = "config";

static const amct_cfg_field k_fields[] = {
#define FIELD(message, name, label, kind, place, low, high, allowed, meaning)            \
  {AMCT_CFG_IN_##message,                                                                \
   #name,                                                                                \
   AMCT_CFG_##label,                                                                     \
   AMCT_CFG_##kind,                                                                      \
   place,                                                                                \
   low,                                                                                  \
   high,                                                                                 \
   allowed,                                                                              \
   meaning},
#include "recipe/cfg_fields.def"
#include "recipe/retrain_fields.def"
#undef FIELD
};
enum { FIELD_COUNT = sizeof k_fields / sizeof *k_fields };

const amct_cfg_field *amct_cfg_field_at(size_t i) {
  return i < FIELD_COUNT ? &k_fields[i] : NULL;
}

typedef struct parser {
  amct_cfg *cfg;
  amct_text_reader reader;
  amct_cfg_value *in; /* message that is open */
  amct_error *err;
} parser;

static amct_cfg_message message_open(const parser *p) {
  if (p->in->field != NULL) return (amct_cfg_message)p->in->field->place;
  return p->cfg->purpose == AMCT_FOR_RETRAINING ? AMCT_CFG_IN_RETRAIN : AMCT_CFG_IN_FILE;
}

/* Whether a message stands in files of the purpose that is read. */
static bool is_of_purpose(const parser *p, amct_cfg_message message) {
  return (message >= AMCT_CFG_IN_RETRAIN) == (p->cfg->purpose == AMCT_FOR_RETRAINING);
}

/* ---- messages ---- */

/* "common_config.ifmr_quantize.search_step" */
static const char *full_name(const amct_cfg_value *in, const char *name,
                             char text[FIELD_BYTES]) {
  const char *parts[AMCT_TEXT_DEPTH_MAX + 1] = {name};
  size_t count = 1;
  for (; in->field != NULL && count <= AMCT_TEXT_DEPTH_MAX; in = in->parent)
    parts[count++] = in->field->name;
  size_t size = 0;
  text[0] = '\0';
  while (count-- > 0 && size < FIELD_BYTES)
    size += (size_t)snprintf(text + size, FIELD_BYTES - size, "%s%s", parts[count],
                             count > 0 ? "." : "");
  return text;
}

#define FAIL_FIELD(p, name, ...)                                                         \
  do {                                                                                   \
    char field_[FIELD_BYTES];                                                            \
    const amct_config_place place_ = {(p)->cfg->path, (p)->reader.line,                  \
                                      full_name((p)->in, (name), field_)};               \
    return amct_config_fail((p)->err, &place_, NULL, __VA_ARGS__);                       \
  } while (0)

/* What was read, as it stands in the file. */
static amct_status fail_value(const parser *p, const amct_cfg_field *field,
                              const char *what) {
  const amct_slice value = p->reader.value;
  const bool cut = value.size > VALUE_SHOWN_BYTES;
  const char *quote = p->reader.quoted ? "\"" : "";
  FAIL_FIELD(p, field->name, " is %s%.*s%s%s: %s", quote,
             (int)(cut ? VALUE_SHOWN_BYTES : value.size), (const char *)value.data,
             cut ? "..." : "", quote, what);
}

static amct_status fail_wanted(const parser *p, const amct_cfg_field *field) {
  char what[128];
  snprintf(what, sizeof what, "%s is wanted", field->allowed);
  return fail_value(p, field, what);
}

/* The field that opens a message of this kind. */
static const char *opener_of(amct_cfg_message message) {
  for (size_t i = 0; i < FIELD_COUNT; i++)
    if (k_fields[i].kind == AMCT_CFG_MESSAGE && k_fields[i].place == (size_t)message)
      return k_fields[i].name;
  return NULL;
}

static amct_status fail_unknown(const parser *p) {
  char names[AMCT_NEAREST_BYTES];
  char name[VALUE_SHOWN_BYTES + 1];
  const amct_slice given = p->reader.name;
  const amct_cfg_field *elsewhere = NULL;
  amct_nearest nearest;
  snprintf(name, sizeof name, "%.*s", (int)given.size, (const char *)given.data);
  amct_nearest_start(&nearest, name);
  for (size_t i = 0; i < FIELD_COUNT; i++) {
    if (k_fields[i].message == message_open(p))
      amct_nearest_offer(&nearest, k_fields[i].name);
    else if (elsewhere == NULL && is_of_purpose(p, k_fields[i].message) &&
             strcmp(k_fields[i].name, name) == 0)
      elsewhere = &k_fields[i];
  }
  if (elsewhere == NULL)
    FAIL_FIELD(p, name, " is not a field%s", amct_nearest_text(&nearest, names));
  const char *opener = opener_of(elsewhere->message);
  FAIL_FIELD(p, name, " is not a field here: it stands %s%s",
             opener != NULL ? "in " : "at the top of the file",
             opener != NULL ? opener : "");
}

/* ---- values ---- */

/* One spelling of a list "a|b|c". */
static bool is_among(amct_slice value, const char *list) {
  for (;;) {
    size_t size = strcspn(list, "|");
    if (amct_slice_equal(value, (amct_slice){(const uint8_t *)list, size})) return true;
    if (list[size] == '\0') return false;
    list += size + 1;
  }
}

static amct_status take_flag(const parser *p, const amct_cfg_field *field, bool *flag) {
  *flag = is_among(p->reader.value, "true|True|t|1");
  if (!p->reader.quoted && (*flag || is_among(p->reader.value, "false|False|f|0")))
    return AMCT_OK;
  return fail_wanted(p, field);
}

static amct_status take_size(const parser *p, const amct_cfg_field *field,
                             int64_t *size) {
  if (!p->reader.quoted && amct_number_read_int(p->reader.value, size) &&
      (double)*size >= field->low && (double)*size <= field->high &&
      (*size & (*size - 1)) == 0)
    return AMCT_OK;
  return fail_wanted(p, field);
}

static amct_status take_count(const parser *p, const amct_cfg_field *field,
                              int64_t *count) {
  if (!p->reader.quoted && amct_number_read_int(p->reader.value, count) &&
      (double)*count >= field->low && (double)*count <= field->high)
    return AMCT_OK;
  return fail_wanted(p, field);
}

/* The file's floats are float32; the configuration gets the shortest decimal that means
 * the same one: 0.999999, and not 0.99999898672. */
static double shortest(float value) {
  char text[AMCT_NUMBER_BYTES];
  double real = 0;
  amct_number_print_shortest(text, value);
  (void)amct_number_read_double(amct_slice_of(text), &real);
  return real;
}

static amct_status take_real(const parser *p, const amct_cfg_field *field, double *real) {
  if (p->reader.quoted || !amct_number_read_double(p->reader.value, real))
    return fail_wanted(p, field);
  *real = shortest((float)*real);
  if (*real > field->low && *real <= field->high) return AMCT_OK;
  return fail_wanted(p, field);
}

static amct_status take_text(const parser *p, const amct_cfg_field *field,
                             const char **text) {
  const amct_slice value = p->reader.value;
  if (!p->reader.quoted) return fail_wanted(p, field);
  if (value.size != 0 && memchr(value.data, 0, value.size) != NULL)
    FAIL_FIELD(p, field->name, ": no name has a NUL character");
  *text = amct_arena_text(&p->cfg->arena, (const char *)value.data, value.size);
  return *text != NULL ? AMCT_OK : amct_fail_memory(p->err);
}

static amct_status take_preset(const parser *p, const amct_cfg_field *field,
                               int64_t *preset) {
  *preset = amct_preset_named(p->reader.value);
  return *preset < AMCT_PRESETS ? AMCT_OK : fail_wanted(p, field);
}

static amct_status take_only(const parser *p, const amct_cfg_field *field) {
  char what[128];
  if (!p->reader.quoted && is_among(p->reader.value, field->allowed)) return AMCT_OK;
  snprintf(what, sizeof what, "this version handles %.*s only",
           (int)strcspn(field->allowed, "|"), field->allowed);
  return fail_value(p, field, what);
}

static amct_status take_value(const parser *p, amct_cfg_value *value) {
  const amct_cfg_field *field = value->field;
  switch (field->kind) {
  case AMCT_CFG_FLAG:
    return take_flag(p, field, &value->flag);
  case AMCT_CFG_COUNT:
    return take_count(p, field, &value->count);
  case AMCT_CFG_SIZE:
    return take_size(p, field, &value->count);
  case AMCT_CFG_PRESET:
    return take_preset(p, field, &value->count);
  case AMCT_CFG_REAL:
    return take_real(p, field, &value->real);
  case AMCT_CFG_TEXT:
    return take_text(p, field, &value->text);
  case AMCT_CFG_ONLY:
    return take_only(p, field);
  case AMCT_CFG_MESSAGE:
    return fail_wanted(p, field);
  case AMCT_CFG_REFUSED:
    break; /* before its value is looked at */
  }
  return AMCT_OK;
}

/* ---- the tree ---- */

static const amct_cfg_field *find_field(const parser *p) {
  for (size_t i = 0; i < FIELD_COUNT; i++)
    if (k_fields[i].message == message_open(p) &&
        amct_slice_equal(p->reader.name, amct_slice_of(k_fields[i].name)))
      return &k_fields[i];
  return NULL;
}

static void link_value(amct_cfg_value *in, amct_cfg_value *value) {
  value->parent = in;
  if (value->field->label != AMCT_CFG_REPEATED || in->first == NULL) {
    value->next = in->first;
    in->first = value;
    if (in->last == NULL) in->last = value;
  } else {
    in->last->next = value;
    in->last = value;
  }
}

/* One range algorithm a message: the later takes the place of the other. */
static void drop_other_range(const parser *p, const amct_cfg_field *field) {
  amct_cfg_value *before = NULL;
  for (amct_cfg_value *v = p->in->first; v != NULL; before = v, v = v->next) {
    if (!amct_cfg_is_range(v)) continue;
    amct_log(AMCT_LOG_WARNING, k_module,
             "%s: line %u: %s takes the place of %s in line %u", p->cfg->path,
             (unsigned)p->reader.line, field->name, v->field->name, (unsigned)v->line);
    if (before != NULL)
      before->next = v->next;
    else
      p->in->first = v->next;
    if (p->in->last == v) p->in->last = before;
    return;
  }
}

/* The value that the field of this event is read into: a field that may stand once and
 * stands twice gets its value anew, a message more fields. */
static amct_status place_value(const parser *p, amct_cfg_value **out) {
  const amct_cfg_field *field = find_field(p);
  if (field == NULL) return fail_unknown(p);
  if (field->kind == AMCT_CFG_REFUSED) FAIL_FIELD(p, field->name, ": %s", field->allowed);
  amct_cfg_value *value = NULL;
  if (field->label != AMCT_CFG_REPEATED)
    for (value = p->in->first; value != NULL && value->field != field;)
      value = value->next;
  if (value != NULL) {
    amct_log(AMCT_LOG_WARNING, k_module, "%s: line %u: %s stands in line %u too",
             p->cfg->path, (unsigned)p->reader.line, field->name, (unsigned)value->line);
  } else {
    value = amct_arena_alloc(&p->cfg->arena, sizeof *value);
    if (value == NULL) return amct_fail_memory(p->err);
    value->field = field;
    if (amct_cfg_is_range(value)) drop_other_range(p, field);
    link_value(p->in, value);
  }
  value->line = p->reader.line;
  *out = value;
  return AMCT_OK;
}

/* Start, end and step of a search together, defaults among them. */
static amct_status check_search(const parser *p) {
  amct_layer_recipe layer = {.range = AMCT_RANGE_DEFAULTS};
  char wrong[AMCT_SEARCH_WRONG_BYTES], field[FIELD_BYTES];
  amct_cfg_store(p->in, &layer);
  const char *key = amct_recipe_search_wrong(&layer.range, wrong);
  if (key == NULL) return AMCT_OK;
  const char *name = strcmp(key, "search_range") == 0 ? "search_range_start" : key;
  const amct_cfg_value *value = amct_cfg_get(p->in, name);
  const amct_config_place place = {p->cfg->path, (value != NULL ? value : p->in)->line,
                                   full_name(p->in, name, field)};
  return amct_config_fail(p->err, &place, NULL, ": %s", wrong);
}

static amct_status close_message(parser *p) {
  for (size_t i = 0; i < FIELD_COUNT; i++) {
    const amct_cfg_field *field = &k_fields[i];
    if (field->message == message_open(p) && field->label == AMCT_CFG_REQUIRED &&
        amct_cfg_get(p->in, field->name) == NULL)
      FAIL_FIELD(p, field->name, " is missing in the message of line %u",
                 (unsigned)p->in->line);
  }
  if (message_open(p) == AMCT_CFG_IN_IFMR) AMCT_TRY(check_search(p));
  p->in = p->in->parent;
  return AMCT_OK;
}

static amct_status open_message(parser *p) {
  amct_cfg_value *value = NULL;
  AMCT_TRY(place_value(p, &value));
  if (value->field->kind != AMCT_CFG_MESSAGE)
    FAIL_FIELD(p, value->field->name, " is a message: %s is wanted",
               value->field->kind == AMCT_CFG_ONLY ? "a plain value"
                                                   : value->field->allowed);
  p->in = value;
  return AMCT_OK;
}

static amct_status next_event(parser *p, amct_text_event *event) {
  amct_error wrong = {0};
  amct_status status = amct_text_next(&p->reader, event, &wrong);
  if (status == AMCT_OK) return AMCT_OK;
  return amct_fail_at(p->err, status, NULL, wrong.byte_offset, "%s: %s", p->cfg->path,
                      wrong.text);
}

static amct_status parse(parser *p) {
  amct_text_event event;
  for (;;) {
    amct_cfg_value *value = NULL;
    AMCT_TRY(next_event(p, &event));
    switch (event) {
    case AMCT_TEXT_SCALAR:
      AMCT_TRY(place_value(p, &value));
      AMCT_TRY(take_value(p, value));
      break;
    case AMCT_TEXT_OPEN:
      AMCT_TRY(open_message(p));
      break;
    case AMCT_TEXT_CLOSE:
      AMCT_TRY(close_message(p));
      break;
    case AMCT_TEXT_END:
      return AMCT_OK;
    }
  }
}

/* ---- files ---- */

amct_status amct_cfg_read(amct_cfg *cfg, const char *path, amct_error *err) {
  amct_file file = {0};
  parser p = {.cfg = cfg, .in = &cfg->file, .err = err};
  amct_status status;
  cfg->path = path;
  AMCT_TRY(amct_file_open(&file, path, err));
  amct_text_reader_open(&p.reader, file.bytes);
  if (file.bytes.size > FILE_MAX_BYTES)
    status = amct_fail(err, AMCT_BAD_FORMAT, NULL,
                       "%s: %zu bytes are no configuration: at most %d are read", path,
                       file.bytes.size, FILE_MAX_BYTES);
  else
    status = parse(&p);
  amct_text_reader_close(&p.reader);
  amct_file_close(&file);
  return status;
}

void amct_cfg_free(amct_cfg *cfg) {
  amct_arena_free(&cfg->arena);
  *cfg = (amct_cfg){0};
}

const amct_cfg_value *amct_cfg_get(const amct_cfg_value *message, const char *name) {
  const amct_cfg_value *value = message->first;
  while (value != NULL && strcmp(value->field->name, name) != 0)
    value = value->next;
  return value;
}

const amct_cfg_value *amct_cfg_next(const amct_cfg_value *value) {
  const amct_cfg_value *next = value->next;
  while (next != NULL && next->field != value->field)
    next = next->next;
  return next;
}

bool amct_cfg_is_range(const amct_cfg_value *message) {
  return message->field != NULL && message->field->kind == AMCT_CFG_MESSAGE &&
         message->field->place >= AMCT_CFG_IN_IFMR &&
         message->field->place < AMCT_CFG_IN_IFMR + (size_t)AMCT_RANGE_ALGORITHMS;
}

const amct_cfg_value *amct_cfg_range(const amct_cfg_value *calibration) {
  const amct_cfg_value *value = calibration->first;
  while (value != NULL && !amct_cfg_is_range(value))
    value = value->next;
  return value;
}

void amct_cfg_store(const amct_cfg_value *message, void *base) {
  for (const amct_cfg_value *value = message->first; value != NULL; value = value->next) {
    uint8_t *place = (uint8_t *)base + value->field->place;
    if (value->field->kind == AMCT_CFG_FLAG)
      memcpy(place, &value->flag, sizeof value->flag);
    else if (value->field->kind == AMCT_CFG_COUNT ||
             value->field->kind == AMCT_CFG_SIZE || value->field->kind == AMCT_CFG_PRESET)
      memcpy(place, &value->count, sizeof value->count);
    else if (value->field->kind == AMCT_CFG_REAL)
      memcpy(place, &value->real, sizeof value->real);
  }
  const size_t own = message->field != NULL ? message->field->place : AMCT_CFG_IN_FILE;
  if (own == AMCT_CFG_IN_ARQ || own == AMCT_CFG_IN_GPTQ)
    ((amct_layer_recipe *)base)->weighting =
        own == AMCT_CFG_IN_GPTQ ? AMCT_WEIGHT_GPTQ : AMCT_WEIGHT_ARQ;
  if (amct_cfg_is_range(message))
    ((amct_layer_recipe *)base)->range.algorithm =
        (int64_t)message->field->place - AMCT_CFG_IN_IFMR;
}
