/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches from files: .npy, .npz, and raw .bin, by input of a graph.
 *
 * Files of an input, in the order given and inside a folder in the order of their names
 * (numbers by value: 2 before 10), are one stream of samples along axis 0. Without a
 * batch size each file is a batch; with one the stream is cut, and the last batch may be
 * smaller. Several inputs have the same samples, and the same batches.
 */
#ifndef AMCT_DATA_H
#define AMCT_DATA_H

#include "graph/attrs.h"

/** What an input of the graph takes; unknown dimensions are -1. */
typedef struct amct_port {
  const char *name;
  amct_dtype dtype;
  amct_shape shape;
  bool optional; /* has a value of its own */
} amct_port;

/** Part of a batch for one input, or a tensor that came out. */
typedef struct amct_array {
  const char *name;
  amct_dtype dtype;
  amct_shape shape; /* rank and dimensions known */
  size_t count;     /* elements */
  const void *data;
} amct_array;

typedef struct amct_data_options {
  const char *const *sources; /* "path", for the one input, or "input=path"; a path is a
                                 file, or a folder of files */
  size_t source_count;
  int64_t batch_size; /* 0: each file is a batch */
} amct_data_options;

typedef struct amct_data amct_data;

/**
 * Looks at the heads of all files. `ports` must outlive the data.
 *
 * AMCT_IO names file and reason; AMCT_BAD_FORMAT a file that is not what its name says;
 * AMCT_INVALID_ARGUMENT: no such input, an input without data, wrong dtype or shape,
 * inputs with different numbers of samples, no samples at all.
 */
AMCT_NODISCARD amct_status amct_data_open(amct_data **out, const amct_port *ports,
                                          size_t port_count,
                                          const amct_data_options *options,
                                          amct_error *err);
void amct_data_close(amct_data *data);

int64_t amct_data_samples(const amct_data *data);
int64_t amct_data_files(const amct_data *data);
int64_t amct_data_batches(const amct_data *data);
/** Inputs that have data, and of each what a batch of it is; data NULL. */
size_t amct_data_inputs(const amct_data *data);
amct_array amct_data_input(const amct_data *data, size_t input);
/** Samples of a batch. */
int64_t amct_data_rows(const amct_data *data, int64_t batch);

/**
 * Rows first .. first+rows-1 of a batch, of every input, into `arrays`
 * [amct_data_inputs]; their memory is good until the next read. AMCT_IO: a file that has
 * changed; AMCT_UNSUPPORTED: NaN or infinity, naming file, sample and index.
 */
AMCT_NODISCARD amct_status amct_data_read(amct_data *data, int64_t batch, int64_t first,
                                          int64_t rows, amct_array *arrays,
                                          amct_error *err);

#endif
