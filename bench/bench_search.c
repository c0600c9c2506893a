/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes after the data: the search for a range on a sketch, by algorithm, and the
 * rounding of a layer's weights by a sample. A line each, "name microseconds", the best
 * of several runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "numeric/range.h"
#include "numeric/sketch.h"
#include "numeric/weight_rounding.h"

enum { VALUES = 1 << 24, RUNS = 5, INPUTS = 384, OUTPUTS = 96, ROWS = 2048 };
enum { CANDIDATES = 60 /* of ifmr */ };

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static float *draw(size_t count) {
  float *x = malloc(count * sizeof *x);
  uint32_t state = 1;
  if (!x) abort();
  for (size_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    const float value = (float)(state >> 8) * 0x1p-22f - 2.0f;
    x[i] = value < 0 ? 0 : value * value; /* half of it zeros, as behind a Relu */
  }
  return x;
}

static void search(amct_sketch *sketch, int64_t algorithm) {
  double best = 1e30;
  amct_range_options options = AMCT_RANGE_DEFAULTS;
  options.algorithm = algorithm;
  for (int i = 0; i < RUNS; i++) {
    amct_range range;
    const double since = now_us();
    if (amct_range_find(&range, sketch, &options, NULL) != AMCT_OK) abort();
    const double spent = now_us() - since;
    best = spent < best ? spent : best;
  }
  printf("range by %s, of a sketch of 16 million values %.1f\n",
         amct_range_name(algorithm), best);
  if (algorithm == AMCT_RANGE_IFMR)
    printf("one candidate of ifmr on that sketch %.2f\n", best / CANDIDATES);
}

static void round_weights(const float *x) {
  float *w = draw(INPUTS * OUTPUTS), scale = 4.0f / 127.0f;
  int8_t *q = malloc(INPUTS * OUTPUTS);
  int16_t *steps = malloc(INPUTS * ROWS * sizeof *steps);
  double best = 1e30;
  if (!q || !steps) abort();
  for (size_t i = 0; i < INPUTS * ROWS; i++)
    steps[i] = (int16_t)(x[i] * 50.0f);
  const amct_rounding rounding = {
      w, {INPUTS, OUTPUTS, 1}, &scale, 1, steps, ROWS, INPUTS, 1, 0.1};
  for (int i = 0; i < RUNS; i++) {
    const double since = now_us();
    if (amct_weight_round(q, &rounding, NULL) != AMCT_OK) abort();
    const double spent = now_us() - since;
    best = spent < best ? spent : best;
  }
  printf("rounding of 384 x 96 weights by 2048 rows %.0f\n", best);
  free(w);
  free(q);
  free(steps);
}

int main(void) {
  float *x = draw(VALUES);
  amct_sketch *sketch = amct_sketch_new();
  if (!sketch || amct_sketch_add(sketch, x, VALUES, NULL) != AMCT_OK) abort();
  for (int64_t i = 0; i < AMCT_RANGE_ALGORITHMS; i++)
    search(sketch, i);
  round_weights(x);
  amct_sketch_free(sketch);
  free(x);
  return 0;
}
