/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { ALIGNMENT = 16, FIRST_BLOCK_BYTES = 4096, LARGEST_BLOCK_BYTES = 1 << 20 };

/* Blocks are allocated zeroed and never reused, so what is handed out is zero already. */
struct amct_arena_block {
  amct_arena_block *older;
  size_t used;
  size_t capacity;
  size_t padding; /* keeps bytes[] on a 16-byte boundary */
  uint8_t bytes[];
};

_Static_assert(sizeof(amct_arena_block) % ALIGNMENT == 0, "payload must stay aligned");

static amct_arena_block *make_block(size_t capacity) {
  if (capacity > SIZE_MAX - sizeof(amct_arena_block)) return NULL;
  amct_arena_block *block = amct_alloc_array(1, sizeof *block + capacity);
  if (block != NULL) block->capacity = capacity;
  return block;
}

#ifdef AMCT_DEBUG_ARENA

void *amct_arena_alloc(amct_arena *arena, size_t bytes) {
  amct_arena_block *block = make_block(bytes);
  if (block == NULL) return NULL;
  block->older = arena->head;
  arena->head = block;
  return block->bytes;
}

#else

static size_t next_block_bytes(const amct_arena_block *head) {
  if (head == NULL) return FIRST_BLOCK_BYTES;
  size_t bytes = head->capacity * 2;
  return bytes < LARGEST_BLOCK_BYTES ? bytes : LARGEST_BLOCK_BYTES;
}

/* What would take more than a quarter of a block gets one of its own, placed behind the
 * head, so that the room left in the head stays in use. */
static void *alloc_large(amct_arena *arena, size_t bytes) {
  amct_arena_block *block = make_block(bytes);
  if (block == NULL) return NULL;
  block->used = bytes;
  block->older = arena->head->older;
  arena->head->older = block;
  return block->bytes;
}

void *amct_arena_alloc(amct_arena *arena, size_t bytes) {
  if (bytes > SIZE_MAX - ALIGNMENT) return NULL;
  size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  if (rounded == 0) rounded = ALIGNMENT; /* distinct pointers for empty things */

  amct_arena_block *head = arena->head;
  if (head == NULL || rounded > head->capacity - head->used) {
    size_t capacity = next_block_bytes(head);
    if (head != NULL && rounded > capacity / 4) return alloc_large(arena, rounded);
    head = make_block(rounded > capacity ? rounded : capacity);
    if (head == NULL) return NULL;
    head->older = arena->head;
    arena->head = head;
  }
  void *out = head->bytes + head->used;
  head->used += rounded;
  return out;
}

#endif

void *amct_arena_array(amct_arena *arena, size_t count, size_t bytes_each) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(count, bytes_each, &bytes)) return NULL;
  return amct_arena_alloc(arena, bytes);
}

char *amct_arena_text(amct_arena *arena, const char *data, size_t size) {
  if (size == SIZE_MAX) return NULL;
  char *text = amct_arena_alloc(arena, size + 1);
  if (text != NULL && size != 0) memcpy(text, data, size);
  return text;
}

char *amct_arena_format(amct_arena *arena, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int size = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (size < 0) return NULL;

  char *text = amct_arena_alloc(arena, (size_t)size + 1);
  if (text == NULL) return NULL;
  va_start(args, format);
  vsnprintf(text, (size_t)size + 1, format, args);
  va_end(args);
  return text;
}

void amct_arena_free(amct_arena *arena) {
  amct_arena_block *block = arena->head;
  while (block != NULL) {
    amct_arena_block *older = block->older;
    amct_free(block);
    block = older;
  }
  arena->head = NULL;
}
