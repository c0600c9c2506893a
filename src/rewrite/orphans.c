/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that what is planned leaves without readers: they keep no other fusion from its
 * place. */
#include "base/vec.h"
#include "op/ops.h"
#include "rewrite/match.h"
#include "rewrite/plan.h"

static bool is_output(const amct_plan *plan, const amct_node *node) {
  for (size_t i = 0; i < plan->options.output_count; i++)
    if (strcmp(plan->options.outputs[i], node->name) == 0) return true;
  return false;
}

static bool is_folded_weight(const amct_plan *plan, const amct_use *use) {
  const amct_fold *fold = amct_plan_fold(plan, use->node);
  return fold && amct_plan_scales(fold) &&
         (int64_t)use->input == amct_op_find(use->node->op)->weight;
}

/* A weight whose readers all get folded ones instead. */
static bool is_replaced(const amct_plan *plan, const amct_node *node) {
  if (is_output(plan, node)) return false;
  for (uint32_t i = 0; i < node->use_count; i++)
    if (!is_folded_weight(plan, &node->uses[i]) &&
        !amct_map_get(&plan->orphans, node->uses[i].node))
      return false;
  return true;
}

/* From the weight of a folded layer back to its source; no node is looked at twice. */
static amct_status add_weight(amct_plan *plan, amct_map *seen, const amct_node *layer,
                              amct_error *err) {
  amct_node *node = layer->inputs[amct_op_find(layer->op)->weight].node;
  while (node && !amct_map_get(seen, node)) {
    AMCT_TRY(amct_map_set(seen, node, node, err));
    if (!is_replaced(plan, node)) return AMCT_OK;
    AMCT_TRY(amct_map_set(&plan->orphans, node, node, err));
    node = node->data_count ? node->inputs[0].node : NULL;
  }
  return AMCT_OK;
}

/* ---- what only training runs ---- */

static bool is_variable(amct_edge edge) {
  bool is_const = true;
  return amct_param_source(edge, &is_const) && !is_const;
}

static bool writes_variable(const amct_node *node) {
  static const char *const k_starts[] = {
      "Assign",  "Apply",           "ResourceApply",      "SparseApply",
      "Scatter", "ResourceScatter", "ResourceSparseApply"};
  for (size_t i = 0; i < sizeof k_starts / sizeof *k_starts; i++)
    if (strncmp(node->op, k_starts[i], strlen(k_starts[i])) == 0)
      return node->data_count > 0 && is_variable(node->inputs[0]);
  return false;
}

/* A cond that updates a variable in one of its branches, and what it leaves of it in the
 * other: nobody reads that. */
static bool updates(const amct_node *node) {
  if (!amct_ops_have("Merge|RefMerge", node->op)) return writes_variable(node);
  for (uint32_t i = 0; i < node->data_count; i++)
    if (writes_variable(node->inputs[i].node) ||
        (node->use_count == 0 && is_variable(node->inputs[i])))
      return true;
  return false;
}

/* Readers that are left of each node, by its index: those that are not for training. */
typedef struct readers {
  amct_plan *plan;
  uint32_t *left;
  AMCT_VEC(amct_node *) none;
} readers;

static amct_status look_at(readers *r, amct_node *node, amct_error *err) {
  if (r->left[node->index] > 0 || is_output(r->plan, node)) return AMCT_OK;
  if (amct_map_get(&r->plan->orphans, node)) return AMCT_OK;
  AMCT_TRY(amct_map_set(&r->plan->orphans, node, node, err));
  return AMCT_VEC_PUSH(&r->none, node) ? AMCT_OK : amct_fail_memory(err);
}

/* A group of updates waits for them. */
static uint32_t count_readers(const amct_plan *plan, const amct_node *node,
                              bool updating) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < node->use_count; i++) {
    const amct_node *reader = node->uses[i].node;
    count += !amct_map_get(&plan->orphans, reader) &&
             !(updating && strcmp(reader->op, "NoOp") == 0);
  }
  return count;
}

static amct_status find_training(readers *r, amct_error *err) {
  const amct_graph *graph = r->plan->graph;
  for (size_t i = 0; i < amct_graph_count(graph); i++)
    r->left[i] =
        count_readers(r->plan, amct_graph_at(graph, i), updates(amct_graph_at(graph, i)));
  for (size_t i = 0; i < amct_graph_count(graph); i++)
    if (updates(amct_graph_at(graph, i)))
      AMCT_TRY(look_at(r, amct_graph_at(graph, i), err));
  while (r->none.count > 0) {
    const amct_node *node = r->none.at[--r->none.count];
    for (uint32_t i = 0; i < node->input_count; i++) {
      r->left[node->inputs[i].node->index]--;
      AMCT_TRY(look_at(r, node->inputs[i].node, err));
    }
  }
  return AMCT_OK;
}

/* Updates of variables, and what they alone read. A graph that is frozen has none of it,
 * and the plan of the live graph is that of the frozen one. */
static amct_status add_training(amct_plan *plan, amct_error *err) {
  readers r = {.plan = plan};
  r.left = amct_alloc_array(amct_graph_count(plan->graph) + 1, sizeof *r.left);
  const amct_status status = r.left ? find_training(&r, err) : amct_fail_memory(err);
  AMCT_VEC_FREE(&r.none);
  amct_free(r.left);
  return status;
}

amct_status amct_plan_find_orphans(amct_plan *plan, amct_error *err) {
  amct_map seen = {0};
  amct_map_free(&plan->orphans);
  amct_status status =
      amct_graph_orphans(&plan->orphans, plan->graph, plan->options.outputs,
                         plan->options.output_count, err);
  for (size_t i = 0; i < plan->folds.count && status == AMCT_OK; i++)
    if (amct_plan_scales(plan->folds.at[i]))
      status = add_weight(plan, &seen, plan->folds.at[i]->layer, err);
  amct_map_free(&seen);
  return status == AMCT_OK ? add_training(plan, err) : status;
}
