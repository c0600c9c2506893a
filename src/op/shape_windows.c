/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes of ops that slide a window over an image. Rank 4 even where the input is
 * unknown. */
#include "op/shape_rules.h"

typedef struct window {
  int64_t input, kernel, stride, dilation;
  int64_t before, after; /* EXPLICIT padding */
} window;

enum padding { SAME, VALID, EXPLICIT, PADDING_UNKNOWN };

/*
 * Extent of one axis: extent = (kernel - 1) * dilation + 1,
 *   SAME ceil(input / stride), VALID and EXPLICIT floor((padded - extent) / stride) + 1.
 */
static int64_t slide(const window *w, enum padding padding) {
  int64_t extent, padded;

  if (w->input < 0 || w->stride < 1 || w->dilation < 1) return -1;
  if (padding == SAME) return w->input / w->stride + (w->input % w->stride != 0);
  if (w->kernel < 1 || padding == PADDING_UNKNOWN) return -1;
  extent = amct_dim_add(amct_dim_mul(w->kernel - 1, w->dilation), 1);
  padded = amct_dim_add(w->input, amct_dim_add(w->before, w->after));
  if (extent < 0 || padded < extent) return -1;
  return (padded - extent) / w->stride + 1;
}

static enum padding padding_of(const amct_node *node) {
  if (amct_attr_is(node, "padding", "SAME", false)) return SAME;
  if (amct_attr_is(node, "padding", "VALID", false)) return VALID;
  if (amct_attr_is(node, "padding", "EXPLICIT", false)) return EXPLICIT;
  return PADDING_UNKNOWN;
}

/* Attribute with one number an axis; false: it is not that. */
static bool axis_numbers(const amct_node *node, const char *key, int32_t count,
                         amct_ints *values) {
  return amct_attr_ints(node, key, values) && values->count == (size_t)count;
}

/* Fills out[axis] for the axes of the image (2 or 3, by the rank); `kernel` holds their
 * extents. */
static void slide_image(const amct_node *node, const amct_shape *in,
                        const int64_t *kernel, amct_shape *out) {
  const int32_t rank = out->rank, image = amct_node_format(node) == AMCT_NCHW ? 2 : 1;
  amct_ints strides, dilations, pads;
  enum padding padding = padding_of(node);

  if (!axis_numbers(node, "strides", rank, &strides)) return;
  bool dilated = axis_numbers(node, "dilations", rank, &dilations);
  if (padding == EXPLICIT && !axis_numbers(node, "explicit_paddings", 2 * rank, &pads))
    padding = PADDING_UNKNOWN;
  for (int32_t i = 0; i < rank - 2; i++) {
    int32_t axis = image + i;
    bool explicit = padding == EXPLICIT;
    window w = {in->dims[axis],
                kernel[i],
                strides.at[axis],
                dilated ? dilations.at[axis] : 1,
                explicit ? pads.at[2 * axis] : 0,
                explicit ? pads.at[2 * axis + 1] : 0};
    out->dims[axis] = slide(&w, padding);
  }
}

/* Input 0 at its rank; all unknown where it has another. */
static amct_shape image_input(const amct_shape_call *call, int32_t rank) {
  amct_shape in = amct_shape_input(call, 0);
  return in.rank == rank ? in : amct_shape_of_rank(rank);
}

/* Filter [..., in, out]; a depthwise one [..., channels, multiplier]. */
static void convolve(amct_shape_call *call, int32_t rank, bool depthwise) {
  amct_shape in = image_input(call, rank), w = amct_shape_input(call, 1);
  int32_t channel = amct_node_format(call->node) == AMCT_NCHW ? 1 : rank - 1;

  if (amct_node_format(call->node) == AMCT_FORMAT_OTHER) return;
  call->first = amct_shape_of_rank(rank);
  if (w.rank != rank) w = amct_shape_of_rank(rank);
  call->first.dims[0] = in.dims[0];
  call->first.dims[channel] =
      depthwise ? amct_dim_mul(w.dims[2], w.dims[3]) : w.dims[rank - 1];
  slide_image(call->node, &in, w.dims, &call->first);
}

AMCT_SHAPE_RULE(conv) {
  convolve(call, 4, false);
}
AMCT_SHAPE_RULE(depthwise) {
  convolve(call, 4, true);
}
AMCT_SHAPE_RULE(conv3d) {
  convolve(call, 5, false);
}

/* Input 0 says the shape. */
AMCT_SHAPE_RULE(conv_transpose) {
  amct_shape w = amct_shape_input(call, 1), data = amct_shape_input(call, 2);
  int32_t channel = amct_node_format(call->node) == AMCT_NCHW ? 1 : 3;
  amct_ints sizes;

  if (amct_node_format(call->node) == AMCT_FORMAT_OTHER) return;
  call->first = amct_shape_of_rank(4);
  if (data.rank == 4) call->first.dims[0] = data.dims[0];
  if (w.rank == 4) call->first.dims[channel] = w.dims[2];
  if (!amct_shape_values(call, 0, &sizes) || sizes.count != 4) return;
  for (int32_t i = 0; i < 4; i++)
    call->first.dims[i] = sizes.at[i] < 0 ? -1 : sizes.at[i];
}

AMCT_SHAPE_RULE(pool) {
  amct_shape in = image_input(call, 4);
  int32_t channel = amct_node_format(call->node) == AMCT_NCHW ? 1 : 3;
  int32_t image = channel == 1 ? 2 : 1;
  amct_ints ksize;

  if (amct_node_format(call->node) == AMCT_FORMAT_OTHER) return;
  call->first = amct_shape_of_rank(4);
  if (!amct_attr_ints(call->node, "ksize", &ksize) || ksize.count != 4) return;
  if (ksize.at[0] != 1 || ksize.at[channel] != 1) return; /* pools over channels: rare */
  call->first.dims[0] = in.dims[0];
  call->first.dims[channel] = in.dims[channel];
  slide_image(call->node, &in, &ksize.at[image], &call->first);
}

AMCT_SHAPE_RULE(resize) {
  amct_shape in = image_input(call, 4);
  amct_ints size;

  call->first = amct_shape_of_rank(4);
  call->first.dims[0] = in.dims[0];
  call->first.dims[3] = in.dims[3];
  if (!amct_shape_values(call, 1, &size) || size.count != 2) return;
  for (int i = 0; i < 2; i++)
    call->first.dims[1 + i] = size.at[i] < 0 ? -1 : size.at[i];
}
