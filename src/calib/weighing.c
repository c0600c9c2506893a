/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a layer: folded, and their scales. */
#include "calib/calib_state.h"

#include <math.h>

#include "base/digest.h"
#include "base/logging.h"
#include "numeric/float_env.h"
#include "numeric/weights.h"

static const char k_module[] = "calibration";

/* A layer as it was brought, and what comes of it. */
typedef struct weighing {
  const amct_calib_weight_spec *spec;
  const float *weights;
  amct_weight_layout layout;
  const amct_fold_step *steps;
  size_t step_count;
  float *folded; /* weights */
  double *factor, *shift;
  float *scale_w, *bias; /* results; bias NULL where there is none */
  uint64_t digest;       /* of the folded weights */
  double norm;           /* of a channel's, root mean square */
} weighing;

static amct_foldable try_fold(weighing *w, size_t steps, size_t *channel) {
  const size_t channels = w->layout.channels;
  const amct_foldable reason =
      amct_fold_run(w->steps, steps, channels, w->factor, w->shift, channel);
  if (reason != AMCT_FOLDABLE) return reason;
  return amct_fold_weights(w->folded, w->weights, w->layout, w->factor, channel);
}

/* Folds as many steps as can be: where one cannot, it and what follows stay in the graph.
 * Returns the number of steps folded. Weights that are not finite are left to the scales
 * to refuse. */
static size_t fold(weighing *w) {
  amct_foldable reason = AMCT_FOLDABLE;
  size_t channel = 0;
  for (size_t n = w->step_count; n > 0; n--) {
    amct_foldable why = try_fold(w, n, &channel);
    if (why == AMCT_FOLDABLE) {
      if (n == w->step_count) return n;
      amct_log(
          AMCT_LOG_WARNING, k_module,
          "layer \"%s\": a %s that follows it is not folded: %s, first in channel %zu",
          w->spec->layer.name,
          w->steps[n].kind == AMCT_FOLD_BATCH_NORM
              ? "batch norm"
              : amct_fold_kind_name(w->steps[n].kind),
          amct_foldable_text(reason), channel);
      return n;
    }
    reason = why;
  }
  if (w->step_count > 0)
    amct_log(AMCT_LOG_WARNING, k_module,
             "layer \"%s\": nothing is folded into it: %s, first in channel %zu",
             w->spec->layer.name, amct_foldable_text(reason), channel);
  memcpy(w->folded, w->weights,
         w->layout.outer * w->layout.channels * w->layout.inner * sizeof *w->folded);
  return 0;
}

/* Root mean square of the channels' norms. */
static double norm_of(const weighing *w) {
  const size_t count = w->layout.outer * w->layout.channels * w->layout.inner;
  double sum = 0;
  for (size_t i = 0; i < count; i++)
    sum += (double)w->folded[i] * (double)w->folded[i];
  return sqrt(sum / (double)w->layout.channels);
}

static amct_status compute(weighing *w, size_t scales, amct_error *err) {
  const size_t channels = w->layout.channels;
  amct_error reason = {0};
  const size_t folded = fold(w);
  if (folded > 0) {
    w->bias = amct_alloc_array(channels, sizeof *w->bias);
    if (!w->bias) return amct_fail_memory(err);
    for (size_t c = 0; c < channels; c++)
      w->bias[c] = (float)w->shift[c];
  }
  w->scale_w = amct_alloc_array(scales, sizeof *w->scale_w);
  if (!w->scale_w) return amct_fail_memory(err);
  const amct_status status = amct_weight_scales(w->scale_w, w->folded, w->layout,
                                                w->spec->channel_wise, &reason);
  w->norm = norm_of(w);
  w->digest = amct_digest(
      0, w->folded, w->layout.outer * channels * w->layout.inner * sizeof *w->folded);
  if (status == AMCT_OK) return AMCT_OK;
  return amct_fail(err, status, w->spec->layer.name, "layer \"%s\": %s",
                   w->spec->layer.name, reason.text);
}

/* Results become the entry's, unless another run was faster. */
static amct_status keep(amct_calib_state *state, weighing *w, size_t scales,
                        amct_calib_entry **out, amct_error *err) {
  AMCT_TRY(amct_calib_entry_get(state, &w->spec->key, &w->spec->layer, out, err));
  amct_calib_entry *entry = *out;
  if (entry->has_weights) return AMCT_OK;
  amct_free(entry->scale_w); /* where data were to stand in the place of weights */
  entry->scale_w = w->scale_w;
  entry->scale_count = scales;
  entry->bias = w->bias;
  entry->channels = w->layout.channels;
  entry->weights_digest = w->digest;
  entry->weight_norm = w->norm;
  entry->layout = w->layout;
  entry->damping = w->spec->damping;
  if (entry->damping > 0) {
    entry->folded = w->folded;
    w->folded = NULL;
  }
  entry->has_weights = true;
  w->scale_w = w->bias = NULL; /* moved to the entry */
  return AMCT_OK;
}

static amct_status hand_out(amct_calib_state *state, weighing *w, size_t scales,
                            amct_error *err) {
  amct_calib_entry *entry = NULL;
  pthread_mutex_lock(&state->lock);
  amct_status status = keep(state, w, scales, &entry, err);
  pthread_mutex_unlock(&state->lock);
  if (status != AMCT_OK) return status;
  amct_calib_round(state, &entry, 1);
  pthread_mutex_lock(&state->lock);
  status = amct_calib_settle(state, &entry, 1, err);
  pthread_mutex_unlock(&state->lock);
  return status;
}

static AMCT_NOINLINE amct_status weigh(weighing *w, amct_error *err) {
  const size_t channels = w->layout.channels;
  const size_t count = w->layout.outer * channels * w->layout.inner;
  const size_t scales = w->spec->channel_wise ? channels : 1;
  amct_calib_state *state = NULL;
  amct_status status;
  if (count == 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, w->spec->layer.name,
                     "layer \"%s\" has no weights", w->spec->layer.name);
  AMCT_TRY(amct_calib_find(&state, &w->spec->key, err));
  if (!state) return AMCT_OK; /* a forked child */
  w->folded = amct_alloc_array(count, sizeof *w->folded);
  w->factor = amct_alloc_array(channels, sizeof *w->factor);
  w->shift = amct_alloc_array(channels, sizeof *w->shift);
  if (!w->folded || !w->factor || !w->shift) {
    status = amct_fail_memory(err);
    goto done;
  }
  const int64_t since = amct_calib_now_ns();
  if ((status = compute(w, scales, err)) != AMCT_OK) goto done;
  amct_calib_spent(state, AMCT_CALIB_WEIGH, since);
  status = hand_out(state, w, scales, err);
done:
  amct_free(w->folded);
  amct_free(w->factor);
  amct_free(w->shift);
  amct_free(w->scale_w);
  amct_free(w->bias);
  return status;
}

amct_status amct_calib_weigh(const amct_calib_weight_spec *spec, const float *weights,
                             amct_weight_layout layout, const amct_fold_step *steps,
                             size_t step_count, amct_error *err) {
  weighing w = {.spec = spec,
                .weights = weights,
                .layout = layout,
                .steps = steps,
                .step_count = step_count};
  amct_float_env saved;
  amct_float_env_enter(&saved);
  const amct_status status = weigh(&w, err);
  amct_float_env_leave(&saved);
  return status;
}

bool amct_calib_weights_done(const amct_calib_weight_spec *spec) {
  amct_calib_state *state = amct_calib_known(&spec->key);
  if (!state) return false;
  pthread_mutex_lock(&state->lock);
  const amct_calib_entry *entry = amct_calib_entry_known(state, spec->layer.index);
  const bool done = entry && entry->has_weights;
  pthread_mutex_unlock(&state->lock);
  return done;
}
