/* SPDX-License-Identifier: Apache-2.0 */
/* Removing parameters that edits orphaned. */
#include "graph/body.h"
#include "graph/edits.h"

/* How far a parameter is followed back to its constant or variable. */
enum { CHAIN_MAX = 64 };

static bool is_one_of(const char *op, const char *const *ops, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(op, ops[i]) == 0) return true;
  }
  return false;
}

/* A constant, a variable, or what only reads, casts, shapes or computes with such; looks
 * at *steps nodes at most. */
static bool is_parameter_in(const amct_node *node, int *steps) {
  static const char *const k_source[] = {"Const", "VarHandleOp", "VariableV2",
                                         "Variable"};
  static const char *const k_pass[] = {
      "Identity",      "ReadVariableOp",  "Reshape", "ExpandDims", "Squeeze", "Cast",
      "Transpose",     "StopGradient",    "Enter",   "Switch",     "Rsqrt",   "Neg",
      "CheckNumerics", "PreventGradient", "Snapshot"};
  static const char *const k_compute[] = {"Add", "AddV2", "Sub", "Mul", "Dequantize"};
  while (--*steps >= 0) {
    if (is_one_of(node->op, k_source, sizeof k_source / sizeof k_source[0])) return true;
    if (node->data_count == 0) return false;
    if (is_one_of(node->op, k_compute, sizeof k_compute / sizeof k_compute[0])) {
      for (uint32_t i = 1; i < node->data_count; i++)
        if (!is_parameter_in(node->inputs[i].node, steps)) return false;
    } else if (!is_one_of(node->op, k_pass, sizeof k_pass / sizeof k_pass[0])) {
      return false;
    }
    node = node->inputs[0].node;
  }
  return false;
}

static bool is_parameter(const amct_node *node) {
  int steps = CHAIN_MAX;
  return is_parameter_in(node, &steps);
}

/* A constant, seen through nodes that wait for nothing either: a control edge from it
 * orders nothing. Frozen functions of TensorFlow 2 hold every weight by such an edge. */
static bool waits_for_nothing(const amct_node *node) {
  for (int step = 0; step < CHAIN_MAX; step++) {
    if (node->input_count != node->data_count) return false;
    if (strcmp(node->op, "Const") == 0) return true;
    if (strcmp(node->op, "Identity") != 0 || node->data_count == 0) return false;
    node = node->inputs[0].node;
  }
  return false;
}

typedef struct sweep {
  uint32_t *uses; /* readers left, by node index; edges that order nothing do not count */
  uint32_t *stack; /* nodes to look at */
  size_t depth;
  uint64_t keep; /* mark of the nodes that stay */
} sweep;

static void consider(sweep *s, const amct_node *node) {
  if (s->uses[node->index] == 0 && node->body->was_read && node->body->mark != s->keep &&
      is_parameter(node))
    s->stack[s->depth++] = node->index;
}

static uint32_t count_uses(const amct_node *node) {
  if (!waits_for_nothing(node)) return node->use_count;
  uint32_t count = 0;
  for (uint32_t i = 0; i < node->use_count; i++)
    count += node->uses[i].input < node->uses[i].node->data_count;
  return count;
}

static amct_status run(sweep *s, const amct_graph *graph, amct_map *orphans,
                       amct_error *err) {
  for (size_t i = 0; i < graph->node_count; i++)
    s->uses[i] = count_uses(graph->nodes[i]);
  for (size_t i = 0; i < graph->node_count; i++)
    consider(s, graph->nodes[i]);
  while (s->depth > 0) {
    amct_node *node = graph->nodes[s->stack[--s->depth]];
    AMCT_TRY(amct_map_set(orphans, node, node, err));
    for (uint32_t i = 0; i < node->input_count; i++) {
      amct_node *source = node->inputs[i].node;
      if (i >= node->data_count && waits_for_nothing(source)) continue;
      if (--s->uses[source->index] == 0) consider(s, source);
    }
  }
  return AMCT_OK;
}

amct_status amct_graph_orphans(amct_map *orphans, amct_graph *graph,
                               const char *const *keep, size_t keep_count,
                               amct_error *err) {
  sweep s = {.uses = amct_alloc_array(graph->node_count + 1, sizeof(uint32_t)),
             .stack = amct_alloc_array(graph->node_count + 1, sizeof(uint32_t)),
             .keep = ++graph->marks};
  amct_status status = s.uses && s.stack ? AMCT_OK : amct_fail_memory(err);
  for (size_t i = 0; i < keep_count && status == AMCT_OK; i++) {
    const amct_node *node = amct_graph_find(graph, keep[i]);
    if (node != NULL) node->body->mark = s.keep;
  }
  if (status == AMCT_OK) status = run(&s, graph, orphans, err);
  amct_free(s.uses);
  amct_free(s.stack);
  return status;
}

amct_status amct_graph_sweep(amct_graph *graph, const char *const *keep,
                             size_t keep_count, amct_error *err) {
  amct_map orphans = {0};
  amct_edits *edits = NULL;
  amct_status status = amct_graph_orphans(&orphans, graph, keep, keep_count, err);
  if (status != AMCT_OK) goto done;
  edits = amct_edits_new(graph);
  if (edits == NULL) {
    status = amct_fail_memory(err);
    goto done;
  }
  for (size_t i = 0; i < graph->node_count; i++)
    if (amct_map_get(&orphans, graph->nodes[i]))
      amct_edits_detach(edits, graph->nodes[i]);
  status = amct_edits_apply(edits, err);
  if (status == AMCT_OK) status = amct_graph_mend_colocation(graph, err);
done:
  amct_edits_free(edits);
  amct_map_free(&orphans);
  return status;
}
