/* SPDX-License-Identifier: Apache-2.0 */
/* Means for bias correction from batches to the file beside the record; digests. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <pthread.h>
#include <unistd.h>

#include "base/digest.h"
#include "calibration_steps.h"
#include "factors/stats.h"

enum { BATCHES = 6, PICTURES = 40, SIDE = 24, CHANNELS = 5, RUNNERS = 3 };
enum { PICTURE = SIDE * SIDE * CHANNELS, BATCH = PICTURES * PICTURE };

static const amct_window k_window = {{3, 3}, {1, 1}, {1, 1}, true, false, false};
static const amct_window k_strided = {{1, 1}, {2, 2}, {1, 1}, true, false, false};
static const int64_t k_dims[] = {PICTURES, SIDE, SIDE, CHANNELS};
/* the second reads as the first does, the third has no bias */
static const amct_window *const k_windows[] = {&k_window, &k_window, NULL, &k_strided};
static const amct_calib_layer k_layers[] = {
    {"a", 0, true}, {"b", 1, true}, {"c", 2, true}, {"d", 3, true}};
static float *g_values[BATCHES];

static int make_values(void **state) {
  (void)state;
  uint32_t seed = 7;
  for (int b = 0; b < BATCHES; b++) {
    g_values[b] = malloc(BATCH * sizeof(float));
    for (size_t i = 0; i < BATCH; i++) {
      seed = seed * 1664525u + 1013904223u;
      g_values[b][i] = (float)(seed >> 8) / 16777216.0f - 0.25f;
    }
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
  amct_calib_range_spec spec = range_of(id, path, 4, k_layers, 4);
  spec.windows = k_windows;
  spec.batch_num = BATCHES;
  return spec;
}

static amct_status weigh_all(const char *id, const char *path, amct_error *err) {
  const float w[] = {1, 2, 3, 4};
  for (int i = 0; i < 4; i++) {
    const amct_calib_weight_spec weight = weight_of(id, path, 4, k_layers[i], true);
    AMCT_TRY(amct_calib_weigh(&weight, w, (amct_weight_layout){2, 2, 1}, NULL, 0, err));
  }
  return AMCT_OK;
}

static char *calibrate(const char *name, int first, int step) {
  const char *path = temp_path(&g_folder, name);
  char id[AMCT_CALIB_ID_BYTES];
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  const amct_calib_range_spec spec = spec_of(id, path);
  assert_int_equal(weigh_all(id, path, NULL), AMCT_OK);
  for (int b = 0; b < BATCHES; b++) {
    const amct_calib_batch batch = {g_values[(first + b * step) % BATCHES], BATCH, k_dims,
                                    4};
    assert_int_equal(amct_calib_observe(&spec, &batch, NULL), AMCT_OK);
  }
  char stats[64];
  snprintf(stats, sizeof stats, "%s.stats", name);
  char *text = temp_read(temp_path(&g_folder, stats));
  assert_non_null(text);
  return text;
}

static void test_order_does_not_matter(void **state) {
  (void)state;
  char *forwards = calibrate("one", 0, 1);
  char *backwards = calibrate("two", BATCHES - 1, BATCHES - 1);
  assert_string_equal(forwards, backwards);
  free(forwards);
  free(backwards);
}

static void test_layers_that_read_alike_share(void **state) {
  (void)state;
  char *text = calibrate("record", 0, 1);
  amct_stats stats = {0};
  assert_int_equal(amct_stats_parse(&stats, amct_slice_of(text), "stats", NULL), AMCT_OK);
  assert_int_equal(stats.layers.count, 4);
  const amct_layer_stats *a = amct_stats_get(&stats, "a"),
                         *b = amct_stats_get(&stats, "b");
  const amct_layer_stats *c = amct_stats_get(&stats, "c"),
                         *d = amct_stats_get(&stats, "d");
  assert_int_equal(a->taps, 9);
  assert_int_equal(a->mean_count, 9 * CHANNELS);
  assert_memory_equal(a->mean, b->mean, a->mean_count * sizeof *a->mean);
  assert_int_equal(c->mean_count, 0);
  assert_int_equal(d->mean_count, CHANNELS);
  assert_true(d->mean[0] > 0.2f && d->mean[0] < 0.3f);
  assert_null(amct_stats_get(&stats, "e"));
  amct_stats_free(&stats);
  free(text);
}

static void test_shapes_that_do_not_fit_leave_no_means(void **state) {
  (void)state;
  static const int64_t flat[] = {PICTURES, SIDE * SIDE * CHANNELS};
  static const int64_t other[] = {PICTURES, SIDE, SIDE * CHANNELS, 1};
  const char *path = temp_path(&g_folder, "record");
  char id[AMCT_CALIB_ID_BYTES];
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  amct_calib_range_spec spec = spec_of(id, path);
  spec.batch_num = 3;
  const amct_calib_batch batches[] = {{g_values[0], BATCH, k_dims, 4},
                                      {g_values[1], BATCH, flat, 2},
                                      {g_values[2], BATCH, other, 4}};
  assert_int_equal(weigh_all(id, path, NULL), AMCT_OK);
  for (int i = 0; i < 3; i++)
    assert_int_equal(amct_calib_observe(&spec, &batches[i], NULL), AMCT_OK);
  assert_file(temp_path(&g_folder, "record.stats"), "");
}

static void test_threads_do_not_matter(void **state) {
  (void)state;
  char *wanted = calibrate("alone", 0, 1);
  const char *path = temp_path(&g_folder, "together");
  char id[AMCT_CALIB_ID_BYTES];
  amct_calib_batch batches[BATCHES];
  runner runners[RUNNERS];
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  assert_int_equal(weigh_all(id, path, NULL), AMCT_OK);
  for (int b = 0; b < BATCHES; b++)
    batches[b] = (amct_calib_batch){g_values[b], BATCH, k_dims, 4};
  start_runners(runners, RUNNERS, spec_of(id, path), batches, BATCHES);
  join_runners(runners, RUNNERS);
  assert_file(temp_path(&g_folder, "together.stats"), wanted);
  free(wanted);
}

/* A batch counts whole or not at all: what failed for memory is brought again. */
static void test_allocations_that_fail(void **state) {
  (void)state;
  char *wanted = calibrate("wanted", 0, 1);
  const char *path = temp_path(&g_folder, "record");
  char id[AMCT_CALIB_ID_BYTES];
  uint64_t failures = 0;
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  const amct_calib_range_spec spec = spec_of(id, path);
  assert_int_equal(weigh_all(id, path, NULL), AMCT_OK);
  for (int b = 0; b < BATCHES; b++) {
    const amct_calib_batch batch = {g_values[b], BATCH, k_dims, 4};
    failures += observe_while_memory_fails(&spec, &batch);
  }
  assert_true(failures > 10);
  assert_int_equal(amct_calib_flush(path, NULL), AMCT_OK);
  assert_file(temp_path(&g_folder, "record.stats"), wanted);
  free(wanted);
}

static void test_digests_differ_with_a_byte(void **state) {
  (void)state;
  uint8_t bytes[100] = {0};
  const uint64_t whole = amct_digest(0, bytes, sizeof bytes);
  for (size_t i = 0; i < sizeof bytes; i++) {
    bytes[i] = 1;
    assert_true(amct_digest(0, bytes, sizeof bytes) != whole);
    bytes[i] = 0;
    assert_true(amct_digest(0, bytes, i) != whole); /* zeros, but fewer */
  }
  assert_true(amct_digest(1, bytes, sizeof bytes) != whole);
  assert_true(amct_digest(0, bytes, sizeof bytes) == whole);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_empty, end_empty)
  const struct CMUnitTest tests[] = {
      TEST(test_order_does_not_matter),
      TEST(test_layers_that_read_alike_share),
      TEST(test_shapes_that_do_not_fit_leave_no_means),
      TEST(test_threads_do_not_matter),
      TEST(test_allocations_that_fail),
      TEST(test_digests_differ_with_a_byte),
  };
  return cmocka_run_group_tests(tests, make_values, free_values);
}
