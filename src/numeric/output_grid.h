/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a trained layer puts out once it is deployed.
 *
 * Fake-quantized data and weights are whole steps of their scales, so the output is a
 * whole number of steps too, plus what biases and batch norms shift it by; float
 * arithmetic has it but for its own rounding. The deployed layer has the very whole
 * number, and adds a bias that is rounded to one:
 *
 *   a = round((x - shift)/step)            step = scale_d * s * |k|
 *   y = f32((a + bias) * f32(scale_d*scale_w))   bias = amct_bias_quantize(shift)
 *
 * s: the scale of the trained weights, k and shift: what is folded in.
 */
#ifndef AMCT_OUTPUT_GRID_H
#define AMCT_OUTPUT_GRID_H

#include "numeric/fake_quant.h"

/** The whole numbers of a layer's output, by channel. */
typedef struct amct_output_grid {
  size_t channels;       /* 0: not those of the trained grid; x is left as it is */
  double *shift, *steps; /* steps: in a value of 1; 0 where all weights are 0 */
  float *bias, *scale;
} amct_output_grid; /* zero-initialise */

/**
 * The grid of the saved layer. It has none of the trained steps (`channels` is 0) where
 * something that follows cannot be folded, or where its scales are not those of training
 * times what is folded in: one scale for channels that are multiplied differently, or one
 * raised for a large bias.
 *
 * @return AMCT_OK; AMCT_UNSUPPORTED (NaN or infinity); AMCT_OUT_OF_MEMORY.
 */
AMCT_INTERNAL AMCT_NODISCARD amct_status amct_output_grid_make(
    amct_output_grid *grid, const amct_trained *trained, amct_error *err);
AMCT_INTERNAL void amct_output_grid_free(amct_output_grid *grid);

/** Rows of one value a channel. y may be x. */
AMCT_INTERNAL void amct_output_rows(float *y, const float *x, size_t rows, size_t stride,
                                    const amct_output_grid *grid);
/** Values of one channel. y may be x. */
AMCT_INTERNAL void amct_output_run(float *y, const float *x, size_t count, size_t channel,
                                   const amct_output_grid *grid);

/** Averages over windows of whole steps of scale_d, as AvgPool and AscendDequant give
 * them; windows may be cut off at an edge. y may be x. */
AMCT_INTERNAL void amct_output_pooled(float *y, const float *x, size_t count,
                                      float scale_d, const int64_t window[2]);

#endif
