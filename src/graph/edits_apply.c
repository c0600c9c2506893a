/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applying an edit list. Everything that can fail comes first and touches nothing that
 * the graph shows: names, inputs, encodings, all memory. Then the commit, which cannot
 * fail.
 */
#include "graph/edits_private.h"

/* New nodes hang in the name map with `named` NULL until the commit: nobody finds them.
 */
static amct_status make_node(amct_edits *edits, amct_spec *spec, amct_error *err) {
  amct_graph *graph = edits->graph;
  spec->block = amct_arena_alloc(&graph->arena, sizeof *spec->block);
  if (spec->block == NULL) return amct_fail_memory(err);
  amct_node *node = &spec->block->node;
  node->graph = graph;
  node->body = &spec->block->body;
  node->body->piece.node = node;
  node->name = amct_graph_intern(graph, spec->name);
  if (node->name == NULL) return amct_fail_memory(err);
  spec->named = amct_map_get(&graph->by_name, node->name);
  if (spec->named == NULL) {
    spec->named = node->body;
    return amct_map_set(&graph->by_name, node->name, node->body, err);
  }
  const amct_node *other = spec->named->named;
  const amct_target *target = other == NULL ? NULL : amct_map_get(&edits->by_node, other);
  if (other != NULL && (target == NULL || !target->removed))
    return amct_fail(err, AMCT_BAD_GRAPH, spec->name,
                     "new node %s: the graph has that name", spec->name);
  return AMCT_OK;
}

static amct_status encode_spec(amct_edits *edits, amct_spec *spec, amct_error *err) {
  amct_graph *graph = edits->graph;
  AMCT_TRY(amct_spec_encode(spec, &graph->arena, &spec->message, err));
  spec->op_name = amct_graph_intern(graph, spec->op);
  if (spec->op_name == NULL) return amct_fail_memory(err);
  return amct_nodedef_read(&spec->def, spec->message, spec->message.data, &graph->arena,
                           err);
}

static void add_origin(amct_spec *spec, const char *name) {
  for (uint32_t i = 0; i < spec->origin_count; i++) {
    if (spec->origin_names[i] == name) return;
  }
  spec->origin_names[spec->origin_count++] = name;
}

/* A node that is replaced goes on standing for what it stood for. */
static amct_status prepare_origins(amct_edits *edits, amct_spec *spec, amct_error *err) {
  const amct_node *old = spec->replaced;
  if (spec->origins.count == 0) return AMCT_OK;
  const size_t room = spec->origins.count + 1 + (old == NULL ? 0 : old->origin_count);
  spec->origin_count = 0;
  spec->origin_names =
      amct_arena_array(&edits->graph->arena, room, sizeof *spec->origin_names);
  if (spec->origin_names == NULL) return amct_fail_memory(err);
  if (old != NULL && old->origins == NULL) add_origin(spec, old->name);
  for (uint32_t i = 0; old != NULL && i < old->origin_count; i++)
    add_origin(spec, old->origins[i]);
  for (size_t i = 0; i < spec->origins.count; i++) {
    const char *name = amct_graph_intern(edits->graph, spec->origins.at[i]);
    if (name == NULL) return amct_fail_memory(err);
    add_origin(spec, name);
  }
  return AMCT_OK;
}

/* The node that will have `name` after the edits, or NULL. */
static amct_node *node_after(const amct_edits *edits, amct_slice name) {
  amct_name key = amct_names_find(&edits->graph->names, name);
  if (key == NULL) return NULL;
  const amct_spec *spec = amct_map_get(&edits->by_name, key);
  if (spec != NULL) return &spec->block->node;
  const struct amct_node_body *body = amct_map_get(&edits->graph->by_name, key);
  if (body == NULL || body->named == NULL) return NULL;
  const amct_target *target = amct_map_get(&edits->by_node, body->named);
  return target != NULL && target->removed ? NULL : body->named;
}

static amct_status resolve(const amct_edits *edits, const char *reader,
                           const char *tensor, amct_edge *edge, amct_error *err) {
  amct_input_ref ref;
  if (!amct_input_parse(amct_slice_of(tensor), &ref) || ref.port == AMCT_CONTROL)
    return amct_fail(err, AMCT_BAD_GRAPH, reader,
                     "node %s: input '%s' is neither name nor name:0..65535", reader,
                     tensor);
  edge->node = node_after(edits, ref.name);
  edge->port = ref.port;
  if (edge->node == NULL)
    return amct_fail(err, AMCT_BAD_GRAPH, reader,
                     "node %s: input '%s' names no node after the edits", reader, tensor);
  return AMCT_OK;
}

static amct_status resolve_control(const amct_edits *edits, const char *reader,
                                   const char *source, amct_edge *edge, amct_error *err) {
  edge->node = node_after(edits, amct_slice_of(source));
  edge->port = AMCT_CONTROL;
  if (edge->node == NULL)
    return amct_fail(err, AMCT_BAD_GRAPH, reader,
                     "node %s: control input '%s' names no node after the edits", reader,
                     source);
  return AMCT_OK;
}

typedef struct input_list {
  amct_edge *at;
  uint32_t count, data_count;
} input_list;

/* Inputs of a new or replaced node; `more` leaves room for further control inputs. */
static amct_status spec_inputs(const amct_edits *edits, const amct_spec *spec,
                               size_t more, input_list *list, amct_error *err) {
  const size_t room = spec->inputs.count + spec->controls.count + more;
  if (room > UINT32_MAX)
    return amct_fail(err, AMCT_UNSUPPORTED, spec->name, "node %s: %zu inputs", spec->name,
                     room);
  list->at = amct_arena_array(&edits->graph->arena, room + 1, sizeof *list->at);
  if (list->at == NULL) return amct_fail_memory(err);
  for (size_t i = 0; i < spec->inputs.count; i++)
    AMCT_TRY(
        resolve(edits, spec->name, spec->inputs.at[i], &list->at[list->count++], err));
  list->data_count = list->count;
  for (size_t i = 0; i < spec->controls.count; i++)
    AMCT_TRY(resolve_control(edits, spec->name, spec->controls.at[i],
                             &list->at[list->count++], err));
  return AMCT_OK;
}

static bool is_detached(const amct_edits *edits, amct_edge edge) {
  if (edge.port != AMCT_CONTROL) return false;
  const amct_target *target = amct_map_get(&edits->by_node, edge.node);
  return target != NULL && target->detached;
}

static amct_status kept_inputs(const amct_edits *edits, const amct_target *target,
                               size_t more, input_list *list, amct_error *err) {
  const amct_node *node = target->node;
  list->at = amct_arena_array(&edits->graph->arena, node->input_count + more + 1,
                              sizeof *list->at);
  if (list->at == NULL) return amct_fail_memory(err);
  for (uint32_t i = 0; i < node->input_count; i++)
    if (!is_detached(edits, node->inputs[i])) list->at[list->count++] = node->inputs[i];
  list->data_count = node->data_count;
  for (const amct_change *change = target->first; change != NULL; change = change->next) {
    if (change->dead || change->kind != AMCT_EDIT_SET_INPUT) continue;
    AMCT_TRY(resolve(edits, node->name, change->tensor, &list->at[change->index], err));
  }
  return AMCT_OK;
}

/* Control inputs that the list adds, those that stand there already left out. */
static amct_status add_controls(const amct_edits *edits, const amct_target *target,
                                input_list *list, amct_error *err) {
  const uint64_t mark = ++edits->graph->marks;
  for (uint32_t i = list->data_count; i < list->count; i++)
    list->at[i].node->body->mark = mark;
  for (const amct_change *change = target->first; change != NULL; change = change->next) {
    if (change->dead || change->kind != AMCT_EDIT_CONTROL) continue;
    amct_edge edge;
    AMCT_TRY(resolve_control(edits, target->node->name, change->tensor, &edge, err));
    if (edge.node->body->mark == mark) continue;
    edge.node->body->mark = mark;
    list->at[list->count++] = edge;
  }
  return AMCT_OK;
}

/* A source that the list removes is one that no node will have. */
static amct_status check_sources(const amct_edits *edits, const amct_node *reader,
                                 const amct_edge *inputs, uint32_t count,
                                 amct_error *err) {
  for (uint32_t i = 0; i < count; i++) {
    const amct_target *target = amct_map_get(&edits->by_node, inputs[i].node);
    if (target != NULL && target->removed)
      return amct_fail(err, AMCT_BAD_GRAPH, reader->name,
                       "%s still reads %s, which is removed", reader->name,
                       inputs[i].node->name);
  }
  return AMCT_OK;
}

static amct_status prepare_target(amct_edits *edits, amct_target *target,
                                  amct_error *err) {
  if (target->removed) return AMCT_OK;
  size_t controls = 0;
  for (const amct_change *change = target->first; change != NULL; change = change->next)
    controls += !change->dead && change->kind == AMCT_EDIT_CONTROL;
  input_list list = {0};
  if (target->spec != NULL) {
    AMCT_TRY(spec_inputs(edits, target->spec, controls, &list, err));
    AMCT_TRY(encode_spec(edits, target->spec, err));
    AMCT_TRY(prepare_origins(edits, target->spec, err));
  } else {
    AMCT_TRY(kept_inputs(edits, target, controls, &list, err));
  }
  AMCT_TRY(add_controls(edits, target, &list, err));
  AMCT_TRY(check_sources(edits, target->node, list.at, list.count, err));
  target->inputs = list.at;
  target->input_count = list.count;
  target->data_count = list.data_count;
  return AMCT_OK;
}

/* Readers that the list does not touch must not read what it removes; the others were
 * checked. */
static amct_status check_removed(const amct_edits *edits, const amct_target *target,
                                 amct_error *err) {
  for (uint32_t i = 0; target->removed && i < target->node->use_count; i++) {
    const amct_node *reader = target->node->uses[i].node;
    if (amct_map_get(&edits->by_node, reader) == NULL)
      return amct_fail(err, AMCT_BAD_GRAPH, reader->name,
                       "%s still reads %s, which is removed", reader->name,
                       target->node->name);
  }
  return AMCT_OK;
}

static amct_status prepare_new(amct_edits *edits, amct_spec *spec, amct_error *err) {
  input_list list = {0};
  AMCT_TRY(spec_inputs(edits, spec, 0, &list, err));
  AMCT_TRY(encode_spec(edits, spec, err));
  AMCT_TRY(prepare_origins(edits, spec, err));
  amct_node *node = &spec->block->node;
  node->inputs = list.at;
  node->input_count = list.count;
  node->data_count = list.data_count;
  return AMCT_OK;
}

static void take_spec(amct_node *node, const amct_spec *spec) {
  node->op = spec->op_name;
  node->device = spec->def.device;
  if (spec->origin_names != NULL) {
    node->origins = spec->origin_names;
    node->origin_count = spec->origin_count;
  }
  node->body->message = spec->message;
  node->body->attrs = spec->def.attrs;
  node->body->attr_count = spec->def.attr_count;
  node->body->stale = false;
  node->body->piece.raw.size = 0; /* no longer what the file has */
}

/* Nodes put behind the same one stand there in the order in which they were added. */
static void place(amct_graph *graph, const amct_spec *spec) {
  amct_piece *piece = &spec->block->body.piece;
  if (spec->near == NULL) {
    amct_piece *last = graph->last;
    while (last != NULL && last->node == NULL)
      last = last->previous;
    amct_graph_insert(graph, piece, last);
    return;
  }
  struct amct_node_body *near = spec->near->body;
  if (spec->before) {
    amct_graph_insert(graph, piece, near->piece.previous);
    return;
  }
  amct_graph_insert(graph, piece, near->tail == NULL ? &near->piece : near->tail);
  near->tail = piece;
}

static void commit_target(amct_graph *graph, amct_target *target) {
  amct_node *node = target->node;
  if (target->removed) {
    node->removed = true;
    node->uses = NULL;
    node->use_count = 0;
    ((struct amct_node_body *)amct_map_get(&graph->by_name, node->name))->named = NULL;
    return;
  }
  if (target->spec != NULL) take_spec(node, target->spec);
  /* inputs of a replaced node are in its message, but for control inputs added beside it
   */
  const bool spec_says_all =
      target->spec != NULL &&
      target->input_count == target->spec->inputs.count + target->spec->controls.count;
  node->body->stale = !spec_says_all;
  node->inputs = target->inputs;
  node->input_count = target->input_count;
  node->data_count = target->data_count;
}

static void commit(amct_edits *edits, amct_node **nodes, amct_use *uses) {
  amct_graph *graph = edits->graph;
  for (size_t i = 0; i < edits->targets.count; i++)
    commit_target(graph, edits->targets.at[i]);
  for (size_t i = 0; i < edits->specs.count; i++) {
    amct_spec *spec = edits->specs.at[i];
    if (spec->replaced != NULL) continue;
    take_spec(&spec->block->node, spec);
    spec->named->named = &spec->block->node;
    place(graph, spec);
  }
  for (size_t i = 0; i < edits->specs.count; i++) {
    if (edits->specs.at[i]->near != NULL) edits->specs.at[i]->near->body->tail = NULL;
  }
  amct_graph_link(graph, nodes, uses);
  edits->spent = true;
}

static amct_status prepare(amct_edits *edits, amct_error *err) {
  for (size_t i = 0; i < edits->specs.count; i++) {
    if (edits->specs.at[i]->replaced == NULL)
      AMCT_TRY(make_node(edits, edits->specs.at[i], err));
  }
  for (size_t i = 0; i < edits->specs.count; i++) {
    if (edits->specs.at[i]->replaced == NULL)
      AMCT_TRY(prepare_new(edits, edits->specs.at[i], err));
  }
  for (size_t i = 0; i < edits->targets.count; i++)
    AMCT_TRY(prepare_target(edits, edits->targets.at[i], err));
  for (size_t i = 0; i < edits->targets.count; i++)
    AMCT_TRY(check_removed(edits, edits->targets.at[i], err));
  return AMCT_OK;
}

/* Takes back the names of nodes that do not come to be. */
static void forget_names(amct_edits *edits) {
  for (size_t i = 0; i < edits->specs.count; i++) {
    amct_spec *spec = edits->specs.at[i];
    if (spec->block != NULL && spec->named == &spec->block->body)
      amct_map_remove(&edits->graph->by_name, spec->block->node.name);
    spec->named = NULL;
  }
}

/* Nodes and inputs that the graph will have at most. */
static void count_after(const amct_edits *edits, size_t *nodes, size_t *uses) {
  *nodes = edits->graph->node_count + edits->specs.count;
  *uses = edits->graph->use_count;
  for (size_t i = 0; i < edits->targets.count; i++)
    *uses += edits->targets.at[i]->input_count;
  for (size_t i = 0; i < edits->specs.count; i++) {
    const amct_spec *spec = edits->specs.at[i];
    if (spec->replaced == NULL) *uses += spec->block->node.input_count;
  }
}

amct_status amct_edits_apply(amct_edits *edits, amct_error *err) {
  if (edits->spent)
    amct_edits_fail(edits, AMCT_INVALID_ARGUMENT, NULL, "edit list is already applied");
  if (edits->error.status != AMCT_OK) {
    if (err != NULL && err->status == AMCT_OK) *err = edits->error;
    return edits->error.status;
  }
  amct_node **nodes = NULL;
  amct_use *uses = NULL;
  size_t node_count = 0, use_count = 0;
  amct_status status = prepare(edits, err);
  if (status != AMCT_OK) goto done;
  count_after(edits, &node_count, &use_count);
  if (node_count > UINT32_MAX || use_count > UINT32_MAX) {
    status = amct_fail(err, AMCT_UNSUPPORTED, NULL, "%zu nodes with %zu inputs",
                       node_count, use_count);
    goto done;
  }
  nodes = amct_alloc_array(node_count + 1, sizeof *nodes);
  uses = amct_alloc_array(use_count + 1, sizeof *uses);
  if (nodes == NULL || uses == NULL) {
    status = amct_fail_memory(err);
    goto done;
  }
  commit(edits, nodes, uses);
  nodes = NULL; /* moved to the graph */
  uses = NULL;
done:
  if (status != AMCT_OK) forget_names(edits);
  amct_free(nodes);
  amct_free(uses);
  return status;
}
