/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels of ArqRetrain (weights on their int8 grid), RetrainFactors (the factors of a
 * trained layer as a vector) and RetrainRecord (all such vectors into the record).
 *
 *   scale_d, offset_d, scale_w...                   the vector
 *   scale_d, offset_d, left, scale_w..., shift...   where N is searched: `left` batches
 *                                                   are to come
 */
#include "op_kernels.h"
#include "trained.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/logging.h"
#include "calib/retrained.h"
#include "numeric/search_n.h"

/* ---- ArqRetrain ---- */

/* The layer's outputs so far. */
typedef struct n_search {
  pthread_mutex_t lock;
  amct_output_ends ends;
  size_t channels;
  int64_t batches;
} n_search;

typedef struct trained_kernel {
  amct_kernel base;
  amct_trained_layer layer;
  int64_t search_batches; /* that N is searched in; 0: N is 0 */
  n_search *search;
} trained_kernel;

static void clear_trained(amct_kernel *kernel) {
  trained_kernel *k = (trained_kernel *)(void *)kernel;
  if (k->search) {
    amct_free(k->search->ends.high);
    amct_free(k->search->ends.low);
    pthread_mutex_destroy(&k->search->lock);
  }
  amct_free(k->search);
  amct_trained_layer_clear(&k->layer);
}

static amct_status init_arq_retrain(amct_kernel *kernel, const amct_node_view *node,
                                    amct_error *err) {
  trained_kernel *k = (trained_kernel *)(void *)kernel;
  AMCT_TRY(amct_node_bool(node, "channel_wise", &k->layer.channel_wise, err));
  return amct_folding_init_axes(&k->layer.folding, node, err);
}

static amct_status compute_arq_retrain(const amct_kernel *kernel,
                                       TF_OpKernelContext *context, amct_error *err) {
  const trained_kernel *k = (const trained_kernel *)(const void *)kernel;
  amct_tf_view w = {0}, y = {0};
  amct_weight_layout layout;
  amct_error reason = {0};
  amct_status status;
  if ((status = amct_tf_input(context, 0, &w, err)) != AMCT_OK ||
      (status = amct_folding_layout(&k->layer.folding, &w, &layout, err)) != AMCT_OK ||
      (status = amct_tf_new_output(context, 0, &w, w.type, &y, err)) != AMCT_OK)
    goto done;
  status = amct_arq_forward(y.data, w.data, layout, k->layer.channel_wise, &reason);
  if (status != AMCT_OK)
    status = amct_trained_layer_fail(&k->layer, status, &reason, err);
done:
  amct_tf_close(&y);
  amct_tf_close(&w);
  return status;
}

const amct_kernel_class k_arq_retrain = {sizeof(trained_kernel), init_arq_retrain,
                                         compute_arq_retrain, clear_trained};

/* ---- RetrainFactors ---- */

enum { CLIPS = 2, DATA_FACTORS = 2, SEARCH_FACTORS = 3 };

static amct_status init_search(trained_kernel *k, const amct_node_view *node,
                               amct_error *err) {
  if (!amct_node_has(node, "search_batches")) return AMCT_OK;
  AMCT_TRY(amct_node_int(node, "search_batches", &k->search_batches, err));
  if (k->search_batches == 0) return AMCT_OK;
  if (k->search_batches < 0 || !k->layer.weighted)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, node->name, "search_batches is %lld",
                     (long long)k->search_batches);
  k->search = amct_alloc_array(1, sizeof *k->search);
  if (!k->search) return amct_fail_memory(err);
  pthread_mutex_init(&k->search->lock, NULL);
  return AMCT_OK;
}

static amct_status init_factors(amct_kernel *kernel, const amct_node_view *node,
                                amct_error *err) {
  trained_kernel *k = (trained_kernel *)(void *)kernel;
  AMCT_TRY(amct_trained_layer_init(&k->layer, node, err));
  return init_search(k, node, err);
}

/* The last inputs are the clips and, where N is searched, the output of the layer. */
static int count_extra(const trained_kernel *k) {
  return CLIPS + (k->search ? 1 : 0);
}

static amct_status find_grid(const trained_kernel *k, TF_OpKernelContext *context,
                             amct_ulq_grid *grid, amct_error *err) {
  const int first = tf.TF_NumInputs(context) - count_extra(k);
  bool set = false;
  AMCT_TRY(amct_trained_layer_grid(&k->layer, context, first, grid, &set, err));
  if (set) return AMCT_OK;
  return amct_fail(err, AMCT_NOT_READY, NULL,
                   "layer \"%s\": its clips are not initialised: train at least "
                   "batch_num steps first, and restore what was trained",
                   k->layer.folding.layer_name);
}

/* What the vector holds beside the grid. */
typedef struct weight_factors {
  size_t count;
  float *scale_w;
  uint32_t *shift_bit; /* NULL: none */
  int64_t left;
} weight_factors;

static amct_status put_factors(TF_OpKernelContext *context, const amct_ulq_grid *grid,
                               const weight_factors *f, amct_error *err) {
  const size_t first = f->shift_bit ? SEARCH_FACTORS : DATA_FACTORS;
  const int64_t size = (int64_t)(first + f->count * (f->shift_bit ? 2 : 1));
  amct_tf_view to = {0};
  AMCT_TRY(amct_tf_new_shaped(context, &size, 1, AMCT_DTYPE_FLOAT, &to, err));
  float *factors = to.data;
  factors[0] = grid->scale;
  factors[1] = grid->offset;
  if (f->shift_bit) factors[DATA_FACTORS] = f->left > 0 ? 1.0f : 0.0f;
  for (size_t i = 0; i < f->count; i++) {
    factors[first + i] = f->scale_w[i];
    if (f->shift_bit) factors[first + f->count + i] = (float)f->shift_bit[i];
  }
  amct_tf_close(&to);
  return AMCT_OK;
}

/* With the lock held. Batches past search_batches do not count, an empty one is none. */
static amct_status look_at_output(const trained_kernel *k, const amct_tf_view *output,
                                  size_t channels, amct_error *err) {
  n_search *s = k->search;
  amct_weight_layout cut;
  AMCT_TRY(amct_trained_layer_cut(&k->layer, output, channels, &cut, err));
  if (!s->ends.high) {
    s->ends.high = amct_alloc_array(channels + 1, sizeof *s->ends.high);
    s->ends.low = amct_alloc_array(channels + 1, sizeof *s->ends.low);
    s->channels = channels;
    if (!s->ends.high || !s->ends.low) return amct_fail_memory(err);
  }
  if (s->channels != channels)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "layer \"%s\": %zu channels, where there were %zu",
                     k->layer.folding.layer_name, channels, s->channels);
  if (output->count == 0 || s->batches >= k->search_batches) return AMCT_OK;
  amct_output_ends_add(&s->ends, output->data, cut);
  s->batches++;
  return AMCT_OK;
}

static amct_status search_n(const trained_kernel *k, const amct_tf_view *output,
                            const amct_trained *trained, weight_factors *f,
                            amct_error *err) {
  n_search *s = k->search;
  f->shift_bit = amct_alloc_array(f->count + 1, sizeof *f->shift_bit);
  if (!f->shift_bit) return amct_fail_memory(err);
  pthread_mutex_lock(&s->lock);
  amct_status status = look_at_output(k, output, trained->layout.channels, err);
  if (status == AMCT_OK)
    status = amct_search_n(f->shift_bit, f->scale_w, f->count, trained, &s->ends, err);
  f->left = k->search_batches - s->batches;
  pthread_mutex_unlock(&s->lock);
  return status;
}

static amct_status weigh(const trained_kernel *k, TF_OpKernelContext *context,
                         const amct_ulq_grid *grid, amct_error *err) {
  amct_fold_inputs in = {0};
  amct_error reason = {0};
  weight_factors f = {0};
  size_t folded = 0;
  const int extra = count_extra(k);
  amct_status status =
      amct_fold_inputs_open(&in, &k->layer.folding, context, (size_t)extra, err);
  if (status != AMCT_OK) goto done;
  const amct_trained trained = amct_trained_layer_weights(&k->layer, &in, grid);
  f.scale_w = amct_alloc_array(in.layout.channels + 1, sizeof *f.scale_w);
  if (!f.scale_w) {
    status = amct_fail_memory(err);
    goto done;
  }
  status = amct_trained_scales(f.scale_w, &f.count, &folded, &trained, &reason);
  if (status != AMCT_OK) {
    status = amct_trained_layer_fail(&k->layer, status, &reason, err);
    goto done;
  }
  if (folded < k->layer.folding.step_count)
    amct_log(
        AMCT_LOG_WARNING, "retrain",
        "layer \"%s\": the values of %zu of %zu steps that follow it cannot be folded",
        k->layer.folding.layer_name, k->layer.folding.step_count - folded,
        k->layer.folding.step_count);
  if (k->search) status = search_n(k, &in.views[in.count - 1], &trained, &f, err);
  if (status == AMCT_OK) status = put_factors(context, grid, &f, err);
done:
  amct_free(f.shift_bit);
  amct_free(f.scale_w);
  amct_fold_inputs_close(&in);
  return status;
}

static amct_status compute_factors(const amct_kernel *kernel, TF_OpKernelContext *context,
                                   amct_error *err) {
  const trained_kernel *k = (const trained_kernel *)(const void *)kernel;
  const weight_factors none = {0};
  amct_ulq_grid grid;
  AMCT_TRY(find_grid(k, context, &grid, err));
  return k->layer.weighted ? weigh(k, context, &grid, err)
                           : put_factors(context, &grid, &none, err);
}

const amct_kernel_class k_retrain_factors = {sizeof(trained_kernel), init_factors,
                                             compute_factors, clear_trained};

/* ---- RetrainRecord ---- */

typedef struct record_kernel {
  amct_kernel base;
  char *path;
  char **names;
  size_t count;
  bool search_n;
} record_kernel;

static void clear_record(amct_kernel *kernel) {
  record_kernel *k = (record_kernel *)(void *)kernel;
  for (size_t i = 0; k->names && i < k->count; i++)
    amct_free(k->names[i]);
  amct_free(k->names);
  amct_free(k->path);
}

static amct_status init_record(amct_kernel *kernel, const amct_node_view *node,
                               amct_error *err) {
  record_kernel *k = (record_kernel *)(void *)kernel;
  amct_slice *names = NULL;
  size_t count = 0;
  AMCT_TRY(amct_node_text(node, "record_file", &k->path, err));
  if (amct_node_has(node, "search_n"))
    AMCT_TRY(amct_node_bool(node, "search_n", &k->search_n, err));
  AMCT_TRY(amct_node_slices(node, "layer_names", &names, &count, err));
  k->names = amct_alloc_array(count + 1, sizeof *k->names);
  amct_status status = k->names ? AMCT_OK : amct_fail_memory(err);
  k->count = k->names ? count : 0;
  for (size_t i = 0; i < k->count && status == AMCT_OK; i++) {
    k->names[i] = amct_alloc_array(names[i].size + 1, 1);
    if (!k->names[i])
      status = amct_fail_memory(err);
    else if (names[i].size > 0)
      memcpy(k->names[i], names[i].data, names[i].size);
  }
  amct_free(names);
  return status;
}

/* The vector of a layer, taken apart. False: it is none. `*left`: more batches are to
 * come. */
static bool take_factors(amct_retrained *to, bool *left, bool search_n,
                         const amct_tf_view *view) {
  const float *factors = view->data;
  if (view->count < DATA_FACTORS || !(factors[1] >= INT8_MIN && factors[1] <= INT8_MAX))
    return false;
  to->scale_d = factors[0];
  to->offset_d = (int32_t)factors[1];
  to->scale_w = factors + DATA_FACTORS;
  to->scale_count = view->count - DATA_FACTORS;
  if (!search_n || to->scale_count == 0) return true;
  *left = *left || factors[DATA_FACTORS] > 0;
  to->scale_count = (view->count - SEARCH_FACTORS) / 2;
  to->scale_w = factors + SEARCH_FACTORS;
  to->shift_bit = to->scale_w + to->scale_count;
  return true;
}

static amct_status look_at_factors(const record_kernel *k, TF_OpKernelContext *context,
                                   amct_tf_view *views, amct_retrained *layers,
                                   bool *left, amct_error *err) {
  const int given = tf.TF_NumInputs(context);
  if (given < 0 || (size_t)given != k->count)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "%d inputs for %zu layers", given,
                     k->count);
  for (size_t i = 0; i < k->count; i++) {
    AMCT_TRY(amct_tf_input(context, (int)i, &views[i], err));
    layers[i].name = k->names[i];
    if (!take_factors(&layers[i], left, k->search_n, &views[i]))
      return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                       "layer \"%s\": input %zu holds no factors", k->names[i], i);
  }
  return AMCT_OK;
}

static amct_status compute_record(const amct_kernel *kernel, TF_OpKernelContext *context,
                                  amct_error *err) {
  const record_kernel *k = (const record_kernel *)(const void *)kernel;
  amct_tf_view *views = amct_alloc_array(k->count + 1, sizeof *views), to = {0};
  amct_retrained *layers = amct_alloc_array(k->count + 1, sizeof *layers);
  amct_status status;
  bool left = false;
  if (!views || !layers) {
    status = amct_fail_memory(err);
    goto done;
  }
  if ((status = look_at_factors(k, context, views, layers, &left, err)) != AMCT_OK ||
      (!left &&
       (status = amct_retrained_write(k->path, layers, k->count, err)) != AMCT_OK) ||
      (status = amct_tf_new_shaped(context, NULL, 0, AMCT_DTYPE_INT32, &to, err)) !=
          AMCT_OK)
    goto done;
  *(int32_t *)to.data = left ? 0 : (int32_t)k->count;
  amct_tf_close(&to);
  if (left)
    amct_log(AMCT_LOG_INFO, "retrain", "more batches are to come before %s is written",
             k->path);
  else
    amct_log(AMCT_LOG_INFO, "retrain", "the factors of %zu layers are in %s", k->count,
             k->path);
done:
  for (size_t i = 0; views && i < k->count; i++)
    amct_tf_close(&views[i]);
  amct_free(layers);
  amct_free(views);
  return status;
}

const amct_kernel_class k_retrain_record = {sizeof(record_kernel), init_record,
                                            compute_record, clear_record};
