/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

static amct_status map_open_file(amct_file *file, int fd, const char *path,
                                 amct_error *err) {
  struct stat info;
  if (fstat(fd, &info) != 0) return amct_fail_io(err, path, errno);
  if (S_ISDIR(info.st_mode)) return amct_fail_io(err, path, EISDIR);
  if (!S_ISREG(info.st_mode))
    return amct_fail(err, AMCT_IO, NULL, "%.800s: not a regular file", path);
  if (info.st_size == 0) return AMCT_OK;
  if ((uintmax_t)info.st_size > SIZE_MAX) return amct_fail_io(err, path, EFBIG);

  size_t size = (size_t)info.st_size;
  void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (map == MAP_FAILED) return amct_fail_io(err, path, errno);
  file->map = map;
  file->bytes.data = map;
  file->bytes.size = size;
  return AMCT_OK;
}

amct_status amct_file_open(amct_file *file, const char *path, amct_error *err) {
  *file = (amct_file){0};
  int fd = -1;
  do { /* O_NONBLOCK: a pipe is refused, not waited for */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return amct_fail_io(err, path, errno);
  amct_status status = map_open_file(file, fd, path, err);
  close(fd);
  return status;
}

void amct_file_close(amct_file *file) {
  if (file->map != NULL) munmap(file->map, file->bytes.size);
  *file = (amct_file){0};
}

void amct_file_forget(const amct_file *file, amct_slice part) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const uint8_t *start = file->bytes.data;
  if (file->map == NULL || part.data < start ||
      part.data + part.size > start + file->bytes.size)
    return;
  const size_t first = ((size_t)(part.data - start) + page - 1) / page * page;
  const size_t end = (size_t)(part.data + part.size - start) / page * page;
  if (end > first)
    (void)madvise((uint8_t *)file->map + first, end - first, MADV_DONTNEED);
}

/* Room for `size` bytes after the present ones; NULL, with `failed` set, when there is
 * none. */
static uint8_t *reserve(amct_buffer *buffer, size_t size) {
  enum { FIRST_CAPACITY = 256 };
  if (buffer->failed) return NULL;
  if (size <= buffer->capacity - buffer->size && buffer->data != NULL)
    return buffer->data + buffer->size;

  size_t wanted = 0;
  uint8_t *grown = NULL;
  if (!__builtin_add_overflow(buffer->size, size, &wanted)) {
    size_t doubled = buffer->capacity <= SIZE_MAX / 2 ? buffer->capacity * 2 : SIZE_MAX;
    if (wanted < doubled) wanted = doubled;
    if (wanted < FIRST_CAPACITY) wanted = FIRST_CAPACITY;
    grown = amct_realloc_array(buffer->data, wanted, 1);
  }
  if (grown == NULL) {
    buffer->failed = true;
    return NULL;
  }
  buffer->data = grown;
  buffer->capacity = wanted;
  return grown + buffer->size;
}

void amct_buffer_append(amct_buffer *buffer, const void *data, size_t size) {
  if (size == 0) return;
  uint8_t *room = reserve(buffer, size);
  if (room == NULL) return;
  memcpy(room, data, size);
  buffer->size += size;
}

void amct_buffer_text(amct_buffer *buffer, const char *text) {
  amct_buffer_append(buffer, text, strlen(text));
}

void amct_buffer_format(amct_buffer *buffer, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int size = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (size < 0) {
    buffer->failed = true;
    return;
  }
  uint8_t *room = reserve(buffer, (size_t)size + 1); /* vsnprintf ends with a NUL */
  if (room == NULL) return;
  va_start(args, format);
  vsnprintf((char *)room, (size_t)size + 1, format, args);
  va_end(args);
  buffer->size += (size_t)size;
}

void amct_buffer_free(amct_buffer *buffer) {
  amct_free(buffer->data);
  *buffer = (amct_buffer){0};
}
