/* SPDX-License-Identifier: Apache-2.0 */
/* Layers by name, in constant time, and why a name is not one: for files that name
 * layers. */
#ifndef AMCT_LOOKUP_H
#define AMCT_LOOKUP_H

#include "base/map.h"
#include "op/layers.h"
#include "op/nearest.h"

enum { AMCT_REFUSAL_BYTES = 768 };

typedef struct amct_lookup {
  const amct_graph *graph;
  const amct_layers *layers;
  amct_map by_node;
} amct_lookup; /* zero-initialise; borrows graph and layers */

AMCT_NODISCARD amct_status amct_lookup_make(amct_lookup *lookup,
                                            const amct_layers *layers,
                                            const amct_graph *graph, amct_error *err);
void amct_lookup_free(amct_lookup *lookup);

/** The layer, also one that cannot be quantized; NULL: no node of that name, or not a
 * layer. */
const amct_layer *amct_lookup_layer(const amct_lookup *lookup, const char *name);
/** True for layers with weights by channel: those that a batch norm may be folded into.
 */
bool amct_lookup_fusible(const amct_layer *layer);
bool amct_lookup_fusible_op(const amct_op *op);

/**
 * Why `nearest->wanted` cannot be quantized: "is not in the graph; nearest: ...", "does
 * not support quantization: ...". NULL: it can. `nearest` was started by the caller, who
 * may have offered names of other kinds.
 */
const char *amct_lookup_refusal(const amct_lookup *lookup, amct_nearest *nearest,
                                char text[AMCT_REFUSAL_BYTES]);

#endif
