/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine runs, and what becomes of the tensors that it hands out. */
#ifndef AMCT_CALIBRATE_RUNS_H
#define AMCT_CALIBRATE_RUNS_H

#include "api/prepare.h"
#include "engine/engine.h"
#include "insert/observed.h"

/** The nodes that `outputs` need: key and value are the node. */
AMCT_NODISCARD amct_status amct_needed_find(amct_map *needed, amct_graph *graph,
                                            const char *const *outputs, size_t count,
                                            amct_error *err);

/** What is fetched of every run, and what is to become of it. */
typedef struct amct_runs {
  const char **fetches;         /* tensors */
  amct_calib_range_spec *specs; /* by fetch */
  size_t count;
  amct_arena arena;
} amct_runs; /* zero-initialise */

/** The observed tensors that the outputs need; batch_num of the specs is to be set. */
AMCT_NODISCARD amct_status amct_runs_observed(amct_runs *runs, const amct_prepared *p,
                                              const amct_observed_list *observed,
                                              amct_graph *graph, const amct_map *needed,
                                              amct_error *err);
/** The outputs themselves, of graphs that observe. */
AMCT_NODISCARD amct_status amct_runs_outputs(amct_runs *runs, amct_strings outputs,
                                             amct_error *err);
void amct_runs_free(amct_runs *runs);

/** Leaves what the fetches need. `*splits`: no node looks at the samples together, as far
 * as its op tells. */
AMCT_NODISCARD amct_status amct_runs_prune(const amct_runs *runs, amct_graph *graph,
                                           bool *splits, amct_error *err);

/** Brings a tensor to calib/: an amct_engine_visit with an amct_runs as context. */
amct_status amct_runs_take(void *context, size_t fetch, int64_t row,
                           const amct_array *tensor, amct_error *err);
/** Brings the weights of every layer enabled to calib/. */
AMCT_NODISCARD amct_status amct_runs_weigh(const amct_prepared *p,
                                           const amct_observed_list *observed,
                                           amct_error *err);
/** Puts the observers that `p` has planned into the graph that the pb holds, and into
 * p's. */
AMCT_NODISCARD amct_status amct_runs_insert(amct_prepared *p, amct_graph *graph,
                                            amct_error *err);

#endif
