/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of fusions: the graph after them, the folds that each layer is owed, and a
 * decision for each place where a rule looked. Planning needs no values where parameters
 * are variables, so the plan made from a live graph and the one made from its frozen pb
 * are the same; amct_plan_settle computes the constants (frozen pb only).
 */
#ifndef AMCT_PLAN_H
#define AMCT_PLAN_H

#include "base/map.h"
#include "base/vec.h"
#include "graph/edits.h"
#include "numeric/fold.h"

/** One step of a fold, with the edges of the unfused graph that hold its parameters. */
typedef struct amct_fold_ref {
  amct_fold_kind kind;
  amct_edge bias;                          /* BIAS; the operand of arithmetic */
  bool single;                             /* which has one value for all channels */
  amct_edge scale, offset, mean, variance; /* BATCH_NORM; no node: scale 1, offset 0 */
  float epsilon;
  int64_t first, total; /* BIAS, BATCH_NORM: the layer's channels begin at `first` of
                           `total` values; total 0: they are all */
} amct_fold_ref;

/** A parameter that rules put into the graph as a Const of one value a channel; it has no
 * value until settled. */
typedef struct amct_made {
  const char *name;
  amct_edge from; /* the parameter in the unfused graph; no node: `fill` throughout */
  float fill;
  int64_t channels;
} amct_made;

/** All that is folded into one layer, in data-flow order. */
typedef struct amct_fold {
  amct_node *layer;
  AMCT_VEC(amct_fold_ref) before; /* batch norms of its input; all constant */
  AMCT_VEC(amct_fold_ref) steps;
  const char
      *bias; /* the Const that holds the folded bias; without a value until settled */
} amct_fold;

typedef struct amct_decision {
  const char *rule;      /* "fold_conv_bn" */
  const char *node;      /* root of the match: the batch norm */
  const char *layer;     /* layer folded into; "" if none */
  const char *done;      /* what was done, for the log; NULL: "fused" */
  const char *reason;    /* NULL: done; else why not, in words that say what to change */
  const amct_node *root; /* the node of that name */
  size_t place, turn;    /* set by amct_plan_decide: of the root in the file; of the
                            decision */
} amct_decision;

typedef struct amct_plan_options {
  const char *const *outputs; /* nodes that must keep their value */
  size_t output_count;
  bool do_fusion;
  const char *const *skip_layers; /* layers that nothing is folded into */
  size_t skip_count;
  bool moves_data;  /* layers may read other tensors than they did: no factors for those
                       that they read are there, or will be */
  bool keeps_grids; /* nothing is folded into layers with one scale for all weights: these
                       were trained on its steps */
} amct_plan_options;

typedef struct amct_plan {
  amct_graph *graph;
  amct_plan_options options; /* borrowed */
  AMCT_VEC(amct_fold *) folds;
  AMCT_VEC(amct_made *) made;
  AMCT_VEC(amct_decision) decisions; /* in file order of the batch norms */
  size_t turns, done;                /* decisions taken; places fused */
  amct_map fold_by_layer, made_by_name, refused, places;
  amct_map orphans; /* nodes that will have no readers once settled; they count as none
                       themselves */
} amct_plan;

/** Runs the rules of rules.def until nothing changes, over `graph`, which the plan
 * borrows and changes. */
AMCT_NODISCARD amct_status amct_plan_make(amct_plan **out, amct_graph *graph,
                                          const amct_plan_options *options,
                                          amct_error *err);
/** Computes folded weights and biases and writes them into the graph, once. Layers that
 * are keys of `but` (may be NULL) keep their weights unfolded, for the caller to fold.
 * Variables: AMCT_UNSUPPORTED naming the layer. */
AMCT_NODISCARD amct_status amct_plan_settle(amct_plan *plan, const amct_map *but,
                                            amct_error *err);
/** NULL if nothing is folded into the layer. */
const amct_fold *amct_plan_fold(const amct_plan *plan, const amct_node *layer);
/** True if its steps change the weights, not the bias alone. */
bool amct_plan_scales(const amct_fold *fold);
/** For rules: replaces what is folded into `layer` by `steps`, with the sum of the shifts
 * in the Const `bias`. */
AMCT_NODISCARD amct_status amct_plan_note(amct_plan *plan, amct_node *layer,
                                          const amct_fold_ref *steps, size_t count,
                                          const char *bias, amct_error *err);
/** For rules: puts a batch norm in front of all that is folded into a layer, which has a
 * fold already. */
AMCT_NODISCARD amct_status amct_plan_note_before(amct_plan *plan, const amct_node *layer,
                                                 const amct_fold_ref *norm,
                                                 amct_error *err);
/** Why no rule so far has rewritten the place; NULL: none looked, or one has. */
const char *amct_plan_refusal(const amct_plan *plan, const amct_node *root);
/** For rules: notes a Const that the rule adds under an interned or arena name. */
AMCT_NODISCARD amct_status amct_plan_note_made(amct_plan *plan, const amct_made *made,
                                               amct_error *err);
/** NULL if no rule made the node. */
const amct_made *amct_plan_made(const amct_plan *plan, const amct_node *node);
/** Keeps a decision. A later rule's word on a node takes the place of an earlier refusal.
 */
AMCT_NODISCARD amct_status amct_plan_decide(amct_plan *plan, amct_decision decision,
                                            amct_error *err);
/** Fills plan->orphans anew. */
AMCT_NODISCARD amct_status amct_plan_find_orphans(amct_plan *plan, amct_error *err);
/** One INFO line a decision and a summary line. */
void amct_plan_log(const amct_plan *plan, const char *module);
/** True if some rule can fold into a layer of this op. */
bool amct_plan_fusible(const char *op);
void amct_plan_free(amct_plan *plan);

#endif
