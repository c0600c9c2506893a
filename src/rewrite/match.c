/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite/match.h"
#include "op/parameters.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/map.h"
#include "op/order.h"

/* Batch norms in a row take a pass each: a bound, so that a large hostile graph costs no
 * more than linear time. Small ones get more. */
enum { PASSES_MAX = 64, WORK_MAX = 1 << 17 /* passes * nodes */ };

/* One run of a rule: passes over the roots that are left, until a pass rewrites nothing.
 */
typedef struct amct_run {
  amct_pass pass;
  const amct_rule *rule;
  amct_map claimed;    /* nodes of this pass's matches */
  amct_map outputs;    /* nodes that must keep their value */
  amct_map in_loops;   /* nodes between Enter and Exit */
  amct_shapes *shapes; /* of this pass, once asked for */
  AMCT_VEC(amct_node *) roots;
  AMCT_VEC(amct_node *) left; /* roots for the next pass */
  AMCT_VEC(amct_decision) declined;
  size_t done;
} run;

/* Outcome of matching one root. */
typedef enum outcome { MATCHED, DECLINED, DEFERRED, NOT_OURS } outcome;

amct_status amct_decline(amct_pass *pass, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  pass->reason = amct_arena_text(pass->arena, text, strlen(text));
  return pass->reason ? AMCT_OK : AMCT_OUT_OF_MEMORY;
}

amct_status amct_pass_name_layers(amct_pass *pass, const amct_buffer *names,
                                  amct_error *err) {
  if (names->failed) return amct_fail_memory(err);
  pass->layers = amct_arena_text(pass->arena, (const char *)names->data, names->size);
  return pass->layers ? AMCT_OK : amct_fail_memory(err);
}

bool amct_ops_have(const char *ops, const char *op) {
  const size_t size = strlen(op);
  for (const char *at = ops; at && *at; at = strchr(at, '|'), at = at ? at + 1 : NULL)
    if (strncmp(at, op, size) == 0 && (at[size] == '|' || at[size] == 0)) return true;
  return false;
}

bool amct_row_takes(const amct_row *row, const char *op) {
  return amct_ops_have(row->ops, op);
}

bool amct_reads_shape(const amct_use *use) {
  return use->input == 0 && use->node->data_count == 1 &&
         strcmp(use->node->op, "Shape") == 0;
}

/* ---- matching ---- */

/* Who else reads a node that its row alone may read: one use by `reader` is the pattern's
 * own, and orphans are none; nor are Shapes, if they may read it. */
static const amct_node *other_reader(const run *r, const amct_node *node,
                                     const amct_node *reader, bool shape_use) {
  bool own = false;
  for (uint32_t i = 0; i < node->use_count; i++) {
    const amct_use *use = &node->uses[i];
    if (amct_map_get(&r->pass.plan->orphans, use->node)) continue;
    if (shape_use && amct_reads_shape(use)) continue;
    if (own || use->node != reader || use->input >= reader->data_count) return use->node;
    own = true;
  }
  return NULL;
}

/* AMCT_OUT_OF_MEMORY, or reason set or not. */
static amct_status check_sole_use(run *r, const char *what, const amct_node *node,
                                  const amct_node *reader, bool shape_use) {
  const amct_node *other = other_reader(r, node, reader, shape_use);
  if (other)
    return amct_decline(&r->pass, "%s \"%s\" is also read by %s \"%s\"", what, node->name,
                        other->op, other->name);
  if (amct_map_get(&r->outputs, node))
    return amct_decline(&r->pass, "%s \"%s\" is a model output and must keep its value",
                        what, node->name);
  return AMCT_OK;
}

static amct_status match_parameter(run *r, uint8_t index, amct_edge edge,
                                   amct_match *match) {
  const amct_row *row = &r->rule->row[index];
  match->edge[index] = edge;
  match->node[index] = row->vector ? amct_vector_source(edge, &match->constant[index])
                                   : amct_param_source(edge, &match->constant[index]);
  if (!match->node[index])
    return amct_decline(&r->pass, "%s is %s \"%s\", not a constant or variable",
                        row->name, edge.node->op, edge.node->name);
  return AMCT_OK;
}

bool amct_pass_keeps(const amct_pass *pass, const amct_node *node) {
  return amct_map_get(&pass->run->outputs, node) != NULL;
}

bool amct_pass_in_loop(const amct_pass *pass, const amct_node *node) {
  return amct_map_get(&pass->run->in_loops, node) != NULL;
}

amct_edge amct_see_through(amct_edge edge) {
  for (int i = 0; i < AMCT_PASSED_MAX && edge.port == 0 && amct_op_passes(edge.node); i++)
    edge = edge.node->inputs[0];
  return edge;
}

static amct_status pass_through(run *r, amct_edge *edge, const amct_node **reader,
                                amct_passed *passed) {
  const amct_edge end = amct_see_through(*edge);
  while (!amct_edge_equal(*edge, end) && !r->pass.reason) {
    amct_node *node = edge->node;
    if (passed->count == AMCT_PASSED_MAX)
      return amct_decline(
          &r->pass,
          "more than %d of Identity and the like stand in a row, from \"%s\" on",
          AMCT_PASSED_MAX, node->name);
    if (check_sole_use(r, node->op, node, *reader, false) != AMCT_OK)
      return AMCT_OUT_OF_MEMORY;
    passed->at[passed->count++] = node;
    *reader = node;
    *edge = node->inputs[0];
  }
  return AMCT_OK;
}

amct_status amct_pass_through(amct_pass *pass, amct_edge *edge, const amct_node **reader,
                              amct_passed *passed, amct_error *err) {
  return pass_through(pass->run, edge, reader, passed) == AMCT_OK ? AMCT_OK
                                                                  : amct_fail_memory(err);
}

static amct_status match_wrong_op(run *r, uint8_t index, const amct_node *node) {
  const amct_row *row = &r->rule->row[index];
  while (row->optional) /* name what stands behind the optional row */
    row = &r->rule->row[row->input[0]];
  if (amct_ops_have("Switch|RefSwitch", node->op))
    return amct_decline(&r->pass, "is in a branch of a cond, behind Switch \"%s\"",
                        node->name);
  return amct_decline(&r->pass, "reads %s \"%s\", not a %s", node->op, node->name,
                      row->name);
}

/* True if the row may be this node; `*swapped`: its first two inputs change places. */
static bool row_fits(const amct_row *row, amct_edge edge, bool *swapped) {
  const amct_node *node = edge.node;
  bool constant;
  *swapped = false;
  if (edge.port != 0) return false;
  if (!amct_ops_have(row->sums, node->op)) return amct_row_takes(row, node->op);
  if (node->data_count != 2) return false;
  if (amct_vector_source(node->inputs[1], &constant)) return true;
  *swapped = amct_vector_source(node->inputs[0], &constant) != NULL;
  return *swapped;
}

/* Matches row `index` and what feeds it at the edge by which `reader` reads it. */
static amct_status match_row(run *r, uint8_t index, amct_edge edge,
                             const amct_node *reader, amct_match *match) {
  const amct_row *row = &r->rule->row[index];
  bool swapped;
  if (!row->ops) return match_parameter(r, index, edge, match);
  const amct_edge behind = amct_see_through(edge);
  amct_node *node = behind.node;
  if (!row_fits(row, behind, &swapped))
    return row->optional ? match_row(r, row->input[0], edge, reader, match)
                         : match_wrong_op(r, index, node);
  if (pass_through(r, &edge, &reader, &match->passed) != AMCT_OK)
    return AMCT_OUT_OF_MEMORY;
  if (r->pass.reason) return AMCT_OK;
  match->node[index] = node;
  match->edge[index] = edge;
  if (reader && row->sole_use &&
      check_sole_use(r, row->name, node, reader, row->shape_use) != AMCT_OK)
    return AMCT_OUT_OF_MEMORY;
  for (uint32_t i = 0; i < AMCT_ROW_INPUTS && !r->pass.reason; i++) {
    const uint32_t at = swapped && i < 2 ? 1 - i : i;
    if (!row->input[i]) continue;
    if (at >= node->data_count)
      return amct_decline(&r->pass, "%s \"%s\" has %u inputs", row->name, node->name,
                          node->data_count);
    if (match_row(r, row->input[i], node->inputs[at], node, match) != AMCT_OK)
      return AMCT_OUT_OF_MEMORY;
  }
  return AMCT_OK;
}

amct_status amct_match_row(amct_pass *pass, uint8_t index, amct_edge edge,
                           const amct_node *reader, amct_match *match, amct_error *err) {
  return match_row(pass->run, index, edge, reader, match) == AMCT_OK
             ? AMCT_OK
             : amct_fail_memory(err);
}

amct_status amct_check_sole_use(amct_pass *pass, const char *what, const amct_node *node,
                                const amct_node *reader, amct_error *err) {
  return check_sole_use(pass->run, what, node, reader, false) == AMCT_OK
             ? AMCT_OK
             : amct_fail_memory(err);
}

amct_status amct_pass_shapes(amct_pass *pass, const amct_shapes **shapes,
                             amct_error *err) {
  run *r = pass->run;
  if (!r->shapes) AMCT_TRY(amct_shapes_infer(&r->shapes, pass->plan->graph, err));
  *shapes = r->shapes;
  return AMCT_OK;
}

static amct_status check_loops(run *r, const amct_match *match) {
  for (size_t i = 0; i < AMCT_ROWS_MAX; i++)
    if (match->node[i] && amct_map_get(&r->in_loops, match->node[i]))
      return amct_decline(&r->pass, "%s \"%s\" is inside a while loop",
                          r->rule->row[i].name, match->node[i]->name);
  return AMCT_OK;
}

/* Nodes of a match belong to it for this pass; parameters may be shared. */
static bool is_claimed(const run *r, const amct_match *match) {
  for (size_t i = 0; i < AMCT_ROWS_MAX; i++)
    if (match->node[i] && r->rule->row[i].ops &&
        amct_map_get(&r->claimed, match->node[i]))
      return true;
  return false;
}

static amct_status claim(run *r, const amct_match *match, amct_error *err) {
  for (size_t i = 0; i < AMCT_ROWS_MAX; i++)
    if (match->node[i] && r->rule->row[i].ops)
      AMCT_TRY(amct_map_set(&r->claimed, match->node[i], match->node[i], err));
  return AMCT_OK;
}

amct_status amct_match_take(amct_pass *pass, const amct_match *match, amct_error *err) {
  pass->deferred = is_claimed(pass->run, match);
  return pass->deferred ? AMCT_OK : claim(pass->run, match, err);
}

static amct_status try_root(run *r, amct_node *root, outcome *result, amct_match *match,
                            amct_error *err) {
  const amct_edge edge = {root, 0};
  *match = (amct_match){0};
  r->pass.reason = r->pass.layers = NULL;
  r->pass.deferred = false;
  *result = NOT_OURS;
  if (r->rule->recognises && !r->rule->recognises(root)) return AMCT_OK;
  *result = DECLINED;
  if (match_row(r, 0, edge, NULL, match) != AMCT_OK) return amct_fail_memory(err);
  if (r->pass.reason) return AMCT_OK;
  if (check_loops(r, match) != AMCT_OK) return amct_fail_memory(err);
  if (r->pass.reason) return AMCT_OK;
  if (is_claimed(r, match)) {
    *result = DEFERRED;
    return AMCT_OK;
  }
  const amct_status status = r->rule->rewrite(&r->pass, match, err);
  if (status == AMCT_OUT_OF_MEMORY)
    return amct_fail_memory(err); /* amct_decline has no error record */
  AMCT_TRY(status);
  if (r->pass.reason) return AMCT_OK;
  *result = r->pass.deferred ? DEFERRED : MATCHED;
  if (r->pass.deferred) return AMCT_OK;
  return claim(r, match, err);
}

/* ---- passes ---- */

static const char *layer_name(const run *r, const amct_match *match) {
  if (r->pass.layers) return r->pass.layers;
  for (size_t i = 0; i < AMCT_ROWS_MAX; i++)
    if (r->rule->row[i].layer && match->node[i]) return match->node[i]->name;
  return "";
}

static amct_status decide(run *r, amct_node *root, outcome result,
                          const amct_match *match, amct_error *err) {
  const amct_decision decision = {.rule = r->rule->name,
                                  .node = root->name,
                                  .layer = layer_name(r, match),
                                  .reason = r->pass.reason,
                                  .root = root};
  if (result == MATCHED) {
    r->done++;
    return amct_plan_decide(r->pass.plan, decision, err);
  }
  bool kept = AMCT_VEC_PUSH(&r->left, root);
  if (kept && result == DECLINED) kept = AMCT_VEC_PUSH(&r->declined, decision);
  return kept ? AMCT_OK : amct_fail_memory(err);
}

/* One look at each root that is left, then all edits at once. */
static amct_status run_pass(run *r, amct_error *err) {
  amct_status status = AMCT_OK;
  r->done = 0;
  r->left.count = r->declined.count = 0;
  amct_map_free(&r->claimed);
  r->pass.edits = amct_edits_new(r->pass.plan->graph);
  if (!r->pass.edits) return amct_fail_memory(err);
  for (size_t i = 0; i < r->roots.count && status == AMCT_OK; i++) {
    outcome result;
    amct_match match;
    status = try_root(r, r->roots.at[i], &result, &match, err);
    if (status == AMCT_OK) status = decide(r, r->roots.at[i], result, &match, err);
  }
  if (status == AMCT_OK && r->done) status = amct_edits_apply(r->pass.edits, err);
  amct_edits_free(r->pass.edits);
  amct_shapes_free(r->shapes);
  r->pass.edits = NULL;
  r->shapes = NULL;
#ifndef NDEBUG
  if (status == AMCT_OK && r->done) status = amct_graph_verify(r->pass.plan->graph, err);
#endif
  return status;
}

static amct_status collect_roots(run *r, amct_error *err) {
  const amct_graph *graph = r->pass.plan->graph;
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    amct_node *node = amct_graph_at(graph, i);
    if (amct_row_takes(&r->rule->row[0], node->op) && !AMCT_VEC_PUSH(&r->roots, node))
      return amct_fail_memory(err);
  }
  return AMCT_OK;
}

static amct_status collect_outputs(run *r, amct_error *err) {
  for (size_t i = 0; i < r->pass.options->output_count; i++) {
    amct_node *node = amct_graph_find(r->pass.plan->graph, r->pass.options->outputs[i]);
    if (node) AMCT_TRY(amct_map_set(&r->outputs, node, node, err));
  }
  return AMCT_OK;
}

static amct_status run_once(run *r, amct_error *err) {
  amct_status status;
  r->pass.edits = amct_edits_new(r->pass.plan->graph);
  if (!r->pass.edits) return amct_fail_memory(err);
  status = r->rule->rewrite_all(&r->pass, err);
  if (status == AMCT_OK && amct_edits_size(r->pass.edits))
    status = amct_edits_apply(r->pass.edits, err);
  amct_edits_free(r->pass.edits);
  r->pass.edits = NULL;
  return status;
}

/* A reason that another pass might have found to be none. */
static amct_status add_bound(run *r, amct_decision *decision, size_t passes,
                             amct_error *err) {
  r->pass.reason = NULL;
  if (amct_decline(
          &r->pass,
          "%s; %zu fusions in a row are made in one go: run `amct fuse`, and fuse "
          "what it wrote again",
          decision->reason, passes) != AMCT_OK)
    return amct_fail_memory(err);
  decision->reason = r->pass.reason;
  return AMCT_OK;
}

static amct_status run_passes(run *r, amct_error *err) {
  const size_t most = WORK_MAX / (amct_graph_count(r->pass.plan->graph) + 1);
  size_t passes = 0;
  AMCT_TRY(collect_outputs(r, err));
  AMCT_TRY(amct_frames_find(&r->in_loops, r->pass.plan->graph, err));
  if (r->rule->rewrite_all) return run_once(r, err);
  AMCT_TRY(collect_roots(r, err));
  do {
    AMCT_TRY(run_pass(r, err));
    r->roots.count = 0;
    for (size_t i = 0; i < r->left.count; i++)
      if (!AMCT_VEC_PUSH(&r->roots, r->left.at[i])) return amct_fail_memory(err);
  } while (r->done && r->roots.count &&
           ++passes < (most > PASSES_MAX ? most : PASSES_MAX));
  for (size_t i = 0; i < r->declined.count; i++) {
    if (r->done && r->roots.count)
      AMCT_TRY(add_bound(r, &r->declined.at[i], passes, err));
    AMCT_TRY(amct_plan_decide(r->pass.plan, r->declined.at[i], err));
  }
  return AMCT_OK;
}

amct_status amct_rule_run(amct_plan *plan, const amct_rule *rule,
                          const amct_plan_options *options, amct_error *err) {
  run r = {.pass = {.plan = plan, .options = options}, .rule = rule};
  r.pass.arena = amct_graph_arena(plan->graph);
  r.pass.run = &r;
  amct_status status = run_passes(&r, err);
  amct_map_free(&r.claimed);
  amct_map_free(&r.outputs);
  amct_map_free(&r.in_loops);
  AMCT_VEC_FREE(&r.roots);
  AMCT_VEC_FREE(&r.left);
  AMCT_VEC_FREE(&r.declined);
  return status;
}
