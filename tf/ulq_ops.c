/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels of Ulq and UlqGrad: an activation on the int8 grid of two trained clips.
 *
 * Clips that are both 0 were not initialised yet: Ulq then takes the range of the batch,
 * and UlqGrad, which runs once a training step, sketches x. From batch_num sketched
 * batches on it hands out what is to be added to the clips. With batch_num 0 it leaves
 * the search to others.
 */
#include "op_kernels.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/logging.h"
#include "base/pool.h"
#include "numeric/fake_quant.h"
#include "numeric/float_env.h"
#include "numeric/range.h"

enum { SHARD_LEAST = 1 << 15, BLOCK = 1 << 14 };

/* What UlqGrad gathers until the clips are known. */
typedef struct clip_search {
  pthread_mutex_t lock;
  amct_sketch *sketch;
  int64_t batches;
  bool done;
  float clip_max, clip_min;
} clip_search;

typedef struct ulq_kernel {
  amct_kernel base;
  char *layer_name;
  bool fixed_min;
  int64_t batch_num;
  clip_search *search; /* UlqGrad */
} ulq_kernel;

static void clear_ulq(amct_kernel *kernel) {
  ulq_kernel *k = (ulq_kernel *)(void *)kernel;
  if (k->search) {
    amct_sketch_free(k->search->sketch);
    pthread_mutex_destroy(&k->search->lock);
  }
  amct_free(k->search);
  amct_free(k->layer_name);
}

static amct_status init_ulq(amct_kernel *kernel, const amct_node_view *node,
                            amct_error *err) {
  ulq_kernel *k = (ulq_kernel *)(void *)kernel;
  AMCT_TRY(amct_node_text(node, "layer_name", &k->layer_name, err));
  AMCT_TRY(amct_node_bool(node, "fixed_min", &k->fixed_min, err));
  AMCT_TRY(amct_node_int(node, "batch_num", &k->batch_num, err));
  if (k->batch_num >= 0) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, node->name, "batch_num is %lld",
                   (long long)k->batch_num);
}

static amct_status init_ulq_grad(amct_kernel *kernel, const amct_node_view *node,
                                 amct_error *err) {
  ulq_kernel *k = (ulq_kernel *)(void *)kernel;
  AMCT_TRY(init_ulq(kernel, node, err));
  k->search = amct_alloc_array(1, sizeof *k->search);
  if (!k->search) return amct_fail_memory(err);
  pthread_mutex_init(&k->search->lock, NULL);
  return AMCT_OK;
}

amct_status amct_tf_clips(const amct_tf_view *clip_max, const amct_tf_view *clip_min,
                          const char *layer, float clips[2], amct_error *err) {
  if (clip_max->count != 1 || clip_min->count != 1)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "layer \"%s\": clip_max has %zu values, clip_min %zu, not 1", layer,
                     clip_max->count, clip_min->count);
  clips[0] = *(const float *)clip_max->data;
  clips[1] = *(const float *)clip_min->data;
  if (isfinite(clips[0]) && isfinite(clips[1])) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                   "layer \"%s\": clip_max is %g, clip_min %g: training has diverged",
                   layer, (double)clips[0], (double)clips[1]);
}

/* ---- one run ---- */

/* A flat range of elements, cut into blocks: sums add up in their order, whatever the
 * number of threads. */
typedef struct job {
  const float *x, *dy;
  float *to;
  size_t count, blocks, shards;
  amct_ulq_grid grid;
  float (*extremes)[2]; /* of each block */
  amct_ulq_sums *sums;  /* of each block */
} job;

static void start_job(job *j, size_t count) {
  j->count = count;
  j->blocks = (count + BLOCK - 1) / BLOCK;
  j->shards = amct_pool_shards(count, SHARD_LEAST);
}

typedef void block_task(job *j, size_t block, size_t first, size_t count);

static void run_blocks(job *j, size_t shard, block_task *task) {
  const size_t end = j->blocks * (shard + 1) / j->shards;
  for (size_t b = j->blocks * shard / j->shards; b < end; b++) {
    const size_t first = b * BLOCK, left = j->count - first;
    task(j, b, first, left < BLOCK ? left : BLOCK);
  }
}

static void measure_block(job *j, size_t block, size_t first, size_t count) {
  float *to = j->extremes[block];
  amct_ulq_extremes(j->x + first, count, &to[0], &to[1]);
}

static void forward_block(job *j, size_t block, size_t first, size_t count) {
  (void)block;
  amct_ulq_forward(j->to + first, j->x + first, count, &j->grid);
}

static void backward_block(job *j, size_t block, size_t first, size_t count) {
  amct_ulq_backward(j->to + first, &j->sums[block], j->dy + first, j->x + first, count,
                    &j->grid);
}

static void measure_part(void *context, size_t shard) {
  run_blocks(context, shard, measure_block);
}
static void forward_part(void *context, size_t shard) {
  run_blocks(context, shard, forward_block);
}
static void backward_part(void *context, size_t shard) {
  run_blocks(context, shard, backward_block);
}

/* The range of the batch, where there are no clips yet. */
static amct_status measure(job *j, bool fixed_min, float clips[2], amct_error *err) {
  j->extremes = amct_alloc_array(j->blocks + 1, sizeof *j->extremes);
  if (!j->extremes) return amct_fail_memory(err);
  amct_pool_run(measure_part, j, j->shards);
  for (size_t b = 0; b < j->blocks; b++) {
    clips[0] = fmaxf(clips[0], j->extremes[b][0]);
    clips[1] = fixed_min ? 0.0f : fminf(clips[1], j->extremes[b][1]);
  }
  amct_free(j->extremes);
  return AMCT_OK;
}

static bool are_unset(const float clips[2]) {
  return clips[0] == 0 && clips[1] == 0;
}

/* ---- Ulq ---- */

enum { X, CLIP_MAX, CLIP_MIN, FORWARD_INPUTS };

static amct_status quantize(const ulq_kernel *k, TF_OpKernelContext *context,
                            amct_tf_view views[FORWARD_INPUTS], amct_error *err) {
  float clips[2] = {0};
  amct_tf_view y = {0};
  job j = {.x = views[X].data};
  start_job(&j, views[X].count);
  AMCT_TRY(amct_tf_clips(&views[CLIP_MAX], &views[CLIP_MIN], k->layer_name, clips, err));
  if (are_unset(clips)) AMCT_TRY(measure(&j, k->fixed_min, clips, err));
  j.grid = amct_ulq_grid_of(clips[0], k->fixed_min ? 0.0f : clips[1]);
  AMCT_TRY(amct_tf_output_over_input(context, X, &views[X], &y, err));
  j.to = y.data;
  amct_pool_run(forward_part, &j, j.shards);
  amct_tf_close(&y);
  return AMCT_OK;
}

static amct_status compute_ulq(const amct_kernel *kernel, TF_OpKernelContext *context,
                               amct_error *err) {
  amct_tf_view views[FORWARD_INPUTS] = {{0}};
  amct_status status = AMCT_OK;
  for (int i = 0; i < FORWARD_INPUTS && status == AMCT_OK; i++)
    status = amct_tf_input(context, i, &views[i], err);
  if (status == AMCT_OK)
    status = quantize((const ulq_kernel *)(const void *)kernel, context, views, err);
  for (int i = 0; i < FORWARD_INPUTS; i++)
    amct_tf_close(&views[i]);
  return status;
}

const amct_kernel_class k_ulq = {sizeof(ulq_kernel), init_ulq, compute_ulq, clear_ulq};

/* ---- UlqGrad ---- */

enum { GRAD_X, GRAD_DY, GRAD_CLIP_MAX, GRAD_CLIP_MIN, GRAD_INPUTS };
enum { D_CLIP_MAX = 1, D_CLIP_MIN, ADD_CLIP_MAX, ADD_CLIP_MIN, GRAD_OUTPUTS };

/* With the lock held. An empty batch is none. */
static AMCT_NOINLINE amct_status search_clips(const ulq_kernel *k, const float *x,
                                              size_t count, amct_error *err) {
  clip_search *s = k->search;
  const amct_range_options options = AMCT_RANGE_DEFAULTS;
  amct_range range;
  if (s->done || count == 0) return AMCT_OK;
  const size_t bad = amct_find_not_finite(x, count);
  if (bad < count)
    return amct_fail(err, AMCT_UNSUPPORTED, NULL,
                     "layer \"%s\": training batch %lld has %s at index %zu of its data",
                     k->layer_name, (long long)s->batches + 1,
                     isnan(x[bad]) ? "NaN" : "infinity", bad);
  if (!s->sketch) s->sketch = amct_sketch_new();
  if (!s->sketch) return amct_fail_memory(err);
  AMCT_TRY(amct_sketch_add(s->sketch, x, count, err));
  if (++s->batches < k->batch_num) return AMCT_OK;
  AMCT_TRY(amct_range_find(&range, s->sketch, &options, err));
  amct_ulq_clips(range.scale, range.offset, k->fixed_min, &s->clip_max, &s->clip_min);
  s->done = true;
  amct_sketch_free(s->sketch);
  s->sketch = NULL;
  amct_log(AMCT_LOG_INFO, "retrain",
           "layer \"%s\": clips %g and %g, found in %lld batches", k->layer_name,
           (double)s->clip_min, (double)s->clip_max, (long long)s->batches);
  return AMCT_OK;
}

/* The step that finds the clips is one more of those without. */
static amct_status initialise(const ulq_kernel *k, const amct_tf_view *x,
                              float scalars[GRAD_OUTPUTS], amct_error *err) {
  clip_search *s = k->search;
  amct_float_env saved;
  if (k->batch_num == 0) return AMCT_OK;
  pthread_mutex_lock(&s->lock);
  amct_float_env_enter(&saved);
  const amct_status status = search_clips(k, x->data, x->count, err);
  amct_float_env_leave(&saved);
  scalars[ADD_CLIP_MAX] = s->clip_max;
  scalars[ADD_CLIP_MIN] = s->clip_min;
  pthread_mutex_unlock(&s->lock);
  return status;
}

static amct_status differentiate(const ulq_kernel *k, job *j, const float clips[2],
                                 float scalars[GRAD_OUTPUTS], amct_error *err) {
  amct_ulq_sums sums = {0, 0};
  j->grid = amct_ulq_grid_of(clips[0], k->fixed_min ? 0.0f : clips[1]);
  j->sums = amct_alloc_array(j->blocks + 1, sizeof *j->sums);
  if (!j->sums) return amct_fail_memory(err);
  amct_pool_run(backward_part, j, j->shards);
  for (size_t b = 0; b < j->blocks; b++) {
    sums.clip_max += j->sums[b].clip_max;
    sums.clip_min += j->sums[b].clip_min;
  }
  amct_free(j->sums);
  scalars[D_CLIP_MAX] = (float)sums.clip_max;
  scalars[D_CLIP_MIN] = k->fixed_min ? 0.0f : (float)sums.clip_min;
  return AMCT_OK;
}

static amct_status put_scalars(TF_OpKernelContext *context, const amct_tf_view *like,
                               const float scalars[GRAD_OUTPUTS], amct_error *err) {
  for (int i = D_CLIP_MAX; i < GRAD_OUTPUTS; i++) {
    amct_tf_view to = {0};
    AMCT_TRY(amct_tf_new_output(context, i, like, AMCT_DTYPE_FLOAT, &to, err));
    *(float *)to.data = scalars[i];
    amct_tf_close(&to);
  }
  return AMCT_OK;
}

static amct_status backpropagate(const ulq_kernel *k, TF_OpKernelContext *context,
                                 amct_tf_view views[GRAD_INPUTS], amct_error *err) {
  const amct_tf_view *x = &views[GRAD_X];
  amct_tf_view *dy = &views[GRAD_DY];
  float clips[2] = {0}, scalars[GRAD_OUTPUTS] = {0};
  amct_tf_view dx = {0};
  job j = {.x = x->data, .dy = dy->data};
  start_job(&j, x->count);
  if (dy->count != x->count)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "layer \"%s\": a gradient of %zu values for %zu", k->layer_name,
                     dy->count, x->count);
  AMCT_TRY(amct_tf_clips(&views[GRAD_CLIP_MAX], &views[GRAD_CLIP_MIN], k->layer_name,
                         clips, err));
  AMCT_TRY(amct_tf_output_over_input(context, GRAD_DY, dy, &dx, err));
  j.to = dx.data;
  amct_status status;
  if (are_unset(clips)) { /* the range of the batch has all of it inside */
    if (dx.data != dy->data) memcpy(dx.data, dy->data, x->count * sizeof(float));
    status = initialise(k, x, scalars, err);
  } else {
    status = differentiate(k, &j, clips, scalars, err);
  }
  amct_tf_close(&dx);
  return status == AMCT_OK ? put_scalars(context, &views[GRAD_CLIP_MAX], scalars, err)
                           : status;
}

static amct_status compute_ulq_grad(const amct_kernel *kernel,
                                    TF_OpKernelContext *context, amct_error *err) {
  amct_tf_view views[GRAD_INPUTS] = {{0}};
  amct_status status = AMCT_OK;
  for (int i = 0; i < GRAD_INPUTS && status == AMCT_OK; i++)
    status = amct_tf_input(context, i, &views[i], err);
  if (status == AMCT_OK)
    status = backpropagate((const ulq_kernel *)(const void *)kernel, context, views, err);
  for (int i = 0; i < GRAD_INPUTS; i++)
    amct_tf_close(&views[i]);
  return status;
}

const amct_kernel_class k_ulq_grad = {sizeof(ulq_kernel), init_ulq_grad, compute_ulq_grad,
                                      clear_ulq};
