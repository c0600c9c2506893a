/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fail.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

const char *amct_status_name(amct_status status) {
  switch (status) {
#define STATUS_NAME(name, number, text)                                                  \
  case AMCT_##name:                                                                      \
    return #name;
    AMCT_STATUS_MAP(STATUS_NAME)
#undef STATUS_NAME
  }
  return "UNKNOWN";
}

const char *amct_status_text(amct_status status) {
  switch (status) {
#define STATUS_TEXT(name, number, text)                                                  \
  case AMCT_##name:                                                                      \
    return text;
    AMCT_STATUS_MAP(STATUS_TEXT)
#undef STATUS_TEXT
  }
  return "unknown status";
}

/* Names come out of hostile files: a report stays one line and sends nothing to a
 * terminal. A cut in the middle of a UTF-8 sequence is moved to the start of that
 * sequence. */
static void make_printable(char *text, bool was_cut) {
  size_t size = strlen(text);
  if (was_cut) {
    size_t start = size;
    while (start > 0 && size - start < 3 &&
           ((unsigned char)text[start - 1] & 0xC0) == 0x80)
      start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xC0) text[start - 1] = '\0';
  }
  for (char *c = text; *c != '\0'; c++) {
    if ((unsigned char)*c < 0x20 || *c == 0x7F) *c = '?';
  }
}

static void fill(amct_error *err, amct_status status, const char *node,
                 uint64_t byte_offset, const char *format, va_list args)
    __attribute__((format(printf, 5, 0)));

static void fill(amct_error *err, amct_status status, const char *node,
                 uint64_t byte_offset, const char *format, va_list args) {
  if (err == NULL || err->status != AMCT_OK) return;
  err->status = status;
  err->byte_offset = byte_offset;
  int node_size = snprintf(err->node, sizeof err->node, "%s", node != NULL ? node : "");
  make_printable(err->node, node_size >= (int)sizeof err->node);
  int text_size = vsnprintf(err->text, sizeof err->text, format, args);
  if (text_size < 0)
    snprintf(err->text, sizeof err->text, "%s", amct_status_text(status));
  make_printable(err->text, text_size >= (int)sizeof err->text);
}

amct_status amct_fail(amct_error *err, amct_status status, const char *node,
                      const char *format, ...) {
  va_list args;
  va_start(args, format);
  fill(err, status, node, 0, format, args);
  va_end(args);
  return status;
}

amct_status amct_fail_at(amct_error *err, amct_status status, const char *node,
                         uint64_t byte_offset, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fill(err, status, node, byte_offset, format, args);
  va_end(args);
  return status;
}

amct_status amct_fail_memory(amct_error *err) {
  return amct_fail(err, AMCT_OUT_OF_MEMORY, NULL, "out of memory");
}

amct_status amct_fail_io(amct_error *err, const char *path, int error_number) {
  char reason[128];
  /* the precision keeps the reason in the text when the path is very long */
  return amct_fail(err, AMCT_IO, NULL, "%.800s: %s", path,
                   strerror_r(error_number, reason, sizeof reason));
}
