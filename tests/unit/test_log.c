/* SPDX-License-Identifier: Apache-2.0 */
/* The log: format, levels, file, threads, fork. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/logging.h"
#include "temp_folder.h"

#define HEADER                                                                           \
  "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},[0-9]{3} - "                   \
  "(DEBUG|INFO|WARNING|ERROR) - \\[AMCT\\]:\\[[a-z]+\\]: "

static temp_folder folder;
static int saved_stderr;

/* Each test has a folder, and stderr goes to the file "stderr" in it. */
static int set_up(void **unused) {
  (void)unused;
  umask(022);
  temp_folder_make(&folder);
  saved_stderr = dup(STDERR_FILENO);
  int fd = open(temp_path(&folder, "stderr"), O_WRONLY | O_CREAT | O_APPEND, 0600);
  assert_true(saved_stderr >= 0 && fd >= 0);
  assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
  close(fd);
  return 0;
}

static int tear_down(void **unused) {
  (void)unused;
  assert_int_equal(dup2(saved_stderr, STDERR_FILENO), STDERR_FILENO);
  close(saved_stderr);
  amct_status status = amct_log_configure(AMCT_LOG_WARNING, AMCT_LOG_NONE, NULL, NULL);
  temp_folder_remove(&folder);
  return status == AMCT_OK ? 0 : -1;
}

static void configure(amct_log_level print, amct_log_level save, const char *file) {
  assert_int_equal(amct_log_configure(print, save, file, NULL), AMCT_OK);
}

static size_t count_lines(const char *text) {
  size_t lines = 0;
  for (; *text != '\0'; text++)
    lines += *text == '\n';
  return lines;
}

/* The messages of the log file or of "stderr", with the headers checked and taken away.
 */
static char *messages_of(const char *name) {
  char *text = temp_read(temp_path(&folder, name));
  if (text == NULL) return NULL;
  regex_t header;
  assert_int_equal(regcomp(&header, HEADER, REG_EXTENDED), 0);
  size_t kept = 0;
  for (char *line = text; *line != '\0';) {
    regmatch_t match;
    assert_int_equal(regexec(&header, line, 1, &match, 0), 0);
    char *from = line + match.rm_eo;
    char *end = strchr(from, '\n');
    assert_non_null(end);
    size_t size = (size_t)(end + 1 - from);
    memmove(text + kept, from, size);
    kept += size;
    line = end + 1;
  }
  text[kept] = '\0';
  regfree(&header);
  return text;
}

static void assert_messages(const char *name, const char *wanted) {
  char *text = messages_of(name);
  assert_non_null(text);
  assert_string_equal(text, wanted);
  free(text);
}

static void an_unconfigured_library_prints_warnings_and_errors(void **unused) {
  (void)unused; /* runs first */
  amct_log_write(AMCT_LOG_DEBUG, "core", "a");
  amct_log_write(AMCT_LOG_INFO, "core", "b");
  amct_log_write(AMCT_LOG_WARNING, "core", "c");
  amct_log_write(AMCT_LOG_ERROR, "core", "d");
  assert_messages("stderr", "c\nd\n");
  assert_int_equal(temp_count_entries(folder.path), 1);
}

static void a_line_has_the_time_level_and_module(void **unused) {
  (void)unused;
  configure(AMCT_LOG_DEBUG, AMCT_LOG_NONE, NULL);
  time_t before = time(NULL);
  amct_log(AMCT_LOG_INFO, "graph", "%d nodes in %s", 7, "x.pb");
  time_t after = time(NULL);
  char *text = temp_read(temp_path(&folder, "stderr"));
  assert_non_null(text);
  struct tm parts = {.tm_isdst = -1};
  char *rest = strptime(text, "%Y-%m-%d %H:%M:%S", &parts);
  assert_non_null(rest);
  time_t written = mktime(&parts);
  assert_true(written >= before && written <= after);
  assert_int_equal(rest[0], ',');
  assert_string_equal(rest + 4, " - INFO - [AMCT]:[graph]: 7 nodes in x.pb\n");
  free(text);
}

static void levels_of_printing_and_saving_are_apart(void **unused) {
  (void)unused;
  for (int print = AMCT_LOG_DEBUG; print <= AMCT_LOG_NONE; print++) {
    for (int save = AMCT_LOG_DEBUG; save <= AMCT_LOG_NONE; save++) {
      char name[32];
      snprintf(name, sizeof name, "log%d%d", print, save);
      assert_int_equal(truncate(temp_path(&folder, "stderr"), 0), 0);
      configure((amct_log_level)print, (amct_log_level)save, temp_path(&folder, name));
      for (int level = AMCT_LOG_DEBUG; level < AMCT_LOG_NONE; level++)
        amct_log((amct_log_level)level, "core", "%d", level);
      amct_log_write(AMCT_LOG_NONE, "core", "never");
      char *printed = temp_read(temp_path(&folder, "stderr"));
      char *saved = temp_read(temp_path(&folder, name));
      assert_int_equal(count_lines(printed), AMCT_LOG_NONE - print);
      assert_int_equal(saved == NULL, save == AMCT_LOG_NONE); /* no line, no file */
      if (saved != NULL) assert_int_equal(count_lines(saved), AMCT_LOG_NONE - save);
      free(printed);
      free(saved);
    }
  }
}

static void a_new_name_starts_afresh_with_its_first_line(void **unused) {
  (void)unused;
  struct stat info;
  temp_write(temp_path(&folder, "old.log"), "of an earlier run\n");
  configure(AMCT_LOG_NONE, AMCT_LOG_INFO, temp_path(&folder, "old.log"));
  amct_log_write(AMCT_LOG_DEBUG, "core", "below the level");
  char *text = temp_read(temp_path(&folder, "old.log"));
  assert_string_equal(text, "of an earlier run\n");
  free(text);
  amct_log_write(AMCT_LOG_INFO, "core", "one");
  configure(AMCT_LOG_NONE, AMCT_LOG_DEBUG, temp_path(&folder, "old.log"));
  amct_log_write(AMCT_LOG_DEBUG, "core", "two");
  assert_messages("old.log", "one\ntwo\n");

  configure(AMCT_LOG_NONE, AMCT_LOG_INFO, temp_path(&folder, "a/b/new.log"));
  amct_log_write(AMCT_LOG_ERROR, "core", "three");
  assert_messages("a/b/new.log", "three\n");
  assert_messages("old.log", "one\ntwo\n");
  assert_int_equal(stat(temp_path(&folder, "a/b"), &info), 0);
  assert_int_equal(info.st_mode & 0777, 0750);
  assert_int_equal(stat(temp_path(&folder, "a/b/new.log"), &info), 0);
  assert_int_equal(info.st_mode & 0777, 0640);
}

static void a_relative_name_is_of_the_folder_at_configuration(void **unused) {
  (void)unused;
  char before[TEMP_PATH_BYTES];
  assert_non_null(getcwd(before, sizeof before));
  assert_int_equal(chdir(folder.path), 0);
  configure(AMCT_LOG_NONE, AMCT_LOG_INFO, "amct_log/amct.log");
  assert_int_equal(chdir("/"), 0);
  amct_log_write(AMCT_LOG_INFO, "core", "here");
  assert_int_equal(chdir(before), 0);
  assert_messages("amct_log/amct.log", "here\n");
}

static void trouble_with_the_file_is_said_once(void **unused) {
  (void)unused;
  temp_write(temp_path(&folder, "file"), "");
  const struct {
    const char *path;
    const char *reason;
  } cases[] = {
      {temp_path(&folder, "file/x.log"), "Not a directory"}, /* cannot be opened */
      {folder.path, "Is a directory"},
      {"/dev/full", "No space left"}, /* can be opened and not written */
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(truncate(temp_path(&folder, "stderr"), 0), 0);
    configure(AMCT_LOG_ERROR, AMCT_LOG_INFO, cases[i].path);
    errno = EDOM;
    amct_log_write(AMCT_LOG_INFO, "core", "a");
    amct_log_write(AMCT_LOG_ERROR, "core", "b");
    amct_log_write(AMCT_LOG_INFO, "core", "c");
    assert_int_equal(errno, EDOM);
    char *text = messages_of("stderr");
    assert_non_null(text);
    assert_int_equal(count_lines(text), 2);
    assert_non_null(strstr(text, cases[i].path));
    assert_non_null(strstr(text, cases[i].reason));
    assert_non_null(strstr(text, "\nb\n"));
    free(text);
  }
}

static void bad_arguments_are_refused(void **unused) {
  (void)unused;
  amct_error err = {0};
  assert_int_equal(amct_log_configure((amct_log_level)5, AMCT_LOG_INFO, NULL, &err),
                   AMCT_INVALID_ARGUMENT);
  assert_int_equal(amct_log_configure(AMCT_LOG_INFO, (amct_log_level)-1, NULL, NULL),
                   AMCT_INVALID_ARGUMENT);
  assert_int_equal(amct_log_configure(AMCT_LOG_INFO, AMCT_LOG_INFO, "", NULL),
                   AMCT_INVALID_ARGUMENT);
  assert_non_null(strstr(err.text, "5"));
}

static void long_messages_become_several_lines(void **unused) {
  (void)unused;
  configure(AMCT_LOG_NONE, AMCT_LOG_INFO, temp_path(&folder, "log"));
  static const char *const letters[] = {"a", "\xC3\xA4", "\xF0\x9F\x98\x80"};
  for (size_t i = 0; i < 3; i++) {
    size_t size = strlen(letters[i]);
    char message[4 * 1201 + 1] = "";
    char wanted[4 * 1201 + 4] = "";
    size_t at = 0;
    for (int k = 0; k < 1201; k++) {
      memcpy(message + (size_t)k * size, letters[i], size);
      memcpy(wanted + at, letters[i], size);
      at += size;
      if (k == 499 || k == 999 || k == 1200) wanted[at++] = '\n';
    }
    char name[16];
    snprintf(name, sizeof name, "log%zu", i);
    configure(AMCT_LOG_NONE, AMCT_LOG_INFO, temp_path(&folder, name));
    amct_log(AMCT_LOG_INFO, "core", "%s", message);
    assert_messages(name, wanted);
  }
}

static void a_message_cannot_forge_lines_or_commands(void **unused) {
  (void)unused;
  configure(AMCT_LOG_INFO, AMCT_LOG_NONE, NULL);
  amct_log_write(AMCT_LOG_INFO, "core", "first\n2026-01-01 - forged\r\x1b[2J\tx\n");
  amct_log_write(AMCT_LOG_INFO, "core", "");
  assert_messages("stderr", "first\n2026-01-01 - forged??[2J\tx\n\n");
}

/* ---- threads and fork ---- */

enum { THREADS = 4, LINES_EACH = 300 };
static atomic_bool stop;

static void *write_numbered_lines(void *number) {
  for (int i = 0; i < LINES_EACH; i++)
    amct_log(AMCT_LOG_INFO, "core", "%d %d", *(int *)number, i);
  return NULL;
}

static void lines_of_threads_stay_whole_and_in_order(void **unused) {
  (void)unused;
  pthread_t threads[THREADS];
  int numbers[THREADS];
  int next[THREADS] = {0};
  configure(AMCT_LOG_NONE, AMCT_LOG_INFO, temp_path(&folder, "log"));
  for (int i = 0; i < THREADS; i++) {
    numbers[i] = i;
    assert_int_equal(pthread_create(&threads[i], NULL, write_numbered_lines, &numbers[i]),
                     0);
  }
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  char *text = messages_of("log");
  assert_int_equal(count_lines(text), THREADS * LINES_EACH);
  for (char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
    char *end = NULL;
    long thread = strtol(line, &end, 10);
    long number = strtol(end, &end, 10);
    assert_int_equal(*end, '\n');
    assert_true(thread >= 0 && thread < THREADS);
    assert_int_equal(number, next[thread]++);
  }
  free(text);
}

/* One line in a hundred is over the level: the lock is taken all the time, the file stays
 * small. */
static void *write_until_stopped(void *unused) {
  for (int i = 0; !atomic_load(&stop); i++)
    amct_log_write(i % 100 == 0 ? AMCT_LOG_INFO : AMCT_LOG_DEBUG, "core", "busy");
  return unused;
}

/* Forks while threads hold the log's lock most of the time: no child may find it taken.
 */
static void a_forked_child_can_log(void **unused) {
  (void)unused;
  enum { FORKS = 40 };
  pthread_t threads[2];
  configure(AMCT_LOG_NONE, AMCT_LOG_INFO, temp_path(&folder, "log"));
  amct_log_write(AMCT_LOG_INFO, "core", "the file is begun");
  atomic_store(&stop, false);
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, write_until_stopped, NULL), 0);
  int failed = 0;
  for (int i = 0; i < FORKS; i++) {
    pid_t child = fork();
    if (child == 0) {
      alarm(10); /* a deadlock ends here */
      amct_log_write(AMCT_LOG_INFO, "child", "alive");
      _exit(0);
    }
    int status = -1;
    failed += waitpid(child, &status, 0) != child || status != 0;
  }
  atomic_store(&stop, true);
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  assert_int_equal(failed, 0);
  char *text = messages_of("log");
  int alive = 0;
  for (char *at = text; (at = strstr(at, "alive\n")) != NULL; at++)
    alive++;
  assert_int_equal(alive, FORKS);
  free(text);
}

static void a_forked_child_does_not_truncate(void **unused) {
  (void)unused;
  int gate[2];
  assert_int_equal(pipe(gate), 0);
  configure(AMCT_LOG_NONE, AMCT_LOG_INFO, temp_path(&folder, "log"));
  pid_t child = fork(); /* the file is configured, and no line is written yet */
  if (child == 0) {
    char byte = 0;
    alarm(10);
    if (read(gate[0], &byte, 1) != 1) _exit(1);
    amct_log_write(AMCT_LOG_INFO, "core", "of the child");
    _exit(0);
  }
  amct_log_write(AMCT_LOG_INFO, "core", "of the parent");
  assert_int_equal(write(gate[1], "x", 1), 1);
  int status = -1;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  close(gate[0]);
  close(gate[1]);
  assert_messages("log", "of the parent\nof the child\n");
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(an_unconfigured_library_prints_warnings_and_errors),
      CASE(a_line_has_the_time_level_and_module),
      CASE(levels_of_printing_and_saving_are_apart),
      CASE(a_new_name_starts_afresh_with_its_first_line),
      CASE(a_relative_name_is_of_the_folder_at_configuration),
      CASE(trouble_with_the_file_is_said_once),
      CASE(bad_arguments_are_refused),
      CASE(long_messages_become_several_lines),
      CASE(a_message_cannot_forge_lines_or_commands),
      CASE(lines_of_threads_stay_whole_and_in_order),
      CASE(a_forked_child_can_log),
      CASE(a_forked_child_does_not_truncate),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
