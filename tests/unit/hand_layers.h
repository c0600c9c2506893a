/* SPDX-License-Identifier: Apache-2.0 */
/* A graph with layers of every kind, made by hand: for tests of files that name layers.
 */
#ifndef AMCT_TEST_HAND_LAYERS_H
#define AMCT_TEST_HAND_LAYERS_H

#include "graph/textform.h"
#include "op/layers.h"

/* name, op, output channels, granularity, reason */
#define HAND_LAYERS(X)                                                                   \
  X("net/conv1/Conv2D", Conv2D, 3, AMCT_PER_CHANNEL, NULL)                               \
  X("net/conv1/depthwise", DepthwiseConv2dNative, 4, AMCT_PER_CHANNEL, NULL)             \
  X("net/odd/Conv2D", Conv2D, 2, AMCT_PER_CHANNEL, "the weight comes from an op")        \
  X("net/pool/AvgPool", AvgPool, -1, AMCT_PER_TENSOR, NULL)                              \
  X("net/logits/Conv2D", Conv2D, 5, AMCT_PER_TENSOR, NULL)                               \
  X("Fc", MatMul, 10, AMCT_PER_TENSOR, NULL)                                             \
  X("net/free/Conv2D", Conv2D, -1, AMCT_PER_CHANNEL, NULL)

enum {
  HAND_LAYER_COUNT = 0
#define HAND_ONE(...) +1
  HAND_LAYERS(HAND_ONE)
#undef HAND_ONE
};

typedef struct hand_layers {
  amct_graph *graph;
  amct_layer at[HAND_LAYER_COUNT];
  amct_layers layers;
} hand_layers;

static const amct_op k_hand_Conv2D = {
    .op = "Conv2D", .weight = 1, .weight_rank = 4, .grid = AMCT_PER_CHANNEL};
static const amct_op k_hand_DepthwiseConv2dNative = {.op = "DepthwiseConv2dNative",
                                                     .weight = 1,
                                                     .weight_rank = 4,
                                                     .grid = AMCT_PER_CHANNEL};
static const amct_op k_hand_MatMul = {
    .op = "MatMul", .weight = 1, .weight_rank = 2, .grid = AMCT_PER_TENSOR};
static const amct_op k_hand_AvgPool = {
    .op = "AvgPool", .weight = AMCT_NO_INPUT, .grid = AMCT_PER_TENSOR};

static inline void hand_layers_make(hand_layers *hand) {
  static const char text[] = "x = Placeholder()\n"
                             "w = Const() {value=float[2](1,2)}\n"
                             "net/relu/Relu6 = Relu6(x)\n"
                             "net/pool/MaxPool = MaxPool(x)\n"
#define HAND_TEXT(name, op, channels, grid, reason) name " = " #op "(x, w)\n"
      HAND_LAYERS(HAND_TEXT);
#undef HAND_TEXT
  const amct_layer rows[] = {
#define HAND_ROW(name, row_op, row_channels, row_grid, row_reason)                       \
  {.op = &k_hand_##row_op,                                                               \
   .channels = row_channels,                                                             \
   .grid = row_grid,                                                                     \
   .reason = row_reason},
      HAND_LAYERS(HAND_ROW)
#undef HAND_ROW
  };
  static const char *const names[] = {
#define HAND_NAME(name, ...) name,
      HAND_LAYERS(HAND_NAME)
#undef HAND_NAME
  };
  assert_int_equal(amct_graph_from_text(&hand->graph, amct_slice_of(text), NULL),
                   AMCT_OK);
  for (size_t i = 0; i < HAND_LAYER_COUNT; i++) {
    hand->at[i] = rows[i];
    hand->at[i].node = amct_graph_find(hand->graph, names[i]);
    assert_non_null(hand->at[i].node);
  }
  hand->layers = (amct_layers){hand->at, HAND_LAYER_COUNT};
}

static inline void hand_layers_free(hand_layers *hand) {
  amct_graph_free(hand->graph);
}

#endif
