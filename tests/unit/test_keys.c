/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every key of the JSON configurations and every field of the simplified ones, one by
 * one: what leaving it out means, what is taken, what is refused and how. data/keys.txt
 * and data/fields.txt say what is right, apart from the tables of the product; a row of
 * those that the files do not name fails.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipe/cfg.h"
#include "recipe/recipe_keys.h"
#include "unit/recipe_state.h"

enum { TEXT_BYTES = 1024, ROWS_MAX = 200 };

/* What a block of a file says so far. */
typedef struct block {
  char owner[64], name[64]; /* object or message, key or field */
  char layer[64], beside[256];
  bool retrain;
  int takes, refuses;
} block;

typedef struct bench {
  state *s;
  const char *file;
  int line;
  block now;
  char seen[ROWS_MAX][130]; /* "owner name" */
  int seen_count;
} bench;

#define FAIL(b, ...)                                                                     \
  do {                                                                                   \
    print_error("%s:%d: %s %s: ", (b)->file, (b)->line, (b)->now.owner, (b)->now.name);  \
    fail_msg(__VA_ARGS__);                                                               \
  } while (0)

/* ---- frames ---- */

static const char *const k_objects[] = {
#define OBJECT(name) [AMCT_RECIPE_##name] = #name
    OBJECT(GLOBAL),        OBJECT(LAYER),        OBJECT(ACTIVATION),
    OBJECT(WEIGHT),        OBJECT(TENSOR),       OBJECT(RETRAIN),
    OBJECT(RETRAIN_LAYER), OBJECT(RETRAIN_DATA), OBJECT(RETRAIN_WEIGHT)};

static int object_of(const bench *b) {
  for (size_t i = 0; i < sizeof k_objects / sizeof *k_objects; i++)
    if (strcmp(k_objects[i], b->now.owner) == 0) return (int)i;
  FAIL(b, "no such object");
  return 0;
}

/* The JSON with `setting` ("key":value, or nothing), in which another layer is on. */
static void frame_key(const bench *b, const char *setting, char text[TEXT_BYTES]) {
  static const char *const sections[] = {
      [AMCT_RECIPE_ACTIVATION] = "activation_quant_params",
      [AMCT_RECIPE_WEIGHT] = "weight_quant_params",
      [AMCT_RECIPE_RETRAIN_DATA] = "retrain_data_config",
      [AMCT_RECIPE_RETRAIN_WEIGHT] = "retrain_weight_config",
  };
  const int object = object_of(b);
  const block *now = &b->now;
  const char *comma = setting[0] != '\0' && now->beside[0] != '\0' ? "," : "";
  char body[TEXT_BYTES / 2];
  snprintf(body, sizeof body, "%s%s%s", now->beside, comma, setting);
  const char *after = body[0] != '\0' ? "," : "";
  if (object == AMCT_RECIPE_GLOBAL || object == AMCT_RECIPE_RETRAIN)
    snprintf(text, TEXT_BYTES, "{%s%s\"net/free/Conv2D\":{}}", body, after);
  else if (object == AMCT_RECIPE_TENSOR)
    snprintf(text, TEXT_BYTES, "{\"tensor_quantize\":[{%s}],\"net/free/Conv2D\":{}}",
             body);
  else if (object == AMCT_RECIPE_LAYER || object == AMCT_RECIPE_RETRAIN_LAYER)
    snprintf(text, TEXT_BYTES, "{\"%s\":{%s},\"net/free/Conv2D\":{}}", now->layer, body);
  else
    snprintf(text, TEXT_BYTES, "{\"%s\":{\"%s\":{%s}},\"net/free/Conv2D\":{}}",
             now->layer, sections[object], body);
}

/* How the message that opens `owner` is reached. */
static const char *opening_of(const bench *b) {
  static const struct {
    const char *owner, *text;
  } openings[] = {
      {"FILE", ""},
      {"TYPE", "override_layer_types"},
      {"LAYER", "override_layer_configs"},
      {"TENSOR", "tensor_quantize"},
      {"CALIBRATION", "common_config"},
      {"ARQ", "common_config.arq_quantize"},
      {"GPTQ", "common_config.gptq_quantize"},
      {"IFMR", "common_config.ifmr_quantize"},
      {"HFMG", "common_config.hfmg_quantize"},
      {"MIN_MAX", "common_config.min_max_quantize"},
      {"PERCENTILE", "common_config.percentile_quantize"},
      {"RETRAIN", ""},
      {"RETRAIN_LAYER", "override_layer_configs"},
      {"RETRAIN_TYPE", "override_layer_types"},
      {"RETRAIN_DATA", "retrain_data_quant_config"},
      {"ULQ", "retrain_data_quant_config.ulq_quantize"},
      {"CLIPS", "retrain_data_quant_config.ulq_quantize.clip_max_min"},
      {"RETRAIN_WEIGHT", "retrain_weight_quant_config"},
      {"ARQ_RETRAIN", "retrain_weight_quant_config.arq_retrain"},
  };
  for (size_t i = 0; i < sizeof openings / sizeof *openings; i++)
    if (strcmp(openings[i].owner, b->now.owner) == 0) return openings[i].text;
  FAIL(b, "no such message");
  return NULL;
}

static void frame_field(const bench *b, const char *setting, char text[TEXT_BYTES]) {
  const char *opening = opening_of(b);
  int depth = 0;
  text[0] = '\0';
  for (const char *part = opening; *part != '\0'; depth++) {
    const size_t size = strcspn(part, ".");
    strncat(text, part, size);
    strcat(text, " { ");
    part += size + (part[size] == '.');
  }
  strcat(text, b->now.beside);
  strcat(text, " ");
  strcat(text, setting);
  while (depth-- > 0)
    strcat(text, " }");
}

/* ---- readers ---- */

static bool of_fields(const bench *b) {
  return strstr(b->file, "fields") != NULL;
}

static amct_status take(const bench *b, amct_recipe *recipe, const char *setting,
                        amct_error *err) {
  char text[TEXT_BYTES];
  const amct_recipe_purpose purpose =
      b->now.retrain ? AMCT_FOR_RETRAINING : AMCT_FOR_CALIBRATION;
  if (!of_fields(b)) {
    recipe->purpose = purpose;
    frame_key(b, setting, text);
    return read_text(b->s, recipe, text, err);
  }
  amct_cfg cfg = {.purpose = purpose};
  const char *path = temp_path(&b->s->folder, "c");
  frame_field(b, setting, text);
  temp_write(path, text);
  amct_status status = amct_cfg_read(&cfg, path, err);
  if (status == AMCT_OK)
    status =
        amct_recipe_from_cfg(recipe, &cfg, &b->s->hand.layers, b->s->hand.graph, err);
  amct_cfg_free(&cfg);
  return status;
}

static char *print(const amct_recipe *recipe) {
  amct_buffer buffer = {0};
  assert_int_equal(amct_recipe_print(recipe, &buffer, NULL), AMCT_OK);
  char *text = calloc(buffer.size + 1, 1);
  memcpy(text, buffer.data, buffer.size);
  amct_buffer_free(&buffer);
  return text;
}

/* What the configuration with the setting is written as; that reads as the same again. */
static char *must_take(const bench *b, const char *setting) {
  amct_recipe recipe = {0}, again = {0};
  amct_error err = {0};
  if (take(b, &recipe, setting, &err) != AMCT_OK) FAIL(b, "%s: %s", setting, err.text);
  char *text = print(&recipe);
  again.purpose = recipe.purpose;
  if (read_text(b->s, &again, text, &err) != AMCT_OK)
    FAIL(b, "%s: %s", setting, err.text);
  char *second = print(&again);
  if (strcmp(text, second) != 0) FAIL(b, "%s: %s\nis not\n%s", setting, second, text);
  free(second);
  amct_recipe_free(&recipe);
  amct_recipe_free(&again);
  return text;
}

/* ---- what a written configuration holds ---- */

/* The member of that name in an object or those within it. */
static json_t *find_member(json_t *object, const char *name) {
  const char *key;
  json_t *member;
  json_t *found = json_object_get(object, name);
  if (found != NULL) return found;
  json_object_foreach(object, key, member) {
    found = json_is_object(member) ? find_member(member, name) : NULL;
    if (found != NULL) return found;
  }
  return NULL;
}

/* At the top, or in the layer: in the object of the key, if it is the block's own. */
static json_t *find_setting(const bench *b, json_t *root, const char *name) {
  json_t *at = json_object_get(root, name);
  json_t *in = json_object_get(root, b->now.layer);
  if (at != NULL) return at;
  if (!of_fields(b) && strcmp(name, b->now.name) == 0) {
    const char *section = amct_recipe_section((amct_recipe_object)object_of(b));
    if (section[0] != '\0') in = json_object_get(in, section);
  }
  return find_member(in, name);
}

static bool is_written_as(const bench *b, const char *text, const char *name,
                          const char *value) {
  json_t *root = json_loads(text, JSON_DECODE_INT_AS_REAL, NULL);
  json_t *wanted = json_loads(value, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
  assert_non_null(root);
  if (wanted == NULL) FAIL(b, "%s is no JSON", value);
  json_t *at = find_setting(b, root, name);
  const bool same = at != NULL && json_equal(at, wanted);
  json_decref(root);
  json_decref(wanted);
  return same;
}

/* ---- lines of a block ---- */

static void setting_of(const bench *b, const char *value, char text[TEXT_BYTES]) {
  const bool message = of_fields(b) && value[0] == '{';
  if (of_fields(b))
    snprintf(text, TEXT_BYTES, "%s%s %s", b->now.name, message ? "" : ":", value);
  else
    snprintf(text, TEXT_BYTES, "\"%s\":%s", b->now.name, value);
}

/* "default 1 written", "default false" (not written), "default none" */
static void check_default(bench *b, char *rest) {
  char setting[TEXT_BYTES];
  char *written = strstr(rest, " written");
  if (written != NULL) *written = '\0';
  char *without = must_take(b, "");
  const bool none = strcmp(rest, "none") == 0;
  if (!none) {
    setting_of(b, rest, setting);
    char *with = must_take(b, setting);
    if (strcmp(with, without) != 0) FAIL(b, "%s is not the default:\n%s", rest, without);
    free(with);
  }
  if (!none && !of_fields(b)) {
    const bool there = is_written_as(b, without, b->now.name, rest);
    if (there != (written != NULL))
      FAIL(b, "the default is%s written:\n%s", there ? "" : " not", without);
  }
  free(without);
}

/* "takes 0.9", "takes 0.9 as search_range [0.9,1.3]", "takes {} as nothing" */
static void check_taken(bench *b, char *rest) {
  char setting[TEXT_BYTES], *name = b->now.name, *value = rest;
  char *as = strstr(rest, " as ");
  if (as != NULL) *as = '\0';
  setting_of(b, rest, setting);
  char *text = must_take(b, setting);
  if (as != NULL) {
    name = as + 4;
    value = strchr(name, ' ');
    if (value != NULL) *value++ = '\0';
  }
  b->now.takes++;
  if (strcmp(name, "nothing") == 0) {
    char *without = must_take(b, "");
    if (strcmp(text, without) != 0) FAIL(b, "%s changes something", rest);
    free(without);
  } else if (!is_written_as(b, text, name, value)) {
    FAIL(b, "%s is not written as %s of %s:\n%s", rest, name, value, text);
  }
  free(text);
}

/* "refuses 0: a whole number over 0 is wanted", "fails 0: whole message" */
static void check_refused(bench *b, char *rest, bool whole) {
  char setting[TEXT_BYTES], wanted[2 * TEXT_BYTES], where[TEXT_BYTES] = "";
  amct_recipe recipe = {0};
  amct_error err = {0};
  char *why = strstr(rest, rest[0] == '{' ? "}: " : rest[0] == '[' ? "]: " : ": ");
  if (why == NULL) FAIL(b, "no reason");
  why += why[0] != ':';
  *why = '\0';
  why += 2;
  setting_of(b, rest, setting);
  const amct_status status = take(b, &recipe, setting, &err);
  if (status != AMCT_BAD_CONFIG && status != AMCT_BAD_FORMAT)
    FAIL(b, "%s is taken", rest);
  if (of_fields(b)) {
    const char *opening = opening_of(b);
    snprintf(where, sizeof where, "line 1: %s%s", opening, opening[0] != '\0' ? "." : "");
  } else if (object_of(b) != AMCT_RECIPE_GLOBAL && object_of(b) != AMCT_RECIPE_RETRAIN) {
    const char *section = amct_recipe_section((amct_recipe_object)object_of(b));
    const bool tensor = object_of(b) == AMCT_RECIPE_TENSOR;
    snprintf(where, sizeof where, "\"%s\": %s%s",
             tensor ? "tensor_quantize" : b->now.layer, section,
             section[0] != '\0' ? "." : "");
  }
  const char *path = temp_path(&b->s->folder, "c");
  if (whole)
    snprintf(wanted, sizeof wanted, "%s: %s", path, why);
  else
    snprintf(wanted, sizeof wanted, "%s: %s%s is %s: %s", path, where, b->now.name, rest,
             why);
  if (strcmp(err.text, wanted) != 0)
    FAIL(b, "\"%s\"\ninstead of\n\"%s\"", err.text, wanted);
  b->now.refuses++;
  amct_recipe_free(&recipe);
}

/* ---- files ---- */

static void start_block(bench *b, const char *rest) {
  char word[80];
  if (b->now.name[0] != '\0' && b->now.refuses == 0) FAIL(b, "nothing is refused");
  b->now = (block){.layer = "net/conv1/Conv2D"};
  if (sscanf(rest, "%63s %63s", b->now.owner, b->now.name) != 2) FAIL(b, "\"%s\"", rest);
  snprintf(word, sizeof word, " %s ", b->now.owner);
  b->now.retrain = strncmp(b->now.owner, "RETRAIN", 7) == 0 ||
                   strstr(" ULQ CLIPS ARQ_RETRAIN ", word) != NULL;
  assert_true(b->seen_count < ROWS_MAX);
  snprintf(b->seen[b->seen_count++], sizeof b->seen[0], "%s %s", b->now.owner,
           b->now.name);
}

static void take_line(bench *b, char *line) {
  char *rest = strchr(line, ' ');
  if (line[0] == '\0' || line[0] == '#') return;
  if (rest == NULL) FAIL(b, "\"%s\"", line);
  *rest++ = '\0';
  if (strcmp(line, "key") == 0 || strcmp(line, "field") == 0)
    start_block(b, rest);
  else if (strcmp(line, "layer") == 0)
    snprintf(b->now.layer, sizeof b->now.layer, "%s", rest);
  else if (strcmp(line, "beside") == 0)
    snprintf(b->now.beside, sizeof b->now.beside, "%s", strcmp(rest, "-") ? rest : "");
  else if (strcmp(line, "default") == 0)
    check_default(b, rest);
  else if (strcmp(line, "takes") == 0)
    check_taken(b, rest);
  else if (strcmp(line, "refuses") == 0 || strcmp(line, "fails") == 0)
    check_refused(b, rest, line[0] == 'f');
  else
    FAIL(b, "\"%s\"", line);
}

static void run_file(bench *b, state *s, const char *path) {
  *b = (bench){.s = s, .file = path};
  char *text = temp_read(path);
  assert_non_null(text);
  for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
    *end = '\0';
    b->line++;
    take_line(b, line);
  }
  if (b->now.refuses == 0) FAIL(b, "nothing is refused");
  free(text);
}

static void expect_seen(const bench *b, const char *owner, const char *name) {
  char wanted[130];
  snprintf(wanted, sizeof wanted, "%s %s", owner, name);
  for (int i = 0; i < b->seen_count; i++)
    if (strcmp(b->seen[i], wanted) == 0) return;
  fail_msg("%s says nothing of %s: state its default, its limits and its messages",
           b->file, wanted);
}

static void keys_are_what_the_file_says(void **data) {
  static bench b;
  const amct_recipe_key *key;
  run_file(&b, *data, "data/keys.txt");
  for (size_t i = 0; (key = amct_recipe_key_at(i)) != NULL; i++)
    expect_seen(&b, k_objects[key->object], key->name);
  assert_int_equal(b.seen_count, AMCT_RECIPE_KEY_COUNT);
}

static void fields_are_what_the_file_says(void **data) {
  static const char *const owners[] = {
#define MESSAGE(name) [AMCT_CFG_IN_##name] = #name
      MESSAGE(FILE),          MESSAGE(TYPE),         MESSAGE(LAYER),
      MESSAGE(TENSOR),        MESSAGE(CALIBRATION),  MESSAGE(ARQ),
      MESSAGE(GPTQ),          MESSAGE(IFMR),         MESSAGE(HFMG),
      MESSAGE(MIN_MAX),       MESSAGE(PERCENTILE),   MESSAGE(RETRAIN),
      MESSAGE(RETRAIN_LAYER), MESSAGE(RETRAIN_TYPE), MESSAGE(RETRAIN_DATA),
      MESSAGE(ULQ),           MESSAGE(CLIPS),        MESSAGE(RETRAIN_WEIGHT),
      MESSAGE(ARQ_RETRAIN)};
  static bench b;
  const amct_cfg_field *field;
  run_file(&b, *data, "data/fields.txt");
  int count = 0;
  for (size_t i = 0; (field = amct_cfg_field_at(i)) != NULL; i++, count++)
    expect_seen(&b, owners[field->message], field->name);
  assert_int_equal(b.seen_count, count);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(keys_are_what_the_file_says),
      TEST(fields_are_what_the_file_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
