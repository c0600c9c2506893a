/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Constants in each encoding that TensorFlow writes: tensor_content, or a list of typed
 * values (packed or not) of which the last one stands for all that are missing; no value
 * at all stands for zeros.
 */
#include "graph/body.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "tensor_content is little-endian");

/* Elements that a few bytes may stand for. */
static const size_t k_repeat_max = (size_t)1 << 24;

/* Walks the typed values of one field. */
typedef struct value_reader {
  amct_cursor cursor;
  uint32_t number;
  amct_wire wire;    /* of an unpacked value */
  amct_slice packed; /* what is left of a packed run */
} value_reader;

bool amct_tensor_field(amct_dtype dtype, uint32_t *number, amct_wire *wire) {
  *wire = AMCT_WIRE_VARINT;
  switch ((int)dtype) {
  case AMCT_DTYPE_FLOAT:
    *number = TENSOR_FLOAT_VAL;
    *wire = AMCT_WIRE_FIXED32;
    return true;
  case AMCT_DTYPE_DOUBLE:
    *number = TENSOR_DOUBLE_VAL;
    *wire = AMCT_WIRE_FIXED64;
    return true;
  case AMCT_DTYPE_INT32:
  case AMCT_DTYPE_UINT8:
  case AMCT_DTYPE_INT16:
  case AMCT_DTYPE_INT8:
  case AMCT_DTYPE_UINT16:
  case AMCT_DTYPE_QINT8:
  case AMCT_DTYPE_QUINT8:
  case AMCT_DTYPE_QINT16:
  case AMCT_DTYPE_QUINT16:
    *number = TENSOR_INT_VAL;
    return true;
  case AMCT_DTYPE_HALF:
  case AMCT_DTYPE_BFLOAT16:
    *number = TENSOR_HALF_VAL;
    return true;
  case AMCT_DTYPE_INT64:
    *number = TENSOR_INT64_VAL;
    return true;
  case AMCT_DTYPE_BOOL:
    *number = TENSOR_BOOL_VAL;
    return true;
  case AMCT_DTYPE_UINT32:
    *number = TENSOR_UINT32_VAL;
    return true;
  case AMCT_DTYPE_UINT64:
    *number = TENSOR_UINT64_VAL;
    return true;
  case AMCT_DTYPE_STRING:
    *number = TENSOR_STRING_VAL;
    *wire = AMCT_WIRE_BYTES;
    return true;
  default:
    return false;
  }
}

static bool reader_open(value_reader *reader, const amct_tensor *tensor) {
  static const amct_slice k_none;
  reader->cursor = amct_cursor_of(tensor->message, tensor->message.data);
  reader->packed = k_none;
  return amct_tensor_field(tensor->dtype, &reader->number, &reader->wire);
}

bool amct_take_packed(amct_slice *run, amct_wire wire, uint64_t *bits) {
  *bits = 0;
  if (wire != AMCT_WIRE_VARINT) {
    const size_t size = wire == AMCT_WIRE_FIXED32 ? 4 : 8;
    if (run->size < size) return false;
    memcpy(bits, run->data, size);
    run->data += size;
    run->size -= size;
    return true;
  }
  for (unsigned shift = 0; shift < 70 && run->size > 0; shift += 7) {
    const uint8_t byte = *run->data++;
    run->size--;
    *bits |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

static amct_status next_value(value_reader *reader, uint64_t *bits, bool *more,
                              amct_error *err) {
  while (reader->packed.size == 0) {
    amct_field field;
    AMCT_TRY(amct_cursor_next(&reader->cursor, &field, more, err));
    if (!*more) return AMCT_OK;
    if (field.number != reader->number) continue;
    if (field.wire == reader->wire) {
      *bits = field.varint;
      return AMCT_OK;
    }
    if (field.wire == AMCT_WIRE_BYTES) reader->packed = field.bytes;
  }
  *more = true;
  if (!amct_take_packed(&reader->packed, reader->wire, bits))
    return amct_fail(err, AMCT_BAD_FORMAT, NULL, "typed values of a tensor are cut");
  return AMCT_OK;
}

static amct_status count_values(const amct_tensor *tensor, size_t *count,
                                amct_error *err) {
  value_reader reader;
  *count = 0;
  if (!reader_open(&reader, tensor)) return AMCT_OK;
  for (;;) {
    uint64_t bits;
    bool more;
    AMCT_TRY(next_value(&reader, &bits, &more, err));
    if (!more) return AMCT_OK;
    (*count)++;
  }
}

/* Rank over 8 is well-formed, only more than we handle. */
static size_t count_dims(amct_slice shape) {
  size_t count = 0;
  amct_cursor cursor = amct_cursor_of(shape, shape.data);
  amct_field field;
  bool more = true;
  while (amct_cursor_next(&cursor, &field, &more, NULL) == AMCT_OK && more)
    count += field.number == SHAPE_DIM && field.wire == AMCT_WIRE_BYTES;
  return count;
}

static amct_status read_shape(const amct_node *node, amct_slice message,
                              amct_tensor *tensor, amct_error *err) {
  if (!amct_shape_read(message, &tensor->shape)) {
    const size_t rank = count_dims(message);
    if (rank > AMCT_RANK_MAX)
      return amct_fail(err, AMCT_UNSUPPORTED, node->name,
                       "%s: constant of rank %zu, at most %d", node->name, rank,
                       AMCT_RANK_MAX);
    return amct_fail(err, AMCT_BAD_FORMAT, node->name,
                     "%s: malformed shape of a constant", node->name);
  }
  if (tensor->shape.rank < 0)
    return amct_fail(err, AMCT_BAD_FORMAT, node->name, "%s: constant of unknown rank",
                     node->name);
  size_t each = amct_dtype_bytes(tensor->dtype);
  if (each == 0) each = 1;
  bool too_many = false, empty = false;
  tensor->count = 1;
  for (int32_t i = 0; i < tensor->shape.rank; i++) {
    const int64_t dim = tensor->shape.dims[i];
    if (dim < 0)
      return amct_fail(err, AMCT_BAD_FORMAT, node->name,
                       "%s: dimension %d of a constant is %lld", node->name, (int)i,
                       (long long)dim);
    empty = empty || dim == 0;
    too_many = too_many ||
               __builtin_mul_overflow(tensor->count, (size_t)dim, &tensor->count) ||
               tensor->count > (size_t)PTRDIFF_MAX / each;
  }
  if (empty) {
    tensor->count = 0;
  } else if (too_many) {
    return amct_fail(err, AMCT_BAD_FORMAT, node->name,
                     "%s: more elements in a constant than memory has addresses",
                     node->name);
  }
  return AMCT_OK;
}

static amct_status check_values(const amct_node *node, const amct_tensor *tensor,
                                amct_error *err) {
  const size_t each = amct_dtype_bytes(tensor->dtype);
  if (tensor->content.size > 0) {
    if (each == 0 || tensor->content.size == tensor->count * each) return AMCT_OK;
    return amct_fail(err, AMCT_BAD_FORMAT, node->name,
                     "%s: %zu bytes of tensor_content for %zu elements of %s", node->name,
                     tensor->content.size, tensor->count, amct_dtype_name(tensor->dtype));
  }
  size_t values;
  AMCT_TRY(count_values(tensor, &values, err));
  if (values > tensor->count)
    return amct_fail(err, AMCT_BAD_FORMAT, node->name, "%s: %zu values for %zu elements",
                     node->name, values, tensor->count);
  return AMCT_OK;
}

/* The AttrValue's tensor, if it is one. */
static bool find_message(const amct_node *node, amct_slice *message) {
  amct_slice value;
  if (!amct_attr_raw(node, "value", &value)) return false;
  amct_cursor cursor = amct_cursor_of(value, value.data);
  amct_field field;
  bool more, found = false;
  while (amct_cursor_next(&cursor, &field, &more, NULL) == AMCT_OK && more) {
    if (field.number != ATTR_TENSOR || field.wire != AMCT_WIRE_BYTES) continue;
    *message = field.bytes;
    found = true;
  }
  return found;
}

static amct_status const_tensor(const amct_node *node, amct_tensor *tensor,
                                amct_error *err) {
  static const amct_tensor k_empty;
  static const amct_slice k_none = {(const uint8_t *)"", 0};
  *tensor = k_empty;
  tensor->content = k_none;
  if (!find_message(node, &tensor->message))
    return amct_fail(err, AMCT_BAD_FORMAT, node->name, "%s: %s without a tensor as value",
                     node->name, node->op);
  amct_slice shape = k_none;
  amct_cursor cursor = amct_cursor_of(tensor->message, tensor->message.data);
  for (;;) {
    amct_field field;
    bool more;
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) break;
    if (field.number == TENSOR_DTYPE && field.wire == AMCT_WIRE_VARINT)
      tensor->dtype = (amct_dtype)(int32_t)field.varint;
    if (field.wire != AMCT_WIRE_BYTES) continue;
    if (field.number == TENSOR_SHAPE) shape = field.bytes;
    if (field.number == TENSOR_CONTENT) tensor->content = field.bytes;
  }
  amct_dtype declared;
  if (amct_attr_type(node, "dtype", &declared) && declared != tensor->dtype)
    return amct_fail(err, AMCT_BAD_FORMAT, node->name, "%s: dtype is %s, its value %s",
                     node->name, amct_dtype_name(declared),
                     amct_dtype_name(tensor->dtype));
  AMCT_TRY(read_shape(node, shape, tensor, err));
  return check_values(node, tensor, err);
}

/* Whatever went wrong inside the tensor, the report names its node. */
amct_status amct_const_tensor(const amct_node *node, amct_tensor *tensor,
                              amct_error *err) {
  amct_error inner = {0};
  const amct_status status = const_tensor(node, tensor, &inner);
  if (status == AMCT_OK || inner.node[0] != '\0' || status == AMCT_OUT_OF_MEMORY) {
    if (status != AMCT_OK && err != NULL && err->status == AMCT_OK) *err = inner;
    return status;
  }
  return amct_fail_at(err, status, node->name, inner.byte_offset, "%s: %s", node->name,
                      inner.text);
}

/* IEEE half to float32: arithmetic is another folder's, and this is all that is needed
 * here. */
static float half_value(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f, fraction = half & 0x3ff;
  float value;
  if (exponent == 0) {
    value = (float)fraction * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  uint32_t bits = sign | ((exponent + 112) << 23) | (fraction << 13);
  if (exponent == 31) bits = sign | 0x7f800000u | (fraction << 13);
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* The bits of an element, as typed values or content have them, as a float. */
static float float_of(amct_dtype dtype, uint64_t bits) {
  float value;
  double wide;
  uint32_t word = (uint32_t)bits;
  switch ((int)dtype) {
  case AMCT_DTYPE_DOUBLE:
    memcpy(&wide, &bits, sizeof wide);
    return (float)wide;
  case AMCT_DTYPE_HALF:
    return half_value((uint16_t)bits);
  case AMCT_DTYPE_BFLOAT16:
    word = (uint32_t)(uint16_t)bits << 16;
    break;
  default:
    break;
  }
  memcpy(&value, &word, sizeof value);
  return value;
}

static int64_t int_of(amct_dtype dtype, uint64_t bits) {
  switch ((int)dtype) {
  case AMCT_DTYPE_INT32:
    return (int32_t)(uint32_t)bits;
  case AMCT_DTYPE_INT16:
  case AMCT_DTYPE_QINT16:
    return (int16_t)(uint16_t)bits;
  case AMCT_DTYPE_INT8:
  case AMCT_DTYPE_QINT8:
    return (int8_t)(uint8_t)bits;
  case AMCT_DTYPE_UINT32:
    return (uint32_t)bits;
  case AMCT_DTYPE_UINT16:
  case AMCT_DTYPE_QUINT16:
    return (uint16_t)bits;
  case AMCT_DTYPE_UINT8:
  case AMCT_DTYPE_QUINT8:
    return (uint8_t)bits;
  case AMCT_DTYPE_BOOL:
    return bits != 0;
  default:
    return (int64_t)bits;
  }
}

/* Room for the expansion, refused where a few bytes would stand for very many elements.
 */
static amct_status room(const amct_tensor *tensor, size_t each, amct_arena *arena,
                        void **out, const amct_node *node, amct_error *err) {
  const char *name = node == NULL ? "" : node->name;
  size_t stored = tensor->count;
  if (tensor->content.size == 0) AMCT_TRY(count_values(tensor, &stored, err));
  if (tensor->count > k_repeat_max && stored < tensor->count)
    return amct_fail(err, AMCT_UNSUPPORTED, name,
                     "%s: %zu values stand for %zu elements, at most %zu", name, stored,
                     tensor->count, k_repeat_max);
  *out = amct_arena_array(arena, tensor->count == 0 ? 1 : tensor->count, each);
  return *out == NULL ? amct_fail_memory(err) : AMCT_OK;
}

void amct_const_forget(const amct_node *node) {
  amct_tensor tensor;
  if (amct_const_tensor(node, &tensor, NULL) == AMCT_OK)
    amct_file_forget(&node->graph->file, tensor.content);
}

typedef struct expansion {
  const amct_tensor *tensor;
  float *floats;
  int64_t *ints;
} expansion;

static void store(const expansion *to, size_t i, uint64_t bits) {
  if (to->floats != NULL) {
    to->floats[i] = float_of(to->tensor->dtype, bits);
  } else {
    to->ints[i] = int_of(to->tensor->dtype, bits);
  }
}

static amct_status expand(const expansion *to, amct_error *err) {
  const amct_tensor *tensor = to->tensor;
  uint64_t bits = 0;
  size_t i = 0;
  if (tensor->content.size > 0) {
    const size_t each = amct_dtype_bytes(tensor->dtype);
    for (; i < tensor->count; i++) {
      memcpy(&bits, tensor->content.data + i * each, each);
      store(to, i, bits);
    }
    return AMCT_OK;
  }
  value_reader reader;
  bool more = reader_open(&reader, tensor);
  while (more && i < tensor->count) {
    uint64_t value;
    AMCT_TRY(next_value(&reader, &value, &more, err));
    if (!more) break;
    bits = value;
    store(to, i++, bits);
  }
  for (; i < tensor->count; i++)
    store(to, i, bits);
  return AMCT_OK;
}

bool amct_tensor_first(const amct_tensor *tensor, size_t count, float *floats,
                       int64_t *ints) {
  amct_tensor head = *tensor;
  head.count = count;
  const expansion to = {&head, floats, ints};
  return expand(&to, NULL) == AMCT_OK;
}

static amct_status wrong_type(const amct_tensor *tensor, const amct_node *node,
                              const char *wanted, amct_error *err) {
  const char *name = node == NULL ? "" : node->name;
  return amct_fail(err, AMCT_UNSUPPORTED, name,
                   "%s: values of type %s where %s are needed", name,
                   amct_dtype_name(tensor->dtype), wanted);
}

amct_status amct_tensor_floats(const amct_tensor *tensor, amct_arena *arena,
                               const float **values, const amct_node *node,
                               amct_error *err) {
  void *block;
  *values = NULL;
  switch ((int)tensor->dtype) {
  case AMCT_DTYPE_FLOAT:
    /* float32 that lies right is used where it lies: the file stays mapped as long as the
     * graph */
    if (tensor->content.size > 0 &&
        (uintptr_t)tensor->content.data % _Alignof(float) == 0) {
      *values = (const float *)(const void *)tensor->content.data;
      return AMCT_OK;
    }
    break;
  case AMCT_DTYPE_HALF:
  case AMCT_DTYPE_BFLOAT16:
  case AMCT_DTYPE_DOUBLE:
    break;
  default:
    return wrong_type(tensor, node, "floats", err);
  }
  AMCT_TRY(room(tensor, sizeof(float), arena, &block, node, err));
  *values = block;
  if (tensor->dtype == AMCT_DTYPE_FLOAT && tensor->content.size > 0) {
    memcpy(block, tensor->content.data, tensor->count * sizeof(float));
    return AMCT_OK;
  }
  const expansion to = {tensor, block, NULL};
  return expand(&to, err);
}

amct_status amct_tensor_ints(const amct_tensor *tensor, amct_arena *arena,
                             const int64_t **values, const amct_node *node,
                             amct_error *err) {
  void *block;
  *values = NULL;
  switch ((int)tensor->dtype) {
  case AMCT_DTYPE_INT8:
  case AMCT_DTYPE_INT16:
  case AMCT_DTYPE_INT32:
  case AMCT_DTYPE_INT64:
  case AMCT_DTYPE_UINT8:
  case AMCT_DTYPE_UINT16:
  case AMCT_DTYPE_UINT32:
  case AMCT_DTYPE_UINT64:
  case AMCT_DTYPE_QINT8:
  case AMCT_DTYPE_QUINT8:
  case AMCT_DTYPE_QINT16:
  case AMCT_DTYPE_QUINT16:
  case AMCT_DTYPE_BOOL:
    break;
  default:
    return wrong_type(tensor, node, "integers", err);
  }
  AMCT_TRY(room(tensor, sizeof(int64_t), arena, &block, node, err));
  const expansion to = {tensor, NULL, block};
  *values = block;
  return expand(&to, err);
}
