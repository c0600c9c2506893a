/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/sketch.h"

#include <math.h>
#include <string.h>

#include "numeric/clones.h"

enum { BLOCK = 1024 };

/* Exponent of all ones; integers, because there is no vector test for NaN without SSE4.
 */
AMCT_CLONES static int any_not_finite(const float *values, size_t count) {
  int found = 0;
  for (size_t i = 0; i < count; i++) {
    int32_t bits;
    memcpy(&bits, &values[i], sizeof bits);
    found |= (bits & 0x7F800000) == 0x7F800000;
  }
  return found;
}

size_t amct_find_not_finite(const float *values, size_t count) {
  for (size_t start = 0; start < count; start += BLOCK) {
    size_t n = count - start < BLOCK ? count - start : BLOCK;
    if (!any_not_finite(values + start, n)) continue;
    for (size_t i = start; i < start + n; i++) {
      if (!isfinite(values[i])) return i;
    }
  }
  return count;
}
