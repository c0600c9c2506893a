/* SPDX-License-Identifier: Apache-2.0 */
/* Building and reading edit lists. */
#include <stdarg.h>
#include <stdio.h>

#include "graph/edits_private.h"

void amct_edits_fail(amct_edits *edits, amct_status status, const char *node,
                     const char *format, ...) {
  char text[AMCT_ERROR_TEXT_BYTES];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(text, sizeof text, format, args);
  va_end(args);
  (void)amct_fail(&edits->error, status, node, "%s", text);
}

void amct_edits_fail_memory(amct_edits *edits) {
  (void)amct_fail_memory(&edits->error);
}

const char *amct_edits_text(amct_edits *edits, const char *text) {
  /* NULL: a name that could not be made for want of memory */
  const char *copy =
      text == NULL ? NULL : amct_arena_text(&edits->arena, text, strlen(text));
  if (copy == NULL) amct_edits_fail_memory(edits);
  return copy;
}

amct_edits *amct_edits_new(amct_graph *graph) {
  amct_edits *edits = amct_alloc_array(1, sizeof *edits);
  if (edits != NULL) edits->graph = graph;
  return edits;
}

void amct_edits_free(amct_edits *edits) {
  if (edits == NULL) return;
  for (size_t i = 0; i < edits->specs.count; i++) {
    amct_spec *spec = edits->specs.at[i];
    AMCT_VEC_FREE(&spec->inputs);
    AMCT_VEC_FREE(&spec->controls);
    AMCT_VEC_FREE(&spec->fields);
    AMCT_VEC_FREE(&spec->origins);
  }
  AMCT_VEC_FREE(&edits->specs);
  AMCT_VEC_FREE(&edits->changes);
  AMCT_VEC_FREE(&edits->targets);
  amct_map_free(&edits->by_node);
  amct_map_free(&edits->by_name);
  amct_map_free(&edits->suffixes);
  amct_arena_free(&edits->arena);
  amct_free(edits);
}

size_t amct_edits_size(const amct_edits *edits) {
  return edits->changes.count - edits->dead_count;
}

/* A name that some node has, had or is to have. */
static bool is_taken(const amct_edits *edits, const char *name) {
  amct_name key = amct_names_find(&edits->graph->names, amct_slice_of(name));
  return key != NULL && (amct_map_get(&edits->graph->by_name, key) != NULL ||
                         amct_map_get(&edits->by_name, key) != NULL);
}

const char *amct_edits_free_name(amct_edits *edits, const char *wanted) {
  amct_name key = wanted == NULL ? NULL : amct_graph_intern(edits->graph, wanted);
  if (key == NULL) {
    amct_edits_fail_memory(edits);
    return NULL;
  }
  if (!is_taken(edits, key)) return key;
  /* the search goes on where it ended last, so that many of one name stay linear */
  uintptr_t suffix = (uintptr_t)amct_map_get(&edits->suffixes, key);
  if (suffix == 0) suffix = 1;
  const char *name = NULL;
  amct_buffer text = {0};
  for (;; suffix++) {
    text.size = 0;
    amct_buffer_format(&text, "%s_%zu", key, (size_t)suffix);
    amct_buffer_append(&text, "", 1);
    if (text.failed) break;
    name = (const char *)text.data;
    if (!is_taken(edits, name)) break;
  }
  name = text.failed ? NULL : amct_graph_intern(edits->graph, name);
  amct_buffer_free(&text);
  if (name == NULL ||
      amct_map_set(&edits->suffixes, key, (void *)suffix, NULL) != AMCT_OK) {
    amct_edits_fail_memory(edits);
    return NULL;
  }
  return name;
}

bool amct_edits_has_name(const amct_edits *edits, const char *name) {
  amct_name key = amct_names_find(&edits->graph->names, amct_slice_of(name));
  if (key == NULL) return false;
  if (amct_map_get(&edits->by_name, key) != NULL) return true;
  const struct amct_node_body *body = amct_map_get(&edits->graph->by_name, key);
  if (body == NULL || body->named == NULL) return false;
  const amct_target *target = amct_map_get(&edits->by_node, body->named);
  return target == NULL || !target->removed;
}

/* True if the list can still grow. */
static bool is_open(amct_edits *edits) {
  if (edits->spent)
    amct_edits_fail(edits, AMCT_INVALID_ARGUMENT, NULL, "edit list is already applied");
  return !edits->spent;
}

static amct_target *target_of(amct_edits *edits, amct_node *node) {
  amct_target *target = amct_map_get(&edits->by_node, node);
  if (target != NULL) return target;
  if (node->graph != edits->graph || node->removed) {
    amct_edits_fail(edits, AMCT_INVALID_ARGUMENT, node->name, "%s is not in the graph",
                    node->name);
    return NULL;
  }
  target = amct_arena_alloc(&edits->arena, sizeof *target);
  if (target == NULL || amct_map_set(&edits->by_node, node, target, NULL) != AMCT_OK ||
      !AMCT_VEC_PUSH(&edits->targets, target)) {
    amct_edits_fail_memory(edits);
    return NULL;
  }
  target->node = node;
  return target;
}

static amct_change *push_change(amct_edits *edits, amct_edit_kind kind,
                                amct_target *target) {
  amct_change *change = amct_arena_alloc(&edits->arena, sizeof *change);
  if (change == NULL || !AMCT_VEC_PUSH(&edits->changes, change)) {
    amct_edits_fail_memory(edits);
    return NULL;
  }
  change->kind = kind;
  if (target == NULL) return change;
  change->node = target->node;
  if (target->last == NULL) {
    target->first = change;
  } else {
    target->last->next = change;
  }
  target->last = change;
  return change;
}

/* Overtakes the earlier changes of a node; control inputs survive a replacement. */
static void kill_changes(amct_edits *edits, amct_target *target, bool controls_too) {
  for (amct_change *change = target->first; change != NULL; change = change->next) {
    if (change->dead || (change->kind == AMCT_EDIT_CONTROL && !controls_too)) continue;
    change->dead = true;
    edits->dead_count++;
  }
}

amct_spec *amct_edits_add(amct_edits *edits, const char *name, const char *op,
                          amct_node *near, bool before) {
  if (!is_open(edits)) return NULL;
  amct_spec *spec = amct_spec_new(edits, name, op);
  if (spec == NULL) return NULL;
  spec->near = near;
  spec->before = before;
  amct_name key = amct_graph_intern(edits->graph, name);
  if (key == NULL) {
    amct_edits_fail_memory(edits);
    return NULL;
  }
  if (!amct_node_name_valid(amct_slice_of(name)) || op[0] == '\0') {
    amct_edits_fail(edits, AMCT_BAD_GRAPH, name, "'%s' cannot name a node of op '%s'",
                    name, op);
    return NULL;
  }
  if (amct_map_get(&edits->by_name, key) != NULL) {
    amct_edits_fail(edits, AMCT_BAD_GRAPH, name, "two new nodes are named %s", name);
    return NULL;
  }
  amct_change *change = push_change(edits, AMCT_EDIT_ADD, NULL);
  if (change == NULL) return NULL;
  change->spec = spec;
  if (amct_map_set(&edits->by_name, key, spec, &edits->error) != AMCT_OK) return NULL;
  return spec;
}

amct_spec *amct_edits_replace(amct_edits *edits, amct_node *node, const char *op) {
  if (!is_open(edits)) return NULL;
  amct_target *target = target_of(edits, node);
  if (target == NULL) return NULL;
  amct_spec *spec = amct_spec_new(edits, node->name, op);
  if (spec == NULL) return NULL;
  if (target->spec != NULL) {
    amct_edits_fail(edits, AMCT_BAD_GRAPH, node->name, "%s is replaced twice",
                    node->name);
    return NULL;
  }
  spec->replaced = node;
  spec->device = node->device;
  for (uint32_t i = node->data_count; i < node->input_count; i++) {
    if (!AMCT_VEC_PUSH(&spec->controls, node->inputs[i].node->name)) {
      amct_edits_fail_memory(edits);
      return NULL;
    }
  }
  kill_changes(edits, target, false);
  target->spec = spec;
  amct_change *change = push_change(edits, AMCT_EDIT_REPLACE, target);
  if (change == NULL) return NULL;
  change->spec = spec;
  if (target->removed) kill_changes(edits, target, true);
  return spec;
}

amct_spec *amct_edits_copy(amct_edits *edits, const amct_node *node, const char *name) {
  /* the copy stands behind the original */
  amct_node *near = node->removed ? NULL : amct_graph_at(node->graph, node->index);
  amct_spec *spec = amct_edits_add(edits, name, node->op, near, false);
  if (spec == NULL) return NULL;
  for (uint32_t i = 0; i < node->input_count; i++) {
    const amct_edge edge = node->inputs[i];
    const char *text = edge.port == AMCT_CONTROL ? edge.node->name : amct_edge_text(edge);
    if (text == NULL ||
        !(edge.port == AMCT_CONTROL ? AMCT_VEC_PUSH(&spec->controls, text)
                                    : AMCT_VEC_PUSH(&spec->inputs, text))) {
      amct_edits_fail_memory(edits);
      return NULL;
    }
  }
  spec->device = node->device;
  amct_spec_copy_fields(spec, node);
  return spec;
}

void amct_edits_remove(amct_edits *edits, amct_node *node) {
  if (!is_open(edits)) return;
  amct_target *target = target_of(edits, node);
  if (target == NULL || target->removed) return;
  kill_changes(edits, target, true);
  if (push_change(edits, AMCT_EDIT_REMOVE, target) != NULL) target->removed = true;
}

void amct_edits_detach(amct_edits *edits, amct_node *node) {
  if (!is_open(edits)) return;
  amct_edits_remove(edits, node);
  amct_target *target = target_of(edits, node);
  if (target == NULL) return;
  target->detached = true;
  for (uint32_t i = 0; i < node->use_count; i++)
    (void)target_of(edits, node->uses[i].node); /* whose inputs are to be made anew */
}

/* A change of an input of a node that the list removes, or replaces, is of no account. */
static void set_input(amct_edits *edits, amct_target *target, uint32_t index,
                      const char *tensor) {
  if (target->removed || target->spec != NULL) return;
  amct_change *change = push_change(edits, AMCT_EDIT_SET_INPUT, target);
  if (change == NULL) return;
  change->index = index;
  change->tensor = tensor;
}

void amct_edits_set_input(amct_edits *edits, amct_node *node, uint32_t index,
                          const char *tensor) {
  if (!is_open(edits)) return;
  amct_target *target = target_of(edits, node);
  const char *text = amct_edits_text(edits, tensor);
  if (target == NULL || text == NULL) return;
  if (index >= node->data_count) {
    amct_edits_fail(edits, AMCT_INVALID_ARGUMENT, node->name,
                    "%s: input %u, but it has %u data inputs", node->name, index,
                    node->data_count);
    return;
  }
  set_input(edits, target, index, text);
}

void amct_edits_control(amct_edits *edits, amct_node *node, const char *source) {
  if (!is_open(edits)) return;
  amct_target *target = target_of(edits, node);
  const char *text = amct_edits_text(edits, source);
  if (target == NULL || text == NULL || target->removed) return;
  amct_change *change = push_change(edits, AMCT_EDIT_CONTROL, target);
  if (change != NULL) change->tensor = text;
}

static bool is_among(const amct_node *node, const amct_node *const *nodes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (nodes[i] == node) return true;
  }
  return false;
}

void amct_edits_rewire(amct_edits *edits, amct_edge from, const char *tensor,
                       const amct_node *const *except, size_t except_count) {
  if (!is_open(edits)) return;
  const char *text = amct_edits_text(edits, tensor);
  if (text == NULL) return;
  for (uint32_t i = 0; i < from.node->use_count; i++) {
    const amct_use *use = &from.node->uses[i];
    if (use->input >= use->node->data_count) continue;
    if (use->node->inputs[use->input].port != from.port) continue;
    if (is_among(use->node, except, except_count)) continue;
    amct_target *target = target_of(edits, use->node);
    if (target != NULL) set_input(edits, target, use->input, text);
  }
}

static void drop_dead(amct_edits *edits) {
  size_t kept = 0;
  for (size_t i = 0; i < edits->changes.count; i++) {
    if (!edits->changes.at[i]->dead) edits->changes.at[kept++] = edits->changes.at[i];
  }
  edits->changes.count = kept;
  edits->dead_count = 0;
}

amct_status amct_edits_at(amct_edits *edits, size_t i, amct_edit *edit, amct_error *err) {
  static const amct_edit k_empty;
  *edit = k_empty;
  if (edits->error.status != AMCT_OK)
    return amct_fail(err, edits->error.status, edits->error.node, "%s",
                     edits->error.text);
  if (edits->dead_count > 0) drop_dead(edits);
  if (i >= edits->changes.count)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "edit %zu of %zu", i,
                     edits->changes.count);
  const amct_change *change = edits->changes.at[i];
  amct_spec *spec = change->spec;
  edit->kind = change->kind;
  edit->name = spec != NULL ? spec->name : change->node->name;
  edit->tensor = change->tensor;
  edit->index = change->index;
  edit->near = spec != NULL && spec->near != NULL ? spec->near->name : "";
  if (spec == NULL) return AMCT_OK;
  if (spec->nodedef.size == 0)
    AMCT_TRY(amct_spec_encode(spec, &edits->arena, &spec->nodedef, err));
  edit->nodedef = spec->nodedef;
  return AMCT_OK;
}
