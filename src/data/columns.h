/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of src/data share about a data set. */
#ifndef AMCT_COLUMNS_H
#define AMCT_COLUMNS_H

#include "data/inflate.h"

/* The samples of one input. */
typedef struct amct_column {
  const amct_port *port;
  amct_blocks blocks;
  int64_t *ends; /* samples up to and with block i */
  uint64_t row_bytes;
  size_t row_values;
  amct_inflater *inflater; /* of the compressed block that was read last */
  const amct_block *inflated;
  void *memory; /* what the last read filled */
  uint64_t capacity;
} amct_column;

struct amct_data {
  amct_column *columns;
  size_t count, ports;
  int64_t samples, batches, batch_size;
  int64_t files;
  amct_arena arena;
};

/** Adds the files of a source to the columns that they are for. */
AMCT_NODISCARD amct_status amct_data_add_source(amct_data *d, const char *text,
                                                amct_error *err);

#endif
