/* SPDX-License-Identifier: Apache-2.0 */
/* What a layer's constants become: int8 weights, biases in integer units. */
#include <math.h>

#include "base/digest.h"
#include "insert/deploy_private.h"
#include "numeric/bias_shift.h"
#include "numeric/weights.h"
#include "op/parameters.h"
#include "rewrite/fold_values.h"

/* The axis of offset_w that the op looks at: 2 where the filter's axis 2 holds output
 * channels, else 3. */
static amct_shape offset_shape(const amct_layer *layer, size_t scales) {
  amct_shape shape = {0, {0}};
  if (scales == 1 || layer->weight_shape.rank != 4) return shape;
  int axis = layer->op->channel_axes >> 2 & 1 ? 2 : 3;
  shape = (amct_shape){4, {1, 1, 1, 1}};
  shape.dims[axis] = layer->weight_shape.dims[axis];
  return shape;
}

/* The batch norm folded last into a layer, for messages. */
static const char *folded_name(const amct_fold *fold) {
  for (size_t i = fold ? fold->steps.count : 0; i > 0; i--)
    if (fold->steps.at[i - 1].kind == AMCT_FOLD_BATCH_NORM)
      return fold->steps.at[i - 1].variance.node->name;
  return NULL;
}

static amct_status check_scales(const amct_deployer *d, const amct_job *j,
                                const float *weights, amct_weight_layout layout,
                                amct_error *err) {
  size_t channel = 0;
  float ratio = amct_weight_worst_ratio(weights, layout, j->factors->scale_w,
                                        j->factors->scale_w_count, &channel);
  if (ratio <= 128.0f) return AMCT_OK;
  const char *norm = folded_name(j->fold);
  float scale = j->factors->scale_w[j->factors->scale_w_count == 1 ? 0 : channel];
  return amct_fail(
      err, AMCT_BAD_RECORD, j->name,
      "%s: layer \"%s\": scale_w %g of channel %zu is too small for its weights, whose "
      "largest is "
      "%g%s%s: record and model do not belong together",
      d->options->record_path, j->name, (double)scale, channel, (double)(ratio * scale),
      norm ? " after folding the batch norm with variance " : "", norm ? norm : "");
}

/* ---- constants in the place of others: inside while loops too ---- */

/* A constant of a loop's body waits for the turn by a control input: so must one that
 * takes its place. */
static void wait_like(amct_spec *spec, const amct_node *source) {
  for (uint32_t i = source->data_count; i < source->input_count; i++)
    amct_spec_input(spec, amct_edge_text(source->inputs[i]));
}

/* `tensor`, which stands beside the constant at the end of `edge`, as it can be read
 * where the edge is read: through an Enter for each one between them. NULL: no memory. */
static const char *enter_like(amct_deployer *d, const amct_layer *layer, amct_edge edge,
                              const char *tensor) {
  amct_node *node = edge.node;
  if (node->data_count == 0) return tensor;
  tensor = enter_like(d, layer, node->inputs[0], tensor);
  if (!tensor || strcmp(node->op, "Enter") != 0) return tensor;
  const char *wanted = amct_arena_format(d->arena, "%s/Enter", tensor);
  const char *name = wanted ? amct_edits_free_name(d->edits, wanted) : NULL;
  if (!name) return NULL;
  amct_spec *spec = amct_edits_add(d->edits, name, "Enter", layer->node, true);
  amct_spec_input(spec, tensor);
  amct_spec_copy_fields(spec, node);
  return name;
}

/* Stats are of these weights, or of no use. */
static void check_stats(amct_job *j, const amct_folded *w) {
  const size_t count = w->layout.outer * w->layout.channels * w->layout.inner;
  const uint64_t digest =
      j->stats ? amct_digest(0, w->weights, count * sizeof *w->weights) : 0;
  if (j->stats && j->stats->weights != digest) j->stats = NULL;
}

/* To the steps that calibration found best, or to the nearest. */
static void quantize(amct_deployer *d, const amct_job *j, const amct_folded *w,
                     int8_t *q) {
  const amct_layer_stats *stats = j->stats;
  const size_t count = w->layout.outer * w->layout.channels * w->layout.inner;
  if (stats && stats->rounded_count == count) {
    memcpy(q, stats->rounded, count);
    d->rounded++;
  } else {
    amct_weight_quantize(q, w->weights, w->layout, j->factors->scale_w,
                         j->factors->scale_w_count);
  }
}

/* The shift of the bias by these weights, where there are stats of them. */
static amct_status find_shift(amct_deployer *d, amct_job *j, const amct_folded *w,
                              const int8_t *q, amct_error *err) {
  const amct_layer_stats *stats = j->stats;
  const amct_factors *f = j->factors;
  const amct_weight_pair pair = {w->weights, q, w->layout, f->scale_w, f->scale_w_count};
  const bool wanted = j->layer->bias || (j->known && j->known->rounded_count != 0);
  if (!d->options->stats || d->options->steps_only || !wanted) return AMCT_OK;
  if (!stats)
    return AMCT_VEC_PUSH(&d->uncorrected, j->name) ? AMCT_OK : amct_fail_memory(err);
  const bool has_bias = stats->bias_count == w->layout.channels;
  if (!j->layer->bias || (stats->mean_count == 0 && !has_bias)) return AMCT_OK;
  j->shift = amct_arena_array(d->arena, w->layout.channels, sizeof *j->shift);
  if (!j->shift) return amct_fail_memory(err);
  if (stats->mean_count != 0 &&
      !amct_bias_shift(j->shift, &pair, stats->mean, stats->mean_count, stats->taps)) {
    j->shift = NULL;
    return AMCT_VEC_PUSH(&d->uncorrected, j->name) ? AMCT_OK : amct_fail_memory(err);
  }
  for (size_t c = 0; has_bias && c < w->layout.channels; c++)
    j->shift[c] += (double)stats->bias[c];
  d->corrected++;
  return AMCT_OK;
}

/* The int8 weights as a Const of this name. */
static amct_status add_weights(amct_deployer *d, amct_job *j, const char *name,
                               amct_error *err) {
  amct_arena scratch = {0};
  amct_folded w;
  amct_status status = amct_folded_read(&w, j->layer->node, j->fold, &scratch, err);
  if (status == AMCT_OK) status = amct_folded_multiply(&w, j->layer->node, &scratch, err);
  if (status == AMCT_OK) status = check_scales(d, j, w.weights, w.layout, err);
  if (status != AMCT_OK) goto done;
  int8_t *q =
      amct_arena_array(&scratch, w.layout.outer * w.layout.inner, w.layout.channels);
  if (!q) {
    status = amct_fail_memory(err);
    goto done;
  }
  check_stats(j, &w);
  quantize(d, j, &w, q);
  wait_like(amct_deploy_const(d, j->layer, name, AMCT_DTYPE_INT8, &w.shape, q),
            j->layer->weight_node);
  status = find_shift(d, j, &w, q, err);
  amct_const_forget(j->layer->weight_node); /* no more than one layer is held twice */
done:
  amct_arena_free(&scratch);
  return status;
}

static amct_status add_offsets(amct_deployer *d, const amct_job *j, const char *name,
                               amct_error *err) {
  const amct_shape shape = offset_shape(j->layer, j->factors->scale_w_count);
  size_t count = 1;
  for (int i = 0; i < shape.rank; i++)
    count *= (size_t)shape.dims[i];
  int8_t *zeros = amct_alloc_array(count, 1);
  if (!zeros) return amct_fail_memory(err);
  wait_like(amct_deploy_const(d, j->layer, name, AMCT_DTYPE_INT8, &shape, zeros),
            j->layer->weight_node);
  amct_free(zeros);
  return AMCT_OK;
}

amct_status amct_deploy_weights(amct_deployer *d, amct_job *j, amct_error *err) {
  const amct_layer *layer = j->layer;
  if (strcmp(layer->weight_node->op, "Const") != 0)
    return amct_fail(
        err, AMCT_UNSUPPORTED, j->name,
        "layer \"%s\" reads its weights from %s \"%s\": freeze the graph first", j->name,
        layer->weight_node->op, layer->weight_node->name);
  const char *scope =
      amct_scopes_take(&d->scopes, j->name, "weight_quant", "AscendWeightQuant");
  const char *name = scope ? amct_deploy_join(d, scope, "AscendWeightQuant") : NULL;
  const char *weight_name = scope ? amct_deploy_join(d, scope, "weight") : NULL;
  const char *offset_name = scope ? amct_deploy_join(d, scope, "offset_w") : NULL;
  if (!name || !weight_name || !offset_name) return amct_fail_memory(err);
  weight_name = amct_edits_free_name(d->edits, weight_name);
  offset_name = amct_edits_free_name(d->edits, offset_name);
  AMCT_TRY(add_weights(d, j, weight_name, err));
  AMCT_TRY(add_offsets(d, j, offset_name, err));

  amct_spec *spec =
      amct_edits_add(d->edits, name, "AscendWeightQuant", layer->node, true);
  amct_spec_input(spec, weight_name);
  amct_spec_input(spec, offset_name);
  amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
  name = enter_like(d, layer, layer->node->inputs[layer->op->weight], name);
  if (!name) return amct_fail_memory(err);
  amct_edits_set_input(d->edits, layer->node, (uint32_t)layer->op->weight, name);
  return AMCT_OK;
}

/* ---- bias ---- */

/* Corrected, where that stays within int32. */
static float quantize_bias(const amct_job *j, size_t channel, float bias, float scale_w) {
  const float plain = amct_bias_quantize(bias, j->factors->scale_d, scale_w);
  if (!j->shift) return plain;
  const float moved = amct_bias_quantize((float)((double)bias + j->shift[channel]),
                                         j->factors->scale_d, scale_w);
  return fabsf(moved) <= AMCT_BIAS_LIMIT ? moved : plain;
}

amct_status amct_deploy_bias(amct_deployer *d, const amct_job *j, amct_error *err) {
  amct_node *add = j->layer->bias;
  bool is_const = false;
  amct_node *source = amct_vector_source(add->inputs[1], &is_const);
  if (!source || !is_const)
    return amct_fail(err, AMCT_UNSUPPORTED, j->name,
                     "the bias of layer \"%s\" is not a constant: freeze the graph first",
                     j->name);
  amct_arena scratch = {0};
  amct_tensor tensor;
  const float *bias = NULL;
  float *q = NULL;
  amct_status status;
  if ((status = amct_const_tensor(source, &tensor, err)) != AMCT_OK ||
      (status = amct_tensor_floats(&tensor, &scratch, &bias, source, err)) != AMCT_OK)
    goto done;
  const amct_factors *f = j->factors;
  const char *name = amct_edits_free_name(
      d->edits, amct_arena_format(d->arena, "%s/bias_quantized", add->name));
  q = amct_arena_array(&scratch, tensor.count, sizeof *q);
  if (!q || !name) {
    status = amct_fail_memory(err);
    goto done;
  }
  if (f->scale_w_count != 1 && f->scale_w_count != tensor.count) {
    status =
        amct_fail(err, AMCT_BAD_GRAPH, add->name, "bias has %zu values for %zu channels",
                  tensor.count, f->scale_w_count);
    goto done;
  }
  for (size_t c = 0; c < tensor.count; c++) {
    float scale_w = f->scale_w[f->scale_w_count == 1 ? 0 : c];
    q[c] = quantize_bias(j, c, bias[c], scale_w);
    if (!(fabsf(q[c]) <= AMCT_BIAS_LIMIT)) {
      status = amct_fail(err, AMCT_BAD_RECORD, j->name,
                         "%s: layer \"%s\": bias %g of channel %zu is %g steps of "
                         "scale_d*scale_w = %g, outside int32: use a "
                         "scale_w of at least %g there, or leave the layer float",
                         d->options->record_path, j->name, (double)bias[c], c,
                         (double)q[c], (double)(f->scale_d * scale_w),
                         (double)amct_bias_fit(bias[c], f->scale_d, scale_w));
      goto done;
    }
  }
  wait_like(amct_deploy_const(d, j->layer, name, AMCT_DTYPE_FLOAT, &tensor.shape, q),
            source);
  name = enter_like(d, j->layer, add->inputs[1], name);
  if (name)
    amct_edits_set_input(d->edits, add, 1, name);
  else
    status = amct_fail_memory(err);
done:
  amct_arena_free(&scratch);
  return status;
}
