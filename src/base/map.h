/* SPDX-License-Identifier: Apache-2.0 */
/* Hash map from a pointer (an interned name, a node) to a value of the caller's. */
#ifndef AMCT_MAP_H
#define AMCT_MAP_H

#include "base/fail.h"

typedef struct amct_map {
  struct amct_map_slot *slots;
  size_t capacity;
  size_t count;
} amct_map; /* zero-initialise */

/** The value stored for `key`, or NULL. */
void *amct_map_get(const amct_map *map, const void *key);
/** Stores or replaces; key and value not NULL. AMCT_OUT_OF_MEMORY leaves the map as it
 * was. */
AMCT_NODISCARD amct_status amct_map_set(amct_map *map, const void *key, void *value,
                                        amct_error *err);
void amct_map_remove(amct_map *map, const void *key);
void amct_map_free(amct_map *map);

#endif
