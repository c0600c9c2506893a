/* SPDX-License-Identifier: Apache-2.0 */
/* Static shapes, inferred from placeholders on; a column of ops.def says how. */
#ifndef AMCT_SHAPES_H
#define AMCT_SHAPES_H

#include "op/ops.h"

typedef struct amct_shapes amct_shapes;

/** Infers every output 0 (and more where an op has more). Linear in nodes; loops give
 * unknown. */
AMCT_NODISCARD amct_status amct_shapes_infer(amct_shapes **out, const amct_graph *graph,
                                             amct_error *err);
void amct_shapes_free(amct_shapes *shapes);
/** Rank -1 where nothing is known. */
amct_shape amct_shapes_of(const amct_shapes *shapes, amct_edge edge);

#endif
