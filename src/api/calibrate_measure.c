/* SPDX-License-Identifier: Apache-2.0 */
#include "api/calibrate_measure.h"

#include <math.h>

#include "api/calibrate_runs.h"
#include "api/products.h"
#include "insert/stock.h"

enum { FLOATS_MOST = 32 << 20 };

/* One of the two graphs, and what runs it. */
typedef struct side {
  amct_study study;
  amct_runs runs;
  amct_engine *engine;
} side;

typedef struct flow {
  const amct_measure_options *o;
  amct_measured *m;
  side plain, quantized;
  amct_array *arrays; /* of the data */
  struct {
    float *values;
    size_t count, room;
  } * kept; /* what the float graph gave, by probe */
  amct_arena arena;
} flow;

static void free_side(side *s) {
  if (s->engine) s->engine->class->close(s->engine);
  amct_runs_free(&s->runs);
  amct_study_free(&s->study);
}

static void free_flow(flow *f) {
  free_side(&f->plain);
  free_side(&f->quantized);
  for (size_t i = 0; f->kept && i < f->m->count; i++)
    amct_free(f->kept[i].values);
  amct_arena_free(&f->arena);
}

static void forget_floats(amct_measured *m) {
  for (size_t i = 0; i < m->count; i++)
    amct_buffer_free(&m->probes[i].floats);
  m->floats = false;
}

void amct_measured_free(amct_measured *m) {
  forget_floats(m);
  amct_arena_free(&m->arena);
  *m = (amct_measured){0};
}

/* ---- which tensors ---- */

static const char *keep(flow *f, const char *text) {
  return amct_arena_text(&f->m->arena, text, strlen(text));
}

static amct_status load_plain(flow *f, amct_error *err) {
  const amct_source source = {.path = f->o->pb_model};
  const amct_plan_options options = {.outputs = f->o->outputs.at,
                                     .output_count = f->o->outputs.count,
                                     .do_fusion = true};
  amct_study *study = &f->plain.study;
  AMCT_TRY(amct_study_load(study, &source, f->o->outputs, err));
  AMCT_TRY(amct_study_plan(study, &options, err));
  return amct_plan_settle(study->plan, NULL, err);
}

static const amct_node *dequantized(const amct_node *output) {
  for (uint32_t i = 0; i < output->use_count; i++) {
    const amct_use *use = &output->uses[i];
    if (use->input == 0 && amct_node_is(use->node, "AscendDequant")) return use->node;
  }
  return NULL;
}

/* A layer that was an output of the model has moved; its old name stands last. */
static const char *plain_name(const flow *f, const amct_node *output) {
  const amct_graph *graph = f->plain.study.graph;
  if (amct_graph_find(graph, output->name)) return output->name;
  if (output->origin_count == 0) return NULL;
  const char *old = output->origins[output->origin_count - 1];
  return amct_graph_find(graph, old) ? old : NULL;
}

/* Constants aside, the output is made of this node alone. */
static bool leads_to(const amct_node *output, const amct_node *node) {
  while (output != node) {
    if (output->data_count == 0 || output->inputs[0].port != 0) return false;
    for (uint32_t i = 1; i < output->data_count; i++)
      if (strcmp(output->inputs[i].node->op, "Const") != 0) return false;
    output = output->inputs[0].node;
  }
  return true;
}

static bool is_last(const flow *f, const amct_node *node) {
  for (size_t i = 0; i < f->o->outputs.count; i++) {
    const amct_node *output =
        amct_graph_find(f->quantized.study.graph, f->o->outputs.at[i]);
    if (output && leads_to(output, node)) return true;
  }
  return false;
}

static amct_status add_layer(flow *f, const amct_layer *layer, amct_error *err) {
  if (layer->reason || layer->looped) return AMCT_OK;
  const amct_node *node = dequantized(layer->output);
  const char *plain = node ? plain_name(f, layer->output) : NULL;
  const bool last = plain && layer->bias && is_last(f, node);
  if (!plain || (f->o->first && !last)) return AMCT_OK;
  amct_probe *probe = &f->m->probes[f->m->count++];
  *probe = (amct_probe){.last = last, .channels_first = layer->channels_first};
  probe->layer = keep(f, layer->bias ? layer->node->name : plain);
  probe->plain = keep(f, plain);
  probe->quantized = keep(f, node->name);
  return probe->layer && probe->plain && probe->quantized ? AMCT_OK
                                                          : amct_fail_memory(err);
}

static amct_status find_probes(flow *f, amct_error *err) {
  const amct_layers *layers = &f->quantized.study.layers;
  amct_measured *m = f->m;
  m->outputs = f->o->outputs.count;
  m->probes =
      amct_arena_array(&m->arena, m->outputs + layers->count + 1, sizeof *m->probes);
  if (!m->probes) return amct_fail_memory(err);
  for (size_t i = 0; i < m->outputs; i++) {
    const char *name = keep(f, f->o->outputs.at[i]);
    if (!name) return amct_fail_memory(err);
    m->probes[m->count++] = (amct_probe){.plain = name, .quantized = name};
  }
  for (size_t i = 0; i < layers->count; i++)
    AMCT_TRY(add_layer(f, &layers->at[i], err));
  return AMCT_OK;
}

static const amct_buffer *floats_of(const amct_measured *first, const char *plain) {
  for (size_t i = 0; i < first->count; i++)
    if (strcmp(first->probes[i].plain, plain) == 0 && first->probes[i].floats.size)
      return &first->probes[i].floats;
  return NULL;
}

/* What the float graph gives is known already. */
static bool is_known(flow *f) {
  bool known = f->o->first && f->o->first->floats;
  for (size_t i = 0; i < f->m->count && known; i++) {
    amct_probe *probe = &f->m->probes[i];
    probe->known = floats_of(f->o->first, probe->plain);
    known = probe->known != NULL;
  }
  return known;
}

/* ---- engines ---- */

static amct_status refuse(flow *f, amct_status status) {
  f->m->refused = status == AMCT_UNSUPPORTED;
  return status;
}

static amct_status fill_inputs(flow *f, amct_engine_job *job, amct_error *err) {
  job->input_count = amct_data_inputs(f->o->data);
  amct_array *inputs = amct_arena_array(&f->arena, job->input_count, sizeof *inputs);
  if (!inputs) return amct_fail_memory(err);
  for (size_t i = 0; i < job->input_count; i++) {
    inputs[i] = amct_data_input(f->o->data, i);
    inputs[i].count /= (size_t)inputs[i].shape.dims[0];
    inputs[i].count *= (size_t)f->o->kept.each;
    inputs[i].shape.dims[0] = f->o->kept.each;
  }
  job->inputs = inputs;
  return AMCT_OK;
}

static amct_status open_side(flow *f, side *s, amct_error *err) {
  const bool quantized = s == &f->quantized;
  amct_engine_job job = {
      .graph = s->study.graph, .fetch_count = f->m->count, .packages = f->o->packages};
  bool splits = false; /* samples go as they are given */
  s->runs.fetches =
      amct_arena_array(&s->runs.arena, f->m->count, sizeof *s->runs.fetches);
  if (!s->runs.fetches) return amct_fail_memory(err);
  for (size_t i = 0; i < f->m->count; i++) {
    const amct_probe *probe = &f->m->probes[i];
    s->runs.fetches[i] = quantized ? probe->quantized : probe->plain;
  }
  s->runs.count = f->m->count;
  job.fetches = s->runs.fetches;
  AMCT_TRY(fill_inputs(f, &job, err));
  if (quantized && !f->o->class->runs_our_ops) {
    size_t replaced = 0;
    AMCT_TRY(amct_stock(job.graph, &replaced, err));
  }
  AMCT_TRY(amct_runs_prune(&s->runs, job.graph, &splits, err));
  return refuse(f, f->o->class->open(&s->engine, &job, err));
}

/* ---- runs ---- */

static amct_status take_plain(void *context, size_t i, int64_t row,
                              const amct_array *tensor, amct_error *err) {
  flow *f = context;
  amct_probe *probe = &f->m->probes[i];
  (void)row; /* all of a run come at once */
  if (tensor->dtype != AMCT_DTYPE_FLOAT)
    return amct_fail(err, AMCT_UNSUPPORTED, NULL, "\"%s\" is not float32", probe->plain);
  if (f->kept[i].room < tensor->count) {
    amct_free(f->kept[i].values);
    f->kept[i].values = amct_alloc_array(tensor->count, sizeof(float));
    f->kept[i].room = f->kept[i].values ? tensor->count : 0;
    if (!f->kept[i].values) return amct_fail_memory(err);
  }
  if (tensor->count)
    memcpy(f->kept[i].values, tensor->data, tensor->count * sizeof(float));
  f->kept[i].count = tensor->count;
  if (f->m->floats && (i < f->m->outputs || probe->last))
    amct_buffer_append(&probe->floats, tensor->data, tensor->count * sizeof(float));
  return probe->floats.failed ? amct_fail_memory(err) : AMCT_OK;
}

static amct_status add_off(amct_probe *probe, const float *plain,
                           const amct_array *tensor, amct_error *err) {
  const float *values = tensor->data;
  const int axis = probe->channels_first ? 1 : tensor->shape.rank - 1;
  size_t inner = 1;
  if (axis < 0 || axis >= tensor->shape.rank) return AMCT_OK;
  const size_t channels = (size_t)tensor->shape.dims[axis];
  for (int k = axis + 1; k < tensor->shape.rank; k++)
    inner *= (size_t)tensor->shape.dims[k];
  if (!probe->off) {
    probe->off = amct_alloc_array(channels + 1, sizeof *probe->off);
    probe->channels = channels;
    if (!probe->off) return amct_fail_memory(err);
  }
  for (size_t i = 0; i < tensor->count && channels == probe->channels; i++)
    probe->off[i / inner % channels] += (double)plain[i] - (double)values[i];
  return AMCT_OK;
}

/* What the float graph gave for the same samples. NULL: something else. */
static const float *plain_values(const flow *f, size_t i, size_t count) {
  const amct_probe *probe = &f->m->probes[i];
  const size_t done = probe->count * sizeof(float);
  if (!probe->known) return count == f->kept[i].count ? f->kept[i].values : NULL;
  return count <= (probe->known->size - done) / sizeof(float)
             ? (const float *)(const void *)(probe->known->data + done)
             : NULL;
}

static amct_status take_quantized(void *context, size_t i, int64_t row,
                                  const amct_array *tensor, amct_error *err) {
  flow *f = context;
  amct_probe *probe = &f->m->probes[i];
  const float *plain = plain_values(f, i, tensor->count), *values = tensor->data;
  (void)row;
  if (tensor->dtype != AMCT_DTYPE_FLOAT || !plain)
    return amct_fail(err, AMCT_UNSUPPORTED, NULL, "\"%s\" is not as \"%s\" is in float",
                     probe->quantized, probe->plain);
  for (size_t k = 0; k < tensor->count; k++) {
    const double off = (double)plain[k] - (double)values[k];
    probe->signal += (double)plain[k] * (double)plain[k];
    probe->noise += off * off;
  }
  probe->count += tensor->count;
  return probe->last ? add_off(probe, plain, tensor, err) : AMCT_OK;
}

static void limit_floats(amct_measured *m) {
  size_t bytes = 0;
  for (size_t i = 0; i < m->count; i++)
    bytes += m->probes[i].floats.size;
  if (bytes > FLOATS_MOST) forget_floats(m);
}

static amct_status run_some(flow *f, int64_t batch, int64_t row, int64_t rows,
                            amct_error *err) {
  const amct_engine_class *class = f->o->class;
  AMCT_TRY(amct_data_read(f->o->data, batch, row, rows, f->arrays, err));
  if (f->plain.engine)
    AMCT_TRY(refuse(f, class->run(f->plain.engine, f->arrays, take_plain, f, err)));
  limit_floats(f->m);
  AMCT_TRY(refuse(f, class->run(f->quantized.engine, f->arrays, take_quantized, f, err)));
  return f->o->tell(f->o->context, rows, err);
}

static amct_status run_all(flow *f, amct_error *err) {
  const amct_kept *kept = &f->o->kept;
  f->arrays =
      amct_arena_array(&f->arena, amct_data_inputs(f->o->data), sizeof *f->arrays);
  f->kept = amct_arena_array(&f->arena, f->m->count, sizeof *f->kept);
  if (!f->arrays || !f->kept) return amct_fail_memory(err);
  for (int64_t b = kept->batch; b < kept->batches; b++) {
    const int64_t rows = amct_data_rows(f->o->data, b);
    int64_t n = 0;
    for (int64_t row = b == kept->batch ? kept->row : 0; row < rows; row += n) {
      n = rows - row < kept->each ? rows - row : kept->each;
      AMCT_TRY(run_some(f, b, row, n, err));
    }
  }
  return AMCT_OK;
}

/* Sums that outlive the flow. */
static amct_status keep_sums(amct_measured *m, amct_status status, amct_error *err) {
  for (size_t i = 0; i < m->count; i++) {
    amct_probe *probe = &m->probes[i];
    double *to =
        probe->off ? amct_arena_array(&m->arena, probe->channels + 1, sizeof *to) : NULL;
    if (to) memcpy(to, probe->off, probe->channels * sizeof *to);
    if (probe->off && !to && status == AMCT_OK) status = amct_fail_memory(err);
    amct_free(probe->off);
    probe->off = to;
  }
  return status;
}

amct_status amct_measure(amct_measured *m, const amct_measure_options *options,
                         amct_error *err) {
  flow f = {.o = options, .m = m};
  amct_status status = load_plain(&f, err);
  if (status == AMCT_OK)
    status = amct_products_preview(&f.quantized.study, options->pb_model,
                                   options->outputs, options->record_file, err);
  if (status == AMCT_OK) status = find_probes(&f, err);
  m->floats = !options->first;
  if (status == AMCT_OK && !is_known(&f)) status = open_side(&f, &f.plain, err);
  if (status == AMCT_OK) status = open_side(&f, &f.quantized, err);
  if (status == AMCT_OK) status = run_all(&f, err);
  status = keep_sums(m, status, err);
  free_flow(&f);
  return status;
}

double amct_measure_sqnr(const amct_probe *probe) {
  const double db = 10 * log10(probe->signal / probe->noise);
  if (probe->noise == 0) return AMCT_SQNR_MOST;
  if (!(db > -AMCT_SQNR_MOST)) return -AMCT_SQNR_MOST; /* NaN too */
  return db < AMCT_SQNR_MOST ? db : AMCT_SQNR_MOST;
}

double amct_measure_outputs(const amct_measured *m) {
  double sum = 0;
  for (size_t i = 0; i < m->outputs; i++)
    sum += amct_measure_sqnr(&m->probes[i]);
  return sum / (double)m->outputs;
}
