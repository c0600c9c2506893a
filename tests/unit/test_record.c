/* SPDX-License-Identifier: Apache-2.0 */
/* The record file. Oracles: records that others wrote, and the rules of the format. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "factors/record.h"
#include "unit/hand_layers.h"
#include "unit/temp_folder.h"

static const char k_fixture[] = "data/record_small.txt";

/* ---- reading and printing ---- */

static void expect_round_trip(const char *path, size_t records) {
  amct_record record = {0};
  amct_buffer printed = {0};
  amct_error err = {0};
  amct_file file = {0};
  assert_int_equal(amct_file_open(&file, path, &err), AMCT_OK);
  if (amct_record_read(&record, path, &err) != AMCT_OK) fail_msg("%s", err.text);
  assert_int_equal(record.layers.count, records);
  amct_record_print(&record, &printed);
  assert_false(printed.failed);
  assert_int_equal(printed.size, file.bytes.size);
  assert_memory_equal(printed.data, file.bytes.data, printed.size);
  amct_buffer_free(&printed);
  amct_record_free(&record);
  amct_file_close(&file);
}

static void fixture_prints_back_the_same(void **unused) {
  (void)unused;
  expect_round_trip(k_fixture, 6);
}

/* A record that the original wrote; not part of this tree. */
static void reference_prints_back_the_same(void **unused) {
  (void)unused;
  const char *path = getenv("AMCT_REFERENCE_RECORD");
  if (path == NULL) {
    print_message("SKIPPED: AMCT_REFERENCE_RECORD names no record of the original\n");
    skip();
  }
  expect_round_trip(path, 54);
}

static void fixture_has_its_values(void **unused) {
  (void)unused;
  amct_record record = {0};
  assert_int_equal(amct_record_read(&record, k_fixture, NULL), AMCT_OK);
  const amct_factors *conv = amct_record_get(&record, "net/conv1/Conv2D");
  assert_non_null(conv);
  assert_int_equal(conv->line, 1);
  assert_true(conv->has_data && !conv->skip_fusion);
  assert_true(conv->scale_d == 0.0078125F && conv->offset_d == 0);
  assert_int_equal(conv->scale_w_count, 3);
  assert_int_equal(conv->offset_w_count, 3);
  assert_int_equal(conv->shift_count, 0);
  const amct_factors *pool = amct_record_get(&record, "net/pool/AvgPool");
  assert_int_equal(pool->scale_w_count, 0);
  assert_true(pool->scale_d == 6.0F / 255 && pool->offset_d == -128);
  const amct_factors *fc = amct_record_get(&record, "Fc");
  assert_int_equal(fc->shift_count, 1);
  assert_int_equal(fc->shift_bit[0], 3);
  const amct_factors *unfused = amct_record_get(&record, "net/free/Conv2D");
  assert_true(unfused->skip_fusion && !unfused->has_data);
  assert_null(amct_record_get(&record, "net"));
  amct_record_free(&record);
}

static void other_spellings_read_the_same(void **unused) {
  (void)unused;
  static const char text[] =
      "# by hand\n"
      "record: < value: < offset_w: [0, 0] scale_w: [nan, -inf] scale_w: 1e-3f,"
      "                   scale_d: -2 offset_d: -0x10; op_data_type: \"FLOAT32\""
      "                   dst_type: int8 skip_fusion: t shift_bit: 017 > key: 'a' "
      "\"\\142\" >\n"
      "record { key: \"c\" value {} }";
  amct_record record = {0};
  amct_error err = {0};
  if (amct_record_parse(&record, amct_slice_of(text), "r", &err) != AMCT_OK)
    fail_msg("%s", err.text);
  assert_int_equal(record.layers.count, 2);
  const amct_factors *f = &record.layers.at[0];
  assert_string_equal(f->key, "ab");
  assert_int_equal(f->line, 2);
  assert_true(f->scale_d == -2 && f->offset_d == -16);
  assert_int_equal(f->scale_w_count, 3);
  assert_true(isnan(f->scale_w[0]) && isinf(f->scale_w[1]) && f->scale_w[2] == 1e-3F);
  assert_int_equal(f->offset_w_count, 2);
  assert_int_equal(f->shift_bit[0], 15);
  assert_true(f->skip_fusion);
  assert_false(record.layers.at[1].has_data);
  amct_record_free(&record);
}

static void empty_text_is_an_empty_record(void **unused) {
  (void)unused;
  amct_record record = {0};
  assert_int_equal(amct_record_parse(&record, amct_slice_of(" # \n"), "r", NULL),
                   AMCT_OK);
  assert_int_equal(record.layers.count, 0);
  amct_record_free(&record);
}

static void written_file_reads_back(void **unused) {
  (void)unused;
  temp_folder folder;
  amct_record record = {0};
  temp_folder_make(&folder);
  assert_int_equal(amct_record_read(&record, k_fixture, NULL), AMCT_OK);
  const char *path = temp_path(&folder, "new/record,txt");
  assert_int_equal(amct_record_write(&record, path, NULL), AMCT_OK);
  expect_round_trip(path, record.layers.count);
  char *written = temp_read(path);
  char *fixture = temp_read(k_fixture);
  assert_string_equal(written, fixture);
  free(written);
  free(fixture);
  amct_record_free(&record);
  assert_int_equal(amct_record_write(&record, path, NULL), AMCT_OK);
  written = temp_read(path);
  assert_string_equal(written, "");
  free(written);
  temp_folder_remove(&folder);
}

/* ---- what is refused ---- */

typedef struct refused {
  const char *text;
  amct_status status;
  const char *message;
} refused;

static const refused k_bad[] = {
    {"record { key: \"a\" value { scale: 1 } }", AMCT_BAD_RECORD,
     "r:1: \"a\": scale is not a field of a layer's value"},
    {"record { key: \"a\"\n value { sub {} } }", AMCT_BAD_RECORD,
     "r:2: \"a\": sub is not a message of a layer's value"},
    {"record { name: \"a\" }", AMCT_BAD_RECORD,
     "r:1: name is not a field of a record: key and value are"},
    {"layer { }", AMCT_BAD_RECORD, "r:1: layer where \"record {\" is wanted"},
    {"record: 3", AMCT_BAD_RECORD, "r:1: record where \"record {\" is wanted"},
    {"\n\nrecord { value {}\n}", AMCT_BAD_RECORD, "r:4: record of line 3 has no key"},
    {"record { key: \"a\" }", AMCT_BAD_RECORD,
     "r:1: \"a\": record of line 1 has no value"},
    {"record { key: a value {} }", AMCT_BAD_RECORD, "r:1: key a: a string is wanted"},
    {"record { key: \"\" value {} }", AMCT_BAD_RECORD, "r:1: key is empty"},
    {"record { key: \"a\\0b\" value {} }", AMCT_BAD_RECORD, "holds a NUL byte"},
    {"record { key: \"a\" key: \"b\" value {} }", AMCT_BAD_RECORD,
     "r:1: \"a\": key stands twice"},
    {"record { key: \"a\" value {} value {} }", AMCT_BAD_RECORD,
     "r:1: \"a\": value stands twice"},
    {"record { key: \"a\" value {} }\nrecord { key: \"b\" value {} }\n"
     "record { key: \"a\" value {} }",
     AMCT_BAD_RECORD, "r:3: \"a\": a second record of this key, the first is in line 1"},
    {"record { key: \"a\" value { scale_d: 1 scale_d: 1 } }", AMCT_BAD_RECORD,
     "r:1: \"a\": scale_d stands twice"},
    {"record { key: \"a\" value { scale_d: 1 } }", AMCT_BAD_RECORD,
     "r:1: \"a\": scale_d without offset_d"},
    {"record { key: \"a\" value { offset_d: 1 } }", AMCT_BAD_RECORD,
     "r:1: \"a\": offset_d without scale_d"},
    {"record { key: \"a\" value { scale_d: \"1\" } }", AMCT_BAD_RECORD,
     "r:1: \"a\": scale_d is \"1\": a number is wanted"},
    {"record { key: \"a\" value { scale_w: x } }", AMCT_BAD_RECORD,
     "r:1: \"a\": scale_w is x: a number is wanted"},
    {"record { key: \"a\" value { offset_d: 1.5 } }", AMCT_BAD_RECORD,
     "r:1: \"a\": offset_d is 1.5: a whole number of 32 bits is wanted"},
    {"record { key: \"a\" value { offset_w: 2147483648 } }", AMCT_BAD_RECORD,
     "r:1: \"a\": offset_w is 2147483648: a whole number of 32 bits is wanted"},
    {"record { key: \"a\" value { shift_bit: -1 } }", AMCT_BAD_RECORD,
     "r:1: \"a\": shift_bit is -1: a whole number of 32 bits, 0 or more is wanted"},
    {"record { key: \"a\" value { skip_fusion: yes } }", AMCT_BAD_RECORD,
     "r:1: \"a\": skip_fusion is yes: true or false is wanted"},
    {"record { key: \"a\" value { dst_type: INT4 } }", AMCT_BAD_RECORD,
     "r:1: \"a\": dst_type is INT4: this version handles INT8 only"},
    {"record { key: \"a\" value { fakequant_precision_mode: FORCE_FP16_QUANT } }",
     AMCT_BAD_RECORD, "this version handles DEFAULT only"},
    {"record { key: \"a\" value { cluster: 1 } }", AMCT_BAD_RECORD,
     "r:1: \"a\": cluster (weights quantized to clusters) is not handled by this "
     "version"},
    {"record {\n key: \"a\"\n value {\n", AMCT_BAD_FORMAT, "r: line 4: "},
    {"record { key: \"a\" value { scale_d 1 } }", AMCT_BAD_FORMAT, "r: line 1: "},
};

static void bad_texts_are_refused(void **unused) {
  (void)unused;
  for (size_t i = 0; i < sizeof k_bad / sizeof *k_bad; i++) {
    amct_record record = {0};
    amct_error err = {0};
    assert_int_equal(amct_record_parse(&record, amct_slice_of(k_bad[i].text), "r", &err),
                     k_bad[i].status);
    if (strstr(err.text, k_bad[i].message) == NULL)
      fail_msg("case %zu: \"%s\" lacks \"%s\"", i, err.text, k_bad[i].message);
    amct_record_free(&record);
  }
}

static void a_missing_file_is_named(void **unused) {
  (void)unused;
  amct_record record = {0};
  amct_error err = {0};
  assert_int_equal(amct_record_read(&record, "data/no_such_record", &err), AMCT_IO);
  assert_non_null(strstr(err.text, "data/no_such_record"));
  amct_record_free(&record);
}

/* ---- against a graph ---- */

#define RECORD(key, value) "record { key: \"" key "\" value { " value " } }"
#define DATA "scale_d: 0.5 offset_d: -128 "
#define W1 "scale_w: 1 offset_w: 0 "
#define W3 W1 W1 W1

static const refused k_unfit[] = {
    {RECORD("net/conv1/Conv2d", DATA W3), AMCT_BAD_RECORD,
     "r:1: \"net/conv1/Conv2d\": the layer is not in the graph; nearest: "
     "\"net/conv1/Conv2D\""},
    {RECORD("net/relu/Relu6", DATA), AMCT_BAD_RECORD,
     "the layer does not support quantization: Relu6 is not an op that is quantized"},
    {RECORD("net/odd/Conv2D", DATA W1 W1), AMCT_BAD_RECORD,
     "the layer does not support quantization: the weight comes from an op"},
    {RECORD("Fc:0", DATA), AMCT_BAD_RECORD,
     "r:1: \"Fc:0\": \"Fc\" is a MatMul: a MaxPool or an Add is wanted"},
    {RECORD("net/pool/MaxPool:1", DATA), AMCT_BAD_RECORD,
     "\"net/pool/MaxPool\" has 1 inputs: there is no input 1"},
    {RECORD("net/pool/MaxPool:0", DATA W1), AMCT_BAD_RECORD,
     "r:1: \"net/pool/MaxPool:0\": scale_w is given: MaxPool has no weights"},
    {RECORD("net/pool/MaxPool:0", "scale_d: 0 offset_d: 0"), AMCT_BAD_RECORD,
     "\"net/pool/MaxPool:0\": scale_d is 0: a finite number over 0 is wanted"},
    {RECORD("net/pool/MaxPool:0x", DATA), AMCT_BAD_RECORD,
     "the layer is not in the graph"},
    {RECORD("net/pool/MaxPool:", DATA), AMCT_BAD_RECORD, "the layer is not in the graph"},
    {RECORD("nowhere:0", DATA), AMCT_BAD_RECORD, "the layer is not in the graph"},
    {RECORD("nowhere", "skip_fusion: true"), AMCT_BAD_RECORD,
     "the layer is not in the graph"},
    {RECORD("Fc", W1), AMCT_BAD_RECORD, "\"Fc\": factors of weights without scale_d"},
    {RECORD("Fc", "scale_d: 0 offset_d: 0 " W1), AMCT_BAD_RECORD,
     "\"Fc\": scale_d is 0: a finite number over 0 is wanted"},
    {RECORD("Fc", "scale_d: nan offset_d: 0 " W1), AMCT_BAD_RECORD,
     "\"Fc\": scale_d is nan: a finite number over 0 is wanted"},
    {RECORD("Fc", "scale_d: inf offset_d: 0 " W1), AMCT_BAD_RECORD,
     "\"Fc\": scale_d is inf: a finite number over 0 is wanted"},
    {RECORD("Fc", "scale_d: 1e-40 offset_d: 0 " W1), AMCT_BAD_RECORD,
     "1/scale_d is over the largest float"},
    {RECORD("Fc", "scale_d: 1 offset_d: 128 " W1), AMCT_BAD_RECORD,
     "\"Fc\": offset_d is 128: -128..127 is wanted"},
    {RECORD("Fc", "scale_d: 1 offset_d: -129 " W1), AMCT_BAD_RECORD,
     "\"Fc\": offset_d is -129: -128..127 is wanted"},
    {RECORD("Fc", DATA), AMCT_BAD_RECORD,
     "\"Fc\": scale_w is missing: MatMul has weights"},
    {RECORD("Fc", DATA "scale_w: 1"), AMCT_BAD_RECORD,
     "\"Fc\": 0 offset_w for 1 scale_w"},
    {RECORD("Fc", DATA W1 "shift_bit: [1, 1]"), AMCT_BAD_RECORD,
     "\"Fc\": 2 shift_bit for 1 scale_w"},
    {RECORD("Fc", DATA W3), AMCT_BAD_RECORD,
     "\"Fc\": 3 scale_w: MatMul has one for all its weights"},
    {RECORD("net/conv1/depthwise", DATA W3), AMCT_BAD_RECORD,
     "3 scale_w for 4 output channels: one or one each is wanted"},
    {RECORD("net/conv1/Conv2D", DATA W1 "scale_w: [-1, 1] offset_w: [0, 0]"),
     AMCT_BAD_RECORD, "scale_w[1] is -1: a finite number over 0 is wanted"},
    {RECORD("Fc", DATA "scale_w: inf offset_w: 0"), AMCT_BAD_RECORD,
     "scale_w[0] is inf: a finite number over 0 is wanted"},
    {RECORD("Fc", DATA "scale_w: 1e-45 offset_w: 0"), AMCT_BAD_RECORD,
     "scale_w[0] is 1.4013e-45: its product with scale_d, 0.5, is 0 in float32"},
    {RECORD("Fc", "scale_d: 1e20 offset_d: 0 scale_w: 1e20 offset_w: 0"), AMCT_BAD_RECORD,
     "scale_w[0] is 1e+20: its product with scale_d, 1e+20, is infinite in float32"},
    {RECORD("net/conv1/Conv2D", DATA W1 W1 "scale_w: 1 offset_w: 7"), AMCT_BAD_RECORD,
     "offset_w[2] is 7: 0 is wanted, weights have no offset"},
    {RECORD("Fc", DATA W1 "shift_bit: 17"), AMCT_BAD_RECORD,
     "shift_bit[0] is 17: all are 0, or each is in 1..16"},
    {RECORD("net/conv1/Conv2D", DATA W3 "shift_bit: [1, 0, 1]"), AMCT_BAD_RECORD,
     "shift_bit[1] is 0: all are 0, or each is in 1..16"},
    {RECORD("net/pool/AvgPool", DATA "scale_w: 1"), AMCT_BAD_RECORD,
     "scale_w is given: AvgPool has no weights"},
    {RECORD("net/pool/AvgPool", DATA "offset_w: 0"), AMCT_BAD_RECORD,
     "offset_w is given: AvgPool has no weights"},
    {RECORD("net/pool/AvgPool", DATA "shift_bit: 1"), AMCT_BAD_RECORD,
     "shift_bit[0] is 1: AvgPool has no shift"},
};

static amct_status check_text(const hand_layers *hand, const char *text,
                              amct_error *err) {
  amct_record record = {0};
  amct_status status = amct_record_parse(&record, amct_slice_of(text), "r", err);
  if (status == AMCT_OK)
    status = amct_record_check(&record, "r", &hand->layers, hand->graph, err);
  amct_record_free(&record);
  return status;
}

static void unfit_factors_are_refused(void **unused) {
  (void)unused;
  hand_layers hand;
  hand_layers_make(&hand);
  for (size_t i = 0; i < sizeof k_unfit / sizeof *k_unfit; i++) {
    amct_error err = {0};
    assert_int_equal(check_text(&hand, k_unfit[i].text, &err), k_unfit[i].status);
    if (strstr(err.text, k_unfit[i].message) == NULL)
      fail_msg("case %zu: \"%s\" lacks \"%s\"", i, err.text, k_unfit[i].message);
    assert_string_not_equal(err.node, "");
  }
  hand_layers_free(&hand);
}

static void fitting_factors_are_taken(void **unused) {
  (void)unused;
  static const char *const texts[] = {
      RECORD("net/conv1/Conv2D", DATA W3 "shift_bit: [1, 16, 2]"),
      RECORD("net/conv1/Conv2D", DATA W3 "shift_bit: [0, 0, 0]"),
      RECORD("net/conv1/Conv2D", DATA W1),
      RECORD("net/logits/Conv2D", DATA W3 W1 W1),
      RECORD("net/logits/Conv2D", DATA W1),
      RECORD("net/free/Conv2D", DATA W3 W3), /* its channels are not known */
      RECORD("net/pool/AvgPool", DATA "shift_bit: 0"),
      RECORD("net/odd/Conv2D", "skip_fusion: true"),
      RECORD("Fc", ""),
  };
  hand_layers hand;
  hand_layers_make(&hand);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    amct_error err = {0};
    if (check_text(&hand, texts[i], &err) != AMCT_OK)
      fail_msg("case %zu: %s", i, err.text);
  }
  amct_record record = {0};
  assert_int_equal(amct_record_read(&record, k_fixture, NULL), AMCT_OK);
  assert_int_equal(amct_record_check(&record, k_fixture, &hand.layers, hand.graph, NULL),
                   AMCT_OK);
  amct_record_free(&record);
  hand_layers_free(&hand);
}

/* ---- cost and memory ---- */

/* 40,000 layers and records: a search for each key would take minutes. */
static void many_layers_are_checked_at_once(void **unused) {
  (void)unused;
  enum { MANY = 40000 };
  amct_buffer graph_text = {0};
  amct_buffer record_text = {0};
  for (int i = 0; i < MANY; i++) {
    amct_buffer_format(&graph_text, "layer_%d = AvgPool()\n", i);
    amct_buffer_format(&record_text,
                       "record{key:\"layer_%d\" value{scale_d:1 offset_d:0}}\n",
                       MANY - 1 - i);
  }
  amct_graph *graph = NULL;
  amct_slice text = {graph_text.data, graph_text.size};
  assert_int_equal(amct_graph_from_text(&graph, text, NULL), AMCT_OK);
  amct_layers layers = {calloc(MANY, sizeof(amct_layer)), MANY};
  for (size_t i = 0; i < MANY; i++)
    layers.at[i] = (amct_layer){
        .node = amct_graph_at(graph, i), .op = &k_hand_AvgPool, .channels = -1};

  clock_t start = clock();
  amct_record record = {0};
  text = (amct_slice){record_text.data, record_text.size};
  assert_int_equal(amct_record_parse(&record, text, "r", NULL), AMCT_OK);
  assert_int_equal(amct_record_check(&record, "r", &layers, graph, NULL), AMCT_OK);
  assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 5);
  amct_record_free(&record);
  free(layers.at);
  amct_graph_free(graph);
  amct_buffer_free(&graph_text);
  amct_buffer_free(&record_text);
}

static amct_status read_check_write(const hand_layers *hand, const char *path,
                                    amct_error *err) {
  amct_record record = {0};
  amct_status status = amct_record_read(&record, k_fixture, err);
  if (status == AMCT_OK)
    status = amct_record_check(&record, k_fixture, &hand->layers, hand->graph, err);
  if (status == AMCT_OK) status = amct_record_write(&record, path, err);
  amct_record_free(&record);
  return status;
}

static void every_allocation_may_fail(void **unused) {
  (void)unused;
  temp_folder folder;
  hand_layers hand;
  temp_folder_make(&folder);
  hand_layers_make(&hand);
  const char *path = temp_path(&folder, "record.txt");
  temp_write(path, "before");
  uint64_t n = 1;
  for (amct_status status = AMCT_OUT_OF_MEMORY; status != AMCT_OK; n++) {
    assert_true(n < 1000);
    amct_error err = {0};
    amct_alloc_fail_after(n);
    status = read_check_write(&hand, path, &err);
    amct_alloc_fail_after(0);
    if (status == AMCT_OK) break;
    assert_int_equal(status, AMCT_OUT_OF_MEMORY);
    char *left = temp_read(path);
    assert_string_equal(left, "before");
    free(left);
  }
  assert_true(n > 10);
  hand_layers_free(&hand);
  temp_folder_remove(&folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fixture_prints_back_the_same),
      cmocka_unit_test(reference_prints_back_the_same),
      cmocka_unit_test(fixture_has_its_values),
      cmocka_unit_test(other_spellings_read_the_same),
      cmocka_unit_test(empty_text_is_an_empty_record),
      cmocka_unit_test(written_file_reads_back),
      cmocka_unit_test(bad_texts_are_refused),
      cmocka_unit_test(a_missing_file_is_named),
      cmocka_unit_test(unfit_factors_are_refused),
      cmocka_unit_test(fitting_factors_are_taken),
      cmocka_unit_test(many_layers_are_checked_at_once),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
