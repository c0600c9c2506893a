/* SPDX-License-Identifier: Apache-2.0 */
/* What is folded into a layer's weights, as a kernel gets it: attributes that say which
 * steps there are, inputs that hold the weights and the parameters of the steps. */
#ifndef AMCT_FOLDING_H
#define AMCT_FOLDING_H

#include "kernel_base.h"
#include "numeric/fold.h"

typedef struct amct_folding_step {
  amct_fold_kind kind;
  float epsilon;
  size_t first, count; /* of its values, those of this layer; count 0: all */
} amct_folding_step;

/** From the attributes layer_name, channel_axes and fold. */
typedef struct amct_folding {
  char *layer_name;
  int64_t *axes; /* of the output channels, ascending, next to each other */
  size_t axis_count;
  amct_folding_step *steps;
  size_t step_count;
  size_t input_count; /* that the steps take, the weight included */
  size_t first_input; /* the weight; those before it are not its own */
} amct_folding;       /* zero-initialise */

AMCT_NODISCARD amct_status amct_folding_init(amct_folding *folding,
                                             const amct_node_view *node, amct_error *err);
/** Only layer_name and channel_axes. */
AMCT_NODISCARD amct_status amct_folding_init_axes(amct_folding *folding,
                                                  const amct_node_view *node,
                                                  amct_error *err);
void amct_folding_clear(amct_folding *folding);

/** The inputs of a run as float32: the weight, then the parameters of the steps, then
 * `extra` others. */
typedef struct amct_fold_inputs {
  size_t count;
  amct_tf_view *views;
  const float **values;
  float **owned;
  amct_weight_layout layout;
  amct_fold_step *steps; /* step_count of the folding */
} amct_fold_inputs;      /* zero-initialise */

AMCT_NODISCARD amct_status amct_fold_inputs_open(amct_fold_inputs *in,
                                                 const amct_folding *folding,
                                                 TF_OpKernelContext *context,
                                                 size_t extra, amct_error *err);
void amct_fold_inputs_close(amct_fold_inputs *in);

/** How weights of this shape are cut into channels. AMCT_INVALID_ARGUMENT: no values, or
 * no such axes. */
AMCT_NODISCARD amct_status amct_folding_layout(const amct_folding *folding,
                                               const amct_tf_view *weight,
                                               amct_weight_layout *layout,
                                               amct_error *err);

#endif
