/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/fold.h"

#include <math.h>

#include "numeric/clones.h"
#include "numeric/float_env.h"
#include "numeric/sketch.h"

/* Rounds to a finite float32: below FLT_MAX plus half its last place. False for NaN. */
static bool fits_float(double value) {
  return fabs(value) < 0x1.ffffffp127;
}

static bool all_finite(const float *const *values, size_t count, size_t channel) {
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(values[i][channel])) return false;
  }
  return true;
}

static amct_foldable run_arithmetic(const amct_fold_step *step, double operand, double *k,
                                    double *b) {
  if (!isfinite(operand)) return AMCT_FOLD_NOT_FINITE;
  switch (step->kind) {
  case AMCT_FOLD_MULTIPLY:
    *k *= operand;
    *b *= operand;
    break;
  case AMCT_FOLD_DIVIDE:
    *k /= operand;
    *b /= operand;
    break;
  case AMCT_FOLD_SUBTRACT:
    *b -= operand;
    break;
  case AMCT_FOLD_SUBTRACT_FROM:
    *k = -*k;
    *b = operand - *b;
    break;
  default: /* bias, add */
    *b += operand;
  }
  return AMCT_FOLDABLE;
}

static amct_foldable run_step(const amct_fold_step *step, size_t c, double *k,
                              double *b) {
  if (step->kind != AMCT_FOLD_BATCH_NORM)
    return run_arithmetic(step, (double)step->bias[step->single ? 0 : c], k, b);
  const float *parameters[] = {step->scale, step->offset, step->mean, step->variance};
  if (!all_finite(parameters, 4, c) || !isfinite(step->epsilon))
    return AMCT_FOLD_NOT_FINITE;
  double spread = (double)step->variance[c] + (double)step->epsilon;
  if (!(spread > 0.0)) return AMCT_FOLD_VARIANCE_NOT_POSITIVE;
  double g = (double)step->scale[c] / sqrt(spread);
  *k *= g;
  *b = (*b - (double)step->mean[c]) * g + (double)step->offset[c];
  return AMCT_FOLDABLE;
}

static AMCT_NOINLINE amct_foldable fold_run(const amct_fold_step *steps, size_t count,
                                            size_t channels, double *factor,
                                            double *shift, size_t *channel) {
  for (size_t c = 0; c < channels; c++) {
    double k = 1.0, b = 0.0;
    amct_foldable reason = AMCT_FOLDABLE;
    for (size_t i = 0; i < count && reason == AMCT_FOLDABLE; i++)
      reason = run_step(&steps[i], c, &k, &b);
    if (reason == AMCT_FOLDABLE && !(fits_float(k) && fits_float(b)))
      reason = AMCT_FOLD_OVERFLOWS;
    if (reason != AMCT_FOLDABLE) {
      if (channel != NULL) *channel = c;
      return reason;
    }
    factor[c] = k;
    shift[c] = b;
  }
  return AMCT_FOLDABLE;
}

amct_foldable amct_fold_run(const amct_fold_step *steps, size_t count, size_t channels,
                            double *factor, double *shift, size_t *channel) {
  amct_float_env saved;
  amct_float_env_enter(&saved);
  amct_foldable reason = fold_run(steps, count, channels, factor, shift, channel);
  amct_float_env_leave(&saved);
  return reason;
}

AMCT_CLONES static void multiply_rows(float *out, const float *w, size_t count,
                                      const double *factor) {
  for (size_t c = 0; c < count; c++)
    out[c] = (float)((double)w[c] * factor[c]);
}

AMCT_CLONES static void multiply_run(float *out, const float *w, size_t count,
                                     double factor) {
  for (size_t i = 0; i < count; i++)
    out[i] = (float)((double)w[i] * factor);
}

static AMCT_NOINLINE void multiply(float *out, const float *w, amct_weight_layout layout,
                                   const double *factor) {
  for (size_t o = 0; o < layout.outer; o++) {
    size_t row = o * layout.channels * layout.inner;
    if (layout.inner == 1) {
      multiply_rows(out + row, w + row, layout.channels, factor);
      continue;
    }
    for (size_t c = 0; c < layout.channels; c++) {
      size_t start = row + c * layout.inner;
      multiply_run(out + start, w + start, layout.inner, factor[c]);
    }
  }
}

amct_foldable amct_fold_weights(float *out, const float *w, amct_weight_layout layout,
                                const double *factor, size_t *channel) {
  size_t count = layout.outer * layout.channels * layout.inner;
  amct_foldable reason = AMCT_FOLD_NOT_FINITE;
  size_t at = amct_find_not_finite(w, count); /* before `out`, which may be `w` */
  if (at == count) {
    reason = AMCT_FOLD_OVERFLOWS;
    amct_float_env saved;
    amct_float_env_enter(&saved);
    multiply(out, w, layout, factor);
    amct_float_env_leave(&saved);
    at = amct_find_not_finite(out, count);
  }
  if (at == count) return AMCT_FOLDABLE;
  if (channel != NULL) *channel = at / layout.inner % layout.channels;
  return reason;
}

static AMCT_NOINLINE bool overflows(const float *w, amct_weight_layout layout,
                                    const double *factor, size_t *channel) {
  for (size_t first = 0; first < layout.channels; first += AMCT_CHANNEL_BLOCK) {
    const size_t left = layout.channels - first;
    const size_t count = left < AMCT_CHANNEL_BLOCK ? left : AMCT_CHANNEL_BLOCK;
    float largest[AMCT_CHANNEL_BLOCK];
    amct_weight_largest(largest, w, layout, first, count);
    for (size_t c = 0; c < count; c++) {
      if (fits_float((double)largest[c] * factor[first + c])) continue;
      *channel = first + c;
      return true;
    }
  }
  return false;
}

amct_foldable amct_fold_check(const float *w, amct_weight_layout layout,
                              const double *factor, size_t *channel) {
  const size_t count = layout.outer * layout.channels * layout.inner;
  size_t where = 0;
  const size_t at = amct_find_not_finite(w, count);
  if (at < count) {
    if (channel != NULL) *channel = at / layout.inner % layout.channels;
    return AMCT_FOLD_NOT_FINITE;
  }
  amct_float_env saved;
  amct_float_env_enter(&saved);
  const bool over = overflows(w, layout, factor, &where);
  amct_float_env_leave(&saved);
  if (over && channel != NULL) *channel = where;
  return over ? AMCT_FOLD_OVERFLOWS : AMCT_FOLDABLE;
}

typedef struct input_sums {
  const float *w;
  amct_weight_layout layout, inputs;
  const double *shift;
} input_sums;

/* Sums of `count` channels from `first` on. */
static AMCT_NOINLINE void sum_inputs(double *sum, size_t first, size_t count,
                                     const input_sums *s) {
  const amct_weight_layout l = s->layout, in = s->inputs;
  for (size_t o = 0; o < l.outer; o++)
    for (size_t c = 0; c < count; c++) {
      const size_t start = (o * l.channels + first + c) * l.inner;
      for (size_t at = start; at < start + l.inner; at++)
        sum[c] += (double)s->w[at] * s->shift[at / in.inner % in.channels];
    }
}

amct_foldable amct_fold_shifts(float *bias, const float *w, amct_weight_layout layout,
                               amct_weight_layout inputs, const double *shift,
                               size_t *channel) {
  const input_sums s = {w, layout, inputs, shift};
  for (size_t first = 0; first < layout.channels; first += AMCT_CHANNEL_BLOCK) {
    const size_t left = layout.channels - first;
    const size_t count = left < AMCT_CHANNEL_BLOCK ? left : AMCT_CHANNEL_BLOCK;
    double sum[AMCT_CHANNEL_BLOCK] = {0};
    amct_float_env saved;
    amct_float_env_enter(&saved);
    sum_inputs(sum, first, count, &s);
    for (size_t c = 0; c < count; c++)
      bias[first + c] = (float)sum[c];
    amct_float_env_leave(&saved);
    for (size_t c = 0; c < count; c++) {
      if (fits_float(sum[c])) continue;
      if (channel != NULL) *channel = first + c;
      return AMCT_FOLD_OVERFLOWS;
    }
  }
  return AMCT_FOLDABLE;
}

const char *amct_fold_kind_name(amct_fold_kind kind) {
  static const char *const names[AMCT_FOLD_KINDS] = {
      "bias", "batch_norm", "multiply", "divide", "add", "subtract", "subtract_from"};
  return names[kind];
}

bool amct_fold_scales(amct_fold_kind kind) {
  return kind != AMCT_FOLD_BIAS && kind != AMCT_FOLD_ADD && kind != AMCT_FOLD_SUBTRACT;
}

const char *amct_foldable_text(amct_foldable reason) {
  switch (reason) {
  case AMCT_FOLDABLE:
    return "foldable";
  case AMCT_FOLD_NOT_FINITE:
    return "a parameter is not finite";
  case AMCT_FOLD_VARIANCE_NOT_POSITIVE:
    return "variance + epsilon is not positive";
  case AMCT_FOLD_OVERFLOWS:
    return "the folded value leaves float32";
  }
  return "unknown reason";
}
