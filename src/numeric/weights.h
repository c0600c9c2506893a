/* SPDX-License-Identifier: Apache-2.0 */
/* ARQ: symmetric int8 weights, their scales, and biases in integer units. */
#ifndef AMCT_WEIGHTS_H
#define AMCT_WEIGHTS_H

#include "numeric/fold.h"

typedef enum amct_weight_algorithm {
#define WEIGHT_ALGORITHM(id, name, settings) AMCT_WEIGHT_##id,
#include "numeric/weight_algorithms.def"
#undef WEIGHT_ALGORITHM
  AMCT_WEIGHT_ALGORITHMS
} amct_weight_algorithm;

/**
 * scale[c] = max |w[.., c, ..]| / 127 (float32 division); an exactly zero channel has
 * scale 1. per_channel false: one scale for the whole tensor.
 *
 * @param[out] scale   float32, layout.channels values, or one
 * @param[in]  w       float32, finite
 * @return AMCT_OK; AMCT_UNSUPPORTED (NaN or infinity, the text names channel and value).
 * @par Source  shared/reference numbers.md, Decided 2.
 */
AMCT_NODISCARD amct_status amct_weight_scales(float *scale, const float *w,
                                              amct_weight_layout layout, bool per_channel,
                                              amct_error *err);

/** q = clamp(round_half_away(w / scale), -128, 127), float32 division; scale has 1 or
 * channels values. */
void amct_weight_quantize(int8_t *q, const float *w, amct_weight_layout layout,
                          const float *scale, size_t scales);

/** max |w| / scale over all elements: above 128 the scales cannot be of these weights.
 * `*channel` says where. */
float amct_weight_worst_ratio(const float *w, amct_weight_layout layout,
                              const float *scale, size_t scales, size_t *channel);

/** b_q = round_half_away(b / (double)(float32(scale_d*scale_w))), as float32. */
float amct_bias_quantize(float b, float scale_d, float scale_w);

/** Largest |b_q| that is stored: the largest float32 below 2^31. */
#define AMCT_BIAS_LIMIT 2147483520.0f

/**
 * The smallest float32 >= scale_w for which |amct_bias_quantize(b, scale_d, .)| <=
 * AMCT_BIAS_LIMIT. Exact: the next float32 below fails. b finite, scale_d > 0, scale_w >
 * 0.
 */
float amct_bias_fit(float b, float scale_d, float scale_w);

/** deq_scale word: bits 31..0 float32(scale_d*scale_w), 39..32 shift N, 47..40 offset_w.
 */
uint64_t amct_deq_pack(float scale_d, float scale_w, uint8_t shift, int8_t offset_w);

#endif
