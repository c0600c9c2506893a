/* SPDX-License-Identifier: Apache-2.0 */
/* Second-order rounding of weights: not each weight to its nearest step, but all of an
 * output channel so that its output errs least over a sample of the layer's inputs. */
#ifndef AMCT_WEIGHT_ROUNDING_H
#define AMCT_WEIGHT_ROUNDING_H

#include "numeric/weights.h"

enum {
  AMCT_ROUNDING_INPUTS_MOST = 2304, /* taken together; of more, as few parts as do */
  AMCT_ROUNDING_ROWS_MOST = 32768,  /* sums of products stay within int32 */
};

typedef struct amct_rounding {
  const float *w;
  amct_weight_layout layout; /* outer: taps times inputs of a group; inner 1 */
  const float *scale;        /* 1 or channels values */
  size_t scales;
  const int16_t *steps; /* inputs on their grid, of amct_input_rows_steps, |.| <= 255 */
  size_t rows, width;   /* of the sample; width: taps times inputs of all groups */
  size_t taps;
  double damping; /* > 0: this part of the mean square input is added to each */
} amct_rounding;

/**
 * q, integers in [-127, 127], that make
 *
 *   loss[c] = sum over k, l of d[k] H[k,l] d[l],   d[k] = w[k,c]/scale[c] - q[k,c]
 *
 * small for each output channel c, where k and l run over the inputs of its group and
 *
 *   H[k,l] = mean over rows of x[k] x[l], + damping * (mean of the diagonal) if k = l
 *
 * H = L L^T (Cholesky, double), inputs in ascending order of H[k,k]. From the last to the
 * first, each is rounded where the loss is least given those before:
 *
 *   q[k] = round(w[k]/scale + sum over m > k of L[m,k] d[m] / L[k,k])
 *
 * which is what updating the weights left by the rows of Cholesky(H^-1) does. Groups as
 * in amct_bias_shift. A group whose inputs are all zero is rounded to nearest.
 *
 * @return AMCT_OK; AMCT_INVALID_ARGUMENT (numbers that do not belong together);
 * AMCT_OUT_OF_MEMORY.
 * @par Source  Frantar et al. 2022, arXiv:2210.17323 (GPTQ); Chen et al. 2025,
 * arXiv:2507.18553 (that it is Babai's nearest plane).
 */
AMCT_NODISCARD amct_status amct_weight_round(int8_t *q, const amct_rounding *rounding,
                                             amct_error *err);

#endif
