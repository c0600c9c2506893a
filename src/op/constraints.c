/* SPDX-License-Identifier: Apache-2.0 */
#include "op/constraints.h"

#include <stdio.h>

/* Attributes that must be false where the node has them. */
static const struct {
  const char *op, *attr;
} k_false[] = {
    {"MatMul", "transpose_a"},  {"MatMul", "transpose_b"},  {"MatMul", "adjoint_a"},
    {"MatMul", "adjoint_b"},    {"BatchMatMul", "adj_x"},   {"BatchMatMul", "adj_y"},
    {"BatchMatMulV2", "adj_x"}, {"BatchMatMulV2", "adj_y"},
};

static bool is(const amct_node *node, const char *op) {
  return strcmp(node->op, op) == 0;
}

static bool bad_flag(const amct_node *node, char *text) {
  for (size_t i = 0; i < sizeof k_false / sizeof k_false[0]; i++) {
    bool set = false;
    if (!is(node, k_false[i].op)) continue;
    if (!amct_attr_bool(node, k_false[i].attr, &set) || !set) continue;
    snprintf(text, AMCT_REASON_BYTES, "%s is true: store that operand transposed instead",
             k_false[i].attr);
    return true;
  }
  return false;
}

static bool bad_dtype(const amct_node *node, char *text) {
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

/* Ops that may not be dilated; a Conv3D may, but for its depth. */
static bool bad_dilation(const amct_node *node, char *text) {
  const bool deep = is(node, "Conv3D");
  const size_t depth = amct_node_format(node) == AMCT_NCHW ? 2 : 1;
  amct_ints d;
  if (!deep && !is(node, "DepthwiseConv2dNative") && !is(node, "Conv2DBackpropInput"))
    return false;
  if (!amct_attr_ints(node, "dilations", &d)) return false;
  for (size_t i = 0; i < d.count; i++) {
    if (d.at[i] == 1 || (deep && i != depth)) continue;
    snprintf(text, AMCT_REASON_BYTES,
             "dilations holds %lld: only 1 is quantized; dilate by SpaceToBatchND and "
             "BatchToSpaceND around it instead",
             (long long)d.at[i]);
    return true;
  }
  return false;
}

static bool bad_window(const amct_node *node, char *text) {
  size_t channel = amct_node_format(node) == AMCT_NCHW ? 1 : 3;
  amct_ints k;
  if (!is(node, "AvgPool")) return false;
  if (!amct_attr_ints(node, "ksize", &k) || k.count != 4) {
    snprintf(text, AMCT_REASON_BYTES, "ksize is not four numbers");
    return true;
  }
  if (k.at[0] == 1 && k.at[channel] == 1) return false;
  snprintf(text, AMCT_REASON_BYTES,
           "ksize is %lld over the batch and %lld over channels: only height and width "
           "may be pooled",
           (long long)k.at[0], (long long)k.at[channel]);
  return true;
}

bool amct_constraint_broken(const amct_node *node, char text[AMCT_REASON_BYTES]) {
  return bad_dtype(node, text) || bad_flag(node, text) || bad_format(node, text) ||
         bad_dilation(node, text) || bad_window(node, text);
}
