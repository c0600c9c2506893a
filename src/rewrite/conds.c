/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite/conds.h"

enum { STEPS_MAX = 64 }; /* nodes of an expression that are looked at */

/* ---- predicates ---- */

/* What an expression of booleans comes to, where it is known. */
typedef struct verdict {
  bool known, value;
  const amct_node *source; /* PlaceholderWithDefault; NULL: none */
} verdict;

static const verdict k_unknown = {false, false, NULL};

static amct_status read_bool(const amct_node *node, verdict *out, amct_error *err) {
  amct_arena scratch = {0};
  amct_tensor tensor;
  const int64_t *value = NULL;
  AMCT_TRY(amct_const_tensor(node, &tensor, err));
  if (tensor.dtype != AMCT_DTYPE_BOOL || tensor.count != 1) return AMCT_OK;
  const amct_status status = amct_tensor_ints(&tensor, &scratch, &value, node, err);
  if (status == AMCT_OK) *out = (verdict){true, *value != 0, NULL};
  amct_arena_free(&scratch);
  return status;
}

static amct_status evaluate(amct_edge edge, int *steps, verdict *out, amct_error *err);

/* `and` of two: a LogicalAnd, or by De Morgan a LogicalOr. */
static amct_status evaluate_both(const amct_node *node, int *steps, verdict *out,
                                 amct_error *err) {
  const bool ends = amct_node_is(node, "LogicalOr"); /* the value of one that decides */
  verdict a, b;
  AMCT_TRY(evaluate(node->inputs[0], steps, &a, err));
  AMCT_TRY(evaluate(node->inputs[1], steps, &b, err));
  if (a.known && !a.source && a.value == ends) *out = a;
  if (b.known && !b.source && b.value == ends) *out = b;
  if (out->known || !a.known || !b.known) return AMCT_OK;
  if (a.source && b.source && a.source != b.source) return AMCT_OK;
  *out = (verdict){true, ends ? a.value || b.value : a.value && b.value,
                   a.source ? a.source : b.source};
  return AMCT_OK;
}

static amct_status evaluate(amct_edge edge, int *steps, verdict *out, amct_error *err) {
  *out = k_unknown;
  while (--*steps > 0 && edge.port == 0 && amct_op_passes(edge.node))
    edge = edge.node->inputs[0];
  const amct_node *node = edge.node;
  if (edge.port != 0 || *steps <= 0) return AMCT_OK;
  if (amct_node_is(node, "Const")) return read_bool(node, out, err);
  if (node->data_count == 2 && amct_ops_have("LogicalAnd|LogicalOr", node->op))
    return evaluate_both(node, steps, out, err);
  if (node->data_count != 1) return AMCT_OK;
  const bool fed = amct_node_is(node, "PlaceholderWithDefault");
  if (!fed && !amct_node_is(node, "LogicalNot")) return AMCT_OK;
  AMCT_TRY(evaluate(node->inputs[0], steps, out, err));
  if (fed)
    out->source = node;
  else
    out->value = !out->value;
  return AMCT_OK;
}

/* ---- Switches ---- */

static amct_status flag_for(amct_conds *conds, const amct_node *source, amct_flag **flag,
                            amct_error *err) {
  *flag = source ? amct_map_get(&conds->flag_of, source) : &conds->constants;
  if (*flag) return AMCT_OK;
  *flag = amct_arena_alloc(&conds->scratch, sizeof **flag);
  if (!*flag) return amct_fail_memory(err);
  (*flag)->source = source;
  return amct_map_set(&conds->flag_of, source, *flag, err);
}

static amct_status look_at(amct_conds *conds, amct_node *node, amct_error *err) {
  verdict v;
  int steps = STEPS_MAX;
  if (!amct_ops_have("Switch|RefSwitch", node->op) || node->data_count != 2)
    return AMCT_OK;
  if (amct_pass_in_loop(conds->pass, node)) return AMCT_OK;
  AMCT_TRY(evaluate(node->inputs[1], &steps, &v, err));
  if (!v.known) return AMCT_OK;
  amct_choice *choice = amct_arena_alloc(&conds->scratch, sizeof *choice);
  if (!choice || !AMCT_VEC_PUSH(&conds->choices, choice)) return amct_fail_memory(err);
  *choice = (amct_choice){.node = node, .port = v.value, .source = node->inputs[0]};
  AMCT_TRY(flag_for(conds, v.source, &choice->flag, err));
  return amct_map_set(&conds->choice_of, node, choice, err);
}

amct_flag *amct_conds_dead(const amct_conds *conds, amct_edge edge) {
  const amct_choice *choice = amct_map_get(&conds->choice_of, edge.node);
  if (choice && edge.port >= 0 && edge.port != choice->port) return choice->flag;
  return amct_map_get(&conds->dead, edge.node);
}

/* The next tensor on the way back; false at its end. */
static bool step_back(const amct_conds *conds, amct_edge *edge, amct_choice **choice) {
  *choice = amct_map_get(&conds->choice_of, edge->node);
  if (!*choice || edge->port != (*choice)->port) return false;
  *edge = (*choice)->source;
  return true;
}

amct_edge amct_conds_source(const amct_conds *conds, amct_edge edge) {
  amct_edge end = edge, at = edge;
  amct_choice *choice;
  while (step_back(conds, &end, &choice)) {
  }
  while (step_back(conds, &at, &choice))
    choice->source = end; /* so that long ways are gone once */
  return end;
}

/* ---- what never runs ---- */

static bool is_merge(const amct_node *node) {
  return amct_ops_have("Merge|RefMerge", node->op);
}

/* A Merge runs if one of its inputs does; what comes round a loop began outside it. */
static bool is_merge_dead(const amct_conds *conds, const amct_node *merge) {
  for (uint32_t i = 0; i < merge->data_count; i++)
    if (!amct_node_is(merge->inputs[i].node, "NextIteration") &&
        !amct_conds_dead(conds, merge->inputs[i]))
      return false;
  return true;
}

static amct_status kill(amct_conds *conds, amct_node *node, amct_flag *flag,
                        amct_error *err) {
  if (amct_map_get(&conds->dead, node)) return AMCT_OK;
  if (is_merge(node) && !is_merge_dead(conds, node)) return AMCT_OK;
  AMCT_TRY(amct_map_set(&conds->dead, node, flag, err));
  return AMCT_VEC_PUSH(&conds->killed, node) ? AMCT_OK : amct_fail_memory(err);
}

static amct_status spread(amct_conds *conds, amct_error *err) {
  amct_map_free(&conds->dead);
  conds->killed.count = 0;
  for (size_t i = 0; i < conds->choices.count; i++) {
    const amct_choice *choice = conds->choices.at[i];
    for (uint32_t k = 0; k < choice->node->use_count; k++) {
      const amct_use *use = &choice->node->uses[k];
      const amct_edge edge = use->node->inputs[use->input];
      if (edge.port >= 0 && edge.port != choice->port)
        AMCT_TRY(kill(conds, use->node, choice->flag, err));
    }
  }
  for (size_t i = 0; i < conds->killed.count; i++) {
    const amct_node *node = conds->killed.at[i];
    amct_flag *flag = amct_map_get(&conds->dead, node);
    for (uint32_t k = 0; k < node->use_count; k++)
      AMCT_TRY(kill(conds, node->uses[k].node, flag, err));
  }
  return AMCT_OK;
}

amct_status amct_conds_find(amct_conds *conds, amct_error *err) {
  const amct_graph *graph = conds->pass->plan->graph;
  for (size_t i = 0; i < amct_graph_count(graph); i++)
    AMCT_TRY(look_at(conds, amct_graph_at(graph, i), err));
  return spread(conds, err);
}

amct_status amct_conds_drop_refused(amct_conds *conds, amct_error *err) {
  size_t kept = 0;
  for (size_t i = 0; i < conds->choices.count; i++) {
    amct_choice *choice = conds->choices.at[i];
    if (choice->flag->refused)
      amct_map_remove(&conds->choice_of, choice->node);
    else
      conds->choices.at[kept++] = choice;
  }
  if (kept == conds->choices.count) return AMCT_OK;
  conds->choices.count = kept;
  return spread(conds, err);
}

int amct_conds_live_input(const amct_conds *conds, const amct_node *merge) {
  int live = -1;
  for (uint32_t i = 0; i < merge->data_count; i++) {
    if (amct_conds_dead(conds, merge->inputs[i])) continue;
    if (live >= 0) return -1;
    live = (int)i;
  }
  return merge->data_count > 1 ? live : -1;
}

void amct_conds_free(amct_conds *conds) {
  AMCT_VEC_FREE(&conds->choices);
  AMCT_VEC_FREE(&conds->killed);
  amct_map_free(&conds->choice_of);
  amct_map_free(&conds->flag_of);
  amct_map_free(&conds->dead);
  amct_arena_free(&conds->scratch);
}
