/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Observers for calibration: they hang at the side of the graph. Each layer reads its
 * data through an Identity that waits for the observers of its data and its weights, so
 * that whoever runs the layer runs them.
 */
#ifndef AMCT_OBSERVE_H
#define AMCT_OBSERVE_H

#include "recipe/recipe.h"
#include "rewrite/plan.h"

typedef struct amct_observe_options {
  const char *calibration_id;
  const char *record_path; /* absolute */
} amct_observe_options;

/**
 * Plans one QuantIfmr for each tensor and parameter set, naming its layers, and one
 * QuantArq for each layer with weights, which reads them and what is folded into them by
 * the edges of the unfused graph. Names of the fused graph that `plan` holds are names of
 * the live graph too: fusion keeps them, and it moves no data of layers
 * (amct_plan_options.moves_data), so that an Identity reads what its layer read.
 */
AMCT_NODISCARD amct_status amct_observe(amct_edits *edits, const amct_plan *plan,
                                        const amct_recipe *recipe,
                                        const amct_observe_options *options,
                                        amct_error *err);

/** Takes the observers of a calibration out again, and what waits for them: a graph
 * frozen from a session that calibrated has them. `*count` observers went. */
AMCT_NODISCARD amct_status amct_observe_undo(amct_graph *graph, size_t *count,
                                             amct_error *err);

#endif
