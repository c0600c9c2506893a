/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters with one value a channel: along which axis they lie. */
#ifndef AMCT_VECTORS_H
#define AMCT_VECTORS_H

#include "op/ops.h"

/**
 * The axis of a 4-D tensor along which a parameter of this shape varies when it is
 * broadcast: 3 for [C] and [1,1,1,C], 1 for [1,C,1,1] and [C,1,1]; -1: none, several, or
 * unknown. All sizes 1: -1.
 */
int32_t amct_vector_axis(const amct_shape *shape);

#endif
