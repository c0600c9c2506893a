/* SPDX-License-Identifier: Apache-2.0 */
/* The counts of a sketch: bins of a power of two, as wide as the values need. */
#ifndef AMCT_BINS_H
#define AMCT_BINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AMCT_BINS_BLOCK = 1024 }; /* most values that one amct_bins_add takes */

/**
 * Bin j holds the values v with floor(v/width) = j. It lives in slot (j - base) mod
 * AMCT_SKETCH_BINS, so that the range grows at either end without moving counts. Bin
 * numbers are doubles: v/width reaches 2^277, and a float over a power of two is exact in
 * double.
 */
typedef struct amct_bins {
  uint32_t
      *count; /* AMCT_SKETCH_BINS slots, and spare ones for zeros; NULL until needed */
  uint64_t *wide;   /* as many slots for what did not fit; NULL until needed */
  uint32_t held;    /* the sum of `count` */
  double low, high; /* bins in use, inclusive */
  double base;
  int exponent; /* width = 2^exponent */
  bool empty;
  bool off_edge; /* some value is not the lower edge of its bin */
} amct_bins;

typedef struct amct_span {
  float low, high;
} amct_span;

/** Makes room for counts of up to `values` values; false when memory runs out. */
bool amct_bins_reserve(amct_bins *bins, uint64_t values);
void amct_bins_free(amct_bins *bins);
size_t amct_bins_bytes(const amct_bins *bins);

/** Empty bins where those of `other` are, so that values of the same range fall into the
 * same slots. */
void amct_bins_like(amct_bins *bins, const amct_bins *other);
/** Widens the range, and the bins if need be, to hold the span; both its ends are values
 * to come. */
void amct_bins_reach(amct_bins *bins, amct_span span);
/** Counts at most AMCT_BINS_BLOCK values that are within reach, `weight` each. */
void amct_bins_add(amct_bins *bins, const float *values, size_t count, uint32_t weight);
/** Brings the counts near before many values are counted. */
void amct_bins_fetch(const amct_bins *bins);
/** Adds the counts of `other`; room for all was made. */
void amct_bins_merge(amct_bins *bins, const amct_bins *other);
/** Moves bin `low` to slot 0, and the spare slots into theirs. */
void amct_bins_straighten(amct_bins *bins);
/** Adds to a slot, or takes what it has at most, and returns how much; the sum of all
 * stays what there is room for. */
int64_t amct_bins_shift(amct_bins *bins, size_t slot, int64_t by);
/** The value is the lower edge of its bin. */
bool amct_bins_on_edge(const amct_bins *bins, float value);

#endif
