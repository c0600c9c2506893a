/* SPDX-License-Identifier: Apache-2.0 */
/* Names of inserted nodes: layer `A/B/Conv2D` gets `A/B/act_quant/AscendQuant`; a clash
 * is solved on the scope, `A/B/act_quant_1/AscendQuant` (numbers.md 7). */
#ifndef AMCT_SCOPES_H
#define AMCT_SCOPES_H

#include "base/map.h"
#include "graph/edits.h"

/** Remembers the last number tried for a scope, so that many layers in one scope stay
 * linear. */
typedef struct amct_scopes {
  amct_edits *edits;
  amct_graph *graph;
  amct_map last;
} amct_scopes;

amct_scopes amct_scopes_of(amct_graph *graph, amct_edits *edits);
void amct_scopes_free(amct_scopes *scopes);

/**
 * A scope `<scope of layer>/<group>[_k]` in which no node is called `op`, in the graph's
 * arena. NULL when memory runs out. The caller adds `<result>/<op>` before it asks again.
 */
const char *amct_scopes_take(amct_scopes *scopes, const char *layer, const char *group,
                             const char *op);

#endif
