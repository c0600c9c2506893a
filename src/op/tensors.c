/* SPDX-License-Identifier: Apache-2.0 */
#include "op/tensors.h"

#include <stdio.h>
#include <stdlib.h>

bool amct_tensor_find(const amct_graph *graph, const char *key, amct_node **node,
                      uint64_t *input) {
  enum { DIGITS_MOST = 9 };
  const char *colon = strrchr(key, ':');
  const size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
  if (digits == 0 || digits > DIGITS_MOST || colon[1 + digits]) return false;
  *node = amct_graph_find_slice(
      graph, (amct_slice){(const uint8_t *)key, (size_t)(colon - key)});
  *input = strtoull(colon + 1, NULL, 10);
  return *node != NULL;
}

bool amct_tensor_op(const amct_node *node) {
  const amct_op *op = amct_op_find(node->op);
  return op != NULL && op->is_tensor;
}

const char *amct_tensor_refusal(const amct_node *node, uint64_t input,
                                char text[AMCT_REASON_BYTES]) {
  if (!amct_tensor_op(node)) {
    snprintf(text, AMCT_REASON_BYTES, "is a %.60s: a MaxPool or an Add is wanted",
             node->op);
    return text;
  }
  if (input >= node->data_count) {
    snprintf(text, AMCT_REASON_BYTES, "has %u inputs: there is no input %llu",
             node->data_count, (unsigned long long)input);
    return text;
  }
  return amct_constraint_dtype(node, text) ? text : NULL;
}

amct_layer amct_tensor_layer(amct_node *node, uint32_t input) {
  amct_layer layer = {.node = node, .op = amct_op_find(node->op), .output = node};
  layer.data = node->inputs[input];
  layer.input = input;
  layer.weight_shape.rank = -1;
  layer.channels = -1;
  return layer;
}
