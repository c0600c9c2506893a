/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel_base.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "numeric/half.h"

enum {
  MESSAGE_BYTES = AMCT_ERROR_TEXT_BYTES + AMCT_ERROR_NODE_BYTES,
  CONVERT_LEAST = 1 << 16
};

static int code_of(amct_status status) {
  switch (status) {
  case AMCT_OK:
    return TF_OK;
  case AMCT_OUT_OF_MEMORY:
    return TF_RESOURCE_EXHAUSTED;
  case AMCT_NOT_READY:
    return TF_FAILED_PRECONDITION;
  case AMCT_IO: /* not UNAVAILABLE or ABORTED: training loops start over on those */
    return TF_UNKNOWN;
  default:
    return TF_INVALID_ARGUMENT;
  }
}

/* The message names the node: TensorFlow 1.15 shows our text first, 2.x far below. */
static void set_status(TF_Status *to, const char *name, const amct_error *err) {
  char message[MESSAGE_BYTES];
  snprintf(message, sizeof message, "%s: %s", name ? name : "amct", err->text);
  tf.TF_SetStatus(to, code_of(err->status), message);
}

/* The view of the node under construction; the failure goes to `err` or, where it is
 * TensorFlow's own, to `status`. */
static bool open_node(TF_OpKernelConstruction *construction, amct_node_view *node,
                      TF_Status *status) {
  uint8_t *bytes = NULL;
  size_t size = 0;
  amct_error err = {0};
  if (!amct_tf_nodedef(construction, &bytes, &size, status)) return false;
  if (amct_node_view_open(node, bytes, size, &err) == AMCT_OK) return true;
  set_status(status, node->name, &err);
  return false;
}

void *amct_kernel_create(const amct_kernel_class *class,
                         TF_OpKernelConstruction *construction) {
  amct_error err = {0};
  amct_node_view node = {0};
  TF_Status *status = tf.TF_NewStatus();
  amct_kernel *kernel = amct_alloc_array(1, class->bytes);
  if (!kernel) {
    amct_fail_memory(&err);
    set_status(status, NULL, &err);
  } else if (open_node(construction, &node, status)) {
    kernel->class = class;
    if (class->init(kernel, &node, &err) != AMCT_OK) set_status(status, node.name, &err);
    kernel->name = node.name;
    node.name = NULL; /* moved to the kernel */
  }
  if (tf.TF_GetCode(status) != TF_OK) {
    tf.TF_OpKernelConstruction_Failure(construction, status);
    amct_kernel_delete(kernel);
    kernel = NULL;
  }
  amct_node_view_close(&node);
  tf.TF_DeleteStatus(status);
  return kernel;
}

void amct_kernel_compute(void *kernel, TF_OpKernelContext *context) {
  const amct_kernel *k = kernel;
  amct_error err = {0};
  if (k->class->compute(k, context, &err) == AMCT_OK) return;
  TF_Status *status = tf.TF_NewStatus();
  set_status(status, k->name, &err);
  tf.TF_OpKernelContext_Failure(context, status);
  tf.TF_DeleteStatus(status);
}

void amct_kernel_delete(void *kernel) {
  amct_kernel *k = kernel;
  if (!k) return; /* 1.15 deletes what was never created */
  if (k->class && k->class->clear) k->class->clear(k);
  amct_free(k->name);
  amct_free(k);
}

static amct_status fail_as(const TF_Status *status, amct_error *err) {
  const bool memory = tf.TF_GetCode(status) == TF_RESOURCE_EXHAUSTED;
  return amct_fail(err, memory ? AMCT_OUT_OF_MEMORY : AMCT_INVALID_ARGUMENT, NULL, "%s",
                   tf.TF_Message(status));
}

static void look(amct_tf_view *view) {
  view->rank = tf.TF_NumDims(view->tensor);
  view->type = (amct_dtype)tf.TF_TensorType(view->tensor);
  view->count = 1;
  for (int i = 0; i < view->rank; i++)
    view->count *= (size_t)tf.TF_Dim(view->tensor, i);
  view->data = tf.TF_TensorData(view->tensor);
}

amct_status amct_tf_input(TF_OpKernelContext *context, int index, amct_tf_view *view,
                          amct_error *err) {
  TF_Status *status = tf.TF_NewStatus();
  amct_status result = AMCT_OK;
  tf.TF_GetInput(context, index, &view->tensor, status);
  if (tf.TF_GetCode(status) != TF_OK)
    result = fail_as(status, err);
  else
    look(view);
  tf.TF_DeleteStatus(status);
  return result;
}

/* The view of an output that was asked for, or what came instead. */
static amct_status take_output(amct_tf_view *view, TF_Status *status, amct_error *err) {
  amct_status result = AMCT_OK;
  if (tf.TF_GetCode(status) != TF_OK)
    result = fail_as(status, err);
  else if (!view->tensor)
    result = amct_fail_memory(err);
  else
    look(view);
  tf.TF_DeleteStatus(status);
  return result;
}

amct_status amct_tf_new_output(TF_OpKernelContext *context, int index,
                               const amct_tf_view *like, amct_dtype type,
                               amct_tf_view *view, amct_error *err) {
  TF_Status *status = tf.TF_NewStatus();
  view->tensor = amct_tf_output(context, index, like->tensor, (int)type, status);
  return take_output(view, status, err);
}

amct_status amct_tf_new_shaped(TF_OpKernelContext *context, const int64_t *dims, int rank,
                               amct_dtype type, amct_tf_view *view, amct_error *err) {
  TF_Status *status = tf.TF_NewStatus();
  view->tensor = amct_tf_output_shaped(context, 0, dims, rank, (int)type, status);
  return take_output(view, status, err);
}

amct_status amct_tf_output_over_input(TF_OpKernelContext *context, int index,
                                      amct_tf_view *input, amct_tf_view *view,
                                      amct_error *err) {
  TF_Status *status = tf.TF_NewStatus();
  view->tensor = amct_tf_output_over(context, index, &input->tensor, status);
  return take_output(view, status, err);
}

void amct_tf_close(amct_tf_view *view) {
  if (view->tensor) tf.TF_DeleteTensor(view->tensor);
  view->tensor = NULL;
}

const char *amct_tf_shape_text(const amct_tf_view *view,
                               char text[AMCT_SHAPE_TEXT_BYTES]) {
  size_t at = 0;
  text[at++] = '[';
  for (int i = 0; i < view->rank && at < AMCT_SHAPE_TEXT_BYTES - 24; i++)
    at += (size_t)snprintf(text + at, AMCT_SHAPE_TEXT_BYTES - at, i ? ",%lld" : "%lld",
                           (long long)tf.TF_Dim(view->tensor, i));
  text[at++] = ']';
  text[at] = '\0';
  return text;
}

/* ---- conversion ---- */

typedef struct conversion {
  const amct_tf_view *from;
  float *to;
  size_t shards;
} conversion;

static void convert_part(void *context, size_t shard) {
  const conversion *c = context;
  size_t first;
  const size_t end = amct_pool_part(c->from->count, c->shards, shard, &first) + first;
  if (c->from->type == AMCT_DTYPE_DOUBLE) {
    const double *from = c->from->data;
    for (size_t i = first; i < end; i++)
      c->to[i] = (float)from[i];
  } else {
    const uint16_t *from = c->from->data;
    for (size_t i = first; i < end; i++)
      c->to[i] = amct_half_to_float(from[i]);
  }
}

amct_status amct_tf_floats(const amct_tf_view *view, const float **values, float **owned,
                           amct_error *err) {
  *owned = NULL;
  if (view->type == AMCT_DTYPE_FLOAT) {
    *values = view->data;
    return AMCT_OK;
  }
  if (view->type != AMCT_DTYPE_DOUBLE && view->type != AMCT_DTYPE_HALF)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "an input of type number %d where half, float or double is taken",
                     (int)view->type);
  *owned = amct_alloc_array(view->count + 1, sizeof **owned);
  if (!*owned) return amct_fail_memory(err);
  conversion c = {view, *owned, amct_pool_shards(view->count, CONVERT_LEAST)};
  amct_pool_run(convert_part, &c, c.shards);
  *values = *owned;
  return AMCT_OK;
}
