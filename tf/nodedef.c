/* SPDX-License-Identifier: Apache-2.0 */
#include "nodedef.h"

#include "base/vec.h"
#include "wire/proto.h"

static amct_slice slice_of(const amct_field *field) {
  return field->wire == AMCT_WIRE_BYTES ? field->bytes : (amct_slice){NULL, 0};
}

static amct_status read_entry(amct_node_view *view, amct_slice entry, amct_error *err) {
  amct_cursor cursor = amct_cursor_of(entry, view->bytes);
  amct_slice key = {NULL, 0}, value = {NULL, 0};
  for (;;) {
    amct_field field;
    bool more;
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) break;
    if (field.number == ENTRY_KEY) key = slice_of(&field);
    if (field.number == ENTRY_VALUE) value = slice_of(&field);
  }
  if (view->count == AMCT_NODE_ATTRS_MAX)
    return amct_fail(err, AMCT_UNSUPPORTED, NULL, "a node with more than %d attributes",
                     AMCT_NODE_ATTRS_MAX);
  view->attrs[view->count].key = key;
  view->attrs[view->count++].value = value;
  return AMCT_OK;
}

static char *copy_text(amct_slice text) {
  char *copy = amct_alloc_array(text.size + 1, 1);
  if (copy && text.size > 0) memcpy(copy, text.data, text.size);
  return copy;
}

amct_status amct_node_view_open(amct_node_view *view, uint8_t *bytes, size_t size,
                                amct_error *err) {
  *view = (amct_node_view){.bytes = bytes, .size = size};
  amct_cursor cursor = amct_cursor_of((amct_slice){bytes, size}, bytes);
  amct_slice name = {NULL, 0};
  for (;;) {
    amct_field field;
    bool more;
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) break;
    if (field.number == NODE_NAME) name = slice_of(&field);
    if (field.number == NODE_OP) view->op = slice_of(&field);
    if (field.number == NODE_ATTR) AMCT_TRY(read_entry(view, slice_of(&field), err));
  }
  view->name = copy_text(name);
  return view->name ? AMCT_OK : amct_fail_memory(err);
}

void amct_node_view_close(amct_node_view *view) {
  amct_free(view->name);
  amct_free(view->bytes);
  *view = (amct_node_view){0};
}

static const amct_slice *find_attr(const amct_node_view *view, const char *key) {
  const amct_slice wanted = amct_slice_of(key);
  for (size_t i = view->count; i > 0; i--) /* of a key given twice the last one counts */
    if (amct_slice_equal(view->attrs[i - 1].key, wanted))
      return &view->attrs[i - 1].value;
  return NULL;
}

bool amct_node_has(const amct_node_view *view, const char *key) {
  return find_attr(view, key) != NULL;
}

/* The field of AttrValue that holds the value of `key`. */
static amct_status read_value(const amct_node_view *view, const char *key,
                              enum amct_attrvalue_field kind, amct_field *value,
                              amct_error *err) {
  static const amct_wire k_wires[] = {
      [ATTR_LIST] = AMCT_WIRE_BYTES, [ATTR_S] = AMCT_WIRE_BYTES,
      [ATTR_I] = AMCT_WIRE_VARINT,   [ATTR_F] = AMCT_WIRE_FIXED32,
      [ATTR_B] = AMCT_WIRE_VARINT,   [ATTR_TYPE] = AMCT_WIRE_VARINT,
  };
  const amct_slice *attr = find_attr(view, key);
  bool found = false;
  if (!attr)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, view->name, "attribute %s is missing",
                     key);
  amct_cursor cursor = amct_cursor_of(*attr, view->bytes);
  for (;;) {
    amct_field field;
    bool more;
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) break;
    found = field.number == (uint32_t)kind && field.wire == k_wires[kind];
    if (found) *value = field;
  }
  if (!found)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, view->name,
                     "attribute %s is of another type", key);
  return AMCT_OK;
}

amct_status amct_node_int(const amct_node_view *view, const char *key, int64_t *value,
                          amct_error *err) {
  amct_field field;
  AMCT_TRY(read_value(view, key, ATTR_I, &field, err));
  *value = (int64_t)field.varint;
  return AMCT_OK;
}

amct_status amct_node_bool(const amct_node_view *view, const char *key, bool *value,
                           amct_error *err) {
  amct_field field;
  AMCT_TRY(read_value(view, key, ATTR_B, &field, err));
  *value = field.varint != 0;
  return AMCT_OK;
}

amct_status amct_node_float(const amct_node_view *view, const char *key, float *value,
                            amct_error *err) {
  amct_field field;
  AMCT_TRY(read_value(view, key, ATTR_F, &field, err));
  const uint32_t bits = (uint32_t)field.varint;
  memcpy(value, &bits, sizeof bits);
  return AMCT_OK;
}

amct_status amct_node_type(const amct_node_view *view, const char *key, amct_dtype *value,
                           amct_error *err) {
  amct_field field;
  AMCT_TRY(read_value(view, key, ATTR_TYPE, &field, err));
  *value = (amct_dtype)field.varint;
  return AMCT_OK;
}

amct_status amct_node_slice(const amct_node_view *view, const char *key,
                            amct_slice *value, amct_error *err) {
  amct_field field;
  AMCT_TRY(read_value(view, key, ATTR_S, &field, err));
  *value = field.bytes;
  return AMCT_OK;
}

amct_status amct_node_text(const amct_node_view *view, const char *key, char **value,
                           amct_error *err) {
  amct_slice text;
  AMCT_TRY(amct_node_slice(view, key, &text, err));
  if (text.size > 0 && memchr(text.data, 0, text.size))
    return amct_fail(err, AMCT_INVALID_ARGUMENT, view->name,
                     "attribute %s holds a NUL character", key);
  *value = copy_text(text);
  return *value ? AMCT_OK : amct_fail_memory(err);
}

/* ---- lists ---- */

/* Repeated varints, packed or one by one. */
typedef AMCT_VEC(int64_t) int_vec;

static amct_status push_packed(int_vec *ints, amct_slice packed, amct_error *err) {
  for (size_t at = 0; at < packed.size;) {
    uint64_t value = 0;
    int shift = 0;
    uint8_t byte;
    do {
      if (at == packed.size || shift > 63)
        return amct_fail(err, AMCT_BAD_FORMAT, NULL, "a list of numbers is cut off");
      byte = packed.data[at++];
      value |= (uint64_t)(byte & 0x7F) << shift;
      shift += 7;
    } while (byte & 0x80);
    if (!AMCT_VEC_PUSH(ints, (int64_t)value)) return amct_fail_memory(err);
  }
  return AMCT_OK;
}

static amct_status push_int(int_vec *ints, const amct_field *field, amct_error *err) {
  if (field->wire == AMCT_WIRE_BYTES) return push_packed(ints, field->bytes, err);
  return AMCT_VEC_PUSH(ints, (int64_t)field->varint) ? AMCT_OK : amct_fail_memory(err);
}

amct_status amct_node_ints(const amct_node_view *view, const char *key, int64_t **values,
                           size_t *count, amct_error *err) {
  amct_field list;
  int_vec ints = {0};
  AMCT_TRY(read_value(view, key, ATTR_LIST, &list, err));
  amct_cursor cursor = amct_cursor_of(list.bytes, view->bytes);
  amct_status status = AMCT_OK;
  for (bool more = true; more && status == AMCT_OK;) {
    amct_field field;
    status = amct_cursor_next(&cursor, &field, &more, err);
    if (status == AMCT_OK && more && field.number == ATTR_I)
      status = push_int(&ints, &field, err);
  }
  *count = ints.count;
  if (status == AMCT_OK && !AMCT_VEC_PUSH(&ints, 0)) status = amct_fail_memory(err);
  if (status != AMCT_OK) AMCT_VEC_FREE(&ints);
  *values = ints.at;
  return status;
}

amct_status amct_node_slices(const amct_node_view *view, const char *key,
                             amct_slice **values, size_t *count, amct_error *err) {
  amct_field list;
  AMCT_VEC(amct_slice) slices = {0};
  const amct_slice nothing = {NULL, 0};
  AMCT_TRY(read_value(view, key, ATTR_LIST, &list, err));
  amct_cursor cursor = amct_cursor_of(list.bytes, view->bytes);
  amct_status status = AMCT_OK;
  for (bool more = true; more && status == AMCT_OK;) {
    amct_field field;
    status = amct_cursor_next(&cursor, &field, &more, err);
    if (status == AMCT_OK && more && field.number == ATTR_S &&
        !AMCT_VEC_PUSH(&slices, slice_of(&field)))
      status = amct_fail_memory(err);
  }
  *count = slices.count;
  if (status == AMCT_OK && !AMCT_VEC_PUSH(&slices, nothing))
    status = amct_fail_memory(err);
  if (status != AMCT_OK) AMCT_VEC_FREE(&slices);
  *values = slices.at;
  return status;
}
