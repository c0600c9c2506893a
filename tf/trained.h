/* SPDX-License-Identifier: Apache-2.0 */
/* A trained layer as kernels get it: attributes, and inputs that hold its weights, what
 * is folded into them, and its clips. */
#ifndef AMCT_TRAINED_H
#define AMCT_TRAINED_H

#include "folding.h"
#include "numeric/fake_quant.h"

/** From the attributes weighted, channel_wise, may_split, fixed_min and data_format, and
 * those of a folding. */
typedef struct amct_trained_layer {
  amct_folding folding;
  bool weighted, channel_wise, may_split, fixed_min;
  bool channels_first; /* NCHW */
} amct_trained_layer;  /* zero-initialise */

AMCT_NODISCARD amct_status amct_trained_layer_init(amct_trained_layer *layer,
                                                   const amct_node_view *node,
                                                   amct_error *err);
void amct_trained_layer_clear(amct_trained_layer *layer);

/** The grid of the clips at inputs `first` and first + 1. `*set` false: they are 0, not
 * initialised yet. */
AMCT_NODISCARD amct_status amct_trained_layer_grid(const amct_trained_layer *layer,
                                                   TF_OpKernelContext *context, int first,
                                                   amct_ulq_grid *grid, bool *set,
                                                   amct_error *err);
/** The weights of a run with what is folded into them; borrows from `in`. */
amct_trained amct_trained_layer_weights(const amct_trained_layer *layer,
                                        const amct_fold_inputs *in,
                                        const amct_ulq_grid *grid);

/** How an output is cut into channels. AMCT_INVALID_ARGUMENT: it has not `total`. */
AMCT_NODISCARD amct_status amct_trained_layer_cut(const amct_trained_layer *layer,
                                                  const amct_tf_view *output,
                                                  size_t total, amct_weight_layout *cut,
                                                  amct_error *err);

/** `reason` with the layer's name before it. */
amct_status amct_trained_layer_fail(const amct_trained_layer *layer, amct_status status,
                                    const amct_error *reason, amct_error *err);

#endif
