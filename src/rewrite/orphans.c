/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that what is planned leaves without readers: they keep no other fusion from its
 * place. */
#include "op/ops.h"
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
  return status;
}
