/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/nudged.h"

#include <math.h>

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
  amct_float_env saved;
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
  amct_float_env saved;
  amct_float_env_enter(&saved);
  apply(y, x, count, grid);
  amct_float_env_leave(&saved);
}
