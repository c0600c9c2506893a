/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of calib/ share; include cmocka first. */
#ifndef AMCT_TEST_CALIBRATION_STEPS_H
#define AMCT_TEST_CALIBRATION_STEPS_H

#include <pthread.h>
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

/* One thread of a calibration: every so manyth batch. */
typedef struct runner {
  amct_calib_range_spec spec;
  const amct_calib_batch *batches;
  int first, step, count;
  pthread_t thread;
} runner;

static inline void *run_batches(void *data) {
  const runner *r = data;
  for (int b = r->first; b < r->count; b += r->step)
    if (amct_calib_observe(&r->spec, &r->batches[b], NULL) != AMCT_OK) return data;
  return NULL;
}

static inline void start_runners(runner *runners, int step, amct_calib_range_spec spec,
                                 const amct_calib_batch *batches, int count) {
  for (int i = 0; i < step; i++) {
    runners[i] = (runner){spec, batches, i, step, count, 0};
    assert_int_equal(pthread_create(&runners[i].thread, NULL, run_batches, &runners[i]),
                     0);
  }
}

static inline void join_runners(runner *runners, int step) {
  for (int i = 0; i < step; i++) {
    void *failed = NULL;
    pthread_join(runners[i].thread, &failed);
    assert_null(failed);
  }
}

/* Brings a batch until it counts, one more allocation succeeding each time. Returns how
 * often it failed. */
static inline uint64_t observe_while_memory_fails(const amct_calib_range_spec *spec,
                                                  const amct_calib_batch *batch) {
  uint64_t failures = 0;
  amct_status status = AMCT_OUT_OF_MEMORY;
  for (uint64_t n = 1; status != AMCT_OK; n++) {
    assert_true(n < 1000);
    amct_alloc_fail_after(n);
    status = amct_calib_observe(spec, batch, NULL);
    amct_alloc_fail_after(0);
    assert_true(status == AMCT_OK || status == AMCT_OUT_OF_MEMORY);
    failures += status != AMCT_OK;
  }
  return failures;
}

/* Values whose best range is exactly 0 .. 6: scale 6/255. */
static const float k_relu6[] = {0, 6, 6, 0};

#define RELU6_DATA "    scale_d: 0.0235294122\n    offset_d: -128\n"

#endif
