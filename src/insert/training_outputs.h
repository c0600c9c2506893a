/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outputs of trained layers in a graph for inference: behind all that is folded into
 * a layer a RetrainOutput gives what the saved model gives, whose biases are whole
 * numbers. It stands between the output and all its readers. Where gradients are made of
 * a graph after all, it passes on what it gets.
 */
#ifndef AMCT_TRAINING_OUTPUTS_H
#define AMCT_TRAINING_OUTPUTS_H

#include "recipe/recipe.h"
#include "rewrite/plan.h"

/** What is known of a graph before its fusions are planned. */
typedef struct amct_unfused {
  amct_map nodes;     /* names of its nodes: the tensors of the user's graph */
  bool for_inference; /* no batch norm is in training mode */
} amct_unfused;       /* zero-initialise */

AMCT_NODISCARD amct_status amct_unfused_look(amct_unfused *unfused,
                                             const amct_graph *graph, amct_error *err);
void amct_unfused_free(amct_unfused *unfused);

/**
 * Plans them for the enabled layers, whose clips are called as amct_train calls them.
 * None in a graph for training, or with conds whose flag may be fed, and none for a layer
 * whose folded output is no tensor of the unfused graph. `outputs` gets, for each node
 * whose output 0 they stand behind, the amct_spec of the last one.
 */
AMCT_NODISCARD amct_status amct_train_outputs(amct_map *outputs, amct_edits *edits,
                                              const amct_plan *plan,
                                              const amct_recipe *recipe,
                                              const amct_unfused *unfused,
                                              amct_error *err);

#endif
