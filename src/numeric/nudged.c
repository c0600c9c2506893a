/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/nudged.h"

#include <math.h>

#include "base/alloc.h"
#include "numeric/float_env.h"
#include "numeric/round.h"

static AMCT_NOINLINE bool nudge(amct_nudged *grid, float min, float max) {
  const float low = (float)grid->low, last = (float)grid->last;
  grid->scale = (max - min) / (last - low);
  if (!(grid->scale > 0) || !isfinite(grid->scale) || !isfinite(1.0f / grid->scale))
    return false;
  const float zero = low - min / grid->scale;
  grid->zero = zero < low    ? grid->low
               : zero > last ? grid->last
                             : (int32_t)amct_round_float(zero);
  return true;
}

bool amct_nudge(amct_nudged *grid, float min, float max, int bits, bool narrow) {
  fenv_t saved;
  *grid = (amct_nudged){.low = narrow ? 1 : 0, .last = (1 << bits) - 1};
  if (!isfinite(min) || !isfinite(max) || !(min < max)) return false;
  amct_float_env_enter(&saved);
  const bool done = nudge(grid, min, max);
  amct_float_env_leave(&saved);
  return done;
}

static AMCT_NOINLINE void apply(float *y, const float *x, size_t count,
                                const amct_nudged *grid) {
  const float bottom = (float)(grid->low - grid->zero) * grid->scale;
  const float top = (float)(grid->last - grid->zero) * grid->scale;
  const float inverse = 1.0f / grid->scale, first = (float)(grid->low - grid->zero);
  for (size_t i = 0; i < count; i++) {
    float v = x[i] > top ? top : x[i];
    v = v < bottom ? bottom : v;
    y[i] = (floorf((v - bottom) * inverse + 0.5f) + first) * grid->scale;
  }
}

void amct_nudged_apply(float *y, const float *x, size_t count, const amct_nudged *grid) {
  fenv_t saved;
  amct_float_env_enter(&saved);
  apply(y, x, count, grid);
  amct_float_env_leave(&saved);
}

/* ---- weights ---- */

static const amct_nudged *grid_of(const amct_nudged_weights *of, size_t channel) {
  return &of->grids[channel % of->grid_count];
}

/* Marks in `fits` the channels whose steps int8 holds, signs as the factors leave them.
 */
static void find_fits(bool *fits, const amct_nudged_weights *of) {
  const amct_weight_layout l = of->layout;
  for (size_t c = 0; c < l.channels; c++)
    fits[c] = true;
  for (size_t o = 0; o < l.outer; o++)
    for (size_t c = 0; c < l.channels; c++) {
      const float *w = &of->weights[(o * l.channels + c) * l.inner];
      const float sign = of->factor && of->factor[c] < 0 ? -1.0f : 1.0f;
      const float scale = sign * grid_of(of, c)->scale;
      for (size_t i = 0; i < l.inner; i++) {
        const float steps = amct_round_float(w[i] / scale);
        fits[c] = fits[c] && steps <= 127.0f && steps >= -128.0f;
      }
    }
}

/* scale_w holds max|w|/127 of each channel, 1 where that is 0. */
static AMCT_NOINLINE void choose(float *scale_w, const bool *fits, const bool *zero,
                                 const amct_nudged_weights *of) {
  for (size_t c = 0; c < of->layout.channels; c++) {
    const float base = fits[c] ? grid_of(of, c)->scale : scale_w[c];
    const double factor = of->factor ? fabs(of->factor[c]) : 1.0;
    const float scale = (float)((double)base * factor);
    scale_w[c] = !zero[c] && scale > 0 ? scale : 1.0f;
  }
}

static void find_zeros(bool *zero, const amct_nudged_weights *of) {
  float largest[AMCT_CHANNEL_BLOCK];
  for (size_t first = 0; first < of->layout.channels; first += AMCT_CHANNEL_BLOCK) {
    const size_t left = of->layout.channels - first;
    const size_t n = left < AMCT_CHANNEL_BLOCK ? left : AMCT_CHANNEL_BLOCK;
    amct_weight_largest(largest, of->weights, of->layout, first, n);
    for (size_t c = 0; c < n; c++)
      zero[first + c] = largest[c] == 0;
  }
}

/* One scale for all, if it serves all: that of the channels that are not zero. */
static bool share(float *scale_w, const bool *zero, const amct_nudged_weights *of) {
  float largest = 0, smallest = INFINITY;
  for (size_t c = 0; c < of->layout.channels; c++) {
    if (zero[c]) continue;
    largest = scale_w[c] > largest ? scale_w[c] : largest;
    smallest = scale_w[c] < smallest ? scale_w[c] : smallest;
  }
  if (of->per_channel && largest > smallest) return false;
  scale_w[0] = largest > 0 ? largest : 1.0f;
  return true;
}

amct_status amct_nudged_scales(float *scale_w, size_t *count, size_t *coarser,
                               const amct_nudged_weights *of, amct_error *err) {
  const size_t channels = of->layout.channels;
  bool *fits = amct_alloc_array(channels + 1, sizeof *fits);
  bool *zero = amct_alloc_array(channels + 1, sizeof *zero);
  amct_status status =
      fits && zero ? amct_weight_scales(scale_w, of->weights, of->layout, true, err)
                   : amct_fail_memory(err);
  if (status == AMCT_OK) {
    fenv_t saved;
    amct_float_env_enter(&saved);
    find_fits(fits, of);
    find_zeros(zero, of);
    choose(scale_w, fits, zero, of);
    amct_float_env_leave(&saved);
    *coarser = 0;
    for (size_t c = 0; c < channels; c++)
      *coarser += !fits[c];
    *count = share(scale_w, zero, of) ? 1 : channels;
  }
  amct_free(zero);
  amct_free(fits);
  return status;
}
