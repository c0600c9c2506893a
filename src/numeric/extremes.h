/* SPDX-License-Identifier: Apache-2.0 */
/* The largest (or smallest) AMCT_SKETCH_EXACT values of a stream, kept as an unordered
 * list with slack. */
#ifndef AMCT_EXTREMES_H
#define AMCT_EXTREMES_H

#include <stdbool.h>
#include <stddef.h>

#include "numeric/sketch.h"

enum { AMCT_EXTREMES_ROOM = 2 * AMCT_SKETCH_EXACT };

/**
 * A value that does not beat `threshold` is not wanted; others are appended while there
 * is room. Finite values, no -0. Each has its weight beside it.
 */
typedef struct amct_extremes {
  float at[AMCT_EXTREMES_ROOM];
  uint8_t weight[AMCT_EXTREMES_ROOM]; /* what the value counts in the bins, once there */
  size_t count;
  float threshold; /* the worst of the best AMCT_SKETCH_EXACT at the last trim; infinite
                      before */
  bool largest;    /* which end is wanted */
} amct_extremes;

void amct_extremes_start(amct_extremes *list, bool largest);

/** Keeps the best AMCT_SKETCH_EXACT; the others follow them at at[AMCT_SKETCH_EXACT].
 * Returns how many those are. Linear in the list whatever its order, which decides alone
 * which of equal values are kept. */
size_t amct_extremes_trim(amct_extremes *list);

/** Best first; for a list no longer than AMCT_SKETCH_EXACT. */
void amct_extremes_sort(amct_extremes *list);

#endif
