/* SPDX-License-Identifier: Apache-2.0 */
/* What is folded into a layer, as attributes and inputs of a node that folds it itself
 * (QuantArq, RetrainFactors). */
#ifndef AMCT_FOLD_SPEC_H
#define AMCT_FOLD_SPEC_H

#include "rewrite/plan.h"

#include "op/layers.h"

/** What is folded into a layer: the steps of the plan or, without any, its bias as the
 * one step, for which `bias` is room. */
const amct_fold_ref *amct_fold_spec_steps(const amct_plan *plan, const amct_layer *layer,
                                          amct_fold_ref *bias, size_t *count);
/** Gives the node the weight of a layer and the parameters of what is folded into it as
 * inputs, by the edges of the unfused graph, and the attribute `fold`. `*inputs` counts
 * them. */
AMCT_NODISCARD amct_status amct_fold_spec_put(amct_edits *edits, const amct_plan *plan,
                                              amct_spec *spec, const amct_layer *layer,
                                              size_t *inputs, amct_error *err);
/** The attribute `Tin` of that many float inputs. */
AMCT_NODISCARD amct_status amct_fold_spec_types(amct_arena *arena, amct_spec *spec,
                                                size_t inputs, amct_error *err);
/** The attribute `channel_axes`. */
void amct_fold_spec_axes(amct_spec *spec, const amct_layer *layer);

#endif
