/* SPDX-License-Identifier: Apache-2.0 */
/* From the ranges of fake quantization to factors of a record. */
#include "base/logging.h"
#include "insert/fake_quants.h"
#include "op/lookup.h"
#include "op/parameters.h"
#include "rewrite/fold_values.h"

enum { INT8_ZERO = 128 };

typedef struct recorder {
  amct_record *record;
  const amct_fakes *fakes;
  const amct_plan *plan;
} recorder;

/* Scales are raised where the bias would leave int32. */
static amct_status fit_bias(amct_factors *f, const amct_layer *layer,
                            const amct_folded *folded, amct_arena *scratch,
                            amct_error *err) {
  const size_t channels = folded->layout.channels;
  const float *bias = NULL;
  amct_shape shape;
  if (!folded->shift && !layer->bias) return AMCT_OK;
  if (!folded->shift) {
    AMCT_TRY(amct_weight_floats(layer->bias->inputs[1], scratch, &bias, &shape, err));
    if (shape.rank != 1 || shape.dims[0] != (int64_t)channels)
      return AMCT_OK; /* which the deployment refuses */
  }
  for (size_t c = 0; c < channels; c++) {
    float *scale = &f->scale_w[f->scale_w_count > 1 ? c : 0];
    *scale = amct_bias_fit(bias ? bias[c] : (float)folded->shift[c], f->scale_d, *scale);
  }
  return AMCT_OK;
}

static amct_status put_weights(const recorder *r, amct_factors *f,
                               const amct_fake_layer *of, const amct_layer *layer,
                               amct_arena *scratch, amct_error *err) {
  amct_folded folded;
  size_t coarser = 0;
  AMCT_TRY(amct_folded_read(&folded, layer->node, amct_plan_fold(r->plan, layer->node),
                            scratch, err));
  const amct_nudged_weights weights = {
      folded.weights,          folded.layout, of->weight->grids.at,
      of->weight->grids.count, folded.factor, layer->op->grid == AMCT_PER_CHANNEL};
  f->scale_w =
      amct_arena_array(&r->record->arena, folded.layout.channels + 1, sizeof *f->scale_w);
  if (!f->scale_w) return amct_fail_memory(err);
  AMCT_TRY(amct_nudged_scales(f->scale_w, &f->scale_w_count, &coarser, &weights, err));
  f->offset_w =
      amct_arena_array(&r->record->arena, f->scale_w_count, sizeof *f->offset_w);
  f->offset_w_count = f->scale_w_count;
  if (!f->offset_w) return amct_fail_memory(err);
  if (coarser)
    amct_log(
        AMCT_LOG_WARNING, r->fakes->module,
        "layer \"%s\": the weights of %zu of %zu channels lie more than 127 steps of "
        "their range from zero and are rounded to coarser steps: train with a "
        "symmetric range",
        of->name, coarser, folded.layout.channels);
  return fit_bias(f, layer, &folded, scratch, err);
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

amct_status amct_fakes_record(amct_record *record, const amct_fakes *fakes,
                              const amct_plan *plan, const amct_layers *layers,
                              amct_error *err) {
  const recorder r = {record, fakes, plan};
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
