/* SPDX-License-Identifier: Apache-2.0 */
/* The constants of a plan: folded weights and biases, once the structure is settled. */
#include "rewrite/fold_values.h"

/* A layer's fold as numbers; all of it lives in the scratch arena. */
typedef struct folded {
  float *weights;
  float *bias;
  amct_weight_layout layout;
  amct_shape weight_shape;
} folded;

static amct_status compute(const amct_fold *fold, amct_arena *scratch, folded *out,
                           amct_error *err) {
  const float *weights = NULL;
  const amct_node *layer = fold->layer;
  AMCT_TRY(
      amct_weight_read(layer, scratch, &weights, &out->layout, &out->weight_shape, err));
  const size_t channels = out->layout.channels;
  amct_fold_step *steps = amct_arena_array(scratch, fold->steps.count + 1, sizeof *steps);
  double *factor = amct_arena_array(scratch, channels, sizeof *factor);
  double *shift = amct_arena_array(scratch, channels, sizeof *shift);
  out->bias = amct_arena_array(scratch, channels, sizeof *out->bias);
  out->weights = amct_arena_array(scratch, out->layout.outer * out->layout.inner,
                                  channels * sizeof *out->weights);
  if (!steps || !factor || !shift || !out->bias || !out->weights)
    return amct_fail_memory(err);
  AMCT_TRY(
      amct_fold_read(steps, fold->steps.at, fold->steps.count, channels, scratch, err));

  size_t channel = 0;
  amct_foldable result =
      amct_fold_run(steps, fold->steps.count, channels, factor, shift, &channel);
  if (result == AMCT_FOLDABLE)
    result = amct_fold_weights(out->weights, weights, out->layout, factor, &channel);
  if (result !=
      AMCT_FOLDABLE) /* the rule looked before; a constant cannot have changed */
    return amct_fail(err, AMCT_UNSUPPORTED, layer->name, "%s, at channel %zu of \"%s\"",
                     amct_foldable_text(result), channel, layer->name);
  for (size_t c = 0; c < channels; c++)
    out->bias[c] = (float)shift[c];
  return AMCT_OK;
}

/* A new Const, so that a weight that others read too stays as it is. */
static amct_status settle_layer(amct_plan *plan, amct_edits *edits, const amct_fold *fold,
                                amct_error *err) {
  amct_arena scratch = {0};
  amct_arena *arena = amct_graph_arena(plan->graph);
  amct_node *layer = fold->layer;
  folded values;
  amct_status status = compute(fold, &scratch, &values, err);
  if (status != AMCT_OK) goto done;
  const char *wanted = amct_arena_format(arena, "%s/weights", layer->name);
  const char *name = wanted ? amct_edits_free_name(edits, wanted) : NULL;
  amct_node *bias = amct_graph_find(plan->graph, fold->bias);
  if (!name || !bias) {
    status =
        name ? amct_fail(err, AMCT_BAD_GRAPH, fold->bias, "no node \"%s\"", fold->bias)
             : amct_fail_memory(err);
    goto done;
  }
  const size_t channels = values.layout.channels;
  const size_t count = values.layout.outer * channels * values.layout.inner;
  const amct_shape bias_shape = {1, {(int64_t)channels}};
  amct_spec_tensor(amct_edits_add(edits, name, "Const", layer, true), AMCT_DTYPE_FLOAT,
                   &values.weight_shape, values.weights, count * sizeof *values.weights);
  amct_spec_tensor(amct_edits_replace(edits, bias, "Const"), AMCT_DTYPE_FLOAT,
                   &bias_shape, values.bias, channels * sizeof *values.bias);
  amct_edits_set_input(edits, layer, (uint32_t)amct_op_find(layer->op)->weight, name);
done:
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

amct_status amct_plan_settle(amct_plan *plan, amct_error *err) {
  amct_status status = AMCT_OK;
  amct_edits *edits = amct_edits_new(plan->graph);
  if (!edits) return amct_fail_memory(err);
  for (size_t i = 0; i < plan->folds.count && status == AMCT_OK; i++)
    status = settle_layer(plan, edits, plan->folds.at[i], err);
  for (size_t i = 0; i < plan->made.count && status == AMCT_OK; i++)
    status = settle_made(plan, edits, plan->made.at[i], err);
  if (status == AMCT_OK) status = amct_edits_apply(edits, err);
  if (status == AMCT_OK)
    status = amct_graph_sweep(plan->graph, plan->options.outputs,
                              plan->options.output_count, err);
  amct_edits_free(edits);
  return status;
}
