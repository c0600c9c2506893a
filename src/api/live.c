/* SPDX-License-Identifier: Apache-2.0 */
#include "api/live.h"

#include "base/alloc.h"

/* A live graph takes no node back; and a control edge to a layer would keep TensorFlow
 * from merging it (decision 22). */
static amct_status kind_of(amct_live_kind *kind, const amct_edit *edit,
                           const amct_map *variables, amct_name name, amct_error *err) {
  if (edit->kind != AMCT_EDIT_ADD && edit->kind != AMCT_EDIT_SET_INPUT)
    return amct_fail(err, AMCT_UNSUPPORTED, name, "a live graph takes no edit of kind %d",
                     (int)edit->kind);
  if (edit->kind == AMCT_EDIT_SET_INPUT)
    *kind = AMCT_LIVE_SET_INPUT;
  else
    *kind = amct_map_get(variables, name) ? AMCT_LIVE_VARIABLE : AMCT_LIVE_ADD;
  return AMCT_OK;
}

static amct_status copy_edit(amct_calibration *live, const amct_edit *from,
                             amct_live_kind kind, amct_error *err) {
  amct_arena *arena = &live->arena;
  const char *near = kind == AMCT_LIVE_SET_INPUT ? from->tensor : from->near;
  amct_live_edit to = {.kind = kind, .index = from->index};
  to.name = amct_arena_text(arena, from->name, strlen(from->name));
  to.near = amct_arena_text(arena, near, strlen(near));
  to.nodedef =
      amct_arena_text(arena, (const char *)from->nodedef.data, from->nodedef.size);
  to.nodedef_size = from->nodedef.size;
  if (!to.name || !to.near || !to.nodedef) return amct_fail_memory(err);
  live->edits[live->count++] = to;
  return AMCT_OK;
}

static amct_status find_variables(amct_map *found, amct_graph *graph,
                                  amct_strings variables, amct_error *err) {
  for (size_t i = 0; i < variables.count; i++) {
    amct_name name = amct_graph_intern(graph, variables.at[i]);
    if (!name) return amct_fail_memory(err);
    AMCT_TRY(amct_map_set(found, name, found, err)); /* any value */
  }
  return AMCT_OK;
}

amct_status amct_live_export(amct_calibration *live, amct_edits *edits, amct_graph *graph,
                             amct_strings variables, amct_error *err) {
  const size_t count = amct_edits_size(edits);
  amct_map found = {0};
  amct_status status = find_variables(&found, graph, variables, err);
  live->edits = amct_arena_array(&live->arena, count + 1, sizeof *live->edits);
  if (!live->edits && status == AMCT_OK) status = amct_fail_memory(err);
  for (size_t i = 0; i < count && status == AMCT_OK; i++) {
    amct_edit edit;
    amct_live_kind kind = AMCT_LIVE_ADD;
    if ((status = amct_edits_at(edits, i, &edit, err)) != AMCT_OK) break;
    amct_name name = amct_graph_intern(graph, edit.name);
    status = name ? kind_of(&kind, &edit, &found, name, err) : amct_fail_memory(err);
    if (status == AMCT_OK) status = copy_edit(live, &edit, kind, err);
  }
  amct_map_free(&found);
  return status;
}

amct_status amct_live_keep(amct_calibration *live, amct_graph *graph, amct_strings kept,
                           amct_error *err) {
  amct_map found = {0};
  amct_status status = find_variables(&found, graph, kept, err);
  for (size_t i = 0; i < live->count && status == AMCT_OK; i++) {
    amct_live_edit *edit = &live->edits[i];
    amct_name name = amct_graph_intern(graph, edit->name);
    if (!name) {
      status = amct_fail_memory(err);
    } else if (amct_map_get(&found, name)) {
      edit->kind = AMCT_LIVE_VARIABLE;
      edit->index = 1;
    }
  }
  amct_map_free(&found);
  return status;
}

size_t amct_calibration_size(const amct_calibration *calibration) {
  return calibration->count;
}

amct_status amct_calibration_edit(amct_calibration *calibration, size_t i,
                                  amct_live_edit *edit, amct_error *err) {
  if (i >= calibration->count)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "edit %zu of %zu", i,
                     calibration->count);
  *edit = calibration->edits[i];
  return AMCT_OK;
}

void amct_calibration_free(amct_calibration *calibration) {
  if (!calibration) return;
  amct_arena_free(&calibration->arena);
  amct_free(calibration);
}
