/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch norm in inference mode goes into the layer before it, past an op that only
 * moves values and leaves each in its channel.
 *
 *   before  bn(batch_to_space(conv(data, weight))), as TensorFlow 1 writes dilated
 *           convolutions; bn(reshape(matmul(data, weight))), to rank 4; or
 *           bn(transpose(conv(data, weight))), to the other layout. Behind the layer, and
 *           behind the op that moves, may stand a bias as in fold_conv_bn
 *   after   batch_to_space(bias_add(conv(data, weight'), bias')), or reshape(...), or
 *           transpose(...), under the batch norm's name; the bias addition is called
 *           <layer>/bias_add, and what read the shape of the layer reads its shape
 *
 * Formulas as in fold_conv_bn.
 *
 * Declines: as fold_conv_bn; anything else reads the op that moves, or the model has it
 * as output; a BatchToSpaceND whose blocks or crops reach the channels, or may; a Reshape
 * after which the last axis (NCHW: axis 1, alone) is not known to be the channels; a
 * Transpose that does not bring the channels where the batch norm has them.
 */
#include "rewrite/norm_folds.h"

static bool moves(amct_edge edge) {
  edge = amct_see_through(edge);
  return edge.port == 0 &&
         amct_ops_have("BatchToSpaceND|Reshape|Transpose", edge.node->op);
}

static bool recognises(amct_node *root) {
  if (root->data_count == 0) return false;
  const amct_node *before = amct_see_through(root->inputs[0]).node;
  if (moves(root->inputs[0])) return true;
  if (!amct_ops_have("BiasAdd|Add|AddV2", before->op)) return false;
  for (uint32_t i = 0; i < before->data_count; i++)
    if (moves(before->inputs[i])) return true;
  return false;
}

/* Integers of a constant input into `out`; false where it is not one of `count`. */
static amct_status read_ints(const amct_node *node, uint32_t input, int64_t *out,
                             size_t count, bool *known, amct_error *err) {
  bool constant = false;
  amct_arena scratch = {0};
  amct_tensor tensor;
  const int64_t *values = NULL;
  const amct_node *source = amct_param_source(node->inputs[input], &constant);
  *known = false;
  if (!source || !constant) return AMCT_OK;
  AMCT_TRY(amct_const_tensor(source, &tensor, err));
  if (tensor.count != count) return AMCT_OK;
  const amct_status status = amct_tensor_ints(&tensor, &scratch, &values, source, err);
  if (status == AMCT_OK) memcpy(out, values, count * sizeof *out);
  amct_arena_free(&scratch);
  *known = status == AMCT_OK;
  return status;
}

/* Axes 1, 2, ... as many as there are blocks. */
static amct_status check_blocks(amct_pass *pass, const amct_match *m,
                                const amct_shapes *shapes, amct_error *err) {
  const amct_node *move = m->node[ROW_MOVE];
  const int64_t axis = amct_node_format(m->node[ROW_CONV]) == AMCT_NCHW ? 1 : 3;
  const amct_shape blocks = amct_shapes_of(shapes, move->inputs[1]);
  int64_t block[3] = {0}, crop[6] = {0};
  bool known = blocks.rank == 1 && blocks.dims[0] >= 0 && blocks.dims[0] <= 3;
  const size_t count = known ? (size_t)blocks.dims[0] : 0;
  if (known && blocks.dims[0] < axis) return AMCT_OK;
  if (known) AMCT_TRY(read_ints(move, 1, block, count, &known, err));
  if (known) AMCT_TRY(read_ints(move, 2, crop, 2 * count, &known, err));
  if (known && block[axis - 1] == 1 && !crop[2 * axis - 2] && !crop[2 * axis - 1])
    return AMCT_OK;
  return amct_decline(pass, "\"%s\" is not known to leave the channels alone",
                      move->name);
}

static amct_status check_reshape(amct_pass *pass, const amct_norm_fold *fold,
                                 const amct_shapes *shapes) {
  const amct_match *m = fold->match;
  amct_node *move = m->node[ROW_MOVE];
  const amct_shape out = amct_shapes_of(shapes, (amct_edge){move, 0});
  const bool nchw = amct_node_format(m->node[ROW_NORM]) == AMCT_NCHW;
  const bool last = amct_node_format(m->node[ROW_CONV]) == AMCT_NHWC;
  const int64_t *dims = out.dims;
  if (last && out.rank == 4 && dims[nchw ? 1 : 3] == fold->channels &&
      (!nchw || (dims[2] == 1 && dims[3] == 1)))
    return AMCT_OK;
  return amct_decline(pass, "\"%s\" is not known to keep the %lld channels of \"%s\"",
                      move->name, (long long)fold->channels, m->node[ROW_CONV]->name);
}

static amct_status check_transpose(amct_pass *pass, const amct_match *m,
                                   amct_error *err) {
  const amct_node *move = m->node[ROW_MOVE];
  const int64_t from = amct_node_format(m->node[ROW_CONV]) == AMCT_NCHW ? 1 : 3;
  const int to = amct_node_format(m->node[ROW_NORM]) == AMCT_NCHW ? 1 : 3;
  int64_t axes[4] = {0};
  bool known = move->data_count == 2;
  if (known) AMCT_TRY(read_ints(move, 1, axes, 4, &known, err));
  if (known && axes[to] == from && !amct_node_is(m->node[ROW_CONV], "MatMul"))
    return AMCT_OK;
  return amct_decline(pass,
                      "\"%s\" is not known to bring the channels of \"%s\" to axis %d",
                      move->name, m->node[ROW_CONV]->name, to);
}

static amct_status check_move(amct_pass *pass, const amct_norm_fold *fold,
                              amct_error *err) {
  const amct_node *move = fold->match->node[ROW_MOVE];
  const amct_shapes *shapes = NULL;
  AMCT_TRY(amct_pass_shapes(pass, &shapes, err));
  if (amct_node_is(move, "Reshape")) return check_reshape(pass, fold, shapes);
  if (amct_node_is(move, "Transpose")) return check_transpose(pass, fold->match, err);
  if (move->data_count != 3)
    return amct_decline(pass, "\"%s\" has %u inputs", move->name, move->data_count);
  return check_blocks(pass, fold->match, shapes, err);
}

/* The op that moves, under the batch norm's name. */
static amct_status commit(amct_pass *pass, const amct_norm_fold *fold, amct_error *err) {
  const amct_match *m = fold->match;
  amct_node *move = m->node[ROW_MOVE], *outer = m->node[ROW_OUTER];
  const char *tensor = NULL;
  AMCT_TRY(amct_norm_commit_new(pass, fold, &tensor, err));
  amct_spec *spec = amct_edits_replace(pass->edits, m->node[ROW_NORM], move->op);
  amct_spec_input(spec, tensor);
  for (uint32_t i = 1; i < move->data_count; i++)
    amct_spec_input(spec, amct_edge_text(move->inputs[i]));
  amct_spec_copy_fields(spec, move);
  amct_norm_absorb(pass, spec, move);
  if (outer) amct_norm_absorb(pass, spec, outer);
  amct_norm_absorb_passed(pass, spec, &m->passed);
  return AMCT_OK;
}

static amct_status rewrite(amct_pass *pass, const amct_match *m, amct_error *err) {
  amct_norm_fold fold = {.match = m};
  AMCT_TRY(amct_norm_check_all(pass, &fold, err));
  if (!pass->reason) AMCT_TRY(check_move(pass, &fold, err));
  if (!pass->reason) AMCT_TRY(amct_norm_try(pass, &fold, err));
  return pass->reason ? AMCT_OK : commit(pass, &fold, err);
}

// clang-format off
const amct_rule amct_rule_fold_moved_bn = {
  .name       = "fold_moved_bn",
  .before     = "bn([bias_add](batch_to_space([bias_add](conv(data, weight), bias))), scale, offset, mean, variance)",
  .after      = "batch_to_space(bias_add(conv(data, weight'), bias'))",
  .rewrite    = rewrite,
  .recognises = recognises,
  .row = {
    [ROW_NORM]       = {"batch norm", AMCT_NORM_OPS, NULL,
                        {ROW_OUTER, ROW_SCALE, ROW_OFFSET, ROW_MEAN, ROW_VARIANCE}},
    [ROW_OUTER]      = {"bias", "BiasAdd", "Add|AddV2", {ROW_MOVE, ROW_OUTER_BIAS},
                        .sole_use = true, .optional = true},
    [ROW_OUTER_BIAS] = {"bias", .vector = true},
    [ROW_MOVE]       = {"BatchToSpaceND, Reshape or Transpose", "BatchToSpaceND|Reshape|Transpose", NULL, {ROW_SUM},
                        .sole_use = true},
    AMCT_LAYER_ROWS("layer", AMCT_CONVOLUTIONS "|MatMul", true),
    AMCT_NORM_ROWS,
  },
};
// clang-format on
