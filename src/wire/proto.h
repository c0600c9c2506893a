/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf wire format: a cursor that reads fields out of borrowed bytes, and a writer.
 */
#ifndef AMCT_PROTO_H
#define AMCT_PROTO_H

#include "base/bytes.h"
#include "base/visibility.h"

typedef enum amct_wire {
  AMCT_WIRE_VARINT = 0,
  AMCT_WIRE_FIXED64 = 1,
  AMCT_WIRE_BYTES = 2,
  AMCT_WIRE_FIXED32 = 5,
} amct_wire;

/** One field: number, wire type, value, and the raw bytes with the tag, for copying
 * through. */
typedef struct amct_field {
  uint32_t number;
  amct_wire wire;
  uint64_t varint;  /* VARINT, FIXED64, FIXED32: the bits */
  amct_slice bytes; /* BYTES: the payload */
  amct_slice raw;   /* tag to end */
} amct_field;

/** Reads one message. `base` is the start of the file, for byte positions in errors. */
typedef struct amct_cursor {
  const uint8_t *at;
  const uint8_t *end;
  const uint8_t *base;
} amct_cursor;

AMCT_INTERNAL amct_cursor amct_cursor_of(amct_slice message, const uint8_t *base);

/**
 * Next field. At the end `*more` is false. AMCT_BAD_FORMAT, with the position: a
 * truncated varint, a varint over 10 bytes, a length past the end, field number 0, groups
 * (wire types 3, 4), 6 and 7.
 */
AMCT_INTERNAL AMCT_NODISCARD amct_status amct_cursor_next(amct_cursor *cursor,
                                                          amct_field *field, bool *more,
                                                          amct_error *err);

/** Appending fields to a buffer; errors are kept in buffer->failed. */
void amct_put_varint(amct_buffer *buffer, uint64_t value);
void amct_put_tag(amct_buffer *buffer, uint32_t number, amct_wire wire);
void amct_put_int(amct_buffer *buffer, uint32_t number,
                  int64_t value); /* int32/64, bool, enum */
void amct_put_float(amct_buffer *buffer, uint32_t number, float value);
void amct_put_bytes(amct_buffer *buffer, uint32_t number, amct_slice value);
void amct_put_text(amct_buffer *buffer, uint32_t number, const char *value);

#endif
