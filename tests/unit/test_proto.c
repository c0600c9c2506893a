/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf wire format; oracle: the examples and rules of protobuf's encoding guide. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <stdlib.h>

#include "wire/graphdef.h"
#include "wire/proto.h"

#define BYTES(text) ((amct_slice){(const uint8_t *)(text), sizeof(text) - 1})

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
  uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

static void known_fields_are_read(void **unused) {
  (void)unused;
  const struct {
    amct_slice text;
    uint32_t number;
    amct_wire wire;
    uint64_t varint;
    const char *payload;
  } cases[] = {
      {BYTES("\x08\x96\x01"), 1, AMCT_WIRE_VARINT, 150, NULL},
      {BYTES("\x12\x07testing"), 2, AMCT_WIRE_BYTES, 0, "testing"},
      {BYTES("\x1a\x03\x08\x96\x01"), 3, AMCT_WIRE_BYTES, 0, "\x08\x96\x01"},
      {BYTES("\x0a\x00"), 1, AMCT_WIRE_BYTES, 0, ""},
      {BYTES("\x25\x00\x00\x80\x3f"), 4, AMCT_WIRE_FIXED32, 0x3F800000, NULL},
      {BYTES("\x29\x01\x02\x03\x04\x05\x06\x07\x88"), 5, AMCT_WIRE_FIXED64,
       UINT64_C(0x8807060504030201), NULL},
      {BYTES("\x10\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 2, AMCT_WIRE_VARINT,
       UINT64_MAX - 1, NULL},
      {BYTES("\xf8\xff\xff\xff\x0f\x00"), 536870911, AMCT_WIRE_VARINT, 0, NULL},
      {BYTES("\x08\x80\x80\x00"), 1, AMCT_WIRE_VARINT, 0, NULL}, /* longer than needed */
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    amct_cursor cursor = amct_cursor_of(cases[i].text, cases[i].text.data);
    amct_field field;
    bool more = false;
    assert_int_equal(amct_cursor_next(&cursor, &field, &more, NULL), AMCT_OK);
    assert_true(more);
    assert_int_equal(field.number, cases[i].number);
    assert_int_equal(field.wire, cases[i].wire);
    assert_true(field.varint == cases[i].varint);
    assert_true(amct_slice_equal(field.raw, cases[i].text));
    if (cases[i].payload != NULL)
      assert_true(amct_slice_equal(field.bytes, amct_slice_of(cases[i].payload)));
    assert_int_equal(amct_cursor_next(&cursor, &field, &more, NULL), AMCT_OK);
    assert_false(more);
  }
}

static void an_empty_message_has_no_fields(void **unused) {
  (void)unused;
  amct_slice nothing = {0};
  amct_cursor cursor = amct_cursor_of(nothing, NULL);
  amct_field field;
  bool more = true;
  assert_int_equal(amct_cursor_next(&cursor, &field, &more, NULL), AMCT_OK);
  assert_false(more);
}

static void malformed_messages_are_refused_with_their_place(void **unused) {
  (void)unused;
  const struct {
    amct_slice text;
    const char *reason;
  } cases[] = {
      {BYTES("\x08"), "varint cut off"},
      {BYTES("\x08\x80\x80"), "varint cut off"},
      {BYTES("\x80"), "varint cut off"},
      {BYTES("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"),
       "varint of more than 10"},
      {BYTES("\x12\x08testing"), "length 8 where 7"},
      {BYTES("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"),
       "length 18446744073709551615"},
      {BYTES("\x25\x00\x00\x80"), "fixed value of 4 bytes where 3"},
      {BYTES("\x29\x00\x00\x00\x00\x00\x00\x00"), "fixed value of 8 bytes where 7"},
      {BYTES("\x00\x01"), "field number 0"},
      {BYTES("\x80\x80\x80\x80\x10\x01"), "over 32 bits"},
      {BYTES("\x0b\x0c"), "wire type 3"},
      {BYTES("\x0c"), "wire type 4"},
      {BYTES("\x0e\x00"), "wire type 6"},
      {BYTES("\x0f\x00"), "wire type 7"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint8_t *file = malloc(3 + cases[i].text.size); /* exact: reads past it are seen */
    assert_non_null(file);
    memcpy(file, "\x08\x96\x01", 3);
    memcpy(file + 3, cases[i].text.data, cases[i].text.size);
    amct_cursor cursor = amct_cursor_of((amct_slice){file, 3 + cases[i].text.size}, file);
    amct_field field;
    bool more = false;
    amct_error err = {0};
    assert_int_equal(amct_cursor_next(&cursor, &field, &more, &err), AMCT_OK);
    assert_int_equal(amct_cursor_next(&cursor, &field, &more, &err), AMCT_BAD_FORMAT);
    assert_false(more);
    assert_non_null(strstr(err.text, cases[i].reason));
    assert_true(err.byte_offset >= 3 && err.byte_offset <= 3 + cases[i].text.size);
    assert_ptr_equal(cursor.at, file + 3); /* a failed read does not move */
    free(file);
  }
}

static void fields_are_written_as_protobuf_does(void **unused) {
  (void)unused;
  amct_buffer buffer = {0};
  amct_put_int(&buffer, 1, 150);
  amct_put_text(&buffer, 2, "testing");
  amct_put_int(&buffer, 3, -2);
  amct_put_float(&buffer, 4, 1.0f);
  amct_put_bytes(&buffer, 16, (amct_slice){0});
  amct_put_tag(&buffer, 536870911, AMCT_WIRE_VARINT);
  amct_put_varint(&buffer, 0);
  static const char wanted[] =
      "\x08\x96\x01\x12\x07testing\x18\xfe\xff\xff\xff\xff\xff\xff\xff"
      "\xff\x01\x25\x00\x00\x80\x3f\x82\x01\x00\xf8\xff\xff\xff\x0f\x00";
  assert_false(buffer.failed);
  assert_int_equal(buffer.size, sizeof wanted - 1);
  assert_memory_equal(buffer.data, wanted, buffer.size);
  amct_buffer_free(&buffer);
}

static void varints_of_every_size_come_back(void **unused) {
  (void)unused;
  for (int shift = 0; shift < 64; shift++) {
    for (int delta = -1; delta <= 1; delta++) {
      uint64_t value = (UINT64_C(1) << shift) + (uint64_t)delta;
      amct_buffer buffer = {0};
      amct_put_int(&buffer, 1, (int64_t)value);
      amct_cursor cursor =
          amct_cursor_of((amct_slice){buffer.data, buffer.size}, buffer.data);
      amct_field field;
      bool more = false;
      assert_int_equal(amct_cursor_next(&cursor, &field, &more, NULL), AMCT_OK);
      assert_true(field.varint == value);
      size_t bits = value == 0 ? 1 : 64 - (size_t)__builtin_clzll(value);
      assert_int_equal(buffer.size, 1 + (bits + 6) / 7); /* the shortest form */
      amct_buffer_free(&buffer);
    }
  }
}

/* Whatever the bytes: fields lie inside the message, follow one another, and the reading
 * ends. */
static void random_bytes_never_lead_outside(void **unused) {
  (void)unused;
  uint64_t random = 5;
  for (int round = 0; round < 20000; round++) {
    size_t size = (size_t)(next_random(&random) % 40);
    uint8_t *file = malloc(size != 0 ? size : 1);
    assert_non_null(file);
    for (size_t i = 0; i < size; i++)
      file[i] = (uint8_t)(next_random(&random) >> (next_random(&random) % 6));
    amct_cursor cursor = amct_cursor_of((amct_slice){file, size}, file);
    const uint8_t *expected = file;
    bool more = true;
    while (more) {
      amct_field field;
      if (amct_cursor_next(&cursor, &field, &more, NULL) != AMCT_OK) break;
      if (!more) {
        assert_ptr_equal(expected, file + size);
        break;
      }
      assert_ptr_equal(field.raw.data, expected);
      assert_true(field.raw.size >= 2);
      expected += field.raw.size;
      assert_true(expected <= file + size);
      if (field.wire == AMCT_WIRE_BYTES)
        assert_ptr_equal(field.bytes.data + field.bytes.size, expected);
    }
    free(file);
  }
}

static void data_types(void **unused) {
  (void)unused;
  assert_int_equal(amct_dtype_bytes(AMCT_DTYPE_FLOAT), sizeof(float));
  assert_int_equal(amct_dtype_bytes(AMCT_DTYPE_INT64), 8);
  assert_int_equal(amct_dtype_bytes(AMCT_DTYPE_HALF), 2);
  assert_int_equal(amct_dtype_bytes(AMCT_DTYPE_STRING), 0);
  assert_int_equal(amct_dtype_bytes((amct_dtype)9999), 0);
  assert_string_equal(amct_dtype_name((amct_dtype)6),
                      "INT8"); /* types.proto: DT_INT8 = 6 */
  assert_string_equal(amct_dtype_name((amct_dtype)19), "HALF");
  assert_string_equal(amct_dtype_name((amct_dtype)0), "?");
  assert_int_equal(amct_dtype_from_name("BFLOAT16"), 14);
  assert_int_equal(amct_dtype_from_name("float"), AMCT_DTYPE_INVALID);
  for (int i = 0; i < 200; i++) {
    const char *name = amct_dtype_name((amct_dtype)i);
    if (name[0] != '?') assert_int_equal(amct_dtype_from_name(name), i);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_fields_are_read),
      cmocka_unit_test(an_empty_message_has_no_fields),
      cmocka_unit_test(malformed_messages_are_refused_with_their_place),
      cmocka_unit_test(fields_are_written_as_protobuf_does),
      cmocka_unit_test(varints_of_every_size_come_back),
      cmocka_unit_test(random_bytes_never_lead_outside),
      cmocka_unit_test(data_types),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
