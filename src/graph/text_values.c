/* SPDX-License-Identifier: Apache-2.0 */
/* Values of attributes in the text form. */
#include "base/number.h"
#include "graph/text_private.h"

#define TEXT(slice)                                                                      \
  (int)((slice).size < 100 ? (slice).size : 100), (const char *)(slice).data

typedef AMCT_VEC(amct_token) token_list;

static bool is_text(amct_slice text, const char *word) {
  return amct_slice_equal(text, amct_slice_of(word));
}

/* DT_FLOAT, DT_FLOAT_REF, DT_21 */
static bool read_type(amct_token token, amct_dtype *dtype) {
  char name[32];
  int64_t number;
  amct_slice text = token.text;
  if (token.quoted || text.size < 4 || text.size >= sizeof name + 3) return false;
  if (memcmp(text.data, "DT_", 3) != 0) return false;
  text.data += 3;
  text.size -= 3;
  if (amct_number_read_int(text, &number) && number >= 0 && number < 1000) {
    *dtype = (amct_dtype)number;
    return true;
  }
  const bool reference =
      text.size > 4 && memcmp(text.data + text.size - 4, "_REF", 4) == 0;
  if (reference) text.size -= 4;
  memcpy(name, text.data, text.size);
  name[text.size] = '\0';
  const amct_dtype base = amct_dtype_from_name(name);
  *dtype = reference ? (amct_dtype)((int)base + AMCT_DTYPE_REF) : base;
  return base != AMCT_DTYPE_INVALID;
}

/* "float", "int32", ... */
static amct_dtype tensor_type(amct_slice word) {
  char name[16];
  if (word.size >= sizeof name) return AMCT_DTYPE_INVALID;
  for (size_t i = 0; i < word.size; i++) {
    const uint8_t c = word.data[i];
    name[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : (char)c;
  }
  name[word.size] = '\0';
  return amct_dtype_from_name(name);
}

static void put_message(amct_buffer *out, uint32_t number, amct_buffer *message) {
  const amct_slice bytes = {message->data, message->size};
  amct_put_bytes(out, number, bytes);
  out->failed = out->failed || message->failed;
  amct_buffer_free(message);
}

static void put_dim(amct_buffer *shape, int64_t size) {
  amct_buffer dim = {0};
  amct_put_int(&dim, DIM_SIZE, size);
  put_message(shape, SHAPE_DIM, &dim);
}

/* [1,?,8] or ?, as field `number`; `count` becomes the elements, -1 unknown. */
static amct_status read_shape(amct_scan *scan, uint32_t number, amct_buffer *out,
                              int64_t *count, amct_error *err) {
  amct_buffer shape = {0};
  amct_status status = AMCT_OK;
  *count = 1;
  if (amct_scan_take(scan, '?')) {
    amct_put_int(&shape, SHAPE_UNKNOWN_RANK, 1);
    *count = -1;
    goto done;
  }
  if ((status = amct_scan_expect(scan, '[', err)) != AMCT_OK) goto done;
  for (bool more = !amct_scan_take(scan, ']'); more; more = amct_scan_take(scan, ',')) {
    int64_t size = -1;
    amct_token token;
    if (!amct_scan_take(scan, '?')) {
      if ((status = amct_scan_token(scan, &token, err)) != AMCT_OK) goto done;
      if (!amct_number_read_int(token.text, &size) || size < -1) {
        status = amct_scan_fail(scan, err, "dimension '%.*s'", TEXT(token.text));
        goto done;
      }
    }
    put_dim(&shape, size);
    if (*count < 0 || size < 0 || __builtin_mul_overflow(*count, size, count))
      *count = -1;
    if (amct_scan_peek(scan) == ']' && amct_scan_take(scan, ']')) break;
    if (amct_scan_peek(scan) != ',') {
      status = amct_scan_expect(scan, ']', err);
      goto done;
    }
  }
done:
  put_message(out, number, &shape);
  return status;
}

static uint32_t list_kind(const token_list *items) {
  bool ints = true, floats = true, bools = true, types = true;
  for (size_t i = 0; i < items->count; i++) {
    const amct_token token = items->at[i];
    int64_t integer;
    double number;
    amct_dtype dtype;
    ints = ints && !token.quoted && amct_number_read_int(token.text, &integer);
    floats = floats && !token.quoted && amct_number_read_double(token.text, &number);
    bools = bools && !token.quoted &&
            (is_text(token.text, "true") || is_text(token.text, "false"));
    types = types && read_type(token, &dtype);
  }
  if (ints) return ATTR_I;
  if (floats) return ATTR_F;
  if (bools) return ATTR_B;
  return types ? ATTR_TYPE : ATTR_S;
}

static void put_scalar(amct_buffer *out, uint32_t kind, amct_token token) {
  int64_t integer = 0;
  double number = 0;
  amct_dtype dtype = AMCT_DTYPE_INVALID;
  switch (kind) {
  case ATTR_I:
    (void)amct_number_read_int(token.text, &integer);
    amct_put_int(out, kind, integer);
    break;
  case ATTR_F:
    (void)amct_number_read_double(token.text, &number);
    amct_put_float(out, kind, (float)number);
    break;
  case ATTR_B:
    amct_put_int(out, kind, is_text(token.text, "true"));
    break;
  case ATTR_TYPE:
    (void)read_type(token, &dtype);
    amct_put_int(out, kind, dtype);
    break;
  default:
    amct_put_bytes(out, ATTR_S, token.text);
    break;
  }
}

/* A list of shapes is known by its brackets; other lists by what all their items are. */
static amct_status read_list_items(amct_scan *scan, amct_buffer *list, token_list *items,
                                   amct_error *err) {
  AMCT_TRY(amct_scan_expect(scan, '[', err));
  if (amct_scan_take(scan, ']')) return AMCT_OK;
  do {
    const uint8_t c = amct_scan_peek(scan);
    if (c == '[' || c == '?') {
      int64_t count;
      AMCT_TRY(read_shape(scan, ATTR_SHAPE, list, &count, err));
      continue;
    }
    amct_token token;
    AMCT_TRY(amct_scan_token(scan, &token, err));
    if (!AMCT_VEC_PUSH(items, token)) return amct_fail_memory(err);
  } while (amct_scan_take(scan, ','));
  return amct_scan_expect(scan, ']', err);
}

static amct_status read_list(amct_scan *scan, amct_buffer *out, amct_error *err) {
  amct_buffer list = {0};
  token_list items = {0};
  const amct_status status = read_list_items(scan, &list, &items, err);
  const uint32_t kind = list_kind(&items);
  for (size_t i = 0; status == AMCT_OK && i < items.count; i++)
    put_scalar(&list, kind, items.at[i]);
  AMCT_VEC_FREE(&items);
  put_message(out, ATTR_LIST, &list);
  return status;
}

static uint16_t half_bits(double value) {
  const uint16_t sign = __builtin_signbit(value) ? 0x8000 : 0;
  const double size = __builtin_fabs(value);
  if (!(size <= 65519.99)) return (uint16_t)(sign | (size != size ? 0x7e00 : 0x7c00));
  /* unit in the last place: 2^-24 up to the first binade, doubling from there */
  double unit = 0x1p-24;
  uint32_t binade = 0;
  while (size >= unit * 2048) {
    unit *= 2;
    binade++;
  }
  double steps = size / unit; /* exact */
  double whole = (double)(int64_t)steps;
  const double rest = steps - whole;
  if (rest > 0.5 || (rest == 0.5 && ((int64_t)whole & 1) != 0)) whole += 1;
  return (uint16_t)(sign | ((binade << 10) + (uint32_t)whole));
}

static uint64_t real_bits(amct_dtype dtype, double value) {
  uint64_t wide;
  uint32_t word;
  const float narrow = (float)value;
  memcpy(&wide, &value, sizeof wide);
  memcpy(&word, &narrow, sizeof word);
  switch ((int)dtype) {
  case AMCT_DTYPE_DOUBLE:
    return wide;
  case AMCT_DTYPE_HALF:
    return half_bits(value);
  case AMCT_DTYPE_BFLOAT16:
    if (narrow != narrow) return 0x7fc0;
    return (word + 0x7fff + ((word >> 16) & 1)) >> 16;
  default:
    return word;
  }
}

static bool fits(amct_dtype dtype, int64_t value) {
  const unsigned bits = (unsigned)amct_dtype_bytes(dtype) * 8;
  switch ((int)dtype) {
  case AMCT_DTYPE_BOOL:
    return value == 0 || value == 1;
  case AMCT_DTYPE_UINT8:
  case AMCT_DTYPE_UINT16:
  case AMCT_DTYPE_UINT32:
  case AMCT_DTYPE_QUINT8:
  case AMCT_DTYPE_QUINT16:
    return value >= 0 && value < ((int64_t)1 << bits);
  case AMCT_DTYPE_UINT64:
    return value >= 0;
  default:
    return bits == 64 ||
           (value >= -((int64_t)1 << (bits - 1)) && value < ((int64_t)1 << (bits - 1)));
  }
}

/* The bits of one element; integers sign-extended. */
static amct_status read_element(amct_scan *scan, amct_dtype dtype, amct_token token,
                                uint64_t *bits, amct_error *err) {
  int64_t integer;
  double number;
  if (is_text(token.text, "true") || is_text(token.text, "false")) {
    integer = is_text(token.text, "true");
    number = (double)integer;
  } else if (amct_dtype_is_real(dtype) ? !amct_number_read_double(token.text, &number)
                                       : !amct_number_read_int(token.text, &integer)) {
    return amct_scan_fail(scan, err, "'%.*s' is no %s", TEXT(token.text),
                          amct_dtype_name(dtype));
  }
  if (amct_dtype_is_real(dtype)) {
    *bits = real_bits(dtype, number);
    return AMCT_OK;
  }
  *bits = (uint64_t)integer;
  if (fits(dtype, integer)) return AMCT_OK;
  return amct_scan_fail(scan, err, "%lld does not fit %s", (long long)integer,
                        amct_dtype_name(dtype));
}

static void put_typed(amct_buffer *tensor, amct_dtype dtype, uint64_t bits) {
  uint32_t number = 0;
  amct_wire wire = AMCT_WIRE_VARINT;
  (void)amct_tensor_field(dtype, &number, &wire);
  amct_put_tag(tensor, number, wire);
  if (wire == AMCT_WIRE_VARINT) {
    amct_put_varint(tensor, bits);
  } else {
    amct_buffer_append(tensor, &bits, wire == AMCT_WIRE_FIXED32 ? 4 : 8);
  }
}

static amct_status put_ramp(amct_scan *scan, amct_dtype dtype, int64_t count,
                            amct_buffer *tensor, amct_error *err) {
  enum { RAMP_MAX = 1 << 22, PERIOD = 100 };
  const size_t each = amct_dtype_bytes(dtype);
  if (count > RAMP_MAX)
    return amct_scan_fail(scan, err, "ramp of %lld elements", (long long)count);
  amct_put_tag(tensor, TENSOR_CONTENT, AMCT_WIRE_BYTES);
  amct_put_varint(tensor, (uint64_t)count * each);
  for (int64_t i = 0; i < count; i++) {
    uint64_t bits = (uint64_t)(i % PERIOD);
    if (amct_dtype_is_real(dtype))
      bits = real_bits(dtype, 0.01 * (double)(i % PERIOD + 1));
    if (dtype == AMCT_DTYPE_BOOL) bits &= 1;
    amct_buffer_append(tensor, &bits, each);
  }
  return AMCT_OK;
}

typedef AMCT_VEC(uint64_t) bits_list;

static amct_status read_elements(amct_scan *scan, amct_dtype dtype, bits_list *values,
                                 amct_error *err) {
  amct_token token;
  do {
    uint64_t bits = 0;
    AMCT_TRY(amct_scan_token(scan, &token, err));
    if (is_text(token.text, "...")) break;
    if (is_text(token.text, "fill")) AMCT_TRY(amct_scan_token(scan, &token, err));
    AMCT_TRY(read_element(scan, dtype, token, &bits, err));
    if (!AMCT_VEC_PUSH(values, bits)) return amct_fail_memory(err);
  } while (amct_scan_take(scan, ','));
  return amct_scan_expect(scan, ')', err);
}

/* After the opening bracket. */
static amct_status read_values(amct_scan *scan, amct_dtype dtype, int64_t count,
                               amct_buffer *tensor, amct_error *err) {
  const size_t each = amct_dtype_bytes(dtype);
  bits_list values = {0};
  if (amct_scan_take(scan, ')')) return AMCT_OK;
  const amct_scan before = *scan;
  amct_token token;
  AMCT_TRY(amct_scan_token(scan, &token, err));
  if (is_text(token.text, "ramp")) {
    AMCT_TRY(amct_scan_expect(scan, ')', err));
    return put_ramp(scan, dtype, count, tensor, err);
  }
  scan->at = before.at;
  scan->line = before.line;
  amct_status status = read_elements(scan, dtype, &values, err);
  if (status == AMCT_OK && values.count > (size_t)count)
    status = amct_scan_fail(scan, err, "%zu values for %lld elements", values.count,
                            (long long)count);
  if (status == AMCT_OK && values.count == (size_t)count) {
    amct_put_tag(tensor, TENSOR_CONTENT, AMCT_WIRE_BYTES);
    amct_put_varint(tensor, values.count * each);
    for (size_t i = 0; i < values.count; i++)
      amct_buffer_append(tensor, &values.at[i], each);
  } else if (status == AMCT_OK) {
    for (size_t i = 0; i < values.count; i++)
      put_typed(tensor, dtype, values.at[i]);
  }
  AMCT_VEC_FREE(&values);
  return status;
}

/* float[2,3](1,2,...), after the word. No dimensions: a scalar. */
static amct_status read_tensor(amct_scan *scan, amct_dtype dtype, amct_buffer *out,
                               amct_error *err) {
  amct_buffer tensor = {0};
  int64_t count = 1;
  amct_status status = AMCT_OK;
  amct_put_int(&tensor, TENSOR_DTYPE, dtype);
  if (amct_scan_peek(scan) == '[')
    status = read_shape(scan, TENSOR_SHAPE, &tensor, &count, err);
  if (status == AMCT_OK && (count < 0 || amct_dtype_bytes(dtype) == 0))
    status = amct_scan_fail(scan, err, "tensor of unknown size, or of %s",
                            amct_dtype_name(dtype));
  if (status == AMCT_OK) status = amct_scan_expect(scan, '(', err);
  if (status == AMCT_OK) status = read_values(scan, dtype, count, &tensor, err);
  put_message(out, ATTR_TENSOR, &tensor);
  return status;
}

static amct_status read_word(amct_scan *scan, amct_buffer *out, amct_dtype *dtype,
                             amct_error *err) {
  amct_token token;
  AMCT_TRY(amct_scan_token(scan, &token, err));
  const uint8_t c = scan->at < scan->end ? *scan->at : 0;
  if (!token.quoted && (c == '[' || c == '(' || c == '?')) {
    int64_t count;
    if (is_text(token.text, "list")) return read_list(scan, out, err);
    if (is_text(token.text, "shape"))
      return read_shape(scan, ATTR_SHAPE, out, &count, err);
    const amct_dtype found = tensor_type(token.text);
    if (found == AMCT_DTYPE_INVALID)
      return amct_scan_fail(scan, err, "'%.*s' is no type of a tensor", TEXT(token.text));
    *dtype = found;
    return read_tensor(scan, found, out, err);
  }
  token_list one = {&token, 1, 1};
  put_scalar(out, list_kind(&one), token);
  return AMCT_OK;
}

amct_status amct_text_value(amct_scan *scan, amct_slice key, amct_buffer *out,
                            amct_dtype *dtype, amct_error *err) {
  int64_t count;
  switch (amct_scan_peek(scan)) {
  case '?':
    return read_shape(scan, ATTR_SHAPE, out, &count, err);
  case '[':
    if (is_text(key, "shape")) return read_shape(scan, ATTR_SHAPE, out, &count, err);
    return read_list(scan, out, err);
  case '{':
    AMCT_TRY(amct_scan_expect(scan, '{', err));
    return amct_scan_expect(scan, '}', err);
  default:
    return read_word(scan, out, dtype, err);
  }
}
