/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/bias_shift.h"

#include "numeric/clones.h"

/* A row of weights that reads one mean: outputs of one group. */
typedef struct group_row {
  const float *w;
  const int8_t *q;
  const float *scale;
  size_t scale_step; /* 0: one for all */
  double mean;
} group_row;

/* shift[c] += (w[c] - scale*q[c]) * mean */
AMCT_CLONES static void add_row(double *shift, group_row r, size_t outputs) {
  for (size_t c = 0; c < outputs; c++)
    shift[c] +=
        ((double)r.w[c] - (double)r.scale[c * r.scale_step] * (double)r.q[c]) * r.mean;
}

bool amct_bias_shift(double *shift, const amct_weight_pair *weights, const float *mean,
                     size_t means, size_t taps) {
  const amct_weight_layout layout = weights->layout;
  if (taps == 0 || layout.outer % taps != 0 || means % taps != 0 || layout.inner != 1)
    return false;
  const size_t inputs = layout.outer / taps, all = means / taps; /* of a tap */
  if (inputs == 0 || all % inputs != 0) return false;
  const size_t groups = all / inputs;
  if (groups == 0 || layout.channels % groups != 0) return false;
  const size_t outputs = layout.channels / groups;
  for (size_t c = 0; c < layout.channels; c++)
    shift[c] = 0.0;
  for (size_t row = 0; row < layout.outer; row++) {
    const size_t t = row / inputs, i = row % inputs;
    for (size_t g = 0; g < groups; g++) {
      const size_t c = g * outputs, at = row * layout.channels + c;
      const size_t step = weights->scales != 1;
      const group_row r = {weights->w + at, weights->q + at, weights->scale + c * step,
                           step, (double)mean[t * all + g * inputs + i]};
      add_row(shift + c, r, outputs);
    }
  }
  return true;
}
