/* SPDX-License-Identifier: Apache-2.0 */
/* The constants of a plan: folded weights and biases, once the structure is settled. */
#include "rewrite/fold_values.h"

/* The Const that the rule made for the sum of the shifts gets its value. */
static amct_status settle_bias(const amct_plan *plan, amct_edits *edits,
                               const amct_fold *fold, const amct_folded *folded,
                               amct_error *err) {
  const size_t channels = folded->layout.channels;
  const amct_shape shape = {1, {(int64_t)channels}};
  amct_node *node = amct_graph_find(plan->graph, fold->bias);
  if (!node)
    return amct_fail(err, AMCT_BAD_GRAPH, fold->bias, "no node \"%s\"", fold->bias);
  float *bias = amct_alloc_array(channels, sizeof *bias);
  if (!bias) return amct_fail_memory(err);
  for (size_t c = 0; c < channels; c++)
    bias[c] = (float)folded->shift[c];
  amct_spec_tensor(amct_edits_replace(edits, node, "Const"), AMCT_DTYPE_FLOAT, &shape,
                   bias, channels * sizeof *bias);
  amct_free(bias);
  return AMCT_OK;
}

/* A new Const, so that a weight that others read too stays as it is. */
static amct_status settle_weights(const amct_plan *plan, amct_edits *edits,
                                  amct_node *layer, const amct_folded *folded,
                                  amct_error *err) {
  const amct_weight_layout l = folded->layout;
  const char *wanted =
      amct_arena_format(amct_graph_arena(plan->graph), "%s/weights", layer->name);
  const char *name = wanted ? amct_edits_free_name(edits, wanted) : NULL;
  if (!name) return amct_fail_memory(err);
  amct_spec_tensor(amct_edits_add(edits, name, "Const", layer, true), AMCT_DTYPE_FLOAT,
                   &folded->shape, folded->weights,
                   l.outer * l.channels * l.inner * sizeof *folded->weights);
  amct_edits_set_input(edits, layer, (uint32_t)amct_op_find(layer->op)->weight, name);
  return AMCT_OK;
}

static amct_status settle_layer(const amct_plan *plan, amct_edits *edits,
                                const amct_fold *fold, bool weights, amct_error *err) {
  amct_arena scratch = {0};
  amct_folded folded;
  amct_status status = amct_folded_read(&folded, fold->layer, fold, &scratch, err);
  if (status == AMCT_OK) status = settle_bias(plan, edits, fold, &folded, err);
  if (status == AMCT_OK && weights) {
    status = amct_folded_multiply(&folded, fold->layer, &scratch, err);
    if (status == AMCT_OK)
      status = settle_weights(plan, edits, fold->layer, &folded, err);
  }
  amct_arena_free(&scratch);
  return status;
}

/* A parameter that a rule made gets its value; one that is read no more goes in the
 * sweep. */
static amct_status settle_made(amct_plan *plan, amct_edits *edits, const amct_made *made,
                               amct_error *err) {
  amct_arena scratch = {0};
  const float *values = NULL;
  const amct_shape shape = {1, {made->channels}};
  amct_node *node = amct_graph_find(plan->graph, made->name);
  if (!node || node->use_count == 0) return AMCT_OK;
  const size_t channels = (size_t)made->channels;
  const amct_status status =
      amct_vector_read(made->from, made->fill, channels, &scratch, &values, err);
  if (status == AMCT_OK)
    amct_spec_tensor(amct_edits_replace(edits, node, "Const"), AMCT_DTYPE_FLOAT, &shape,
                     values, channels * sizeof *values);
  amct_arena_free(&scratch);
  return status;
}

amct_status amct_plan_settle(amct_plan *plan, const amct_map *but, amct_error *err) {
  amct_status status = AMCT_OK;
  amct_edits *edits = amct_edits_new(plan->graph);
  if (!edits) return amct_fail_memory(err);
  for (size_t i = 0; i < plan->folds.count && status == AMCT_OK; i++) {
    const amct_fold *fold = plan->folds.at[i];
    const bool weights =
        amct_plan_scales(fold) && (!but || !amct_map_get(but, fold->layer));
    status = settle_layer(plan, edits, fold, weights, err);
  }
  for (size_t i = 0; i < plan->made.count && status == AMCT_OK; i++)
    status = settle_made(plan, edits, plan->made.at[i], err);
  if (status == AMCT_OK) status = amct_edits_apply(edits, err);
  if (status == AMCT_OK)
    status = amct_graph_sweep(plan->graph, plan->options.outputs,
                              plan->options.output_count, err);
  amct_edits_free(edits);
  return status;
}
