/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of the library goes through here, so that tests can fail the n-th. */
#ifndef AMCT_ALLOC_H
#define AMCT_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#include "base/visibility.h"

/** Uninitialised; NULL on failure. */
AMCT_INTERNAL void *amct_alloc(size_t bytes);
/** Zeroed; NULL on overflow and on failure. */
AMCT_INTERNAL void *amct_alloc_array(size_t count, size_t bytes_each);
/** As realloc; NULL on overflow too. */
AMCT_INTERNAL void *amct_realloc_array(void *old, size_t count, size_t bytes_each);
/** NULL is fine. */
AMCT_INTERNAL void amct_free(void *block);

/** Makes allocation number n from now (1 = the next) and all after it fail; 0 = never.
 *  Tests only. */
void amct_alloc_fail_after(uint64_t n);
/** Makes that one allocation fail. Tests only. */
void amct_alloc_fail_once(uint64_t n);
/** Allocations since the last of these two calls. Tests only. */
uint64_t amct_alloc_count(void);

#endif
