/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf text format: a stream of events, without a schema. Grammar in full: `#`
 * comments,
 * `{}` and `<>`, an optional `:` before braces, lists in brackets, string escapes and
 * adjacent strings, `,` and `;` between fields, several values a line. Left out:
 * `[extension.name]` fields, which are refused. */
#ifndef AMCT_TEXTPROTO_H
#define AMCT_TEXTPROTO_H

#include "base/bytes.h"

enum { AMCT_TEXT_DEPTH_MAX = 32 };

typedef enum amct_text_event {
  AMCT_TEXT_SCALAR, /* name and value; name: [1, 2] gives one for each element */
  AMCT_TEXT_OPEN,   /* name, then the fields of the message; also one for each element */
  AMCT_TEXT_CLOSE,  /* name of the message that ends */
  AMCT_TEXT_END,
} amct_text_event;

typedef enum amct_text_list {
  AMCT_TEXT_NO_LIST = 0,
  AMCT_TEXT_LIST_EMPTY,   /* `[` was read, no element yet */
  AMCT_TEXT_LIST_SCALARS, /* lists hold scalars or messages, not both */
  AMCT_TEXT_LIST_MESSAGES,
} amct_text_list;

/** One open message, and the list that is open in it. Level 0 is the file. */
typedef struct amct_text_level {
  amct_slice name; /* of the message */
  amct_slice list_name;
  amct_text_list list;
  bool list_has_colon;
  uint8_t closer; /* '}' or '>' */
  uint32_t line;  /* where it was opened */
} amct_text_level;

typedef struct amct_text_reader {
  const uint8_t *at;
  const uint8_t *end;
  const uint8_t *start;
  uint32_t line;   /* of the current token, from 1 */
  uint32_t depth;  /* messages that are open */
  amct_slice name; /* of the current field */
  amct_slice
      value; /* SCALAR: the token as written, "-" joined to it; strings unescaped */
  bool after_field; /* a ',' or ';' may follow */
  bool quoted;      /* SCALAR: value came from a string literal */
  amct_text_level level[AMCT_TEXT_DEPTH_MAX + 1];
  amct_buffer unescaped;
} amct_text_reader;

/** Nothing is allocated until a value needs it. */
void amct_text_reader_open(amct_text_reader *reader, amct_slice text);
/** Next event. `name` points into the text; `value` stays valid until the next call.
 *  AMCT_BAD_FORMAT names the line; AMCT_OUT_OF_MEMORY. After a failure only close may be
 * called. */
AMCT_NODISCARD amct_status amct_text_next(amct_text_reader *reader,
                                          amct_text_event *event, amct_error *err);
void amct_text_reader_close(amct_text_reader *reader);

/** A quoted, escaped string literal, as protobuf prints it: bytes outside ASCII in octal.
 */
void amct_text_put_string(amct_buffer *buffer, amct_slice value);

#endif
