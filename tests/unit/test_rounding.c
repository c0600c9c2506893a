/* SPDX-License-Identifier: Apache-2.0 */
/* Weights rounded by samples of their inputs: from batches to the file beside the record.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <pthread.h>
#include <unistd.h>

#include "calibration_steps.h"
#include "factors/stats.h"
#include "numeric/weights.h"

enum { BATCHES = 6, PICTURES = 8, SIDE = 20, INPUTS = 5, OUTPUTS = 3, RUNNERS = 3 };
enum { BATCH = PICTURES * SIDE * SIDE * INPUTS, TAPS = 9, LAYERS = 3 };

static const amct_window k_window = {{3, 3}, {1, 1}, {1, 1}, true, false, false};
static const int64_t k_dims[] = {PICTURES, SIDE, SIDE, INPUTS};
static const amct_weight_layout k_layout = {TAPS * INPUTS, OUTPUTS, 1};
/* the second reads as the first does; the third wants no sample */
static const amct_window *const k_windows[] = {&k_window, &k_window, NULL};
static const amct_calib_layer k_layers[] = {
    {"a", 0, true}, {"b", 1, true}, {"c", 2, true}};
static float *g_values[BATCHES];
static float g_weights[TAPS * INPUTS * OUTPUTS];

static int make_values(void **state) {
  (void)state;
  uint32_t seed = 7;
  for (int b = 0; b < BATCHES; b++) {
    g_values[b] = malloc(BATCH * sizeof(float));
    float last = 0;
    for (size_t i = 0; i < BATCH; i++) { /* neighbours go together */
      seed = seed * 1664525u + 1013904223u;
      last = 0.7f * last + (float)(seed >> 8) / 16777216.0f;
      g_values[b][i] = last;
    }
  }
  for (size_t i = 0; i < TAPS * INPUTS * OUTPUTS; i++) {
    seed = seed * 1664525u + 1013904223u;
    g_weights[i] = (float)(seed >> 8) / 16777216.0f - 0.5f;
  }
  return 0;
}

static int free_values(void **state) {
  (void)state;
  for (int b = 0; b < BATCHES; b++)
    free(g_values[b]);
  return 0;
}

static amct_calib_range_spec spec_of(const char *id, const char *path) {
  amct_calib_range_spec spec = range_of(id, path, LAYERS, k_layers, LAYERS);
  spec.row_windows = k_windows;
  spec.batch_num = BATCHES;
  return spec;
}

static void weigh(const char *id, const char *path) {
  for (int i = 0; i < LAYERS; i++) {
    amct_calib_weight_spec weight = weight_of(id, path, LAYERS, k_layers[i], true);
    weight.damping = i < 2 ? 0.1 : 0;
    assert_int_equal(amct_calib_weigh(&weight, g_weights, k_layout, NULL, 0, NULL),
                     AMCT_OK);
  }
}

/* Weights first or last; the text of the stats. */
static char *calibrate(const char *name, bool weights_last, int first, int step) {
  const char *path = temp_path(&g_folder, name);
  char id[AMCT_CALIB_ID_BYTES], stats[64];
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  const amct_calib_range_spec spec = spec_of(id, path);
  if (!weights_last) weigh(id, path);
  for (int b = 0; b < BATCHES; b++) {
    const amct_calib_batch batch = {g_values[(first + b * step) % BATCHES], BATCH, k_dims,
                                    4};
    assert_int_equal(amct_calib_observe(&spec, &batch, NULL), AMCT_OK);
  }
  if (weights_last) weigh(id, path);
  snprintf(stats, sizeof stats, "%s.stats", name);
  char *text = temp_read(temp_path(&g_folder, stats));
  assert_non_null(text);
  return text;
}

static void test_order_does_not_matter(void **state) {
  (void)state;
  char *forwards = calibrate("one", false, 0, 1);
  char *backwards = calibrate("two", true, BATCHES - 1, BATCHES - 1);
  assert_string_equal(forwards, backwards);
  free(forwards);
  free(backwards);
}

static void test_layers_that_want_it_are_rounded(void **state) {
  (void)state;
  char *text = calibrate("record", false, 0, 1);
  amct_stats stats = {0};
  float scale[OUTPUTS];
  int8_t nearest[TAPS * INPUTS * OUTPUTS];
  int differ = 0;
  assert_int_equal(amct_stats_parse(&stats, amct_slice_of(text), "stats", NULL), AMCT_OK);
  const amct_layer_stats *a = amct_stats_get(&stats, "a");
  const amct_layer_stats *b = amct_stats_get(&stats, "b");
  assert_int_equal(a->rounded_count, TAPS * INPUTS * OUTPUTS);
  assert_int_equal(b->rounded_count, a->rounded_count);
  assert_memory_equal(a->rounded, b->rounded, a->rounded_count);
  assert_int_equal(amct_stats_get(&stats, "c")->rounded_count, 0);
  assert_int_equal(amct_weight_scales(scale, g_weights, k_layout, true, NULL), AMCT_OK);
  amct_weight_quantize(nearest, g_weights, k_layout, scale, OUTPUTS);
  for (size_t i = 0; i < a->rounded_count; i++) {
    differ += nearest[i] != a->rounded[i];
    assert_true(abs(nearest[i] - a->rounded[i]) < 8);
  }
  assert_true(differ > 10);
  amct_stats_free(&stats);
  free(text);
}

/* Nearest steps, and a record that is whole. */
static void test_inputs_that_do_not_fit(void **state) {
  (void)state;
  static const int64_t flat[] = {PICTURES, SIDE * SIDE * INPUTS};
  const char *path = temp_path(&g_folder, "record");
  char id[AMCT_CALIB_ID_BYTES];
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  amct_calib_range_spec spec = spec_of(id, path);
  spec.batch_num = 1;
  weigh(id, path);
  const amct_calib_batch batch = {g_values[0], BATCH, flat, 2};
  assert_int_equal(amct_calib_observe(&spec, &batch, NULL), AMCT_OK);
  assert_file(temp_path(&g_folder, "record.stats"), "");
  char *record = temp_read(path);
  assert_non_null(strstr(record, "\"c\""));
  free(record);
}

static void test_threads_do_not_matter(void **state) {
  (void)state;
  char *wanted = calibrate("alone", false, 0, 1);
  const char *path = temp_path(&g_folder, "together");
  char id[AMCT_CALIB_ID_BYTES];
  amct_calib_batch batches[BATCHES];
  runner runners[RUNNERS];
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  for (int b = 0; b < BATCHES; b++)
    batches[b] = (amct_calib_batch){g_values[b], BATCH, k_dims, 4};
  start_runners(runners, RUNNERS, spec_of(id, path), batches, BATCHES);
  weigh(id, path);
  join_runners(runners, RUNNERS);
  assert_file(temp_path(&g_folder, "together.stats"), wanted);
  free(wanted);
}

/* A batch counts whole or not at all; where memory runs out in the rounding itself the
 * nearest steps are left, and the layer is complete. */
static void test_allocations_that_fail(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record");
  char id[AMCT_CALIB_ID_BYTES];
  uint64_t failures = 0;
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  amct_calib_range_spec spec = spec_of(id, path);
  spec.batch_num = 2;
  weigh(id, path);
  for (int b = 0; b < 2; b++) {
    const amct_calib_batch batch = {g_values[b], BATCH, k_dims, 4};
    failures += observe_while_memory_fails(&spec, &batch);
  }
  assert_true(failures > 10);
  assert_int_equal(amct_calib_flush(path, NULL), AMCT_OK);
  char *record = temp_read(path);
  assert_non_null(strstr(record, "\"a\""));
  assert_non_null(strstr(record, "\"c\""));
  free(record);
}

static void test_wrong_stats_are_refused(void **state) {
  (void)state;
  static const char *const k_wrong[] = {"rounded: \"0\"", "rounded: \"0g\"",
                                        "rounded: 12", "rounded: \"\"",
                                        "rounded: \"00\" rounded: \"00\""};
  for (size_t i = 0; i < sizeof k_wrong / sizeof *k_wrong; i++) {
    char text[256];
    amct_stats stats = {0};
    amct_error err = {0};
    snprintf(text, sizeof text, "layer {\n key: \"a\" taps: 1\n %s\n}\n", k_wrong[i]);
    assert_int_equal(amct_stats_parse(&stats, amct_slice_of(text), "file", &err),
                     AMCT_BAD_FORMAT);
    if (!strstr(err.text, "file:")) fail_msg("%s: %s", k_wrong[i], err.text);
    amct_stats_free(&stats);
  }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_empty, end_empty)
  const struct CMUnitTest tests[] = {
      TEST(test_order_does_not_matter),  TEST(test_layers_that_want_it_are_rounded),
      TEST(test_inputs_that_do_not_fit), TEST(test_threads_do_not_matter),
      TEST(test_allocations_that_fail),  TEST(test_wrong_stats_are_refused),
  };
  return cmocka_run_group_tests(tests, make_values, free_values);
}
