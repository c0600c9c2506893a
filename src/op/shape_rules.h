/* SPDX-License-Identifier: Apache-2.0 */
/* Private to src/op: the shape column of ops.def. A rule sets what it knows; everything
 * starts unknown. */
#ifndef AMCT_SHAPE_RULES_H
#define AMCT_SHAPE_RULES_H

#include "op/shapes.h"

enum { AMCT_SHAPE_VALUES_MAX = 2 * AMCT_RANK_MAX }; /* paddings of all axes */

typedef struct amct_shape_call {
  const amct_node *node;
  const amct_shapes *shapes;
  const amct_shape *given; /* shape of input 0, where nothing else is asked; or NULL */
  amct_shape first;        /* output 0; rank -1 on entry */
  amct_shape rest;         /* the other outputs */
  amct_status status;      /* memory ran out */
  amct_error *err;
} amct_shape_call;

typedef struct amct_shape_rule {
  void (*infer)(amct_shape_call *call);
} amct_shape_rule;

/** Shape of data input i; negative i counts from the end. Unknown where there is none. */
amct_shape amct_shape_input(const amct_shape_call *call, int64_t i);
/** Integers of a constant input (seen through Identity); false where it is not one. */
bool amct_shape_values(amct_shape_call *call, int64_t i, amct_ints *values);
/** One integer, as amct_shape_values; wrapped into 0..limit-1 where negative, false
 * outside. */
bool amct_shape_axis(amct_shape_call *call, int64_t i, int32_t limit, int32_t *axis);
bool amct_axis_wrap(int64_t value, int32_t limit, int32_t *axis);

amct_shape amct_shape_unknown(void);
/** Rank known, dimensions not; rank outside 0..AMCT_RANK_MAX gives unknown. */
amct_shape amct_shape_of_rank(int64_t rank);
/** What both say; unknown where they contradict each other. */
amct_shape amct_shape_join(const amct_shape *a, const amct_shape *b);
/** `a`, with unknowns filled from `b` where the ranks agree. */
amct_shape amct_shape_fill(const amct_shape *a, const amct_shape *b);

/* the rules, by the names in ops.def */
// clang-format off
#define AMCT_SHAPE_RULES(X)                                                       \
  X(conv) X(depthwise) X(conv_transpose) X(conv3d) X(batch_matmul) X(pool) X(resize) X(constant) X(variable) X(placeholder)   \
  X(same) X(broadcast) X(agree) X(merge) X(batch_norm) X(matmul) X(reduce)        \
  X(concat) X(expand_dims) X(fill) X(pack) X(pad) X(reshape) X(shape_of) X(slice) \
  X(split) X(split_v) X(squeeze) X(strided_slice) X(transpose) X(unpack) X(space_batch)
// clang-format on
#define AMCT_SHAPE_EXTERN(name) extern const amct_shape_rule amct_shape_rule_##name;
AMCT_SHAPE_RULES(AMCT_SHAPE_EXTERN)
#undef AMCT_SHAPE_EXTERN

/** Defines a rule and its function. */
#define AMCT_SHAPE_RULE(name)                                                            \
  static void infer_##name(amct_shape_call *call);                                       \
  const amct_shape_rule amct_shape_rule_##name = {infer_##name};                         \
  static void infer_##name(amct_shape_call *call)

#endif
