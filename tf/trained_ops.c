/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of ArqRetrain (weights on their int8 grid), RetrainFactors (the factors of a
 * trained layer as a vector: scale_d, offset_d, scale_w...) and RetrainRecord (all such
 * vectors into the record). */
#include "folding.h"
#include "op_kernels.h"

#include "base/alloc.h"
#include "base/logging.h"
#include "calib/retrained.h"
#include "numeric/fake_quant.h"

/* ---- ArqRetrain ---- */

typedef struct trained_kernel {
  amct_kernel base;
  amct_folding folding;
  bool weighted, channel_wise, may_split, fixed_min;
} trained_kernel;

static void clear_trained(amct_kernel *kernel) {
  amct_folding_clear(&((trained_kernel *)(void *)kernel)->folding);
}

static amct_status init_arq_retrain(amct_kernel *kernel, const amct_node_view *node,
                                    amct_error *err) {
  trained_kernel *k = (trained_kernel *)(void *)kernel;
  AMCT_TRY(amct_node_bool(node, "channel_wise", &k->channel_wise, err));
  return amct_folding_init_axes(&k->folding, node, err);
}

static amct_status fail_layer(const trained_kernel *k, amct_status status,
                              const amct_error *reason, amct_error *err) {
  return amct_fail(err, status, k->folding.layer_name, "layer \"%s\": %s",
                   k->folding.layer_name, reason->text);
}

static amct_status compute_arq_retrain(const amct_kernel *kernel,
                                       TF_OpKernelContext *context, amct_error *err) {
  const trained_kernel *k = (const trained_kernel *)(const void *)kernel;
  amct_tf_view w = {0}, y = {0};
  amct_weight_layout layout;
  amct_error reason = {0};
  amct_status status;
  if ((status = amct_tf_input(context, 0, &w, err)) != AMCT_OK ||
      (status = amct_folding_layout(&k->folding, &w, &layout, err)) != AMCT_OK ||
      (status = amct_tf_new_output(context, 0, &w, w.type, &y, err)) != AMCT_OK)
    goto done;
  status = amct_arq_forward(y.data, w.data, layout, k->channel_wise, &reason);
  if (status != AMCT_OK) status = fail_layer(k, status, &reason, err);
done:
  amct_tf_close(&y);
  amct_tf_close(&w);
  return status;
}

const amct_kernel_class k_arq_retrain = {sizeof(trained_kernel), init_arq_retrain,
                                         compute_arq_retrain, clear_trained};

/* ---- RetrainFactors ---- */

enum { CLIPS = 2, DATA_FACTORS = 2 };

static amct_status init_factors(amct_kernel *kernel, const amct_node_view *node,
                                amct_error *err) {
  trained_kernel *k = (trained_kernel *)(void *)kernel;
  AMCT_TRY(amct_node_bool(node, "weighted", &k->weighted, err));
  AMCT_TRY(amct_node_bool(node, "channel_wise", &k->channel_wise, err));
  AMCT_TRY(amct_node_bool(node, "may_split", &k->may_split, err));
  AMCT_TRY(amct_node_bool(node, "fixed_min", &k->fixed_min, err));
  return k->weighted ? amct_folding_init(&k->folding, node, err)
                     : amct_node_text(node, "layer_name", &k->folding.layer_name, err);
}

/* The grid of the clips, the last two inputs. */
static amct_status find_grid(const trained_kernel *k, TF_OpKernelContext *context,
                             amct_ulq_grid *grid, amct_error *err) {
  const int first = tf.TF_NumInputs(context) - CLIPS;
  amct_tf_view views[CLIPS] = {{0}};
  float clips[CLIPS] = {0};
  amct_status status = AMCT_OK;
  for (int i = 0; i < CLIPS && status == AMCT_OK; i++)
    status = amct_tf_input(context, first + i, &views[i], err);
  if (status == AMCT_OK)
    status = amct_tf_clips(&views[0], &views[1], k->folding.layer_name, clips, err);
  for (int i = 0; i < CLIPS; i++)
    amct_tf_close(&views[i]);
  if (status != AMCT_OK) return status;
  if (clips[0] == 0 && clips[1] == 0)
    return amct_fail(err, AMCT_NOT_READY, NULL,
                     "layer \"%s\": its clips are not initialised: train at least "
                     "batch_num steps first, and restore what was trained",
                     k->folding.layer_name);
  *grid = amct_ulq_grid_of(clips[0], k->fixed_min ? 0.0f : clips[1]);
  return AMCT_OK;
}

static amct_status put_factors(TF_OpKernelContext *context, const amct_ulq_grid *grid,
                               const float *scale_w, size_t count, amct_error *err) {
  const int64_t size = DATA_FACTORS + (int64_t)count;
  amct_tf_view to = {0};
  AMCT_TRY(amct_tf_new_shaped(context, &size, 1, AMCT_DTYPE_FLOAT, &to, err));
  float *factors = to.data;
  factors[0] = grid->scale;
  factors[1] = grid->offset;
  for (size_t i = 0; i < count; i++)
    factors[DATA_FACTORS + i] = scale_w[i];
  amct_tf_close(&to);
  return AMCT_OK;
}

static amct_status weigh(const trained_kernel *k, TF_OpKernelContext *context,
                         const amct_ulq_grid *grid, amct_error *err) {
  amct_fold_inputs in = {0};
  amct_error reason = {0};
  float *scale_w = NULL;
  size_t count = 0, folded = 0;
  amct_status status = amct_fold_inputs_open(&in, &k->folding, context, CLIPS, err);
  if (status != AMCT_OK) goto done;
  const amct_trained trained = {.weights = in.values[0],
                                .layout = in.layout,
                                .per_channel = k->channel_wise,
                                .may_split = k->may_split,
                                .steps = in.steps,
                                .step_count = k->folding.step_count,
                                .scale_d = grid->scale};
  scale_w = amct_alloc_array(in.layout.channels + 1, sizeof *scale_w);
  if (!scale_w) {
    status = amct_fail_memory(err);
    goto done;
  }
  status = amct_trained_scales(scale_w, &count, &folded, &trained, &reason);
  if (status != AMCT_OK) {
    status = fail_layer(k, status, &reason, err);
    goto done;
  }
  if (folded < k->folding.step_count)
    amct_log(
        AMCT_LOG_WARNING, "retrain",
        "layer \"%s\": the values of %zu of %zu steps that follow it cannot be folded",
        k->folding.layer_name, k->folding.step_count - folded, k->folding.step_count);
  status = put_factors(context, grid, scale_w, count, err);
done:
  amct_free(scale_w);
  amct_fold_inputs_close(&in);
  return status;
}

static amct_status compute_factors(const amct_kernel *kernel, TF_OpKernelContext *context,
                                   amct_error *err) {
  const trained_kernel *k = (const trained_kernel *)(const void *)kernel;
  amct_ulq_grid grid;
  AMCT_TRY(find_grid(k, context, &grid, err));
  return k->weighted ? weigh(k, context, &grid, err)
                     : put_factors(context, &grid, NULL, 0, err);
}

const amct_kernel_class k_retrain_factors = {sizeof(trained_kernel), init_factors,
                                             compute_factors, clear_trained};

/* ---- RetrainRecord ---- */

typedef struct record_kernel {
  amct_kernel base;
  char *path;
  char **names;
  size_t count;
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

static amct_status look_at_factors(const record_kernel *k, TF_OpKernelContext *context,
                                   amct_tf_view *views, amct_retrained *layers,
                                   amct_error *err) {
  const int given = tf.TF_NumInputs(context);
  if (given < 0 || (size_t)given != k->count)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "%d inputs for %zu layers", given,
                     k->count);
  for (size_t i = 0; i < k->count; i++) {
    AMCT_TRY(amct_tf_input(context, (int)i, &views[i], err));
    const float *factors = views[i].data;
    if (views[i].count < DATA_FACTORS ||
        !(factors[1] >= INT8_MIN && factors[1] <= INT8_MAX))
      return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                       "layer \"%s\": input %zu holds no factors", k->names[i], i);
    layers[i] = (amct_retrained){k->names[i], factors[0], (int32_t)factors[1],
                                 factors + DATA_FACTORS, views[i].count - DATA_FACTORS};
  }
  return AMCT_OK;
}

static amct_status compute_record(const amct_kernel *kernel, TF_OpKernelContext *context,
                                  amct_error *err) {
  const record_kernel *k = (const record_kernel *)(const void *)kernel;
  amct_tf_view *views = amct_alloc_array(k->count + 1, sizeof *views), to = {0};
  amct_retrained *layers = amct_alloc_array(k->count + 1, sizeof *layers);
  amct_status status;
  if (!views || !layers) {
    status = amct_fail_memory(err);
    goto done;
  }
  if ((status = look_at_factors(k, context, views, layers, err)) != AMCT_OK ||
      (status = amct_retrained_write(k->path, layers, k->count, err)) != AMCT_OK ||
      (status = amct_tf_new_shaped(context, NULL, 0, AMCT_DTYPE_INT32, &to, err)) !=
          AMCT_OK)
    goto done;
  *(int32_t *)to.data = (int32_t)k->count;
  amct_tf_close(&to);
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
