/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation of amct_calibrate, up to an engine that is not there, of the comparison
 * of a quantized model with float, in an engine of the test's own, and of reading
 * compressed data. */
#include "amct/calibrate.h"
#include "api/calibrate_measure.h"
#include "fault/fault_files.h"

enum { SAMPLES = 5, SAMPLE_VALUES = 8 * 8 * 3, CHANNELS = 4 };

/* ---- an engine that makes its tensors up ---- */

typedef struct fake {
  amct_engine base;
  size_t fetches;
  float off; /* differs from one to the next that is opened */
} fake;

extern const amct_engine_class k_fake;
static float g_off;
static size_t g_missing; /* values that all but the first leave out */

static amct_status open_fake(amct_engine **out, const amct_engine_job *job,
                             amct_error *err) {
  fake *e = amct_alloc_array(1, sizeof *e);
  if (!e) return amct_fail_memory(err);
  *e = (fake){{.class = &k_fake}, job->fetch_count, g_off};
  g_off += 0.5f;
  *out = &e->base;
  return AMCT_OK;
}

static amct_status run_fake(amct_engine *engine, const amct_array *inputs,
                            amct_engine_visit *visit, void *context, amct_error *err) {
  const fake *e = (const fake *)(const void *)engine;
  const float values[CHANNELS] = {1 + e->off, 2 + e->off, 3 + e->off, 4 + e->off};
  const size_t count = e->off > 0 ? CHANNELS - g_missing : CHANNELS;
  const amct_array tensor = {
      "t", AMCT_DTYPE_FLOAT, {2, {1, (int64_t)count}}, count, values};
  assert_int_equal(inputs[0].count, SAMPLE_VALUES);
  for (size_t i = 0; i < e->fetches; i++)
    AMCT_TRY(visit(context, i, 0, &tensor, err));
  return AMCT_OK;
}

static void close_fake(amct_engine *engine) {
  amct_free(engine);
}

const amct_engine_class k_fake = {"fake", false, open_fake, run_fake, NULL, close_fake};

/* ---- what runs ---- */

static void write_samples(const net *n) {
  static float values[SAMPLES * SAMPLE_VALUES];
  FILE *file = fopen(temp_path(&n->folder, "x.bin"), "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(values, sizeof values, 1, file), 1);
  assert_int_equal(fclose(file), 0);
}

static amct_status run_calibrate(const net *n, amct_error *err) {
  const char *const outputs[] = {"prob"};
  const char *const data[] = {temp_path(&n->folder, "x.bin")};
  const amct_calibrate_options options = {
      .pb_model = temp_path(&n->folder, "net.pb"),
      .outputs = {outputs, 1},
      .save_path = temp_path(&n->folder, "made/model"),
      .preset = "accurate",
      .data = {data, 1},
      .engine_folder = temp_path(&n->folder, "none"),
  };
  return amct_calibrate(NULL, &options, err);
}

static amct_status tell_nobody(void *context, int64_t samples, amct_error *err) {
  (void)context, (void)samples, (void)err;
  return AMCT_OK;
}

/* `off`: of each value of the quantized graph. */
static void check_measured(const amct_measured *m, double off) {
  bool last = false;
  assert_int_equal(m->outputs, 1);
  assert_true(m->count > 1);
  for (size_t i = 0; i < m->count; i++) {
    const amct_probe *probe = &m->probes[i];
    assert_true(probe->signal == SAMPLES * (1 + 4 + 9 + 16));
    assert_true(probe->noise == SAMPLES * CHANNELS * off * off);
    last = last || probe->last;
    for (size_t c = 0; probe->last && c < CHANNELS; c++)
      assert_true(probe->off[c] == SAMPLES * -off);
  }
  assert_true(last);
}

/* Both graphs; then the quantized one again, beside what is known of the other. */
static amct_status measure_twice(amct_measure_options *options, amct_error *err) {
  amct_measured m = {0}, again = {0};
  g_off = 0;
  amct_status status = amct_measure(&m, options, err);
  assert_true(m.refused == (g_missing > 0));
  options->first = &m;
  if (status == AMCT_OK) status = amct_measure(&again, options, err);
  if (status == AMCT_OK) {
    check_measured(&m, 0.5);
    check_measured(&again, 1.0);
    assert_true(again.count == 2 && m.count > 2);
    assert_true(g_off == 1.5f); /* three were opened */
  }
  amct_measured_free(&again);
  amct_measured_free(&m);
  return status;
}

static amct_status run_measure(const net *n, amct_error *err) {
  const char *const outputs[] = {"relu"}; /* made of the first layer alone */
  const char *const path = temp_path(&n->folder, "x.bin");
  const amct_port port = {"x", AMCT_DTYPE_FLOAT, {4, {-1, 8, 8, 3}}, false};
  const amct_data_options source = {&path, 1, 2};
  amct_data *data = NULL;
  amct_status status = amct_data_open(&data, &port, 1, &source, err);
  amct_measure_options options = {.pb_model = temp_path(&n->folder, "net.pb"),
                                  .record_file = temp_path(&n->folder, "record.txt"),
                                  .outputs = {outputs, 1},
                                  .class = &k_fake,
                                  .data = data,
                                  .kept = {SAMPLES, 0, 0, 3, 1},
                                  .tell = tell_nobody};
  if (status == AMCT_OK) status = measure_twice(&options, err);
  amct_data_close(data);
  return status;
}

/* The quantized graph gives something else than the float one. */
static void measure_refuses(void **state) {
  amct_error err = {0};
  write_samples(*state);
  g_missing = 1;
  assert_int_equal(run_measure(*state, &err), AMCT_UNSUPPORTED);
  g_missing = 0;
  assert_string_equal(err.text, "\"relu\" is not as \"relu\" is in float");
}

/* All samples of a compressed array, twice. */
static amct_status run_packed(const net *n, amct_error *err) {
  const char *const path = temp_path(&n->folder, "x.npz");
  const amct_port port = {"x", AMCT_DTYPE_FLOAT, {2, {-1, 2}}, false};
  const amct_data_options source = {&path, 1, 7};
  amct_data *data = NULL;
  amct_array array;
  amct_status status = amct_data_open(&data, &port, 1, &source, err);
  for (int64_t b = 0; status == AMCT_OK && b < 2 * amct_data_batches(data); b++) {
    const int64_t batch = b % amct_data_batches(data);
    status = amct_data_read(data, batch, 0, amct_data_rows(data, batch), &array, err);
  }
  amct_data_close(data);
  return status;
}

/* ---- allocations ---- */

typedef amct_status running(const net *n, amct_error *err);

static void fail_each(const net *n, running *run, amct_status unharmed,
                      void (*arm)(uint64_t)) {
  bool failed = true;
  uint64_t i = 0;
  while (failed) {
    amct_error err = {0};
    arm(++i);
    const amct_status status = run(n, &err);
    failed = amct_alloc_count() >= i;
    amct_alloc_fail_after(0);
    if (status != unharmed && (status != AMCT_OUT_OF_MEMORY || !failed))
      fail_msg("allocation %llu: %s: %s", (unsigned long long)i, amct_status_name(status),
               err.text);
    assert_int_equal(err.status, status);
    assert_int_equal(count_made(n), 0);
    amct_calib_reset();
  }
  print_message("%llu allocations\n", (unsigned long long)i - 1);
  assert_true(i > 10);
}

static void calibrate_fails(void **state) {
  write_samples(*state);
  fail_each(*state, run_calibrate, AMCT_NOT_READY, amct_alloc_fail_after);
  fail_each(*state, run_calibrate, AMCT_NOT_READY, amct_alloc_fail_once);
}

static void measure_fails(void **state) {
  write_samples(*state);
  fail_each(*state, run_measure, AMCT_OK, amct_alloc_fail_after);
  fail_each(*state, run_measure, AMCT_OK, amct_alloc_fail_once);
}

static void packed_fails(void **state) {
  const net *n = *state;
  assert_int_equal(symlink(AMCT_PACKED, temp_path(&n->folder, "x.npz")), 0);
  fail_each(n, run_packed, AMCT_OK, amct_alloc_fail_after);
  fail_each(n, run_packed, AMCT_OK, amct_alloc_fail_once);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(calibrate_fails, net_make, net_remove),
      cmocka_unit_test_setup_teardown(measure_fails, net_make, net_remove),
      cmocka_unit_test_setup_teardown(measure_refuses, net_make, net_remove),
      cmocka_unit_test_setup_teardown(packed_fails, net_make, net_remove),
  };
  if (amct_log_configure(AMCT_LOG_NONE, AMCT_LOG_NONE, NULL, NULL) != AMCT_OK) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
