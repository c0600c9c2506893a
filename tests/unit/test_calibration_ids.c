/* SPDX-License-Identifier: Apache-2.0 */
/* Calibrations by id: retired, adopted, forked; specs that are refused; the record file.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <sys/wait.h>

#include "calibration_steps.h"

/* ---- ids ---- */

static void test_a_later_calibration_retires_the_older(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  char older[AMCT_CALIB_ID_BYTES], later[AMCT_CALIB_ID_BYTES];
  const amct_calib_layer layer = {"a", 0, false}, heavy = {"a", 0, true};
  assert_int_equal(begin_at(path, older, NULL), AMCT_OK);
  amct_calib_range_spec range = range_of(older, path, 1, &layer, 1);
  observe(&range, k_relu6, 4);
  assert_true(amct_calib_range_done(&range));
  assert_int_equal(begin_at(path, later, NULL), AMCT_OK);
  assert_file(path, "");

  amct_error err = {0};
  assert_false(amct_calib_range_done(&range));
  assert_int_equal(amct_calib_observe(&range, &(amct_calib_batch){k_relu6, 4}, &err),
                   AMCT_NOT_READY);
  assert_non_null(strstr(err.text, path));
  const amct_calib_weight_spec weight = weight_of(older, path, 1, heavy, true);
  assert_int_equal(
      amct_calib_weigh(&weight, k_relu6, (amct_weight_layout){1, 4, 1}, NULL, 0, NULL),
      AMCT_NOT_READY);
  range.key.id = "an id of a run before";
  assert_int_equal(amct_calib_observe(&range, &(amct_calib_batch){k_relu6, 4}, NULL),
                   AMCT_NOT_READY);
  assert_int_equal(amct_calib_flush(NULL, NULL), AMCT_OK);
  assert_file(path, "");

  range.key.id = later;
  observe(&range, k_relu6, 4);
  assert_file(path, "record {\n  key: \"a\"\n  value {\n" RELU6_DATA "  }\n}\n");
}

static void test_other_paths_do_not_retire(void **state) {
  (void)state;
  const char *path[] = {temp_path(&g_folder, "one"), temp_path(&g_folder, "two")};
  char id[2][AMCT_CALIB_ID_BYTES];
  const amct_calib_layer layer = {"a", 0, false};
  for (size_t i = 0; i < 2; i++)
    assert_int_equal(begin_at(path[i], id[i], NULL), AMCT_OK);
  for (size_t i = 0; i < 2; i++) {
    const amct_calib_range_spec range = range_of(id[i], path[i], 1, &layer, 1);
    observe(&range, k_relu6, 4);
    assert_file(path[i], "record {\n  key: \"a\"\n  value {\n" RELU6_DATA "  }\n}\n");
  }
}

static void test_a_process_with_only_the_graph(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  const char *const marks[] = {"b", "a"};
  const amct_calib_start start = {path, marks, 2};
  char older[AMCT_CALIB_ID_BYTES], later[AMCT_CALIB_ID_BYTES];
  const amct_calib_layer layer = {"a", 0, false};
  assert_int_equal(amct_calib_begin(&start, older, NULL), AMCT_OK);
  assert_int_equal(amct_calib_begin(&start, later, NULL), AMCT_OK);
  amct_calib_reset(); /* as a fresh process is */

  amct_calib_range_spec range = range_of(older, path, 2, &layer, 1);
  range.batch_num = 2;
  observe(&range, k_relu6, 4); /* nothing says yet that there is a later one */
  range.key.id = later;
  observe(&range, k_relu6, 4);
  range.key.id = older;
  assert_int_equal(amct_calib_observe(&range, &(amct_calib_batch){k_relu6, 4}, NULL),
                   AMCT_NOT_READY);
  range.key.id = later;
  observe(&range, k_relu6, 4);
  assert_int_equal(amct_calib_flush(path, NULL), AMCT_OK);
  assert_file(path, "record {\n  key: \"a\"\n  value {\n" RELU6_DATA
                    "    skip_fusion: true\n  }\n}\n"
                    "record {\n  key: \"b\"\n  value {\n    skip_fusion: true\n  }\n}\n");
}

static void test_a_record_that_is_no_record(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  const amct_calib_layer layer = {"a", 0, false};
  temp_write(path, "record { key: \"a\" value { skip_fusion");
  const amct_calib_range_spec range = range_of("0123", path, 1, &layer, 1);
  observe(&range, k_relu6, 4);
  assert_file(path, "record {\n  key: \"a\"\n  value {\n" RELU6_DATA "  }\n}\n");
}

static void test_specs_are_checked(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  char id[AMCT_CALIB_ID_BYTES];
  const amct_calib_layer a = {"a", 0, false}, far = {"a", 2, false},
                         low = {"a", -1, false};
  const amct_calib_layer other = {"b", 0, false}, heavy = {"a", 0, true};
  const amct_calib_layer both[] = {{"b", 1, false}, {"a", 0, false}};
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  amct_calib_range_spec good = range_of(id, path, 2, &a, 1);
  good.batch_num = 9;
  observe(&good, k_relu6, 4);

  amct_calib_range_spec bad[12];
  size_t count = 0;
  for (size_t i = 0; i < 12; i++)
    bad[i] = good;
  bad[count++].layers = &far;
  bad[count++].layers = &low;
  bad[count++].layers = &other;
  bad[count++].layers = &heavy;
  bad[count++].layer_count = 0;
  bad[count++].key.layer_total = 3;
  bad[count++].key.layer_total = 0;
  bad[count++].key.layer_total = INT64_MAX;
  bad[count++].key.record_path = "record.txt";
  bad[count++].key.id = "";
  bad[count++].batch_num = 0;
  bad[count].layers = both; /* "a" has an observer already */
  bad[count++].layer_count = 2;
  for (size_t i = 0; i < count; i++) {
    amct_error err = {0};
    if (amct_calib_observe(&bad[i], &(amct_calib_batch){k_relu6, 4}, &err) !=
        AMCT_INVALID_ARGUMENT)
      fail_msg("case %zu: %s", i, err.text);
    assert_true(err.text[0] != '\0');
  }
  const amct_calib_start relative = {"record.txt", NULL, 0};
  assert_int_equal(amct_calib_begin(&relative, id, NULL), AMCT_INVALID_ARGUMENT);
}

static void test_a_record_that_cannot_be_written(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  char older[AMCT_CALIB_ID_BYTES], later[AMCT_CALIB_ID_BYTES];
  const amct_calib_layer layer = {"a", 0, false};
  assert_int_equal(begin_at(path, older, NULL), AMCT_OK);
  assert_int_equal(remove(path), 0);
  assert_int_equal(mkdir(path, 0700), 0);
  assert_int_equal(begin_at(path, later, NULL), AMCT_IO);

  const amct_calib_range_spec range = range_of(older, path, 1, &layer, 1);
  amct_error err = {0};
  assert_int_equal(amct_calib_observe(&range, &(amct_calib_batch){k_relu6, 4}, &err),
                   AMCT_IO);
  assert_non_null(strstr(err.text, path));
  assert_int_equal(rmdir(path), 0);
  assert_int_equal(amct_calib_flush(path, NULL), AMCT_OK); /* nothing was lost */
  assert_file(path, "record {\n  key: \"a\"\n  value {\n" RELU6_DATA "  }\n}\n");
}

static void test_flush_writes_what_is_complete(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  char id[AMCT_CALIB_ID_BYTES];
  const amct_calib_layer three[] = {{"a", 0, false}, {"b", 1, false}, {"c", 2, false}};
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  const amct_calib_range_spec last = range_of(id, path, 3, &three[2], 1);
  const amct_calib_range_spec first = range_of(id, path, 3, &three[0], 1);
  observe(&last, k_relu6, 4);
  observe(&first, k_relu6, 4);
  assert_file(path, ""); /* under a second since begin */
  assert_int_equal(amct_calib_flush("/no/such/record", NULL), AMCT_OK);
  assert_file(path, "");
  assert_int_equal(amct_calib_flush(path, NULL), AMCT_OK);
  assert_file(path, "record {\n  key: \"a\"\n  value {\n" RELU6_DATA "  }\n}\n"
                    "record {\n  key: \"c\"\n  value {\n" RELU6_DATA "  }\n}\n");
}

/* ---- forks ---- */

static void test_a_forked_child_takes_no_part(void **state) {
  (void)state;
  const char *path = temp_path(&g_folder, "record.txt");
  const char *own = temp_path(&g_folder, "own.txt");
  char id[AMCT_CALIB_ID_BYTES];
  const amct_calib_layer layer = {"a", 0, false};
  const float others[] = {-50, 100};
  assert_int_equal(begin_at(path, id, NULL), AMCT_OK);
  amct_calib_range_spec range = range_of(id, path, 1, &layer, 1);
  range.batch_num = 2;
  observe(&range, k_relu6, 4);

  const pid_t child = fork();
  if (child == 0) {
    char own_id[AMCT_CALIB_ID_BYTES];
    int wrong = 0;
    for (int i = 0; i < 3; i++)
      wrong +=
          amct_calib_observe(&range, &(amct_calib_batch){others, 2}, NULL) != AMCT_OK;
    wrong += amct_calib_range_done(&range);
    wrong += amct_calib_flush(NULL, NULL) != AMCT_OK;
    wrong += begin_at(own, own_id, NULL) != AMCT_OK;
    range.key.id = own_id;
    range.key.record_path = own;
    for (int i = 0; i < 2; i++)
      wrong +=
          amct_calib_observe(&range, &(amct_calib_batch){k_relu6, 4}, NULL) != AMCT_OK;
    _exit(wrong);
  }
  int status = 1;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_file(own, "record {\n  key: \"a\"\n  value {\n" RELU6_DATA "  }\n}\n");
  assert_file(path, "");
  observe(&range, k_relu6, 4);
  assert_file(path, "record {\n  key: \"a\"\n  value {\n" RELU6_DATA "  }\n}\n");
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, start_empty, end_empty)
  setenv("AMCT_THREADS", "4", 1);
  const struct CMUnitTest tests[] = {
      CASE(test_a_later_calibration_retires_the_older),
      CASE(test_other_paths_do_not_retire),
      CASE(test_a_process_with_only_the_graph),
      CASE(test_a_record_that_is_no_record),
      CASE(test_specs_are_checked),
      CASE(test_a_record_that_cannot_be_written),
      CASE(test_flush_writes_what_is_complete),
      CASE(test_a_forked_child_takes_no_part),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
