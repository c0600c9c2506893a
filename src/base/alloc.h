/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of the library goes through here, so that tests can fail the n-th one. */
#ifndef AMCT_ALLOC_H
#define AMCT_ALLOC_H

#include <stddef.h>
#include <stdint.h>

void *amct_alloc(size_t bytes);                          /* uninitialised; NULL on failure */
void *amct_alloc_array(size_t count, size_t bytes_each); /* zeroed; NULL on overflow, failure */
void *amct_realloc_array(void *old, size_t count, size_t bytes_each); /* as realloc */
void amct_free(void *block);                             /* NULL is fine */

/** Makes allocation number n from now (1 = the next) and all after it fail; 0 = never. Tests only. */
void amct_alloc_fail_after(uint64_t n);
/** Allocations since the last amct_alloc_fail_after. Tests only. */
uint64_t amct_alloc_count(void);

#endif
