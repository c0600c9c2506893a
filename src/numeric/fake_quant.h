/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fake quantization for retraining: what the deployed ops compute, in float, and its
 * gradients.
 *
 * ULQ (activations) trains the ends of the range, clip_max and clip_min. ARQ (weights)
 * takes the range that the weights have, each time anew.
 */
#ifndef AMCT_FAKE_QUANT_H
#define AMCT_FAKE_QUANT_H

#include "numeric/weights.h"

/** A range of an activation, and its int8 grid. */
typedef struct amct_ulq_grid {
  float clip_max, clip_min; /* as they count: clip_max >= 0 >= clip_min */
  float scale, offset;      /* offset: an integer, -128..127 */
} amct_ulq_grid;

/**
 * The grid of two clips, finite:
 *
 *   max = max(clip_max, 0), min = min(clip_min, 0)
 *   scale = f32(f32(max - min)/255), offset = -128 - round(min/scale)
 *
 * Clips that crossed 0 count as 0, so that zero is always on the grid. A scale below
 * 1.192092896e-7 becomes 1 (offset -128). round is half away from zero.
 * @par Source  amct.md 8.1, 8.5.
 */
AMCT_INTERNAL amct_ulq_grid amct_ulq_grid_of(float clip_max, float clip_min);

/** Largest and smallest value, with 0; NaN is passed over. */
AMCT_INTERNAL void amct_ulq_extremes(const float *x, size_t count, float *largest,
                                     float *smallest);

/** y = (clamp(round(x/scale) + offset) - offset) * scale: AscendQuant with 1/scale, then
 * AscendAntiQuant with scale, bit for bit. y may be x. */
AMCT_INTERNAL void amct_ulq_forward(float *y, const float *x, size_t count,
                                    const amct_ulq_grid *grid);

/** Sums of a gradient, to be added up over the parts of a tensor. */
typedef struct amct_ulq_sums {
  double clip_max, clip_min;
} amct_ulq_sums;

/**
 * Straight through inside the range, g the gradient of y:
 *
 *   dx       = g where clip_min <= x <= clip_max, else 0
 *   clip_max = sum g*(1[x > clip_max] + e/255)
 *   clip_min = sum g*(1[x < clip_min] - e/255)
 *   e        = round(x/scale) - x/scale inside, else 0
 *
 * dx may be g.
 * @par Source  amct.md 8.5; algorithms.md 4.15.
 */
AMCT_INTERNAL void amct_ulq_backward(float *dx, amct_ulq_sums *sums, const float *g,
                                     const float *x, size_t count,
                                     const amct_ulq_grid *grid);

/** The clips that a grid found by a range search means: (127 - offset)*scale and
 * -(128 + offset)*scale; with fixed_min 0 for the lower. Never both 0. */
AMCT_INTERNAL void amct_ulq_clips(float scale, int32_t offset, bool fixed_min,
                                  float *clip_max, float *clip_min);

/**
 * y = amct_weight_quantize(w) * scale, with the scales of w itself
 * (amct_weight_scales). y may be w.
 *
 * @return AMCT_OK; AMCT_UNSUPPORTED (NaN or infinity); AMCT_OUT_OF_MEMORY.
 */
AMCT_INTERNAL AMCT_NODISCARD amct_status amct_arq_forward(float *y, const float *w,
                                                          amct_weight_layout layout,
                                                          bool per_channel,
                                                          amct_error *err);

/** Trained weights, and what saving the model folds into them. */
typedef struct amct_trained {
  const float *weights;
  amct_weight_layout layout;
  bool per_channel; /* as they were trained */
  bool may_split;   /* the layer takes a scale for each channel */
  const amct_fold_step *steps;
  size_t step_count;
  float scale_d;
} amct_trained;

/** factor and shift of each channel, of the steps that can be folded; how many those are.
 */
AMCT_INTERNAL size_t amct_trained_fold(const amct_trained *trained, double *factor,
                                       double *shift);

/**
 * Scales of the folded weights on the grid that the weights were trained on:
 *
 *   scale_w[c] = f32(s[c] * |k[c]|), s the scales of the unfolded weights, k the factors
 *
 * Weights trained with one scale have one; where factors differ, one for each channel,
 * or, if the layer takes only one, that of the folded weights. A channel that is zero has
 * scale 1. Where the folded bias would leave
 * int32 the scale is raised (amct_bias_fit). Steps whose values cannot be folded, and
 * what follows them, do not count, as in the saved model; `*folded` steps do.
 *
 * @param[out] scale_w  room for layout.channels values; `*count` are set
 * @return AMCT_OK; AMCT_UNSUPPORTED (NaN or infinity); AMCT_OUT_OF_MEMORY.
 */
AMCT_INTERNAL AMCT_NODISCARD amct_status amct_trained_scales(float *scale_w,
                                                             size_t *count,
                                                             size_t *folded,
                                                             const amct_trained *trained,
                                                             amct_error *err);
/** The same of what is known: `scale_w` holds the scales of the unfolded weights, those
 * of amct_weight_scales, and gets those of the folded ones, as many as are returned;
 * factor and shift are amct_trained_fold's. */
AMCT_INTERNAL size_t amct_trained_fold_scales(float *scale_w, const amct_trained *trained,
                                              const double *factor, const double *shift);

#endif
