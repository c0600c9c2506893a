/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of observed tensors: sketched in shards, and searched when all are in. */
#include "calib/calib_state.h"

#include <math.h>

#include "base/logging.h"
#include "base/pool.h"
#include "numeric/float_env.h"
#include "numeric/sampling.h"

static const char k_module[] = "calibration";

enum {
  SHARD_LEAST = 1 << 18
}; /* a sketch costs its quarter of a megabyte: worth it from 1 MB on */

/* ---- one batch into a sketch ---- */

typedef struct shards {
  const amct_sketch *trunk; /* only looked at */
  const float *values;
  size_t count, row, parts; /* row: values of a picture */
  struct {
    amct_sketch *sketch;
    size_t bad; /* index of the first value that is not finite, or `count` */
    amct_status status;
  } shard[AMCT_POOL_THREADS_MAX];
} shards;

/* The nearest place before it where a chunk of a picture begins. */
static size_t chunk_start(const shards *b, size_t index) {
  return index - index % b->row % AMCT_SAMPLING_CHUNK;
}

static void sketch_part(void *context, size_t shard) {
  shards *b = context;
  size_t first;
  size_t size = amct_pool_part(b->count, b->parts, shard, &first);
  const size_t end = first + size < b->count ? chunk_start(b, first + size) : b->count;
  first = first < b->count ? chunk_start(b, first) : b->count;
  size = end - first;
  const amct_place place = {b->row, first % b->row};
  const float *values = b->values + first;
  amct_sketch *sketch = amct_sketch_branch(b->trunk);
  b->shard[shard].sketch = sketch;
  b->shard[shard].bad = b->count;
  b->shard[shard].status =
      sketch ? amct_sketch_add_sampled(sketch, values, size, place, NULL)
             : AMCT_OUT_OF_MEMORY;
  if (b->shard[shard].status == AMCT_UNSUPPORTED)
    b->shard[shard].bad = first + amct_find_not_finite(values, size);
}

/* All shards into the first, and that into the sketch at once: the batch counts whole or
 * not at all. `*bad` as above. */
static amct_status merge_shards(amct_sketch *sketch, shards *b, size_t *bad,
                                amct_error *err) {
  *bad = b->count;
  for (size_t i = 0; i < b->parts && *bad == b->count; i++)
    *bad = b->shard[i].bad;
  if (*bad < b->count) return AMCT_OK;
  for (size_t i = 0; i < b->parts; i++) {
    if (b->shard[i].status != AMCT_OK) return amct_fail_memory(err);
    if (i > 0) AMCT_TRY(amct_sketch_merge(b->shard[0].sketch, b->shard[i].sketch, err));
  }
  return amct_sketch_merge(sketch, b->shard[0].sketch, err);
}

/* Values of a picture, where the first axis is the batch. */
static size_t row_of(const amct_calib_batch *batch) {
  const bool known = batch->dims && batch->rank > 1 && batch->dims[0] > 0;
  return known ? batch->count / (size_t)batch->dims[0] : 1;
}

static amct_status add_batch(amct_sketch *sketch, const amct_calib_batch *batch,
                             size_t *bad, amct_error *err) {
  const float *values = batch->values;
  const size_t count = batch->count, row = row_of(batch);
  const size_t parts = amct_pool_shards(count, SHARD_LEAST);
  if (parts == 1) {
    const amct_place place = {row, 0};
    const amct_status status =
        amct_sketch_add_sampled(sketch, values, count, place, NULL);
    *bad = status == AMCT_UNSUPPORTED ? amct_find_not_finite(values, count) : count;
    return status == AMCT_OUT_OF_MEMORY ? amct_fail_memory(err) : AMCT_OK;
  }
  shards b = {.trunk = sketch, .values = values, .count = count, row, parts};
  amct_pool_run(sketch_part, &b, parts);
  const amct_status status = merge_shards(sketch, &b, bad, err);
  for (size_t i = 0; i < parts; i++)
    amct_sketch_free(b.shard[i].sketch);
  return status;
}

/* ---- observers ---- */

static amct_status fail_value(const amct_calib_range_spec *spec,
                              const amct_calib_observer *observer, float value,
                              size_t index, amct_error *err) {
  const char *name = spec->layers[0].name;
  return amct_fail(err, AMCT_UNSUPPORTED, name,
                   "layer \"%s\": batch %lld has %s at index %zu of its data", name,
                   (long long)observer->batches + 1, isnan(value) ? "NaN" : "infinity",
                   index);
}

/* One batch that an observer brings. */
typedef struct visit {
  const amct_calib_range_spec *spec;
  amct_calib_state *state;
  amct_calib_observer *observer;
  const amct_calib_batch *batch;
  amct_range range;
  double pixel_rms;
  amct_calib_mean *means;     /* by layer of the spec */
  amct_calib_steps **steps;   /* the same */
  amct_calib_entry **entries; /* the same */
  bool news;                  /* this visit found the range */
  int64_t searched;           /* of so many batches */
} visit;

static int64_t bytes_of(const amct_calib_observer *observer) {
  return (int64_t)(amct_sketch_bytes(observer->sketch) +
                   amct_calib_samples_bytes(observer));
}

/* The batch into sketch, means and samples, with the observer's lock held. */
static amct_status take_values(const visit *v, size_t *bad, amct_error *err) {
  const amct_calib_batch *batch = v->batch;
  amct_calib_observer *observer = v->observer;
  const int64_t before = bytes_of(observer);
  int64_t since = amct_calib_now_ns();
  if (!observer->sketch) observer->sketch = amct_sketch_new();
  if (!observer->sketch) return amct_fail_memory(err);
  AMCT_TRY(amct_calib_means_prepare(observer, v->spec, batch, err));
  AMCT_TRY(amct_calib_samples_prepare(observer, v->spec, batch, err));
  AMCT_TRY(add_batch(observer->sketch, batch, bad, err));
  amct_calib_spent(v->state, AMCT_CALIB_SKETCH, since);
  amct_calib_sketched(v->state, bytes_of(observer) - before);
  if (*bad < batch->count) return AMCT_OK;
  since = amct_calib_now_ns();
  amct_calib_means_add(observer, batch);
  amct_calib_spent(v->state, AMCT_CALIB_MEANS, since);
  since = amct_calib_now_ns();
  amct_calib_samples_add(observer, batch);
  amct_calib_spent(v->state, AMCT_CALIB_SAMPLE, since);
  return AMCT_OK;
}

static amct_status take_batch(const visit *v, amct_error *err) {
  const amct_calib_batch *batch = v->batch;
  size_t bad = batch->count;
  if (batch->count == 0) {
    amct_log(AMCT_LOG_WARNING, k_module, "layer \"%s\": an empty batch does not count",
             v->spec->layers[0].name);
    return AMCT_OK;
  }
  AMCT_TRY(take_values(v, &bad, err));
  if (bad < batch->count)
    return fail_value(v->spec, v->observer, batch->values[bad], bad, err);
  const int64_t taken = ++v->observer->batches;
  if (taken <= v->spec->batch_num)
    amct_calib_show_batch(v->state, taken, v->spec->batch_num);
  return AMCT_OK;
}

static void free_visit(visit *v) {
  for (size_t i = 0; v->means && i < v->spec->layer_count; i++)
    amct_free(v->means[i].mean);
  for (size_t i = 0; v->steps && i < v->spec->layer_count; i++)
    amct_calib_steps_release(v->steps[i]);
  amct_free(v->means);
  amct_free(v->steps);
  amct_free(v->entries);
}

static amct_status find_parts(visit *v, amct_error *err) {
  v->means = amct_alloc_array(v->spec->layer_count, sizeof *v->means);
  v->entries = amct_alloc_array(v->spec->layer_count, sizeof *v->entries);
  v->steps = amct_alloc_array(v->spec->layer_count, sizeof *v->steps);
  if (!v->means || !v->entries || !v->steps) return amct_fail_memory(err);
  for (size_t i = 0; i < v->spec->layer_count; i++)
    AMCT_TRY(amct_calib_means_of(v->observer, i, &v->means[i], err));
  return amct_calib_samples_of(v->observer, v->spec, v->range, v->steps, err);
}

/* The observer needs no data any more. */
static void close_observer(const visit *v) {
  amct_calib_observer *observer = v->observer;
  amct_calib_sketched(v->state, -bytes_of(observer));
  amct_calib_observer_empty(observer);
  atomic_store(&observer->done, true);
}

/* Whether the range that was found is the last one. */
static bool is_last(const visit *v) {
  const int64_t turns = v->spec->turns > 1 ? v->spec->turns : 1;
  return v->observer->searched / v->spec->batch_num > turns / 2;
}

/* Takes the batch and, when it is the last before a search, finds range and means. A
 * search that failed is tried again without taking more data; after one that did not,
 * nothing that is still to do fails for memory, and nobody searches again. */
static amct_status advance(visit *v, amct_error *err) {
  amct_calib_observer *observer = v->observer;
  if (atomic_load(&observer->done)) return AMCT_OK;
  if (atomic_load(&v->state->retired)) /* since it was found */
    return amct_fail(err, AMCT_NOT_READY, v->spec->layers[0].name,
                     "layer \"%s\": its calibration was replaced by a later one",
                     v->spec->layers[0].name);
  const int64_t wanted = observer->searched ? 2 * observer->searched : v->spec->batch_num;
  if (observer->batches < wanted) AMCT_TRY(take_batch(v, err));
  if (observer->batches < wanted) return AMCT_OK;
  const int64_t since = amct_calib_now_ns();
  AMCT_TRY(amct_range_find(&v->range, observer->sketch, &v->spec->options, err));
  AMCT_TRY(find_parts(v, err));
  if (v->spec->turns < 2 || observer->searched == v->spec->batch_num)
    amct_calib_check_range(v->spec, observer->sketch, &v->range);
  v->pixel_rms = amct_calib_pixel_rms(observer->sketch);
  v->searched = observer->searched = observer->batches;
  if (is_last(v)) close_observer(v);
  amct_calib_spent(v->state, AMCT_CALIB_RANGE, since);
  v->news = true;
  return AMCT_OK;
}

/* Hands range, means and samples to the layers that read the tensor. */
static void spread(const visit *v) {
  const amct_calib_range_spec *spec = v->spec;
  amct_calib_entry **entries = v->entries;
  for (size_t i = 0; i < spec->layer_count; i++) {
    entries[i] = amct_calib_entry_known(v->state, spec->layers[i].index);
    entries[i]->changed = entries[i]->complete;
    if (spec->layers[i].second) {
      entries[i]->scale_w[0] = v->range.scale;
      entries[i]->scale_count = 1;
      entries[i]->has_weights = true;
      continue;
    }
    amct_free(entries[i]->mean.mean);
    entries[i]->range = v->range;
    entries[i]->mean = v->means[i];
    entries[i]->pixel_rms = v->pixel_rms;
    entries[i]->has_range = true;
    v->means[i].mean = NULL; /* moved to the entry */
    if (entries[i]->rounding) continue;
    amct_calib_steps_release(entries[i]->steps);
    entries[i]->steps = v->steps[i];
    v->steps[i] = NULL;
  }
}

static amct_status hand_out(const visit *v, amct_error *err) {
  pthread_mutex_lock(&v->state->lock);
  const bool late = v->observer->handed > v->searched; /* another turn was faster */
  if (!late) {
    v->observer->handed = v->searched;
    spread(v);
  }
  pthread_mutex_unlock(&v->state->lock);
  if (late) return AMCT_OK;
  amct_calib_round(v->state, v->entries, v->spec->layer_count);
  pthread_mutex_lock(&v->state->lock);
  const amct_status status =
      amct_calib_settle(v->state, v->entries, v->spec->layer_count, err);
  pthread_mutex_unlock(&v->state->lock);
  return status;
}

static amct_status check_spec(const amct_calib_range_spec *spec, amct_error *err) {
  if (spec->layer_count == 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "an observer without layers");
  if (spec->batch_num < 1)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, spec->layers[0].name,
                     "layer \"%s\": batch_num is %lld", spec->layers[0].name,
                     (long long)spec->batch_num);
  return AMCT_OK;
}

static AMCT_NOINLINE amct_status observe(visit *v, amct_error *err) {
  AMCT_TRY(check_spec(v->spec, err));
  AMCT_TRY(amct_calib_find(&v->state, &v->spec->key, err));
  if (!v->state) return AMCT_OK; /* a forked child */
  pthread_mutex_lock(&v->state->lock);
  amct_status status = amct_calib_observer_get(v->state, v->spec, &v->observer, err);
  pthread_mutex_unlock(&v->state->lock);
  if (status != AMCT_OK) return status;

  pthread_mutex_lock(&v->observer->lock);
  status = advance(v, err);
  pthread_mutex_unlock(&v->observer->lock);
  return status == AMCT_OK && v->news ? hand_out(v, err) : status;
}

amct_status amct_calib_observe(const amct_calib_range_spec *spec,
                               const amct_calib_batch *batch, amct_error *err) {
  visit v = {.spec = spec, .batch = batch};
  amct_float_env saved;
  amct_float_env_enter(&saved);
  const amct_status status = observe(&v, err);
  amct_float_env_leave(&saved);
  free_visit(&v);
  return status;
}

bool amct_calib_range_done(const amct_calib_range_spec *spec) {
  amct_calib_state *state = amct_calib_known(&spec->key);
  if (!state || spec->layer_count == 0) return false;
  pthread_mutex_lock(&state->lock);
  const amct_calib_entry *entry = amct_calib_entry_known(state, spec->layers[0].index);
  const amct_calib_observer *observer =
      entry ? entry->observers[spec->layers[0].second] : NULL;
  const bool done = observer && atomic_load(&observer->done);
  pthread_mutex_unlock(&state->lock);
  return done;
}
