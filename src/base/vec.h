/* SPDX-License-Identifier: Apache-2.0 */
/* Typed growing arrays: struct { T *at; size_t count, capacity; }, zero-initialised. */
#ifndef AMCT_VEC_H
#define AMCT_VEC_H

#include <stdbool.h>

#include "base/alloc.h"

#define AMCT_VEC(T)                                                                      \
  struct {                                                                               \
    T *at;                                                                               \
    size_t count;                                                                        \
    size_t capacity;                                                                     \
  }

/** Appends `value`; false when memory runs out (the vector is as before). */
#define AMCT_VEC_PUSH(vec, value)                                                        \
  (amct_vec_grow((void **)&(vec)->at, (vec)->count, &(vec)->capacity, sizeof *(vec)->at) \
       ? ((vec)->at[(vec)->count++] = (value), true)                                     \
       : false)

#define AMCT_VEC_FREE(vec)                                                               \
  do {                                                                                   \
    amct_free((vec)->at);                                                                \
    (vec)->at = NULL;                                                                    \
    (vec)->count = (vec)->capacity = 0;                                                  \
  } while (0)

/** Room for one more element; used by the macro. */
AMCT_INTERNAL bool amct_vec_grow(void **at, size_t count, size_t *capacity,
                                 size_t bytes_each);

#endif
