/* SPDX-License-Identifier: Apache-2.0 */
#include "op/lookup.h"

#include <stdio.h>

amct_status amct_lookup_make(amct_lookup *lookup, const amct_layers *layers,
                             const amct_graph *graph, amct_error *err) {
  *lookup = (amct_lookup){.graph = graph, .layers = layers};
  for (size_t i = 0; i < layers->count; i++)
    AMCT_TRY(amct_map_set(&lookup->by_node, layers->at[i].node, &layers->at[i], err));
  return AMCT_OK;
}

void amct_lookup_free(amct_lookup *lookup) {
  amct_map_free(&lookup->by_node);
}

const amct_layer *amct_lookup_layer(const amct_lookup *lookup, const char *name) {
  const amct_node *node = amct_graph_find(lookup->graph, name);
  return node != NULL ? amct_map_get(&lookup->by_node, node) : NULL;
}

bool amct_lookup_fusible_op(const amct_op *op) {
  return op->weight >= 0 && op->grid == AMCT_PER_CHANNEL;
}

bool amct_lookup_fusible(const amct_layer *layer) {
  return amct_lookup_fusible_op(layer->op);
}

const char *amct_lookup_refusal(const amct_lookup *lookup, amct_nearest *nearest,
                                char text[AMCT_REFUSAL_BYTES]) {
  char names[AMCT_NEAREST_BYTES];
  const amct_node *node = amct_graph_find(lookup->graph, nearest->wanted);
  const amct_layer *layer = amct_lookup_layer(lookup, nearest->wanted);
  if (layer != NULL && layer->reason == NULL) return NULL;
  if (layer != NULL) {
    snprintf(text, AMCT_REFUSAL_BYTES, "does not support quantization: %s",
             layer->reason);
  } else if (node != NULL) {
    snprintf(text, AMCT_REFUSAL_BYTES,
             "does not support quantization: %.60s is not an op that is quantized",
             node->op);
  } else {
    for (size_t i = 0; i < lookup->layers->count; i++)
      if (lookup->layers->at[i].reason == NULL)
        amct_nearest_offer(nearest, lookup->layers->at[i].node->name);
    snprintf(text, AMCT_REFUSAL_BYTES, "is not in the graph%s",
             amct_nearest_text(nearest, names));
  }
  return text;
}
