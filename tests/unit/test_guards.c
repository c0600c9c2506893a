/* SPDX-License-Identifier: Apache-2.0 */
/* What calibration says of data that look wrong, how far it is and what it costs. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "base/logging.h"
#include "calibration_steps.h"

enum { MANY = 20000 };

typedef void filler(float *values);

static void constant(float *values) {
  for (size_t i = 0; i < MANY; i++)
    values[i] = 2.5f;
}
static void ramp(float *values) {
  for (size_t i = 0; i < MANY; i++)
    values[i] = (float)i / MANY - 0.25f;
}
static void outlier(float *values) {
  ramp(values);
  values[77] = 1000;
}
static void low_outlier(float *values) {
  ramp(values);
  values[77] = -1000;
}
static void near_outlier(float *values) {
  ramp(values);
  values[77] = 2.9f; /* under four times the next */
}
static void pixels(float *values) {
  for (size_t i = 0; i < MANY; i++)
    values[i] = (float)(i % 256);
}
static void scaled_pixels(float *values) {
  for (size_t i = 0; i < MANY; i++)
    values[i] = (float)(i % 256) / 128 - 1;
}

typedef struct guard_case {
  filler *fill;
  int64_t algorithm;
  double percentile;
  float weight;
  const char *wanted; /* NULL: nothing is said */
} guard_case;

static const guard_case k_cases[] = {
    {constant, AMCT_RANGE_IFMR, 0.999999, 1, "all 20000 values of its data are 2.5"},
    {ramp, AMCT_RANGE_IFMR, 0.999999, 1, NULL},
    {outlier, AMCT_RANGE_MIN_MAX, 0.999999, 1,
     "one value sets the range of its data: the largest is 1000, the next 0.74995"},
    {low_outlier, AMCT_RANGE_MIN_MAX, 0.999999, 1,
     "one value sets the range of its data: the smallest is -1000, the next -0.25"},
    {outlier, AMCT_RANGE_PERCENTILE, 0.999, 1, NULL},
    {near_outlier, AMCT_RANGE_MIN_MAX, 0.999999, 1, NULL},
    {ramp, AMCT_RANGE_PERCENTILE, 0.99999, 1,
     "max_percentile 0.99999 leaves none of its 20000 values out: it takes over 100000"},
    {ramp, AMCT_RANGE_IFMR, 0.99999, 1, "max_percentile 0.99999 leaves none"},
    {ramp, AMCT_RANGE_PERCENTILE, 0.9999, 1, NULL},
    {ramp, AMCT_RANGE_PERCENTILE, 1, 1, NULL},
    {ramp, AMCT_RANGE_HFMG, 0.99999, 1, NULL},
    {pixels, AMCT_RANGE_IFMR, 0.999999, 1,
     "its data are pixels from 0 to 255, of which its weights make values of about 295"},
    {pixels, AMCT_RANGE_IFMR, 0.999999, 1.0f / 128, NULL},
    {scaled_pixels, AMCT_RANGE_IFMR, 0.999999, 1, NULL},
};

static char *calibrate(const guard_case *c, int64_t batches) {
  static float values[MANY];
  const char *path = temp_path(&g_folder, "record.txt");
  const char *log = temp_path(&g_folder, "log");
  const amct_calib_layer layer = {"conv", 0, true};
  const float w[] = {c->weight, c->weight, -c->weight, c->weight};
  char id[AMCT_CALIB_ID_BYTES];
  remove(log);
  assert_int_equal(amct_log_configure(AMCT_LOG_NONE, AMCT_LOG_INFO, log, NULL), AMCT_OK);
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  amct_calib_range_spec range = range_of(id, path, 1, &layer, 1);
  const amct_calib_weight_spec weight = weight_of(id, path, 1, layer, true);
  range.options.algorithm = c->algorithm;
  range.options.max_percentile = range.options.min_percentile = c->percentile;
  range.batch_num = batches;
  c->fill(values);
  for (int64_t i = 0; i < batches; i++)
    observe(&range, values, MANY);
  assert_int_equal(
      amct_calib_weigh(&weight, w, (amct_weight_layout){4, 1, 1}, NULL, 0, NULL),
      AMCT_OK);
  assert_int_equal(amct_log_configure(AMCT_LOG_NONE, AMCT_LOG_NONE, NULL, NULL), AMCT_OK);
  char *text = temp_read(log);
  assert_non_null(text);
  return text;
}

static void test_data_that_look_wrong_are_named(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof k_cases / sizeof *k_cases; i++) {
    char *text = calibrate(&k_cases[i], 1);
    const char *warning = strstr(text, "WARNING");
    if (!k_cases[i].wanted && warning) fail_msg("case %zu: %s", i, warning);
    if (k_cases[i].wanted && !strstr(text, k_cases[i].wanted))
      fail_msg("case %zu: no \"%s\" in %s", i, k_cases[i].wanted, text);
    if (k_cases[i].wanted && !strstr(text, "layer \"conv\": "))
      fail_msg("case %zu: no layer in %s", i, text);
    free(text);
  }
}

static void test_progress_and_costs(void **state) {
  (void)state;
  char *text = calibrate(&k_cases[1], 3);
  static const char *const wanted[] = {"batch 1 of 3\n", "batch 2 of 3\n",
                                       "batch 3 of 3\n", "observing took ",
                                       "sketches and samples took at most 0.3 MiB"};
  const char *at = text;
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    const char *found = strstr(at, wanted[i]);
    if (!found) fail_msg("no \"%s\" in %s", wanted[i], text);
    at = found;
  }
  free(text);
  text = calibrate(&k_cases[1], 1);
  assert_null(strstr(text, "batch 1 of 1"));
  free(text);
  /* of many, a line a second */
  text = calibrate(&k_cases[0], 200);
  assert_non_null(strstr(text, "batch 200 of 200\n"));
  size_t lines = 0;
  for (at = text; (at = strstr(at, " of 200\n")) != NULL; at++)
    lines++;
  assert_true(lines < 100);
  free(text);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_empty, end_empty)
  const struct CMUnitTest tests[] = {
      TEST(test_data_that_look_wrong_are_named),
      TEST(test_progress_and_costs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
