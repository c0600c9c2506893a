/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Input tensors that are quantized on their own, in front of ops without integer
 * arithmetic: what tensor_quantize names. A record calls one "<node>:<input>"; node names
 * hold no colon.
 */
#ifndef AMCT_TENSORS_H
#define AMCT_TENSORS_H

#include "op/constraints.h"
#include "op/layers.h"

/** Room for the index behind a node's name, colon included. */
enum { AMCT_TENSOR_INDEX_BYTES = 24 };

/** True for "<node>:<number>" of a node of the graph. */
bool amct_tensor_find(const amct_graph *graph, const char *key, amct_node **node,
                      uint64_t *input);
/** Why an input of a node cannot be quantized so; NULL: it can. */
const char *amct_tensor_refusal(const amct_node *node, uint64_t input,
                                char text[AMCT_REASON_BYTES]);
/** The input as a layer without weights; it was not refused. */
amct_layer amct_tensor_layer(amct_node *node, uint32_t input);
/** True for ops whose inputs may be named: ops.def has them as TENSOR. */
bool amct_tensor_op(const amct_node *node);

#endif
