/* SPDX-License-Identifier: Apache-2.0 */
/* The grids of TensorFlow's fake quantization, and what int8 makes of weights on them. */
#ifndef AMCT_NUDGED_H
#define AMCT_NUDGED_H

#include "numeric/weights.h"

/** A range as FakeQuantWithMinMaxVars uses it: steps low..last, `zero` of which means 0.
 */
typedef struct amct_nudged {
  float scale; /* real units per step, > 0 */
  int32_t low, last, zero;
} amct_nudged;

/**
 * last = 2^bits - 1, low = 1 where narrow, else 0; in float32:
 *
 *   scale = (max - min) / (last - low)
 *   zero = low - min/scale, at least low, at most last, rounded half away from zero
 *
 * @param[in] bits  2..16
 * @return false: not finite, min >= max, or a scale that has no finite reciprocal.
 * @par Source  behaviour of the op in TensorFlow 1.15 and 2.21 (conformance tests).
 */
AMCT_INTERNAL bool amct_nudge(amct_nudged *grid, float min, float max, int bits,
                              bool narrow);

/** y = (floor((clamp(x) - bottom)/scale + 1/2) + low - zero) * scale, with bottom =
 * (low - zero)*scale and x clamped to the grid's ends. y may be x. */
AMCT_INTERNAL void amct_nudged_apply(float *y, const float *x, size_t count,
                                     const amct_nudged *grid);

/** Weights that lie on grids, and what is folded into them. */
typedef struct amct_nudged_weights {
  const float *weights;
  amct_weight_layout layout;
  const amct_nudged *grids;
  size_t grid_count;    /* channel c is on grid c modulo grid_count */
  const double *factor; /* by channel; NULL: nothing is folded in */
  bool per_channel;     /* the layer takes a scale for each channel */
} amct_nudged_weights;

/**
 * Symmetric scales: int8 weights are steps counted from zero, t = w/s, s the scale of the
 * channel's grid. With k the factor of a channel:
 *
 *   scale_w[c] = f32(s*|k|)               where all t lie in -128..127: exact
 *   scale_w[c] = f32(f32(r*s)*|k|)        elsewhere, of m = max |t|, with the first
 *                                         r = m/128 * (1 + j/1024), j = 1..128, for which
 *
 *   sum over t of (t - r*clamp(round(t/r), -128, 127))^2
 *
 * is least: there weights are rounded anew (numeric/even_rounding.h). A channel that is
 * zero has scale 1. One scale where that is right for all channels, or the layer takes
 * only one: then the sum runs over all.
 *
 * @param[out] scale_w  room for layout.channels values; `*count` are set
 * @param[out] exact    all t of all channels lie in -128..127
 * @return AMCT_OK; AMCT_UNSUPPORTED (NaN or infinity); AMCT_OUT_OF_MEMORY.
 */
AMCT_NODISCARD amct_status amct_nudged_scales(float *scale_w, size_t *count, bool *exact,
                                              const amct_nudged_weights *of,
                                              amct_error *err);

/**
 * w = held + rest, both on the grids, within -128..127 steps of zero: held takes all of w
 * that it can. No factors.
 *
 * @return false: held is w, or rest does not fit either (255 steps).
 */
AMCT_INTERNAL bool amct_nudged_split(float *held, float *rest,
                                     const amct_nudged_weights *of);

/** How far from the grids weights are rounded. */
typedef struct amct_nudged_loss {
  size_t channels; /* with a weight 1/100 of a step off, or more */
  double largest;  /* steps */
} amct_nudged_loss;

/** largest |q*scale_w[c]/|k| - w*sign(k)| / s, with scale_w of 1 or channels values.
 * Channels of factor 0 are left out. */
AMCT_INTERNAL amct_nudged_loss amct_nudged_missed(const amct_nudged_weights *of,
                                                  const int8_t *q, const float *scale_w,
                                                  size_t scales);

#endif
