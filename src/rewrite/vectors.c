/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite/vectors.h"

enum { DATA_RANK = 4 };

int32_t amct_vector_axis(const amct_shape *shape) {
  int32_t axis = -1;
  if (shape->rank > DATA_RANK) return -1;
  for (int32_t i = 0; i < shape->rank; i++) {
    if (shape->dims[i] == 1) continue;
    if (axis >= 0 || shape->dims[i] < 1) return -1;
    axis = DATA_RANK - shape->rank + i;
  }
  return axis;
}
