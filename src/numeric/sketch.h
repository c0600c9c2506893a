/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What calibration keeps of a stream of values instead of the values.
 *
 *   top     the 4,096 largest values, exactly
 *   bottom  the 4,096 smallest of those that are not in top, exactly
 *   bins    integer counts of the rest. Bin width = the smallest power of two w, from
 * 2^-149, for which floor(max/w) - floor(min/w) < 65,536 over the rest; value v counts in
 * bin floor(v/w)
 *
 * Of large pictures the bins count a sample, each value for several (sampling.h): value v
 * of weight n counts n times; of values that tie with the worst of a list it is the sum
 * of their weights, less one for each in the list, at least 0.
 *
 * All three depend on the multiset of values alone: the same bits for any order, any
 * split into batches, any number of threads, and for sketches merged. -0 counts as 0.
 * Memory: 80 KB, 256 KB more once the bins are in use, 512 KB more beyond 2^32 values.
 *
 * One sketch is used by one thread at a time.
 */
#ifndef AMCT_SKETCH_H
#define AMCT_SKETCH_H

#include "base/fail.h"
#include "base/visibility.h"

#include <stdbool.h>

enum { AMCT_SKETCH_EXACT = 4096, AMCT_SKETCH_BINS = 65536 };

typedef struct amct_sketch amct_sketch;

/** NULL when memory runs out. */
AMCT_INTERNAL amct_sketch *amct_sketch_new(void);
/** A sketch of values that will be merged into `trunk`, and of use for that alone: what
 * trunk's lists do not want it need not keep exactly. NULL when memory runs out. */
amct_sketch *amct_sketch_branch(const amct_sketch *trunk);
AMCT_INTERNAL void amct_sketch_free(amct_sketch *sketch);
/** Memory that it takes outside a long add; NULL: 0. */
size_t amct_sketch_bytes(const amct_sketch *sketch);

/** Index of the first NaN or infinity, or `count`. */
AMCT_INTERNAL size_t amct_find_not_finite(const float *values, size_t count);

/** Adds finite values. AMCT_OUT_OF_MEMORY and AMCT_UNSUPPORTED (a NaN or infinity among
 * them) leave the sketch as it was, but a branch of no use. */
AMCT_INTERNAL AMCT_NODISCARD amct_status amct_sketch_add(amct_sketch *sketch,
                                                         const float *values,
                                                         size_t count, amct_error *err);
typedef struct amct_place {
  size_t row; /* values of a picture, > 0 */
  size_t at;  /* place of the first value in its picture, a multiple of 64 */
} amct_place;

/** The same with values of pictures, one after the other, of which the bins get the
 * sample of sampling.h. */
AMCT_INTERNAL AMCT_NODISCARD amct_status amct_sketch_add_sampled(amct_sketch *sketch,
                                                                 const float *values,
                                                                 size_t count,
                                                                 amct_place place,
                                                                 amct_error *err);
/** Adds all that `other` holds; the same as having seen its values. What was looked at of
 * either is gone. AMCT_INVALID_ARGUMENT: a sketch with itself. */
AMCT_NODISCARD amct_status amct_sketch_merge(amct_sketch *sketch, amct_sketch *other,
                                             amct_error *err);

/** Read-only contents, valid until the sketch changes. */
typedef struct amct_sketch_view {
  uint64_t count;   /* all values */
  const float *top; /* descending, top_count */
  size_t top_count;
  const float *bottom; /* ascending, bottom_count */
  size_t bottom_count;
  const uint32_t *bins; /* bin_count, see amct_sketch_count */
  const uint64_t *wide; /* what did not fit them; NULL: nothing */
  size_t bin_count;     /* 0 while everything fits the lists */
  double first;         /* an integer */
  double width;
  bool on_edges; /* every value counted is the lower edge of its bin, and so are the ends
                    of the rest: pictures, integers */
} amct_sketch_view;

/** Values in bin i, those in [(first+i)*width, (first+i+1)*width). */
static inline uint64_t amct_sketch_count(const amct_sketch_view *view, size_t i) {
  return view->bins[i] + (view->wide ? view->wide[i] : 0);
}

amct_sketch_view amct_sketch_look(amct_sketch *sketch); /* sorts the lists in place */

/** The value that stands for a bin: its middle, or its lower edge where all values are on
 * edges. */
static inline double amct_sketch_bin_value(const amct_sketch_view *view, size_t bin) {
  const double edge = view->first + (double)bin;
  return (view->on_edges ? edge : edge + 0.5) * view->width;
}

/** k-th largest and k-th smallest value, 1 <= k <= count; exact for k <= 4,096, else
 * amct_sketch_bin_value. */
float amct_sketch_largest(const amct_sketch_view *view, uint64_t k);
float amct_sketch_smallest(const amct_sketch_view *view, uint64_t k);

#endif
