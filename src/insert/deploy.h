/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The deploy ops (op-contract.md, amct.md 9). For a layer with factors:
 *
 *   data -> AscendQuant -> layer [-> BiasAdd, bias in units of scale_d*scale_w] ->
 * AscendDequant -> readers int8 weights -> AscendWeightQuant -> layer
 *
 * A second data input takes the place of the weights: an AscendQuant of scale_w. Layers
 * that read one tensor with the same factors share an AscendQuant; a MaxPool that reads
 * the tensor too is fed through AscendAntiQuant, and so is an input that the record names
 * ("<op>:<input>"), from an AscendQuant of its factors. A model output keeps its name:
 * the layer moves to `<name>_quantized`, and an Identity of the old name hands out the
 * dequantized values.
 */
#ifndef AMCT_DEPLOY_H
#define AMCT_DEPLOY_H

#include "factors/stats.h"
#include "rewrite/plan.h"

typedef struct amct_deploy_options {
  const char *module, *record_path; /* for messages */
  bool all_wanted; /* layers without factors are a warning, not to be expected */
  const char *const *outputs;
  size_t output_count;
  const amct_stats *stats; /* corrects biases; NULL: none are corrected */
  bool steps_only;         /* stats hold weights of some layers and no more */
} amct_deploy_options;

/**
 * Quantizes the layers that the record names, in the graph of a plan that is not settled
 * yet, and settles it. `record` was checked against `layers`. `layers` is spent: its
 * nodes move where a layer is a model output. `*quantized` counts layers.
 *
 * With stats, a bias grows by the shift of numeric/bias_shift.h, unless it would leave
 * int32. Layers whose stats are missing, or are of other factors or weights, keep their
 * bias; one warning says which.
 *
 * @return AMCT_OK; AMCT_BAD_RECORD (weights that the factors cannot be of, a bias outside
 * int32: the text names the layer, both values and what to do); AMCT_UNSUPPORTED (weights
 * that are not constant).
 */
AMCT_NODISCARD amct_status amct_deploy(amct_plan *plan, amct_layers *layers,
                                       const amct_record *record,
                                       const amct_deploy_options *options,
                                       size_t *quantized, amct_error *err);

#endif
