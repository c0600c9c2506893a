/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A deployed graph in ops that every TensorFlow has. The arithmetic stays that of
 * op-contract.md, operation by operation, so results are the same bits on CPU:
 *
 *   AscendQuant        multiply; round half away from zero; Add; Minimum, Maximum; Sub
 *   AscendWeightQuant  Cast [Sub]
 *   AscendDequant      [multiply by the area] [shift by N] multiply [RealDiv]
 *   AscendAntiQuant    multiply
 *
 * A product is taken in double, where it is exact, and rounded to float32: TensorFlow's
 * graph optimizer merges products of float32, and moves them into the weights of
 * convolutions. The last node has the name of the op that it stands for, those before it
 * are called `<name>/<part>`. Subnormal numbers, which TensorFlow's kernels take for
 * zero, are not kept.
 */
#ifndef AMCT_STOCK_H
#define AMCT_STOCK_H

#include "graph/edits.h"

/**
 * Replaces the four deploy ops. `*count` of them went.
 *
 * @return AMCT_OK; AMCT_BAD_GRAPH (an input or attribute missing, or with a value that
 * the ops do not take); AMCT_UNSUPPORTED (another type than float, factors that are not
 * constant). The graph is as it was then.
 */
AMCT_NODISCARD amct_status amct_stock(amct_graph *graph, size_t *count, amct_error *err);

#endif
