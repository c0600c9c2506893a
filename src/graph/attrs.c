/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of a node. A key or a field that stands there twice: the last one counts, as
 * in protobuf. */
#include "graph/body.h"

static const amct_attr *find(const amct_node *node, const char *key) {
  const size_t size = strlen(key);
  for (size_t i = node->body->attr_count; i > 0; i--) {
    const amct_attr *attr = &node->body->attrs[i - 1];
    if (attr->key.size == size && memcmp(attr->key.data, key, size) == 0) return attr;
  }
  return NULL;
}

/* Next field of a message; false at the end and on malformed bytes, which `bad` (may be
 * NULL) tells. */
static bool next(amct_cursor *cursor, amct_field *field, bool *bad) {
  bool more = false;
  const bool broken = amct_cursor_next(cursor, field, &more, NULL) != AMCT_OK;
  if (broken && bad != NULL) *bad = true;
  return !broken && more;
}

static amct_wire wire_of(uint32_t number) {
  switch (number) {
  case ATTR_I:
  case ATTR_B:
  case ATTR_TYPE:
    return AMCT_WIRE_VARINT;
  case ATTR_F:
    return AMCT_WIRE_FIXED32;
  default:
    return AMCT_WIRE_BYTES;
  }
}

/* The value of an attribute, if it is of the kind `number`. AttrValue is a oneof. */
static bool pick(const amct_node *node, const char *key, uint32_t number,
                 amct_field *value) {
  const amct_attr *attr = find(node, key);
  if (attr == NULL) return false;
  amct_cursor cursor = amct_cursor_of(attr->value, attr->value.data);
  amct_field field;
  bool found = false;
  while (next(&cursor, &field, NULL)) {
    if (field.number < ATTR_LIST || field.number > ATTR_FUNC) continue;
    if (field.wire != wire_of(field.number)) continue;
    found = field.number == number;
    *value = field;
  }
  return found;
}

bool amct_attr_has(const amct_node *node, const char *key) {
  return find(node, key) != NULL;
}

bool amct_attr_raw(const amct_node *node, const char *key, amct_slice *value) {
  const amct_attr *attr = find(node, key);
  if (attr == NULL) return false;
  *value = attr->value;
  return true;
}

bool amct_attr_at(const amct_node *node, size_t i, amct_slice *key, amct_slice *value) {
  if (i >= node->body->attr_count) return false;
  *key = node->body->attrs[i].key;
  *value = node->body->attrs[i].value;
  return true;
}

bool amct_attr_int(const amct_node *node, const char *key, int64_t *value) {
  amct_field field;
  if (!pick(node, key, ATTR_I, &field)) return false;
  *value = (int64_t)field.varint;
  return true;
}

bool amct_attr_float(const amct_node *node, const char *key, float *value) {
  amct_field field;
  if (!pick(node, key, ATTR_F, &field)) return false;
  const uint32_t bits = (uint32_t)field.varint;
  memcpy(value, &bits, sizeof bits);
  return true;
}

bool amct_attr_bool(const amct_node *node, const char *key, bool *value) {
  amct_field field;
  if (!pick(node, key, ATTR_B, &field)) return false;
  *value = field.varint != 0;
  return true;
}

bool amct_attr_text(const amct_node *node, const char *key, amct_slice *value) {
  amct_field field;
  if (!pick(node, key, ATTR_S, &field)) return false;
  *value = field.bytes;
  return true;
}

bool amct_attr_type(const amct_node *node, const char *key, amct_dtype *value) {
  amct_field field;
  if (!pick(node, key, ATTR_TYPE, &field)) return false;
  *value = (amct_dtype)(int32_t)field.varint;
  return true;
}

/* TensorShapeProto.Dim: its size, 0 when the field is left out. */
static bool read_dim(amct_slice message, int64_t *size) {
  *size = 0;
  amct_cursor cursor = amct_cursor_of(message, message.data);
  amct_field field;
  bool bad = false;
  while (next(&cursor, &field, &bad)) {
    if (field.number == DIM_SIZE && field.wire == AMCT_WIRE_VARINT)
      *size = (int64_t)field.varint;
  }
  return !bad && *size >= -1;
}

bool amct_shape_read(amct_slice message, amct_shape *shape) {
  static const amct_shape k_scalar;
  *shape = k_scalar;
  amct_cursor cursor = amct_cursor_of(message, message.data);
  amct_field field;
  bool bad = false, unknown = false;
  while (next(&cursor, &field, &bad)) {
    if (field.number == SHAPE_UNKNOWN_RANK && field.wire == AMCT_WIRE_VARINT)
      unknown = field.varint != 0;
    if (field.number != SHAPE_DIM || field.wire != AMCT_WIRE_BYTES) continue;
    if (shape->rank == AMCT_RANK_MAX) return false;
    if (!read_dim(field.bytes, &shape->dims[shape->rank++])) return false;
  }
  if (unknown) shape->rank = -1;
  return !bad;
}

bool amct_attr_shape(const amct_node *node, const char *key, amct_shape *value) {
  amct_field field;
  return pick(node, key, ATTR_SHAPE, &field) && amct_shape_read(field.bytes, value);
}

static bool push_int(amct_ints *ints, uint64_t value) {
  if (ints->count == sizeof ints->at / sizeof ints->at[0]) return false;
  ints->at[ints->count++] = (int64_t)value;
  return true;
}

static bool push_packed(amct_ints *ints, amct_slice run) {
  while (run.size > 0) {
    uint64_t value;
    if (!amct_take_packed(&run, AMCT_WIRE_VARINT, &value) || !push_int(ints, value))
      return false;
  }
  return true;
}

bool amct_attr_ints(const amct_node *node, const char *key, amct_ints *value) {
  amct_field list;
  value->count = 0;
  if (!pick(node, key, ATTR_LIST, &list)) return false;
  amct_cursor cursor = amct_cursor_of(list.bytes, list.bytes.data);
  amct_field field;
  bool bad = false;
  while (next(&cursor, &field, &bad)) {
    if (field.number != ATTR_I) {
      if (field.number <= ATTR_FUNC) return false; /* a list of something else */
    } else if (field.wire == AMCT_WIRE_VARINT) {
      if (!push_int(value, field.varint)) return false;
    } else if (field.wire != AMCT_WIRE_BYTES || !push_packed(value, field.bytes)) {
      return false;
    }
  }
  return !bad;
}

bool amct_attr_list(const amct_node *node, const char *key, amct_slice *value) {
  amct_field list;
  if (!pick(node, key, ATTR_LIST, &list)) return false;
  *value = list.bytes;
  return true;
}

bool amct_attr_is(const amct_node *node, const char *key, const char *text, bool absent) {
  amct_slice value;
  if (find(node, key) == NULL) return absent;
  return amct_attr_text(node, key, &value) &&
         amct_slice_equal(value, amct_slice_of(text));
}
