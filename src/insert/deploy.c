/* SPDX-License-Identifier: Apache-2.0 */
#include "insert/deploy.h"

#include "insert/scopes.h"
#include "numeric/weights.h"
#include "rewrite/fold_values.h"

#include <math.h>

/* A layer to be quantized, under the name that it had before outputs moved. */
typedef struct job {
  amct_layer *layer;
  const amct_factors *factors;
  const amct_fold *fold; /* NULL: nothing is folded into the layer */
  const char *name;
} job;

/* An AscendQuant, found again by the tensor and the factors. */
typedef struct quantized {
  amct_edge data;
  float scale;
  int32_t offset;
  const char *tensor; /* its output */
  struct quantized *next;
} quantized;

typedef struct deployer {
  amct_plan *plan;
  amct_graph *graph;
  amct_arena *arena;
  const amct_deploy_options *options;
  AMCT_VEC(job) jobs;
  amct_edits *edits;
  amct_scopes scopes;
  amct_map by_node; /* data node -> quantized */
} deployer;

static const char *join(deployer *d, const char *scope, const char *name) {
  return amct_arena_format(d->arena, "%s/%s", scope, name);
}

/* ---- which layers ---- */

static amct_status collect_jobs(deployer *d, amct_layers *layers,
                                const amct_record *record, amct_error *err) {
  amct_status status = AMCT_OK;
  amct_map by_key = {0};
  for (size_t i = 0; i < record->layers.count && status == AMCT_OK; i++) {
    const amct_factors *factors = &record->layers.at[i];
    const char *key = amct_graph_intern(d->graph, factors->key);
    if (!key)
      status = amct_fail_memory(err);
    else if (factors->has_data)
      status = amct_map_set(&by_key, key, &record->layers.at[i], err);
  }
  for (size_t i = 0; i < layers->count && status == AMCT_OK; i++) {
    const amct_node *node = layers->at[i].node;
    job next = {&layers->at[i], amct_map_get(&by_key, node->name),
                amct_plan_fold(d->plan, node), node->name};
    if (next.factors && !AMCT_VEC_PUSH(&d->jobs, next)) status = amct_fail_memory(err);
  }
  amct_map_free(&by_key);
  return status;
}

/* ---- outputs keep their names ---- */

/* An output of the model whose node will hold integers: the layer's own node or its
 * BiasAdd. */
static job *find_output_job(deployer *d, const amct_node *output) {
  for (size_t i = 0; i < d->jobs.count; i++)
    if (d->jobs.at[i].layer->output == output) return &d->jobs.at[i];
  return NULL;
}

static void move_layer(amct_layer *layer, amct_node *to) {
  if (layer->bias == layer->output)
    layer->bias = to;
  else
    layer->node = to;
  layer->output = to;
}

typedef struct move {
  job *of;
  const char *name;
} move;

static bool is_moved(const move *moves, size_t count, const job *of) {
  for (size_t i = 0; i < count; i++)
    if (moves[i].of == of) return true;
  return false;
}

/* Last stands the name that it had. */
static void take_origins(amct_spec *moved, const amct_node *output) {
  for (uint32_t i = 0; i < output->origin_count; i++)
    if (strcmp(output->origins[i], output->name) != 0)
      amct_spec_origin(moved, output->origins[i]);
  amct_spec_origin(moved, output->name);
}

static amct_status move_outputs(deployer *d, amct_error *err) {
  amct_status status = AMCT_OK;
  move *moves = amct_arena_array(d->arena, d->options->output_count + 1, sizeof *moves);
  amct_edits *edits = amct_edits_new(d->graph);
  size_t count = 0;
  if (!moves || !edits) {
    status = amct_fail_memory(err);
    goto done;
  }
  for (size_t i = 0; i < d->options->output_count; i++) {
    amct_node *output = amct_graph_find(d->graph, d->options->outputs[i]);
    job *of = output ? find_output_job(d, output) : NULL;
    if (!of || is_moved(moves, count, of)) /* an output may be named twice */
      continue;
    const char *wanted = amct_arena_format(d->arena, "%s_quantized", output->name);
    const char *name = wanted ? amct_edits_free_name(edits, wanted) : NULL;
    if (!name) {
      status = amct_fail_memory(err);
      goto done;
    }
    amct_spec *moved = amct_edits_copy(edits, output, name);
    take_origins(moved, output);
    amct_spec *identity = amct_edits_replace(edits, output, "Identity");
    amct_spec_input(identity, name);
    amct_spec_type(identity, "T", AMCT_DTYPE_FLOAT);
    moves[count++] = (move){of, name};
  }
  if ((status = amct_edits_apply(edits, err)) != AMCT_OK) goto done;
  for (size_t i = 0; i < count; i++)
    move_layer(moves[i].of->layer, amct_graph_find(d->graph, moves[i].name));
done:
  amct_edits_free(edits);
  return status;
}

/* ---- weights ---- */

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

static amct_status check_scales(const deployer *d, const job *j, const float *weights,
                                amct_weight_layout layout, amct_error *err) {
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

static void add_const(deployer *d, const amct_layer *layer, const char *name,
                      amct_dtype dtype, const amct_shape *shape, const void *data) {
  size_t bytes = amct_dtype_bytes(dtype);
  for (int i = 0; i < shape->rank; i++)
    bytes *= (size_t)shape->dims[i];
  amct_spec *spec = amct_edits_add(d->edits, name, "Const", layer->node, true);
  amct_spec_tensor(spec, dtype, shape, data, bytes);
}

/* The int8 weights as a Const of this name. */
static amct_status add_weights(deployer *d, const job *j, const char *name,
                               amct_error *err) {
  const amct_factors *f = j->factors;
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
  amct_weight_quantize(q, w.weights, w.layout, f->scale_w, f->scale_w_count);
  add_const(d, j->layer, name, AMCT_DTYPE_INT8, &w.shape, q);
  amct_const_forget(j->layer->weight_node); /* no more than one layer is held twice */
done:
  amct_arena_free(&scratch);
  return status;
}

static amct_status add_offsets(deployer *d, const job *j, const char *name,
                               amct_error *err) {
  const amct_shape shape = offset_shape(j->layer, j->factors->scale_w_count);
  size_t count = 1;
  for (int i = 0; i < shape.rank; i++)
    count *= (size_t)shape.dims[i];
  int8_t *zeros = amct_alloc_array(count, 1);
  if (!zeros) return amct_fail_memory(err);
  add_const(d, j->layer, name, AMCT_DTYPE_INT8, &shape, zeros);
  amct_free(zeros);
  return AMCT_OK;
}

static amct_status quantize_weights(deployer *d, const job *j, amct_error *err) {
  const amct_layer *layer = j->layer;
  if (strcmp(layer->weight_node->op, "Const") != 0)
    return amct_fail(
        err, AMCT_UNSUPPORTED, j->name,
        "layer \"%s\" reads its weights from %s \"%s\": freeze the graph first", j->name,
        layer->weight_node->op, layer->weight_node->name);
  const char *scope =
      amct_scopes_take(&d->scopes, j->name, "weight_quant", "AscendWeightQuant");
  const char *name = scope ? join(d, scope, "AscendWeightQuant") : NULL;
  const char *weight_name = scope ? join(d, scope, "weight") : NULL;
  const char *offset_name = scope ? join(d, scope, "offset_w") : NULL;
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
  amct_edits_set_input(d->edits, layer->node, (uint32_t)layer->op->weight, name);
  return AMCT_OK;
}

/* ---- bias ---- */

static amct_status quantize_bias(deployer *d, const job *j, amct_error *err) {
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
    q[c] = amct_bias_quantize(bias[c], f->scale_d, scale_w);
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
  add_const(d, j->layer, name, AMCT_DTYPE_FLOAT, &tensor.shape, q);
  amct_edits_set_input(d->edits, add, 1, name);
done:
  amct_arena_free(&scratch);
  return status;
}

/* ---- dequantization ---- */

static void kernel_window(const amct_layer *layer, int64_t window[2]) {
  amct_ints ksize;
  window[0] = window[1] = 1;
  if (layer->weight.node || !amct_attr_ints(layer->node, "ksize", &ksize) ||
      ksize.count != 4)
    return;
  window[0] = ksize.at[layer->channels_first ? 2 : 1];
  window[1] = ksize.at[layer->channels_first ? 3 : 2];
}

static amct_status dequantize(deployer *d, const job *j, amct_error *err) {
  const amct_layer *layer = j->layer;
  const amct_factors *f = j->factors;
  size_t count = f->scale_w_count ? f->scale_w_count : 1;
  amct_shape shape = {1, {(int64_t)count}};
  const char *scope = amct_scopes_take(&d->scopes, j->name, "dequant", "AscendDequant");
  const char *name = scope ? join(d, scope, "AscendDequant") : NULL;
  const char *deq_name = scope ? join(d, scope, "deq_scale") : NULL;
  uint64_t *deq = amct_alloc_array(count, sizeof *deq);
  if (!deq || !name || !deq_name) {
    amct_free(deq);
    return amct_fail_memory(err);
  }
  for (size_t c = 0; c < count; c++)
    deq[c] = amct_deq_pack(f->scale_d, f->scale_w_count ? f->scale_w[c] : 1.0f,
                           f->shift_count ? (uint8_t)f->shift_bit[c] : 0, 0);
  deq_name = amct_edits_free_name(d->edits, deq_name);
  add_const(d, layer, deq_name, AMCT_DTYPE_UINT64, &shape, deq);
  amct_free(deq);

  int64_t window[2];
  kernel_window(layer, window);
  amct_spec *spec = amct_edits_add(d->edits, name, "AscendDequant", layer->output, false);
  amct_edge out = {layer->output, 0};
  amct_spec_input(spec, amct_edge_text(out));
  amct_spec_input(spec, deq_name);
  amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
  amct_spec_ints(spec, "ksize", window, 2);
  amct_spec_text(spec, "data_format", layer->channels_first ? "NCHW" : "NHWC");
  amct_edits_rewire(d->edits, out, name, NULL, 0);
  return AMCT_OK;
}

/* ---- MaxPool on a quantized tensor ---- */

static bool is_pool_of(const amct_use *use, amct_edge data) {
  return use->input < use->node->data_count && strcmp(use->node->op, "MaxPool") == 0 &&
         amct_edge_equal(use->node->inputs[use->input], data);
}

/* A MaxPool that reads the tensor too is fed from the int8 values. */
static amct_status feed_pools(deployer *d, const job *j, const quantized *q,
                              amct_error *err) {
  const char *tensor = NULL;
  for (uint32_t i = 0; i < q->data.node->use_count; i++) {
    const amct_use *use = &q->data.node->uses[i];
    if (!is_pool_of(use, q->data)) continue;
    if (!tensor) {
      const char *scope =
          amct_scopes_take(&d->scopes, j->name, "anti_quant", "AscendAntiQuant");
      tensor = scope ? join(d, scope, "AscendAntiQuant") : NULL;
      if (!tensor) return amct_fail_memory(err);
      amct_spec *spec =
          amct_edits_add(d->edits, tensor, "AscendAntiQuant", use->node, true);
      amct_spec_input(spec, q->tensor);
      amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
      amct_spec_float(spec, "scale", q->scale);
      amct_spec_float(spec, "offset", -(float)q->offset);
    }
    amct_edits_set_input(d->edits, use->node, use->input, tensor);
  }
  return AMCT_OK;
}

/* ---- data ---- */

/* First AscendQuant of a tensor, or the one with the factors too. */
static const quantized *find_quantized(const deployer *d, amct_edge data,
                                       const amct_factors *factors) {
  const quantized *q = amct_map_get(&d->by_node, data.node);
  while (q && !(amct_edge_equal(q->data, data) &&
                (!factors ||
                 (q->scale == factors->scale_d && q->offset == factors->offset_d))))
    q = q->next;
  return q;
}

static amct_status keep_quantized(deployer *d, quantized *q, amct_error *err) {
  quantized *last = amct_map_get(&d->by_node, q->data.node);
  if (!last) return amct_map_set(&d->by_node, q->data.node, q, err);
  while (last->next)
    last = last->next;
  last->next = q;
  return AMCT_OK;
}

static amct_status quantize_data(deployer *d, const job *j, amct_error *err) {
  const amct_layer *layer = j->layer;
  const uint32_t input = (uint32_t)layer->op->data;
  const amct_edge data =
      layer->node->inputs[input]; /* a dequantization may stand there by now */
  const quantized *shared = find_quantized(d, data, j->factors);
  if (shared) {
    amct_edits_set_input(d->edits, layer->node, input, shared->tensor);
    return AMCT_OK;
  }

  const bool is_first = find_quantized(d, data, NULL) == NULL;
  const char *scope = amct_scopes_take(&d->scopes, j->name, "act_quant", "AscendQuant");
  const char *name = scope ? join(d, scope, "AscendQuant") : NULL;
  quantized *q = amct_arena_alloc(d->arena, sizeof *q);
  if (!name || !q) return amct_fail_memory(err);
  *q = (quantized){data, j->factors->scale_d, j->factors->offset_d, name, NULL};
  AMCT_TRY(keep_quantized(d, q, err));

  amct_spec *spec = amct_edits_add(d->edits, name, "AscendQuant", layer->node, true);
  amct_spec_input(spec, amct_edge_text(data));
  amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
  amct_spec_int(spec, "quant_bits", 8);
  amct_spec_float(spec, "scale", 1.0f / q->scale);
  amct_spec_float(spec, "offset", (float)q->offset);
  amct_edits_set_input(d->edits, layer->node, input, name);
  return is_first ? feed_pools(d, j, q, err) : AMCT_OK;
}

/* ---- the whole ---- */

static amct_status start_edits(deployer *d, amct_error *err) {
  amct_scopes_free(&d->scopes);
  amct_edits_free(d->edits);
  d->edits = amct_edits_new(d->graph);
  d->scopes = amct_scopes_of(d->graph, d->edits);
  return d->edits ? AMCT_OK : amct_fail_memory(err);
}

/* Weights, bias and dequantization first: a layer that reads another layer's output
 * directly then finds the dequantized tensor at its input. */
static amct_status deploy_results(deployer *d, amct_error *err) {
  AMCT_TRY(start_edits(d, err));
  for (size_t i = 0; i < d->jobs.count; i++) {
    const job *j = &d->jobs.at[i];
    if (j->layer->weight.node) AMCT_TRY(quantize_weights(d, j, err));
    if (j->layer->bias) AMCT_TRY(quantize_bias(d, j, err));
    AMCT_TRY(dequantize(d, j, err));
  }
  return amct_edits_apply(d->edits, err);
}

static amct_status deploy_data(deployer *d, amct_error *err) {
  AMCT_TRY(start_edits(d, err));
  for (size_t i = 0; i < d->jobs.count; i++)
    AMCT_TRY(quantize_data(d, &d->jobs.at[i], err));
  return amct_edits_apply(d->edits, err);
}

/* Layers that are quantized fold their weights when they quantize them, one at a time. */
static amct_status settle(deployer *d, amct_error *err) {
  amct_map folders = {0};
  amct_status status = AMCT_OK;
  for (size_t i = 0; i < d->jobs.count && status == AMCT_OK; i++) {
    amct_node *node = d->jobs.at[i].layer->node;
    status = amct_map_set(&folders, node, node, err);
  }
  if (status == AMCT_OK) status = amct_plan_settle(d->plan, &folders, err);
  amct_map_free(&folders);
  return status;
}

static amct_status deploy_all(deployer *d, amct_error *err) {
  AMCT_TRY(settle(d, err));
  AMCT_TRY(move_outputs(d, err));
  AMCT_TRY(deploy_results(d, err));
  AMCT_TRY(deploy_data(d, err));
  return amct_graph_sweep(d->graph, d->options->outputs, d->options->output_count, err);
}

amct_status amct_deploy(amct_plan *plan, amct_layers *layers, const amct_record *record,
                        const amct_deploy_options *options, size_t *quantized_count,
                        amct_error *err) {
  deployer d = {.plan = plan, .graph = plan->graph, .options = options};
  d.arena = amct_graph_arena(plan->graph);
  amct_status status = collect_jobs(&d, layers, record, err);
  if (status == AMCT_OK) status = deploy_all(&d, err);
  *quantized_count = d.jobs.count;
  AMCT_VEC_FREE(&d.jobs);
  amct_map_free(&d.by_node);
  amct_scopes_free(&d.scopes);
  amct_edits_free(d.edits);
  return status;
}
