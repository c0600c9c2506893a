/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/proto.h"

enum { VARINT_BYTES_MAX = 10 };

amct_cursor amct_cursor_of(amct_slice message, const uint8_t *base) {
  /* an empty slice may have no address, and NULL + 0 is not C */
  const uint8_t *end = message.size != 0 ? message.data + message.size : message.data;
  return (amct_cursor){message.data, end, base};
}

static uint64_t position(const amct_cursor *cursor, const uint8_t *at) {
  return cursor->base != NULL ? (uint64_t)(at - cursor->base) : 0;
}

#define FAIL_HERE(cursor, at, err, ...)                                                  \
  amct_fail_at(err, AMCT_BAD_FORMAT, NULL, position(cursor, at), __VA_ARGS__)

static amct_status read_varint(amct_cursor *cursor, uint64_t *value, amct_error *err) {
  uint64_t bits = 0;
  const uint8_t *at = cursor->at;
  for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
    if (at == cursor->end)
      return FAIL_HERE(cursor, cursor->at, err, "varint cut off after %u bytes", i);
    uint8_t byte = *at++;
    bits |= (uint64_t)(byte & 0x7F) << (7 * i); /* the tenth byte's upper bits fall off */
    if (byte < 0x80) {
      cursor->at = at;
      *value = bits;
      return AMCT_OK;
    }
  }
  return FAIL_HERE(cursor, cursor->at, err, "varint of more than %d bytes",
                   VARINT_BYTES_MAX);
}

/* Little-endian, `size` 4 or 8. */
static amct_status read_fixed(amct_cursor *cursor, size_t size, uint64_t *value,
                              amct_error *err) {
  size_t left = (size_t)(cursor->end - cursor->at);
  if (left < size)
    return FAIL_HERE(cursor, cursor->at, err,
                     "fixed value of %zu bytes where %zu are left", size, left);
  *value = 0;
  for (size_t i = 0; i < size; i++)
    *value |= (uint64_t)cursor->at[i] << (8 * i);
  cursor->at += size;
  return AMCT_OK;
}

static amct_status read_bytes(amct_cursor *cursor, amct_slice *bytes, amct_error *err) {
  const uint8_t *start = cursor->at;
  uint64_t size = 0;
  AMCT_TRY(read_varint(cursor, &size, err));
  size_t left = (size_t)(cursor->end - cursor->at);
  if (size > left)
    return FAIL_HERE(cursor, start, err, "length %llu where %zu bytes are left",
                     (unsigned long long)size, left);
  *bytes = (amct_slice){cursor->at, (size_t)size};
  cursor->at += size;
  return AMCT_OK;
}

static amct_status read_value(amct_cursor *cursor, amct_field *field,
                              const uint8_t *start, amct_error *err) {
  switch (field->wire) {
  case AMCT_WIRE_VARINT:
    return read_varint(cursor, &field->varint, err);
  case AMCT_WIRE_FIXED64:
    return read_fixed(cursor, 8, &field->varint, err);
  case AMCT_WIRE_BYTES:
    return read_bytes(cursor, &field->bytes, err);
  case AMCT_WIRE_FIXED32:
    return read_fixed(cursor, 4, &field->varint, err);
  }
  return FAIL_HERE(cursor, start, err, "field %u has wire type %d, which is not read",
                   (unsigned)field->number, (int)field->wire);
}

amct_status amct_cursor_next(amct_cursor *cursor, amct_field *field, bool *more,
                             amct_error *err) {
  *field = (amct_field){0};
  *more = false;
  if (cursor->at == cursor->end) return AMCT_OK;

  amct_cursor next = *cursor;
  const uint8_t *start = cursor->at;
  uint64_t tag = 0;
  AMCT_TRY(read_varint(&next, &tag, err));
  if (tag > UINT32_MAX)
    return FAIL_HERE(cursor, start, err, "tag %llu is over 32 bits",
                     (unsigned long long)tag);
  field->number = (uint32_t)(tag >> 3);
  field->wire = (amct_wire)(tag & 7);
  if (field->number == 0) return FAIL_HERE(cursor, start, err, "field number 0");
  AMCT_TRY(read_value(&next, field, start, err));

  field->raw = (amct_slice){start, (size_t)(next.at - start)};
  *cursor = next;
  *more = true;
  return AMCT_OK;
}

void amct_put_varint(amct_buffer *buffer, uint64_t value) {
  uint8_t bytes[VARINT_BYTES_MAX];
  size_t size = 0;
  for (; value >= 0x80; value >>= 7)
    bytes[size++] = (uint8_t)(value | 0x80);
  bytes[size++] = (uint8_t)value;
  amct_buffer_append(buffer, bytes, size);
}

void amct_put_tag(amct_buffer *buffer, uint32_t number, amct_wire wire) {
  amct_put_varint(buffer, (uint64_t)number << 3 | (uint64_t)wire);
}

void amct_put_int(amct_buffer *buffer, uint32_t number, int64_t value) {
  amct_put_tag(buffer, number, AMCT_WIRE_VARINT);
  amct_put_varint(buffer, (uint64_t)value);
}

void amct_put_float(amct_buffer *buffer, uint32_t number, float value) {
  uint32_t bits = 0;
  memcpy(&bits, &value, sizeof bits);
  uint8_t bytes[4];
  for (size_t i = 0; i < 4; i++)
    bytes[i] = (uint8_t)(bits >> (8 * i));
  amct_put_tag(buffer, number, AMCT_WIRE_FIXED32);
  amct_buffer_append(buffer, bytes, sizeof bytes);
}

void amct_put_bytes(amct_buffer *buffer, uint32_t number, amct_slice value) {
  amct_put_tag(buffer, number, AMCT_WIRE_BYTES);
  amct_put_varint(buffer, value.size);
  amct_buffer_append(buffer, value.data, value.size);
}

void amct_put_text(amct_buffer *buffer, uint32_t number, const char *value) {
  amct_put_bytes(buffer, number, amct_slice_of(value));
}
