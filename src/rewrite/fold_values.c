/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite/fold_values.h"
#include "op/parameters.h"

/* Where there is no edge the value is known: ones or zeros. */
static bool is_const(amct_edge edge) {
  bool constant = false;
  return !edge.node || (amct_vector_source(edge, &constant) && constant);
}

bool amct_fold_is_constant(const amct_fold_ref *steps, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const amct_fold_ref *s = &steps[i];
    if (s->kind != AMCT_FOLD_BATCH_NORM
            ? !is_const(s->bias)
            : !is_const(s->scale) || !is_const(s->offset) || !is_const(s->mean) ||
                  !is_const(s->variance))
      return false;
  }
  return true;
}

static amct_status read_floats(amct_edge edge, amct_arena *scratch, amct_tensor *tensor,
                               const float **values, amct_error *err) {
  bool constant = false;
  const amct_node *source = amct_vector_source(edge, &constant);
  if (!source || !constant)
    return amct_fail(err, AMCT_UNSUPPORTED, edge.node->name,
                     "%s \"%s\" is not a constant: freeze the graph first", edge.node->op,
                     edge.node->name);
  AMCT_TRY(amct_const_tensor(source, tensor, err));
  return amct_tensor_floats(tensor, scratch, values, source, err);
}

amct_status amct_vector_read(amct_edge edge, float fill, size_t channels,
                             amct_arena *scratch, const float **values, amct_error *err) {
  amct_tensor tensor;
  if (!edge.node) {
    float *filled = amct_arena_array(scratch, channels, sizeof *filled);
    if (!filled) return amct_fail_memory(err);
    for (size_t c = 0; c < channels; c++)
      filled[c] = fill;
    *values = filled;
    return AMCT_OK;
  }
  AMCT_TRY(read_floats(edge, scratch, &tensor, values, err));
  if (tensor.count != channels)
    return amct_fail(err, AMCT_UNSUPPORTED, edge.node->name,
                     "\"%s\" has %zu values for %zu channels", edge.node->name,
                     tensor.count, channels);
  return AMCT_OK;
}

amct_status amct_fold_read(amct_fold_step *out, const amct_fold_ref *steps, size_t count,
                           size_t channels, amct_arena *scratch, amct_error *err) {
  for (size_t i = 0; i < count; i++) {
    const amct_fold_ref *s = &steps[i];
    out[i] =
        (amct_fold_step){.kind = s->kind, .single = s->single, .epsilon = s->epsilon};
    const struct {
      amct_edge edge;
      float fill;
      const float **values;
    } parts[] = {{s->scale, 1, &out[i].scale},
                 {s->offset, 0, &out[i].offset},
                 {s->mean, 0, &out[i].mean},
                 {s->variance, 0, &out[i].variance}};
    const size_t total = s->total ? (size_t)s->total : channels;
    if (s->kind != AMCT_FOLD_BATCH_NORM) {
      AMCT_TRY(amct_vector_read(s->bias, 0, s->single ? 1 : total, scratch, &out[i].bias,
                                err));
      out[i].bias += s->first;
    }
    for (size_t k = 0; k < 4 && s->kind == AMCT_FOLD_BATCH_NORM; k++) {
      const bool filled = !parts[k].edge.node;
      AMCT_TRY(amct_vector_read(parts[k].edge, parts[k].fill, filled ? channels : total,
                                scratch, parts[k].values, err));
      if (!filled) *parts[k].values += s->first;
    }
  }
  return AMCT_OK;
}

amct_status amct_weight_read(const amct_node *layer, amct_arena *scratch,
                             const float **weights, amct_weight_layout *layout,
                             amct_shape *shape, amct_error *err) {
  const amct_op *op = amct_op_find(layer->op);
  AMCT_TRY(amct_weight_floats(layer->inputs[op->weight], scratch, weights, shape, err));
  const amct_channels c = amct_op_channels(op, shape);
  if (c.outer < 0 || c.channels <= 0 || c.inner < 0)
    return amct_fail(err, AMCT_UNSUPPORTED, layer->name,
                     "%s \"%s\" has weights of rank %d", layer->op, layer->name,
                     (int)shape->rank);
  *layout = (amct_weight_layout){(size_t)c.outer, (size_t)c.channels, (size_t)c.inner};
  return AMCT_OK;
}

/* Factor and shift of each channel, by `count` steps behind `bias` (may be NULL). */
static amct_status run_steps(amct_folded *out, const amct_fold_ref *steps, size_t count,
                             size_t channels, amct_arena *scratch, amct_error *err) {
  amct_fold_step *values = amct_arena_array(scratch, count + 1, sizeof *values);
  out->factor = amct_arena_array(scratch, channels, sizeof *out->factor);
  out->shift = amct_arena_array(scratch, channels, sizeof *out->shift);
  if (!values || !out->factor || !out->shift) return amct_fail_memory(err);
  values[0] = (amct_fold_step){.kind = AMCT_FOLD_BIAS, .bias = out->bias};
  const size_t own = out->bias ? 1 : 0;
  AMCT_TRY(amct_fold_read(values + own, steps, count, channels, scratch, err));
  out->result = amct_fold_run(values, own + count, channels, out->factor, out->shift,
                              &out->channel);
  return AMCT_OK;
}

/* Input channels are axis 2 of a filter. */
static amct_weight_layout input_layout(const amct_shape *shape) {
  return (amct_weight_layout){(size_t)shape->dims[0] * (size_t)shape->dims[1],
                              (size_t)shape->dims[2], (size_t)shape->dims[3]};
}

/* Batch norms before the layer, into weights and a bias of float32. */
static amct_status run_before(amct_folded *out, const amct_fold *fold,
                              amct_arena *scratch, amct_error *err) {
  const amct_weight_layout l = out->layout, inputs = input_layout(&out->shape);
  float *bias = amct_arena_array(scratch, l.channels, sizeof *bias);
  float *weights =
      amct_arena_array(scratch, l.outer * l.inner, l.channels * sizeof *weights);
  if (!bias || !weights) return amct_fail_memory(err);
  AMCT_TRY(
      run_steps(out, fold->before.at, fold->before.count, inputs.channels, scratch, err));
  if (out->result == AMCT_FOLDABLE)
    out->result =
        amct_fold_shifts(bias, out->weights, l, inputs, out->shift, &out->channel);
  if (out->result == AMCT_FOLDABLE)
    out->result =
        amct_fold_weights(weights, out->weights, inputs, out->factor, &out->channel);
  out->bias = bias;
  out->weights = weights;
  return AMCT_OK;
}

static amct_status run_fold(amct_folded *out, const amct_fold *fold, amct_arena *scratch,
                            amct_error *err) {
  if (fold->before.count) AMCT_TRY(run_before(out, fold, scratch, err));
  if (out->result != AMCT_FOLDABLE) return AMCT_OK;
  return run_steps(out, fold->steps.at, fold->steps.count, out->layout.channels, scratch,
                   err);
}

/* The rule looked before; a constant cannot have changed. */
static amct_status check_result(const amct_folded *folded, const amct_node *layer,
                                amct_error *err) {
  if (folded->result == AMCT_FOLDABLE) return AMCT_OK;
  return amct_fail(err, AMCT_UNSUPPORTED, layer->name, "%s, at channel %zu of \"%s\"",
                   amct_foldable_text(folded->result), folded->channel, layer->name);
}

amct_status amct_folded_read(amct_folded *out, const amct_node *layer,
                             const amct_fold *fold, amct_arena *scratch,
                             amct_error *err) {
  *out = (amct_folded){.result = AMCT_FOLDABLE};
  AMCT_TRY(
      amct_weight_read(layer, scratch, &out->weights, &out->layout, &out->shape, err));
  if (!fold) return AMCT_OK;
  AMCT_TRY(run_fold(out, fold, scratch, err));
  return check_result(out, layer, err);
}

amct_status amct_folded_multiply(amct_folded *folded, const amct_node *layer,
                                 amct_arena *scratch, amct_error *err) {
  const amct_weight_layout l = folded->layout;
  if (!folded->factor) return AMCT_OK;
  float *out = amct_arena_array(scratch, l.outer * l.inner, l.channels * sizeof *out);
  if (!out) return amct_fail_memory(err);
  folded->result =
      amct_fold_weights(out, folded->weights, l, folded->factor, &folded->channel);
  folded->weights = out;
  return check_result(folded, layer, err);
}

amct_status amct_fold_try(const amct_fold *fold, amct_foldable *result, size_t *channel,
                          amct_error *err) {
  const amct_node *layer = fold->layer;
  amct_arena scratch = {0};
  amct_folded f;
  amct_status status = amct_folded_read(&f, layer, NULL, &scratch, err);
  if (status == AMCT_OK) status = run_fold(&f, fold, &scratch, err);
  if (status == AMCT_OK && f.result == AMCT_FOLDABLE)
    f.result = amct_fold_check(f.weights, f.layout, f.factor, &f.channel);
  *result = f.result;
  *channel = f.channel;
  bool constant = false;
  const amct_op *op = amct_op_find(layer->op);
  const amct_node *weights = amct_param_source(layer->inputs[op->weight], &constant);
  if (constant) amct_const_forget(weights); /* planning holds one layer's at a time */
  amct_arena_free(&scratch);
  return status;
}
