/* SPDX-License-Identifier: Apache-2.0 */
/* Calibrations: factors against values worked out by hand, what counts as a batch, order
 * and threads, failing allocations. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <math.h>
#include <pthread.h>
#include <sys/wait.h>

#include "calibration_steps.h"

enum { BIG = 700000, BATCHES = 4, TENSORS = 3, SMALL = 5000 };
enum { PICTURE = 300007, PICTURES = 6 };

static uint32_t next_random(uint32_t *seed) {
  return *seed = *seed * 1664525u + 1013904223u;
}

/* Sums of uniforms, in [-6, 6], now and then a large one. */
static void fill(float *values, size_t count, uint32_t seed) {
  for (size_t i = 0; i < count; i++) {
    float sum = 0;
    for (int k = 0; k < 4; k++)
      sum += (float)(next_random(&seed) >> 8) / 8388608.0f - 1.0f;
    values[i] = next_random(&seed) % 10007 == 0 ? sum * 40.0f : sum * 1.5f;
  }
}

static float *random_values(size_t count, uint32_t seed) {
  float *values = malloc(count * sizeof *values);
  assert_non_null(values);
  fill(values, count, seed);
  return values;
}

/* ---- the record of one calibration ---- */

static void test_begin_writes_marks(void **state) {
  (void)state;
  const char *const names[] = {"a/conv", "b"};
  const char *path = temp_path(&g_folder, "deep/er/record,txt");
  char id[AMCT_CALIB_ID_BYTES], second[AMCT_CALIB_ID_BYTES];
  amct_calib_start start = {path, NULL, 0};
  assert_int_equal(amct_calib_begin(&start, id, NULL), AMCT_OK);
  assert_file(path, "");
  start = (amct_calib_start){path, names, 2};
  assert_int_equal(amct_calib_begin(&start, second, NULL), AMCT_OK);
  assert_file(path,
              "record {\n  key: \"a/conv\"\n  value {\n    skip_fusion: true\n  }\n}\n"
              "record {\n  key: \"b\"\n  value {\n    skip_fusion: true\n  }\n}\n");
  assert_string_not_equal(id, second);
  assert_true(strcmp(id, second) < 0);
}

static void test_factors_by_hand(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  const char *const marks[] = {"conv"};
  const amct_calib_start start = {path, marks, 1};
  char id[AMCT_CALIB_ID_BYTES];
  assert_int_equal(amct_calib_begin(&start, id, NULL), AMCT_OK);

  const amct_calib_layer layers[] = {{"conv", 1, true}, {"pool", 0, false}};
  const amct_calib_range_spec range = range_of(id, path, 2, layers, 2);
  const amct_calib_weight_spec weight = weight_of(id, path, 2, layers[0], true);
  /* [2, 3, 1]: channels hold (0.5, -1.5), (0, 0), (0.25, 0.125) */
  const float w[] = {0.5f, 0, 0.25f, -1.5f, 0, 0.125f};
  assert_false(amct_calib_weights_done(&weight));
  assert_int_equal(
      amct_calib_weigh(&weight, w, (amct_weight_layout){2, 3, 1}, NULL, 0, NULL),
      AMCT_OK);
  assert_true(amct_calib_weights_done(&weight));
  assert_false(amct_calib_range_done(&range));
  observe(&range, k_relu6, 4);
  assert_true(amct_calib_range_done(&range));
  assert_file(path, "record {\n  key: \"pool\"\n  value {\n" RELU6_DATA "  }\n}\n"
                    "record {\n  key: \"conv\"\n  value {\n" RELU6_DATA
                    "    scale_w: 0.0118110236\n    scale_w: 1\n"
                    "    scale_w: 0.00196850393\n    offset_w: 0\n    offset_w: 0\n"
                    "    offset_w: 0\n    skip_fusion: true\n  }\n}\n");
}

/* scale_w that the record has for `layer`; the count, or 0. */
static size_t read_scales(const char *path, float *scales, size_t room) {
  char *text = temp_read(path);
  size_t count = 0;
  assert_non_null(text);
  for (const char *at = text; (at = strstr(at, "scale_w: ")) && count < room; at++)
    scales[count++] = strtof(at + 9, NULL);
  free(text);
  return count;
}

static bool fits(float bias, float scale_d, float scale_w) {
  return fabs((double)bias / (double)(float)(scale_d * scale_w)) <= 2147483520.0 + 64.0 &&
         fabsf((float)round((double)bias / (double)(float)(scale_d * scale_w))) <=
             2147483520.0f;
}

static size_t weigh_with_bias(const float *bias, bool channel_wise, float scales[2]) {
  const char *path = temp_path(&g_folder, channel_wise ? "channels" : "tensor");
  char id[AMCT_CALIB_ID_BYTES];
  const amct_calib_layer layer = {"fc", 0, true};
  const float w[] = {1.5f, 0.25f};
  const amct_fold_step step = {.kind = AMCT_FOLD_BIAS, .bias = bias};
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  const amct_calib_range_spec range = range_of(id, path, 1, &layer, 1);
  const amct_calib_weight_spec weight = weight_of(id, path, 1, layer, channel_wise);
  observe(&range, k_relu6, 4);
  assert_int_equal(
      amct_calib_weigh(&weight, w, (amct_weight_layout){1, 2, 1}, &step, 1, NULL),
      AMCT_OK);
  return read_scales(path, scales, 2);
}

static void test_scales_make_the_bias_fit(void **state) {
  (void)state;
  const float scale_d = 6.0f / 255.0f, first = 1.5f / 127.0f;
  const float bias[] = {3.0f, -3e8f};
  float scales[2];
  assert_int_equal(weigh_with_bias(bias, true, scales), 2);
  assert_true(scales[0] == first);
  assert_true(scales[1] > 0.25f / 127.0f);
  assert_true(fits(bias[1], scale_d, scales[1]));
  assert_false(fits(bias[1], scale_d, nextafterf(scales[1], 0)));

  const float raised = scales[1];
  assert_int_equal(weigh_with_bias(bias, false, scales), 1);
  assert_true(scales[0] == (raised > first ? raised : first));
}

static void test_batch_norm_is_folded(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  char id[AMCT_CALIB_ID_BYTES];
  const amct_calib_layer layers[] = {{"a", 0, true}, {"b", 1, true}};
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  const amct_calib_range_spec range = range_of(id, path, 2, layers, 2);
  const float w[] = {127, 127};
  const float scale[] = {2, 8}, offset[] = {0, 0}, mean[] = {0, 0};
  const float variance[] = {3, 15}, broken[] = {3, -15};
  amct_fold_step step = {AMCT_FOLD_BATCH_NORM, NULL, scale, offset, mean, variance, 1};
  const amct_weight_layout layout = {1, 2, 1};
  const amct_calib_weight_spec a = weight_of(id, path, 2, layers[0], true);
  const amct_calib_weight_spec b = weight_of(id, path, 2, layers[1], true);
  assert_int_equal(amct_calib_weigh(&a, w, layout, &step, 1, NULL), AMCT_OK);
  step.variance = broken; /* stays: the scales are those of the plain weights */
  assert_int_equal(amct_calib_weigh(&b, w, layout, &step, 1, NULL), AMCT_OK);
  observe(&range, k_relu6, 4);
  float scales[5] = {0};
  assert_int_equal(read_scales(path, scales, 5), 4);
  assert_true(scales[0] == 1 && scales[1] == 2); /* 2/sqrt(4), 8/sqrt(16) */
  assert_true(scales[2] == 1 && scales[3] == 1);
}

/* ---- batches ---- */

static void test_what_counts_as_a_batch(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  char id[AMCT_CALIB_ID_BYTES];
  const amct_calib_layer layer = {"scope/conv", 0, false};
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  amct_calib_range_spec range = range_of(id, path, 1, &layer, 1);
  range.batch_num = 2;
  observe(&range, k_relu6, 4);
  observe(&range, NULL, 0); /* none */

  const float bad[] = {1000, 1, NAN, INFINITY};
  amct_error err = {0};
  assert_int_equal(amct_calib_observe(&range, &(amct_calib_batch){bad, 4}, &err),
                   AMCT_UNSUPPORTED);
  assert_string_equal(err.text,
                      "layer \"scope/conv\": batch 2 has NaN at index 2 of its data");
  assert_string_equal(err.node, "scope/conv");
  err = (amct_error){0};
  assert_int_equal(amct_calib_observe(&range, &(amct_calib_batch){bad + 3, 1}, &err),
                   AMCT_UNSUPPORTED);
  assert_non_null(strstr(err.text, "infinity at index 0"));

  assert_false(amct_calib_range_done(&range));
  observe(&range, k_relu6, 4);
  assert_true(amct_calib_range_done(&range));
  observe(&range, bad, 1); /* after the last: ignored */
  assert_file(path, "record {\n  key: \"scope/conv\"\n  value {\n" RELU6_DATA "  }\n}\n");
}

/* scale_d of the only layer. */
static float scale_of(const char *path) {
  char *text = temp_read(path);
  const char *at = text ? strstr(text, "scale_d: ") : NULL;
  assert_non_null(at);
  const float scale = strtof(at + strlen("scale_d: "), NULL);
  free(text);
  return scale;
}

/* Inside a loop the range is found again when 2, 4 and 8 batches are in, and is that of
 * all of them; the ninth does not count. */
static void test_turns_of_a_loop(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  const float turns[] = {0, 1, 3, 2, 9, 7, 8, 5, 1000};
  const float largest[] = {0, 1, 1, 3, 3, 3, 3, 9, 9};
  char id[AMCT_CALIB_ID_BYTES];
  const amct_calib_layer layer = {"while/product", 0, false};
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  amct_calib_range_spec range = range_of(id, path, 1, &layer, 1);
  range.options.algorithm = AMCT_RANGE_MIN_MAX;
  range.turns = 8;
  for (int i = 0; i < 9; i++) {
    assert_int_equal(amct_calib_range_done(&range), i == 8);
    observe(&range, &turns[i], 1);
    const float expected = largest[i] > 0 ? largest[i] / 255 : 1;
    assert_float_equal(scale_of(path), expected, 1e-6f * expected);
  }
  assert_int_equal(amct_calib_flush(path, NULL), AMCT_OK);
  assert_float_equal(scale_of(path), 9.0f / 255, 1e-6f);
}

/* Side by side: whoever searches last, the layer has the range of most turns. */
static void test_turns_side_by_side(void **state) {
  (void)state;
  enum { TURNS = 32, THREADS = 4 };
  const char *path = temp_path(&g_folder, "record.txt");
  const amct_calib_layer layer = {"while/product", 0, false};
  float values[TURNS];
  amct_calib_batch batches[TURNS];
  for (int i = 0; i < TURNS; i++) {
    values[i] = (float)(i % 7 * 5 + i);
    batches[i] = (amct_calib_batch){&values[i], 1};
  }
  for (int repeat = 0; repeat < 20; repeat++) {
    char id[AMCT_CALIB_ID_BYTES];
    runner runners[THREADS];
    assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
    amct_calib_range_spec range = range_of(id, path, 1, &layer, 1);
    range.options.algorithm = AMCT_RANGE_MIN_MAX;
    range.turns = TURNS;
    start_runners(runners, THREADS, range, batches, TURNS);
    join_runners(runners, THREADS);
    assert_true(amct_calib_range_done(&range));
    assert_int_equal(amct_calib_flush(path, NULL), AMCT_OK);
    assert_float_equal(scale_of(path), 57.0f / 255, 1e-6f); /* 27 % 7 * 5 + 27 */
  }
}

static void test_bad_value_in_a_late_shard(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  char id[AMCT_CALIB_ID_BYTES];
  const amct_calib_layer layer = {"a", 0, false};
  float *values = random_values(BIG, 1);
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  const amct_calib_range_spec range = range_of(id, path, 1, &layer, 1);
  amct_error err = {0};
  values[BIG - 1] = NAN;
  values[BIG - 9] = -INFINITY;
  assert_int_equal(amct_calib_observe(&range, &(amct_calib_batch){values, BIG}, &err),
                   AMCT_UNSUPPORTED);
  assert_string_equal(err.text,
                      "layer \"a\": batch 1 has infinity at index 699991 of its data");
  observe(&range, k_relu6, 4); /* nothing of the batch was kept */
  assert_file(path, "record {\n  key: \"a\"\n  value {\n" RELU6_DATA "  }\n}\n");
  free(values);
}

/* ---- any order, any number of threads ---- */

typedef struct load {
  const char *id, *path;
  const amct_calib_layer *layers;
  float *values[TENSORS][BATCHES];
  size_t count;
  unsigned order; /* rotates tensors and batches */
} load;

static void observe_one(const load *l, size_t tensor, size_t batch) {
  amct_calib_range_spec range = range_of(l->id, l->path, TENSORS, &l->layers[tensor], 1);
  range.batch_num = BATCHES;
  observe(&range, l->values[tensor][batch], l->count);
}

static void *observe_batch(void *argument) {
  const load *l = argument;
  for (size_t i = 0; i < TENSORS; i++)
    observe_one(l, (i + l->order) % TENSORS, l->order % BATCHES);
  return NULL;
}

static const amct_calib_layer k_layers[TENSORS] = {
    {"a", 0, false}, {"b", 1, false}, {"c", 2, false}};

static char *record_of(size_t count, bool threads, unsigned rotate) {
  const char *path = temp_path(&g_folder, "record.txt");
  char id[AMCT_CALIB_ID_BYTES];
  load loads[BATCHES];
  pthread_t running[BATCHES];
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  for (unsigned b = 0; b < BATCHES; b++) {
    loads[b] = (load){id, path, k_layers, {{NULL}}, count, b + rotate};
    for (size_t t = 0; t < TENSORS; t++)
      loads[b].values[t][loads[b].order % BATCHES] =
          random_values(count, (uint32_t)(17 * t + loads[b].order % BATCHES));
  }
  for (size_t b = 0; b < BATCHES; b++) {
    if (threads)
      assert_int_equal(pthread_create(&running[b], NULL, observe_batch, &loads[b]), 0);
    else
      observe_batch(&loads[b]);
  }
  for (size_t b = 0; b < BATCHES; b++) {
    if (threads) pthread_join(running[b], NULL);
    for (size_t t = 0; t < TENSORS; t++)
      free(loads[b].values[t][loads[b].order % BATCHES]);
  }
  return temp_read(path);
}

static void test_order_and_threads_do_not_matter(void **state) {
  (void)state;
  char *expected = record_of(SMALL, false, 0);
  assert_int_equal(strncmp(expected, "record {\n  key: \"a\"", 19), 0);
  assert_non_null(strstr(expected, "key: \"c\""));
  for (unsigned rotate = 1; rotate < BATCHES; rotate++) {
    char *again = record_of(SMALL, false, rotate);
    assert_string_equal(again, expected);
    free(again);
    again = record_of(SMALL, true, rotate);
    assert_string_equal(again, expected);
    free(again);
  }
  free(expected);
}

typedef char *record_maker(int64_t how);

static char *record_of_big(int64_t rotate) {
  return record_of(BIG, false, (unsigned)rotate);
}

/* The record of large pictures, so many a batch; every second time from the last one. */
static char *record_of_pictures(int64_t each) {
  const char *path = temp_path(&g_folder, "record.txt");
  char id[AMCT_CALIB_ID_BYTES];
  const int64_t dims[] = {each, PICTURE};
  float *values = random_values((size_t)PICTURES * PICTURE, 5);
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  amct_calib_range_spec range = range_of(id, path, 1, k_layers, 1);
  range.batch_num = PICTURES / each;
  range.options.algorithm =
      AMCT_RANGE_PERCENTILE; /* far from the ends: all that counts */
  range.options.max_percentile = 0.7;
  for (int64_t i = 0; i < range.batch_num; i++) {
    const int64_t batch = each % 2 ? range.batch_num - 1 - i : i;
    const amct_calib_batch b = {values + batch * each * PICTURE, (size_t)(each * PICTURE),
                                dims, 2};
    assert_int_equal(amct_calib_observe(&range, &b, NULL), AMCT_OK);
  }
  free(values);
  return temp_read(path);
}

/* In a child with so many threads. */
static char *record_with_threads(const char *threads, record_maker *make, int64_t how) {
  const char *copy = temp_path(&g_folder, threads);
  const pid_t child = fork();
  if (child == 0) {
    setenv("AMCT_THREADS", threads, 1);
    char *text = make(how);
    temp_write(copy, text);
    free(text);
    _exit(0);
  }
  int status = 1;
  waitpid(child, &status, 0);
  assert_int_equal(status, 0);
  return temp_read(copy);
}

static void test_shards_do_not_matter(void **state) {
  (void)state;
  char *one = record_with_threads("1", record_of_big, 0);
  char *two = record_with_threads("2", record_of_big, 0);
  char *many = record_with_threads("13", record_of_big, 0);
  assert_non_null(strstr(one, "key: \"c\""));
  assert_string_equal(two, one);
  assert_string_equal(many, one);
  free(one);
  free(two);
  free(many);
}

/* A sample of them counts: the same one however they come. */
static void test_batches_of_large_pictures_do_not_matter(void **state) {
  (void)state;
  static const char *const threads[] = {"1", "2", "5"};
  static const int64_t each[] = {1, 2, 3, 6};
  char *expected = record_with_threads("1", record_of_pictures, 6);
  assert_non_null(strstr(expected, "scale_d"));
  for (size_t i = 0; i < sizeof threads / sizeof *threads; i++)
    for (size_t k = 0; k < sizeof each / sizeof *each; k++) {
      char *again = record_with_threads(threads[i], record_of_pictures, each[k]);
      assert_string_equal(again, expected);
      free(again);
    }
  free(expected);
}

/* ---- failing allocations ---- */

static amct_status calibrate_all(const char *path, amct_error *err) {
  char id[AMCT_CALIB_ID_BYTES];
  const amct_calib_layer layer = {"a", 0, true};
  const float w[] = {1, 2}, bias[] = {3, 4};
  const amct_fold_step step = {.kind = AMCT_FOLD_BIAS, .bias = bias};
  amct_status status = begin_at(path, id, err);
  if (status != AMCT_OK) return status;
  const amct_calib_range_spec range = range_of(id, path, 1, &layer, 1);
  const amct_calib_weight_spec weight = weight_of(id, path, 1, layer, true);
  status = amct_calib_observe(&range, &(amct_calib_batch){k_relu6, 4}, err);
  if (status != AMCT_OK) return status;
  return amct_calib_weigh(&weight, w, (amct_weight_layout){1, 2, 1}, &step, 1, err);
}

static void test_every_allocation_may_fail(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  amct_status status = AMCT_OUT_OF_MEMORY;
  for (uint64_t n = 1; n < 500 && status != AMCT_OK; n++) {
    amct_error err = {0};
    amct_calib_reset();
    amct_alloc_fail_after(n);
    status = calibrate_all(path, &err);
    amct_alloc_fail_after(0);
    if (status != AMCT_OK) assert_int_equal(status, AMCT_OUT_OF_MEMORY);
    assert_int_equal(err.status, status);
  }
  assert_int_equal(status, AMCT_OK);
  float scales[3];
  assert_int_equal(read_scales(path, scales, 3), 2);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, start_empty, end_empty)
  setenv("AMCT_THREADS", "4", 1);
  const struct CMUnitTest tests[] = {
      CASE(test_begin_writes_marks),
      CASE(test_factors_by_hand),
      CASE(test_scales_make_the_bias_fit),
      CASE(test_batch_norm_is_folded),
      CASE(test_what_counts_as_a_batch),
      CASE(test_turns_of_a_loop),
      CASE(test_turns_side_by_side),
      CASE(test_bad_value_in_a_late_shard),
      CASE(test_order_and_threads_do_not_matter),
      CASE(test_shards_do_not_matter),
      CASE(test_batches_of_large_pictures_do_not_matter),
      CASE(test_every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
