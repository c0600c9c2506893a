/* SPDX-License-Identifier: Apache-2.0 */
/* Bump allocator: everything of one owner (a graph, a parse) is freed in one call. */
#ifndef AMCT_ARENA_H
#define AMCT_ARENA_H

#include <stddef.h>

typedef struct amct_arena_block amct_arena_block;
typedef struct amct_arena {
  amct_arena_block *head; /* newest block; zero-initialise */
} amct_arena;

/** `bytes` of 16-byte aligned zeroed memory that live as long as the arena; NULL on
 * failure. With AMCT_DEBUG_ARENA each call is an allocation of its own, so that
 * sanitizers see overruns. */
void *amct_arena_alloc(amct_arena *arena, size_t bytes);
/** The same for an array; NULL on overflow too. */
void *amct_arena_array(amct_arena *arena, size_t count, size_t bytes_each);
/** NUL-terminated copy of `size` bytes. */
char *amct_arena_text(amct_arena *arena, const char *data, size_t size);
/** printf into the arena; NULL on failure. */
char *amct_arena_format(amct_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void amct_arena_free(amct_arena *arena);

#endif
