/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cond of version 1 whose predicate is known goes, and what it never runs goes first:
 * the training half of a graph that was frozen with its is_training flag.
 *
 *   before  merge(inference(switch(data, flag)), training(switch:1(data, flag)))
 *   after   identity(inference(data)), under the merge's name
 *
 * The predicate is known if it is a constant, behind Identity, LogicalNot, LogicalAnd and
 * LogicalOr too. A PlaceholderWithDefault can be fed. It is taken at its default, a
 * constant, where that leaves out training: a batch norm in training mode, the statistics
 * of the batch in the place of constants or variables, or random numbers. It stays in the
 * graph, and feeding it no longer has an effect.
 *
 * Declines, where the cond chooses between training and inference: a predicate that is
 * not known, or whose default is training; a model output in the branch that goes; the
 * second output of the merge is read; a merge of several inputs that run. Conds inside
 * while loops, and other conds whose predicate may be fed, are passed over in silence.
 */
#include "op/parameters.h"
#include "rewrite/conds.h"
#include "rewrite/norm_folds.h"

#define RANDOM                                                                           \
  "RandomUniform|RandomStandardNormal|TruncatedNormal|StatelessRandomUniform|"           \
  "StatelessRandomUniformV2|StatelessRandomNormal"

enum { HOPS_MAX = 64, WEIGH_MAX = 4 };

static bool is_merge(const amct_conds *c, const amct_node *node) {
  return amct_ops_have("Merge|RefMerge", node->op) && !amct_pass_in_loop(c->pass, node);
}

static bool trains(const amct_node *node) {
  return amct_norm_trains(node) || amct_ops_have(RANDOM, node->op);
}

static bool is_parameter(amct_edge edge) {
  bool constant;
  return amct_vector_source(edge, &constant) != NULL;
}

/* A Switch straight before the merge, seen through Identity. */
static amct_edge behind_switch(amct_edge edge) {
  edge = amct_see_through(edge);
  if (!amct_ops_have("Switch|RefSwitch", edge.node->op) || edge.node->data_count < 2)
    return (amct_edge){NULL, 0};
  return amct_see_through(edge.node->inputs[0]);
}

/* Means of the batch against a parameter; `*means` is the input that holds the former. */
static bool chooses_statistics(const amct_node *merge, uint32_t *means) {
  bool parameter = false, mean = false;
  for (uint32_t i = 0; i < merge->data_count; i++) {
    const amct_edge at = behind_switch(merge->inputs[i]);
    if (at.node && amct_ops_have("Mean|Squeeze|Reshape", at.node->op) &&
        !is_parameter(at)) {
      *means = i;
      mean = true;
    }
    parameter = parameter || is_parameter(merge->inputs[i]);
  }
  return parameter && mean;
}

/* True if the merge chooses between training and inference, as far as its inputs say. */
static bool is_ours(const amct_node *merge) {
  uint32_t means;
  for (uint32_t i = 0; i < merge->data_count; i++)
    if (trains(amct_see_through(merge->inputs[i]).node)) return true;
  return chooses_statistics(merge, &means);
}

/* ---- which flags are taken ---- */

static amct_status refuse(const amct_conds *c, amct_flag *flag, const char *format,
                          const char *name, amct_error *err) {
  if (!flag->refused) flag->refused = amct_arena_format(c->pass->arena, format, name);
  return flag->refused ? AMCT_OK : amct_fail_memory(err);
}

/* What never runs says whether its flag is one of training. */
static amct_status weigh_killed(const amct_conds *c, amct_error *err) {
  for (size_t i = 0; i < c->killed.count; i++) {
    const amct_node *node = c->killed.at[i];
    amct_flag *flag = amct_map_get(&c->dead, node);
    flag->trains = flag->trains || trains(node);
    if (amct_pass_keeps(c->pass, node))
      AMCT_TRY(refuse(c, flag, "model output \"%s\" is in the branch that never runs",
                      node->name, err));
    for (uint32_t k = 0; k < node->use_count; k++) {
      const amct_node *reader = node->uses[k].node;
      if (!amct_map_get(&c->dead, reader) && !is_merge(c, reader))
        AMCT_TRY(refuse(c, flag, "\"%s\" is inside a while loop", reader->name, err));
    }
  }
  return AMCT_OK;
}

static amct_status weigh_merge(const amct_conds *c, const amct_node *merge,
                               amct_error *err) {
  uint32_t means;
  for (uint32_t i = 0; i < merge->data_count; i++) {
    amct_flag *flag = amct_conds_dead(c, merge->inputs[i]);
    if (!flag) continue;
    if (chooses_statistics(merge, &means) && means == i) flag->trains = true;
    if (!amct_map_get(&c->dead, merge) && amct_conds_live_input(c, merge) < 0)
      AMCT_TRY(refuse(c, flag, "\"%s\" has several inputs that run", merge->name, err));
    if (amct_node_readers(merge, 1))
      AMCT_TRY(refuse(c, flag, "the second output of \"%s\" is read", merge->name, err));
  }
  return AMCT_OK;
}

static amct_status weigh_once(amct_conds *c, amct_error *err) {
  const amct_graph *graph = c->pass->plan->graph;
  AMCT_TRY(weigh_killed(c, err));
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    const amct_node *node = amct_graph_at(graph, i);
    if (is_merge(c, node)) AMCT_TRY(weigh_merge(c, node, err));
  }
  for (size_t i = 0; i < c->choices.count; i++) {
    amct_flag *flag = c->choices.at[i]->flag;
    if (flag->source && !flag->trains)
      AMCT_TRY(refuse(c, flag,
                      "\"%s\" can be fed, and its default leaves no training out: "
                      "export the graph with a constant in its place",
                      flag->source->name, err));
  }
  return amct_conds_drop_refused(c, err);
}

/* Without a flag that is refused the branches of others may show. */
static amct_status weigh(amct_conds *c, amct_error *err) {
  for (int times = 0; c->choices.count > 0; times++) {
    const size_t before = c->choices.count;
    AMCT_TRY(weigh_once(c, err));
    if (c->choices.count == before) return AMCT_OK;
    for (size_t i = 0; times == WEIGH_MAX && i < c->choices.count; i++)
      AMCT_TRY(refuse(c, c->choices.at[i]->flag, "\"%s\" has conds within conds",
                      c->choices.at[i]->node->name, err));
  }
  return AMCT_OK;
}

/* ---- edits ---- */

/* Readers that are left of each node, while nodes go. */
typedef struct removal {
  amct_conds *c;
  uint32_t *readers;           /* by node index */
  bool *gone;                  /* by node index */
  AMCT_VEC(amct_node *) empty; /* nodes without readers, to look at */
} removal;

static bool may_go(const removal *r, const amct_node *node) {
  return r->readers[node->index] == 0 && !r->gone[node->index] &&
         !amct_pass_keeps(r->c->pass, node) && !amct_pass_in_loop(r->c->pass, node) &&
         !amct_ops_have("Placeholder|PlaceholderV2|PlaceholderWithDefault|VarHandleOp|"
                        "VariableV2|Variable|Const",
                        node->op);
}

static amct_status look_at(removal *r, amct_node *node, amct_error *err) {
  if (!may_go(r, node)) return AMCT_OK;
  return AMCT_VEC_PUSH(&r->empty, node) ? AMCT_OK : amct_fail_memory(err);
}

static amct_status lose_reader(removal *r, amct_node *node, amct_error *err) {
  r->readers[node->index]--;
  return look_at(r, node, err);
}

/* Who is read at an edge while the list of edits grows. */
static amct_node *read_at(const removal *r, amct_edge edge) {
  const amct_choice *choice = amct_map_get(&r->c->choice_of, edge.node);
  const bool gone = choice && edge.port >= 0 && r->gone[edge.node->index];
  return gone ? amct_conds_source(r->c, edge).node : edge.node;
}

/* The node goes; what it read loses a reader. What a merge does not read any more has
 * lost it before. */
static amct_status take_away(removal *r, amct_node *node, amct_error *err) {
  const bool ran = !amct_map_get(&r->c->dead, node);
  if (r->gone[node->index]) return AMCT_OK;
  r->gone[node->index] = true;
  amct_edits_detach(r->c->pass->edits, node);
  for (uint32_t i = 0; i < node->input_count; i++)
    if (!ran || !amct_conds_dead(r->c, node->inputs[i]))
      AMCT_TRY(lose_reader(r, read_at(r, node->inputs[i]), err));
  return AMCT_OK;
}

/* Readers of a tensor read another instead; `*waited` where one waits for the node. */
static void rewire(removal *r, amct_edge from, amct_edge to, bool *waited) {
  const amct_node *node = from.node;
  amct_edits_rewire(r->c->pass->edits, from, amct_edge_text(to), NULL, 0);
  for (uint32_t i = 0; i < node->use_count; i++) {
    const amct_use *use = &node->uses[i];
    if (r->gone[use->node->index]) continue;
    *waited = *waited || use->input >= use->node->data_count;
    if (!amct_edge_equal(use->node->inputs[use->input], from)) continue;
    r->readers[to.node->index]++;
    r->readers[node->index]--;
  }
}

/* Readers of the output that runs read what is before the Switch, which goes. */
static amct_status bypass(removal *r, const amct_choice *choice, amct_error *err) {
  const amct_edge edge = {choice->node, choice->port};
  bool stays = amct_pass_keeps(r->c->pass, choice->node);
  if (r->gone[choice->node->index]) return AMCT_OK;
  rewire(r, edge, amct_conds_source(r->c, edge), &stays);
  return stays ? AMCT_OK : take_away(r, choice->node, err);
}

/* The merge becomes an Identity of its one input that runs. A parameter is read without
 * it: what reads parameters beside the live graph must not wait for the other input. */
static amct_status resolve(removal *r, amct_node *merge, int live, amct_error *err) {
  amct_pass *pass = r->c->pass;
  const amct_edge source = amct_conds_source(r->c, merge->inputs[live]);
  bool waited = false;
  amct_slice type;
  amct_spec *spec = amct_edits_replace(pass->edits, merge, "Identity");
  amct_spec_input(spec, amct_edge_text(source));
  if (amct_attr_raw(merge, "T", &type)) amct_spec_raw(spec, "T", type);
  for (uint32_t i = 0; i < merge->data_count; i++)
    if ((int)i != live) AMCT_TRY(lose_reader(r, merge->inputs[i].node, err));
  if (is_parameter(source)) {
    rewire(r, (amct_edge){merge, 0}, source, &waited);
    AMCT_TRY(look_at(r, merge, err));
  }
  if (amct_map_get(&pass->plan->orphans, merge)) return AMCT_OK; /* of no account */
  const amct_decision decision = {.rule = "resolve_cond",
                                  .node = merge->name,
                                  .layer = "",
                                  .done = "resolved",
                                  .root = merge};
  return amct_plan_decide(pass->plan, decision, err);
}

static amct_status edit(removal *r, amct_error *err) {
  const amct_graph *graph = r->c->pass->plan->graph;
  for (size_t i = 0; i < amct_graph_count(graph); i++)
    r->readers[i] = amct_graph_at(graph, i)->use_count;
  for (size_t i = 0; i < r->c->killed.count; i++)
    AMCT_TRY(take_away(r, r->c->killed.at[i], err));
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    amct_node *node = amct_graph_at(graph, i);
    if (!is_merge(r->c, node) || r->gone[node->index]) continue;
    const int live = amct_conds_live_input(r->c, node);
    if (live >= 0) AMCT_TRY(resolve(r, node, live, err));
  }
  for (size_t i = 0; i < r->c->choices.count; i++)
    AMCT_TRY(bypass(r, r->c->choices.at[i], err));
  while (r->empty.count > 0) {
    amct_node *node = r->empty.at[--r->empty.count];
    if (may_go(r, node)) AMCT_TRY(take_away(r, node, err));
  }
  return AMCT_OK;
}

/* ---- what stays ---- */

/* The Switch that feeds a branch of the merge; NULL: none is near. */
static const amct_node *find_switch(const amct_node *merge) {
  for (uint32_t i = 0; i < merge->data_count; i++) {
    const amct_node *node = merge->inputs[i].node;
    for (int hop = 0; hop < HOPS_MAX && node->data_count > 0; hop++) {
      if (amct_ops_have("Switch|RefSwitch", node->op) && node->data_count == 2)
        return node;
      node = node->inputs[0].node;
    }
  }
  return NULL;
}

static const char *reason_for(const amct_conds *c, const amct_node *merge) {
  const amct_node *at = find_switch(merge);
  if (!at) return "nothing is known of what it chooses by";
  const amct_node *source = amct_see_through(at->inputs[1]).node;
  const amct_flag *flag = amct_map_get(&c->flag_of, source);
  if (!flag && c->constants.refused) flag = &c->constants;
  if (flag && flag->refused) return flag->refused;
  return amct_arena_format(
      c->pass->arena,
      "chooses between training and inference by %s \"%s\": export the "
      "graph with a constant in its place",
      source->op, source->name);
}

static amct_status decline_rest(const amct_conds *c, amct_error *err) {
  const amct_graph *graph = c->pass->plan->graph;
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    amct_node *merge = amct_graph_at(graph, i);
    if (!is_merge(c, merge) || !is_ours(merge)) continue;
    if (amct_map_get(&c->pass->plan->orphans, merge)) continue;
    if (amct_map_get(&c->dead, merge) || amct_conds_live_input(c, merge) >= 0) continue;
    const amct_decision decision = {.rule = "resolve_cond",
                                    .node = merge->name,
                                    .layer = "",
                                    .reason = reason_for(c, merge),
                                    .root = merge};
    if (!decision.reason) return amct_fail_memory(err);
    AMCT_TRY(amct_plan_decide(c->pass->plan, decision, err));
  }
  return AMCT_OK;
}

static amct_status rewrite_all(amct_pass *pass, amct_error *err) {
  amct_conds c = {.pass = pass};
  removal r = {.c = &c};
  const size_t nodes = amct_graph_count(pass->plan->graph);
  amct_status status = amct_conds_find(&c, err);
  if (status == AMCT_OK) status = weigh(&c, err);
  if (status == AMCT_OK) status = decline_rest(&c, err);
  if (status == AMCT_OK && c.choices.count > 0) {
    r.readers = amct_alloc_array(nodes, sizeof *r.readers);
    r.gone = amct_alloc_array(nodes, sizeof *r.gone);
    status = r.readers && r.gone ? edit(&r, err) : amct_fail_memory(err);
  }
  amct_free(r.readers);
  amct_free(r.gone);
  AMCT_VEC_FREE(&r.empty);
  amct_conds_free(&c);
  return status;
}

// clang-format off
const amct_rule amct_rule_resolve_cond = {
  .name        = "resolve_cond",
  .before      = "merge(inference(switch(data, flag)), training(switch:1(data, flag)))",
  .after       = "identity(inference(data))",
  .rewrite_all = rewrite_all,
  .row = {
    {"merge", "Merge|RefMerge"},
  },
};
// clang-format on
