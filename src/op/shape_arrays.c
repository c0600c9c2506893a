/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes of ops that move elements about. */
#include "op/shape_rules.h"

/* The shape that an input with a static number of values asks for: rank only, where they
 * are no constants. */
static amct_shape wanted_shape(amct_shape_call *call, int64_t i) {
  amct_ints values;
  amct_shape shape;
  if (!amct_shape_values(call, i, &values)) {
    amct_shape of = amct_shape_input(call, i);
    return of.rank == 1 ? amct_shape_of_rank(of.dims[0]) : amct_shape_unknown();
  }
  shape = amct_shape_of_rank((int64_t)values.count);
  for (int32_t d = 0; d < shape.rank; d++)
    shape.dims[d] = values.at[d] < 0 ? -1 : values.at[d];
  return shape;
}

AMCT_SHAPE_RULE(fill) {
  call->first = wanted_shape(call, 0);
}

AMCT_SHAPE_RULE(reshape) {
  amct_shape in = amct_shape_input(call, 0), out = wanted_shape(call, 1);
  int64_t all = amct_shape_count(&in), known = 1;
  int32_t hole = -1, holes = 0;
  amct_ints values;

  call->first = out;
  if (all < 0 || !amct_shape_values(call, 1, &values)) return;
  for (int32_t i = 0; i < out.rank; i++) {
    if (out.dims[i] < 0) {
      hole = i;
      holes++;
    } else {
      known = amct_dim_mul(known, out.dims[i]);
    }
  }
  if (holes == 1 && known > 0 && all % known == 0) call->first.dims[hole] = all / known;
}

AMCT_SHAPE_RULE(shape_of) {
  amct_shape in = amct_shape_input(call, 0);
  call->first = amct_shape_of_rank(1);
  call->first.dims[0] = in.rank;
}

AMCT_SHAPE_RULE(pad) {
  amct_shape in = amct_shape_input(call, 0);
  amct_ints pads;

  if (in.rank >= 0) call->first = amct_shape_of_rank(in.rank);
  if (!amct_shape_values(call, 1, &pads) || pads.count % 2) return;
  if (in.rank < 0) call->first = amct_shape_of_rank((int64_t)pads.count / 2);
  if (in.rank != (int64_t)pads.count / 2) return;
  for (int32_t i = 0; i < in.rank; i++)
    call->first.dims[i] =
        amct_dim_add(in.dims[i], amct_dim_add(pads.at[2 * i], pads.at[2 * i + 1]));
}

/* BatchToSpaceND and SpaceToBatchND change axis 0 and as many behind it as there are
 * blocks; those of a block of 1 without crops or pads stay. */
AMCT_SHAPE_RULE(space_batch) {
  const amct_shape in = amct_shape_input(call, 0), count = amct_shape_input(call, 1);
  amct_ints blocks, crops;

  if (in.rank < 0) return;
  call->first = amct_shape_of_rank(in.rank);
  if (count.rank != 1 || count.dims[0] < 0 || count.dims[0] >= in.rank) return;
  const bool known =
      amct_shape_values(call, 1, &blocks) && amct_shape_values(call, 2, &crops) &&
      crops.count == 2 * blocks.count && (int64_t)blocks.count == count.dims[0];
  for (int32_t i = 1; i < in.rank; i++) {
    const size_t at = (size_t)i - 1;
    if (i > count.dims[0] || (known && blocks.at[at] == 1 && crops.at[2 * at] == 0 &&
                              crops.at[2 * at + 1] == 0))
      call->first.dims[i] = in.dims[i];
  }
}

AMCT_SHAPE_RULE(concat) {
  bool axis_last = strcmp(call->node->op, "ConcatV2") == 0;
  int64_t from = axis_last ? 0 : 1, to = (int64_t)call->node->data_count - axis_last;
  amct_shape out = amct_shape_unknown();
  int32_t axis = -1;
  int64_t sum = 0;

  for (int64_t i = from; i < to; i++) { /* all axes but one agree */
    amct_shape in = amct_shape_input(call, i);
    out = amct_shape_fill(&out, &in);
  }
  if (out.rank < 1) return;
  call->first = out;
  if (!amct_shape_axis(call, axis_last ? -1 : 0, out.rank, &axis)) {
    call->first = amct_shape_of_rank(out.rank);
    return;
  }
  for (int64_t i = from; i < to; i++) {
    amct_shape in = amct_shape_input(call, i);
    sum = amct_dim_add(sum, in.rank == out.rank ? in.dims[axis] : -1);
  }
  call->first.dims[axis] = sum;
}

AMCT_SHAPE_RULE(pack) {
  amct_shape in = amct_shape_unknown();
  int64_t at = 0;
  int32_t axis;

  for (uint32_t i = 0; i < call->node->data_count; i++) {
    amct_shape one = amct_shape_input(call, i);
    in = amct_shape_fill(&in, &one);
  }
  (void)amct_attr_int(call->node, "axis", &at);
  if (in.rank < 0 || !amct_axis_wrap(at, in.rank + 1, &axis)) return;
  call->first = amct_shape_of_rank(in.rank + 1);
  for (int32_t i = 0; i < call->first.rank; i++)
    call->first.dims[i] = i == axis  ? (int64_t)call->node->data_count
                          : i < axis ? in.dims[i]
                                     : in.dims[i - 1];
}

static amct_shape without_axis(const amct_shape *in, int32_t axis) {
  amct_shape out = {.rank = 0};
  for (int32_t i = 0; i < in->rank; i++)
    if (i != axis) out.dims[out.rank++] = in->dims[i];
  return out;
}

AMCT_SHAPE_RULE(unpack) {
  amct_shape in = amct_shape_input(call, 0);
  int64_t at = 0;
  int32_t axis;
  (void)amct_attr_int(call->node, "axis", &at);
  if (in.rank < 1 || !amct_axis_wrap(at, in.rank, &axis)) return;
  call->first = call->rest = without_axis(&in, axis);
}

AMCT_SHAPE_RULE(expand_dims) {
  amct_shape in = amct_shape_input(call, 0);
  int32_t axis;

  if (in.rank < 0) return;
  call->first = amct_shape_of_rank(in.rank + 1);
  if (call->first.rank < 0 || !amct_shape_axis(call, 1, in.rank + 1, &axis)) return;
  for (int32_t i = 0; i <= in.rank; i++)
    call->first.dims[i] = i == axis ? 1 : in.dims[i < axis ? i : i - 1];
}

AMCT_SHAPE_RULE(squeeze) {
  amct_shape in = amct_shape_input(call, 0);
  bool gone[AMCT_RANK_MAX] = {false};
  amct_ints axes;
  int32_t axis;

  if (in.rank < 0) return;
  if (!amct_attr_ints(call->node, "squeeze_dims", &axes)) axes.count = 0;
  for (size_t i = 0; i < axes.count; i++) {
    if (!amct_axis_wrap(axes.at[i], in.rank, &axis)) return;
    gone[axis] = true;
  }
  for (int32_t i = 0; axes.count == 0 && i < in.rank; i++) {
    if (in.dims[i] < 0) return; /* may be 1 or not: even the rank is open */
    gone[i] = in.dims[i] == 1;
  }
  call->first.rank = 0;
  for (int32_t i = 0; i < in.rank; i++)
    if (!gone[i]) call->first.dims[call->first.rank++] = in.dims[i];
}

AMCT_SHAPE_RULE(transpose) {
  amct_shape in = amct_shape_input(call, 0);
  amct_ints perm;
  int32_t axis;

  if (in.rank >= 0) call->first = amct_shape_of_rank(in.rank);
  if (!amct_shape_values(call, 1, &perm) || perm.count > AMCT_RANK_MAX) return;
  if (in.rank < 0) call->first = amct_shape_of_rank((int64_t)perm.count);
  if (in.rank != (int64_t)perm.count) return;
  for (int32_t i = 0; i < in.rank; i++) {
    if (!amct_axis_wrap(perm.at[i], in.rank, &axis)) return;
    call->first.dims[i] = in.dims[axis];
  }
}

AMCT_SHAPE_RULE(split) {
  amct_shape in = amct_shape_input(call, 1);
  int64_t parts = 0;
  int32_t axis;

  if (in.rank < 1) return;
  call->first = call->rest = amct_shape_of_rank(in.rank);
  (void)amct_attr_int(call->node, "num_split", &parts);
  if (!amct_shape_axis(call, 0, in.rank, &axis)) return;
  if (parts < 1 || in.dims[axis] % parts) in.dims[axis] = -1;
  if (in.dims[axis] >= 0) in.dims[axis] /= parts;
  call->first = call->rest = in;
}

AMCT_SHAPE_RULE(split_v) {
  amct_shape in = amct_shape_input(call, 0);
  amct_ints sizes;
  int32_t axis;

  if (in.rank < 1) return;
  call->first = call->rest = amct_shape_of_rank(in.rank);
  if (!amct_shape_axis(call, 2, in.rank, &axis)) return;
  in.dims[axis] = -1;
  call->first = call->rest = in;
  if (!amct_shape_values(call, 1, &sizes) || sizes.count < 1) return;
  if (sizes.at[0] >= 0) call->first.dims[axis] = sizes.at[0];
  call->rest.dims[axis] = sizes.count > 1 && sizes.at[1] >= 0 ? sizes.at[1] : -1;
  for (size_t i = 2; i < sizes.count; i++) /* one shape stands for outputs 1, 2, ... */
    if (sizes.at[i] != sizes.at[1]) call->rest.dims[axis] = -1;
}

AMCT_SHAPE_RULE(slice) {
  amct_shape in = amct_shape_input(call, 0);
  amct_ints begin, size;

  if (in.rank < 0) return;
  call->first = amct_shape_of_rank(in.rank);
  if (!amct_shape_values(call, 2, &size) || size.count != (size_t)in.rank) return;
  if (!amct_shape_values(call, 1, &begin) || begin.count != size.count) begin.count = 0;
  for (int32_t i = 0; i < in.rank; i++) {
    if (size.at[i] >= 0)
      call->first.dims[i] = size.at[i];
    else if (begin.count && in.dims[i] >= 0 && begin.at[i] >= 0 &&
             begin.at[i] <= in.dims[i])
      call->first.dims[i] = in.dims[i] - begin.at[i];
  }
}

typedef struct stride_masks {
  int64_t begin, end, ellipsis, new_axis, shrink;
} stride_masks;

static int64_t clamp_index(int64_t i, int64_t dim, int64_t low, int64_t high) {
  if (i < 0)
    i = i < -dim ? low : i + dim; /* i + dim does not wrap: both bounded by dim */
  return i < low ? low : i > high ? high : i;
}

/* Elements that begin:end:step picks of `dim`. */
static int64_t stride_count(const int64_t range[3], int64_t dim, bool open_begin,
                            bool open_end) {
  int64_t step = range[2], low, high, begin, end;

  if (step == 0 || step == INT64_MIN || dim < 0) return -1;
  low = step > 0 ? 0 : -1;
  high = step > 0 ? dim : dim - 1;
  begin = open_begin ? (step > 0 ? low : high) : clamp_index(range[0], dim, low, high);
  end = open_end ? (step > 0 ? high : low) : clamp_index(range[1], dim, low, high);
  if (step < 0) {
    int64_t t = begin;
    begin = end;
    end = t;
    step = -step;
  }
  return end <= begin ? 0 : (end - begin - 1) / step + 1;
}

static bool bit(int64_t mask, int32_t i) {
  return (mask >> i & 1) != 0;
}

AMCT_SHAPE_RULE(strided_slice) {
  amct_shape in = amct_shape_input(call, 0), out = {.rank = 0};
  amct_ints begin, end, step;
  stride_masks m = {0};

  (void)amct_attr_int(call->node, "begin_mask", &m.begin);
  (void)amct_attr_int(call->node, "end_mask", &m.end);
  (void)amct_attr_int(call->node, "ellipsis_mask", &m.ellipsis);
  (void)amct_attr_int(call->node, "new_axis_mask", &m.new_axis);
  (void)amct_attr_int(call->node, "shrink_axis_mask", &m.shrink);
  if (in.rank < 0 || m.ellipsis || m.new_axis) return;
  if (!amct_shape_values(call, 1, &begin) || !amct_shape_values(call, 2, &end) ||
      !amct_shape_values(call, 3, &step))
    return;
  if (begin.count != end.count || begin.count != step.count ||
      begin.count > (size_t)in.rank)
    return;
  for (int32_t i = 0; i < in.rank; i++) {
    if ((size_t)i >= begin.count) {
      out.dims[out.rank++] = in.dims[i];
    } else if (!bit(m.shrink, i)) {
      int64_t range[3] = {begin.at[i], end.at[i], step.at[i]};
      out.dims[out.rank++] =
          stride_count(range, in.dims[i], bit(m.begin, i), bit(m.end, i));
    }
  }
  call->first = out;
}
