/* SPDX-License-Identifier: Apache-2.0 */
/* From the ranges of fake quantization to factors of a record. */
#include "base/digest.h"
#include "base/logging.h"
#include "insert/fake_quants.h"
#include "numeric/even_rounding.h"
#include "op/lookup.h"
#include "op/parameters.h"
#include "rewrite/fold_values.h"

enum { INT8_ZERO = 128 };

/* The weights of a layer: as trained, and with what is folded in. */
typedef struct fake_weights {
  const amct_layer *layer;
  amct_folded folded;
  amct_nudged_weights trained;
  bool exact;  /* int8 holds the steps */
  bool raised; /* a scale is, by the bias */
} fake_weights;

typedef struct recorder {
  amct_record *record;
  amct_stats *stats;
  const amct_fakes *fakes;
  const amct_plan *plan;
} recorder;

/* Scales are raised where the bias would leave int32. */
static amct_status fit_bias(amct_factors *f, fake_weights *w, amct_arena *scratch,
                            amct_error *err) {
  const size_t channels = w->folded.layout.channels;
  const double *shift = w->folded.shift;
  const float *bias = NULL;
  amct_shape shape;
  if (!shift && !w->layer->bias) return AMCT_OK;
  if (!shift) {
    AMCT_TRY(amct_weight_floats(w->layer->bias->inputs[1], scratch, &bias, &shape, err));
    if (shape.rank != 1 || shape.dims[0] != (int64_t)channels)
      return AMCT_OK; /* which the deployment refuses */
  }
  for (size_t c = 0; c < channels; c++) {
    float *scale = &f->scale_w[f->scale_w_count > 1 ? c : 0];
    const float before = *scale;
    *scale = amct_bias_fit(bias ? bias[c] : (float)shift[c], f->scale_d, before);
    w->raised = w->raised || *scale > before;
  }
  return AMCT_OK;
}

/* ---- weights whose steps int8 does not hold ---- */

/* Window positions: all axes of a filter but the last two. */
static size_t taps_of(const amct_shape *shape) {
  size_t taps = 1;
  for (int i = 0; i + 2 < shape->rank; i++)
    taps *= (size_t)shape->dims[i];
  return taps;
}

/* The steps that the weights go to, for the deployment; `q` is in the stats' arena. */
static amct_status keep_rounded(const recorder *r, const amct_factors *f,
                                const amct_folded *folded, const int8_t *q,
                                amct_error *err) {
  const amct_weight_layout l = folded->layout;
  const size_t count = l.outer * l.channels * l.inner;
  const amct_layer_stats stats = {
      .key = f->key,
      .record = amct_stats_of_factors(f),
      .weights = amct_digest(0, folded->weights, count * sizeof *folded->weights),
      .rounded = q,
      .rounded_count = count};
  return AMCT_VEC_PUSH(&r->stats->layers, stats) ? AMCT_OK : amct_fail_memory(err);
}

static amct_status round_weights(const recorder *r, const amct_factors *f,
                                 fake_weights *w, amct_arena *scratch, amct_error *err) {
  const amct_weight_layout l = w->folded.layout;
  int8_t *q = amct_arena_array(&r->stats->arena, l.outer * l.inner, l.channels);
  if (!q) return amct_fail_memory(err);
  AMCT_TRY(amct_folded_multiply(&w->folded, w->layer->node, scratch, err));
  const amct_even_weights even = {w->folded.weights, l, f->scale_w, f->scale_w_count,
                                  taps_of(&w->folded.shape)};
  AMCT_TRY(amct_even_round(q, &even, err));
  const amct_nudged_loss loss =
      amct_nudged_missed(&w->trained, q, f->scale_w, f->scale_w_count);
  amct_log(AMCT_LOG_WARNING, r->fakes->module,
           "layer \"%s\": the weights of %zu of %zu channels leave the steps they were "
           "trained on, by at most %.2f steps: %s",
           f->key, loss.channels, l.channels, loss.largest,
           w->exact ? "their biases would leave int32"
                    : "some lie farther from zero than int8 reaches, train with a "
                      "symmetric range");
  return keep_rounded(r, f, &w->folded, q, err);
}

static amct_status put_scales(const recorder *r, amct_factors *f, fake_weights *w,
                              amct_error *err) {
  amct_arena *arena = &r->record->arena;
  f->scale_w = amct_arena_array(arena, w->folded.layout.channels + 1, sizeof *f->scale_w);
  if (!f->scale_w) return amct_fail_memory(err);
  AMCT_TRY(
      amct_nudged_scales(f->scale_w, &f->scale_w_count, &w->exact, &w->trained, err));
  f->offset_w = amct_arena_array(arena, f->scale_w_count, sizeof *f->offset_w);
  f->offset_w_count = f->scale_w_count;
  return f->offset_w ? AMCT_OK : amct_fail_memory(err);
}

static amct_status put_weights(const recorder *r, amct_factors *f,
                               const amct_fake_layer *of, const amct_layer *layer,
                               amct_arena *scratch, amct_error *err) {
  fake_weights w = {.layer = layer};
  AMCT_TRY(amct_folded_read(&w.folded, layer->node, amct_plan_fold(r->plan, layer->node),
                            scratch, err));
  w.trained = (amct_nudged_weights){
      w.folded.weights,        w.folded.layout, of->weight->grids.at,
      of->weight->grids.count, w.folded.factor, layer->op->grid == AMCT_PER_CHANNEL};
  AMCT_TRY(put_scales(r, f, &w, err));
  AMCT_TRY(fit_bias(f, &w, scratch, err));
  if (!w.exact || w.raised) return round_weights(r, f, &w, scratch, err);
  amct_log(AMCT_LOG_INFO, r->fakes->module,
           "layer \"%s\": its weights are exactly the trained ones", of->name);
  return AMCT_OK;
}

static amct_status put_layer(const recorder *r, const amct_fake_layer *of,
                             const amct_layer *layer, amct_error *err) {
  const amct_nudged *data = of->data->grids.at;
  amct_arena scratch = {0};
  amct_status status = AMCT_OK;
  amct_factors f = {
      .has_data = true, .scale_d = data->scale, .offset_d = data->zero - INT8_ZERO};
  f.key = amct_arena_text(&r->record->arena, of->name, strlen(of->name));
  if (!f.key) return amct_fail_memory(err);
  if (of->weight) status = put_weights(r, &f, of, layer, &scratch, err);
  amct_arena_free(&scratch);
  if (status != AMCT_OK) return status;
  return AMCT_VEC_PUSH(&r->record->layers, f) ? AMCT_OK : amct_fail_memory(err);
}

amct_status amct_fakes_record(amct_record *record, amct_stats *stats,
                              const amct_fakes *fakes, const amct_plan *plan,
                              const amct_layers *layers, amct_error *err) {
  const recorder r = {record, stats, fakes, plan};
  amct_lookup lookup = {0};
  amct_status status = amct_lookup_make(&lookup, layers, fakes->graph, err);
  for (size_t i = 0; i < fakes->layers.count && status == AMCT_OK; i++) {
    const amct_fake_layer *of = &fakes->layers.at[i];
    const amct_layer *layer = amct_lookup_layer(&lookup, of->name);
    if (layer && !layer->reason)
      status = put_layer(&r, of, layer, err);
    else
      status = amct_fail(err, AMCT_BAD_GRAPH, of->name,
                         "layer \"%s\" is gone after the fusions", of->name);
  }
  amct_lookup_free(&lookup);
  return status;
}
