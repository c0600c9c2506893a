/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loops of the op kernels and of calibration beside memcpy: a line each, "name GB/s",
 * bytes read and written over the best of several runs. AMCT_THREADS says how many
 * threads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/pool.h"
#include "numeric/kernels.h"
#include "numeric/sketch.h"

enum { COUNT = 1 << 24, RUNS = 9, CHANNELS = 96, SHARD_LEAST = 1 << 14 };

typedef struct data {
  float *x, *y;
  int8_t *weights;
  uint64_t deq[CHANNELS];
  int8_t offsets[CHANNELS];
  size_t shards;
  amct_sketch *sketches[AMCT_POOL_THREADS_MAX];
} data;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t part(const data *d, size_t shard, size_t *at) {
  return amct_pool_part(COUNT, d->shards, shard, at);
}

static void do_memcpy(void *context, size_t shard) {
  data *d = context;
  size_t at;
  const size_t n = part(d, shard, &at);
  memcpy(d->y + at, d->x + at, n * sizeof *d->y);
}

static void do_quant(void *context, size_t shard) {
  data *d = context;
  size_t at;
  const size_t n = part(d, shard, &at);
  amct_quant_float(d->y + at, d->x + at, n, 40.0f, -3.0f, 8);
}

static void do_antiquant(void *context, size_t shard) {
  data *d = context;
  size_t at;
  const size_t n = part(d, shard, &at);
  amct_antiquant_float(d->y + at, d->x + at, n, 0.025f);
}

static void do_dequant(void *context, size_t shard) {
  data *d = context;
  size_t at;
  const size_t n = part(d, shard, &at);
  const amct_dequant_spec spec = {d->deq, CHANNELS, 1, 1.0};
  amct_dequant_float(d->y + at, d->x + at, at, n, &spec);
}

static void do_dequant_first(void *context, size_t shard) {
  data *d = context;
  size_t at;
  const size_t n = part(d, shard, &at);
  const amct_dequant_spec spec = {d->deq, CHANNELS, 56 * 56, 1.0};
  amct_dequant_float(d->y + at, d->x + at, at, n, &spec);
}

static void do_weights(void *context, size_t shard) {
  data *d = context;
  size_t at;
  const size_t n = part(d, shard, &at);
  const amct_weight_offsets offsets = {d->offsets, CHANNELS, 1};
  amct_weight_dequant_float(d->y + at, d->weights + at, at, n, &offsets);
}

static void do_sketch(void *context, size_t shard) {
  data *d = context;
  size_t at;
  const size_t n = part(d, shard, &at);
  if (amct_sketch_add(d->sketches[shard], d->x + at, n, NULL) != AMCT_OK) abort();
}

static void do_finite(void *context, size_t shard) {
  data *d = context;
  size_t at;
  const size_t n = part(d, shard, &at);
  if (amct_find_not_finite(d->x + at, n) != n) abort();
}

static const struct {
  const char *name;
  amct_pool_task *task;
  int bytes; /* read and written, a value */
} k_loops[] = {
    {"memcpy", do_memcpy, 8},
    {"AscendQuant", do_quant, 8},
    {"AscendAntiQuant", do_antiquant, 8},
    {"AscendDequant, NHWC", do_dequant, 8},
    {"AscendDequant, NCHW", do_dequant_first, 8},
    {"AscendWeightQuant", do_weights, 5},
    {"sketch of QuantIfmr", do_sketch, 4},
    {"NaN check of QuantIfmr", do_finite, 4},
};

static void start(data *d) {
  *d = (data){.x = malloc(COUNT * sizeof *d->x),
              .y = malloc(COUNT * sizeof *d->y),
              .weights = malloc(COUNT)};
  if (!d->x || !d->y || !d->weights) abort();
  uint32_t state = 1;
  for (size_t i = 0; i < COUNT; i++) {
    state = state * 1664525u + 1013904223u;
    const float value = (float)(state >> 8) * 0x1p-22f - 2.0f;
    d->x[i] = value < 0 ? 0 : value * value; /* half of it zeros, as behind a Relu */
    d->y[i] = 0;
    d->weights[i] = (int8_t)(state >> 24);
  }
  for (size_t c = 0; c < CHANNELS; c++) {
    const float scale = 0.001f * (float)(c + 1);
    uint32_t bits;
    memcpy(&bits, &scale, sizeof bits);
    d->deq[c] = bits;
    d->offsets[c] = 0;
  }
  d->shards = amct_pool_shards(COUNT, SHARD_LEAST);
  for (size_t i = 0; i < d->shards; i++)
    if (!(d->sketches[i] = amct_sketch_new())) abort();
}

static void stop(data *d) {
  for (size_t i = 0; i < d->shards; i++)
    amct_sketch_free(d->sketches[i]);
  free(d->x);
  free(d->y);
  free(d->weights);
}

int main(void) {
  data d;
  start(&d);
  for (size_t i = 0; i < sizeof k_loops / sizeof *k_loops; i++) {
    double best = 1e9;
    for (int run = 0; run < RUNS; run++) {
      const double started = now();
      amct_pool_run(k_loops[i].task, &d, d.shards);
      const double seconds = now() - started;
      best = seconds < best ? seconds : best;
    }
    printf("%s %.3f\n", k_loops[i].name, (double)COUNT * k_loops[i].bytes / best * 1e-9);
  }
  stop(&d);
  return 0;
}
