/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/weights.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "numeric/clones.h"
#include "numeric/float_env.h"
#include "numeric/round.h"
#include "numeric/sketch.h"

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

AMCT_CLONES static void widen_rows(float *largest, const float *w, size_t count) {
  for (size_t c = 0; c < count; c++) {
    float magnitude = fabsf(w[c]);
    largest[c] = magnitude > largest[c] ? magnitude : largest[c];
  }
}

/* Bits of non-negative floats are ordered as the floats, and integers have a vector
 * maximum. */
AMCT_CLONES static float largest_in_run(const float *w, size_t count) {
  int32_t largest = 0;
  for (size_t i = 0; i < count; i++) {
    int32_t bits;
    memcpy(&bits, &w[i], sizeof bits);
    bits &= INT32_MAX;
    largest = bits > largest ? bits : largest;
  }
  return float_of((uint32_t)largest);
}

void amct_weight_largest(float *largest, const float *w, amct_weight_layout layout,
                         size_t first, size_t count) {
  for (size_t c = 0; c < count; c++)
    largest[c] = 0.0f;
  for (size_t o = 0; o < layout.outer; o++) {
    size_t row = (o * layout.channels + first) * layout.inner;
    if (layout.inner == 1) {
      widen_rows(largest, w + row, count);
      continue;
    }
    for (size_t c = 0; c < count; c++) {
      float run = largest_in_run(w + row + c * layout.inner, layout.inner);
      largest[c] = run > largest[c] ? run : largest[c];
    }
  }
}

/* A subnormal quotient has few bits: rounded down it would leave max|w|/scale above 127
 * by far. */
static float scale_of(float largest) {
  if (largest == 0.0f) return 1.0f;
  float scale = largest / 127.0f;
  if (scale < FLT_MIN && (double)scale * 127.0 < (double)largest)
    scale = float_of(bits_of(scale) + 1u);
  return scale;
}

static AMCT_NOINLINE void weight_scales(float *scale, const float *w,
                                        amct_weight_layout layout, size_t scales) {
  amct_weight_largest(scale, w, layout, 0, scales);
  for (size_t c = 0; c < scales; c++)
    scale[c] = scale_of(scale[c]);
}

amct_status amct_weight_scales(float *scale, const float *w, amct_weight_layout layout,
                               bool per_channel, amct_error *err) {
  size_t count = layout.outer * layout.channels * layout.inner;
  size_t at = amct_find_not_finite(w, count);
  if (at < count)
    return amct_fail(err, AMCT_UNSUPPORTED, NULL, "weight of channel %zu is %g",
                     at / layout.inner % layout.channels, (double)w[at]);
  if (!per_channel) layout = (amct_weight_layout){1, 1, count};
  amct_float_env saved;
  amct_float_env_enter(&saved);
  weight_scales(scale, w, layout, layout.channels);
  amct_float_env_leave(&saved);
  return AMCT_OK;
}

AMCT_INLINE int8_t quantize_one(float w, float scale) {
  float q = amct_round_float(w / scale);
  q = q > 127.0f ? 127.0f : q;
  q = q >= -128.0f ? q
                   : -128.0f; /* NaN (a scale that is not one) too: no undefined cast */
  return (int8_t)q;
}

AMCT_CLONES static void quantize_rows(int8_t *q, const float *w, size_t count,
                                      const float *scale) {
  for (size_t c = 0; c < count; c++)
    q[c] = quantize_one(w[c], scale[c]);
}

AMCT_CLONES static void quantize_run(int8_t *q, const float *w, size_t count,
                                     float scale) {
  for (size_t i = 0; i < count; i++)
    q[i] = quantize_one(w[i], scale);
}

static AMCT_NOINLINE void quantize(int8_t *q, const float *w, amct_weight_layout layout,
                                   const float *scale) {
  for (size_t o = 0; o < layout.outer; o++) {
    size_t row = o * layout.channels * layout.inner;
    if (layout.inner == 1) {
      quantize_rows(q + row, w + row, layout.channels, scale);
      continue;
    }
    for (size_t c = 0; c < layout.channels; c++) {
      size_t start = row + c * layout.inner;
      quantize_run(q + start, w + start, layout.inner, scale[c]);
    }
  }
}

void amct_weight_quantize(int8_t *q, const float *w, amct_weight_layout layout,
                          const float *scale, size_t scales) {
  size_t count = layout.outer * layout.channels * layout.inner;
  if (scales == 1) layout = (amct_weight_layout){1, 1, count};
  amct_float_env saved;
  amct_float_env_enter(&saved);
  quantize(q, w, layout, scale);
  amct_float_env_leave(&saved);
}

enum { BLOCK = AMCT_CHANNEL_BLOCK };

static AMCT_NOINLINE float worst_ratio(const float *w, amct_weight_layout layout,
                                       const float *scale, size_t scales,
                                       size_t *channel) {
  float worst = 0.0f;
  size_t where = 0;
  for (size_t first = 0; first < layout.channels; first += BLOCK) {
    const size_t left = layout.channels - first, count = left < BLOCK ? left : BLOCK;
    float largest[BLOCK];
    amct_weight_largest(largest, w, layout, first, count);
    for (size_t c = 0; c < count; c++) {
      float ratio = largest[c] / scale[scales == 1 ? 0 : first + c];
      if (!(ratio > worst)) continue;
      worst = ratio;
      where = first + c;
    }
  }
  if (channel != NULL) *channel = where;
  return worst;
}

float amct_weight_worst_ratio(const float *w, amct_weight_layout layout,
                              const float *scale, size_t scales, size_t *channel) {
  amct_float_env saved;
  amct_float_env_enter(&saved);
  float worst = worst_ratio(w, layout, scale, scales, channel);
  amct_float_env_leave(&saved);
  return worst;
}

static AMCT_NOINLINE float bias_quantize(float b, float scale_d, float scale_w) {
  if (b == 0.0f) return 0.0f;
  float step = scale_d * scale_w;
  double q = round((double)b / (double)step); /* a step of zero gives infinity */
  if (q > (double)FLT_MAX) return FLT_MAX;
  return q < -(double)FLT_MAX ? -FLT_MAX : (float)q;
}

float amct_bias_quantize(float b, float scale_d, float scale_w) {
  amct_float_env saved;
  amct_float_env_enter(&saved);
  float q = bias_quantize(b, scale_d, scale_w);
  amct_float_env_leave(&saved);
  return q;
}

/* The step grows with scale_w, so |b_q| falls: the first scale that fits is found by
 * halving the floats between, whose bits are in their order. */
float amct_bias_fit(float b, float scale_d, float scale_w) {
  uint32_t low = bits_of(scale_w), high = bits_of(FLT_MAX);
  amct_float_env saved;
  amct_float_env_enter(&saved);
  if (fabsf(bias_quantize(b, scale_d, scale_w)) <= AMCT_BIAS_LIMIT) high = low;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (fabsf(bias_quantize(b, scale_d, float_of(middle))) <= AMCT_BIAS_LIMIT)
      high = middle;
    else
      low = middle + 1;
  }
  amct_float_env_leave(&saved);
  return float_of(high);
}

uint64_t amct_deq_pack(float scale_d, float scale_w, uint8_t shift, int8_t offset_w) {
  amct_float_env saved;
  amct_float_env_enter(&saved);
  volatile float step = scale_d * scale_w; /* volatile: stays between the two calls */
  amct_float_env_leave(&saved);
  return (uint64_t)bits_of(step) | (uint64_t)shift << 32 |
         (uint64_t)(uint8_t)offset_w << 40;
}
