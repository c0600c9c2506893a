/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/fake_quant.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "numeric/clones.h"
#include "numeric/float_env.h"
#include "numeric/kernels.h"
#include "numeric/round.h"

enum { BITS = 8, STEPS = 255, BLOCK = 4096, PARTS = 256, LANES = 8 };
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

/* Element i of a run is added to lane i mod 8, so that the order of the sums is the same
 * in every clone. */
typedef struct lanes {
  double over[LANES], under[LANES], rest[LANES];
} lanes;

enum { OVER = 1, UNDER = 2 }; /* what a part has */

/* What rounding adds to x/scale; 0 outside. Returns what the part has outside. */
AMCT_CLONES static int find_rest(float *rest, const float *x, size_t count,
                                 const amct_ulq_grid *grid) {
  const float high = grid->clip_max, low = grid->clip_min, inverse = 1.0f / grid->scale;
  int any_over = 0, any_under = 0;
  for (size_t i = 0; i < count; i++) {
    const float v = x[i] * inverse, r = amct_round_float(v) - v;
    const int over = x[i] > high, under = x[i] < low;
    rest[i] = over | under ? 0.0f : r;
    any_over |= over;
    any_under |= under;
  }
  return (any_over ? OVER : 0) | (any_under ? UNDER : 0);
}

AMCT_CLONES static void add_products(double sum[LANES], const float *g, const float *rest,
                                     size_t count) {
  for (size_t i = 0; i < count; i += LANES)
    for (size_t k = 0; k < LANES; k++)
      sum[k] += (double)g[i + k] * (double)rest[i + k];
}

AMCT_CLONES static void add_values(double sum[LANES], const float *values, size_t count) {
  for (size_t i = 0; i < count; i += LANES)
    for (size_t k = 0; k < LANES; k++)
      sum[k] += (double)values[i + k];
}

/* The gradients of the values outside, 0 of the others. */
AMCT_CLONES static void take_outside(float *taken, const float *g, const float *x,
                                     size_t count, float low, float high) {
  for (size_t i = 0; i < count; i++) {
    const float gradient = g[i];
    const bool outside = (x[i] > high) | (x[i] < low);
    taken[i] = outside ? gradient : 0.0f;
  }
}

AMCT_CLONES static void clear_outside(float *dx, const float *x, size_t count,
                                      const amct_ulq_grid *grid) {
  const float high = grid->clip_max, low = grid->clip_min;
  for (size_t i = 0; i < count; i++) {
    const float gradient = dx[i];
    const bool outside = (x[i] > high) | (x[i] < low);
    dx[i] = outside ? 0.0f : gradient;
  }
}

/* A whole number of lanes. Sums come before dx, which may be g, is written. */
static void backward_part(float *dx, lanes *to, const float *g, const float *x,
                          size_t count, const amct_ulq_grid *grid) {
  float values[PARTS];
  const int found = find_rest(values, x, count, grid);
  add_products(to->rest, g, values, count);
  if (found & OVER) {
    take_outside(values, g, x, count, -INFINITY, grid->clip_max);
    add_values(to->over, values, count);
  }
  if (found & UNDER) {
    take_outside(values, g, x, count, grid->clip_min, INFINITY);
    add_values(to->under, values, count);
  }
  if (dx != g) memcpy(dx, g, count * sizeof *dx);
  if (found) clear_outside(dx, x, count, grid);
}

void amct_ulq_backward(float *dx, amct_ulq_sums *sums, const float *g, const float *x,
                       size_t count, const amct_ulq_grid *grid) {
  const size_t whole = count / LANES * LANES, left = count - whole;
  lanes all = {{0}, {0}, {0}};
  for (size_t done = 0; done < whole; done += PARTS) {
    const size_t n = whole - done < PARTS ? whole - done : PARTS;
    backward_part(dx + done, &all, g + done, x + done, n, grid);
  }
  if (left > 0) {
    float last_g[LANES] = {0}, last_x[LANES] = {0};
    memcpy(last_g, g + whole, left * sizeof *g);
    memcpy(last_x, x + whole, left * sizeof *x);
    backward_part(last_g, &all, last_g, last_x, LANES, grid);
    memcpy(dx + whole, last_g, left * sizeof *dx);
  }
  for (size_t k = 0; k < LANES; k++) {
    sums->clip_max += all.over[k] + all.rest[k] / STEPS;
    sums->clip_min += all.under[k] - all.rest[k] / STEPS;
  }
}

void amct_ulq_clips(float scale, int32_t offset, bool fixed_min, float *clip_max,
                    float *clip_min) {
  *clip_max = (float)(127 - offset) * scale;
  *clip_min = fixed_min ? 0.0f : (float)(-128 - offset) * scale;
  if (*clip_max == 0 && *clip_min == 0) *clip_max = 1.0f;
}

/* ---- ARQ ---- */

AMCT_INLINE float on_grid(float w, float scale) {
  float q = amct_round_float(w / scale);
  q = q > 127.0f ? 127.0f : q;
  q = q < -128.0f ? -128.0f : q;
  return (q + 0.0f) * scale; /* an integer has no -0 */
}

/* Rows of a value a channel. */
AMCT_CLONES static void put_rows(float *y, const float *w, size_t rows, size_t channels,
                                 const float *scale) {
  for (size_t r = 0; r < rows; r++, y += channels, w += channels)
    for (size_t c = 0; c < channels; c++)
      y[c] = on_grid(w[c], scale[c]);
}

AMCT_CLONES static void put_run(float *y, const float *w, size_t count, float scale) {
  for (size_t i = 0; i < count; i++)
    y[i] = on_grid(w[i], scale);
}

static AMCT_NOINLINE void put_on_grid(float *y, const float *w, amct_weight_layout layout,
                                      const float *scale) {
  if (layout.inner == 1) {
    put_rows(y, w, layout.outer, layout.channels, scale);
    return;
  }
  for (size_t run = 0; run < layout.outer * layout.channels; run++)
    put_run(y + run * layout.inner, w + run * layout.inner, layout.inner,
            scale[run % layout.channels]);
}

amct_status amct_arq_forward(float *y, const float *w, amct_weight_layout layout,
                             bool per_channel, amct_error *err) {
  amct_float_env saved;
  if (!per_channel)
    layout = (amct_weight_layout){1, 1, layout.outer * layout.channels * layout.inner};
  float *scale = amct_alloc_array(layout.channels + 1, sizeof *scale);
  amct_status status =
      scale ? amct_weight_scales(scale, w, layout, true, err) : amct_fail_memory(err);
  if (status == AMCT_OK) {
    amct_float_env_enter(&saved);
    put_on_grid(y, w, layout, scale);
    amct_float_env_leave(&saved);
  }
  amct_free(scale);
  return status;
}

/* ---- scales of folded weights ---- */

size_t amct_trained_fold(const amct_trained *t, double *factor, double *shift) {
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

static bool is_uniform(const double *factor, size_t channels) {
  for (size_t c = 1; c < channels; c++)
    if (fabs(factor[c]) != fabs(factor[0])) return false;
  return true;
}

/* No less than a float32 of full precision. */
static float at_least(float scale, float largest) {
  if (largest == 0) return 1.0f;
  return scale >= FLT_MIN ? scale : FLT_MIN;
}

/* The grid of training times the factor: of each channel, or of all. */
static float folded_scale(float scale, double factor, float largest) {
  return at_least((float)((double)scale * fabs(factor)), factor == 0 ? 0 : largest);
}

static AMCT_NOINLINE void spread(float *scale_w, size_t count, const amct_trained *t,
                                 const double *factor) {
  const size_t channels = t->layout.channels;
  float whole = 0, folded = 0; /* largest of all weights, and of the folded ones */
  for (size_t first = 0; first < channels; first += AMCT_CHANNEL_BLOCK) {
    const size_t left = channels - first;
    const size_t n = left < AMCT_CHANNEL_BLOCK ? left : AMCT_CHANNEL_BLOCK;
    float largest[AMCT_CHANNEL_BLOCK];
    amct_weight_largest(largest, t->weights, t->layout, first, n);
    for (size_t c = 0; c < n; c++) {
      const float one = (float)((double)largest[c] * fabs(factor[first + c]));
      whole = largest[c] > whole ? largest[c] : whole;
      folded = one > folded ? one : folded;
      if (count == channels)
        scale_w[first + c] =
            folded_scale(scale_w[first + c], factor[first + c], largest[c]);
    }
  }
  if (count == channels) return;
  scale_w[0] = is_uniform(factor, channels) ? folded_scale(scale_w[0], factor[0], whole)
                                            : at_least(folded / 127.0f, folded);
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
  amct_float_env saved;
  amct_float_env_enter(&saved);
  spread(scale_w, count, t, factor);
  fit_bias(scale_w, count, t, shift);
  amct_float_env_leave(&saved);
}

size_t amct_trained_fold_scales(float *scale_w, const amct_trained *t,
                                const double *factor, const double *shift) {
  const size_t channels = t->layout.channels;
  const bool splits = t->may_split && !is_uniform(factor, channels);
  const size_t count = t->per_channel || splits ? channels : 1;
  for (size_t c = 1; !t->per_channel && c < count; c++)
    scale_w[c] = scale_w[0];
  scales(scale_w, count, t, factor, shift);
  return count;
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
    *folded = amct_trained_fold(t, factor, shift);
    *count = amct_trained_fold_scales(scale_w, t, factor, shift);
  }
  amct_free(shift);
  amct_free(factor);
  return status;
}
