/* SPDX-License-Identifier: Apache-2.0 */
/* Bias correction: what rounding the weights does to a layer's output on average. */
#ifndef AMCT_BIAS_SHIFT_H
#define AMCT_BIAS_SHIFT_H

#include "numeric/weights.h"

/** Quantized weights beside those they were made from. */
typedef struct amct_weight_pair {
  const float *w;
  const int8_t *q;
  amct_weight_layout layout; /* outer: taps times inputs of a group; inner 1 */
  const float *scale;        /* 1 or channels values */
  size_t scales;
} amct_weight_pair;

/**
 * shift[c] = sum over taps t and inputs i of (w[t, i, c] - scale[c]*q[t, i, c]) * mean[t,
 * g(c), i]
 *
 * the mean of the float output less that of the output with these weights; a bias grows
 * by it. g(c) is the group of output channel c: the inputs of a tap are `means / taps`
 * channels, in as many groups of outer/taps each as there are (1 in a plain convolution,
 * one a channel in a depthwise one, whose channels/groups outputs lie side by side).
 * Double; order fixed.
 *
 * @param[in] mean  float32 [means], of amct_input_sums_means
 * @return false: the numbers of taps, means and weights do not belong together.
 * @par Source  recipes.md (bias correction, local); algorithms.md 4.10, of the weights
 * alone.
 */
bool amct_bias_shift(double *shift, const amct_weight_pair *weights, const float *mean,
                     size_t means, size_t taps);

#endif
