/* SPDX-License-Identifier: Apache-2.0 */
/* The front half of every flow: a graph, what is fused in it, the layers that can be
 * quantized. */
#ifndef AMCT_STUDY_H
#define AMCT_STUDY_H

#include "amct/quantize.h"
#include "op/layers.h"
#include "rewrite/plan.h"

typedef struct amct_study {
  amct_graph *graph;
  amct_plan *plan;
  amct_layers layers; /* of the fused graph */
} amct_study;         /* zero-initialise */

/** Loads and verifies; refuses outputs that are not its nodes. */
AMCT_NODISCARD amct_status amct_study_load(amct_study *study, const amct_source *source,
                                           amct_strings outputs, amct_error *err);
/** Refuses a graph that holds quantization ops. */
AMCT_NODISCARD amct_status amct_study_is_float(const amct_study *study, amct_error *err);
/** Fuses, and finds the layers. */
AMCT_NODISCARD amct_status amct_study_plan(amct_study *study,
                                           const amct_plan_options *options,
                                           amct_error *err);
/** Writes the graph to `path`, whole or not at all. */
AMCT_NODISCARD amct_status amct_study_save(const amct_study *study, const char *path,
                                           amct_error *err);
void amct_study_free(amct_study *study);

#endif
