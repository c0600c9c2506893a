/* SPDX-License-Identifier: Apache-2.0 */
/* HFMG: the activation range that a histogram of the values loses least by. */
#ifndef AMCT_HFMG_H
#define AMCT_HFMG_H

#include "numeric/range.h"

/**
 * B = num_of_bins bins of equal width w over [smallest, largest]; n_i values in bin i, of
 * L in all; of the sketch's bins each counts as its value (amct_sketch_bin_value).
 *
 *   candidates  bins a..b: first all of them; then, step by step, fewer: the end goes
 *               from which the fewest bins that hold at least ceil(L/100000) values are
 *               more bins (the upper on a tie), while at least B/4 are left
 *   loss(a, b)  sum over i of n_i/w * integral over bin i of (x - c(x))^2 dx, where c(x)
 *               is the nearest of the centres of 256 equal cells over bins a..b
 *
 * The first minimum wins; its outer edges are the ends; ends[0] <= ends[1]. With zero
 * they make the grid as in min_max (range.h). The integrals are differences of running
 * sums of the density's first three moments: 257 look-ups a candidate, whatever the
 * number of values or bins.
 *
 * Unlike the original's, the histogram is made once, over the final range: order and
 * split of the batches do not matter.
 *
 * @return AMCT_OK; AMCT_NOT_READY (an empty sketch); AMCT_INVALID_ARGUMENT (num_of_bins
 * outside 256..65536); AMCT_OUT_OF_MEMORY.
 * @par Source  amct.md 8.3; numbers.md, Decided 4.
 */
AMCT_NODISCARD amct_status amct_hfmg_ends(float ends[2], amct_sketch *sketch,
                                          int64_t num_of_bins, amct_error *err);
/** The range between these ends, with zero. */
AMCT_NODISCARD amct_status amct_hfmg_search(amct_range *range, amct_sketch *sketch,
                                            const amct_range_options *options,
                                            amct_error *err);

#endif
