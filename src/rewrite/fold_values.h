/* SPDX-License-Identifier: Apache-2.0 */
/* Values behind the steps of a fold, where all parameters are constants. */
#ifndef AMCT_FOLD_VALUES_H
#define AMCT_FOLD_VALUES_H

#include "op/ops.h"
#include "rewrite/plan.h"

/** True if no step reads a variable. */
bool amct_fold_is_constant(const amct_fold_ref *steps, size_t count);

/**
 * Reads the steps into float32 arrays. `out` has room for `count` steps; everything lives
 * as long as `scratch` and the graph. AMCT_UNSUPPORTED: a parameter is a variable, or has
 * not `channels` values.
 */
AMCT_NODISCARD amct_status amct_fold_read(amct_fold_step *out, const amct_fold_ref *steps,
                                          size_t count, size_t channels,
                                          amct_arena *scratch, amct_error *err);

/** `channels` float32 values of a constant parameter, or of `fill` where there is no
 * edge; errors as above. */
AMCT_NODISCARD amct_status amct_vector_read(amct_edge edge, float fill, size_t channels,
                                            amct_arena *scratch, const float **values,
                                            amct_error *err);

/** The weight of a layer as float32, and its layout. */
AMCT_NODISCARD amct_status amct_weight_read(const amct_node *layer, amct_arena *scratch,
                                            const float **weights,
                                            amct_weight_layout *layout, amct_shape *shape,
                                            amct_error *err);

/** A layer's weights, and what is folded into it, as numbers; in the scratch arena or the
 * graph. */
typedef struct amct_folded {
  const float *weights;
  amct_weight_layout layout;
  amct_shape shape;
  const float
      *bias; /* of batch norms before the layer, which are in `weights`; NULL: none */
  double *factor, *shift; /* by channel; NULL: nothing is folded in */
  amct_foldable result;   /* of running the steps, and where */
  size_t channel;
} amct_folded;
/** Computes them; `weights` as the layer has them, not yet multiplied but by the batch
 * norms before it. */
AMCT_NODISCARD amct_status amct_folded_read(amct_folded *out, const amct_node *layer,
                                            const amct_fold *fold, amct_arena *scratch,
                                            amct_error *err);
/** Multiplies the weights by the factors, into the scratch arena. */
AMCT_NODISCARD amct_status amct_folded_multiply(amct_folded *folded,
                                                const amct_node *layer,
                                                amct_arena *scratch, amct_error *err);

/** Tries a whole fold without keeping the result: AMCT_FOLDABLE, or why not and at which
 * channel. */
AMCT_NODISCARD amct_status amct_fold_try(const amct_fold *fold, amct_foldable *result,
                                         size_t *channel, amct_error *err);

#endif
