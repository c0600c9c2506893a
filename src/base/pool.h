/* SPDX-License-Identifier: Apache-2.0 */
/* A small thread pool for splitting one piece of arithmetic over the cores. */
#ifndef AMCT_POOL_H
#define AMCT_POOL_H

#include <stddef.h>

#include "base/visibility.h"

enum { AMCT_POOL_THREADS_MAX = 64 };

/** Does part `shard` of the work; must not fail, and must not care in which thread it
 * runs. */
typedef void amct_pool_task(void *context, size_t shard);

/**
 * Calls task(context, 0 .. shards-1), each once, in the calling thread and the pool's;
 * returns when all are done. While the pool works for another caller (or is asked from
 * inside a task) the calling thread does all of it. Starts the threads when first needed,
 * and again in a forked child. Tasks run with C's default floating-point environment
 * whatever the caller's: TensorFlow's threads flush subnormal numbers, others do not.
 */
AMCT_INTERNAL void amct_pool_run(amct_pool_task *task, void *context, size_t shards);

/** Threads that a run may use, the caller's included: the cores this process may run on,
 * or the environment variable AMCT_THREADS; 1..AMCT_POOL_THREADS_MAX. Read once a
 * process. */
AMCT_INTERNAL size_t amct_pool_threads(void);

/** How many parts to split `count` values into, so that each has at least `least`:
 * 1..amct_pool_threads(); 1 inside a task, since the other threads have work too. */
AMCT_INTERNAL size_t amct_pool_shards(size_t count, size_t least);

/** Part of `count` values that a shard has: [*first, *first + size), multiples of 64 but
 * for the last. */
AMCT_INTERNAL size_t amct_pool_part(size_t count, size_t shards, size_t shard,
                                    size_t *first);

#endif
