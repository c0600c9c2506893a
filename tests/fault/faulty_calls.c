/* SPDX-License-Identifier: Apache-2.0 */
#include "fault/faulty_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int __real_open(const char *path, int flags, ...);
int __real_fstat(int fd, struct stat *info);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_mkdir(const char *path, mode_t mode);
ssize_t __real_write(int fd, const void *data, size_t size);
int __real_close(int fd);
int __real_rename(const char *from, const char *to);

int __wrap_open(const char *path, int flags, ...);
int __wrap_fstat(int fd, struct stat *info);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_mkdir(const char *path, mode_t mode);
ssize_t __wrap_write(int fd, const void *data, size_t size);
int __wrap_fsync(int fd);
int __wrap_close(int fd);
int __wrap_rename(const char *from, const char *to);

static const struct {
  const char *name;
  bool interruptible;
} k_calls[] = {
#define FAULTY_ROW(name, interruptible) {#name, interruptible},
    FAULTY_CALLS(FAULTY_ROW)
#undef FAULTY_ROW
};

static struct {
  enum { USUAL, FAIL, INTERRUPT, KILL } mode;
  faulty_call which;
  unsigned nth;
  int error_number;
  unsigned seen[FAULTY_COUNT];
  unsigned total;
  bool happened;
} state;

const char *faulty_name(faulty_call which) {
  return k_calls[which].name;
}

void faulty_fail(faulty_call which, unsigned nth, int error_number) {
  state.which = which;
  state.nth = nth;
  state.error_number = error_number;
  state.mode = FAIL;
}

void faulty_interrupt(void) {
  state.mode = INTERRUPT;
}

void faulty_kill(unsigned nth) {
  state.nth = nth;
  state.mode = KILL;
}

bool faulty_stop(void) {
  const bool happened = state.happened;
  state = (__typeof__(state)){.mode = USUAL};
  return happened;
}

/* True if this call fails; errno says how. */
static bool fails(faulty_call which) {
  if (state.mode == USUAL) return false;
  const unsigned number = ++state.seen[which];
  bool now = false;
  state.total++;
  if (state.mode == KILL && state.total == state.nth) raise(SIGKILL);
  if (state.mode == FAIL) now = which == state.which && number == state.nth;
  if (state.mode == INTERRUPT) now = k_calls[which].interruptible && number % 2 == 1;
  if (now) errno = state.mode == FAIL ? state.error_number : EINTR;
  state.happened = state.happened || now;
  return now;
}

int __wrap_open(const char *path, int flags, ...) {
  mode_t mode = 0;
  if (flags & O_CREAT) {
    va_list args;
    va_start(args, flags);
    mode = va_arg(args, mode_t);
    va_end(args);
  }
  return fails(FAULTY_open) ? -1 : __real_open(path, flags, mode);
}

int __wrap_fstat(int fd, struct stat *info) {
  return fails(FAULTY_fstat) ? -1 : __real_fstat(fd, info);
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset) {
  if (fails(FAULTY_mmap)) return MAP_FAILED;
  return __real_mmap(at, size, protection, flags, fd, offset);
}

int __wrap_mkdir(const char *path, mode_t mode) {
  return fails(FAULTY_mkdir) ? -1 : __real_mkdir(path, mode);
}

ssize_t __wrap_write(int fd, const void *data, size_t size) {
  if (fails(FAULTY_write)) return -1;
  const bool few = state.mode == INTERRUPT && size > 7;
  return __real_write(fd, data, few ? 7 : size);
}

/* Not done: nobody pulls the plug here, and the tests call it thousands of times. */
int __wrap_fsync(int fd) {
  (void)fd;
  return fails(FAULTY_fsync) ? -1 : 0;
}

/* The descriptor is gone even when close reports an error. */
int __wrap_close(int fd) {
  const bool failed = fails(FAULTY_close);
  const int error_number = errno;
  const int result = __real_close(fd);
  if (failed) errno = error_number;
  return failed ? -1 : result;
}

int __wrap_rename(const char *from, const char *to) {
  return fails(FAULTY_rename) ? -1 : __real_rename(from, to);
}
