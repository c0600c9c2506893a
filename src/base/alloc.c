/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

static _Atomic uint64_t allocations;   /* since the last amct_alloc_fail_after */
static _Atomic uint64_t first_to_fail; /* 0: none */
static _Atomic uint64_t last_to_fail;

static bool may_allocate(void) {
  uint64_t number = atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed) + 1;
  uint64_t first = atomic_load_explicit(&first_to_fail, memory_order_relaxed);
  uint64_t last = atomic_load_explicit(&last_to_fail, memory_order_relaxed);
  return first == 0 || number < first || number > last;
}

void *amct_alloc(size_t bytes) {
  if (!may_allocate()) return NULL;
  return malloc(bytes != 0 ? bytes : 1);
}

void *amct_alloc_array(size_t count, size_t bytes_each) {
  size_t bytes = 0; /* calloc checks too, but sanitizers end the program there */
  if (!may_allocate() || __builtin_mul_overflow(count, bytes_each, &bytes)) return NULL;
  return calloc(1, bytes != 0 ? bytes : 1);
}

void *amct_realloc_array(void *old, size_t count, size_t bytes_each) {
  size_t bytes = 0;
  if (!may_allocate() || __builtin_mul_overflow(count, bytes_each, &bytes)) return NULL;
  return realloc(old, bytes != 0 ? bytes : 1);
}

void amct_free(void *block) {
  free(block);
}

static void fail_from_to(uint64_t first, uint64_t last) {
  atomic_store(&allocations, 0);
  atomic_store(&last_to_fail, last);
  atomic_store(&first_to_fail, first);
}

void amct_alloc_fail_after(uint64_t n) {
  fail_from_to(n, UINT64_MAX);
}

void amct_alloc_fail_once(uint64_t n) {
  fail_from_to(n, n);
}

uint64_t amct_alloc_count(void) {
  return atomic_load(&allocations);
}
