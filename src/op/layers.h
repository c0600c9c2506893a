/* SPDX-License-Identifier: Apache-2.0 */
/* The quantizable layers of a graph, in file order. */
#ifndef AMCT_LAYERS_H
#define AMCT_LAYERS_H

#include "op/shapes.h"

typedef struct amct_layer {
  amct_node *node;
  const amct_op *op;
  amct_edge data;   /* what is quantized */
  uint32_t input;   /* of the node, that reads it */
  amct_edge weight; /* as the layer reads it; node NULL: none */
  amct_edge second; /* data in the place of the weight, quantized too; node NULL: none */
  amct_node *weight_node; /* Const or variable behind it */
  amct_shape weight_shape;
  amct_node *bias; /* the BiasAdd that directly follows, alone, with a parameter as bias;
                      or NULL */
  amct_node *output; /* bias, or node: what the dequantization reads */
  int64_t channels;  /* output channels, -1 unknown or no weights */
  amct_grid
      grid; /* default granularity; PER_TENSOR for a Conv2D that covers the whole plane */
  bool looped;         /* inside a v1 while loop */
  bool channels_first; /* NCHW */
  const char *reason;  /* why it cannot be quantized; NULL: it can */
} amct_layer;

typedef struct amct_layers {
  amct_layer *at;
  size_t count;
} amct_layers; /* zero-initialise */

/** All nodes whose op is a layer in ops.def; those that cannot be quantized carry the
 * reason. `outputs` are model outputs: a layer named there has no bias behind it. */
AMCT_NODISCARD amct_status amct_layers_find(amct_layers *layers, amct_graph *graph,
                                            const char *const *outputs,
                                            size_t output_count, amct_error *err);
void amct_layers_free(amct_layers *layers);
/** Nodes with weights in the functions of the library, as far as those can be read: they
 * would be layers in the graph itself. */
size_t amct_layers_hidden(const amct_graph *graph);
/** The first quantization op (QuantIfmr, AscendQuant, ...) of a graph that is quantized
 * or being calibrated already; NULL: there is none. */
const amct_node *amct_layers_quantized(const amct_graph *graph);
/** Height and width of the window of a pooling; 1 and 1 of any other layer. */
void amct_layer_window(const amct_layer *layer, int64_t window[2]);
/** NULL if no layer has that name. */
amct_layer *amct_layers_get(const amct_layers *layers, const char *name);

#endif
