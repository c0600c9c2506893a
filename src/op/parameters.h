/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters behind ops that give them another shape: Reshape, Squeeze, ExpandDims,
 * Transpose; and constants of few bits behind Dequantize. */
#ifndef AMCT_PARAMETERS_H
#define AMCT_PARAMETERS_H

#include "op/ops.h"

/** As amct_param_source, seen through Reshape, Squeeze and ExpandDims too, which keep the
 * values and their order: for parameters with one value a channel. */
amct_node *amct_vector_source(amct_edge edge, bool *is_const);

/** As amct_param_source, seen through all five where constants say what they do: for
 * weights (the filter of a 1-D convolution is expanded). */
amct_node *amct_weight_source(amct_edge edge, bool *is_const);
/** Element type at such an edge; AMCT_DTYPE_INVALID where it does not say. */
amct_dtype amct_weight_dtype(amct_edge edge);
/** Static shape at such an edge; rank -1 unknown. AMCT_BAD_FORMAT: malformed constants.
 */
AMCT_NODISCARD amct_status amct_weight_shape(amct_edge edge, amct_shape *shape,
                                             amct_error *err);
/** The values at an edge with a Const behind it, as float32, in `scratch` or the graph.
 * AMCT_UNSUPPORTED: it has none; as amct_tensor_floats. */
AMCT_NODISCARD amct_status amct_weight_floats(amct_edge edge, amct_arena *scratch,
                                              const float **values, amct_shape *shape,
                                              amct_error *err);

#endif
