/* SPDX-License-Identifier: Apache-2.0 */
/* What printing and reading of the text form share. */
#ifndef AMCT_TEXT_PRIVATE_H
#define AMCT_TEXT_PRIVATE_H

#include "graph/body.h"
#include "graph/textform.h"

/** Where reading is. */
typedef struct amct_scan {
  const uint8_t *at, *end;
  uint32_t line;    /* from 1 */
  amct_arena arena; /* unescaped strings */
} amct_scan;

/** A word or a string. */
typedef struct amct_token {
  amct_slice text;
  bool quoted;
} amct_token;

/** Characters of bare names, numbers and words. */
static inline bool amct_text_is_word(uint8_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         c == '_' || c == '.' || c == '/' || c == '-' || c == '+' || c == '>';
}

static inline bool amct_dtype_is_real(amct_dtype dtype) {
  return dtype == AMCT_DTYPE_FLOAT || dtype == AMCT_DTYPE_DOUBLE ||
         dtype == AMCT_DTYPE_HALF || dtype == AMCT_DTYPE_BFLOAT16;
}

/** Next character that is neither space nor comment; '\0' at the end. */
uint8_t amct_scan_peek(amct_scan *scan);
/** Takes `c` if it comes next. */
bool amct_scan_take(amct_scan *scan, char c);
AMCT_NODISCARD amct_status amct_scan_expect(amct_scan *scan, char c, amct_error *err);
/** Takes a word or a string. */
AMCT_NODISCARD amct_status amct_scan_token(amct_scan *scan, amct_token *token,
                                           amct_error *err);
/** AMCT_BAD_FORMAT with the line. */
amct_status amct_scan_fail(const amct_scan *scan, amct_error *err, const char *format,
                           ...) __attribute__((format(printf, 3, 4)));

/** Reads a value and appends its AttrValue. `dtype` becomes that of a tensor, else stays.
 */
AMCT_NODISCARD amct_status amct_text_value(amct_scan *scan, amct_slice key,
                                           amct_buffer *out, amct_dtype *dtype,
                                           amct_error *err);

#endif
