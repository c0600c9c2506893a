/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Means of what each tap of a layer's kernel sees, by input channel: all that is needed
 * of the data to know by how much rounding the weights shifts the layer's output
 * (numeric/bias_shift.h).
 *
 * Order-free: a picture's sums depend on that picture alone, and pictures are added as
 * integers. The same bytes for any order, any split into batches and threads.
 */
#ifndef AMCT_INPUT_SUMS_H
#define AMCT_INPUT_SUMS_H

#include "base/bytes.h"
#include "base/visibility.h"

enum {
  AMCT_WINDOW_KERNEL_MAX = 64,
  AMCT_WINDOW_BYTES = 96,
  AMCT_POSITIONS_ENOUGH = 256, /* of a picture */
  AMCT_ROWS_LEAST = 4
};

/** How a layer reads its input; [0] rows, [1] columns. A product of matrices, whose input
 * is [.., channels], is a 1x1 kernel over pictures of one point. */
typedef struct amct_window {
  int64_t kernel[2], stride[2], dilation[2]; /* 1 or more */
  bool same;                                 /* padding SAME, else VALID */
  bool channels_first;                       /* NCHW, else NHWC */
  bool flat;                                 /* a product of matrices */
} amct_window;

/** "flat", or "NHWC:SAME:<kernel>:<kernel>:<stride>:<stride>:<dilation>:<dilation>". */
void amct_window_print(char text[AMCT_WINDOW_BYTES], const amct_window *window);
/** False: not such a text, or a kernel over AMCT_WINDOW_KERNEL_MAX. */
AMCT_INTERNAL bool amct_window_read(amct_slice text, amct_window *window);

AMCT_INTERNAL bool amct_window_equal(const amct_window *a, const amct_window *b);

/** A batch as a window sees it. */
typedef struct amct_pictures {
  size_t count, channels;
  int64_t in[2], out[2]; /* points of a picture, positions of the window */
} amct_pictures;

/** False: a shape that the layer cannot have. */
bool amct_window_fits(const amct_window *window, const int64_t *dims, int rank,
                      amct_pictures *pictures);

/** Rows (axis 0) or columns of zeros before the picture. */
int64_t amct_window_pad(const amct_window *window, const amct_pictures *pictures,
                        int axis);

typedef struct amct_input_sums amct_input_sums;

/** NULL when memory runs out. */
amct_input_sums *amct_input_sums_new(const amct_window *window, size_t channels);
void amct_input_sums_free(amct_input_sums *sums);

/**
 * Adds pictures first .. first+count-1 of a batch of the channels that the sums have.
 *
 *   sum[t][c] = sum over pictures and positions p of x[p*stride + t*dilation - pad, c],
 *               nothing where that is outside the picture
 *
 * Of pictures with many positions only rows r of positions with r mod n = n/2 count, n =
 * positions/256, at most rows/4: pictures differ from each other more than rows do.
 *
 * In a picture float32 in blocks of eight columns, then double; between pictures whole
 * multiples of 2^-62. Sums of a picture of 2^30 or more make the sums of no use.
 */
void amct_input_sums_add(amct_input_sums *sums, const amct_pictures *pictures,
                         const float *values, size_t first, size_t count);
void amct_input_sums_merge(amct_input_sums *sums, const amct_input_sums *other);

/** Taps times channels. */
size_t amct_input_sums_size(const amct_input_sums *sums);
/** mean[t*channels + c] = sum[t][c] / positions that count, float32. False: sums of no
 * use. */
bool amct_input_sums_means(const amct_input_sums *sums, float *mean);

#endif
