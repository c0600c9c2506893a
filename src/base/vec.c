/* SPDX-License-Identifier: Apache-2.0 */
#include "base/vec.h"

#include <string.h>

enum { FIRST_CAPACITY = 8 };

bool amct_vec_grow(void **at, size_t count, size_t *capacity, size_t bytes_each) {
  if (count < *capacity) return true;
  if (*capacity > SIZE_MAX / 2) return false;

  size_t wanted = *capacity != 0 ? *capacity * 2 : FIRST_CAPACITY;
  void *old = NULL;
  /* *at is a T * in the caller's struct: copying its bytes keeps to the aliasing rules */
  memcpy(&old, at, sizeof old);
  void *grown = amct_realloc_array(old, wanted, bytes_each);
  if (grown == NULL) return false;
  memcpy(at, &grown, sizeof grown);
  *capacity = wanted;
  return true;
}
