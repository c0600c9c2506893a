/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retraining ops. Data and weights of an enabled layer go through fake quantization:
 *
 *   data   -> Ulq (clip_max, clip_min: variables) -> layer
 *   weight -> ArqRetrain                          -> layer
 *
 * In a graph for inference a RetrainOutput stands behind it (training_outputs.h).
 * Beside them a RetrainFactors for each layer computes what the record says of it, from
 * clips, weights and what is folded into these; a RetrainRecord writes it.
 */
#ifndef AMCT_TRAINING_H
#define AMCT_TRAINING_H

#include "factors/record.h"
#include "insert/training_outputs.h"
#include "recipe/recipe.h"
#include "rewrite/plan.h"

/** What a plan of retraining adds, by name; in the graph's arena. */
typedef struct amct_training {
  const char *record_path; /* given: absolute */
  const char **variables; /* made by the planner: constants in the core's graph, trainable
                             variables in the live one */
  size_t variable_count;
  const char **kept; /* the same, not trainable: the clips of the step before */
  size_t kept_count;
} amct_training;

/** Marks the layers that can be quantized, but not retrained: those inside while loops,
 * and those without weights that have two data inputs. */
void amct_train_limit(amct_layers *layers);

/**
 * Plans the ops for the enabled layers. Names depend on the layer alone, so that the
 * training graph and the inference graph of a network get the same variables:
 * `<layer>/ULQ/clip_max` and `<layer>/ULQ/clip_min`, and both with `_pre`, which no op
 * reads: the gradients do. AMCT_BAD_GRAPH: the graph has such a name.
 */
AMCT_NODISCARD amct_status amct_train(amct_edits *edits, const amct_plan *plan,
                                      const amct_recipe *recipe,
                                      const amct_unfused *unfused,
                                      amct_training *training, amct_error *err);

/** What the clips of a frozen graph say: interned layer name -> amct_range, in the
 * graph's arena. Layers whose clips are no constants are left out. */
AMCT_NODISCARD amct_status amct_train_grids(amct_map *grids, amct_graph *graph,
                                            amct_error *err);
/** AMCT_BAD_RECORD: the record says another scale_d or offset_d of a layer than its
 * clips. */
AMCT_NODISCARD amct_status amct_train_check(const amct_map *grids, amct_graph *graph,
                                            const amct_record *record,
                                            const char *record_path, amct_error *err);

/** Takes the ops out again, with what only they read (`keep` names nodes that stay).
 * `*count` layers' ops went. */
AMCT_NODISCARD amct_status amct_train_undo(amct_graph *graph, const char *const *keep,
                                           size_t keep_count, size_t *count,
                                           amct_error *err);

#endif
