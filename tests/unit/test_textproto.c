/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf text format; oracle: the text format specification and what protobuf's own
 * parsers accept and refuse. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/number.h"
#include "wire/textproto.h"

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
  uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

/* The events as one line: name=value, name="value", name{ and }. */
static amct_status trace(amct_buffer *out, amct_slice text, amct_error *err) {
  static amct_text_reader reader;
  amct_text_event event = AMCT_TEXT_END;
  amct_status status = AMCT_OK;
  amct_text_reader_open(&reader, text);
  do {
    status = amct_text_next(&reader, &event, err);
    if (status != AMCT_OK || event == AMCT_TEXT_END) break;
    if (out->size != 0) amct_buffer_text(out, " ");
    if (event == AMCT_TEXT_CLOSE) {
      amct_buffer_text(out, "}");
      continue;
    }
    amct_buffer_append(out, reader.name.data, reader.name.size);
    amct_buffer_text(out, event == AMCT_TEXT_OPEN ? "{" : reader.quoted ? "=\"" : "=");
    amct_buffer_append(out, reader.value.data, reader.value.size);
    if (reader.quoted) amct_buffer_text(out, "\"");
  } while (true);
  amct_text_reader_close(&reader);
  amct_buffer_append(out, "", 1);
  return status;
}

static void texts_are_read_as_protobuf_reads_them(void **unused) {
  (void)unused;
  static const struct {
    const char *text;
    const char *events;
  } cases[] = {
      {"", ""},
      {" \n\t\r\v\f # only a comment", ""},
      {"\xEF\xBB\xBF"
       "a: 1",
       "a=1"},
      {"a: 1", "a=1"},
      {"a:1b:2", NULL},
      {"a:1 b:2", "a=1 b=2"},
      {"a: 1, b: 2; c: 3\nd: 4", "a=1 b=2 c=3 d=4"},
      {"a: 1 # comment ' \" {\nb: 2", "a=1 b=2"},
      {"_a1: FOO_BAR b: true c: inf d: nan e: -inf",
       "_a1=FOO_BAR b=true c=inf d=nan e=-inf"},
      {"a: -1 b: - 2 c: -\n#x\n3.5", "a=-1 b=-2 c=-3.5"},
      {"a: 1.5e-3 b: .5 c: 5. d: 1e+10 e: 2.5f f: 10F",
       "a=1.5e-3 b=.5 c=5. d=1e+10 e=2.5f f=10F"},
      {"a: 0x1F b: 017 c: 0 d: -0x1f e: 0xe", "a=0x1F b=017 c=0 d=-0x1f e=0xe"},
      {"a { b: 1 }", "a{ b=1 }"},
      {"a: { b: 1 }", "a{ b=1 }"},
      {"a <b: 1>c:<>", "a{ b=1 } c{ }"},
      {"a{b{c:1}}d:2", "a{ b{ c=1 } } d=2"},
      {"a{b<c:1,>;};d:2;", "a{ b{ c=1 } } d=2"},
      {"a: [1, -2, 3]", "a=1 a=-2 a=3"},
      {"a: [] b: [ ]", ""},
      {"a [] b: 1", "b=1"},
      {"a: ['x', \"y\" 'z'], b: 1", "a=\"x\" a=\"yz\" b=1"},
      {"a: [{b: 1}, <b: 2>]; c: 3", "a{ b=1 } a{ b=2 } c=3"},
      {"a [{b: [1,2] c [{}]}, {}] d: 1", "a{ b=1 b=2 c{ } } a{ } d=1"},
      {"a: ''", "a=\"\""},
      {"a: '' \"\" ''", "a=\"\""},
      {"a: 'x' # one\n 'y'\n\"z\" b: 1", "a=\"xyz\" b=1"},
      {"a: 'it\"s' b: \"it's\"", "a=\"it\"s\" b=\"it's\""},
      {"a: 'conv/\xE6\xB5\x8B' ", "a=\"conv/\xE6\xB5\x8B\""},
      {"a: '\\n\\r\\t\\a\\b\\f\\v\\\\\\'\\\"\\?'", "a=\"\n\r\t\a\b\f\v\\'\"?\""},
      {"a: '\\101\\1019\\7x\\x41\\X4a\\xAg'", "a=\"AA9\ax"
                                              "AJ\ng\""},
      {"a: '\\u00e4\\u6d4b\\U0001F600\\ud83d\\ude00'",
       "a=\"\xC3\xA4\xE6\xB5\x8B\xF0\x9F\x98\x80\xF0\x9F\x98\x80\""},
      {"a: b c: d", "a=b c=d"},
      {"a:'x'b:'y'", "a=\"x\" b=\"y\""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    amct_buffer events = {0};
    amct_error err = {0};
    amct_status status = trace(&events, amct_slice_of(cases[i].text), &err);
    if (cases[i].events != NULL) {
      assert_string_equal(err.text, "");
      assert_string_equal((char *)events.data, cases[i].events);
    }
    assert_int_equal(status, cases[i].events != NULL ? AMCT_OK : AMCT_BAD_FORMAT);
    amct_buffer_free(&events);
  }
}

static const struct {
  const char *text;
  const char *reason;
} k_bad_texts[] = {
    {"a", "line 1: end of the text where ':' is wanted"},
    {"a:", "line 1: end of the text where a value is wanted"},
    {"a 1", "line 1: '1' where ':' is wanted"},
    {"a: 1\n\n?", "line 3: '?' where a field name is wanted"},
    {"a: 1\n b: \x01", "line 2: byte 0x01 where a value is wanted"},
    {"a: 1,, b: 2", "line 1: ',' where a field name"},
    {"a: 1;, b: 2", "',' where a field name"},
    {"; a: 1", "';' where a field name"},
    {"1: 2", "'1' where a field name"},
    {"[type.name/x.Y] {}", "fields named in brackets"},
    {"a {\n[ext.b]: 1 }", "line 2: fields named in brackets"},
    {"a {\n b {\n}", "line 3: message 'a' of line 1 is not closed"},
    {"a { b: 1 >", "'>' where a field name"},
    {"a < b: 1 }", "'}' where a field name"},
    {"}", "'}' where a field name"},
    {"a: [1, 2", "where ',' or ']' is wanted"},
    {"a: [1 2]", "'2' where ',' or ']' is wanted"},
    {"a: [1; 2]", "';' where ',' or ']' is wanted"},
    {"a: [1,]", "']' where a value is wanted"},
    {"a: [,1]", "',' where a value is wanted"},
    {"a: [[1]]", "'[' where a value is wanted"},
    {"a: [1, {}]", "list 'a' mixes"},
    {"a: [{}, 1]", "list 'a' mixes"},
    {"a [1]", "':' is wanted between 'a' and its values"},
    {"a: [{}] ]", "']' where a field name"},
    {"a: 'x", "a string is not closed"},
    {"a: 'x\n'", "line 1: a string is not closed"},
    {"a: \"x'", "a string is not closed"},
    {"a: 'x\\", "end of the text where an escape"},
    {"a: 'x\\\n'", "byte 0x0A where an escape"},
    {"a: 'x\\q'", "'q' where an escape"},
    {"a: 'x\\xg'", "'g' where a hex digit"},
    {"a: '\\777'", "\\777 is over one byte"},
    {"a: '\\u12'", "4 hex digits"},
    {"a: '\\U0001F60'", "8 hex digits"},
    {"a: '\\ud83d'", "0xD83D is not a unicode"},
    {"a: '\\ud83d\\u0041'", "0xD83D is not a unicode"},
    {"a: '\\ude00'", "0xDE00 is not a unicode"},
    {"a: '\\U00110000'", "0x110000 is not a unicode"},
    {"a: -", "a number is wanted after '-'"},
    {"a: -true", "a number is wanted after '-'"},
    {"a: --1", "a number is wanted after '-'"},
    {"a: -'x'", "a number is wanted after '-'"},
    {"a: 1x", "'1x' is not a number"},
    {"a: 1.2.3", "'1.2.3' is not a number"},
    {"a: 089", "'089' is not a number"},
    {"a: 01.5", "'01.5' is not a number"},
    {"a: 0x", "'0x' is not a number"},
    {"a: 0xg", "'0xg' is not a number"},
    {"a: 1e", "'1e' is not a number"},
    {"a: .", "'.' is not a number"},
    {"a: +1", "'+' where a value"},
    {"a: {} b", "end of the text where ':'"},
    {"a: 1 'x'", "''' where a field name"},
};

static void bad_texts_are_refused_with_their_line(void **unused) {
  (void)unused;
  for (size_t i = 0; i < sizeof k_bad_texts / sizeof k_bad_texts[0]; i++) {
    size_t size = strlen(k_bad_texts[i].text);
    uint8_t *exact = malloc(size); /* without a NUL: reads past the end are seen */
    assert_non_null(exact);
    memcpy(exact, k_bad_texts[i].text, size);
    amct_buffer events = {0};
    amct_error err = {0};
    assert_int_equal(trace(&events, (amct_slice){exact, size}, &err), AMCT_BAD_FORMAT);
    if (strstr(err.text, k_bad_texts[i].reason) == NULL)
      assert_string_equal(err.text, k_bad_texts[i].reason); /* shows both */
    assert_true(err.byte_offset <= size);
    amct_buffer_free(&events);
    free(exact);
  }
}

static void nesting_is_bounded(void **unused) {
  (void)unused;
  for (int depth = AMCT_TEXT_DEPTH_MAX; depth <= AMCT_TEXT_DEPTH_MAX + 1; depth++) {
    amct_buffer text = {0};
    amct_buffer events = {0};
    amct_error err = {0};
    for (int i = 0; i < depth; i++)
      amct_buffer_text(&text, i % 2 == 0 ? "a{" : "a:[<");
    for (int i = depth; i-- > 0;)
      amct_buffer_text(&text, i % 2 == 0 ? "}" : ">]");
    bool fits = depth <= AMCT_TEXT_DEPTH_MAX;
    assert_int_equal(trace(&events, (amct_slice){text.data, text.size}, &err),
                     fits ? AMCT_OK : AMCT_BAD_FORMAT);
    if (!fits) assert_non_null(strstr(err.text, "deeper than 32"));
    amct_buffer_free(&text);
    amct_buffer_free(&events);
  }
}

static void lines_are_those_of_the_values(void **unused) {
  (void)unused;
  amct_text_reader reader;
  amct_text_event event = AMCT_TEXT_END;
  amct_text_reader_open(&reader, amct_slice_of("a: 1\n\n b {\n c: [2,\n3]\n}\n\n"));
  static const uint32_t lines[] = {1, 3, 4, 5, 6};
  for (size_t i = 0; i < 5; i++) {
    assert_int_equal(amct_text_next(&reader, &event, NULL), AMCT_OK);
    assert_int_equal(reader.line, lines[i]);
  }
  assert_int_equal(event, AMCT_TEXT_CLOSE);
  assert_true(amct_slice_equal(reader.name, amct_slice_of("b")));
  for (int i = 0; i < 3; i++) { /* the end stays the end */
    assert_int_equal(amct_text_next(&reader, &event, NULL), AMCT_OK);
    assert_int_equal(event, AMCT_TEXT_END);
  }
  amct_text_reader_close(&reader);
}

static void strings_come_back_from_their_literals(void **unused) {
  (void)unused;
  uint64_t random = 3;
  for (int round = 0; round < 3000; round++) {
    uint8_t data[64];
    size_t size = (size_t)(next_random(&random) % sizeof data);
    for (size_t i = 0; i < size; i++)
      data[i] = (uint8_t)next_random(&random);
    amct_buffer text = {0};
    amct_text_reader reader;
    amct_text_event event = AMCT_TEXT_END;
    amct_buffer_text(&text, "key:");
    amct_text_put_string(&text, (amct_slice){data, size});
    for (size_t i = 0; i < text.size; i++)
      assert_in_range(text.data[i], 0x20, 0x7E);
    amct_text_reader_open(&reader, (amct_slice){text.data, text.size});
    assert_int_equal(amct_text_next(&reader, &event, NULL), AMCT_OK);
    assert_true(reader.quoted);
    assert_true(amct_slice_equal(reader.value, (amct_slice){data, size}));
    amct_text_reader_close(&reader);
    amct_buffer_free(&text);
  }
  amct_buffer text = {0};
  amct_text_put_string(&text, amct_slice_of("a\"b'\\\n\x7f\xE6"
                                            "1"));
  amct_buffer_append(&text, "", 1);
  /* as google.protobuf.text_format prints it */
  assert_string_equal((char *)text.data, "\"a\\\"b\\'\\\\\\n\\177\\3461\"");
  amct_buffer_free(&text);
}

/* A record file as the original writes it: every name and every value comes back. */
static void a_record_file_is_read_whole(void **unused) {
  (void)unused;
  enum { LAYERS = 60, CHANNELS = 300 };
  amct_buffer text = {0};
  uint64_t random = 9;
  for (int layer = 0; layer < LAYERS; layer++) {
    amct_buffer_format(&text, "record {\n  key: \"net/conv_%d\"\n  value {\n", layer);
    for (int c = 0; c < CHANNELS; c++) {
      char number[AMCT_NUMBER_BYTES];
      amct_number_print_float(number, (float)(next_random(&random) % 100000) * 1e-6f);
      amct_buffer_format(&text, "    scale_w: %s\n    offset_w: %d\n", number, -c);
    }
    amct_buffer_text(&text, "  }\n}\n");
  }
  assert_false(text.failed);

  amct_text_reader reader;
  amct_text_event event = AMCT_TEXT_END;
  amct_text_reader_open(&reader, (amct_slice){text.data, text.size});
  random = 9;
  amct_alloc_fail_after(1); /* plain text is read without any allocation */
  for (int layer = 0; layer < LAYERS; layer++) {
    char key[32];
    snprintf(key, sizeof key, "net/conv_%d", layer);
    assert_int_equal(amct_text_next(&reader, &event, NULL), AMCT_OK);
    assert_int_equal(event, AMCT_TEXT_OPEN);
    assert_int_equal(amct_text_next(&reader, &event, NULL), AMCT_OK);
    assert_true(amct_slice_equal(reader.value, amct_slice_of(key)));
    assert_int_equal(amct_text_next(&reader, &event, NULL), AMCT_OK);
    assert_true(amct_slice_equal(reader.name, amct_slice_of("value")));
    for (int c = 0; c < CHANNELS; c++) {
      double scale = 0;
      int64_t offset = 0;
      assert_int_equal(amct_text_next(&reader, &event, NULL), AMCT_OK);
      assert_true(amct_number_read_double(reader.value, &scale));
      assert_true((float)scale == (float)(next_random(&random) % 100000) * 1e-6f);
      assert_int_equal(amct_text_next(&reader, &event, NULL), AMCT_OK);
      assert_true(amct_number_read_int(reader.value, &offset));
      assert_int_equal(offset, -c);
    }
    assert_int_equal(amct_text_next(&reader, &event, NULL), AMCT_OK);
    assert_int_equal(event, AMCT_TEXT_CLOSE);
    assert_int_equal(amct_text_next(&reader, &event, NULL), AMCT_OK);
    assert_int_equal(event, AMCT_TEXT_CLOSE);
  }
  assert_int_equal(amct_text_next(&reader, &event, NULL), AMCT_OK);
  assert_int_equal(event, AMCT_TEXT_END);
  amct_alloc_fail_after(0);
  amct_text_reader_close(&reader);
  amct_buffer_free(&text);
}

static void want_of_memory_is_told_from_bad_text(void **unused) {
  (void)unused;
  static const char *const texts[] = {"a: 'x' 'y'", "a: '\\n'", "a: - 1"};
  for (size_t i = 0; i < 3; i++) {
    amct_text_reader reader;
    amct_text_event event = AMCT_TEXT_END;
    amct_text_reader_open(&reader, amct_slice_of(texts[i]));
    amct_alloc_fail_after(1);
    amct_status status = amct_text_next(&reader, &event, NULL);
    amct_alloc_fail_after(0);
    assert_int_equal(status, AMCT_OUT_OF_MEMORY);
    amct_text_reader_close(&reader);
  }
}

/* Random mixtures of tokens: reading ends, and every event's slices can be read. */
static void token_soup_is_survived(void **unused) {
  (void)unused;
  static const char *const tokens[] = {
      "a",  ":",    "{",  "}", "<",  ">",  "[", "]", ",",    ";", "1",  "-",  " ", "'x'",
      "\"", "\\x4", "\n", "#", "a:", "0x", ".", "e", "a: 1", "'", "\\", "[{", "}]"};
  uint64_t random = 21;
  int read_whole = 0;
  for (int round = 0; round < 50000; round++) {
    amct_buffer text = {0};
    amct_buffer events = {0};
    size_t count = (size_t)(next_random(&random) % 12);
    for (size_t i = 0; i < count; i++)
      amct_buffer_text(&text, tokens[next_random(&random) % 27]);
    uint8_t *exact = malloc(text.size + 1);
    assert_non_null(exact);
    if (text.size != 0) memcpy(exact + 1, text.data, text.size);
    amct_status status = trace(&events, (amct_slice){exact + 1, text.size}, NULL);
    assert_true(status == AMCT_OK || status == AMCT_BAD_FORMAT);
    read_whole += status == AMCT_OK;
    free(exact);
    amct_buffer_free(&text);
    amct_buffer_free(&events);
  }
  assert_in_range(read_whole, 1000, 40000); /* the soup is neither all good nor all bad */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(texts_are_read_as_protobuf_reads_them),
      cmocka_unit_test(bad_texts_are_refused_with_their_line),
      cmocka_unit_test(nesting_is_bounded),
      cmocka_unit_test(lines_are_those_of_the_values),
      cmocka_unit_test(strings_come_back_from_their_literals),
      cmocka_unit_test(a_record_file_is_read_whole),
      cmocka_unit_test(want_of_memory_is_told_from_bad_text),
      cmocka_unit_test(token_soup_is_survived),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
