/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of the four deploy ops on flat arrays; op-contract.md, float bit for
 * bit. Half computes in float32, double in double. Every function is pure: split a range
 * over threads as you like. */
#ifndef AMCT_KERNELS_H
#define AMCT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "base/visibility.h"

/**
 * y = clamp(round_half_away(float32(x*scale)) + offset, -2^(bits-1), 2^(bits-1)-1) -
 * offset NaN goes through; infinities saturate; a non-integral offset is not rounded.
 * @param scale   1/scale_d   @param offset  offset_d as float   @param bits  2..16
 */
AMCT_INTERNAL void amct_quant_float(float *y, const float *x, size_t count, float scale,
                                    float offset, int bits);
AMCT_INTERNAL void amct_quant_half(uint16_t *y, const uint16_t *x, size_t count,
                                   float scale, float offset, int bits);
AMCT_INTERNAL void amct_quant_double(double *y, const double *x, size_t count,
                                     float scale, float offset, int bits);

/** y = x * scale. */
AMCT_INTERNAL void amct_antiquant_float(float *y, const float *x, size_t count,
                                        float scale);
AMCT_INTERNAL void amct_antiquant_half(uint16_t *y, const uint16_t *x, size_t count,
                                       float scale);
AMCT_INTERNAL void amct_antiquant_double(double *y, const double *x, size_t count,
                                         float scale);

/** How element i finds its channel: (i / inner) mod channels. channels 1: per tensor;
 * NHWC: inner 1; NCHW: inner H*W. */
typedef struct amct_dequant_spec {
  const uint64_t *deq; /* packed words, `channels` of them */
  size_t channels;
  size_t inner;
  double area; /* ksize[0]*ksize[1] */
} amct_dequant_spec;

/**
 * v = x*area; if N > 0: v = floor(v / 2^N) clamped to [-32768, 32767]; then
 * y = float32( (double)(float32(v*deq)) * 2^N / area ).
 * @param first  index of y[0] and x[0] in the whole tensor
 */
AMCT_INTERNAL void amct_dequant_float(float *y, const float *x, size_t first,
                                      size_t count, const amct_dequant_spec *spec);
AMCT_INTERNAL void amct_dequant_half(uint16_t *y, const uint16_t *x, size_t first,
                                     size_t count, const amct_dequant_spec *spec);
AMCT_INTERNAL void amct_dequant_double(double *y, const double *x, size_t first,
                                       size_t count, const amct_dequant_spec *spec);

/** Offsets of int8 weights: element i has channel (i / inner) mod channels. */
typedef struct amct_weight_offsets {
  const int8_t *offset_w; /* `channels` of them */
  size_t channels;
  size_t inner;
} amct_weight_offsets;

/** y = x - offset_w[channel]. @param first  as above */
AMCT_INTERNAL void amct_weight_dequant_float(float *y, const int8_t *x, size_t first,
                                             size_t count,
                                             const amct_weight_offsets *offsets);
AMCT_INTERNAL void amct_weight_dequant_half(uint16_t *y, const int8_t *x, size_t first,
                                            size_t count,
                                            const amct_weight_offsets *offsets);
AMCT_INTERNAL void amct_weight_dequant_double(double *y, const int8_t *x, size_t first,
                                              size_t count,
                                              const amct_weight_offsets *offsets);

#endif
