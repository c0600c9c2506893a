/* SPDX-License-Identifier: Apache-2.0 */
/* Rounding of weights by no data: what one weight gains, its neighbours lose, so that an
 * output errs little where inputs are alike. */
#ifndef AMCT_EVEN_ROUNDING_H
#define AMCT_EVEN_ROUNDING_H

#include "numeric/weights.h"

typedef struct amct_even_weights {
  const float *w; /* finite */
  amct_weight_layout layout;
  const float *scale; /* 1 or channels values, > 0 */
  size_t scales;
  size_t taps; /* window positions; outer*inner is a multiple: by tap, then by input */
} amct_even_weights;

/**
 * q, integers in [-128, 127], that make
 *
 *   loss[c] = sum d^2 + sum over inputs i of (sum over taps t of d[t,i])^2 + (sum d)^2/2,
 *   d[t,i] = q[t,i,c] - w[t,i,c]/scale[c]
 *
 * small for each output channel c: the squared error of an output whose inputs are alike
 * in a window, and have means half as large, squared, as their variance. From the nearest
 * steps, each weight in descending order of |d|, ties in order of the array, goes to the
 * next step across w/scale if the loss shrinks. Weights on their steps stay there.
 * Double.
 *
 * @return AMCT_OK; AMCT_INVALID_ARGUMENT (taps); AMCT_OUT_OF_MEMORY.
 * @par Source  Guo et al. 2022, arXiv:2202.07471 (SQuant: rounding by element, kernel and
 * channel).
 */
AMCT_NODISCARD amct_status amct_even_round(int8_t *q, const amct_even_weights *weights,
                                           amct_error *err);

#endif
