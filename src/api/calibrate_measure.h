/* SPDX-License-Identifier: Apache-2.0 */
/* How far a quantized model is from float, on samples. */
#ifndef AMCT_CALIBRATE_MEASURE_H
#define AMCT_CALIBRATE_MEASURE_H

#include "amct/quantize.h"
#include "base/bytes.h"
#include "engine/engine.h"

/** Samples that are kept apart: those of some batches, but for the first `row`. */
typedef struct amct_kept {
  int64_t samples; /* 0: none are */
  int64_t batch, row, batches;
  int64_t each; /* that go through the graph together */
} amct_kept;

typedef struct amct_measured amct_measured;

typedef struct amct_measure_options {
  const char *pb_model, *record_file;
  amct_strings outputs;
  const amct_engine_class *class;
  const amct_packages *packages;
  amct_data *data;
  amct_kept kept;
  const amct_measured *first; /* NULL; or of the same samples: then only outputs and last
                                 layers are looked at, and what the float graph gives
                                 for them is taken from it */
  amct_status (*tell)(void *context, int64_t samples, amct_error *err);
  void *context;
} amct_measure_options;

/** A tensor of both graphs. */
typedef struct amct_probe {
  const char *layer; /* NULL: an output of the model */
  const char *plain, *quantized;
  bool last;            /* a bias, and nothing but this layer before an output */
  bool channels_first;  /* channels are axis 1, else the last */
  double signal, noise; /* sums of squares: of float, of the difference */
  double *off;          /* of `last`: sums of float less quantized, by channel */
  size_t channels;
  size_t count;             /* values */
  amct_buffer floats;       /* of outputs and `last`: all that the float graph gave */
  const amct_buffer *known; /* those of `first` */
} amct_probe;

struct amct_measured {
  amct_probe *probes; /* outputs first */
  size_t count, outputs;
  bool refused; /* the engine cannot run one of the two graphs */
  bool floats;  /* they are there: they were not too many to keep */
  amct_arena arena;
}; /* zero-initialise */

/** Runs the float graph, fused, and the one that amct_save_model would write now. A
 * failure with `refused`: AMCT_UNSUPPORTED, by the engine. */
AMCT_NODISCARD amct_status amct_measure(amct_measured *m,
                                        const amct_measure_options *options,
                                        amct_error *err);
/** 10*log10(signal/noise), at most AMCT_SQNR_MOST. */
#define AMCT_SQNR_MOST 200.0
double amct_measure_sqnr(const amct_probe *probe);
/** The mean of the outputs'. */
double amct_measure_outputs(const amct_measured *m);
void amct_measured_free(amct_measured *m);

#endif
