/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/search_n.h"

#include <math.h>

#include "base/alloc.h"

enum { MOST = 16 };

static void widen(amct_output_ends *ends, size_t channel, float value) {
  if (value > ends->high[channel]) ends->high[channel] = value;
  if (value < ends->low[channel]) ends->low[channel] = value;
}

void amct_output_ends_add(amct_output_ends *ends, const float *output,
                          amct_weight_layout layout) {
  size_t at = 0;
  for (size_t o = 0; o < layout.outer; o++)
    for (size_t c = 0; c < layout.channels; c++)
      for (size_t i = 0; i < layout.inner; i++)
        widen(ends, c, output[at++]);
}

/* An accumulator is an integer; what float arithmetic has added is rounded away. */
static uint32_t least_shift(double accumulator) {
  const double whole = round(accumulator);
  uint32_t shift = 0;
  while (shift < MOST && (floor(ldexp(whole, -(int)shift)) > INT16_MAX ||
                          floor(ldexp(whole, -(int)shift)) < INT16_MIN))
    shift++;
  return shift;
}

static void raise_shift(uint32_t *shift_bit, double accumulator) {
  const uint32_t shift = least_shift(accumulator);
  if (shift > *shift_bit) *shift_bit = shift;
}

/* Where one channel has a shift, all have. */
static void level(uint32_t *shift_bit, size_t count) {
  uint32_t any = 0;
  for (size_t c = 0; c < count; c++)
    any |= shift_bit[c];
  for (size_t c = 0; any && c < count; c++)
    if (shift_bit[c] == 0) shift_bit[c] = 1;
}

amct_status amct_search_n(uint32_t *shift_bit, const float *scale_w, size_t count,
                          const amct_trained *trained, const amct_output_ends *ends,
                          amct_error *err) {
  const size_t channels = trained->layout.channels;
  double *factor = amct_alloc_array(channels + 1, sizeof *factor);
  double *shift = amct_alloc_array(channels + 1, sizeof *shift);
  const amct_status status = factor && shift ? AMCT_OK : amct_fail_memory(err);
  if (status == AMCT_OK) {
    (void)amct_trained_fold(trained, factor, shift);
    for (size_t c = 0; c < count; c++)
      shift_bit[c] = 0;
    for (size_t c = 0; c < channels; c++) {
      const size_t at = count > 1 ? c : 0;
      const double step = (double)trained->scale_d * (double)scale_w[at];
      raise_shift(&shift_bit[at], (factor[c] * (double)ends->high[c] + shift[c]) / step);
      raise_shift(&shift_bit[at], (factor[c] * (double)ends->low[c] + shift[c]) / step);
    }
    level(shift_bit, count);
  }
  amct_free(shift);
  amct_free(factor);
  return status;
}
