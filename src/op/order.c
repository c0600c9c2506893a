/* SPDX-License-Identifier: Apache-2.0 */
#include "op/order.h"

#include "base/alloc.h"

static bool op_is(const amct_node *node, const char *op) {
  return strcmp(node->op, op) == 0 ||
         (strncmp(node->op, "Ref", 3) == 0 && strcmp(node->op + 3, op) == 0);
}

static bool counts(amct_edge edge) {
  return edge.node && !op_is(edge.node, "NextIteration");
}

/* Kahn: `order->at` is the queue. */
static void sort(amct_order *order, uint32_t *waiting) {
  for (size_t next = 0; next < order->count; next++) {
    const amct_node *node = order->at[next];
    if (op_is(node, "NextIteration")) continue;
    for (uint32_t u = 0; u < node->use_count; u++) {
      amct_node *reader = node->uses[u].node;
      if (--waiting[reader->index] == 0) order->at[order->count++] = reader;
    }
  }
}

amct_status amct_order_make(amct_order *order, const amct_graph *graph, amct_error *err) {
  size_t count = amct_graph_count(graph);
  uint32_t *waiting = amct_alloc_array(count + 1, sizeof *waiting);

  order->count = 0;
  order->at = amct_alloc_array(count + 1, sizeof *order->at);
  if (!waiting || !order->at) {
    amct_free(waiting);
    amct_order_free(order);
    return amct_fail_memory(err);
  }
  for (size_t i = 0; i < count; i++) {
    amct_node *node = amct_graph_at(graph, i);
    for (uint32_t k = 0; k < node->input_count; k++)
      waiting[i] += counts(node->inputs[k]);
    if (waiting[i] == 0) order->at[order->count++] = node;
  }
  sort(order, waiting);
  amct_free(waiting);
  return AMCT_OK;
}

void amct_order_free(amct_order *order) {
  amct_free(order->at);
  order->at = NULL;
  order->count = 0;
}

/* How many frames deep a node's inputs are. */
static uint32_t depth_of(const amct_node *node, const uint32_t *out_depth) {
  uint32_t depth = 0;
  for (uint32_t k = 0; k < node->input_count; k++) {
    const amct_node *source = node->inputs[k].node;
    if (source && out_depth[source->index] > depth) depth = out_depth[source->index];
  }
  return depth;
}

static bool has_loops(const amct_graph *graph) {
  for (size_t i = 0; i < amct_graph_count(graph); i++)
    if (op_is(amct_graph_at(graph, i), "Enter")) return true;
  return false;
}

amct_status amct_frames_find(amct_map *inside, const amct_graph *graph, amct_error *err) {
  amct_order order = {0};
  uint32_t *out_depth = NULL;
  amct_status status = AMCT_OK;

  if (!has_loops(graph)) return AMCT_OK;
  if ((status = amct_order_make(&order, graph, err)) != AMCT_OK) goto done;
  out_depth = amct_alloc_array(amct_graph_count(graph), sizeof *out_depth);
  if (!out_depth) {
    status = amct_fail_memory(err);
    goto done;
  }
  for (size_t i = 0; i < order.count; i++) {
    amct_node *node = order.at[i];
    uint32_t depth = depth_of(node, out_depth);

    out_depth[node->index] = depth;
    if (op_is(node, "Enter")) out_depth[node->index] = depth + 1;
    if (op_is(node, "Exit") && depth) out_depth[node->index] = depth - 1;
    if (depth && (status = amct_map_set(inside, node, node, err)) != AMCT_OK) goto done;
  }
done:
  amct_free(out_depth);
  amct_order_free(&order);
  return status;
}
