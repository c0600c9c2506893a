/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel of UlqRange: the range of one training batch, for clips whose search is kept in
 * variables (Keras), where it survives checkpoints and replicas agree on it.
 *
 * state is (batches, sum of clip_max, sum of clip_min); y is what this batch adds to it:
 * (1, clip_max, clip_min) by IFMR, or zeros where batch_num batches are in it already,
 * or x is empty.
 */
#include "op_kernels.h"

#include <math.h>

#include "base/alloc.h"
#include "numeric/fake_quant.h"
#include "numeric/float_env.h"
#include "numeric/range.h"

enum { STATE, X, INPUTS };
enum { BATCHES, SUM_MAX, SUM_MIN, STATE_VALUES };

typedef struct range_kernel {
  amct_kernel base;
  char *layer_name;
  bool fixed_min;
  int64_t batch_num;
} range_kernel;

static void clear_range(amct_kernel *kernel) {
  amct_free(((range_kernel *)(void *)kernel)->layer_name);
}

static amct_status init_range(amct_kernel *kernel, const amct_node_view *node,
                              amct_error *err) {
  range_kernel *k = (range_kernel *)(void *)kernel;
  AMCT_TRY(amct_node_text(node, "layer_name", &k->layer_name, err));
  AMCT_TRY(amct_node_bool(node, "fixed_min", &k->fixed_min, err));
  AMCT_TRY(amct_node_int(node, "batch_num", &k->batch_num, err));
  if (k->batch_num > 0) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, node->name, "batch_num is %lld",
                   (long long)k->batch_num);
}

static amct_status find_range(const range_kernel *k, const amct_tf_view *x, float *add,
                              amct_error *err) {
  const amct_range_options options = AMCT_RANGE_DEFAULTS;
  const float *values = x->data;
  amct_range range;
  const size_t bad = amct_find_not_finite(values, x->count);
  if (bad < x->count)
    return amct_fail(err, AMCT_UNSUPPORTED, NULL,
                     "layer \"%s\": a training batch has %s at index %zu of its data",
                     k->layer_name, isnan(values[bad]) ? "NaN" : "infinity", bad);
  amct_sketch *sketch = amct_sketch_new();
  if (!sketch) return amct_fail_memory(err);
  amct_status status = amct_sketch_add(sketch, values, x->count, err);
  if (status == AMCT_OK) status = amct_range_find(&range, sketch, &options, err);
  amct_sketch_free(sketch);
  if (status != AMCT_OK) return status;
  add[BATCHES] = 1;
  amct_ulq_clips(range.scale, range.offset, k->fixed_min, &add[SUM_MAX], &add[SUM_MIN]);
  return AMCT_OK;
}

static amct_status add_range(const range_kernel *k, TF_OpKernelContext *context,
                             const amct_tf_view views[INPUTS], amct_error *err) {
  float add[STATE_VALUES] = {0};
  amct_tf_view to = {0};
  amct_float_env saved;
  if (views[STATE].count != STATE_VALUES)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "layer \"%s\": state has %zu values, not %d", k->layer_name,
                     views[STATE].count, STATE_VALUES);
  const float batches = *(const float *)views[STATE].data;
  if (batches < (float)k->batch_num && views[X].count > 0) {
    amct_float_env_enter(&saved);
    const amct_status status = find_range(k, &views[X], add, err);
    amct_float_env_leave(&saved);
    if (status != AMCT_OK) return status;
  }
  AMCT_TRY(amct_tf_new_output(context, 0, &views[STATE], AMCT_DTYPE_FLOAT, &to, err));
  for (int i = 0; i < STATE_VALUES; i++)
    ((float *)to.data)[i] = add[i];
  amct_tf_close(&to);
  return AMCT_OK;
}

static amct_status compute_range(const amct_kernel *kernel, TF_OpKernelContext *context,
                                 amct_error *err) {
  amct_tf_view views[INPUTS] = {{0}};
  amct_status status = AMCT_OK;
  for (int i = 0; i < INPUTS && status == AMCT_OK; i++)
    status = amct_tf_input(context, i, &views[i], err);
  if (status == AMCT_OK)
    status = add_range((const range_kernel *)(const void *)kernel, context, views, err);
  for (int i = 0; i < INPUTS; i++)
    amct_tf_close(&views[i]);
  return status;
}

const amct_kernel_class k_ulq_range = {sizeof(range_kernel), init_range, compute_range,
                                       clear_range};
