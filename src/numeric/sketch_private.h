/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a sketch: what is kept in sketch.c, what is brought in sketch_add.c. */
#ifndef AMCT_SKETCH_PRIVATE_H
#define AMCT_SKETCH_PRIVATE_H

#include "numeric/bins.h"
#include "numeric/extremes.h"

enum { AMCT_SKETCH_BLOCK = AMCT_BINS_BLOCK };

struct amct_sketch {
  uint64_t count;
  amct_extremes top, bottom;
  amct_bins bins;
  amct_span reach; /* least and largest value that is in no list */
  bool is_branch;
  bool tidy; /* lists trimmed and sorted, bins straight and shifted by: */
  struct {
    size_t slot;
    int64_t by;
  } shift[2]; /* see settle_ties */
};

/* Values on their way into lists and bins. */
typedef struct amct_loose {
  float value[AMCT_SKETCH_BLOCK];
  uint8_t weight[AMCT_SKETCH_BLOCK];
  size_t count;
} amct_loose;

/** Room for bins as soon as the lists cannot hold all, so that nothing fails half way;
 * the count with `more` values. AMCT_OUT_OF_MEMORY. */
AMCT_NODISCARD amct_status amct_sketch_prepare(amct_sketch *sketch, uint64_t more,
                                               amct_error *err);
/** Both lists take what they want, the bins the rest. */
void amct_sketch_add_loose(amct_sketch *sketch, amct_loose *some);

#endif
