/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/fake_quant.h"

#include <float.h>
#include <math.h>

#include "base/alloc.h"
#include "numeric/clones.h"
#include "numeric/float_env.h"
#include "numeric/kernels.h"
#include "numeric/round.h"

enum { BITS = 8, STEPS = 255, BLOCK = 4096, LANES = 8 };
static const float k_scale_least = 1.192092896e-7f;

/* ---- ULQ ---- */

amct_ulq_grid amct_ulq_grid_of(float clip_max, float clip_min) {
  amct_ulq_grid grid = {clip_max > 0 ? clip_max : 0, clip_min < 0 ? clip_min : 0, 1.0f,
                        -128.0f};
  float scale = (grid.clip_max - grid.clip_min) / (float)STEPS;
  if (isinf(scale)) /* the difference alone */
    scale = (float)(((double)grid.clip_max - (double)grid.clip_min) / STEPS);
  if (!(scale >= k_scale_least)) return grid;
  grid.scale = scale;
  grid.offset = -128.0f - amct_round_float(grid.clip_min / scale);
  return grid;
}

AMCT_CLONES void amct_ulq_extremes(const float *x, size_t count, float *largest,
                                   float *smallest) {
  float high = 0, low = 0;
  for (size_t i = 0; i < count; i++) {
    high = x[i] > high ? x[i] : high;
    low = x[i] < low ? x[i] : low;
  }
  *largest = high;
  *smallest = low;
}

void amct_ulq_forward(float *y, const float *x, size_t count, const amct_ulq_grid *grid) {
  const float inverse = 1.0f / grid->scale;
  for (size_t done = 0; done < count; done += BLOCK) { /* that stays in the cache */
    const size_t n = count - done < BLOCK ? count - done : BLOCK;
    amct_quant_float(y + done, x + done, n, inverse, grid->offset, BITS);
    amct_antiquant_float(y + done, y + done, n, grid->scale);
  }
}

/* One value; its parts of the sums. */
AMCT_INLINE float backward_one(float g, float x, const amct_ulq_grid *grid, float inverse,
                               double sums[3]) {
  const float v = x * inverse;
  const bool over = x > grid->clip_max, under = x < grid->clip_min;
  const double g_over = over ? (double)g : 0, g_under = under ? (double)g : 0;
  const float rest = over || under ? 0.0f : amct_round_float(v) - v;
  sums[0] += g_over;
  sums[1] += g_under;
  sums[2] += (double)g * (double)rest;
  return over || under ? 0.0f : g;
}

/* Lanes, so that the order of the sums is the same in every clone. */
AMCT_CLONES void amct_ulq_backward(float *dx, amct_ulq_sums *sums, const float *g,
                                   const float *x, size_t count,
                                   const amct_ulq_grid *grid) {
  const float inverse = 1.0f / grid->scale;
  double parts[LANES][3] = {{0}};
  for (size_t i = 0; i < count; i++)
    dx[i] = backward_one(g[i], x[i], grid, inverse, parts[i % LANES]);
  for (size_t lane = 0; lane < LANES; lane++) {
    sums->clip_max += parts[lane][0] + parts[lane][2] / STEPS;
    sums->clip_min += parts[lane][1] - parts[lane][2] / STEPS;
  }
}

void amct_ulq_clips(float scale, int32_t offset, bool fixed_min, float *clip_max,
                    float *clip_min) {
  *clip_max = (float)(127 - offset) * scale;
  *clip_min = fixed_min ? 0.0f : -(float)(128 + offset) * scale;
  if (*clip_max == 0 && *clip_min == 0) *clip_max = 1.0f;
}

/* ---- ARQ ---- */

static size_t size_of(amct_weight_layout layout) {
  return layout.outer * layout.channels * layout.inner;
}

static AMCT_NOINLINE void widen(float *y, const int8_t *q, amct_weight_layout layout,
                                const float *scale) {
  for (size_t o = 0; o < layout.outer; o++)
    for (size_t c = 0; c < layout.channels; c++) {
      const size_t first = (o * layout.channels + c) * layout.inner;
      for (size_t i = first; i < first + layout.inner; i++)
        y[i] = (float)q[i] * scale[c];
    }
}

amct_status amct_arq_forward(float *y, const float *w, amct_weight_layout layout,
                             bool per_channel, amct_error *err) {
  const size_t count = size_of(layout);
  if (!per_channel) layout = (amct_weight_layout){1, 1, count};
  float *scale = amct_alloc_array(layout.channels + 1, sizeof *scale);
  int8_t *q = amct_alloc_array(count + 1, 1);
  amct_status status = scale && q ? amct_weight_scales(scale, w, layout, true, err)
                                  : amct_fail_memory(err);
  if (status == AMCT_OK) {
    fenv_t saved;
    amct_weight_quantize(q, w, layout, scale, layout.channels);
    amct_float_env_enter(&saved);
    widen(y, q, layout, scale);
    amct_float_env_leave(&saved);
  }
  amct_free(q);
  amct_free(scale);
  return status;
}

/* ---- scales of folded weights ---- */

/* Steps that can be folded, with their factors and shifts. */
static size_t fold(const amct_trained *t, double *factor, double *shift) {
  const size_t channels = t->layout.channels;
  size_t channel = 0;
  for (size_t n = t->step_count; n > 0; n--)
    if (amct_fold_run(t->steps, n, channels, factor, shift, &channel) == AMCT_FOLDABLE &&
        amct_fold_check(t->weights, t->layout, factor, &channel) == AMCT_FOLDABLE)
      return n;
  for (size_t c = 0; c < channels; c++) {
    factor[c] = 1;
    shift[c] = 0;
  }
  return 0;
}

static bool has_norm(const amct_trained *t, size_t folded) {
  for (size_t i = 0; i < folded; i++)
    if (t->steps[i].kind == AMCT_FOLD_BATCH_NORM) return true;
  return false;
}

/* One scale times the factor of its channel; no less than a float32 of full precision. */
static float folded_scale(float scale, double factor, float largest) {
  const float product = (float)((double)scale * fabs(factor));
  if (largest == 0 || factor == 0) return 1.0f;
  return product >= FLT_MIN ? product : FLT_MIN;
}

static AMCT_NOINLINE void spread(float *scale_w, size_t count, const amct_trained *t,
                                 const double *factor) {
  const size_t channels = t->layout.channels;
  for (size_t first = 0; count > 1 && first < channels; first += AMCT_CHANNEL_BLOCK) {
    const size_t left = channels - first;
    const size_t n = left < AMCT_CHANNEL_BLOCK ? left : AMCT_CHANNEL_BLOCK;
    float largest[AMCT_CHANNEL_BLOCK];
    amct_weight_largest(largest, t->weights, t->layout, first, n);
    for (size_t c = 0; c < n; c++)
      scale_w[first + c] =
          folded_scale(scale_w[first + c], factor[first + c], largest[c]);
  }
}

static AMCT_NOINLINE void fit_bias(float *scale_w, size_t count, const amct_trained *t,
                                   const double *shift) {
  for (size_t c = 0; c < t->layout.channels; c++) {
    float *scale = &scale_w[count > 1 ? c : 0];
    *scale = amct_bias_fit((float)shift[c], t->scale_d, *scale);
  }
}

static void scales(float *scale_w, size_t count, const amct_trained *t,
                   const double *factor, const double *shift) {
  fenv_t saved;
  amct_float_env_enter(&saved);
  spread(scale_w, count, t, factor);
  fit_bias(scale_w, count, t, shift);
  amct_float_env_leave(&saved);
}

amct_status amct_trained_scales(float *scale_w, size_t *count, size_t *folded,
                                const amct_trained *t, amct_error *err) {
  const size_t channels = t->layout.channels;
  double *factor = amct_alloc_array(channels + 1, sizeof *factor);
  double *shift = amct_alloc_array(channels + 1, sizeof *shift);
  amct_status status =
      factor && shift
          ? amct_weight_scales(scale_w, t->weights, t->layout, t->per_channel, err)
          : amct_fail_memory(err);
  if (status == AMCT_OK) {
    *folded = fold(t, factor, shift);
    *count = t->per_channel || has_norm(t, *folded) ? channels : 1;
    for (size_t c = 1; !t->per_channel && c < *count; c++)
      scale_w[c] = scale_w[0];
    scales(scale_w, *count, t, factor, shift);
  }
  amct_free(shift);
  amct_free(factor);
  return status;
}
