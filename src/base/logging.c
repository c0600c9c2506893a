/* SPDX-License-Identifier: Apache-2.0 */
#include "base/logging.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/output.h"

enum {
  LINE_CHARACTERS = 500,
  LINE_BYTES = 4 * LINE_CHARACTERS, /* UTF-8 */
  HEADER_BYTES = 160,
};

/* Guarded by `mutex`. The file is opened when its first line comes. */
static struct {
  amct_log_level print;
  amct_log_level save;
  char *path; /* NULL: nothing is saved */
  int fd;
  bool start_afresh; /* the file is truncated when opened */
  bool given_up;     /* it could not be opened or written, which has been said */
} state = {.print = AMCT_LOG_WARNING, .save = AMCT_LOG_NONE, .fd = -1};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* Taking the mutex around fork means that no other thread holds it in the child for ever.
 */
static void before_fork(void) {
  pthread_mutex_lock(&mutex);
}
static void after_fork_in_parent(void) {
  pthread_mutex_unlock(&mutex);
}
static void after_fork_in_child(void) {
  state.start_afresh = false; /* the parent may have lines in the file by then */
  pthread_mutex_unlock(&mutex);
}
static void watch_forks(void) {
  (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static void lock(void) {
  pthread_once(&fork_once, watch_forks);
  pthread_mutex_lock(&mutex);
}

static bool write_line(int fd, const char *data, size_t size) {
  while (size != 0) {
    ssize_t written = write(fd, data, size);
    if (written > 0) {
      data += written;
      size -= (size_t)written;
    } else if (written == 0 || errno != EINTR) {
      return false;
    }
  }
  return true;
}

/* `path` from the root, because the program may change its folder before the first line.
 */
static char *absolute_path(const char *path) {
  char *folder = path[0] == '/' ? NULL : getcwd(NULL, 0);
  size_t folder_size = folder != NULL ? strlen(folder) : 0;
  size_t size = strlen(path);
  char *whole = amct_alloc(folder_size + 1 + size + 1);
  if (whole != NULL && folder != NULL) {
    memcpy(whole, folder, folder_size);
    whole[folder_size++] = '/';
  }
  if (whole != NULL) memcpy(whole + folder_size, path, size + 1);
  free(folder); /* from getcwd */
  return whole;
}

amct_status amct_log_configure(amct_log_level print, amct_log_level save,
                               const char *file, amct_error *err) {
  if ((unsigned)print > AMCT_LOG_NONE || (unsigned)save > AMCT_LOG_NONE)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "log levels %d and %d, allowed 0..%d", (int)print, (int)save,
                     (int)AMCT_LOG_NONE);
  if (file != NULL && file[0] == '\0')
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "the log file name is empty");
  char *path = NULL;
  if (file != NULL && (path = absolute_path(file)) == NULL) return amct_fail_memory(err);

  lock();
  state.print = print;
  state.save = save;
  if (path == NULL || state.path == NULL || strcmp(path, state.path) != 0) {
    if (state.fd >= 0) close(state.fd);
    state.fd = -1;
    state.start_afresh = true;
    state.given_up = false;
    char *old = state.path;
    state.path = path;
    path = old;
  }
  pthread_mutex_unlock(&mutex);
  amct_free(path);
  return AMCT_OK;
}

/* Names and paths may hold terminal commands. */
static void make_printable(char *line, size_t size) {
  for (size_t i = 0; i < size; i++) {
    unsigned char c = (unsigned char)line[i];
    if ((c < 0x20 && c != '\t') || c == 0x7F) line[i] = '?';
  }
}

static size_t format_header(char header[HEADER_BYTES], amct_log_level level,
                            const char *module) {
  static const char *const names[] = {"DEBUG", "INFO", "WARNING", "ERROR"};
  struct timespec now = {0};
  struct tm parts = {0};
  char stamp[32] = "";
  clock_gettime(CLOCK_REALTIME, &now);
  localtime_r(&now.tv_sec, &parts);
  strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &parts);
  int size = snprintf(header, HEADER_BYTES, "%s,%03d - %s - [AMCT]:[%.64s]: ", stamp,
                      (int)(now.tv_nsec / 1000000), names[level], module);
  return size > 0 ? (size_t)size : 0;
}

/* The log must not fail its caller, so trouble with the file is said once and the file
 * given up. */
static void give_up(const char *reason) {
  char line[HEADER_BYTES + 1100];
  size_t size = format_header(line, AMCT_LOG_ERROR, "log");
  int more = snprintf(line + size, sizeof line - size,
                      "no log is saved in %.400s: %.600s", state.path, reason);
  if (more > 0) size += (size_t)more;
  make_printable(line, size);
  line[size++] = '\n';
  (void)write_line(STDERR_FILENO, line, size);
  state.given_up = true;
  if (state.fd >= 0) close(state.fd);
  state.fd = -1;
}

static bool open_file(void) {
  amct_error err = {0};
  if (amct_output_make_parents(state.path, &err) == AMCT_OK) {
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    if (state.start_afresh) flags |= O_TRUNC;
    state.fd = open(state.path, flags, 0640);
    if (state.fd >= 0) {
      state.start_afresh = false;
      return true;
    }
    (void)amct_fail_io(&err, state.path, errno);
  }
  give_up(err.text);
  return false;
}

static void save_line(const char *line, size_t size) {
  if (state.path == NULL || state.given_up) return;
  if (state.fd < 0 && !open_file()) return;
  if (write_line(state.fd, line, size)) return;
  amct_error err = {0};
  (void)amct_fail_io(&err, state.path, errno);
  give_up(err.text);
}

/* Bytes of the first line of a message: to a line break, or 500 characters of UTF-8. */
static size_t first_line_size(const char *message) {
  size_t size = 0;
  size_t characters = 0;
  for (; message[size] != '\0' && message[size] != '\n'; size++) {
    bool starts = ((unsigned char)message[size] & 0xC0) != 0x80;
    if ((starts && ++characters > LINE_CHARACTERS) || size == LINE_BYTES) break;
  }
  return size;
}

void amct_log_write(amct_log_level level, const char *module, const char *message) {
  if ((unsigned)level >= AMCT_LOG_NONE || module == NULL || message == NULL) return;
  char line[HEADER_BYTES + LINE_BYTES + 1];
  int error_number = errno; /* a caller may log before it looks */
  lock();
  bool prints = level >= state.print;
  bool saves = level >= state.save && state.path != NULL;
  while (prints || saves) {
    size_t size = format_header(line, level, module);
    size_t text_size = first_line_size(message);
    memcpy(line + size, message, text_size);
    size += text_size;
    make_printable(line, size);
    line[size++] = '\n';
    if (prints) (void)write_line(STDERR_FILENO, line, size);
    if (saves) save_line(line, size);
    message += text_size;
    if (*message == '\n') message++;
    if (*message == '\0') break;
  }
  pthread_mutex_unlock(&mutex);
  errno = error_number;
}

void amct_log(amct_log_level level, const char *module, const char *format, ...) {
  char fixed[1024];
  va_list args;
  va_start(args, format);
  int size = vsnprintf(fixed, sizeof fixed, format, args);
  va_end(args);
  if (size < 0) return;

  char *whole = (size_t)size < sizeof fixed ? NULL : amct_alloc((size_t)size + 1);
  if (whole != NULL) {
    va_start(args, format);
    vsnprintf(whole, (size_t)size + 1, format, args);
    va_end(args);
  }
  amct_log_write(level, module,
                 whole != NULL ? whole : fixed); /* cut when memory is short */
  amct_free(whole);
}
