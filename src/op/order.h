/* SPDX-License-Identifier: Apache-2.0 */
/* Topological order, and which nodes are inside v1 while loops. */
#ifndef AMCT_ORDER_H
#define AMCT_ORDER_H

#include "base/map.h"
#include "graph/graph.h"

/** Every node behind its inputs, data and control. Edges out of NextIteration, which
 * close the loops, do not count. Nodes on other cycles, and what follows them, are left
 * out. */
typedef struct amct_order {
  amct_node **at;
  size_t count;
} amct_order; /* zero-initialise */

AMCT_NODISCARD amct_status amct_order_make(amct_order *order, const amct_graph *graph,
                                           amct_error *err);
void amct_order_free(amct_order *order);

/** Collects the nodes between an Enter and its Exit: key and value are the node. Good for
 * any later state of the graph as far as its nodes go. */
AMCT_NODISCARD amct_status amct_frames_find(amct_map *inside, const amct_graph *graph,
                                            amct_error *err);

#endif
