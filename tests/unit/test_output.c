/* SPDX-License-Identifier: Apache-2.0 */
/* Files written whole or not at all. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/output.h"
#include "temp_folder.h"

static temp_folder folder;

static int make_folder(void **unused) {
  (void)unused;
  umask(022);
  temp_folder_make(&folder);
  return 0;
}

static int remove_folder(void **unused) {
  (void)unused;
  temp_folder_remove(&folder);
  return 0;
}

static void assert_holds(const char *path, const char *wanted) {
  char *text = temp_read(path);
  assert_non_null(text);
  assert_string_equal(text, wanted);
  free(text);
}

static unsigned mode_of(const char *path) {
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  return info.st_mode & 0777;
}

static void assert_written(const char *path, const char *text) {
  amct_error err = {0};
  amct_status status = amct_output_whole(path, text, strlen(text), &err);
  assert_string_equal(err.text, "");
  assert_int_equal(status, AMCT_OK);
}

static void nothing_is_seen_before_commit(void **unused) {
  (void)unused;
  amct_output *output = NULL;
  const char *path = temp_path(&folder, "model.pb");
  temp_write(path, "old");
  assert_int_equal(amct_output_open(&output, path, NULL), AMCT_OK);
  assert_int_equal(amct_output_write(output, "new ", 4, NULL), AMCT_OK);
  assert_int_equal(amct_output_write(output, NULL, 0, NULL), AMCT_OK);
  assert_int_equal(amct_output_write(output, "text", 4, NULL), AMCT_OK);
  assert_holds(path, "old");
  assert_int_equal(temp_count_entries(folder.path), 2); /* the temporary lies beside it */
  assert_int_equal(amct_output_commit(output, NULL), AMCT_OK);
  assert_holds(path, "new text");
  assert_int_equal(temp_count_entries(folder.path), 1);
  assert_int_equal(mode_of(path), 0640);
}

static void discard_leaves_the_old_file(void **unused) {
  (void)unused;
  amct_output *output = NULL;
  const char *path = temp_path(&folder, "record.txt");
  temp_write(path, "old");
  assert_int_equal(amct_output_open(&output, path, NULL), AMCT_OK);
  assert_int_equal(amct_output_write(output, "new", 3, NULL), AMCT_OK);
  amct_output_discard(output);
  amct_output_discard(NULL);
  assert_holds(path, "old");
  assert_int_equal(temp_count_entries(folder.path), 1);
}

static void large_files_arrive_whole(void **unused) {
  (void)unused;
  enum { TOTAL = 3000000 };
  amct_output *output = NULL;
  const char *path = temp_path(&folder, "large");
  char *data = malloc(TOTAL + 1);
  assert_non_null(data);
  for (size_t i = 0; i < TOTAL; i++)
    data[i] = (char)('!' + i * i % 89);
  data[TOTAL] = '\0';
  assert_int_equal(amct_output_open(&output, path, NULL), AMCT_OK);
  for (size_t at = 0, step = 1; at < TOTAL; at += step, step = step * 3 % 200003) {
    if (step > TOTAL - at) step = TOTAL - at;
    assert_int_equal(amct_output_write(output, data + at, step, NULL), AMCT_OK);
  }
  assert_int_equal(amct_output_commit(output, NULL), AMCT_OK);
  assert_holds(path, data);
  free(data);
}

static void missing_folders_are_made(void **unused) {
  (void)unused;
  assert_written(temp_path(&folder, "a//b/./c/out.txt"), "deep");
  assert_holds(temp_path(&folder, "a/b/c/out.txt"), "deep");
  assert_int_equal(mode_of(temp_path(&folder, "a")), 0750);
  assert_int_equal(mode_of(temp_path(&folder, "a/b/c")), 0750);
  assert_written(temp_path(&folder, "a/b/c/out.txt"), "again");
  assert_holds(temp_path(&folder, "a/b/c/out.txt"), "again");
}

static void a_relative_name_lands_in_the_working_folder(void **unused) {
  (void)unused;
  char before[TEMP_PATH_BYTES];
  assert_non_null(getcwd(before, sizeof before));
  assert_int_equal(chdir(folder.path), 0);
  assert_written("plain.txt", "here");
  assert_int_equal(chdir(before), 0);
  assert_holds(temp_path(&folder, "plain.txt"), "here");
}

static void links_stay_and_their_target_is_replaced(void **unused) {
  (void)unused;
  struct stat info;
  assert_int_equal(mkdir(temp_path(&folder, "real"), 0700), 0);
  temp_write(temp_path(&folder, "real/file"), "old");
  assert_int_equal(symlink("real/file", temp_path(&folder, "one")), 0);
  assert_int_equal(symlink(temp_path(&folder, "one"), temp_path(&folder, "two")), 0);
  assert_int_equal(symlink("real/later", temp_path(&folder, "dangling")), 0);
  assert_written(temp_path(&folder, "two"), "new");
  assert_holds(temp_path(&folder, "real/file"), "new");
  assert_int_equal(lstat(temp_path(&folder, "two"), &info), 0);
  assert_true(S_ISLNK(info.st_mode));
  assert_written(temp_path(&folder, "dangling"), "made");
  assert_holds(temp_path(&folder, "real/later"), "made");
}

static void bad_targets_are_refused(void **unused) {
  (void)unused;
  assert_int_equal(mkfifo(temp_path(&folder, "pipe"), 0600), 0);
  assert_int_equal(symlink("round", temp_path(&folder, "round")), 0);
  temp_write(temp_path(&folder, "file"), "text");
  const struct {
    const char *path;
    amct_status status;
    const char *text;
  } cases[] = {
      {"", AMCT_INVALID_ARGUMENT, "empty"},
      {temp_path(&folder, "sub/"), AMCT_INVALID_ARGUMENT, "folder"},
      {folder.path, AMCT_IO, "Is a directory"},
      {"/dev/null", AMCT_IO, "not a regular file"},
      {temp_path(&folder, "pipe"), AMCT_IO, "not a regular file"},
      {temp_path(&folder, "round"), AMCT_IO, "symbolic links"},
      {temp_path(&folder, "file/x"), AMCT_IO, "Not a directory"},
      {temp_path(&folder, "file/x/y"), AMCT_IO, "Not a directory"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    amct_error err = {0};
    amct_output *output = (amct_output *)&err;
    assert_int_equal(amct_output_open(&output, cases[i].path, &err), cases[i].status);
    assert_null(output);
    assert_non_null(strstr(err.text, cases[i].text));
  }
  assert_int_equal(temp_count_entries(folder.path), 3);
  assert_holds(temp_path(&folder, "file"), "text");
}

static void long_names(void **unused) {
  (void)unused;
  char name[256] = {0};
  amct_error err = {0};
  memset(name, 'n', 255);
  assert_int_equal(amct_output_whole(temp_path(&folder, name), "x", 1, &err),
                   AMCT_INVALID_ARGUMENT);
  assert_non_null(strstr(err.text, "255 bytes, 254 are allowed"));
  name[254] = '\0'; /* its temporary must not be too long for the file system */
  assert_written(temp_path(&folder, name), "fits");
  assert_holds(temp_path(&folder, name), "fits");
  assert_int_equal(temp_count_entries(folder.path), 1);
}

static void a_full_disk_keeps_the_old_file(void **unused) {
  (void)unused;
  enum { SIZE = 300000 };
  static const char zeros[SIZE];
  const char *path = temp_path(&folder, "out");
  temp_write(path, "old");
  struct rlimit before;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = {100000,
                         before.rlim_max}; /* EFBIG after a short write, as ENOSPC */
  signal(SIGXFSZ, SIG_IGN);
  for (size_t chunk = 1000; chunk <= SIZE; chunk *= 10) {
    amct_error err = {0};
    amct_output *output = NULL;
    assert_int_equal(amct_output_open(&output, path, &err), AMCT_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (size_t at = 0; at + chunk <= SIZE; at += chunk)
      (void)!amct_output_write(output, zeros, chunk, NULL);
    amct_status status = amct_output_commit(output, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, AMCT_IO);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, "File too large"));
    assert_holds(path, "old");
    assert_int_equal(temp_count_entries(folder.path), 1);
  }
  signal(SIGXFSZ, SIG_DFL);
}

static void a_rename_that_is_refused_removes_the_temporary(void **unused) {
  (void)unused;
  amct_output *output = NULL;
  amct_error err = {0};
  const char *path = temp_path(&folder, "out");
  assert_int_equal(amct_output_open(&output, path, NULL), AMCT_OK);
  assert_int_equal(amct_output_write(output, "x", 1, NULL), AMCT_OK);
  assert_int_equal(mkdir(path, 0700), 0); /* someone was faster */
  assert_int_equal(amct_output_commit(output, &err), AMCT_IO);
  assert_non_null(strstr(err.text, "Is a directory"));
  assert_int_equal(temp_count_entries(folder.path), 1);
}

static void want_of_memory_leaves_nothing_behind(void **unused) {
  (void)unused;
  uint64_t needed = 0;
  const char *path = temp_path(&folder, "out");
  for (uint64_t n = 1; n < 50 && needed == 0; n++) {
    amct_error err = {0};
    amct_alloc_fail_after(n);
    amct_status status = amct_output_whole(path, "text", 4, &err);
    amct_alloc_fail_after(0);
    if (status == AMCT_OK) {
      needed = n;
    } else {
      assert_int_equal(status, AMCT_OUT_OF_MEMORY);
      assert_int_equal(temp_count_entries(folder.path), 0);
    }
  }
  assert_true(needed > 3);
  assert_holds(path, "text");
}

#define CASE(function)                                                                   \
  cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(nothing_is_seen_before_commit),
      CASE(discard_leaves_the_old_file),
      CASE(large_files_arrive_whole),
      CASE(missing_folders_are_made),
      CASE(a_relative_name_lands_in_the_working_folder),
      CASE(links_stay_and_their_target_is_replaced),
      CASE(bad_targets_are_refused),
      CASE(long_names),
      CASE(a_full_disk_keeps_the_old_file),
      CASE(a_rename_that_is_refused_removes_the_temporary),
      CASE(want_of_memory_leaves_nothing_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
