/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes to be: their inputs, attributes and encoding. A NULL spec (memory ran out) is
 * passed over. */
#include "graph/edits_private.h"

amct_spec *amct_spec_new(amct_edits *edits, const char *name, const char *op) {
  amct_spec *spec = amct_arena_alloc(&edits->arena, sizeof *spec);
  if (spec == NULL || !AMCT_VEC_PUSH(&edits->specs, spec)) {
    amct_edits_fail_memory(edits);
    return NULL;
  }
  spec->edits = edits;
  spec->name = amct_edits_text(edits, name);
  spec->op = amct_edits_text(edits, op);
  return spec->name == NULL || spec->op == NULL ? NULL : spec;
}

const char *amct_spec_name(const amct_spec *spec) {
  return spec == NULL ? "" : spec->name;
}

void amct_spec_input(amct_spec *spec, const char *tensor) {
  if (spec == NULL) return;
  if (tensor == NULL) { /* a text that could not be made */
    amct_edits_fail_memory(spec->edits);
    return;
  }
  const bool control = tensor[0] == '^';
  const char *text = amct_edits_text(spec->edits, control ? tensor + 1 : tensor);
  if (text == NULL) return;
  for (size_t i = 0; control && i < spec->controls.count; i++) {
    if (strcmp(spec->controls.at[i], text) == 0) return;
  }
  if (!(control ? AMCT_VEC_PUSH(&spec->controls, text)
                : AMCT_VEC_PUSH(&spec->inputs, text)))
    amct_edits_fail_memory(spec->edits);
}

static amct_slice copy_bytes(amct_edits *edits, amct_slice bytes) {
  amct_slice copy = {NULL, 0};
  uint8_t *block = amct_arena_alloc(&edits->arena, bytes.size + 1);
  if (block == NULL) {
    amct_edits_fail_memory(edits);
    return copy;
  }
  if (bytes.size > 0) memcpy(block, bytes.data, bytes.size);
  copy.data = block;
  copy.size = bytes.size;
  return copy;
}

void amct_spec_device(amct_spec *spec, amct_slice device) {
  if (spec != NULL) spec->device = copy_bytes(spec->edits, device);
}

void amct_spec_origin(amct_spec *spec, const char *name) {
  if (spec == NULL) return;
  const char *text = amct_edits_text(spec->edits, name);
  if (text != NULL && !AMCT_VEC_PUSH(&spec->origins, text))
    amct_edits_fail_memory(spec->edits);
}

void amct_spec_copy_fields(amct_spec *spec, const amct_node *node) {
  if (spec == NULL) return;
  amct_cursor cursor = amct_cursor_of(node->body->message, node->body->message.data);
  amct_field field;
  bool more;
  size_t attr = 0;
  while (amct_cursor_next(&cursor, &field, &more, NULL) == AMCT_OK && more) {
    amct_spec_field copy = {{NULL, 0}, field.raw};
    if (amct_nodedef_is_head(&field)) continue;
    if (field.number == NODE_DEVICE && field.wire == AMCT_WIRE_BYTES) continue;
    if (field.number == NODE_ATTR && field.wire == AMCT_WIRE_BYTES)
      copy.key = node->body->attrs[attr++].key;
    if (!AMCT_VEC_PUSH(&spec->fields, copy)) {
      amct_edits_fail_memory(spec->edits);
      return;
    }
  }
}

/* An attribute whose AttrValue is `head` followed by `tail`; one that stood there before
 * gives way. */
static void put_attr(amct_spec *spec, const char *key, const amct_buffer *head,
                     amct_slice tail) {
  amct_edits *edits = spec->edits;
  const size_t key_size = strlen(key);
  const size_t value_size = head->size + tail.size;
  const size_t entry_size = 1 + amct_varint_size(key_size) + key_size + 1 +
                            amct_varint_size(value_size) + value_size;
  amct_buffer front = {0};
  amct_put_tag(&front, NODE_ATTR, AMCT_WIRE_BYTES);
  amct_put_varint(&front, entry_size);
  amct_put_text(&front, ENTRY_KEY, key);
  amct_put_tag(&front, ENTRY_VALUE, AMCT_WIRE_BYTES);
  amct_put_varint(&front, value_size);
  amct_buffer_append(&front, head->data, head->size);
  amct_spec_field field = {{NULL, 0}, {NULL, front.size + tail.size}};
  uint8_t *block = amct_arena_alloc(&edits->arena, field.raw.size + 1);
  const char *name = amct_edits_text(edits, key);
  if (front.failed || head->failed || block == NULL || name == NULL) {
    amct_edits_fail_memory(edits);
    amct_buffer_free(&front);
    return;
  }
  memcpy(block, front.data, front.size);
  if (tail.size > 0) memcpy(block + front.size, tail.data, tail.size);
  amct_buffer_free(&front);
  field.raw.data = block;
  field.key = amct_slice_of(name);
  for (size_t i = 0; i < spec->fields.count; i++) {
    if (!amct_slice_equal(spec->fields.at[i].key, field.key) || key_size == 0) continue;
    spec->fields.at[i] = field;
    return;
  }
  if (!AMCT_VEC_PUSH(&spec->fields, field)) amct_edits_fail_memory(edits);
}

static void put_small(amct_spec *spec, const char *key, amct_buffer *value) {
  static const amct_slice k_none;
  put_attr(spec, key, value, k_none);
  amct_buffer_free(value);
}

void amct_spec_int(amct_spec *spec, const char *key, int64_t value) {
  if (spec == NULL) return;
  amct_buffer buffer = {0};
  amct_put_int(&buffer, ATTR_I, value);
  put_small(spec, key, &buffer);
}

void amct_spec_float(amct_spec *spec, const char *key, float value) {
  if (spec == NULL) return;
  amct_buffer buffer = {0};
  amct_put_float(&buffer, ATTR_F, value);
  put_small(spec, key, &buffer);
}

void amct_spec_bool(amct_spec *spec, const char *key, bool value) {
  if (spec == NULL) return;
  amct_buffer buffer = {0};
  amct_put_int(&buffer, ATTR_B, value);
  put_small(spec, key, &buffer);
}

void amct_spec_text(amct_spec *spec, const char *key, const char *value) {
  if (spec == NULL) return;
  amct_buffer buffer = {0};
  amct_put_text(&buffer, ATTR_S, value);
  put_small(spec, key, &buffer);
}

void amct_spec_type(amct_spec *spec, const char *key, amct_dtype value) {
  if (spec == NULL) return;
  amct_buffer buffer = {0};
  amct_put_int(&buffer, ATTR_TYPE, value);
  put_small(spec, key, &buffer);
}

/* AttrValue { list { ... } } around the fields in `items`, which is freed. */
static void put_list(amct_spec *spec, const char *key, amct_buffer *items) {
  amct_buffer buffer = {0};
  const amct_slice list = {items->data, items->size};
  amct_put_bytes(&buffer, ATTR_LIST, list);
  buffer.failed = buffer.failed || items->failed;
  amct_buffer_free(items);
  put_small(spec, key, &buffer);
}

void amct_spec_ints(amct_spec *spec, const char *key, const int64_t *values,
                    size_t count) {
  if (spec == NULL) return;
  amct_buffer packed = {0}, items = {0};
  for (size_t i = 0; i < count; i++)
    amct_put_varint(&packed, (uint64_t)values[i]);
  const amct_slice run = {packed.data, packed.size};
  if (count > 0) amct_put_bytes(&items, ATTR_I, run);
  items.failed = items.failed || packed.failed;
  amct_buffer_free(&packed);
  put_list(spec, key, &items);
}

void amct_spec_types(amct_spec *spec, const char *key, const amct_dtype *values,
                     size_t count) {
  if (spec == NULL) return;
  amct_buffer packed = {0}, items = {0};
  for (size_t i = 0; i < count; i++)
    amct_put_varint(&packed, (uint64_t)values[i]);
  const amct_slice run = {packed.data, packed.size};
  if (count > 0) amct_put_bytes(&items, ATTR_TYPE, run);
  items.failed = items.failed || packed.failed;
  amct_buffer_free(&packed);
  put_list(spec, key, &items);
}

void amct_spec_texts(amct_spec *spec, const char *key, const char *const *values,
                     size_t count) {
  if (spec == NULL) return;
  amct_buffer items = {0};
  for (size_t i = 0; i < count; i++)
    amct_put_text(&items, ATTR_S, values[i]);
  put_list(spec, key, &items);
}

void amct_spec_drop(amct_spec *spec, const char *key) {
  const amct_slice wanted = amct_slice_of(key);
  size_t left = 0;
  if (spec == NULL) return;
  for (size_t i = 0; i < spec->fields.count; i++)
    if (!amct_slice_equal(spec->fields.at[i].key, wanted))
      spec->fields.at[left++] = spec->fields.at[i];
  spec->fields.count = left;
}

void amct_spec_raw(amct_spec *spec, const char *key, amct_slice attr_value) {
  static const amct_buffer k_nothing;
  if (spec != NULL) put_attr(spec, key, &k_nothing, attr_value);
}

static void put_shape(amct_buffer *buffer, uint32_t number, const amct_shape *shape) {
  amct_buffer dims = {0};
  if (shape->rank < 0) amct_put_int(&dims, SHAPE_UNKNOWN_RANK, 1);
  for (int32_t i = 0; i < shape->rank; i++) {
    amct_buffer dim = {0};
    if (shape->dims[i] != 0) amct_put_int(&dim, DIM_SIZE, shape->dims[i]);
    const amct_slice bytes = {dim.data, dim.size};
    amct_put_bytes(&dims, SHAPE_DIM, bytes);
    dims.failed = dims.failed || dim.failed;
    amct_buffer_free(&dim);
  }
  const amct_slice bytes = {dims.data, dims.size};
  amct_put_bytes(buffer, number, bytes);
  buffer->failed = buffer->failed || dims.failed;
  amct_buffer_free(&dims);
}

void amct_spec_tensor(amct_spec *spec, amct_dtype dtype, const amct_shape *shape,
                      const void *data, size_t bytes) {
  if (spec == NULL) return;
  amct_buffer tensor = {0}, value = {0};
  amct_put_int(&tensor, TENSOR_DTYPE, dtype);
  put_shape(&tensor, TENSOR_SHAPE, shape);
  if (bytes > 0) {
    amct_put_tag(&tensor, TENSOR_CONTENT, AMCT_WIRE_BYTES);
    amct_put_varint(&tensor, bytes);
  }
  amct_put_tag(&value, ATTR_TENSOR, AMCT_WIRE_BYTES);
  amct_put_varint(&value, tensor.size + bytes);
  amct_buffer_append(&value, tensor.data, tensor.size);
  value.failed = value.failed || tensor.failed;
  amct_buffer_free(&tensor);
  const amct_slice content = {data, bytes};
  put_attr(spec, "value", &value, content);
  amct_buffer_free(&value);
  amct_spec_type(spec, "dtype", dtype);
}

amct_status amct_spec_encode(const amct_spec *spec, amct_arena *arena,
                             amct_slice *nodedef, amct_error *err) {
  amct_buffer head = {0};
  amct_put_text(&head, NODE_NAME, spec->name);
  amct_put_text(&head, NODE_OP, spec->op);
  for (size_t i = 0; i < spec->inputs.count; i++)
    amct_put_text(&head, NODE_INPUT, spec->inputs.at[i]);
  for (size_t i = 0; i < spec->controls.count; i++) {
    const size_t size = strlen(spec->controls.at[i]);
    amct_put_tag(&head, NODE_INPUT, AMCT_WIRE_BYTES);
    amct_put_varint(&head, size + 1);
    amct_buffer_append(&head, "^", 1);
    amct_buffer_append(&head, spec->controls.at[i], size);
  }
  if (spec->device.size > 0) amct_put_bytes(&head, NODE_DEVICE, spec->device);
  size_t size = head.size;
  for (size_t i = 0; i < spec->fields.count; i++)
    size += spec->fields.at[i].raw.size;
  uint8_t *block = head.failed ? NULL : amct_arena_alloc(arena, size);
  if (block == NULL) {
    amct_buffer_free(&head);
    return amct_fail_memory(err);
  }
  memcpy(block, head.data, head.size);
  nodedef->data = block;
  nodedef->size = size;
  block += head.size;
  for (size_t i = 0; i < spec->fields.count; i++) {
    memcpy(block, spec->fields.at[i].raw.data, spec->fields.at[i].raw.size);
    block += spec->fields.at[i].raw.size;
  }
  amct_buffer_free(&head);
  return AMCT_OK;
}
