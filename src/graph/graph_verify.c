/* SPDX-License-Identifier: Apache-2.0 */
/* The invariants of a graph. */
#include "graph/body.h"

static amct_status check_inputs(const amct_graph *graph, const amct_node *node,
                                amct_error *err) {
  if (node->data_count > node->input_count)
    return amct_fail(err, AMCT_BAD_GRAPH, node->name, "%s: %u data inputs among %u",
                     node->name, node->data_count, node->input_count);
  for (uint32_t i = 0; i < node->input_count; i++) {
    const amct_edge *edge = &node->inputs[i];
    if (edge->node == NULL || edge->node->removed || edge->node->graph != graph)
      return amct_fail(err, AMCT_BAD_GRAPH, node->name, "%s: input %u names no node",
                       node->name, i);
    if ((edge->port == AMCT_CONTROL) != (i >= node->data_count))
      return amct_fail(err, AMCT_BAD_GRAPH, node->name,
                       "%s: control and data inputs are mixed at input %u", node->name,
                       i);
  }
  if (node->data_count > 0 && amct_node_is(node, "Const"))
    return amct_fail(err, AMCT_BAD_GRAPH, node->name,
                     "%s: a Const reads %s, it takes no data inputs", node->name,
                     node->inputs[0].node->name);
  return AMCT_OK;
}

static amct_status check_uses(const amct_node *node, size_t *total, amct_error *err) {
  for (uint32_t i = 0; i < node->use_count; i++) {
    const amct_use *use = &node->uses[i];
    if (use->node->removed || use->input >= use->node->input_count ||
        use->node->inputs[use->input].node != node)
      return amct_fail(err, AMCT_BAD_GRAPH, node->name,
                       "%s: use %u by %s is not its input", node->name, i,
                       use->node->name);
  }
  *total += node->use_count;
  return AMCT_OK;
}

/* Functions in an attribute may have attributes with functions: protobuf itself reads 100
 * messages deep, and each function takes three. */
enum { FUNCTIONS_MAX = 30, LIST_FUNC = 9, FUNC_ATTR = 2 };

/* The next field `number` that is a message; false: no more, or malformed from here on.
 */
static bool next_message(amct_cursor *cursor, uint32_t number, amct_slice *message) {
  amct_field field;
  bool more = true;
  while (amct_cursor_next(cursor, &field, &more, NULL) == AMCT_OK && more) {
    if (field.number != number || field.wire != AMCT_WIRE_BYTES) continue;
    *message = field.bytes;
    return true;
  }
  return false;
}

static bool is_too_deep(amct_slice attr_value, int depth);

static bool functions_too_deep(amct_slice holder, uint32_t number, int depth) {
  amct_slice function, entry, value;
  amct_cursor functions = amct_cursor_of(holder, holder.data);
  while (next_message(&functions, number, &function)) {
    amct_cursor entries = amct_cursor_of(function, function.data);
    while (next_message(&entries, FUNC_ATTR, &entry)) {
      amct_cursor values = amct_cursor_of(entry, entry.data);
      while (next_message(&values, ENTRY_VALUE, &value))
        if (is_too_deep(value, depth + 1)) return true;
    }
  }
  return false;
}

static bool is_too_deep(amct_slice attr_value, int depth) {
  amct_slice list;
  if (depth > FUNCTIONS_MAX) return true;
  if (functions_too_deep(attr_value, ATTR_FUNC, depth)) return true;
  amct_cursor lists = amct_cursor_of(attr_value, attr_value.data);
  while (next_message(&lists, ATTR_LIST, &list))
    if (functions_too_deep(list, LIST_FUNC, depth)) return true;
  return false;
}

static amct_status check_attrs(const amct_node *node, amct_error *err) {
  for (size_t i = 0; i < node->body->attr_count; i++) {
    const amct_attr *attr = &node->body->attrs[i];
    if (is_too_deep(attr->value, 0))
      return amct_fail(err, AMCT_BAD_GRAPH, node->name,
                       "%s: attribute %.*s holds functions over %d deep", node->name,
                       (int)(attr->key.size < 64 ? attr->key.size : 64),
                       (const char *)attr->key.data, FUNCTIONS_MAX);
  }
  return AMCT_OK;
}

static amct_status check_nodes(const amct_graph *graph, amct_error *err) {
  size_t inputs = 0, uses = 0;
  for (size_t i = 0; i < graph->node_count; i++) {
    const amct_node *node = graph->nodes[i];
    if (node->removed || node->index != i)
      return amct_fail(err, AMCT_BAD_GRAPH, node->name, "%s: not at its place %zu",
                       node->name, i);
    if (amct_graph_find(graph, node->name) != node)
      return amct_fail(err, AMCT_BAD_GRAPH, node->name, "two nodes are named %s",
                       node->name);
    AMCT_TRY(check_inputs(graph, node, err));
    AMCT_TRY(check_uses(node, &uses, err));
    AMCT_TRY(check_attrs(node, err));
    inputs += node->input_count;
  }
  if (inputs != uses)
    return amct_fail(err, AMCT_BAD_GRAPH, NULL, "%zu inputs but %zu uses", inputs, uses);
  return AMCT_OK;
}

/* The one edge that may close a loop: from an iteration to the next. */
static bool closes_loop(const amct_node *reader, amct_edge edge) {
  return (amct_node_is(edge.node, "NextIteration") ||
          amct_node_is(edge.node, "RefNextIteration")) &&
         (amct_node_is(reader, "Merge") || amct_node_is(reader, "RefMerge"));
}

/* Among nodes that wait for each other, following any waited-for input ends on a cycle.
 */
static const amct_node *find_on_cycle(const amct_graph *graph, const uint32_t *waiting) {
  const amct_node *node = NULL;
  for (size_t i = 0; i < graph->node_count && node == NULL; i++) {
    if (waiting[i] > 0) node = graph->nodes[i];
  }
  for (size_t step = 0; node != NULL && step < graph->node_count; step++) {
    for (uint32_t k = 0; k < node->input_count; k++) {
      const amct_edge edge = node->inputs[k];
      if (waiting[edge.node->index] > 0 && !closes_loop(node, edge)) {
        node = edge.node;
        break;
      }
    }
  }
  return node;
}

/* Kahn: nodes are done when all that they read is done; what is left waits on a cycle. */
static size_t count_done(const amct_graph *graph, uint32_t *waiting, uint32_t *ready) {
  size_t head = 0, tail = 0;
  for (size_t i = 0; i < graph->node_count; i++) {
    const amct_node *node = graph->nodes[i];
    for (uint32_t k = 0; k < node->input_count; k++)
      waiting[i] += closes_loop(node, node->inputs[k]) ? 0 : 1;
    if (waiting[i] == 0) ready[tail++] = (uint32_t)i;
  }
  while (head < tail) {
    const amct_node *node = graph->nodes[ready[head++]];
    for (uint32_t i = 0; i < node->use_count; i++) {
      const amct_node *reader = node->uses[i].node;
      if (closes_loop(reader, reader->inputs[node->uses[i].input])) continue;
      if (--waiting[reader->index] == 0) ready[tail++] = reader->index;
    }
  }
  return tail;
}

amct_status amct_graph_verify(const amct_graph *graph, amct_error *err) {
  AMCT_TRY(check_nodes(graph, err));
  amct_status status = AMCT_OK;
  uint32_t *waiting = amct_alloc_array(graph->node_count + 1, sizeof *waiting);
  uint32_t *ready = amct_alloc_array(graph->node_count + 1, sizeof *ready);
  if (waiting == NULL || ready == NULL) {
    status = amct_fail_memory(err);
    goto done;
  }
  if (count_done(graph, waiting, ready) < graph->node_count) {
    const amct_node *node = find_on_cycle(graph, waiting);
    status =
        amct_fail(err, AMCT_BAD_GRAPH, node->name,
                  "%s is on a cycle that does not go through NextIteration", node->name);
  }
done:
  amct_free(waiting);
  amct_free(ready);
  return status;
}
