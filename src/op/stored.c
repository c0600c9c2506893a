/* SPDX-License-Identifier: Apache-2.0 */
#include "op/stored.h"

#include <math.h>

static void combined(float *y, const int64_t *q, size_t count, const amct_stored *s) {
  const float steps = (float)s->highest - (float)s->lowest;
  const float half = s->lowest == 0 ? 0.0f : (steps + 1.0f) / 2.0f;
  const float step = (s->max - s->min) / steps;
  for (size_t i = 0; i < count; i++)
    y[i] = ((float)q[i] + half) * step + s->min;
}

static void first(float *y, const int64_t *q, size_t count, const amct_stored *s) {
  const double steps = (double)s->highest - (double)s->lowest;
  const float step = (float)((double)(s->max - s->min) / steps);
  const float low = s->min == s->max ? s->min : roundf(s->min / step) * step;
  for (size_t i = 0; i < count; i++)
    y[i] = ((float)q[i] - (float)s->lowest) * step + low;
}

static void scaled(float *y, const int64_t *q, size_t count, const amct_stored *s) {
  const float high = s->max / (float)s->highest;
  const float low = s->lowest == 0 ? high : s->min / (float)(s->lowest + s->narrow);
  const float step = low > high ? low : high;
  for (size_t i = 0; i < count; i++)
    y[i] = (float)q[i] * step;
}

void amct_stored_floats(float *y, const int64_t *q, size_t count,
                        const amct_stored *stored) {
  switch (stored->mode) {
  case AMCT_STORED_MIN_COMBINED:
    combined(y, q, count, stored);
    return;
  case AMCT_STORED_MIN_FIRST:
    first(y, q, count, stored);
    return;
  case AMCT_STORED_SCALED:
    scaled(y, q, count, stored);
    return;
  }
}
