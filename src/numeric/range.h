/* SPDX-License-Identifier: Apache-2.0 */
/* The range of an activation: scale and offset of its int8 grid, from a sketch. */
#ifndef AMCT_RANGE_H
#define AMCT_RANGE_H

#include "base/bytes.h"
#include "numeric/sketch.h"

typedef enum amct_range_algorithm {
#define ALGORITHM(id, name, settings) AMCT_RANGE_##id,
#include "numeric/range_algorithms.def"
#undef ALGORITHM
  AMCT_RANGE_ALGORITHMS
} amct_range_algorithm;

/** An algorithm with its settings; it looks at its own alone. */
typedef struct amct_range_options {
  int64_t algorithm;                     /* an amct_range_algorithm */
  double max_percentile, min_percentile; /* (0.5, 1] */
  double search_start, search_end;       /* factors of the upper end: 0 < start < end */
  double search_step;                    /* 0 < step <= end - start */
  int64_t num_of_bins;                   /* 1024, 2048, 4096 or 8192 */
  bool asymmetric;
} amct_range_options;

#define AMCT_RANGE_DEFAULTS                                                              \
  { AMCT_RANGE_IFMR, 0.999999, 0.999999, 0.7, 1.3, 0.01, 4096, true }

typedef struct amct_range {
  float scale;    /* real units per step, > 0 */
  int32_t offset; /* the integer that means zero, -128..127; 0 when symmetric */
} amct_range;

/** The name of an algorithm ("ifmr"). Static storage. */
AMCT_INTERNAL const char *amct_range_name(int64_t algorithm);
/** The algorithm of a name; AMCT_RANGE_ALGORITHMS: there is none. */
AMCT_INTERNAL amct_range_algorithm amct_range_named(amct_slice name);
/** True if a setting belongs to the algorithm. */
bool amct_range_takes(int64_t algorithm, const char *setting);

/**
 * Runs the algorithm of `options`.
 *
 * @return AMCT_OK; AMCT_NOT_READY (an empty sketch); AMCT_INVALID_ARGUMENT (no such
 * algorithm, or settings that it does not allow); AMCT_OUT_OF_MEMORY.
 */
AMCT_INTERNAL AMCT_NODISCARD amct_status
amct_range_find(amct_range *range, amct_sketch *sketch, const amct_range_options *options,
                amct_error *err);

/**
 * min_max: the range of all values, with zero.
 *
 *   max0 = max(largest, 0), min0 = min(smallest, 0)
 *   asymmetric: scale = f32(f32(max0 - min0)/255), offset = -128 - round(min0/scale)
 *   symmetric:  m = max(max0, -min0); scale = f32(m/127), /128 when max0 < -min0
 *
 * Exact: the sketch keeps the ends. Returns as amct_range_find; sketch not empty.
 * @par Source  the uniform quantization of amct.md 8.1 over the data's own ends.
 */
amct_range amct_range_min_max(amct_sketch *sketch, bool asymmetric);

/**
 * percentile: as min_max, where largest and smallest are the k-th of the L values, and
 * nothing is searched.
 *
 *   k = L - (int64)(p*L), at least 1, p = max_percentile and min_percentile
 *
 * Exact for k <= 4,096, else to half a bin of the sketch. AMCT_INVALID_ARGUMENT:
 * percentiles outside (0, 1].
 * @par Source  the first two steps of IFMR, amct.md 8.2.
 */
AMCT_NODISCARD amct_status amct_range_percentile(amct_range *range, amct_sketch *sketch,
                                                 const amct_range_options *options,
                                                 amct_error *err);

#endif
