/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text to graph. By hand, these help beyond what the printer writes:
 *
 *   w v = Const() {value=float[3,3,3,8](ramp)}   two nodes alike; 0.01, 0.02, .. 1.00,
 * 0.01, .. b = Const() {value=float[8](fill 0.5)}       one typed value, repeated c =
 * Const() {value=float[8](1,2,...)}        fewer values than elements: the last one
 * repeated
 *
 * All values given: tensor_content; fewer: typed values. `list[1,2]` is a list under the
 * key "shape", and `shape[1,2]` a shape under any other. Lines may be broken between
 * tokens.
 */
#include <stdarg.h>
#include <stdio.h>

#include "graph/text_private.h"

amct_status amct_scan_fail(const amct_scan *scan, amct_error *err, const char *format,
                           ...) {
  char text[AMCT_ERROR_TEXT_BYTES];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return amct_fail(err, AMCT_BAD_FORMAT, NULL, "line %u: %s", scan->line, text);
}

uint8_t amct_scan_peek(amct_scan *scan) {
  bool comment = false;
  for (; scan->at < scan->end; scan->at++) {
    const uint8_t c = *scan->at;
    if (c == '\n') {
      comment = false;
      scan->line++;
    } else if (c == '#') {
      comment = true;
    } else if (!comment && c != ' ' && c != '\t' && c != '\r') {
      return c;
    }
  }
  return '\0';
}

bool amct_scan_take(amct_scan *scan, char c) {
  if (amct_scan_peek(scan) != (uint8_t)c || scan->at == scan->end) return false;
  scan->at++;
  return true;
}

amct_status amct_scan_expect(amct_scan *scan, char c, amct_error *err) {
  if (amct_scan_take(scan, c)) return AMCT_OK;
  if (scan->at == scan->end)
    return amct_scan_fail(scan, err, "'%c' missing at the end", c);
  return amct_scan_fail(scan, err, "'%c' where '%c' is expected", (int)*scan->at, c);
}

static int hex_digit(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* After a backslash: \n \t \r, \xHH, octal, or the character itself. */
static bool unescape(amct_scan *scan, uint8_t *out) {
  static const char k_letter[] = "ntr", k_meaning[] = "\n\t\r";
  if (scan->at == scan->end) return false;
  const uint8_t c = *scan->at++;
  const char *letter = c == '\0' ? NULL : strchr(k_letter, c);
  if (letter != NULL) {
    *out = (uint8_t)k_meaning[letter - k_letter];
    return true;
  }
  const bool hex = c == 'x';
  if (!hex && (c < '0' || c > '7')) {
    *out = c;
    return true;
  }
  int value = hex ? 0 : c - '0';
  for (int digits = hex ? 0 : 1; digits < (hex ? 2 : 3) && scan->at < scan->end;
       digits++) {
    const int digit = hex_digit(*scan->at);
    if (digit < 0 || (!hex && digit > 7)) break;
    value = value * (hex ? 16 : 8) + digit;
    scan->at++;
  }
  *out = (uint8_t)value;
  return value <= 255;
}

static amct_status scan_string(amct_scan *scan, amct_token *token, amct_error *err) {
  size_t room = 0;
  while (scan->at + room < scan->end && scan->at[room] != '"')
    room += scan->at[room] == '\\' && scan->at + room + 1 < scan->end ? 2 : 1;
  uint8_t *text = amct_arena_alloc(&scan->arena, room + 1);
  if (text == NULL) return amct_fail_memory(err);
  token->text.data = text;
  token->text.size = 0;
  token->quoted = true;
  while (scan->at < scan->end) {
    const uint8_t c = *scan->at++;
    if (c == '"') return AMCT_OK;
    if (c == '\n') break;
    text[token->text.size] = c;
    if (c == '\\' && !unescape(scan, &text[token->text.size])) break;
    token->text.size++;
  }
  return amct_scan_fail(scan, err, "string without an end");
}

amct_status amct_scan_token(amct_scan *scan, amct_token *token, amct_error *err) {
  const uint8_t c = amct_scan_peek(scan);
  if (c == '"') {
    scan->at++;
    return scan_string(scan, token, err);
  }
  token->quoted = false;
  token->text.data = scan->at;
  while (scan->at < scan->end && amct_text_is_word(*scan->at))
    scan->at++;
  token->text.size = (size_t)(scan->at - token->text.data);
  if (token->text.size > 0) return AMCT_OK;
  if (scan->at == scan->end) return amct_scan_fail(scan, err, "word missing at the end");
  return amct_scan_fail(scan, err, "'%c' where a word is expected", (int)c);
}

/* One statement: what all its nodes have in common, then their names. */
typedef struct statement {
  AMCT_VEC(amct_slice) names;
  amct_slice op;
  amct_buffer body; /* NodeDef without the name */
  bool has_type, has_dtype;
  amct_dtype dtype; /* of the value of a constant */
} statement;

static amct_status read_input(amct_scan *scan, statement *s, amct_error *err) {
  amct_token token;
  const bool control = amct_scan_take(scan, '^');
  AMCT_TRY(amct_scan_token(scan, &token, err));
  amct_slice port = {NULL, 0};
  if (scan->at < scan->end && *scan->at == ':') {
    port.data = scan->at++;
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
      scan->at++;
    port.size = (size_t)(scan->at - port.data);
  }
  amct_put_tag(&s->body, NODE_INPUT, AMCT_WIRE_BYTES);
  amct_put_varint(&s->body, (control ? 1 : 0) + token.text.size + port.size);
  amct_buffer_append(&s->body, "^", control ? 1 : 0);
  amct_buffer_append(&s->body, token.text.data, token.text.size);
  amct_buffer_append(&s->body, port.data, port.size);
  return AMCT_OK;
}

static void put_attr(statement *s, amct_slice key, const amct_buffer *value) {
  amct_buffer entry = {0};
  const amct_slice bytes = {value->data, value->size};
  amct_put_bytes(&entry, ENTRY_KEY, key);
  amct_put_bytes(&entry, ENTRY_VALUE, bytes);
  const amct_slice whole = {entry.data, entry.size};
  amct_put_bytes(&s->body, NODE_ATTR, whole);
  s->body.failed = s->body.failed || entry.failed || value->failed;
  amct_buffer_free(&entry);
}

static amct_status read_attr(amct_scan *scan, statement *s, amct_error *err) {
  amct_token key;
  AMCT_TRY(amct_scan_token(scan, &key, err));
  AMCT_TRY(amct_scan_expect(scan, '=', err));
  amct_buffer value = {0};
  const amct_status status = amct_text_value(scan, key.text, &value, &s->dtype, err);
  if (status == AMCT_OK) put_attr(s, key.text, &value);
  amct_buffer_free(&value);
  s->has_type = s->has_type || amct_slice_equal(key.text, amct_slice_of("T"));
  s->has_dtype = s->has_dtype || amct_slice_equal(key.text, amct_slice_of("dtype"));
  return status;
}

static void put_type(statement *s, const char *key, amct_dtype dtype) {
  amct_buffer value = {0};
  amct_put_int(&value, ATTR_TYPE, dtype);
  put_attr(s, amct_slice_of(key), &value);
  amct_buffer_free(&value);
}

/* T or dtype, as the op has it, where the text leaves it out. */
static void put_default_type(statement *s) {
  static const char *const k_dtype[] = {
      "Const",      "Placeholder",      "VarHandleOp",           "ReadVariableOp",
      "VariableV2", "AssignVariableOp", "PlaceholderWithDefault"};
  if (amct_slice_equal(s->op, amct_slice_of("NoOp"))) return;
  for (size_t i = 0; i < sizeof k_dtype / sizeof k_dtype[0]; i++) {
    if (!amct_slice_equal(s->op, amct_slice_of(k_dtype[i]))) continue;
    if (!s->has_dtype) put_type(s, "dtype", s->dtype);
    return;
  }
  if (!s->has_type) put_type(s, "T", AMCT_DTYPE_FLOAT);
}

/* Items between `open` (taken) and `close`, separated by commas. */
static amct_status read_items(amct_scan *scan, statement *s, char close,
                              amct_status (*item)(amct_scan *, statement *, amct_error *),
                              amct_error *err) {
  if (amct_scan_take(scan, close)) return AMCT_OK;
  do {
    AMCT_TRY(item(scan, s, err));
  } while (amct_scan_take(scan, ','));
  return amct_scan_expect(scan, close, err);
}

/* A device is a string, or runs to the next space. */
static amct_status read_device(amct_scan *scan, statement *s, amct_error *err) {
  amct_token token = {{scan->at, 0}, false};
  if (amct_scan_peek(scan) == '"') {
    AMCT_TRY(amct_scan_token(scan, &token, err));
  } else {
    token.text.data = scan->at;
    while (scan->at<scan->end && * scan->at> ' ')
      scan->at++;
    token.text.size = (size_t)(scan->at - token.text.data);
  }
  amct_put_bytes(&s->body, NODE_DEVICE, token.text);
  return AMCT_OK;
}

static amct_status read_statement(amct_scan *scan, statement *s, amct_error *err) {
  amct_token token;
  do {
    AMCT_TRY(amct_scan_token(scan, &token, err));
    if (!AMCT_VEC_PUSH(&s->names, token.text)) return amct_fail_memory(err);
  } while (!amct_scan_take(scan, '='));
  AMCT_TRY(amct_scan_token(scan, &token, err));
  s->op = token.text;
  s->dtype = AMCT_DTYPE_FLOAT;
  amct_put_bytes(&s->body, NODE_OP, token.text);
  AMCT_TRY(amct_scan_expect(scan, '(', err));
  AMCT_TRY(read_items(scan, s, ')', read_input, err));
  if (amct_scan_take(scan, '{')) AMCT_TRY(read_items(scan, s, '}', read_attr, err));
  put_default_type(s);
  return amct_scan_take(scan, '@') ? read_device(scan, s, err) : AMCT_OK;
}

static void put_nodes(const statement *s, amct_buffer *graph) {
  for (size_t i = 0; i < s->names.count; i++) {
    const amct_slice name = s->names.at[i];
    amct_put_tag(graph, GRAPH_NODE, AMCT_WIRE_BYTES);
    amct_put_varint(graph, 1 + amct_varint_size(name.size) + name.size + s->body.size);
    amct_put_bytes(graph, NODE_NAME, name);
    amct_buffer_append(graph, s->body.data, s->body.size);
  }
  graph->failed = graph->failed || s->body.failed;
}

amct_status amct_graph_from_text(amct_graph **out, amct_slice text, amct_error *err) {
  *out = NULL;
  amct_status status = AMCT_OK;
  amct_buffer bytes = {0};
  amct_scan scan = {.at = text.data, .end = text.data, .line = 1};
  if (text.size > 0) scan.end += text.size;
  while (status == AMCT_OK && amct_scan_peek(&scan) != '\0') {
    statement s = {.dtype = AMCT_DTYPE_FLOAT};
    status = read_statement(&scan, &s, err);
    if (status == AMCT_OK) put_nodes(&s, &bytes);
    AMCT_VEC_FREE(&s.names);
    amct_buffer_free(&s.body);
  }
  amct_arena_free(&scan.arena);
  if (status == AMCT_OK && scan.at != scan.end)
    status = amct_scan_fail(&scan, err, "NUL byte");
  if (status == AMCT_OK && bytes.failed) status = amct_fail_memory(err);
  if (status == AMCT_OK) return amct_graph_adopt(out, &bytes, "text", err);
  amct_buffer_free(&bytes);
  return status;
}
