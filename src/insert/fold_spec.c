/* SPDX-License-Identifier: Apache-2.0 */
#include "insert/fold_spec.h"

#include "base/number.h"

#include <stdio.h>

enum { STEP_TEXT_BYTES = 96, BATCH_NORM_INPUTS = 4 };

/* The values that a parameter of the step has. */
static size_t step_values(const amct_fold_ref *step, const amct_layer *layer) {
  const int64_t count = step->total ? step->total : layer->channels;
  return count > 0 ? (size_t)count : 0;
}

/* A parameter that the graph has not, as a constant beside the observer. */
static amct_status put_filled(amct_edits *edits, amct_spec *spec, const amct_layer *layer,
                              size_t channels, float value, amct_error *err) {
  amct_arena *arena = amct_graph_arena(layer->node->graph);
  const amct_shape shape = {1, {(int64_t)channels}};
  float *values = amct_arena_array(arena, channels + 1, sizeof *values);
  const char *name = amct_arena_format(arena, "%s/%s", amct_spec_name(spec),
                                       value == 0.0f ? "zeros" : "ones");
  if (name) name = amct_edits_free_name(edits, name);
  if (!values || !name) return amct_fail_memory(err);
  for (size_t c = 0; c < channels; c++)
    values[c] = value;
  amct_spec_tensor(amct_edits_add(edits, name, "Const", layer->node, true),
                   AMCT_DTYPE_FLOAT, &shape, values, channels * sizeof *values);
  amct_spec_input(spec, name);
  return AMCT_OK;
}

static size_t step_inputs(const amct_fold_ref *step) {
  return step->kind == AMCT_FOLD_BATCH_NORM ? BATCH_NORM_INPUTS : 1;
}

/* Behind what the step does: which part of its values the layer has, if not all. */
static void print_part(char text[STEP_TEXT_BYTES], const amct_fold_ref *step,
                       const amct_layer *layer) {
  const size_t used = strlen(text);
  if (step->total)
    snprintf(text + used, STEP_TEXT_BYTES - used, ":%lld:%lld", (long long)step->first,
             (long long)layer->channels);
}

/* A step as the attribute `fold` has it, its edges as further inputs. */
static amct_status put_step(amct_edits *edits, amct_spec *spec, const amct_layer *layer,
                            const amct_fold_ref *step, char text[STEP_TEXT_BYTES],
                            amct_error *err) {
  if (step->kind != AMCT_FOLD_BATCH_NORM) {
    amct_spec_input(spec, amct_edge_text(step->bias));
    strcpy(text, amct_fold_kind_name(step->kind));
    print_part(text, step, layer);
    return AMCT_OK;
  }
  const amct_edge edges[BATCH_NORM_INPUTS] = {step->scale, step->offset, step->mean,
                                              step->variance};
  for (size_t i = 0; i < BATCH_NORM_INPUTS; i++) {
    if (edges[i].node)
      amct_spec_input(spec, amct_edge_text(edges[i]));
    else
      AMCT_TRY(put_filled(edits, spec, layer, step_values(step, layer),
                          i == 0 ? 1.0f : 0.0f, err));
  }
  char number[AMCT_NUMBER_BYTES];
  amct_number_print_float(number, step->epsilon);
  snprintf(text, STEP_TEXT_BYTES, "batch_norm:%s", number);
  print_part(text, step, layer);
  return AMCT_OK;
}

const amct_fold_ref *amct_fold_spec_steps(const amct_plan *plan, const amct_layer *layer,
                                          amct_fold_ref *bias, size_t *count) {
  const amct_fold *fold = amct_plan_fold(plan, layer->node);
  *bias = (amct_fold_ref){.kind = AMCT_FOLD_BIAS};
  *count = fold ? fold->steps.count : 0;
  if (fold) return fold->steps.at;
  if (layer->bias) {
    bias->bias = layer->bias->inputs[1];
    *count = 1;
  }
  return bias;
}

amct_status amct_fold_spec_put(amct_edits *edits, const amct_plan *plan, amct_spec *spec,
                               const amct_layer *layer, size_t *inputs, amct_error *err) {
  amct_fold_ref bias;
  size_t count = 0;
  const amct_fold_ref *steps = amct_fold_spec_steps(plan, layer, &bias, &count);

  amct_arena *arena = amct_graph_arena(plan->graph);
  char(*text)[STEP_TEXT_BYTES] = amct_arena_array(arena, count + 1, STEP_TEXT_BYTES);
  const char **at = amct_arena_array(arena, count + 1, sizeof *at);
  if (!text || !at) return amct_fail_memory(err);
  amct_spec_input(spec, amct_edge_text(layer->weight));
  *inputs = 1;
  for (size_t i = 0; i < count; i++) {
    AMCT_TRY(put_step(edits, spec, layer, &steps[i], text[i], err));
    *inputs += step_inputs(&steps[i]);
    at[i] = text[i];
  }
  amct_spec_texts(spec, "fold", at, count);
  return AMCT_OK;
}

amct_status amct_fold_spec_types(amct_arena *arena, amct_spec *spec, size_t inputs,
                                 amct_error *err) {
  amct_dtype *types = amct_arena_array(arena, inputs + 1, sizeof *types);
  if (!types) return amct_fail_memory(err);
  for (size_t i = 0; i < inputs; i++)
    types[i] = AMCT_DTYPE_FLOAT;
  amct_spec_types(spec, "Tin", types, inputs);
  return AMCT_OK;
}

void amct_fold_spec_axes(amct_spec *spec, const amct_layer *layer) {
  int64_t axes[AMCT_RANK_MAX];
  size_t count = 0;
  for (int64_t axis = 0; axis < AMCT_RANK_MAX; axis++)
    if (layer->op->channel_axes >> axis & 1) axes[count++] = axis;
  amct_spec_ints(spec, "channel_axes", axes, count);
}
