/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of AscendQuant, AscendDequant, AscendWeightQuant, AscendAntiQuant. */
#include "op_kernels.h"

#include "base/alloc.h"
#include "base/pool.h"
#include "numeric/kernels.h"

enum { SHARD_LEAST = 1 << 15, BITS_INT4 = 4, BITS_MIN = 2, BITS_MAX = 16, RANK = 4 };

/* One run: a flat range of elements, cut into shards. */
typedef struct job {
  const amct_kernel *kernel;
  amct_dtype type; /* of y */
  const void *x;
  void *y;
  size_t count, shards;
  amct_dequant_spec dequant;   /* AscendDequant */
  amct_weight_offsets offsets; /* AscendWeightQuant */
} job;

static amct_status refuse_empty(const amct_tf_view *view, const char *what,
                                amct_error *err) {
  char shape[AMCT_SHAPE_TEXT_BYTES];
  if (view->count > 0) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "input %s is empty: its shape is %s",
                   what, amct_tf_shape_text(view, shape));
}

/* Gets y, over x where it may, and runs `task` over the elements of x, which is closed.
 */
static amct_status run_job(job *j, amct_pool_task *task, TF_OpKernelContext *context,
                           amct_tf_view *x, amct_error *err) {
  amct_tf_view y = {0};
  amct_status status = j->type == x->type
                           ? amct_tf_output_over_input(context, 0, x, &y, err)
                           : amct_tf_new_output(context, 0, x, j->type, &y, err);
  if (status == AMCT_OK) {
    j->x = x->data;
    j->y = y.data;
    j->count = x->count;
    j->shards = amct_pool_shards(x->count, SHARD_LEAST);
    amct_pool_run(task, j, j->shards);
  }
  amct_tf_close(&y);
  return status;
}

/* ---- AscendQuant, AscendAntiQuant ---- */

typedef struct scale_kernel {
  amct_kernel base;
  float scale, offset;
  int bits;
} scale_kernel;

static amct_status init_quant(amct_kernel *kernel, const amct_node_view *node,
                              amct_error *err) {
  scale_kernel *k = (scale_kernel *)(void *)kernel;
  int64_t bits = 8;
  AMCT_TRY(amct_node_float(node, "scale", &k->scale, err));
  AMCT_TRY(amct_node_float(node, "offset", &k->offset, err));
  if (amct_node_has(node, "quant_bits"))
    AMCT_TRY(amct_node_int(node, "quant_bits", &bits, err));
  if (amct_node_has(node, "dst_type")) {
    amct_slice type;
    AMCT_TRY(amct_node_slice(node, "dst_type", &type, err));
    if (amct_slice_equal(type, amct_slice_of("INT4"))) bits = BITS_INT4;
  }
  if (bits < BITS_MIN || bits > BITS_MAX)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, node->name,
                     "quant_bits is %lld, it must be %d to %d", (long long)bits, BITS_MIN,
                     BITS_MAX);
  k->bits = (int)bits;
  return AMCT_OK;
}

static void quant_part(void *context, size_t shard) {
  const job *j = context;
  const scale_kernel *k = (const scale_kernel *)(const void *)j->kernel;
  size_t at;
  const size_t n = amct_pool_part(j->count, j->shards, shard, &at);
  switch (j->type) {
  case AMCT_DTYPE_HALF:
    amct_quant_half((uint16_t *)j->y + at, (const uint16_t *)j->x + at, n, k->scale,
                    k->offset, k->bits);
    break;
  case AMCT_DTYPE_DOUBLE:
    amct_quant_double((double *)j->y + at, (const double *)j->x + at, n, k->scale,
                      k->offset, k->bits);
    break;
  default:
    amct_quant_float((float *)j->y + at, (const float *)j->x + at, n, k->scale, k->offset,
                     k->bits);
  }
}

static void antiquant_part(void *context, size_t shard) {
  const job *j = context;
  const scale_kernel *k = (const scale_kernel *)(const void *)j->kernel;
  size_t at;
  const size_t n = amct_pool_part(j->count, j->shards, shard, &at);
  switch (j->type) {
  case AMCT_DTYPE_HALF:
    amct_antiquant_half((uint16_t *)j->y + at, (const uint16_t *)j->x + at, n, k->scale);
    break;
  case AMCT_DTYPE_DOUBLE:
    amct_antiquant_double((double *)j->y + at, (const double *)j->x + at, n, k->scale);
    break;
  default:
    amct_antiquant_float((float *)j->y + at, (const float *)j->x + at, n, k->scale);
  }
}

static amct_status compute_scaled(const amct_kernel *kernel, amct_pool_task *task,
                                  TF_OpKernelContext *context, amct_error *err) {
  amct_tf_view x = {0};
  amct_status status;
  if ((status = amct_tf_input(context, 0, &x, err)) != AMCT_OK) goto done;
  if ((status = refuse_empty(&x, "x", err)) != AMCT_OK) goto done;
  job j = {.kernel = kernel, .type = x.type};
  status = run_job(&j, task, context, &x, err);
done:
  amct_tf_close(&x);
  return status;
}

static amct_status compute_quant(const amct_kernel *kernel, TF_OpKernelContext *context,
                                 amct_error *err) {
  return compute_scaled(kernel, quant_part, context, err);
}

static amct_status compute_antiquant(const amct_kernel *kernel,
                                     TF_OpKernelContext *context, amct_error *err) {
  return compute_scaled(kernel, antiquant_part, context, err);
}

static amct_status init_antiquant(amct_kernel *kernel, const amct_node_view *node,
                                  amct_error *err) {
  return amct_node_float(node, "scale", &((scale_kernel *)(void *)kernel)->scale, err);
}

/* ---- AscendDequant ---- */

typedef struct dequant_kernel {
  amct_kernel base;
  double area;
  bool nchw;
} dequant_kernel;

static amct_status init_dequant(amct_kernel *kernel, const amct_node_view *node,
                                amct_error *err) {
  dequant_kernel *k = (dequant_kernel *)(void *)kernel;
  int64_t *ksize = NULL;
  size_t count = 0;
  amct_slice format = amct_slice_of("NHWC");
  AMCT_TRY(amct_node_ints(node, "ksize", &ksize, &count, err));
  const bool good = count >= 2 && ksize[0] > 0 && ksize[1] > 0;
  if (good) k->area = (double)ksize[0] * (double)ksize[1];
  amct_free(ksize);
  if (!good)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, node->name,
                     "ksize has %zu values; it takes two, above 0", count);
  if (amct_node_has(node, "data_format"))
    AMCT_TRY(amct_node_slice(node, "data_format", &format, err));
  k->nchw = amct_slice_equal(format, amct_slice_of("NCHW"));
  return AMCT_OK;
}

/* How elements find their channel, checked against the tensor. */
static amct_status find_channels(const dequant_kernel *k, const amct_tf_view *x,
                                 const amct_tf_view *deq, amct_dequant_spec *spec,
                                 amct_error *err) {
  char shape[AMCT_SHAPE_TEXT_BYTES];
  *spec = (amct_dequant_spec){deq->data, deq->count, 1, k->area};
  if (deq->count == 1) return AMCT_OK;
  if (k->nchw ? x->rank < RANK : x->rank < 1)
    return amct_fail(
        err, AMCT_INVALID_ARGUMENT, NULL,
        "x has shape %s; %zu values of deq_scale with data_format %s need %s",
        amct_tf_shape_text(x, shape), deq->count, k->nchw ? "NCHW" : "NHWC",
        k->nchw ? "rank 4 or more" : "a channel axis");
  const int axis = k->nchw ? 1 : x->rank - 1;
  const int64_t channels = tf.TF_Dim(x->tensor, axis);
  if ((size_t)channels != deq->count)
    return amct_fail(
        err, AMCT_INVALID_ARGUMENT, NULL,
        "deq_scale has %zu values for the %lld channels of x, whose shape is %s",
        deq->count, (long long)channels, amct_tf_shape_text(x, shape));
  for (int i = axis + 1; i < x->rank; i++)
    spec->inner *= (size_t)tf.TF_Dim(x->tensor, i);
  return AMCT_OK;
}

static void dequant_part(void *context, size_t shard) {
  const job *j = context;
  size_t at;
  const size_t n = amct_pool_part(j->count, j->shards, shard, &at);
  switch (j->type) {
  case AMCT_DTYPE_HALF:
    amct_dequant_half((uint16_t *)j->y + at, (const uint16_t *)j->x + at, at, n,
                      &j->dequant);
    break;
  case AMCT_DTYPE_DOUBLE:
    amct_dequant_double((double *)j->y + at, (const double *)j->x + at, at, n,
                        &j->dequant);
    break;
  default:
    amct_dequant_float((float *)j->y + at, (const float *)j->x + at, at, n, &j->dequant);
  }
}

static amct_status compute_dequant(const amct_kernel *kernel, TF_OpKernelContext *context,
                                   amct_error *err) {
  const dequant_kernel *k = (const dequant_kernel *)(const void *)kernel;
  amct_tf_view x = {0}, deq = {0};
  job j = {.kernel = kernel};
  amct_status status;
  if ((status = amct_tf_input(context, 0, &x, err)) != AMCT_OK) goto done;
  if ((status = amct_tf_input(context, 1, &deq, err)) != AMCT_OK) goto done;
  if ((status = refuse_empty(&x, "x", err)) != AMCT_OK) goto done;
  if ((status = refuse_empty(&deq, "deq_scale", err)) != AMCT_OK) goto done;
  if ((status = find_channels(k, &x, &deq, &j.dequant, err)) != AMCT_OK) goto done;
  j.type = x.type;
  status = run_job(&j, dequant_part, context, &x, err);
done:
  amct_tf_close(&deq);
  amct_tf_close(&x);
  return status;
}

/* ---- AscendWeightQuant ---- */

typedef struct weight_kernel {
  amct_kernel base;
  amct_dtype type;
} weight_kernel;

static amct_status init_weight(amct_kernel *kernel, const amct_node_view *node,
                               amct_error *err) {
  return amct_node_type(node, "T", &((weight_kernel *)(void *)kernel)->type, err);
}

/* One offset serves all; several run along axis 2 of the weight where offset_w has more
 * than one there, else along axis 3. */
static amct_status find_offsets(const amct_tf_view *x, const amct_tf_view *offset_w,
                                job *j, amct_error *err) {
  char shape[AMCT_SHAPE_TEXT_BYTES], offsets[AMCT_SHAPE_TEXT_BYTES];
  j->offsets = (amct_weight_offsets){offset_w->data, 1, 1};
  if (offset_w->count == 1) return AMCT_OK;
  if (x->rank == RANK && offset_w->rank == RANK) {
    const int axis = tf.TF_Dim(offset_w->tensor, 2) > 1 ? 2 : 3;
    const int64_t channels = tf.TF_Dim(x->tensor, axis);
    if (channels == tf.TF_Dim(offset_w->tensor, axis)) {
      j->offsets.channels = (size_t)channels;
      j->offsets.inner = axis == 2 ? (size_t)tf.TF_Dim(x->tensor, 3) : 1;
      return AMCT_OK;
    }
  }
  return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                   "offset_w of shape %s does not fit x of shape %s",
                   amct_tf_shape_text(offset_w, offsets), amct_tf_shape_text(x, shape));
}

static void weight_part(void *context, size_t shard) {
  const job *j = context;
  size_t at;
  const size_t n = amct_pool_part(j->count, j->shards, shard, &at);
  const int8_t *x = (const int8_t *)j->x + at;
  switch (j->type) {
  case AMCT_DTYPE_HALF:
    amct_weight_dequant_half((uint16_t *)j->y + at, x, at, n, &j->offsets);
    break;
  case AMCT_DTYPE_DOUBLE:
    amct_weight_dequant_double((double *)j->y + at, x, at, n, &j->offsets);
    break;
  default:
    amct_weight_dequant_float((float *)j->y + at, x, at, n, &j->offsets);
  }
}

static amct_status compute_weight(const amct_kernel *kernel, TF_OpKernelContext *context,
                                  amct_error *err) {
  const weight_kernel *k = (const weight_kernel *)(const void *)kernel;
  amct_tf_view x = {0}, offset_w = {0};
  job j = {.kernel = kernel, .type = k->type};
  amct_status status;
  if ((status = amct_tf_input(context, 0, &x, err)) != AMCT_OK) goto done;
  if ((status = amct_tf_input(context, 1, &offset_w, err)) != AMCT_OK) goto done;
  if ((status = refuse_empty(&x, "x", err)) != AMCT_OK) goto done;
  if ((status = refuse_empty(&offset_w, "offset_w", err)) != AMCT_OK) goto done;
  if ((status = find_offsets(&x, &offset_w, &j, err)) != AMCT_OK) goto done;
  status = run_job(&j, weight_part, context, &x, err);
done:
  amct_tf_close(&offset_w);
  amct_tf_close(&x);
  return status;
}

const amct_kernel_class k_ascend_quant = {sizeof(scale_kernel), init_quant, compute_quant,
                                          NULL};
const amct_kernel_class k_ascend_antiquant = {sizeof(scale_kernel), init_antiquant,
                                              compute_antiquant, NULL};
const amct_kernel_class k_ascend_dequant = {sizeof(dequant_kernel), init_dequant,
                                            compute_dequant, NULL};
const amct_kernel_class k_ascend_weight_quant = {sizeof(weight_kernel), init_weight,
                                                 compute_weight, NULL};
