/* SPDX-License-Identifier: Apache-2.0 */
/* The int8 scales of weights that lie on grids. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "numeric/float_env.h"
#include "numeric/nudged.h"
#include "numeric/round.h"

enum {
  STEPS_MOST = 255,
  BINS = 2 * STEPS_MOST + 1,
  CANDIDATES = 128,
  UNIT = 1024, /* candidates lie 1/1024 apart */
};

/* How many weights lie so many steps from zero. */
typedef struct histogram {
  uint64_t count[BINS];
} histogram;

typedef struct workspace {
  const amct_nudged_weights *of;
  bool *fits, *zero; /* by channel */
  histogram steps;
} workspace;

static const amct_nudged *grid_of(const amct_nudged_weights *of, size_t channel) {
  return &of->grids[channel % of->grid_count];
}

/* Steps from zero, signs as the factors leave them. */
AMCT_INLINE float steps_of(const amct_nudged_weights *of, size_t channel, float weight) {
  const float sign = of->factor && of->factor[channel] < 0 ? -1.0f : 1.0f;
  return amct_round_float(weight / (sign * grid_of(of, channel)->scale));
}

static const float *weights_of(const amct_nudged_weights *of, size_t outer,
                               size_t channel) {
  return &of->weights[(outer * of->layout.channels + channel) * of->layout.inner];
}

/* Marks the channels whose steps int8 holds. */
static void find_fits(const workspace *s) {
  const amct_weight_layout l = s->of->layout;
  for (size_t c = 0; c < l.channels; c++)
    s->fits[c] = true;
  for (size_t o = 0; o < l.outer; o++)
    for (size_t c = 0; c < l.channels; c++) {
      const float *w = weights_of(s->of, o, c);
      for (size_t i = 0; i < l.inner; i++) {
        const float steps = steps_of(s->of, c, w[i]);
        s->fits[c] = s->fits[c] && steps <= 127.0f && steps >= -128.0f;
      }
    }
}

static void find_zeros(const workspace *s) {
  const amct_weight_layout l = s->of->layout;
  float largest[AMCT_CHANNEL_BLOCK];
  for (size_t first = 0; first < l.channels; first += AMCT_CHANNEL_BLOCK) {
    const size_t left = l.channels - first;
    const size_t n = left < AMCT_CHANNEL_BLOCK ? left : AMCT_CHANNEL_BLOCK;
    amct_weight_largest(largest, s->of->weights, l, first, n);
    for (size_t c = 0; c < n; c++)
      s->zero[first + c] = largest[c] == 0;
  }
}

/* ---- a scale where int8 does not hold the steps ---- */

static void count_steps(workspace *s, size_t channel) {
  const amct_weight_layout l = s->of->layout;
  for (size_t o = 0; o < l.outer; o++) {
    const float *w = weights_of(s->of, o, channel);
    for (size_t i = 0; i < l.inner; i++) {
      const float steps = steps_of(s->of, channel, w[i]);
      const float most = STEPS_MOST;
      const float kept = steps > most ? most : steps < -most ? -most : steps;
      s->steps.count[(int)kept + STEPS_MOST]++;
    }
  }
}

static double loss_of(const histogram *steps, double ratio) {
  double loss = 0;
  for (int k = -STEPS_MOST; k <= STEPS_MOST; k++) {
    const uint64_t count = steps->count[k + STEPS_MOST];
    if (count == 0) continue;
    double q = round(k / ratio);
    q = q > 127 ? 127 : q < -128 ? -128 : q;
    const double missed = k - q * ratio;
    loss += (double)count * missed * missed;
  }
  return loss;
}

/* The ratio of the scale to the grid's that loses least. */
static double best_ratio(const histogram *steps) {
  double best = HUGE_VAL, found = 0;
  int largest = 1;
  for (int k = 1; k <= STEPS_MOST; k++)
    if (steps->count[STEPS_MOST + k] || steps->count[STEPS_MOST - k]) largest = k;
  for (int j = 1; j <= CANDIDATES; j++) {
    const double ratio = largest * (double)(UNIT + j) / (UNIT * 128.0);
    const double loss = loss_of(steps, ratio);
    if (!(loss < best)) continue;
    best = loss;
    found = ratio;
  }
  return found;
}

/* Where it cannot be of use, max|w|/127, which scale_w holds, stays. */
static void take(float *scale_w, double ratio, const amct_nudged *grid) {
  const float scale = (float)(ratio * (double)grid->scale);
  if (scale >= FLT_MIN) *scale_w = scale;
}

static bool all_fit(const workspace *s) {
  for (size_t c = 0; c < s->of->layout.channels; c++)
    if (!s->fits[c]) return false;
  return true;
}

/* The same for all channels, which are on one grid. */
static void choose_one(workspace *s, float *scale_w) {
  const size_t channels = s->of->layout.channels;
  const bool fit = all_fit(s);
  for (size_t c = 0; c < channels && !fit; c++)
    count_steps(s, c);
  const double ratio = fit ? 1.0 : best_ratio(&s->steps);
  for (size_t c = 0; c < channels; c++)
    if (fit)
      scale_w[c] = s->of->grids->scale;
    else
      take(&scale_w[c], ratio, s->of->grids);
}

static void choose_each(workspace *s, float *scale_w) {
  for (size_t c = 0; c < s->of->layout.channels; c++) {
    if (s->fits[c]) {
      scale_w[c] = grid_of(s->of, c)->scale;
      continue;
    }
    memset(&s->steps, 0, sizeof s->steps);
    count_steps(s, c);
    take(&scale_w[c], best_ratio(&s->steps), grid_of(s->of, c));
  }
}

static AMCT_NOINLINE void choose(workspace *s, float *scale_w) {
  find_fits(s);
  find_zeros(s);
  if (s->of->per_channel || s->of->factor || s->of->grid_count > 1)
    choose_each(s, scale_w);
  else
    choose_one(s, scale_w);
  for (size_t c = 0; c < s->of->layout.channels; c++) {
    const double factor = s->of->factor ? fabs(s->of->factor[c]) : 1.0;
    const float scale = (float)((double)scale_w[c] * factor);
    scale_w[c] = !s->zero[c] && scale > 0 ? scale : 1.0f;
  }
}

/* One scale for all, if it serves all: that of the channels that are not zero. */
static bool share(const workspace *s, float *scale_w) {
  float largest = 0, smallest = INFINITY;
  for (size_t c = 0; c < s->of->layout.channels; c++) {
    if (s->zero[c]) continue;
    largest = scale_w[c] > largest ? scale_w[c] : largest;
    smallest = scale_w[c] < smallest ? scale_w[c] : smallest;
  }
  if (s->of->per_channel && largest > smallest) return false;
  scale_w[0] = largest > 0 ? largest : 1.0f;
  return true;
}

amct_status amct_nudged_scales(float *scale_w, size_t *count, bool *exact,
                               const amct_nudged_weights *of, amct_error *err) {
  const size_t channels = of->layout.channels;
  workspace s = {.of = of};
  s.fits = amct_alloc_array(channels + 1, sizeof *s.fits);
  s.zero = amct_alloc_array(channels + 1, sizeof *s.zero);
  amct_status status =
      s.fits && s.zero ? amct_weight_scales(scale_w, of->weights, of->layout, true, err)
                       : amct_fail_memory(err);
  if (status == AMCT_OK) {
    amct_float_env saved;
    amct_float_env_enter(&saved);
    choose(&s, scale_w);
    amct_float_env_leave(&saved);
    *exact = all_fit(&s);
    *count = share(&s, scale_w) ? 1 : channels;
  }
  amct_free(s.zero);
  amct_free(s.fits);
  return status;
}

/* ---- two parts ---- */

/* The number of weights that are in both; -1: some do not fit. */
static AMCT_NOINLINE ptrdiff_t split(float *held, float *rest,
                                     const amct_nudged_weights *of) {
  const amct_weight_layout l = of->layout;
  const size_t count = l.outer * l.channels * l.inner;
  ptrdiff_t found = 0;
  for (size_t i = 0; i < count; i++) {
    const size_t c = i / l.inner % l.channels;
    const float steps = steps_of(of, c, of->weights[i]);
    const float most = steps > 127 ? 127 : steps < -128 ? -128 : steps;
    const float left = steps - most, scale = grid_of(of, c)->scale;
    if (!(left <= 127 && left >= -128)) return -1;
    held[i] = most * scale;
    rest[i] = left * scale;
    found += left != 0;
  }
  return found;
}

bool amct_nudged_split(float *held, float *rest, const amct_nudged_weights *of) {
  amct_float_env saved;
  amct_float_env_enter(&saved);
  const ptrdiff_t found = split(held, rest, of);
  amct_float_env_leave(&saved);
  return found > 0;
}

/* ---- what is lost ---- */

static double missed_of(const amct_nudged_weights *of, size_t channel, const int8_t *q,
                        double scale) {
  const amct_weight_layout l = of->layout;
  const double k = of->factor ? of->factor[channel] : 1.0;
  const double sign = k < 0 ? -1.0 : 1.0, step = (double)grid_of(of, channel)->scale;
  double largest = 0;
  for (size_t o = 0; o < l.outer && k != 0; o++)
    for (size_t i = 0; i < l.inner; i++) {
      const size_t at = (o * l.channels + channel) * l.inner + i;
      const double missed =
          fabs(q[at] * (scale / fabs(k)) - (double)of->weights[at] * sign) / step;
      largest = missed > largest ? missed : largest;
    }
  return largest;
}

static AMCT_NOINLINE amct_nudged_loss missed_of_all(const amct_nudged_weights *of,
                                                    const int8_t *q, const float *scale_w,
                                                    size_t scales) {
  amct_nudged_loss loss = {0};
  for (size_t c = 0; c < of->layout.channels; c++) {
    const double missed = missed_of(of, c, q, (double)scale_w[scales == 1 ? 0 : c]);
    loss.channels += missed >= 0.01;
    loss.largest = missed > loss.largest ? missed : loss.largest;
  }
  return loss;
}

amct_nudged_loss amct_nudged_missed(const amct_nudged_weights *of, const int8_t *q,
                                    const float *scale_w, size_t scales) {
  amct_float_env saved;
  amct_float_env_enter(&saved);
  const amct_nudged_loss loss = missed_of_all(of, q, scale_w, scales);
  amct_float_env_leave(&saved);
  return loss;
}
