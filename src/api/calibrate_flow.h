/* SPDX-License-Identifier: Apache-2.0 */
/* What calibrate.c and calibrate_accurate.c share. */
#ifndef AMCT_CALIBRATE_FLOW_H
#define AMCT_CALIBRATE_FLOW_H

#include "amct/calibrate.h"
#include "api/calibrate_measure.h"
#include "api/calibrate_runs.h"

/** What a pass has written. */
typedef struct amct_pass_files {
  amct_buffer record, stats;
} amct_pass_files;

/** What a calibration works on; freed in one place. */
typedef struct amct_calibrate_flow {
  const amct_calibrate_options *o;
  amct_calibrate_result *result;
  amct_preset preset;
  int64_t algorithm; /* of all ranges, where samples are kept apart */
  const char *record_file, *stats_path;
  amct_prepared p;
  amct_study pb; /* the graph of the pb, unfused; new for each engine */
  amct_observed_list observed;
  amct_port *ports;
  size_t port_count;
  amct_data *data;
  int64_t data_batches;                /* to be used, with those kept apart */
  int64_t batches, samples, last_rows; /* that calibrate; samples of the last batch */
  amct_kept kept;
  int64_t done, total;         /* samples run, of all runs */
  const amct_pass_files *best; /* of a pass before, which stays where this is stopped */
  amct_packages packages;
  const amct_engine_class *class; /* of the engine; NULL: not chosen yet */
  amct_engine *engine;
  amct_runs runs;
  amct_arena arena;
} amct_calibrate_flow;

/** Samples have run; AMCT_NOT_READY: the caller does not want to go on. */
AMCT_NODISCARD amct_status amct_calibrate_tell(amct_calibrate_flow *f, int64_t samples,
                                               amct_error *err);
/** Writes what a pass has written once more. */
AMCT_NODISCARD amct_status amct_calibrate_put_back(const amct_calibrate_flow *f,
                                                   const amct_pass_files *files,
                                                   amct_error *err);
/** Calibrates once, into the record. */
AMCT_NODISCARD amct_status amct_calibrate_pass(amct_calibrate_flow *f, amct_error *err);
/** As often as the preset accurate wants it. The configuration is there, and the data. */
AMCT_NODISCARD amct_status amct_calibrate_accurate(amct_calibrate_flow *f,
                                                   amct_error *err);

#endif
