/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preset accurate, where the data are at hand: the last quarter of the samples is
 * kept apart. The rest calibrates with IFMR and once more with min-max; the better of the
 * two models on the samples kept apart stays, and gets its last bias corrected there.
 */
#include "api/calibrate_flow.h"

#include <stdlib.h>

#include "api/report.h"
#include "base/logging.h"
#include "factors/stats.h"

enum { PART = 4, LEAST = 4, MEASURES = 3 };

typedef struct candidate {
  amct_pass_files files;
  amct_measured measured;
} candidate;

typedef struct accurate {
  amct_calibrate_flow *f;
  candidate ifmr, min_max;
  amct_measured corrected;
  const amct_measured *layers; /* one that has looked at all layers of the best */
  const amct_measured *last;   /* outputs and last layers of what holds */
  amct_buffer text;
} accurate;

static void free_candidate(candidate *c) {
  amct_buffer_free(&c->files.record);
  amct_buffer_free(&c->files.stats);
  amct_measured_free(&c->measured);
}

/* ---- samples ---- */

/* The graph may take batches of one size only. */
static int64_t fixed_batch(const amct_calibrate_flow *f) {
  for (size_t i = 0; i < f->port_count; i++)
    if (f->ports[i].shape.rank > 0 && f->ports[i].shape.dims[0] > 0)
      return f->ports[i].shape.dims[0];
  return 1;
}

/* False: there are too few. */
static bool keep_apart(amct_calibrate_flow *f) {
  const int64_t each = fixed_batch(f), all = f->samples;
  int64_t used = all - all / PART;
  used -= used % each;
  if (used == 0 || all / PART < LEAST) return false;
  int64_t batch = 0, left = used;
  for (; left > amct_data_rows(f->data, batch); batch++)
    left -= amct_data_rows(f->data, batch);
  const bool whole = left == amct_data_rows(f->data, batch);
  f->kept = (amct_kept){all - used, whole ? batch + 1 : batch, whole ? 0 : left,
                        f->data_batches, each};
  f->batches = batch + 1;
  f->last_rows = left;
  f->samples = used;
  f->total = 2 * used + MEASURES * f->kept.samples;
  return true;
}

/* ---- files ---- */

static amct_status read_file(amct_buffer *to, const char *path, amct_error *err) {
  amct_file file = {0};
  AMCT_TRY(amct_file_open(&file, path, err));
  amct_buffer_append(to, file.bytes.data, file.bytes.size);
  amct_file_close(&file);
  return to->failed ? amct_fail_memory(err) : AMCT_OK;
}

/* From now on it is what a run that is stopped leaves. */
static amct_status settle(const accurate *a, const candidate *c, amct_error *err) {
  a->f->best = &c->files;
  return amct_calibrate_put_back(a->f, &c->files, err);
}

/* ---- passes ---- */

static amct_status tell(void *context, int64_t samples, amct_error *err) {
  return amct_calibrate_tell(context, samples, err);
}

/* `first`: all but outputs and last layers are left out. */
static amct_status measure(accurate *a, amct_measured *to, const amct_measured *first,
                           amct_error *err) {
  amct_calibrate_flow *f = a->f;
  const amct_measure_options options = {.pb_model = f->o->pb_model,
                                        .record_file = f->record_file,
                                        .outputs = f->o->outputs,
                                        .class = f->class,
                                        .packages = &f->packages,
                                        .data = f->data,
                                        .kept = f->kept,
                                        .first = first,
                                        .tell = tell,
                                        .context = f};
  return amct_measure(to, &options, err);
}

static amct_status try_algorithm(accurate *a, candidate *c, int64_t algorithm,
                                 const amct_measured *first, amct_error *err) {
  a->f->algorithm = algorithm;
  AMCT_TRY(amct_calibrate_pass(a->f, err));
  AMCT_TRY(read_file(&c->files.record, a->f->record_file, err));
  AMCT_TRY(read_file(&c->files.stats, a->f->stats_path, err));
  return measure(a, &c->measured, first, err);
}

/* ---- the last bias ---- */

/* Means of float less quantized, into the stats of the layer; false: it has none. */
static amct_status note_bias(const amct_probe *probe, amct_stats *stats, bool *noted,
                             amct_error *err) {
  float *bias = amct_arena_array(&stats->arena, probe->channels + 1, sizeof *bias);
  if (!bias) return amct_fail_memory(err);
  const double each = (double)(probe->count / probe->channels);
  for (size_t c = 0; c < probe->channels; c++)
    bias[c] = (float)(probe->off[c] / each);
  for (size_t i = 0; i < stats->layers.count; i++) {
    amct_layer_stats *layer = &stats->layers.at[i];
    if (strcmp(layer->key, probe->layer) != 0) continue;
    layer->bias = bias;
    layer->bias_count = probe->channels;
    *noted = true;
  }
  return AMCT_OK;
}

static amct_status write_biases(const accurate *a, const amct_measured *m, bool *noted,
                                amct_error *err) {
  amct_stats stats = {0};
  amct_status status = amct_stats_read(&stats, a->f->stats_path, err);
  for (size_t i = m->outputs; i < m->count && status == AMCT_OK; i++)
    if (m->probes[i].last && m->probes[i].off && m->probes[i].channels)
      status = note_bias(&m->probes[i], &stats, noted, err);
  if (status == AMCT_OK && *noted)
    status = amct_stats_write(&stats, a->f->stats_path, err);
  amct_stats_free(&stats);
  return status;
}

/* Kept where the outputs are nearer to float than before. */
static amct_status correct(accurate *a, const candidate *best, amct_error *err) {
  const double before = amct_measure_outputs(&best->measured);
  bool noted = false;
  a->last = &best->measured;
  AMCT_TRY(write_biases(a, &best->measured, &noted, err));
  if (!noted)
    amct_buffer_text(&a->text,
                     "no layer with a bias ends the model: none is corrected\n");
  if (!noted && a->layers)
    return amct_calibrate_tell(a->f, a->f->total - a->f->done, err);
  AMCT_TRY(measure(a, &a->corrected, a->layers, err));
  if (!a->layers) a->layers = &a->corrected;
  if (!noted) return AMCT_OK;
  const double after = amct_measure_outputs(&a->corrected);
  const bool better = after > before;
  amct_buffer_format(&a->text, "last bias corrected: %.2f dB instead of %.2f dB%s\n",
                     after, before, better ? "" : ": not kept");
  if (!better) return settle(a, best, err);
  a->last = &a->corrected;
  return AMCT_OK;
}

/* ---- the text ---- */

static int by_sqnr(const void *a, const void *b) {
  const double x = amct_measure_sqnr(*(const amct_probe *const *)a);
  const double y = amct_measure_sqnr(*(const amct_probe *const *)b);
  return (x > y) - (x < y);
}

/* As it holds now. */
static const amct_probe *current(const accurate *a, const amct_probe *probe) {
  for (size_t i = a->last->outputs; i < a->last->count && probe->last; i++)
    if (strcmp(a->last->probes[i].layer, probe->layer) == 0) return &a->last->probes[i];
  return probe;
}

static amct_status list_layers(accurate *a, amct_error *err) {
  const amct_measured *m = a->layers;
  const size_t count = m->count - m->outputs;
  const amct_probe **order =
      amct_arena_array(&a->f->arena, count + 1, sizeof(amct_probe *));
  if (!order) return amct_fail_memory(err);
  for (size_t i = 0; i < count; i++)
    order[i] = current(a, &m->probes[m->outputs + i]);
  if (count) qsort(order, count, sizeof(amct_probe *), by_sqnr);
  amct_buffer_text(&a->text, "output SQNR of each layer against float, worst first:\n");
  for (size_t i = 0; i < count; i++) {
    amct_buffer_format(&a->text, "%8.2f dB  ", amct_measure_sqnr(order[i]));
    amct_report_put(&a->text, order[i]->layer);
    amct_buffer_text(&a->text, "\n");
  }
  return AMCT_OK;
}

static amct_status choose(accurate *a, amct_error *err) {
  const double ifmr = amct_measure_outputs(&a->ifmr.measured);
  const double min_max = amct_measure_outputs(&a->min_max.measured);
  const candidate *best = min_max > ifmr ? &a->min_max : &a->ifmr;
  amct_buffer_format(
      &a->text,
      "%lld samples kept apart: outputs at %.2f dB with ifmr, %.2f dB with "
      "min_max: %s is taken\n",
      (long long)a->f->kept.samples, ifmr, min_max,
      best == &a->ifmr ? "ifmr" : "min_max");
  AMCT_TRY(settle(a, best, err));
  if (best == &a->ifmr) a->layers = &best->measured;
  AMCT_TRY(correct(a, best, err));
  return list_layers(a, err);
}

/* ---- the whole ---- */

static amct_status compare(accurate *a, amct_error *err) {
  amct_error why = {0};
  amct_status status = try_algorithm(a, &a->ifmr, AMCT_RANGE_IFMR, NULL, &why);
  if (status != AMCT_OK && !a->ifmr.measured.refused)
    return amct_fail(err, status, *why.node ? why.node : NULL, "%s", why.text);
  if (a->ifmr.measured.refused) {
    amct_buffer_text(&a->text, "ifmr is taken, nothing is measured, since the quantized "
                               "model cannot be run: ");
    amct_report_put(&a->text, why.text);
    amct_buffer_text(&a->text, "\n");
    return amct_calibrate_tell(a->f, a->f->total - a->f->done, err);
  }
  a->f->best = &a->ifmr.files;
  AMCT_TRY(try_algorithm(a, &a->min_max, AMCT_RANGE_MIN_MAX, &a->ifmr.measured, err));
  return choose(a, err);
}

static amct_status run(accurate *a, amct_error *err) {
  if (keep_apart(a->f)) return compare(a, err);
  amct_buffer_format(&a->text,
                     "ifmr is taken, nothing is measured: %lld samples are too few to "
                     "keep a quarter apart, at least %d of them\n",
                     (long long)a->f->samples, LEAST);
  return amct_calibrate_pass(a->f, err);
}

amct_status amct_calibrate_accurate(amct_calibrate_flow *f, amct_error *err) {
  accurate a = {.f = f};
  amct_status status = run(&a, err);
  f->best = NULL;
  amct_buffer_append(&a.text, "", 1);
  if (status == AMCT_OK && a.text.failed) status = amct_fail_memory(err);
  if (status == AMCT_OK) {
    f->result->comparison = (char *)a.text.data; /* moved to the caller */
    a.text = (amct_buffer){0};
  }
  free_candidate(&a.ifmr);
  free_candidate(&a.min_max);
  amct_measured_free(&a.corrected);
  amct_buffer_free(&a.text);
  return status;
}
