/* SPDX-License-Identifier: Apache-2.0 */
#include "base/logging.h"
#include "insert/deploy_private.h"
#include "numeric/weights.h"
#include "op/tensors.h"

const char *amct_deploy_join(amct_deployer *d, const char *scope, const char *name) {
  return amct_arena_format(d->arena, "%s/%s", scope, name);
}

amct_spec *amct_deploy_const(amct_deployer *d, const amct_layer *layer, const char *name,
                             amct_dtype dtype, const amct_shape *shape,
                             const void *data) {
  size_t bytes = amct_dtype_bytes(dtype);
  for (int i = 0; i < shape->rank; i++)
    bytes *= (size_t)shape->dims[i];
  amct_spec *spec = amct_edits_add(d->edits, name, "Const", layer->node, true);
  amct_spec_tensor(spec, dtype, shape, data, bytes);
  return spec;
}

/* ---- which layers ---- */

/* Layers that could be quantized and have no factors. */
static void log_float(const amct_deployer *d, const amct_layers *layers,
                      const amct_map *by_key) {
  enum { SHOWN = 8 };
  amct_buffer names = {0};
  size_t count = 0;
  for (size_t i = 0; i < layers->count; i++) {
    const amct_layer *layer = &layers->at[i];
    if (layer->reason || amct_map_get(by_key, layer->node->name)) continue;
    if (count++ < SHOWN)
      amct_buffer_format(&names, "%s\"%.200s\"", names.size ? ", " : "",
                         layer->node->name);
  }
  amct_buffer_append(&names, "", 1);
  if (count && !names.failed)
    amct_log(d->options->all_wanted ? AMCT_LOG_WARNING : AMCT_LOG_INFO,
             d->options->module, "%zu layers have no factors in %s and stay float: %s%s",
             count, d->options->record_path, (const char *)names.data,
             count > SHOWN ? ", ..." : "");
  amct_buffer_free(&names);
}

static amct_status collect_jobs(amct_deployer *d, amct_layers *layers,
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
    amct_job next = {&layers->at[i], amct_map_get(&by_key, node->name),
                     amct_plan_fold(d->plan, node), node->name};
    if (next.factors && !AMCT_VEC_PUSH(&d->jobs, next)) status = amct_fail_memory(err);
  }
  if (status == AMCT_OK) log_float(d, layers, &by_key);
  amct_map_free(&by_key);
  return status;
}

static amct_status collect_tensors(amct_deployer *d, const amct_record *record,
                                   amct_error *err) {
  for (size_t i = 0; i < record->layers.count; i++) {
    const amct_factors *factors = &record->layers.at[i];
    amct_node *node = NULL;
    uint64_t input = 0;
    if (!factors->has_data || !amct_tensor_find(d->graph, factors->key, &node, &input))
      continue;
    const amct_tensor_job job = {node, (uint32_t)input, factors};
    if (!AMCT_VEC_PUSH(&d->tensors, job)) return amct_fail_memory(err);
  }
  return AMCT_OK;
}

/* Which of them fusion has left. */
static amct_status find_tensors_again(amct_deployer *d, amct_error *err) {
  char why[AMCT_REASON_BYTES];
  for (size_t i = 0; i < d->tensors.count; i++) {
    amct_tensor_job *job = &d->tensors.at[i];
    const char *key = job->factors->key;
    uint64_t input = job->input;
    if (!amct_tensor_find(d->graph, key, &job->node, &input) ||
        amct_tensor_refusal(job->node, input, why) != NULL)
      return amct_fail(err, AMCT_BAD_RECORD, key,
                       "%s: layer \"%.200s\": this op is fused into another, and has no "
                       "input tensor any more: leave its factors out",
                       d->options->record_path, key);
    AMCT_TRY(amct_map_set(&d->own_tensors, job->node, job->node, err));
  }
  return AMCT_OK;
}

/* Stats of the same factors go with their layer. */
static amct_status collect_stats(amct_deployer *d, amct_error *err) {
  const amct_stats *stats = d->options->stats;
  amct_status status = AMCT_OK;
  amct_map by_key = {0};
  for (size_t i = 0; stats && i < stats->layers.count && status == AMCT_OK; i++) {
    const char *key = amct_graph_intern(d->graph, stats->layers.at[i].key);
    status = key ? amct_map_set(&by_key, key, &stats->layers.at[i], err)
                 : amct_fail_memory(err);
  }
  for (size_t i = 0; i < d->jobs.count && status == AMCT_OK; i++) {
    amct_job *j = &d->jobs.at[i];
    const amct_layer_stats *found = amct_map_get(&by_key, j->name);
    j->known = found;
    if (found && found->record == amct_stats_of_factors(j->factors)) j->stats = found;
  }
  amct_map_free(&by_key);
  return status;
}

/* ---- outputs keep their names ---- */

/* An output of the model whose node will hold integers: the layer's own node or its
 * BiasAdd. */
static amct_job *find_output_job(amct_deployer *d, const amct_node *output) {
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
  amct_job *of;
  const char *name;
} move;

static bool is_moved(const move *moves, size_t count, const amct_job *of) {
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

static amct_status move_outputs(amct_deployer *d, amct_error *err) {
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
    amct_job *of = output ? find_output_job(d, output) : NULL;
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

/* ---- dequantization ---- */

static amct_status dequantize(amct_deployer *d, const amct_job *j, amct_error *err) {
  const amct_layer *layer = j->layer;
  const amct_factors *f = j->factors;
  size_t count = f->scale_w_count ? f->scale_w_count : 1;
  amct_shape shape = {1, {(int64_t)count}};
  const char *scope = amct_scopes_take(&d->scopes, j->name, "dequant", "AscendDequant");
  const char *name = scope ? amct_deploy_join(d, scope, "AscendDequant") : NULL;
  const char *deq_name = scope ? amct_deploy_join(d, scope, "deq_scale") : NULL;
  uint64_t *deq = amct_alloc_array(count, sizeof *deq);
  if (!deq || !name || !deq_name) {
    amct_free(deq);
    return amct_fail_memory(err);
  }
  for (size_t c = 0; c < count; c++)
    deq[c] = amct_deq_pack(f->scale_d, f->scale_w_count ? f->scale_w[c] : 1.0f,
                           f->shift_count ? (uint8_t)f->shift_bit[c] : 0, 0);
  deq_name = amct_edits_free_name(d->edits, deq_name);
  amct_spec *words =
      amct_deploy_const(d, layer, deq_name, AMCT_DTYPE_UINT64, &shape, deq);
  amct_free(deq);
  if (layer->looped) {
    const amct_edge turn = {layer->node->inputs[layer->input].node, AMCT_CONTROL};
    amct_spec_input(words, amct_edge_text(turn));
  }

  int64_t window[2];
  amct_layer_window(layer, window);
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

/* ---- the whole ---- */

static amct_status start_edits(amct_deployer *d, amct_error *err) {
  amct_scopes_free(&d->scopes);
  amct_edits_free(d->edits);
  d->edits = amct_edits_new(d->graph);
  d->scopes = amct_scopes_of(d->graph, d->edits);
  return d->edits ? AMCT_OK : amct_fail_memory(err);
}

/* Weights, bias and dequantization first: a layer that reads another layer's output
 * directly then finds the dequantized tensor at its input. */
static amct_status deploy_results(amct_deployer *d, amct_error *err) {
  AMCT_TRY(start_edits(d, err));
  for (size_t i = 0; i < d->jobs.count; i++) {
    amct_job *j = &d->jobs.at[i];
    if (j->layer->weight.node) AMCT_TRY(amct_deploy_weights(d, j, err));
    if (j->layer->bias) AMCT_TRY(amct_deploy_bias(d, j, err));
    AMCT_TRY(dequantize(d, j, err));
  }
  return amct_edits_apply(d->edits, err);
}

static amct_status deploy_data(amct_deployer *d, amct_error *err) {
  AMCT_TRY(start_edits(d, err));
  for (size_t i = 0; i < d->jobs.count; i++)
    AMCT_TRY(amct_deploy_data(d, &d->jobs.at[i], err));
  for (size_t i = 0; i < d->tensors.count; i++)
    AMCT_TRY(amct_deploy_tensor(d, &d->tensors.at[i], err));
  AMCT_TRY(amct_deploy_share(d, err));
  return amct_edits_apply(d->edits, err);
}

/* Layers that are quantized fold their weights when they quantize them, one at a time. */
static amct_status settle(amct_deployer *d, amct_error *err) {
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

static void log_corrections(const amct_deployer *d) {
  enum { SHOWN = 10 };
  amct_buffer names = {0};
  if (d->corrected)
    amct_log(AMCT_LOG_INFO, d->options->module, "the biases of %zu layers are corrected",
             d->corrected);
  if (d->rounded && !d->options->steps_only)
    amct_log(AMCT_LOG_INFO, d->options->module,
             "the weights of %zu layers are rounded by samples of their inputs",
             d->rounded);
  if (d->uncorrected.count == 0) return;
  for (size_t i = 0; i < d->uncorrected.count && i < SHOWN; i++)
    amct_buffer_format(&names, "%s\"%s\"", i ? ", " : "", d->uncorrected.at[i]);
  if (d->uncorrected.count > SHOWN) amct_buffer_text(&names, ", ...");
  amct_buffer_append(&names, "", 1);
  amct_log(
      AMCT_LOG_WARNING, d->options->module,
      "%zu layers keep their biases, and their weights go to nearest steps: %s.stats "
      "has nothing of these factors and weights: %s",
      d->uncorrected.count, d->options->record_path,
      names.failed ? "?" : (const char *)names.data);
  amct_buffer_free(&names);
}

static void log_tensors(const amct_deployer *d) {
  if (d->tensors.count)
    amct_log(AMCT_LOG_INFO, d->options->module,
             "%zu input tensors are quantized on their own", d->tensors.count);
}

static amct_status deploy_all(amct_deployer *d, amct_error *err) {
  AMCT_TRY(collect_stats(d, err));
  AMCT_TRY(settle(d, err));
  AMCT_TRY(find_tensors_again(d, err));
  AMCT_TRY(move_outputs(d, err));
  AMCT_TRY(deploy_results(d, err));
  AMCT_TRY(deploy_data(d, err));
  return amct_graph_sweep(d->graph, d->options->outputs, d->options->output_count, err);
}

amct_status amct_deploy(amct_plan *plan, amct_layers *layers, const amct_record *record,
                        const amct_deploy_options *options, size_t *quantized_count,
                        amct_error *err) {
  amct_deployer d = {.plan = plan, .graph = plan->graph, .options = options};
  d.arena = amct_graph_arena(plan->graph);
  amct_status status = collect_jobs(&d, layers, record, err);
  if (status == AMCT_OK) status = collect_tensors(&d, record, err);
  if (status == AMCT_OK) status = deploy_all(&d, err);
  if (status == AMCT_OK) log_corrections(&d);
  if (status == AMCT_OK) log_tensors(&d);
  *quantized_count = d.jobs.count;
  AMCT_VEC_FREE(&d.jobs);
  AMCT_VEC_FREE(&d.tensors);
  amct_map_free(&d.own_tensors);
  AMCT_VEC_FREE(&d.uncorrected);
  amct_map_free(&d.by_node);
  amct_scopes_free(&d.scopes);
  amct_edits_free(d.edits);
  return status;
}
