/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes of sources, element-wise ops, products and reductions. */
#include "op/shape_rules.h"

AMCT_SHAPE_RULE(constant) {
  amct_error local = {0};
  /* a malformed value is reported where it is used */
  if (amct_param_shape(call->node, &call->first, &local) != AMCT_OK)
    call->first = amct_shape_unknown();
  if (local.status == AMCT_OUT_OF_MEMORY) call->status = amct_fail_memory(call->err);
}

/* A handle counts as the value behind it: ReadVariableOp passes the shape on. */
AMCT_SHAPE_RULE(variable) {
  if (!amct_attr_shape(call->node, "shape", &call->first)) call->first.rank = -1;
}

/* Old writers put [] for "unknown"; a true scalar is of no use here. */
AMCT_SHAPE_RULE(placeholder) {
  if (!amct_attr_shape(call->node, "shape", &call->first) || call->first.rank == 0)
    call->first.rank = -1;
}

AMCT_SHAPE_RULE(same) {
  call->first = call->rest = amct_shape_input(call, 0);
}

static int64_t broadcast_dim(int64_t a, int64_t b) {
  if (a == 1) return b;
  if (b == 1) return a;
  if (a < 0) return b;
  return b < 0 || a == b ? a : -1;
}

AMCT_SHAPE_RULE(broadcast) {
  amct_shape a = amct_shape_input(call, 0), b = amct_shape_input(call, 1);
  int32_t rank = a.rank > b.rank ? a.rank : b.rank;

  if (a.rank < 0 || b.rank < 0) return;
  call->first.rank = rank;
  for (int32_t i = 0; i < rank; i++) {
    int32_t ia = i - (rank - a.rank), ib = i - (rank - b.rank);
    call->first.dims[i] = broadcast_dim(ia < 0 ? 1 : a.dims[ia], ib < 0 ? 1 : b.dims[ib]);
  }
}

AMCT_SHAPE_RULE(agree) {
  for (uint32_t i = 0; i < call->node->data_count; i++) {
    amct_shape in = amct_shape_input(call, i);
    call->first = amct_shape_fill(&call->first, &in);
  }
}

AMCT_SHAPE_RULE(merge) {
  call->first = amct_shape_input(call, 0);
  for (uint32_t i = 1; i < call->node->data_count; i++) {
    amct_shape in = amct_shape_input(call, i);
    call->first = amct_shape_join(&call->first, &in);
  }
  call->rest = amct_shape_of_rank(0); /* value_index */
}

AMCT_SHAPE_RULE(batch_norm) {
  amct_shape in = amct_shape_input(call, 0), scale = amct_shape_input(call, 1);
  amct_format format = amct_node_format(call->node);

  call->first = in;
  call->rest = scale;
  if (format == AMCT_FORMAT_OTHER) return;
  if (in.rank != 4) call->first = amct_shape_of_rank(4);
  if (scale.rank == 1 && scale.dims[0] >= 0)
    call->first.dims[format == AMCT_NCHW ? 1 : 3] = scale.dims[0];
}

AMCT_SHAPE_RULE(matmul) {
  amct_shape a = amct_shape_input(call, 0), b = amct_shape_input(call, 1);
  bool turn_a = false, turn_b = false;

  (void)amct_attr_bool(call->node, "transpose_a", &turn_a);
  (void)amct_attr_bool(call->node, "transpose_b", &turn_b);
  call->first = amct_shape_of_rank(2);
  if (a.rank == 2) call->first.dims[0] = a.dims[turn_a ? 1 : 0];
  if (b.rank == 2) call->first.dims[1] = b.dims[turn_b ? 0 : 1];
}

/* The batch axes in front are broadcast. */
AMCT_SHAPE_RULE(batch_matmul) {
  amct_shape a = amct_shape_input(call, 0), b = amct_shape_input(call, 1);
  bool turn_a = false, turn_b = false;
  int32_t rank = a.rank > b.rank ? a.rank : b.rank;

  if (a.rank < 2 || b.rank < 2) return;
  (void)amct_attr_bool(call->node, "adj_x", &turn_a);
  (void)amct_attr_bool(call->node, "adj_y", &turn_b);
  call->first.rank = rank;
  for (int32_t i = 0; i < rank - 2; i++) {
    int32_t ia = i - (rank - a.rank), ib = i - (rank - b.rank);
    call->first.dims[i] = broadcast_dim(ia < 0 ? 1 : a.dims[ia], ib < 0 ? 1 : b.dims[ib]);
  }
  call->first.dims[rank - 2] = a.dims[a.rank - (turn_a ? 1 : 2)];
  call->first.dims[rank - 1] = b.dims[b.rank - (turn_b ? 2 : 1)];
}

AMCT_SHAPE_RULE(reduce) {
  amct_shape in = amct_shape_input(call, 0);
  bool keep = false, gone[AMCT_RANK_MAX] = {false};
  amct_ints axes;
  int32_t axis;

  if (in.rank < 0) return;
  (void)amct_attr_bool(call->node, "keep_dims", &keep);
  if (!amct_shape_values(call, 1, &axes)) {
    if (keep) call->first = amct_shape_of_rank(in.rank);
    return;
  }
  for (size_t i = 0; i < axes.count; i++) {
    if (!amct_axis_wrap(axes.at[i], in.rank, &axis)) return;
    gone[axis] = true;
  }
  call->first.rank = 0;
  for (int32_t i = 0; i < in.rank; i++)
    if (keep || !gone[i]) call->first.dims[call->first.rank++] = gone[i] ? 1 : in.dims[i];
}
