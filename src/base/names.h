/* SPDX-License-Identifier: Apache-2.0 */
/* Interned strings: equal text is the same pointer, so that comparing names is comparing
 * pointers. */
#ifndef AMCT_NAMES_H
#define AMCT_NAMES_H

#include "base/arena.h"
#include "base/bytes.h"

/** NUL-terminated, lives as long as its table. */
typedef const char *amct_name;

typedef struct amct_names {
  struct amct_names_slot *slots;
  size_t capacity;
  size_t count;
  amct_arena arena;
} amct_names; /* zero-initialise */

/** The one pointer for `text`; NULL when memory runs out. Text with a NUL byte: cut at
 * the NUL by the caller's check, not here. */
amct_name amct_names_intern(amct_names *names, amct_slice text);
/** The pointer if it was interned before, else NULL. */
amct_name amct_names_find(const amct_names *names, amct_slice text);
void amct_names_free(amct_names *names);

#endif
