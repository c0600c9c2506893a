/* SPDX-License-Identifier: Apache-2.0 */
/* .npy: a magic number, a version, and a Python dictionary of dtype, order and shape,
 * before the values. */
#include "data/formats.h"

#include "base/number.h"

enum { MAGIC_BYTES = 6, HEAD_MAX = 1 << 16 };

static const struct {
  const char *text;
  amct_dtype dtype;
} k_descriptions[] = {
    {"<f4", AMCT_DTYPE_FLOAT},  {"<f8", AMCT_DTYPE_DOUBLE}, {"<f2", AMCT_DTYPE_HALF},
    {"|i1", AMCT_DTYPE_INT8},   {"<i2", AMCT_DTYPE_INT16},  {"<i4", AMCT_DTYPE_INT32},
    {"<i8", AMCT_DTYPE_INT64},  {"|u1", AMCT_DTYPE_UINT8},  {"<u2", AMCT_DTYPE_UINT16},
    {"<u4", AMCT_DTYPE_UINT32}, {"<u8", AMCT_DTYPE_UINT64}, {"|b1", AMCT_DTYPE_BOOL},
};

/* "path" or "path: entry". */
static amct_status fail_block(const amct_block *block, amct_status status,
                              const char *what, amct_error *err) {
  const bool named = *block->entry != '\0';
  return amct_fail(err, status, NULL, "%s%s%s: %s", block->path, named ? ": " : "",
                   block->entry, what);
}

/* What stands behind 'key': in the dictionary; an empty slice: it is not there. */
static amct_slice find_value(amct_slice head, const char *key) {
  const amct_slice none = {NULL, 0};
  const size_t size = strlen(key);
  for (size_t i = 0; i + size + 3 < head.size; i++) {
    const uint8_t *at = head.data + i;
    if ((at[0] != '\'' && at[0] != '"') || memcmp(at + 1, key, size) != 0 ||
        at[1 + size] != at[0])
      continue;
    size_t from = i + size + 2;
    while (from < head.size && (head.data[from] == ' ' || head.data[from] == ':'))
      from++;
    return (amct_slice){head.data + from, head.size - from};
  }
  return none;
}

static bool starts(amct_slice text, const char *with) {
  const size_t size = strlen(with);
  return text.size >= size && memcmp(text.data, with, size) == 0;
}

static bool read_dtype(amct_slice value, amct_dtype *dtype) {
  for (size_t i = 0; i < sizeof k_descriptions / sizeof *k_descriptions; i++) {
    const size_t size = strlen(k_descriptions[i].text);
    if (value.size < size + 2 || (value.data[0] != '\'' && value.data[0] != '"'))
      continue;
    if (memcmp(value.data + 1, k_descriptions[i].text, size) != 0 ||
        value.data[size + 1] != value.data[0])
      continue;
    *dtype = k_descriptions[i].dtype;
    return true;
  }
  return false;
}

/* "(2, 3)", "(2,)", "()". */
static bool read_shape(amct_slice value, amct_shape *shape) {
  shape->rank = 0;
  if (value.size == 0 || value.data[0] != '(') return false;
  for (size_t at = 1; at < value.size;) {
    const uint8_t c = value.data[at];
    size_t end = at;
    if (c == ')') return true;
    if (c == ',' || c == ' ') {
      at++;
      continue;
    }
    while (end < value.size && value.data[end] >= '0' && value.data[end] <= '9')
      end++;
    if (end == at || shape->rank == AMCT_RANK_MAX) return false;
    const amct_slice digits = {value.data + at, end - at};
    double number = 0;
    if (!amct_number_read_double(digits, &number) || number > 0x1p52) return false;
    shape->dims[shape->rank++] = (int64_t)number;
    at = end;
  }
  return false;
}

static bool count_bytes(const amct_block *block, uint64_t *bytes) {
  *bytes = amct_dtype_bytes(block->dtype);
  for (int i = 0; i < block->shape.rank; i++)
    if (__builtin_mul_overflow(*bytes, (uint64_t)block->shape.dims[i], bytes))
      return false;
  return true;
}

static amct_status read_dictionary(amct_block *block, amct_slice head, amct_error *err) {
  const amct_slice order = find_value(head, "fortran_order");
  if (!read_dtype(find_value(head, "descr"), &block->dtype))
    return fail_block(block, AMCT_UNSUPPORTED,
                      "its dtype is not a little-endian number that TensorFlow has", err);
  if (starts(order, "True"))
    return fail_block(block, AMCT_UNSUPPORTED,
                      "it is in Fortran order: save numpy.ascontiguousarray of it", err);
  if (!starts(order, "False") || !read_shape(find_value(head, "shape"), &block->shape))
    return fail_block(block, AMCT_BAD_FORMAT, "its head has no order or no shape", err);
  if (!count_bytes(block, &block->bytes))
    return fail_block(block, AMCT_BAD_FORMAT, "its shape is too large", err);
  return AMCT_OK;
}

amct_status amct_npy_head(amct_block *block, amct_slice npy, uint64_t whole,
                          amct_error *err) {
  static const char k_magic[] = "\x93NUMPY";
  if (npy.size < 10 || memcmp(npy.data, k_magic, MAGIC_BYTES) != 0)
    return fail_block(block, AMCT_BAD_FORMAT, "not an array of NumPy", err);
  const unsigned version = npy.data[6];
  size_t before = version == 1 ? 10 : 12, size = npy.data[8] | (size_t)npy.data[9] << 8;
  if (version < 1 || version > 3)
    return fail_block(block, AMCT_UNSUPPORTED, "an unknown version of NumPy's format",
                      err);
  if (version > 1 && npy.size >= 12)
    size |= (size_t)npy.data[10] << 16 | (size_t)npy.data[11] << 24;
  if (size > HEAD_MAX || before + size > npy.size)
    return fail_block(block, AMCT_BAD_FORMAT, "its head is cut off", err);
  AMCT_TRY(read_dictionary(block, (amct_slice){npy.data + before, size}, err));
  block->offset += before + size;
  if (block->bytes <= whole - before - size) return AMCT_OK;
  return amct_fail(err, AMCT_BAD_FORMAT, NULL,
                   "%s%s%s: %llu bytes of values where its head speaks of %llu",
                   block->path, *block->entry ? ": " : "", block->entry,
                   (unsigned long long)(whole - before - size),
                   (unsigned long long)block->bytes);
}
