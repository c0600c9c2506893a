/* SPDX-License-Identifier: Apache-2.0 */
/* Means of observed tensors by tap and channel, for bias correction: pictures of a batch
 * in shards, each with sums of its own. */
#include "calib/calib_state.h"

#include "base/pool.h"

enum { SHARD_LEAST = 1 << 16 /* values that are worth another thread */ };

/* One window over the tensor. */
typedef struct window_sums {
  amct_window window;
  bool useless;           /* a batch that the window does not fit */
  amct_pictures pictures; /* of the batch */
  size_t channels;        /* 0: none yet */
  size_t shards;
  amct_input_sums *shard[AMCT_POOL_THREADS_MAX]; /* the first has all earlier batches */
} window_sums;

typedef struct amct_calib_means {
  size_t layers;
  size_t *by_layer; /* index into sums, or `count` */
  size_t count;
  window_sums *sums;
} amct_calib_means;

static size_t find_window(const amct_calib_means *means, const amct_window *window) {
  size_t i = 0;
  while (i < means->count && !amct_window_equal(&means->sums[i].window, window))
    i++;
  return i;
}

void amct_calib_means_free(amct_calib_means *means) {
  if (!means) return;
  for (size_t i = 0; means->sums && i < means->count; i++)
    for (size_t s = 0; s < AMCT_POOL_THREADS_MAX; s++)
      amct_input_sums_free(means->sums[i].shard[s]);
  amct_free(means->sums);
  amct_free(means->by_layer);
  amct_free(means);
}

static amct_calib_means *new_means(const amct_calib_range_spec *spec) {
  amct_calib_means *means = amct_alloc_array(1, sizeof *means);
  if (!means) return NULL;
  means->layers = spec->layer_count;
  means->by_layer = amct_alloc_array(spec->layer_count, sizeof *means->by_layer);
  means->sums = amct_alloc_array(spec->layer_count, sizeof *means->sums);
  if (!means->by_layer || !means->sums) {
    amct_calib_means_free(means);
    return NULL;
  }
  for (size_t i = 0; i < spec->layer_count; i++) {
    if (!spec->windows[i]) continue;
    const size_t at = find_window(means, spec->windows[i]);
    if (at == means->count) means->sums[means->count++].window = *spec->windows[i];
    means->by_layer[i] = at;
  }
  for (size_t i = 0; i < spec->layer_count; i++)
    if (!spec->windows[i]) means->by_layer[i] = means->count;
  return means;
}

static bool wants_means(const amct_calib_range_spec *spec) {
  for (size_t i = 0; spec->windows && i < spec->layer_count; i++)
    if (spec->windows[i]) return true;
  return false;
}

/* Sums for each shard of the batch; false when memory runs out. */
static bool prepare_window(window_sums *w, const amct_calib_batch *batch) {
  if (w->useless || !batch->dims ||
      !amct_window_fits(&w->window, batch->dims, batch->rank, &w->pictures) ||
      w->pictures.channels == 0 ||
      (w->channels != 0 && w->channels != w->pictures.channels)) {
    w->useless = true;
    return true;
  }
  w->channels = w->pictures.channels;
  w->shards = amct_pool_shards(batch->count, SHARD_LEAST);
  if (w->shards > w->pictures.count) w->shards = w->pictures.count;
  for (size_t i = 0; i < w->shards; i++) {
    if (!w->shard[i]) w->shard[i] = amct_input_sums_new(&w->window, w->channels);
    if (!w->shard[i]) return false;
  }
  return true;
}

amct_status amct_calib_means_prepare(amct_calib_observer *observer,
                                     const amct_calib_range_spec *spec,
                                     const amct_calib_batch *batch, amct_error *err) {
  if (!wants_means(spec)) return AMCT_OK;
  if (!observer->means) observer->means = new_means(spec);
  amct_calib_means *means = observer->means;
  if (!means) return amct_fail_memory(err);
  for (size_t i = 0; i < means->count; i++)
    if (!prepare_window(&means->sums[i], batch)) return amct_fail_memory(err);
  return AMCT_OK;
}

typedef struct work {
  window_sums *sums;
  const float *values;
} work;

static void add_part(void *context, size_t shard) {
  const work *job = context;
  const window_sums *w = job->sums;
  const size_t first = w->pictures.count * shard / w->shards;
  const size_t end = w->pictures.count * (shard + 1) / w->shards;
  amct_input_sums_add(w->shard[shard], &w->pictures, job->values, first, end - first);
}

void amct_calib_means_add(amct_calib_observer *observer, const amct_calib_batch *batch) {
  for (size_t i = 0; observer->means && i < observer->means->count; i++) {
    work job = {&observer->means->sums[i], batch->values};
    if (!job.sums->useless) amct_pool_run(add_part, &job, job.sums->shards);
  }
}

/* All shards' sums in the first of a copy of its own. */
static amct_status merge_means(const window_sums *w, amct_calib_mean *mean,
                               amct_error *err) {
  amct_input_sums *all = amct_input_sums_new(&w->window, w->channels);
  if (!all) return amct_fail_memory(err);
  for (size_t i = 0; i < AMCT_POOL_THREADS_MAX; i++)
    if (w->shard[i]) amct_input_sums_merge(all, w->shard[i]);
  mean->count = amct_input_sums_size(all);
  mean->taps = mean->count / w->channels;
  mean->mean = amct_alloc_array(mean->count, sizeof *mean->mean);
  if (mean->mean && !amct_input_sums_means(all, mean->mean)) {
    amct_free(mean->mean);
    *mean = (amct_calib_mean){0};
  } else if (!mean->mean) {
    amct_input_sums_free(all);
    return amct_fail_memory(err);
  }
  amct_input_sums_free(all);
  return AMCT_OK;
}

amct_status amct_calib_means_of(const amct_calib_observer *observer, size_t layer,
                                amct_calib_mean *mean, amct_error *err) {
  const amct_calib_means *means = observer->means;
  *mean = (amct_calib_mean){0};
  if (!means || layer >= means->layers || means->by_layer[layer] == means->count)
    return AMCT_OK;
  const window_sums *w = &means->sums[means->by_layer[layer]];
  return w->useless || w->channels == 0 ? AMCT_OK : merge_means(w, mean, err);
}
