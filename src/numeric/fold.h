/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folding what follows a linear layer into its weights and bias.
 *
 * A fold is a list of steps in data-flow order, each acting on an output channel c.
 * Starting from factor k = 1 and shift b = 0, in double:
 *
 *   bias        b = b + bias[c]
 *   batch norm  g = scale[c] / sqrt(variance[c] + epsilon);  k = k*g;  b = (b -
 * mean[c])*g + offset[c]
 *   multiply, divide, add, subtract       by, of the operand o[c]: on k and b, or b alone
 *   subtract from                         k = -k;  b = o[c] - b
 *
 * Then w' = float32(w * k) and bias' = float32(b): one rounding, whatever the number of
 * steps.
 */
#ifndef AMCT_FOLD_H
#define AMCT_FOLD_H

#include "base/fail.h"

#include <stdbool.h>

typedef enum amct_fold_kind {
  AMCT_FOLD_BIAS = 0,
  AMCT_FOLD_BATCH_NORM = 1,
  AMCT_FOLD_MULTIPLY = 2,
  AMCT_FOLD_DIVIDE = 3,
  AMCT_FOLD_ADD = 4,
  AMCT_FOLD_SUBTRACT = 5,
  AMCT_FOLD_SUBTRACT_FROM = 6
} amct_fold_kind;
enum { AMCT_FOLD_KINDS = 7 };

/** "bias", "batch_norm", "multiply", ... Static storage. */
AMCT_INTERNAL const char *amct_fold_kind_name(amct_fold_kind kind);
/** False where the weights stay as they are. */
bool amct_fold_scales(amct_fold_kind kind);

/** Arrays are float32 [channels], borrowed. */
typedef struct amct_fold_step {
  amct_fold_kind kind;
  const float *bias;                             /* BIAS; the operand of arithmetic */
  const float *scale, *offset, *mean, *variance; /* BATCH_NORM */
  float epsilon;                                 /* BATCH_NORM, >= 0 */
  bool single; /* the operand has one value for all channels */
} amct_fold_step;

/** Why values cannot be folded; AMCT_FOLDABLE where they can. */
typedef enum amct_foldable {
  AMCT_FOLDABLE = 0,
  AMCT_FOLD_NOT_FINITE,            /* NaN or infinity in a parameter */
  AMCT_FOLD_VARIANCE_NOT_POSITIVE, /* variance + epsilon <= 0 */
  AMCT_FOLD_OVERFLOWS, /* a factor, a shift or a folded weight leaves float32 */
} amct_foldable;

/** A weight seen as [outer, channels, inner], row-major; channel axes next to each other,
 * flattened. */
typedef struct amct_weight_layout {
  size_t outer, channels, inner;
} amct_weight_layout;

/** Runs the steps; factor and shift are double [channels]. On anything but AMCT_FOLDABLE,
 * `*channel` (may be NULL) says where and the outputs are undefined. */
amct_foldable amct_fold_run(const amct_fold_step *steps, size_t count, size_t channels,
                            double *factor, double *shift, size_t *channel);

enum { AMCT_CHANNEL_BLOCK = 256 }; /* channels that are looked at together */

/** largest[i] = max |w| of channel first + i, for `count` channels; w finite. */
void amct_weight_largest(float *largest, const float *w, amct_weight_layout layout,
                         size_t first, size_t count);

/** What amct_fold_weights would say, without doing it. */
amct_foldable amct_fold_check(const float *w, amct_weight_layout layout,
                              const double *factor, size_t *channel);

/** out = float32(w * factor[channel]); out may be w. AMCT_FOLD_OVERFLOWS or NOT_FINITE
 * name the channel. */
amct_foldable amct_fold_weights(float *out, const float *w, amct_weight_layout layout,
                                const double *factor, size_t *channel);

/**
 * What a norm before a layer adds to its output: bias[c] = float32(sum of w * shift[i])
 * over the weights of output channel c, in double. `inputs` cuts the same weights by
 * input channel i. AMCT_FOLD_OVERFLOWS names the output channel.
 */
amct_foldable amct_fold_shifts(float *bias, const float *w, amct_weight_layout layout,
                               amct_weight_layout inputs, const double *shift,
                               size_t *channel);

/** Words for a reason, for logs: "variance + epsilon is not positive". Static storage. */
const char *amct_foldable_text(amct_foldable reason);

#endif
