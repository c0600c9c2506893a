/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules as rows, and the engine that runs them. A rule is a pattern tree (row 0 is the
 * root) and one function that checks the match, appends to the edit list, and notes what
 * is to be folded. The engine owns what is dangerous: other readers, model outputs,
 * matches that overlap, applying the edits of a pass at once, verifying after it.
 */
#ifndef AMCT_MATCH_H
#define AMCT_MATCH_H

#include "op/shapes.h"
#include "rewrite/plan.h"

enum { AMCT_ROWS_MAX = 16, AMCT_ROW_INPUTS = 6, AMCT_PASSED_MAX = 16 };

/** One node of a pattern. Since nothing is fed by its own root, an input of 0 means
 * "any". */
typedef struct amct_row {
  const char *name; /* for messages: "batch norm" */
  const char
      *ops; /* "A|B"; NULL: a parameter (constant or variable), seen through Identity */
  const char *sums; /* "C|D": ops taken too if one operand, either, is a vector; that is
                       input 1 */
  uint8_t input[AMCT_ROW_INPUTS]; /* rows that feed data inputs 0, 1, ... */
  bool vector;    /* a parameter that is seen through Reshape and the like */
  bool sole_use;  /* read by its row alone, and not a model output */
  bool shape_use; /* a Shape may read it too */
  bool optional;  /* may be absent: then its first input stands in its place */
  bool layer;     /* what the rule folds into */
} amct_row;

/** Nodes between the rows that hand on what they read (Identity, CheckNumerics, ...), in
 * the order in which they were met. They go with the match, whose rule takes over their
 * control inputs. */
typedef struct amct_passed {
  amct_node *at[AMCT_PASSED_MAX];
  size_t count;
} amct_passed;

/** What the rows matched. node[row] is NULL for an optional row that is absent; for a
 * parameter it is the Const or variable, and edge[row] is how the pattern reads it. */
typedef struct amct_match {
  amct_node *node[AMCT_ROWS_MAX];
  amct_edge edge[AMCT_ROWS_MAX];
  bool constant[AMCT_ROWS_MAX]; /* the parameter is a Const */
  amct_passed passed;
} amct_match;

/** What a rule works with. */
typedef struct amct_pass {
  amct_plan *plan;
  const amct_plan_options *options;
  amct_edits *edits;
  amct_arena *arena;  /* the graph's */
  const char *reason; /* set by amct_decline */
  bool deferred;      /* set by amct_match_take */
  const char *layers; /* what the match is folded into, for people: "a" or "a,b"; NULL */
  struct amct_run *run; /* the engine's own */
} amct_pass;

typedef struct amct_rule {
  const char *name;   /* "fold_conv_bn" */
  const char *before; /* for documentation */
  const char *after;
  /** Appends edits, or declines through amct_decline; a status other than AMCT_OK is
   * trouble and ends the run. */
  amct_status (*rewrite)(amct_pass *pass, const amct_match *match, amct_error *err);
  /** In the place of rewrite, for what no pattern describes: looks at the whole graph,
   * appends edits and decides by amct_plan_decide. */
  amct_status (*rewrite_all)(amct_pass *pass, amct_error *err);
  /** False: no place for this rule, nothing to decide or to tell. NULL: all roots are. */
  bool (*recognises)(amct_node *root);
  amct_row row[AMCT_ROWS_MAX]; /* ends with a row without a name */
} amct_rule;

/** Declines the match: words that say what to change. Returns AMCT_OK, for `return
 * amct_decline(...)`. */
amct_status amct_decline(amct_pass *pass, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** The match is folded into these layers, "a" or "a,b". */
AMCT_NODISCARD amct_status amct_pass_name_layers(amct_pass *pass,
                                                 const amct_buffer *names,
                                                 amct_error *err);

/** For rules whose patterns no tree of rows describes: matches row `index` and what feeds
 * it at `edge`, which `reader` reads, and adds to `match`. Sets pass->reason where it
 * does not. */
AMCT_NODISCARD amct_status amct_match_row(amct_pass *pass, uint8_t index, amct_edge edge,
                                          const amct_node *reader, amct_match *match,
                                          amct_error *err);
/** Before such a rule appends edits: claims the nodes of what it matched, or puts the
 * match off to the next pass (pass->deferred), where another has claimed one of them. */
AMCT_NODISCARD amct_status amct_match_take(amct_pass *pass, const amct_match *match,
                                           amct_error *err);
/** Declines if anything but one input of `reader` reads `node`, or it is a model output.
 */
AMCT_NODISCARD amct_status amct_check_sole_use(amct_pass *pass, const char *what,
                                               const amct_node *node,
                                               const amct_node *reader, amct_error *err);
/** True if the node is a model output. */
bool amct_pass_keeps(const amct_pass *pass, const amct_node *node);
/** True if it is inside a while loop. */
bool amct_pass_in_loop(const amct_pass *pass, const amct_node *node);
/** What stands behind Identity and the like. */
amct_edge amct_see_through(amct_edge edge);
/** Walks the same way from `edge`, which `*reader` reads and then the last node of those;
 * adds them to `passed`. Declines as amct_check_sole_use. */
AMCT_NODISCARD amct_status amct_pass_through(amct_pass *pass, amct_edge *edge,
                                             const amct_node **reader,
                                             amct_passed *passed, amct_error *err);
/** Static shapes of the graph as this pass found it; live as long as the pass. */
AMCT_NODISCARD amct_status amct_pass_shapes(amct_pass *pass, const amct_shapes **shapes,
                                            amct_error *err);

/** Runs one rule until it finds nothing more, and appends its decisions to the plan. */
AMCT_NODISCARD amct_status amct_rule_run(amct_plan *plan, const amct_rule *rule,
                                         const amct_plan_options *options,
                                         amct_error *err);

/** Rule i in the order in which they run, with its line for people; NULL past the last.
 */
const amct_rule *amct_rule_at(size_t i, const char **summary);

/** True if `op` is one of the ops of a row, "A|B|C". */
bool amct_row_takes(const amct_row *row, const char *op);
/** True if a Shape reads the node there: no value of it. */
bool amct_reads_shape(const amct_use *use);
/** True if `op` is one of the ops of a list "A|B|C"; NULL is an empty list. */
bool amct_ops_have(const char *ops, const char *op);

#endif
