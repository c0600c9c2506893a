/* SPDX-License-Identifier: Apache-2.0 */
/* What each TensorFlow op means to quantization: the rows of ops.def. */
#ifndef AMCT_OPS_H
#define AMCT_OPS_H

#include "graph/attrs.h"

enum { AMCT_NO_INPUT = -1 };

typedef enum amct_grid { AMCT_PER_TENSOR, AMCT_PER_CHANNEL } amct_grid;

/** How an op gives a parameter its value. */
typedef enum amct_param_role {
  AMCT_PARAM_NONE,
  AMCT_PARAM_CONST,    /* Const */
  AMCT_PARAM_VARIABLE, /* VariableV2, Variable, VarHandleOp */
  AMCT_PARAM_PASS,     /* Identity, ReadVariableOp, Enter(is_constant)...: input 0 seen through */
} amct_param_role;

typedef struct amct_op {
  const char *op;
  int data;                  /* data input, AMCT_NO_INPUT: not a layer */
  int weight;                /* weight input or AMCT_NO_INPUT */
  uint32_t channel_axes;     /* bit i: axis i of the weight is an output-channel axis */
  amct_grid grid;            /* default granularity */
  amct_param_role param;
  const struct amct_shape_rule *shape;
} amct_op;

/** Row of an op; NULL for ops that the table does not have. */
const amct_op *amct_op_find(const char *op);
/** All rows of layers, for docs, fuzz dictionaries and messages. */
size_t amct_op_layer_count(void);
const amct_op *amct_op_layer_at(size_t i);

/**
 * Follows an input back through Identity, ReadVariableOp and the like. Returns the Const or variable node at the
 * end, NULL if the value is not a parameter. `*is_const` says which.
 */
amct_node *amct_param_source(amct_edge edge, bool *is_const);

#endif
