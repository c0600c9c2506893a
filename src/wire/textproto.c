/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/textproto.h"

#include "base/number.h"

/* Error texts show this much of a token. */
#define TOKEN_FORMAT "%.*s"
#define TOKEN_ARGS(slice)                                                                \
  (int)((slice).size < 60 ? (slice).size : 60), (const char *)(slice).data

#define FAIL_TEXT(reader, err, format, ...)                                              \
  amct_fail_at(err, AMCT_BAD_FORMAT, NULL, (uint64_t)((reader)->at - (reader)->start),   \
               "line %u: " format, (unsigned)(reader)->line, __VA_ARGS__)

static bool is_digit(int c) {
  return c >= '0' && c <= '9';
}
static bool is_octal(int c) {
  return c >= '0' && c <= '7';
}
static bool is_letter(int c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static int hex_value(int c) { /* -1: not a hex digit */
  if (is_digit(c)) return c - '0';
  int lower = c | 0x20;
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Next byte; -1 at the end. */
static int peek(const amct_text_reader *reader) {
  return reader->at != reader->end ? *reader->at : -1;
}

static void skip_space(amct_text_reader *reader) {
  bool comment = false;
  for (; reader->at != reader->end; reader->at++) {
    uint8_t c = *reader->at;
    if (c == '\n') {
      reader->line++;
      comment = false;
    } else if (c == '#') {
      comment = true;
    } else if (!comment && c != ' ' && c != '\t' && c != '\r' && c != '\v' && c != '\f') {
      return;
    }
  }
}

static bool accept(amct_text_reader *reader, int wanted) {
  skip_space(reader);
  if (peek(reader) != wanted) return false;
  reader->at++;
  return true;
}

static amct_status fail_unexpected(const amct_text_reader *reader, const char *wanted,
                                   amct_error *err) {
  int c = peek(reader);
  if (c < 0) return FAIL_TEXT(reader, err, "end of the text where %s is wanted", wanted);
  if (c > 0x20 && c < 0x7F)
    return FAIL_TEXT(reader, err, "'%c' where %s is wanted", c, wanted);
  return FAIL_TEXT(reader, err, "byte 0x%02X where %s is wanted", (unsigned)c, wanted);
}

/* ---- strings ---- */

static void put_utf8(amct_buffer *buffer, uint32_t code) {
  uint8_t bytes[4];
  size_t size = 0;
  if (code < 0x80) {
    bytes[size++] = (uint8_t)code;
  } else if (code < 0x800) {
    bytes[size++] = (uint8_t)(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    bytes[size++] = (uint8_t)(0xE0 | code >> 12);
    bytes[size++] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
  } else {
    bytes[size++] = (uint8_t)(0xF0 | code >> 18);
    bytes[size++] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
    bytes[size++] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
  }
  if (code >= 0x80) bytes[size++] = (uint8_t)(0x80 | (code & 0x3F));
  amct_buffer_append(buffer, bytes, size);
}

/* At most `digits` hex digits; how many there were. */
static int take_hex(amct_text_reader *reader, int digits, uint32_t *value) {
  int taken = 0;
  *value = 0;
  for (; taken < digits && hex_value(peek(reader)) >= 0; taken++, reader->at++)
    *value = *value << 4 | (uint32_t)hex_value(*reader->at);
  return taken;
}

static bool is_surrogate(uint32_t code) {
  return code >= 0xD800 && code < 0xE000;
}

/* \uXXXX or \UXXXXXXXX, after the letter. A pair of surrogates makes one character. */
static amct_status take_unicode(amct_text_reader *reader, int digits, amct_error *err) {
  uint32_t code = 0;
  if (take_hex(reader, digits, &code) != digits)
    return FAIL_TEXT(reader, err, "a unicode escape wants %d hex digits", digits);
  if (code >= 0xD800 && code < 0xDC00 && reader->end - reader->at >= 2 &&
      reader->at[0] == '\\' && reader->at[1] == 'u') {
    uint32_t low = 0;
    reader->at += 2;
    if (take_hex(reader, 4, &low) == 4 && low >= 0xDC00 && low < 0xE000)
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  if (is_surrogate(code) || code > 0x10FFFF)
    return FAIL_TEXT(reader, err, "0x%X is not a unicode character", (unsigned)code);
  put_utf8(&reader->unescaped, code);
  return AMCT_OK;
}

static amct_status take_octal(amct_text_reader *reader, amct_error *err) {
  unsigned value = 0;
  for (int i = 0; i < 3 && is_octal(peek(reader)); i++, reader->at++)
    value = value * 8 + (unsigned)(*reader->at - '0');
  if (value > 0xFF)
    return FAIL_TEXT(reader, err, "octal escape \\%o is over one byte", value);
  uint8_t byte = (uint8_t)value;
  amct_buffer_append(&reader->unescaped, &byte, 1);
  return AMCT_OK;
}

/* One escape, after the backslash. */
static amct_status take_escape(amct_text_reader *reader, amct_error *err) {
  static const char letters[] = "abfnrtv\\'\"?";
  static const char meanings[] = "\a\b\f\n\r\t\v\\'\"?";
  int c = peek(reader);
  if (is_octal(c)) return take_octal(reader, err);
  if (c < 0) return fail_unexpected(reader, "an escape", err);
  const char *known = c != 0 ? strchr(letters, c) : NULL;
  if (known == NULL && c != 'x' && c != 'X' && c != 'u' && c != 'U')
    return fail_unexpected(reader, "an escape", err);
  reader->at++;
  if (known != NULL) {
    amct_buffer_append(&reader->unescaped, meanings + (known - letters), 1);
    return AMCT_OK;
  }
  if (c == 'u' || c == 'U') return take_unicode(reader, c == 'u' ? 4 : 8, err);

  uint32_t value = 0;
  if (take_hex(reader, 2, &value) == 0)
    return fail_unexpected(reader, "a hex digit", err);
  uint8_t byte = (uint8_t)value;
  amct_buffer_append(&reader->unescaped, &byte, 1);
  return AMCT_OK;
}

/* One literal, at its opening quote, appended to reader->unescaped. */
static amct_status unescape_literal(amct_text_reader *reader, amct_error *err) {
  uint8_t quote = *reader->at++;
  for (;;) {
    const uint8_t *run = reader->at;
    while (reader->at != reader->end && *reader->at != quote && *reader->at != '\\' &&
           *reader->at != '\n')
      reader->at++;
    amct_buffer_append(&reader->unescaped, run, (size_t)(reader->at - run));
    int c = peek(reader);
    if (c < 0 || c == '\n')
      return FAIL_TEXT(reader, err, "a string is not closed on its line%s", "");
    reader->at++;
    if (c == quote) return AMCT_OK;
    AMCT_TRY(take_escape(reader, err));
  }
}

static bool at_quote(const amct_text_reader *reader) {
  return peek(reader) == '"' || peek(reader) == '\'';
}

/* A literal without escapes and without a neighbour is a view of the text. */
static bool take_plain_string(amct_text_reader *reader) {
  amct_text_reader ahead = {.at = reader->at, .end = reader->end};
  uint8_t quote = *ahead.at++;
  while (peek(&ahead) >= 0 && peek(&ahead) != quote && peek(&ahead) != '\\' &&
         peek(&ahead) != '\n')
    ahead.at++;
  if (peek(&ahead) != quote) return false;

  const uint8_t *first = reader->at + 1;
  const uint8_t *last = ahead.at++;
  const uint8_t *after = ahead.at;
  skip_space(&ahead);
  if (at_quote(&ahead)) return false;
  reader->value = (amct_slice){first, (size_t)(last - first)};
  reader->at = after;
  return true;
}

static amct_status take_string(amct_text_reader *reader, amct_error *err) {
  reader->quoted = true;
  if (take_plain_string(reader)) return AMCT_OK;
  const uint8_t *after = NULL;
  uint32_t line = 0;
  do {
    AMCT_TRY(unescape_literal(reader, err));
    after = reader->at;
    line = reader->line;
    skip_space(reader);
  } while (at_quote(reader));
  reader->at = after; /* the line stays that of the value */
  reader->line = line;
  if (reader->unescaped.failed) return amct_fail_memory(err);
  reader->value = (amct_slice){reader->unescaped.data, reader->unescaped.size};
  return AMCT_OK;
}

/* ---- numbers and words ---- */

static amct_slice take_word(amct_text_reader *reader) {
  const uint8_t *first = reader->at;
  while (is_letter(peek(reader)) || is_digit(peek(reader)))
    reader->at++;
  return (amct_slice){first, (size_t)(reader->at - first)};
}

static bool is_hex_prefixed(amct_slice token) {
  return token.size >= 2 && token.data[0] == '0' && (token.data[1] | 0x20) == 'x';
}

static bool is_number(amct_slice token) {
  if (is_hex_prefixed(token)) {
    for (size_t i = 2; i < token.size; i++) {
      if (hex_value(token.data[i]) < 0) return false;
    }
    return token.size > 2;
  }
  if (token.size >= 2 && token.data[0] == '0' && is_digit(token.data[1])) {
    for (size_t i = 1; i < token.size; i++) {
      if (!is_octal(token.data[i])) return false;
    }
    return true;
  }
  double ignored = 0;
  return amct_number_read_double(token, &ignored);
}

/* At a digit or '.'. All that might belong to a number is taken and then judged whole. */
static amct_status take_number(amct_text_reader *reader, amct_slice *token,
                               amct_error *err) {
  const uint8_t *first = reader->at;
  for (;; reader->at++) {
    int c = peek(reader);
    bool sign = (c == '+' || c == '-') && reader->at != first &&
                (reader->at[-1] | 0x20) == 'e' &&
                !is_hex_prefixed((amct_slice){first, (size_t)(reader->at - first)});
    if (!is_letter(c) && !is_digit(c) && c != '.' && !sign) break;
  }
  *token = (amct_slice){first, (size_t)(reader->at - first)};
  if (is_number(*token)) return AMCT_OK;
  return FAIL_TEXT(reader, err, "'" TOKEN_FORMAT "' is not a number", TOKEN_ARGS(*token));
}

/* After a '-': a number, inf, infinity or nan. */
static amct_status take_negative(amct_text_reader *reader, amct_error *err) {
  const uint8_t *minus = reader->at++;
  skip_space(reader);
  amct_slice token = {0};
  int c = peek(reader);
  if (is_digit(c) || c == '.') {
    AMCT_TRY(take_number(reader, &token, err));
  } else {
    double ignored = 0;
    token = take_word(reader);
    if (!amct_number_read_double(token, &ignored)) {
      reader->at = minus + 1;
      return FAIL_TEXT(reader, err, "a number is wanted after '-'%s", "");
    }
  }
  if (token.data == minus + 1) {
    reader->value = (amct_slice){minus, token.size + 1};
    return AMCT_OK;
  }
  amct_buffer_text(&reader->unescaped, "-");
  amct_buffer_append(&reader->unescaped, token.data, token.size);
  if (reader->unescaped.failed) return amct_fail_memory(err);
  reader->value = (amct_slice){reader->unescaped.data, reader->unescaped.size};
  return AMCT_OK;
}

static amct_status take_scalar(amct_text_reader *reader, amct_error *err) {
  int c = peek(reader);
  if (c == '"' || c == '\'') return take_string(reader, err);
  if (c == '-') return take_negative(reader, err);
  if (is_digit(c) || c == '.') return take_number(reader, &reader->value, err);
  if (!is_letter(c)) return fail_unexpected(reader, "a value", err);
  reader->value = take_word(reader);
  return AMCT_OK;
}

/* ---- structure ---- */

static bool at_open(const amct_text_reader *reader) {
  return peek(reader) == '{' || peek(reader) == '<';
}

static amct_status open_message(amct_text_reader *reader, amct_slice name,
                                amct_text_event *event, amct_error *err) {
  if (reader->depth == AMCT_TEXT_DEPTH_MAX)
    return FAIL_TEXT(reader, err, "messages nest deeper than %d", AMCT_TEXT_DEPTH_MAX);
  uint8_t closer = *reader->at++ == '{' ? '}' : '>';
  reader->depth++;
  reader->level[reader->depth] =
      (amct_text_level){.name = name, .closer = closer, .line = reader->line};
  reader->name = name;
  *event = AMCT_TEXT_OPEN;
  return AMCT_OK;
}

static void close_message(amct_text_reader *reader, amct_text_event *event) {
  reader->at++;
  reader->name = reader->level[reader->depth].name;
  reader->depth--;
  reader->after_field = reader->level[reader->depth].list == AMCT_TEXT_NO_LIST;
  *event = AMCT_TEXT_CLOSE;
}

/* One element of the list that is open, or its end (`*more` false). */
static amct_status next_element(amct_text_reader *reader, amct_text_event *event,
                                bool *more, amct_error *err) {
  amct_text_level *level = &reader->level[reader->depth];
  *more = false;
  if (accept(reader, ']')) {
    level->list = AMCT_TEXT_NO_LIST;
    reader->after_field = true;
    return AMCT_OK;
  }
  if (level->list != AMCT_TEXT_LIST_EMPTY && !accept(reader, ','))
    return fail_unexpected(reader, "',' or ']'", err);
  skip_space(reader);

  amct_text_list kind =
      at_open(reader) ? AMCT_TEXT_LIST_MESSAGES : AMCT_TEXT_LIST_SCALARS;
  if (level->list != AMCT_TEXT_LIST_EMPTY && level->list != kind)
    return FAIL_TEXT(reader, err,
                     "list '" TOKEN_FORMAT "' mixes messages and plain values",
                     TOKEN_ARGS(level->list_name));
  *more = true;
  level->list = kind;
  if (kind == AMCT_TEXT_LIST_MESSAGES)
    return open_message(reader, level->list_name, event, err);
  if (!level->list_has_colon)
    return FAIL_TEXT(reader, err,
                     "':' is wanted between '" TOKEN_FORMAT "' and its values",
                     TOKEN_ARGS(level->list_name));
  reader->name = level->list_name;
  *event = AMCT_TEXT_SCALAR;
  return take_scalar(reader, err);
}

/* A field from its name; `*more` false: a list was opened, nothing to report yet. */
static amct_status next_field(amct_text_reader *reader, amct_text_event *event,
                              bool *more, amct_error *err) {
  if (peek(reader) == '[')
    return FAIL_TEXT(reader, err, "fields named in brackets (%s) are not supported",
                     "extensions and Any");
  if (!is_letter(peek(reader))) return fail_unexpected(reader, "a field name", err);
  reader->name = take_word(reader);
  bool colon = accept(reader, ':');
  skip_space(reader);
  *more = true;
  if (at_open(reader)) return open_message(reader, reader->name, event, err);

  if (peek(reader) == '[') {
    amct_text_level *level = &reader->level[reader->depth];
    reader->at++;
    level->list = AMCT_TEXT_LIST_EMPTY;
    level->list_name = reader->name;
    level->list_has_colon = colon;
    *more = false;
    return AMCT_OK;
  }
  if (!colon) return fail_unexpected(reader, "':'", err);
  *event = AMCT_TEXT_SCALAR;
  reader->after_field = true;
  return take_scalar(reader, err);
}

static amct_status next_event(amct_text_reader *reader, amct_text_event *event,
                              bool *more, amct_error *err) {
  amct_text_level *level = &reader->level[reader->depth];
  if (level->list != AMCT_TEXT_NO_LIST) return next_element(reader, event, more, err);
  if (reader->after_field && !accept(reader, ',')) (void)accept(reader, ';');
  reader->after_field = false;
  skip_space(reader);
  *more = true;
  if (peek(reader) < 0) {
    *event = AMCT_TEXT_END;
    if (reader->depth == 0) return AMCT_OK;
    return FAIL_TEXT(reader, err, "message '" TOKEN_FORMAT "' of line %u is not closed",
                     TOKEN_ARGS(level->name), (unsigned)level->line);
  }
  if (reader->depth != 0 && peek(reader) == level->closer) {
    close_message(reader, event);
    return AMCT_OK;
  }
  return next_field(reader, event, more, err);
}

void amct_text_reader_open(amct_text_reader *reader, amct_slice text) {
  static const uint8_t byte_order_mark[] = {0xEF, 0xBB, 0xBF};
  *reader = (amct_text_reader){.line = 1};
  if (text.size == 0) text = amct_slice_of("");
  reader->start = reader->at = text.data;
  reader->end = text.data + text.size;
  if (text.size >= 3 && memcmp(text.data, byte_order_mark, 3) == 0) reader->at += 3;
}

amct_status amct_text_next(amct_text_reader *reader, amct_text_event *event,
                           amct_error *err) {
  bool more = false;
  reader->value = (amct_slice){0};
  reader->quoted = false;
  reader->unescaped.size = 0;
  *event = AMCT_TEXT_END;
  while (!more) /* the start and the end of a list are no events */
    AMCT_TRY(next_event(reader, event, &more, err));
  return AMCT_OK;
}

void amct_text_reader_close(amct_text_reader *reader) {
  amct_buffer_free(&reader->unescaped);
}

static void put_byte(amct_buffer *buffer, uint8_t c) {
  static const char specials[] = "\n\r\t\"'\\";
  static const char letters[] = "nrt\"'\\";
  const char *special = c != 0 ? strchr(specials, c) : NULL;
  if (special != NULL) {
    char escape[2] = {'\\', letters[special - specials]};
    amct_buffer_append(buffer, escape, sizeof escape);
  } else if (c >= 0x20 && c < 0x7F) {
    amct_buffer_append(buffer, &c, 1);
  } else {
    amct_buffer_format(buffer, "\\%03o", (unsigned)c);
  }
}

void amct_text_put_string(amct_buffer *buffer, amct_slice value) {
  amct_buffer_text(buffer, "\"");
  for (size_t i = 0; i < value.size; i++)
    put_byte(buffer, value.data[i]);
  amct_buffer_text(buffer, "\"");
}
