/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/output_grid.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "numeric/clones.h"
#include "numeric/float_env.h"
#include "numeric/round.h"

static const double k_near = 1e-6; /* float32 rounding, with room */

void amct_output_grid_free(amct_output_grid *grid) {
  amct_free(grid->shift);
  amct_free(grid->steps);
  amct_free(grid->bias);
  amct_free(grid->scale);
  *grid = (amct_output_grid){0};
}

/* What the channels of a layer are made of. */
typedef struct parts {
  float *largest, *trained_scale, *scale_w;
  double *factor;
} parts;

static void free_parts(parts *p) {
  amct_free(p->largest);
  amct_free(p->trained_scale);
  amct_free(p->scale_w);
  amct_free(p->factor);
}

static amct_status make_room(amct_output_grid *grid, parts *p, size_t channels,
                             amct_error *err) {
  grid->shift = amct_alloc_array(channels + 1, sizeof *grid->shift);
  grid->steps = amct_alloc_array(channels + 1, sizeof *grid->steps);
  grid->bias = amct_alloc_array(channels + 1, sizeof *grid->bias);
  grid->scale = amct_alloc_array(channels + 1, sizeof *grid->scale);
  p->largest = amct_alloc_array(channels + 1, sizeof *p->largest);
  p->trained_scale = amct_alloc_array(channels + 1, sizeof *p->trained_scale);
  p->scale_w = amct_alloc_array(channels + 1, sizeof *p->scale_w);
  p->factor = amct_alloc_array(channels + 1, sizeof *p->factor);
  const bool made = grid->shift && grid->steps && grid->bias && grid->scale &&
                    p->largest && p->trained_scale && p->scale_w && p->factor;
  return made ? AMCT_OK : amct_fail_memory(err);
}

/* False: the saved scale is not that of training times the factor. */
static bool fill_channel(amct_output_grid *grid, size_t c, const amct_trained *t,
                         const parts *p, float scale_w) {
  const double k = fabs(p->factor[c]);
  const double trained = (double)p->trained_scale[t->per_channel ? c : 0] * k;
  const bool dead = k == 0 || p->largest[c] == 0;
  if (!dead && !(fabs((double)scale_w - trained) <= k_near * trained)) return false;
  grid->steps[c] = dead ? 0 : 1 / ((double)t->scale_d * trained);
  grid->bias[c] = amct_bias_quantize((float)grid->shift[c], t->scale_d, scale_w);
  grid->scale[c] = t->scale_d * scale_w;
  return isfinite(grid->steps[c]);
}

static AMCT_NOINLINE bool fill(amct_output_grid *grid, const amct_trained *t,
                               const parts *p, size_t scales) {
  for (size_t c = 0; c < t->layout.channels; c++)
    if (!fill_channel(grid, c, t, p, p->scale_w[scales > 1 ? c : 0])) return false;
  return true;
}

static void find_largest(float *largest, const amct_trained *t) {
  for (size_t first = 0; first < t->layout.channels; first += AMCT_CHANNEL_BLOCK) {
    const size_t left = t->layout.channels - first;
    amct_weight_largest(largest + first, t->weights, t->layout, first,
                        left < AMCT_CHANNEL_BLOCK ? left : AMCT_CHANNEL_BLOCK);
  }
}

amct_status amct_output_grid_make(amct_output_grid *grid, const amct_trained *t,
                                  amct_error *err) {
  parts p = {0};
  amct_float_env saved;
  amct_status status = make_room(grid, &p, t->layout.channels, err);
  if (status == AMCT_OK)
    status =
        amct_weight_scales(p.trained_scale, t->weights, t->layout, t->per_channel, err);
  if (status == AMCT_OK && amct_trained_fold(t, p.factor, grid->shift) == t->step_count) {
    const size_t given = t->per_channel ? t->layout.channels : 1;
    memcpy(p.scale_w, p.trained_scale, given * sizeof *p.scale_w);
    const size_t scales = amct_trained_fold_scales(p.scale_w, t, p.factor, grid->shift);
    find_largest(p.largest, t);
    amct_float_env_enter(&saved);
    grid->channels = fill(grid, t, &p, scales) ? t->layout.channels : 0;
    amct_float_env_leave(&saved);
  }
  free_parts(&p);
  return status;
}

/* ---- values ---- */

AMCT_INLINE float put_out(float x, double shift, double steps, float bias, float scale) {
  const float whole = amct_round_float((float)(((double)x - shift) * steps));
  return (whole + bias) * scale;
}

AMCT_CLONES void amct_output_rows(float *y, const float *x, size_t rows, size_t stride,
                                  const amct_output_grid *grid) {
  const double *shift = grid->shift, *steps = grid->steps;
  const float *bias = grid->bias, *scale = grid->scale;
  for (size_t r = 0; r < rows; r++, y += stride, x += stride)
    for (size_t c = 0; c < grid->channels; c++)
      y[c] = put_out(x[c], shift[c], steps[c], bias[c], scale[c]);
}

AMCT_CLONES void amct_output_run(float *y, const float *x, size_t count, size_t c,
                                 const amct_output_grid *grid) {
  const double shift = grid->shift[c], steps = grid->steps[c];
  const float bias = grid->bias[c], scale = grid->scale[c];
  for (size_t i = 0; i < count; i++)
    y[i] = put_out(x[i], shift, steps, bias, scale);
}

enum { STEPS_MOST = 255 }; /* of one value, away from 0 */

/* The average of the whole numbers that x, in steps, is an average of: of a window that
 * an edge may have cut off. */
static float find_average(double x, const int64_t window[2]) {
  for (int64_t height = window[0]; height > 0; height--)
    for (int64_t width = window[1]; width > 0; width--) {
      const double count = (double)height * (double)width;
      const float sum = amct_round_float((float)(x * count));
      if (fabs(x * count - (double)sum) <= k_near * STEPS_MOST * count)
        return (float)((double)sum / count);
    }
  return (float)x;
}

void amct_output_pooled(float *y, const float *x, size_t count, float scale_d,
                        const int64_t window[2]) {
  const double area = (double)window[0] * (double)window[1];
  for (size_t i = 0; i < count; i++) {
    const float average = find_average((double)x[i] / (double)scale_d, window);
    y[i] = (float)((double)(average * (float)area * scale_d) / area);
  }
}
