/* SPDX-License-Identifier: Apache-2.0 */
/* Shift N, for chips that saturate accumulators at 16 bits: the largest accumulators, and
 * what has to be shifted out of them. */
#ifndef AMCT_SEARCH_N_H
#define AMCT_SEARCH_N_H

#include "numeric/fake_quant.h"

/** The ends of a layer's output so far, with 0; arrays of a value a channel. */
typedef struct amct_output_ends {
  float *high, *low;
} amct_output_ends;

/** Widens the ends by an output [outer, channels, inner], row-major. NaN is passed over.
 */
AMCT_INTERNAL void amct_output_ends_add(amct_output_ends *ends, const float *output,
                                        amct_weight_layout layout);

/**
 * N of each scale_w: the least for which floor(acc / 2^N) is in int16 for every
 * accumulator of its channels,
 *
 *   acc = round((k[c]*output + b[c]) / (scale_d*scale_w[c]))
 *
 * k and b what is folded into the channel, output the layer's own, between its ends. All
 * are 0, or each is in 1..16.
 *
 * @param[out] shift_bit  uint32 [count]
 * @param[in] scale_w     float32 [count], of amct_trained_scales
 * @return AMCT_OK; AMCT_OUT_OF_MEMORY.
 * @par Source  amct.md 8.7, 9.4.
 */
AMCT_INTERNAL AMCT_NODISCARD amct_status amct_search_n(uint32_t *shift_bit,
                                                       const float *scale_w, size_t count,
                                                       const amct_trained *trained,
                                                       const amct_output_ends *ends,
                                                       amct_error *err);

#endif
