/* SPDX-License-Identifier: Apache-2.0 */
#include "insert/scopes.h"

amct_scopes amct_scopes_of(amct_graph *graph, amct_edits *edits) {
  amct_scopes scopes = {edits, graph, {0}};
  return scopes;
}

void amct_scopes_free(amct_scopes *scopes) {
  amct_map_free(&scopes->last);
}

const char *amct_scopes_take(amct_scopes *scopes, const char *layer, const char *group,
                             const char *op) {
  amct_arena *arena = amct_graph_arena(scopes->graph);
  const char *slash = strrchr(layer, '/');
  int parent = slash ? (int)(slash - layer) + 1 : 0;
  const char *plain = amct_arena_format(arena, "%.*s%s", parent, layer, group);
  if (!plain) return NULL;
  const char *key = amct_graph_intern(scopes->graph, plain);
  if (!key) return NULL;

  uintptr_t tried = (uintptr_t)amct_map_get(&scopes->last, key);
  for (;; tried++) {
    const char *scope =
        tried ? amct_arena_format(arena, "%s_%zu", plain, (size_t)tried) : plain;
    const char *name = scope ? amct_arena_format(arena, "%s/%s", scope, op) : NULL;
    if (!name) return NULL;
    if (amct_edits_has_name(scopes->edits, name)) continue;
    /* the map holds no zero; tried + 1 is where the next search starts anyway */
    if (amct_map_set(&scopes->last, key, (void *)(tried + 1), NULL) != AMCT_OK)
      return NULL;
    return scope;
  }
}
