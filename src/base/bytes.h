/* SPDX-License-Identifier: Apache-2.0 */
/* Views of memory, whole files mapped for reading, and growing byte buffers. */
#ifndef AMCT_BYTES_H
#define AMCT_BYTES_H

#include <stdbool.h>
#include <string.h>

#include "base/fail.h"

/** Borrowed bytes; not NUL-terminated. */
typedef struct amct_slice {
  const uint8_t *data;
  size_t size;
} amct_slice;

static inline amct_slice amct_slice_of(const char *text) {
  amct_slice s = {(const uint8_t *)text, strlen(text)};
  return s;
}

static inline bool amct_slice_equal(amct_slice a, amct_slice b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/** A file mapped read-only. Zero-initialise. */
typedef struct amct_file {
  amct_slice bytes;
  void *map; /* what munmap gets; NULL for an empty file */
} amct_file;

/** Maps `path`. AMCT_IO names the path and the reason (strerror). An empty file is fine.
 */
AMCT_NODISCARD amct_status amct_file_open(amct_file *file, const char *path,
                                          amct_error *err);
void amct_file_close(amct_file *file);
/** Gives back the memory of whole pages inside `part`, if the file holds it: they are
 * read again when they are looked at. */
void amct_file_forget(const amct_file *file, amct_slice part);

/** Growing buffer. Zero-initialise; free with amct_buffer_free. A failed append leaves
 * the buffer as it was and sets `failed`, so that a run of appends is checked once. */
typedef struct amct_buffer {
  uint8_t *data;
  size_t size;
  size_t capacity;
  bool failed;
} amct_buffer;

void amct_buffer_append(amct_buffer *buffer, const void *data, size_t size);
void amct_buffer_text(amct_buffer *buffer, const char *text);
void amct_buffer_format(amct_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void amct_buffer_free(amct_buffer *buffer);

#endif
