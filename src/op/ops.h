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
  AMCT_PARAM_PASS,     /* Identity, ReadVariableOp, Enter(is_constant)...: input 0 seen
                          through */
} amct_param_role;

typedef struct amct_op {
  const char *op;
  int data;              /* data input, AMCT_NO_INPUT: not a layer */
  int weight;            /* weight input or AMCT_NO_INPUT */
  int32_t weight_rank;   /* 0 without a weight */
  uint32_t channel_axes; /* bit i: axis i of the weight is an output-channel axis */
  amct_grid grid;        /* default granularity */
  bool may_vary;         /* a weight input that is no parameter is quantized as data */
  bool is_tensor;        /* no layer, but its inputs may be quantized one by one */
  amct_param_role param;
  const struct amct_shape_rule *shape;
} amct_op;

/** Row of an op; NULL for ops that the table does not have. */
const amct_op *amct_op_find(const char *op);
/** All rows of layers, for docs, fuzz dictionaries and messages. */
size_t amct_op_layer_count(void);
const amct_op *amct_op_layer_at(size_t i);

/**
 * Follows an input back through Identity, ReadVariableOp, Switch and the like. Returns
 * the Const or variable node at the end, NULL if the value is not a parameter.
 * `*is_const` says which.
 */
amct_node *amct_param_source(amct_edge edge, bool *is_const);

/** True if output 0 is input 0, whatever runs: Identity, StopGradient, CheckNumerics and
 * the like. */
bool amct_op_passes(const amct_node *node);

/**
 * Static shape of a parameter node (Const or variable); rank -1 where nothing is known (a
 * Const whose value is pending). AMCT_BAD_FORMAT: the value of the Const is malformed.
 */
AMCT_NODISCARD amct_status amct_param_shape(const amct_node *source, amct_shape *shape,
                                            amct_error *err);
/** Element type of a parameter node; AMCT_DTYPE_INVALID where it does not say. */
amct_dtype amct_param_dtype(const amct_node *source);

/** Layout of an activation, from the attribute data_format: channels last (NHWC, NDHWC)
 * or behind the batch (NCHW, NCDHW). */
typedef enum amct_format { AMCT_NHWC, AMCT_NCHW, AMCT_FORMAT_OTHER } amct_format;
amct_format amct_node_format(const amct_node *node); /* NHWC where absent */

/** A weight's shape seen as output channels: their number, and the axes before and behind
 * them. -1: unknown. */
typedef struct amct_channels {
  int64_t outer, channels, inner;
} amct_channels;
amct_channels amct_op_channels(const amct_op *op, const amct_shape *weight);

/** Product and sum of dimensions; -1 where one is unknown or the result leaves int64. */
int64_t amct_dim_mul(int64_t a, int64_t b);
int64_t amct_dim_add(int64_t a, int64_t b);
/** Elements of a tensor of that shape; -1 where it is not known or the number leaves
 * int64. */
int64_t amct_shape_count(const amct_shape *shape);
/** True if the rank and all dimensions are known. */
bool amct_shape_is_whole(const amct_shape *shape);

#endif
