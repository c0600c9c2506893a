/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"

enum { FIRST_CAPACITY = 16 };

/* Linear probing over a power of two, at most 3/4 full; key NULL is an empty slot. */
struct amct_map_slot {
  const void *key;
  void *value;
};

static size_t home_of(const void *key, size_t capacity) {
  uint64_t x = (uint64_t)(uintptr_t)key;
  x ^= x >> 32; /* mix64 of Mueller: every input bit reaches every output bit */
  x *= UINT64_C(0xD6E8FEB86659FD93);
  x ^= x >> 32;
  x *= UINT64_C(0xD6E8FEB86659FD93);
  x ^= x >> 32;
  return (size_t)x & (capacity - 1);
}

/* The slot that has `key`, or the empty one where it belongs. */
static struct amct_map_slot *find_slot(struct amct_map_slot *slots, size_t capacity,
                                       const void *key) {
  size_t i = home_of(key, capacity);
  while (slots[i].key != NULL && slots[i].key != key)
    i = (i + 1) & (capacity - 1);
  return &slots[i];
}

void *amct_map_get(const amct_map *map, const void *key) {
  if (map->count == 0 || key == NULL) return NULL;
  return find_slot(map->slots, map->capacity, key)->value;
}

static bool grow(amct_map *map) {
  if (map->capacity > SIZE_MAX / 2) return false;
  size_t capacity = map->capacity != 0 ? map->capacity * 2 : FIRST_CAPACITY;
  struct amct_map_slot *slots = amct_alloc_array(capacity, sizeof *slots);
  if (slots == NULL) return false;
  for (size_t i = 0; i < map->capacity; i++) {
    if (map->slots[i].key != NULL)
      *find_slot(slots, capacity, map->slots[i].key) = map->slots[i];
  }
  amct_free(map->slots);
  map->slots = slots;
  map->capacity = capacity;
  return true;
}

amct_status amct_map_set(amct_map *map, const void *key, void *value, amct_error *err) {
  if (key == NULL || value == NULL)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "a map holds no null key or value");
  if (map->capacity != 0) {
    struct amct_map_slot *slot = find_slot(map->slots, map->capacity, key);
    if (slot->key != NULL) {
      slot->value = value;
      return AMCT_OK;
    }
  }
  if (map->count >= map->capacity / 4 * 3 && !grow(map)) return amct_fail_memory(err);
  *find_slot(map->slots, map->capacity, key) = (struct amct_map_slot){key, value};
  map->count++;
  return AMCT_OK;
}

void amct_map_remove(amct_map *map, const void *key) {
  if (map->count == 0 || key == NULL) return;
  struct amct_map_slot *slot = find_slot(map->slots, map->capacity, key);
  if (slot->key == NULL) return;

  /* close the gap: a later entry of the run moves in unless its home lies after the gap
   */
  size_t mask = map->capacity - 1;
  size_t gap = (size_t)(slot - map->slots);
  for (size_t i = (gap + 1) & mask; map->slots[i].key != NULL; i = (i + 1) & mask) {
    size_t home = home_of(map->slots[i].key, map->capacity);
    if (((i - home) & mask) < ((i - gap) & mask)) continue;
    map->slots[gap] = map->slots[i];
    gap = i;
  }
  map->slots[gap] = (struct amct_map_slot){0};
  map->count--;
}

void amct_map_free(amct_map *map) {
  amct_free(map->slots);
  *map = (amct_map){0};
}
