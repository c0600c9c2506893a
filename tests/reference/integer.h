/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a chip computes, in integers: int8 data and weights, int32 sums and biases, one
 * float32 product at the end. Plain loops to be read, which share nothing with the code
 * under test. Loaded by tests through ctypes.
 *
 * Data is [batch, depth, height, width, channels], a 2-D op has depth 1, and a matrix
 * product is a convolution of one point.
 */
#ifndef AMCT_TESTS_INTEGER_H
#define AMCT_TESTS_INTEGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Window of a convolution or pooling that goes from `in` to `out`; of a transposed
 * convolution, that of the convolution it is the transpose of. Order: depth, height,
 * width. */
typedef struct integer_window {
  int32_t batch;
  int32_t in[3], in_channels;
  int32_t out[3], out_channels;
  int32_t kernel[3], stride[3], dilation[3];
  int32_t pad[3]; /* before the first element */
} integer_window;

/** int32 sums, and for each the sum of the magnitudes of its terms: no partial sum, in
 * whichever order, is larger. */
typedef struct integer_sums {
  int32_t *sum;
  int64_t *reach;
} integer_sums;

/** q = clamp(round_half_away(x * scale) + offset, -128, 127). */
void integer_quantize(int8_t *q, const float *x, size_t count, float scale,
                      int32_t offset);

/* Sums of (q - offset) * w; what is padded is zero. False: a sum that int32 does not
 * hold. */

/** w [kernel..., in channels, out channels]. */
bool integer_conv(const integer_sums *sums, const int8_t *q, int32_t offset,
                  const int8_t *w, const integer_window *window);
/** w [kernel..., in channels, m]; out channels = in channels * m. */
bool integer_depthwise(const integer_sums *sums, const int8_t *q, int32_t offset,
                       const int8_t *w, const integer_window *window);
/** q is of size `out`, the sums are of size `in`; w [kernel..., in channels, out
 * channels]. */
bool integer_transposed(const integer_sums *sums, const int8_t *q, int32_t offset,
                        const int8_t *w, const integer_window *window);
/** Products of two data tensors, a [batch, rows, inner] and b [batch, inner, columns],
 * or, turned, [batch, columns, inner]; neither has an offset. */
typedef struct integer_matrices {
  int32_t batch, rows, inner, columns;
  bool turned;
} integer_matrices;
bool integer_product(const integer_sums *sums, const int8_t *a, const int8_t *b,
                     const integer_matrices *size);
/** The largest of each window, padding left out. */
void integer_max_pool(int8_t *y, const int8_t *q, const integer_window *window);
/** Sums over the window, and how many elements are in it, padding left out. */
bool integer_pool(const integer_sums *sums, int32_t *counts, const int8_t *q,
                  int32_t offset, const integer_window *window);

/** sum[i] += bias[i mod channels]. */
bool integer_add_bias(const integer_sums *sums, size_t count, const int32_t *bias,
                      size_t channels);

/** y = float32(sum) * scale[i mod channels]. */
void integer_dequantize(float *y, const int32_t *sum, size_t count, const float *scale,
                        size_t channels);
/** y = float32(q - offset) * scale. */
void integer_antiquantize(float *y, const int8_t *q, size_t count, int32_t offset,
                          float scale);
/** The mean, rounded once, times the area of the whole window and scale in float32, over
 * the area. */
void integer_dequantize_mean(float *y, const int32_t *sum, const int32_t *counts,
                             size_t count, double area, float scale);

#endif
