/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the rules that fold a batch norm into layers share. Their rows have these numbers;
 * rows of a layer (SUM, CONV, WEIGHT, BIAS) may be matched several times.
 */
#ifndef AMCT_NORM_FOLDS_H
#define AMCT_NORM_FOLDS_H

#include "rewrite/match.h"

enum {
  ROW_NORM,
  ROW_CONCAT,
  ROW_OUTER, /* a bias addition behind ROW_MOVE, or ROW_CONCAT */
  ROW_MOVE,  /* an op that moves values, each within its channel */
  ROW_SUM,   /* the bias addition behind the layer */
  ROW_CONV,  /* the layer */
  ROW_WEIGHT,
  ROW_BIAS,
  ROW_OUTER_BIAS,
  ROW_SCALE,
  ROW_OFFSET,
  ROW_MEAN,
  ROW_VARIANCE
};

#define AMCT_NORM_OPS "FusedBatchNorm|FusedBatchNormV2|FusedBatchNormV3"

/** True for a batch norm in training mode, which is TensorFlow's default. */
bool amct_norm_trains(const amct_node *node);
#define AMCT_CONVOLUTIONS "Conv2D|DepthwiseConv2dNative|Conv2DBackpropInput"

// clang-format off
/* Rows of one layer and its bias; `what` it is, for people, and of which ops. */
#define AMCT_LAYER_ROWS(what, layers, shapes)                                                      \
    [ROW_SUM]      = {"bias", "BiasAdd", "Add|AddV2", {ROW_CONV, ROW_BIAS},                        \
                      .sole_use = true, .shape_use = (shapes), .optional = true},                  \
    [ROW_CONV]     = {what, layers, NULL, {0, ROW_WEIGHT},                                         \
                      .sole_use = true, .shape_use = (shapes), .layer = true},                     \
    [ROW_WEIGHT]   = {"weight of the " what},                                                      \
    [ROW_BIAS]     = {"bias of the " what, .vector = true}
/* Rows of the parameters of a batch norm. */
#define AMCT_NORM_ROWS                                                                             \
    [ROW_SCALE]    = {"scale of the batch norm", .vector = true},                                  \
    [ROW_OFFSET]   = {"offset of the batch norm", .vector = true},                                 \
    [ROW_MEAN]     = {"mean of the batch norm", .vector = true},                                   \
    [ROW_VARIANCE] = {"variance of the batch norm", .vector = true}
// clang-format on

/** One layer into which a batch norm goes. */
typedef struct amct_norm_fold {
  const amct_match *match;
  int64_t channels;
  int64_t first, total;      /* its channels among the batch norm's; total 0: all */
  const amct_fold_ref *step; /* what goes in; NULL: the batch norm of the match */
  bool before;               /* which stands before the layer */
  amct_fold_ref *steps;      /* in the graph's arena */
  size_t count;
} amct_norm_fold;

/* Each of these sets pass->reason where it says no; a status is trouble. */

/** The layer, its bias and the root, by their attributes and readers; finds
 * `fold->channels`. */
AMCT_NODISCARD amct_status amct_norm_check(amct_pass *pass, amct_norm_fold *fold,
                                           amct_error *err);
/** The bias behind ROW_MOVE has a value for each of `fold->channels`; done by
 * amct_norm_check, but for a bias behind a concat, which is of all its layers. */
AMCT_NODISCARD amct_status amct_norm_check_outer(amct_pass *pass,
                                                 const amct_norm_fold *fold,
                                                 amct_error *err);
/** The batch norm's parameters have one value for each of `channels` of `owner`. */
AMCT_NODISCARD amct_status amct_norm_check_counts(amct_pass *pass, const amct_match *m,
                                                  int64_t channels,
                                                  const amct_node *owner,
                                                  amct_error *err);
/** Both of them, for a batch norm that goes into one layer alone. */
AMCT_NODISCARD amct_status amct_norm_check_all(amct_pass *pass, amct_norm_fold *fold,
                                               amct_error *err);
/** The operand, which `source` holds, has one value for each of the layer's channels,
 * along them, or a single one (`*single`). */
AMCT_NODISCARD amct_status amct_norm_check_operand(amct_pass *pass,
                                                   const amct_norm_fold *fold,
                                                   amct_edge edge,
                                                   const amct_node *source, bool *single,
                                                   amct_error *err);
/** Lists the steps, the layer's own with the batch norm behind them, and tries them if
 * all values are known. */
AMCT_NODISCARD amct_status amct_norm_try(amct_pass *pass, amct_norm_fold *fold,
                                         amct_error *err);
/** The batch norm of the match as a step, by the edges of the unfused graph. */
amct_fold_ref amct_norm_step(const amct_pass *pass, const amct_norm_fold *fold);
/** Makes `sum` the BiasAdd of the layer, with the folded bias in a new Const named after
 * `near`, and notes the fold. */
AMCT_NODISCARD amct_status amct_norm_commit(amct_pass *pass, const amct_norm_fold *fold,
                                            amct_spec *sum, amct_node *near,
                                            amct_error *err);
/** As above in a new BiasAdd behind the layer, <layer>/bias_add, in the place of what
 * adds its bias. Its value is none that the graph had: `*tensor`. */
AMCT_NODISCARD amct_status amct_norm_commit_new(amct_pass *pass,
                                                const amct_norm_fold *fold,
                                                const char **tensor, amct_error *err);
/** The control inputs of a node that goes, for the one in its place; detaches it. */
void amct_norm_absorb(amct_pass *pass, amct_spec *spec, amct_node *node);
/** The same of the nodes between those of a match. */
void amct_norm_absorb_passed(amct_pass *pass, amct_spec *spec, const amct_passed *passed);

#endif
