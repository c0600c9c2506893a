/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/even_rounding.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "numeric/float_env.h"

static const double k_by_input = 1.0, k_by_channel = 0.5;

typedef struct missed {
  double d;
  size_t at; /* of the channel's weights */
} missed;

typedef struct workspace {
  const amct_even_weights *of;
  size_t count, inputs; /* weights of a channel */
  missed *order;
  double *by_input;
  double all;
} workspace;

static size_t index_of(const workspace *s, size_t channel, size_t at) {
  const amct_weight_layout l = s->of->layout;
  return (at / l.inner * l.channels + channel) * l.inner + at % l.inner;
}

static int by_distance(const void *a, const void *b) {
  const missed *left = a, *right = b;
  const double l = fabs(left->d), r = fabs(right->d);
  if (l != r) return l > r ? -1 : 1;
  return left->at < right->at ? -1 : 1;
}

static void round_nearest(workspace *s, size_t channel, int8_t *q) {
  const double scale = (double)s->of->scale[s->of->scales == 1 ? 0 : channel];
  s->all = 0;
  for (size_t i = 0; i < s->inputs; i++)
    s->by_input[i] = 0;
  for (size_t at = 0; at < s->count; at++) {
    const size_t k = index_of(s, channel, at);
    const double exact = (double)s->of->w[k] / scale;
    double whole = round(exact);
    whole = whole > 127 ? 127 : whole < -128 ? -128 : whole;
    q[k] = (int8_t)whole;
    s->order[at] = (missed){whole - exact, at};
    s->by_input[at % s->inputs] += whole - exact;
    s->all += whole - exact;
  }
}

static void move_across(workspace *s, size_t channel, const missed *m, int8_t *q) {
  const int step = m->d > 0 ? -1 : 1;
  double *input = &s->by_input[m->at % s->inputs];
  int8_t *whole = &q[index_of(s, channel, m->at)];
  if (*whole + step > 127 || *whole + step < -128) return;
  const double slope = m->d + k_by_input * *input + k_by_channel * s->all;
  if (!(2 * step * slope + 1 + k_by_input + k_by_channel < 0)) return;
  *whole = (int8_t)(*whole + step);
  *input += step;
  s->all += step;
}

static AMCT_NOINLINE void round_all(workspace *s, int8_t *q) {
  for (size_t c = 0; c < s->of->layout.channels; c++) {
    round_nearest(s, c, q);
    qsort(s->order, s->count, sizeof *s->order, by_distance);
    for (size_t i = 0; i < s->count; i++)
      move_across(s, c, &s->order[i], q);
  }
}

amct_status amct_even_round(int8_t *q, const amct_even_weights *weights,
                            amct_error *err) {
  workspace s = {.of = weights, .count = weights->layout.outer * weights->layout.inner};
  amct_status status = AMCT_OK;
  if (weights->taps == 0 || s.count % weights->taps != 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "%zu weights of a channel and %zu taps", s.count, weights->taps);
  s.inputs = s.count / weights->taps;
  s.order = amct_alloc_array(s.count + 1, sizeof *s.order);
  s.by_input = amct_alloc_array(s.inputs + 1, sizeof *s.by_input);
  if (s.order && s.by_input) {
    amct_float_env saved;
    amct_float_env_enter(&saved);
    round_all(&s, q);
    amct_float_env_leave(&saved);
  } else {
    status = amct_fail_memory(err);
  }
  amct_free(s.order);
  amct_free(s.by_input);
  return status;
}
