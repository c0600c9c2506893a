/* SPDX-License-Identifier: Apache-2.0 */
#include "op/constraints.h"

#include <stdio.h>

enum {
  /* what a number of an attribute is for, as data_format calls it */
  N = 1 << 0,
  D = 1 << 1,
  H = 1 << 2,
  W = 1 << 3,
  C = 1 << 4,
};

typedef enum when { ALWAYS, OF_WEIGHTS } when;

/* The rows of ops.def. */
static const struct {
  const char *op, *attr;
  when when;
} k_false[] = {
#define MUST_BE_FALSE(op_, attr_, when_) {#op_, #attr_, when_},
#include "op/ops.def"
};

static const struct {
  const char *op, *attr;
  unsigned axes;
  const char *instead;
} k_one[] = {
#define MUST_BE_ONE(op_, attr_, axes_, instead_) {#op_, #attr_, axes_, instead_},
#include "op/ops.def"
};

static bool is(const amct_node *node, const char *op) {
  return strcmp(node->op, op) == 0;
}

static bool bad_flag(const amct_node *node, bool varies, char *text) {
  for (size_t i = 0; i < sizeof k_false / sizeof k_false[0]; i++) {
    bool set = false;
    if (!is(node, k_false[i].op) || (varies && k_false[i].when == OF_WEIGHTS)) continue;
    if (!amct_attr_bool(node, k_false[i].attr, &set) || !set) continue;
    snprintf(text, AMCT_REASON_BYTES, "%s is true: store that operand transposed instead",
             k_false[i].attr);
    return true;
  }
  return false;
}

bool amct_constraint_dtype(const amct_node *node, char text[AMCT_REASON_BYTES]) {
  amct_dtype dtype = AMCT_DTYPE_INVALID;
  if (amct_attr_type(node, "T", &dtype) && dtype == AMCT_DTYPE_FLOAT) return false;
  snprintf(text, AMCT_REASON_BYTES, "computes in %s: only FLOAT (float32) is quantized",
           amct_dtype_name(dtype));
  return true;
}

static bool bad_format(const amct_node *node, char *text) {
  amct_slice format = amct_slice_of("?");
  if (amct_node_format(node) != AMCT_FORMAT_OTHER) return false;
  (void)amct_attr_text(node, "data_format", &format);
  snprintf(text, AMCT_REASON_BYTES,
           "data_format is %.*s: only NHWC and NCHW are quantized",
           (int)(format.size < 32 ? format.size : 32), (const char *)format.data);
  return true;
}

/* What number i of `count` is for. */
static unsigned axis_of(const amct_node *node, size_t i, size_t count) {
  static const unsigned k_image[] = {D, H, W};
  const bool first = amct_node_format(node) == AMCT_NCHW;
  const size_t channels = first ? 1 : count - 1;
  if (i == 0) return N;
  if (i == channels) return C;
  const size_t place = i - (first ? 2 : 1); /* among depth, height, width */
  return k_image[count == 5 ? place : place + 1];
}

static bool bad_number(const amct_node *node, size_t row, char *text) {
  const char *attr = k_one[row].attr;
  const size_t count = is(node, "Conv3D") ? 5 : 4;
  amct_ints values;
  if (!amct_attr_has(node, attr)) return false; /* TensorFlow has 1 for it, or refuses */
  if (!amct_attr_ints(node, attr, &values) || values.count != count) {
    snprintf(text, AMCT_REASON_BYTES, "%s is not a list of %zu numbers", attr, count);
    return true;
  }
  for (size_t i = 0; i < count; i++) {
    if (values.at[i] == 1 || !(k_one[row].axes & axis_of(node, i, count))) continue;
    snprintf(text, AMCT_REASON_BYTES,
             "%s holds %lld for axis %zu: only 1 is quantized; %s", attr,
             (long long)values.at[i], i, k_one[row].instead);
    return true;
  }
  return false;
}

static bool bad_numbers(const amct_node *node, char *text) {
  for (size_t i = 0; i < sizeof k_one / sizeof k_one[0]; i++)
    if (is(node, k_one[i].op) && bad_number(node, i, text)) return true;
  return false;
}

bool amct_constraint_broken(const amct_node *node, bool varies,
                            char text[AMCT_REASON_BYTES]) {
  return amct_constraint_dtype(node, text) || bad_flag(node, varies, text) ||
         bad_format(node, text) || bad_numbers(node, text);
}
