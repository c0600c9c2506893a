/* SPDX-License-Identifier: Apache-2.0 */
/* IFMR: the activation range whose 8-bit grid loses least, searched over candidates of
 * the upper clip. */
#ifndef AMCT_IFMR_H
#define AMCT_IFMR_H

#include "numeric/range.h"

/**
 * k = L - (int64)(p*L), at least 1;  max0 = max(k-th largest, 0);  min0 = min(k-th
 * smallest, 0) r_i = f32(f32(start) + f32(i*step)), i = 0, 1, ... while r_i < f32(end)
 * asymmetric: clip [min0, r*max0], scale = f32(f32(r*max0 - min0)/255), offset = -128 -
 * round(min0/scale) symmetric:  m = max(max0, -min0), clip [-r*m, r*m], scale =
 * f32(f32(r*m)/127), /128 when max0 < -min0 loss = sum (round(clip(x)/scale)*scale -
 * x)^2: double over bins, exactly over the lists
 *
 * The first minimum wins; where two losses are both below 1e-6*scale^2 (per value) the
 * smaller r. A range that leaves float32 is taken in double. A scale below 1.192092896e-7
 * becomes 1 (offset -128 when asymmetric). round is half away from zero.
 *
 * @return AMCT_OK; AMCT_NOT_READY (an empty sketch); AMCT_INVALID_ARGUMENT (percentiles
 * outside (0, 1], a search of no or more than 65,536 candidates); AMCT_OUT_OF_MEMORY.
 * @par Source  shared/reference numbers.md 2, 3, Decided 1 and 3; amct.md 8.2.
 */
AMCT_NODISCARD amct_status amct_ifmr_search(amct_range *range, amct_sketch *sketch,
                                            const amct_range_options *options,
                                            amct_error *err);

#endif
