/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graphs that were trained with TensorFlow's fake quantization:
 *
 *   data   -> FakeQuantWithMinMaxVars -> layer
 *   weight -> FakeQuantWithMinMaxVars[PerChannel] -> layer
 *
 * The ranges become factors, the ops go. One whose values are read by more than quantized
 * layers becomes AscendQuant -> AscendAntiQuant, which computes the same.
 */
#ifndef AMCT_FAKE_QUANTS_H
#define AMCT_FAKE_QUANTS_H

#include "factors/stats.h"
#include "rewrite/constants.h"
#include "rewrite/plan.h"

/** One such op; `reason`: why its range cannot be used, NULL: it can. */
typedef struct amct_fake {
  amct_node *node;
  amct_fake_grids grids;
  const char *reason;
  bool shaped; /* of weights: a Reshape or Transpose stands between it and the layer */
} amct_fake;

/** A layer that takes the factors of its fake quantization. */
typedef struct amct_fake_layer {
  const char *name;
  const amct_op *op;
  amct_node *node;
  const amct_fake *data, *weight; /* weight NULL: it has none */
} amct_fake_layer;

typedef struct amct_fakes {
  const char *module; /* for the log */
  amct_graph *graph;
  AMCT_VEC(amct_fake *) all;
  AMCT_VEC(amct_fake_layer) layers;
  amct_map by_node;   /* op -> amct_fake */
  amct_map by_layer;  /* layer's node -> amct_fake of its weights */
  amct_map accepted;  /* layer's node -> itself */
  const char *reason; /* of the first layer that stays float */
} amct_fakes; /* zero-initialise, but for module and graph; all in the graph's arena */

/** Reads the ranges. Before amct_constants_fold, which takes those of weights away. */
AMCT_NODISCARD amct_status amct_fakes_find(amct_fakes *fakes, amct_error *err);

/** Chooses the layers, logs those that stay float with the reason, and lets the chosen
 * read the data that is not fake-quantized yet. After amct_constants_fold; `layers` are
 * those of the graph as it is. */
AMCT_NODISCARD amct_status amct_fakes_take_out(amct_fakes *fakes,
                                               const amct_layers *layers,
                                               const char *const *outputs,
                                               size_t output_count, amct_error *err);

/** Layers with weights beyond int8 become "<layer>/held" + "<layer>/rest", an AddV2 of
 * the layer's name, each with weights that int8 holds. Where weights are no plain
 * constants (reshaped, in loops) the layer stays as it is. After amct_fakes_take_out.
 */
AMCT_NODISCARD amct_status amct_fakes_split(amct_fakes *fakes, amct_error *err);

/** The factors of the chosen layers, of their weights as the plan folds them; to `stats`
 * the steps of those weights that int8 does not hold as they were trained, which the log
 * names, layer by layer. */
AMCT_NODISCARD amct_status amct_fakes_record(amct_record *record, amct_stats *stats,
                                             const amct_fakes *fakes,
                                             const amct_plan *plan,
                                             const amct_layers *layers, amct_error *err);

/** What is left after amct_deploy becomes AscendQuant -> AscendAntiQuant. An op whose
 * range is refused stays, with a warning. */
AMCT_NODISCARD amct_status amct_fakes_replace(const amct_fakes *fakes, amct_error *err);

void amct_fakes_free(amct_fakes *fakes);

#endif
