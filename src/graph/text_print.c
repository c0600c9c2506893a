/* SPDX-License-Identifier: Apache-2.0 */
/* Graph to text. Attributes are sorted by key, so that the text is the same for the same
 * graph. */
#include <stdlib.h>

#include "base/number.h"
#include "graph/text_private.h"
#include "wire/textproto.h"

enum { ELEMENTS_MAX = 8 };

/* Bare words are what reads back as the same text. */
static bool is_word(amct_slice text) {
  double number;
  if (text.size == 0 || !amct_text_is_word(text.data[0])) return false;
  for (size_t i = 0; i < text.size; i++) {
    if (!amct_text_is_word(text.data[i])) return false;
  }
  return !amct_slice_equal(text, amct_slice_of("true")) &&
         !amct_slice_equal(text, amct_slice_of("false")) &&
         !(text.size >= 3 && memcmp(text.data, "DT_", 3) == 0) &&
         !amct_number_read_double(text, &number);
}

static void put_text(amct_buffer *out, amct_slice text) {
  if (is_word(text)) {
    amct_buffer_append(out, text.data, text.size);
  } else {
    amct_text_put_string(out, text);
  }
}

/* With a point or exponent, so that it reads back as a float. */
static void put_float(amct_buffer *out, float value) {
  char text[AMCT_NUMBER_BYTES];
  amct_number_print_float(text, value);
  amct_buffer_text(out, text);
  if (strpbrk(text, ".en") == NULL) amct_buffer_text(out, ".0");
}

static void put_float_bits(amct_buffer *out, uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  put_float(out, value);
}

static void put_type(amct_buffer *out, int32_t dtype) {
  const int32_t base = dtype > AMCT_DTYPE_REF ? dtype - AMCT_DTYPE_REF : dtype;
  const char *name = amct_dtype_name((amct_dtype)base);
  if (name[0] == '?') {
    amct_buffer_format(out, "DT_%d", (int)dtype);
  } else {
    amct_buffer_format(out, "DT_%s%s", name, base == dtype ? "" : "_REF");
  }
}

static void put_dims(amct_buffer *out, const amct_shape *shape) {
  if (shape->rank < 0) {
    amct_buffer_text(out, "?");
    return;
  }
  amct_buffer_text(out, "[");
  for (int32_t i = 0; i < shape->rank; i++) {
    if (i > 0) amct_buffer_text(out, ",");
    if (shape->dims[i] < 0) {
      amct_buffer_text(out, "?");
    } else {
      amct_buffer_format(out, "%lld", (long long)shape->dims[i]);
    }
  }
  amct_buffer_text(out, "]");
}

static void put_shape(amct_buffer *out, amct_slice message) {
  amct_shape shape;
  if (amct_shape_read(message, &shape)) {
    put_dims(out, &shape);
  } else {
    amct_buffer_format(out, "shape<%zu bytes>", message.size);
  }
}

static void put_elements(amct_buffer *out, const amct_tensor *tensor) {
  float floats[ELEMENTS_MAX];
  int64_t ints[ELEMENTS_MAX];
  const size_t count = tensor->count < ELEMENTS_MAX ? tensor->count : ELEMENTS_MAX;
  const bool real = amct_dtype_is_real(tensor->dtype);
  if (!amct_tensor_first(tensor, count, real ? floats : NULL, ints)) return;
  for (size_t i = 0; i < count; i++) {
    if (i > 0) amct_buffer_text(out, ",");
    if (real) {
      char text[AMCT_NUMBER_BYTES];
      amct_number_print_float(text, floats[i]);
      amct_buffer_text(out, text);
    } else if (tensor->dtype == AMCT_DTYPE_BOOL) {
      amct_buffer_text(out, ints[i] != 0 ? "true" : "false");
    } else if (tensor->dtype == AMCT_DTYPE_UINT64) {
      amct_buffer_format(out, "%llu", (unsigned long long)ints[i]);
    } else {
      amct_buffer_format(out, "%lld", (long long)ints[i]);
    }
  }
  if (count < tensor->count) amct_buffer_text(out, ",...");
}

/* The value of a constant: float[2,3](1,2,3,...). */
static void put_tensor(amct_buffer *out, const amct_node *node, amct_slice message) {
  amct_tensor tensor;
  if (amct_const_tensor(node, &tensor, NULL) != AMCT_OK ||
      tensor.message.data != message.data) {
    amct_buffer_format(out, "tensor<%zu bytes>", message.size);
    return;
  }
  for (const char *c = amct_dtype_name(tensor.dtype); *c != '\0'; c++) {
    const char lower = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
    amct_buffer_append(out, &lower, 1);
  }
  put_dims(out, &tensor.shape);
  if (amct_dtype_bytes(tensor.dtype) == 0) return;
  amct_buffer_text(out, "(");
  put_elements(out, &tensor);
  amct_buffer_text(out, ")");
}

static void put_number(amct_buffer *out, uint32_t kind, uint64_t bits) {
  switch (kind) {
  case ATTR_F:
    put_float_bits(out, (uint32_t)bits);
    break;
  case ATTR_B:
    amct_buffer_text(out, bits != 0 ? "true" : "false");
    break;
  case ATTR_TYPE:
    put_type(out, (int32_t)bits);
    break;
  default:
    amct_buffer_format(out, "%lld", (long long)bits);
    break;
  }
}

static void put_item(amct_buffer *out, const amct_field *field) {
  switch (field->number) {
  case ATTR_S:
    put_text(out, field->bytes);
    break;
  case ATTR_SHAPE:
    put_shape(out, field->bytes);
    break;
  case ATTR_TENSOR:
    amct_buffer_format(out, "tensor<%zu bytes>", field->bytes.size);
    break;
  default:
    amct_buffer_format(out, "func<%zu bytes>", field->bytes.size);
    break;
  }
}

static bool is_number_kind(uint32_t kind) {
  return kind == ATTR_I || kind == ATTR_F || kind == ATTR_B || kind == ATTR_TYPE;
}

/* A packed run of a list. */
static void put_run(amct_buffer *out, uint32_t kind, amct_slice run, bool *started) {
  while (run.size > 0) {
    uint64_t bits = 0;
    if (!amct_take_packed(&run, kind == ATTR_F ? AMCT_WIRE_FIXED32 : AMCT_WIRE_VARINT,
                          &bits))
      return;
    if (*started) amct_buffer_text(out, ",");
    *started = true;
    put_number(out, kind, bits);
  }
}

static void put_list(amct_buffer *out, const char *prefix, amct_slice list) {
  amct_cursor cursor = amct_cursor_of(list, list.data);
  amct_field field;
  bool more, started = false;
  amct_buffer_text(out, prefix);
  amct_buffer_text(out, "[");
  while (amct_cursor_next(&cursor, &field, &more, NULL) == AMCT_OK && more) {
    const bool number = is_number_kind(field.number);
    if (number && field.wire == AMCT_WIRE_BYTES) {
      put_run(out, field.number, field.bytes, &started);
      continue;
    }
    if (number == (field.wire == AMCT_WIRE_BYTES)) continue;
    if (started) amct_buffer_text(out, ",");
    started = true;
    if (number) {
      put_number(out, field.number, field.varint);
    } else {
      put_item(out, &field);
    }
  }
  amct_buffer_text(out, "]");
}

/* "shape" is the one key under which [..] means a shape and not a list. */
static void put_value(amct_buffer *out, const amct_node *node, const amct_attr *attr) {
  const bool shape_key = amct_slice_equal(attr->key, amct_slice_of("shape"));
  amct_cursor cursor = amct_cursor_of(attr->value, attr->value.data);
  amct_field field, last = {0};
  bool more;
  while (amct_cursor_next(&cursor, &field, &more, NULL) == AMCT_OK && more) {
    const bool known = field.number >= ATTR_LIST && field.number <= ATTR_FUNC;
    if (known && is_number_kind(field.number) != (field.wire == AMCT_WIRE_BYTES))
      last = field;
  }
  if (last.number == 0) {
    amct_buffer_text(out, "{}");
  } else if (is_number_kind(last.number)) {
    put_number(out, last.number, last.varint);
  } else if (last.number == ATTR_LIST) {
    put_list(out, shape_key ? "list" : "", last.bytes);
  } else if (last.number == ATTR_TENSOR) {
    put_tensor(out, node, last.bytes);
  } else {
    /* "?" is a shape anyway */
    amct_shape shape;
    if (last.number == ATTR_SHAPE && !shape_key && amct_shape_read(last.bytes, &shape) &&
        shape.rank >= 0)
      amct_buffer_text(out, "shape");
    put_item(out, &last);
  }
}

void amct_attr_print(const amct_node *node, size_t i, amct_buffer *buffer) {
  if (i < node->body->attr_count) put_value(buffer, node, &node->body->attrs[i]);
}

/* What the reader of the text would assume anyway. */
static bool is_left_out(const amct_node *node, const amct_attr *attr) {
  const bool is_const = strcmp(node->op, "Const") == 0;
  if (amct_slice_equal(attr->key, amct_slice_of("_output_shapes"))) return is_const;
  const bool is_dtype = amct_slice_equal(attr->key, amct_slice_of("dtype"));
  if (!is_dtype && !amct_slice_equal(attr->key, amct_slice_of("T"))) return false;
  amct_tensor tensor;
  if (is_const && is_dtype && amct_const_tensor(node, &tensor, NULL) == AMCT_OK)
    return true;
  amct_dtype dtype;
  return amct_attr_type(node, is_dtype ? "dtype" : "T", &dtype) &&
         dtype == AMCT_DTYPE_FLOAT;
}

/* By key; of one key, in file order. */
static int compare(const void *left, const void *right) {
  const amct_attr *a = *(const amct_attr *const *)left,
                  *b = *(const amct_attr *const *)right;
  const size_t size = a->key.size < b->key.size ? a->key.size : b->key.size;
  const int order = size == 0 ? 0 : memcmp(a->key.data, b->key.data, size);
  if (order != 0) return order;
  if (a->key.size != b->key.size) return a->key.size < b->key.size ? -1 : 1;
  return a < b ? -1 : 1;
}

static void put_attrs(amct_buffer *out, const amct_node *node) {
  const size_t count = node->body->attr_count;
  if (count == 0) return;
  const amct_attr **sorted = amct_alloc_array(count, sizeof *sorted);
  if (sorted == NULL) {
    out->failed = true;
    return;
  }
  for (size_t i = 0; i < count; i++)
    sorted[i] = &node->body->attrs[i];
  qsort(sorted, count, sizeof *sorted, compare);
  bool started = false;
  for (size_t i = 0; i < count; i++) {
    if (i + 1 < count && amct_slice_equal(sorted[i]->key, sorted[i + 1]->key)) continue;
    if (is_left_out(node, sorted[i])) continue;
    amct_buffer_text(out, started ? ", " : " {");
    started = true;
    put_text(out, sorted[i]->key);
    amct_buffer_text(out, "=");
    put_value(out, node, sorted[i]);
  }
  if (started) amct_buffer_text(out, "}");
  amct_free(sorted);
}

static void put_inputs(amct_buffer *out, const amct_node *node) {
  amct_buffer_text(out, "(");
  for (uint32_t i = 0; i < node->input_count; i++) {
    const amct_edge edge = node->inputs[i];
    if (i > 0) amct_buffer_text(out, ", ");
    if (edge.port == AMCT_CONTROL) amct_buffer_text(out, "^");
    put_text(out, amct_slice_of(edge.node->name));
    if (edge.port > 0) amct_buffer_format(out, ":%d", (int)edge.port);
  }
  amct_buffer_text(out, ")");
}

void amct_graph_print(const amct_graph *graph, amct_buffer *buffer) {
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    const amct_node *node = amct_graph_at(graph, i);
    put_text(buffer, amct_slice_of(node->name));
    amct_buffer_text(buffer, " = ");
    put_text(buffer, amct_slice_of(node->op));
    put_inputs(buffer, node);
    put_attrs(buffer, node);
    if (node->device.size > 0) {
      amct_buffer_text(buffer, " @");
      amct_text_put_string(buffer, node->device);
    }
    amct_buffer_text(buffer, "\n");
  }
}
