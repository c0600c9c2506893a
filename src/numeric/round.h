/* SPDX-License-Identifier: Apache-2.0 */
/* Exact round half away from zero, written so that compilers vectorise it on any x86-64.
 */
#ifndef AMCT_ROUND_H
#define AMCT_ROUND_H

#include <math.h>

#include "numeric/clones.h"

/**
 * round(x) to the nearest integer, halves away from zero; roundf bit for bit (NaN,
 * infinities and -0 go through, -0.3 becomes -0).
 *
 * floor(x + 0.5) is wrong for 0.49999997 and from 2^23 on, where the sum itself rounds.
 * Here adding and taking away 2^23 rounds |x| to the nearest, halves to even; the
 * difference to that is exact, and is +0.5 just where a half went down. From 2^23 on
 * every float is an integer already. Needs the rounding mode that programs start with.
 */
AMCT_INLINE float amct_round_float(float x) {
  float magnitude = fabsf(x);
  float even = (magnitude + 8388608.0f) - 8388608.0f;
  float rounded = even + (magnitude - even >= 0.5f ? 1.0f : 0.0f);
  return copysignf(magnitude < 8388608.0f ? rounded : magnitude, x);
}

#endif
