/* SPDX-License-Identifier: Apache-2.0 */
/* Samples of observed tensors by window, for the rounding of weights. */
#include "calib/calib_state.h"

#include "numeric/input_rows.h"

/* One window over the tensor. */
typedef struct sample {
  amct_window of;
  bool useless;           /* a batch that the window does not fit */
  amct_pictures pictures; /* of the batch */
  size_t channels;        /* 0: none yet */
  amct_input_rows *rows;
} sample;

typedef struct amct_calib_samples {
  size_t count;
  sample *at;
} amct_calib_samples;

static sample *find_sample(const amct_calib_samples *samples, const amct_window *window) {
  for (size_t i = 0; window && i < samples->count; i++)
    if (amct_window_equal(&samples->at[i].of, window)) return &samples->at[i];
  return NULL;
}

void amct_calib_samples_free(amct_calib_samples *samples) {
  if (!samples) return;
  for (size_t i = 0; i < samples->count; i++)
    amct_input_rows_free(samples->at[i].rows);
  amct_free(samples->at);
  amct_free(samples);
}

static amct_calib_samples *new_samples(const amct_calib_range_spec *spec) {
  amct_calib_samples *samples = amct_alloc_array(1, sizeof *samples);
  if (!samples) return NULL;
  samples->at = amct_alloc_array(spec->layer_count, sizeof *samples->at);
  if (!samples->at) {
    amct_calib_samples_free(samples);
    return NULL;
  }
  for (size_t i = 0; i < spec->layer_count; i++) {
    const amct_window *window = spec->row_windows[i];
    if (window && !find_sample(samples, window))
      samples->at[samples->count++].of = *window;
  }
  return samples;
}

static bool wants_samples(const amct_calib_range_spec *spec) {
  for (size_t i = 0; spec->row_windows && i < spec->layer_count; i++)
    if (spec->row_windows[i]) return true;
  return false;
}

/* False when memory runs out. */
static bool prepare_sample(sample *s, const amct_calib_batch *batch) {
  if (s->useless || !batch->dims ||
      !amct_window_fits(&s->of, batch->dims, batch->rank, &s->pictures) ||
      !amct_input_rows_possible(&s->of, s->pictures.channels) ||
      (s->channels != 0 && s->channels != s->pictures.channels)) {
    s->useless = true;
    return true;
  }
  s->channels = s->pictures.channels;
  if (!s->rows) s->rows = amct_input_rows_new(&s->of, s->channels);
  return s->rows != NULL;
}

amct_status amct_calib_samples_prepare(amct_calib_observer *observer,
                                       const amct_calib_range_spec *spec,
                                       const amct_calib_batch *batch, amct_error *err) {
  if (!wants_samples(spec)) return AMCT_OK;
  if (!observer->samples) observer->samples = new_samples(spec);
  amct_calib_samples *samples = observer->samples;
  if (!samples) return amct_fail_memory(err);
  for (size_t i = 0; i < samples->count; i++)
    if (!prepare_sample(&samples->at[i], batch)) return amct_fail_memory(err);
  return AMCT_OK;
}

void amct_calib_samples_add(amct_calib_observer *observer,
                            const amct_calib_batch *batch) {
  for (size_t i = 0; observer->samples && i < observer->samples->count; i++) {
    const sample *s = &observer->samples->at[i];
    if (!s->useless) amct_input_rows_add(s->rows, &s->pictures, batch->values);
  }
}

size_t amct_calib_samples_bytes(const amct_calib_observer *observer) {
  size_t bytes = 0;
  for (size_t i = 0; observer->samples && i < observer->samples->count; i++)
    if (observer->samples->at[i].rows)
      bytes += amct_input_rows_bytes(observer->samples->at[i].rows);
  return bytes;
}

/* ---- on the grid ---- */

void amct_calib_steps_release(amct_calib_steps *steps) {
  if (!steps || atomic_fetch_sub(&steps->holders, 1) > 1) return;
  amct_free(steps->at);
  amct_free(steps);
}

static amct_calib_steps *steps_of(const sample *s, amct_range range) {
  amct_calib_steps *steps = amct_alloc_array(1, sizeof *steps);
  if (!steps) return NULL;
  atomic_store(&steps->holders, 1);
  steps->taps = (size_t)s->of.kernel[0] * (size_t)s->of.kernel[1];
  if (s->useless || !s->rows) return steps;
  steps->rows = amct_input_rows_count(s->rows);
  steps->width = amct_input_rows_width(s->rows);
  steps->at = amct_alloc_array(steps->rows, steps->width * sizeof *steps->at);
  if (steps->at && amct_input_rows_steps(s->rows, range, steps->at)) return steps;
  amct_calib_steps_release(steps);
  return NULL;
}

amct_status amct_calib_samples_of(const amct_calib_observer *observer,
                                  const amct_calib_range_spec *spec, amct_range range,
                                  amct_calib_steps **steps, amct_error *err) {
  if (!observer->samples) return AMCT_OK;
  for (size_t i = 0; i < spec->layer_count; i++) {
    const sample *s = find_sample(observer->samples, spec->row_windows[i]);
    for (size_t j = 0; s && j < i && !steps[i]; j++)
      if (steps[j] && find_sample(observer->samples, spec->row_windows[j]) == s)
        steps[i] = steps[j];
    if (steps[i])
      atomic_fetch_add(&steps[i]->holders, 1);
    else if (s && !(steps[i] = steps_of(s, range)))
      return amct_fail_memory(err);
  }
  return AMCT_OK;
}
