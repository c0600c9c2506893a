/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf text format: a stream of events, without a schema. Grammar in full: `#` comments, `{}` and
 * `<>`, an optional `:` before braces, lists in brackets, string escapes and adjacent strings, `,` and `;`
 * between fields, several values a line. */
#ifndef AMCT_TEXTPROTO_H
#define AMCT_TEXTPROTO_H

#include "base/bytes.h"

enum { AMCT_TEXT_DEPTH_MAX = 32 };

typedef enum amct_text_event {
  AMCT_TEXT_SCALAR, /* name and value */
  AMCT_TEXT_OPEN,   /* name, then the fields of the message */
  AMCT_TEXT_CLOSE,
  AMCT_TEXT_END,
} amct_text_event;

typedef struct amct_text_reader {
  const uint8_t *at;
  const uint8_t *end;
  uint32_t line;      /* of the current token, from 1 */
  uint32_t depth;
  char closer[AMCT_TEXT_DEPTH_MAX];
  bool in_list;       /* inside name: [ ... ] */
  bool list_started;
  amct_slice name;    /* of the current field */
  amct_slice value;   /* SCALAR: the token as written, strings unescaped */
  bool quoted;        /* SCALAR: value came from a string literal */
  amct_buffer unescaped;
} amct_text_reader;

void amct_text_reader_open(amct_text_reader *reader, amct_slice text);
/** Next event. `name` and `value` stay valid until the next call. AMCT_BAD_FORMAT names the line. */
AMCT_NODISCARD amct_status amct_text_next(amct_text_reader *reader, amct_text_event *event,
                                          amct_error *err);
void amct_text_reader_close(amct_text_reader *reader);

/** A quoted, escaped string literal. */
void amct_text_put_string(amct_buffer *buffer, amct_slice value);

#endif
