/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of calib/ share; include cmocka first. */
#ifndef AMCT_TEST_CALIBRATION_STEPS_H
#define AMCT_TEST_CALIBRATION_STEPS_H

#include <sys/stat.h>

#include "base/alloc.h"
#include "calib/calibration.h"
#include "temp_folder.h"

/* A test's own folder, and nothing known of any calibration. */
static temp_folder g_folder;

static inline int start_empty(void **state) {
  (void)state;
  amct_calib_reset();
  temp_folder_make(&g_folder);
  return 0;
}

static inline int end_empty(void **state) {
  (void)state;
  amct_alloc_fail_after(0);
  amct_calib_reset();
  temp_folder_remove(&g_folder);
  return 0;
}

static inline amct_status begin_at(const char *path, char id[AMCT_CALIB_ID_BYTES],
                                   amct_error *err) {
  const amct_calib_start start = {path, NULL, 0};
  return amct_calib_begin(&start, id, err);
}

static inline amct_calib_range_spec range_of(const char *id, const char *path,
                                             int64_t total,
                                             const amct_calib_layer *layers,
                                             size_t count) {
  const amct_range_options options = AMCT_RANGE_DEFAULTS;
  return (amct_calib_range_spec){{id, path, total}, 1, layers, count, options, NULL};
}

static inline amct_calib_weight_spec weight_of(const char *id, const char *path,
                                               int64_t total, amct_calib_layer layer,
                                               bool channel_wise) {
  return (amct_calib_weight_spec){{id, path, total}, layer, channel_wise};
}

static inline void observe(const amct_calib_range_spec *spec, const float *values,
                           size_t count) {
  amct_error err = {0};
  if (amct_calib_observe(spec, &(amct_calib_batch){values, count}, &err) != AMCT_OK)
    fail_msg("%s", err.text);
}

static inline void assert_file(const char *path, const char *expected) {
  char *text = temp_read(path);
  assert_non_null(text);
  assert_string_equal(text, expected);
  free(text);
}

/* Values whose best range is exactly 0 .. 6: scale 6/255. */
static const float k_relu6[] = {0, 6, 6, 0};

#define RELU6_DATA "    scale_d: 0.0235294122\n    offset_d: -128\n"

#endif
