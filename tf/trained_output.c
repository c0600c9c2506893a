/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel of RetrainOutput: what a trained layer puts out becomes what the saved one does,
 * bit for bit where sums of products are exact in float32. In graphs for inference alone,
 * behind all that is folded into the layer.
 *
 * Inputs: x, the weights and what is folded into them, the clips. Channels `first` and
 * those after it, as many as the weights have, of `total` are the layer's (total 0: all).
 * x stays as it is where the clips are not initialised, and in a graph with gradients,
 * which trains.
 */
#include "op_kernels.h"
#include "trained.h"

#include <string.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "numeric/output_grid.h"

enum { X, WEIGHT, CLIPS = 2, SHARD_LEAST = 1 << 14 };

typedef struct output_kernel {
  amct_kernel base;
  amct_trained_layer layer;
  int64_t first, total;
  int64_t window[2]; /* of a pooling */
  bool trains;
} output_kernel;

static void clear_output(amct_kernel *kernel) {
  amct_trained_layer_clear(&((output_kernel *)(void *)kernel)->layer);
}

static amct_status read_window(output_kernel *k, const amct_node_view *node,
                               amct_error *err) {
  int64_t *ksize = NULL;
  size_t count = 0;
  AMCT_TRY(amct_node_ints(node, "ksize", &ksize, &count, err));
  const bool good = count == 2 && ksize[0] > 0 && ksize[1] > 0;
  if (good) memcpy(k->window, ksize, sizeof k->window);
  amct_free(ksize);
  return good ? AMCT_OK
              : amct_fail(err, AMCT_INVALID_ARGUMENT, node->name,
                          "ksize has %zu values; it takes two, above 0", count);
}

static amct_status init_output(amct_kernel *kernel, const amct_node_view *node,
                               amct_error *err) {
  output_kernel *k = (output_kernel *)(void *)kernel;
  AMCT_TRY(amct_node_int(node, "first", &k->first, err));
  AMCT_TRY(amct_node_int(node, "total", &k->total, err));
  if (k->first < 0 || k->total < 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, node->name, "first is %lld, total %lld",
                     (long long)k->first, (long long)k->total);
  if (amct_node_has(node, "trains"))
    AMCT_TRY(amct_node_bool(node, "trains", &k->trains, err));
  AMCT_TRY(read_window(k, node, err));
  k->layer.folding.first_input = WEIGHT;
  return amct_trained_layer_init(&k->layer, node, err);
}

/* ---- one run ---- */

typedef struct job {
  const float *x;
  float *y;
  amct_weight_layout cut;
  size_t first, shards;
  const amct_output_grid *grid; /* NULL: averages */
  float scale_d;
  const int64_t *window;
} job;

/* Rows, where neighbours have different channels. */
static void rows_part(void *context, size_t shard) {
  const job *j = context;
  const size_t stride = j->cut.channels, rows = j->cut.outer;
  const size_t from = rows * shard / j->shards, to = rows * (shard + 1) / j->shards;
  const size_t at = from * stride + j->first;
  if (to > from) amct_output_rows(j->y + at, j->x + at, to - from, stride, j->grid);
}

static void runs_part(void *context, size_t shard) {
  const job *j = context;
  const size_t own = j->grid->channels, runs = j->cut.outer * own, inner = j->cut.inner;
  const size_t to = runs * (shard + 1) / j->shards;
  for (size_t i = runs * shard / j->shards; i < to; i++) {
    const size_t channel = i % own;
    const size_t at = (i / own * j->cut.channels + j->first + channel) * inner;
    amct_output_run(j->y + at, j->x + at, inner, channel, j->grid);
  }
}

static void pooled_part(void *context, size_t shard) {
  const job *j = context;
  size_t at;
  const size_t n = amct_pool_part(j->cut.inner, j->shards, shard, &at);
  amct_output_pooled(j->y + at, j->x + at, n, j->scale_d, j->window);
}

static amct_status run_job(job *j, TF_OpKernelContext *context, amct_tf_view *x,
                           amct_error *err) {
  const size_t count = x->count;
  amct_tf_view y = {0};
  j->x = x->data;
  AMCT_TRY(amct_tf_output_over_input(context, X, x, &y, err));
  j->y = y.data;
  j->shards = amct_pool_shards(count, SHARD_LEAST);
  if (j->y != j->x && count > 0) memcpy(j->y, j->x, count * sizeof *j->y);
  if (!j->grid)
    amct_pool_run(pooled_part, j, j->shards);
  else if (j->grid->channels)
    amct_pool_run(j->cut.inner == 1 ? rows_part : runs_part, j, j->shards);
  amct_tf_close(&y);
  return AMCT_OK;
}

/* The layer's channels of x. */
static amct_status place(job *j, const output_kernel *k, const amct_tf_view *x,
                         size_t channels, amct_error *err) {
  const size_t total = k->total ? (size_t)k->total : channels;
  j->first = (size_t)k->first;
  if (j->first > total || channels > total - j->first)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "layer \"%s\": channels %zu to %zu of %zu",
                     k->layer.folding.layer_name, j->first, j->first + channels, total);
  return amct_trained_layer_cut(&k->layer, x, total, &j->cut, err);
}

static amct_status put_weighted(job *j, const output_kernel *k,
                                TF_OpKernelContext *context, const amct_ulq_grid *clips,
                                amct_tf_view *x, amct_error *err) {
  amct_fold_inputs in = {0};
  amct_output_grid grid = {0};
  amct_error reason = {0};
  amct_status status = amct_fold_inputs_open(&in, &k->layer.folding, context, CLIPS, err);
  if (status != AMCT_OK) goto done;
  const amct_trained trained = amct_trained_layer_weights(&k->layer, &in, clips);
  status = amct_output_grid_make(&grid, &trained, &reason);
  if (status != AMCT_OK) {
    status = amct_trained_layer_fail(&k->layer, status, &reason, err);
    goto done;
  }
  j->grid = &grid;
  status = place(j, k, x, in.layout.channels, err);
  if (status == AMCT_OK) status = run_job(j, context, x, err);
done:
  amct_output_grid_free(&grid);
  amct_fold_inputs_close(&in);
  return status;
}

static amct_status put_pooled(job *j, const output_kernel *k, TF_OpKernelContext *context,
                              const amct_ulq_grid *clips, amct_tf_view *x,
                              amct_error *err) {
  j->scale_d = clips->scale;
  j->window = k->window;
  j->cut.inner = x->count;
  return run_job(j, context, x, err);
}

static amct_status leave(job *j, TF_OpKernelContext *context, amct_tf_view *x,
                         amct_error *err) {
  static const amct_output_grid k_none;
  j->grid = &k_none;
  return run_job(j, context, x, err);
}

static amct_status compute_output(const amct_kernel *kernel, TF_OpKernelContext *context,
                                  amct_error *err) {
  const output_kernel *k = (const output_kernel *)(const void *)kernel;
  amct_ulq_grid clips;
  amct_tf_view x = {0};
  job j = {0};
  bool set = false;
  AMCT_TRY(amct_trained_layer_grid(&k->layer, context, tf.TF_NumInputs(context) - CLIPS,
                                   &clips, &set, err));
  AMCT_TRY(amct_tf_input(context, X, &x, err));
  const amct_status status = k->trains || !set ? leave(&j, context, &x, err)
                             : k->layer.weighted
                                 ? put_weighted(&j, k, context, &clips, &x, err)
                                 : put_pooled(&j, k, context, &clips, &x, err);
  amct_tf_close(&x);
  return status;
}

const amct_kernel_class k_retrain_output = {sizeof(output_kernel), init_output,
                                            compute_output, clear_output};
