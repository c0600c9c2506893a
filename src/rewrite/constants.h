/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic on constants alone, as training graphs leave it in front of weights. */
#ifndef AMCT_CONSTANTS_H
#define AMCT_CONSTANTS_H

#include "graph/edits.h"
#include "numeric/nudged.h"

/** What a fake quantization says of itself: its grids, one, or one for each channel of
 * the last axis. */
typedef struct amct_fake_grids {
  const amct_nudged *at; /* in the arena that was given */
  size_t count;
  int64_t bits;
} amct_fake_grids;

/** True for FakeQuantWithMinMaxVars, FakeQuantWithMinMaxVarsPerChannel and
 * FakeQuantWithMinMaxArgs. */
bool amct_is_fake_quant(const amct_node *node);

/** Reads the range of such a node. `*reason`: why it cannot be, for people, in `arena`;
 * NULL: it can. */
AMCT_NODISCARD amct_status amct_fake_read(amct_fake_grids *grids, const char **reason,
                                          amct_node *node, amct_arena *arena,
                                          amct_error *err);

/**
 * Nodes that compute float32 from constants alone (sums, products, quotients, roots,
 * Reshape, fake quantization) and are read by something else become Const of the same
 * name, with the values that TensorFlow computes, in float32 step by step. What was
 * behind them is left to a sweep. Expressions of over 64 nodes, and constants that wait
 * for something, stay.
 */
AMCT_NODISCARD amct_status amct_constants_fold(amct_graph *graph, amct_error *err);

#endif
