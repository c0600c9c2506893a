/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch norm that is spelled out in small ops becomes one op.
 *
 *   before  inv = rsqrt(variance + epsilon) [* scale]
 *           data * inv + (offset - mean * inv)      or, without offset,
 *           data * inv + (-mean) * inv
 *   after   bn(data, scale, offset, mean, variance) in inference mode, under the name of
 *           the last addition; scale 1 and offset 0 where there is none
 *
 * The operands of sums and products may stand in either order, the parameters behind
 * Identity, Reshape, Squeeze and ExpandDims: [C] and [1,1,1,C] are NHWC, [1,C,1,1] is
 * NCHW. The small ops that only parameters go through stay while others read them.
 *
 * Declines: data that are not known to be of rank 4 with as many channels as the
 * parameters have values; parameters that are no constants or variables, as the batch
 * statistics of training; an epsilon that is no constant; anything else reads the product
 * of data and inv, or the model has it as output; not float32; values along axis 1 where
 * no op before, and none right behind or past Identity and the like, says that the data
 * are NCHW.
 * Source: what tf.nn.batch_normalization makes in TensorFlow 1.15 and 2.x.
 */
#include "rewrite/norm_folds.h"
#include "rewrite/small_norm.h"

enum { HOPS_MAX = 64 };

static bool recognises(amct_node *root) {
  amct_small_norm c;
  return amct_small_norm_read(root, &c);
}

/* ---- what must hold ---- */

/* True if an op before the tensor says NCHW; on each way the nearest that has a layout
 * decides. Looks at *left nodes at most. */
static bool is_nchw_before(const amct_node *node, const amct_shapes *shapes, int *left) {
  if (--*left < 0) return false;
  if (amct_attr_has(node, "data_format")) return amct_node_format(node) == AMCT_NCHW;
  for (uint32_t i = 0; i<node->data_count && * left> 0; i++)
    if (amct_shapes_of(shapes, node->inputs[i]).rank == 4 &&
        is_nchw_before(node->inputs[i].node, shapes, left))
      return true;
  return false;
}

/* True if a next op says NCHW, behind Identity and the like. */
static bool is_nchw_behind(const amct_node *node, int *left) {
  for (uint32_t i = 0; i < node->use_count && --*left >= 0; i++) {
    const amct_node *reader = node->uses[i].node;
    if (amct_attr_is(reader, "data_format", "NCHW", false) ||
        (amct_op_passes(reader) && is_nchw_behind(reader, left)))
      return true;
  }
  return false;
}

/* True if the ops around say NCHW: the next behind the chain, or those before its data.
 */
static bool is_nchw(const amct_small_norm *c) {
  int before = HOPS_MAX, behind = HOPS_MAX;
  return is_nchw_behind(c->root, &behind) ||
         is_nchw_before(c->data.node, c->shapes, &before);
}

/* Data of rank 4, whose channels the parameters count. */
static amct_status check_shapes(amct_pass *pass, amct_small_norm *c, amct_error *err) {
  const char *name = c->data.node->name;
  AMCT_TRY(amct_pass_shapes(pass, &c->shapes, err));
  const amct_shape data = amct_shapes_of(c->shapes, c->data);
  if (data.rank < 0) return amct_decline(pass, "the rank of \"%s\" is not known", name);
  if (data.rank != 4)
    return amct_decline(pass, "\"%s\" has rank %d, not 4", name, (int)data.rank);
  AMCT_TRY(amct_small_norm_axis(pass, c, err));
  if (pass->reason) return AMCT_OK;
  if (c->axis < 0)
    c->axis = data.dims[1] == 1 && (data.dims[3] != 1 || is_nchw(c)) ? 1 : 3;
  if (data.dims[c->axis] != c->channels)
    return amct_decline(
        pass, "axis %d of \"%s\" has not %lld channels, or their number is not known",
        (int)c->axis, name, (long long)c->channels);
  if (c->axis == 1 && !is_nchw(c))
    return amct_decline(pass,
                        "normalises axis 1, and nothing around it has data_format NCHW");
  return AMCT_OK;
}

/* ---- the new op ---- */

/* The parameter as it was before it was given a rank; no node: it always had one. */
static amct_edge find_flat(const amct_small_norm *c, amct_edge edge) {
  for (int hop = 0; edge.node && hop < HOPS_MAX; hop++) {
    if (amct_shapes_of(c->shapes, edge).rank == 1) return edge;
    edge = edge.node->data_count ? edge.node->inputs[0] : (amct_edge){NULL, 0};
  }
  return (amct_edge){NULL, 0};
}

static amct_status put_parameter(amct_pass *pass, amct_spec *spec,
                                 const amct_small_norm *c, int i, amct_error *err) {
  amct_made made = {.from = c->parameter[i],
                    .fill = i == AMCT_NORM_SCALE ? 1.0f : 0.0f,
                    .channels = c->channels};
  const amct_edge flat = find_flat(c, c->parameter[i]);
  if (flat.node) {
    amct_spec_input(spec, amct_edge_text(flat));
    return AMCT_OK;
  }
  made.name =
      amct_arena_format(pass->arena, "%s/%s", c->root->name, amct_small_norm_name(i));
  if (made.name) made.name = amct_edits_free_name(pass->edits, made.name);
  if (!made.name) return amct_fail_memory(err);
  amct_spec_type(amct_edits_add(pass->edits, made.name, "Const", c->root, true), "dtype",
                 AMCT_DTYPE_FLOAT);
  amct_spec_input(spec, made.name);
  return amct_plan_note_made(pass->plan, &made, err);
}

static amct_status commit(amct_pass *pass, const amct_small_norm *c, amct_error *err) {
  amct_spec *spec = amct_edits_replace(pass->edits, c->root, "FusedBatchNormV3");
  amct_spec_input(spec, amct_edge_text(c->data));
  for (int i = 0; i < AMCT_NORM_PARAMETERS; i++)
    AMCT_TRY(put_parameter(pass, spec, c, i, err));
  amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
  amct_spec_type(spec, "U", AMCT_DTYPE_FLOAT);
  amct_spec_float(spec, "epsilon", c->epsilon_value);
  amct_spec_text(spec, "data_format", c->axis == 1 ? "NCHW" : "NHWC");
  amct_spec_bool(spec, "is_training", false);
  amct_norm_absorb(pass, spec, c->product);
  amct_norm_absorb_passed(pass, spec, &c->passed);
  return AMCT_OK;
}

static amct_status rewrite(amct_pass *pass, const amct_match *m, amct_error *err) {
  amct_small_norm c;
  if (!amct_small_norm_read(m->node[0], &c))
    return AMCT_OK; /* recognises() has seen it */
  AMCT_TRY(amct_small_norm_check(pass, &c, err));
  if (!pass->reason) AMCT_TRY(check_shapes(pass, &c, err));
  return pass->reason ? AMCT_OK : commit(pass, &c, err);
}

// clang-format off
const amct_rule amct_rule_fuse_small_bn = {
  .name       = "fuse_small_bn",
  .before     = "add(mul(data, inv), sub(offset, mul(mean, inv))), inv = mul(rsqrt(add(variance, epsilon)), scale)",
  .after      = "bn(data, scale, offset, mean, variance)",
  .rewrite    = rewrite,
  .recognises = recognises,
  .row = {
    {"batch norm", "Add|AddV2"},
  },
};
// clang-format on
