/* SPDX-License-Identifier: Apache-2.0 */
#include "abi.h"

#include <dlfcn.h>

#include "base/alloc.h"

amct_tf_table tf;

static bool g_is_1_15;

enum { RANK_MAX = 254 }; /* of a tensor in TensorFlow */

void *amct_tf_symbol(const char *name) {
  static const char *const k_libraries[] = {
      "libtensorflow_framework.so.2", "_pywrap_tensorflow_internal.so",
      "libtensorflow_framework.so.1", "libtensorflow_cc.so.2"};
  for (size_t i = 0; i < sizeof k_libraries / sizeof *k_libraries; i++) {
    void *library = dlopen(k_libraries[i], RTLD_LAZY | RTLD_NOLOAD);
    if (!library) continue;
    void *symbol = dlsym(library, name);
    dlclose(library); /* TensorFlow itself keeps it loaded */
    if (symbol) return symbol;
  }
  return dlsym(RTLD_DEFAULT,
               name); /* a program that links TensorFlow under another name */
}

/* Fills the member that stands in `slot`; ISO C has no cast from an object pointer to a
 * function pointer, POSIX has this. */
static bool find(void *slot, const char *name) {
  *(void **)slot = amct_tf_symbol(name);
  return *(void **)slot != NULL;
}

enum need { ALL, NEW, OLD, MORE };

/* NULL, or the first function of `need` that is missing. */
static const char *find_all(enum need need) {
  const char *missing = NULL;
#define AMCT_TF_FIND(when, result, name, arguments)                                      \
  if ((when) == need && !find(&tf.name, #name) && !missing) missing = #name;
  AMCT_TF_API(AMCT_TF_FIND)
#undef AMCT_TF_FIND
  return missing;
}

const char *amct_tf_load(void) {
  if (!amct_tf_symbol("TF_NewKernelBuilder"))
    return "no TensorFlow in this process: import tensorflow before this library is "
           "loaded, "
           "and load it with tf.load_op_library only";
  if (find_all(ALL))
    return "this TensorFlow lacks functions of the C API that the ops need; versions "
           "that "
           "work are 1.15 and those from 2.12 on";
  (void)find_all(MORE);
  if (!find_all(NEW)) return NULL;
  const char *reason = NULL;
  g_is_1_15 = !find_all(OLD) && amct_tf_1_15_load(&reason);
  if (g_is_1_15) return NULL;
  return reason ? reason
                : "this TensorFlow has no way to give the attributes of a node to C; "
                  "versions that work are 1.15 and those from 2.12 on";
}

bool amct_tf_nodedef(TF_OpKernelConstruction *construction, uint8_t **bytes, size_t *size,
                     TF_Status *status) {
  if (g_is_1_15) return amct_tf_1_15_nodedef(construction, bytes, size, status);
  TF_Buffer *buffer = tf.TF_OpKernelConstruction_GetNodeDef(construction, status);
  if (!buffer) return false;
  bool done = tf.TF_GetCode(status) == TF_OK;
  if (done) {
    *size = buffer->length;
    *bytes = amct_alloc_array(buffer->length + 1, 1);
    if (*bytes && *size > 0) memcpy(*bytes, buffer->data, *size);
    if (!*bytes) tf.TF_SetStatus(status, TF_RESOURCE_EXHAUSTED, "out of memory");
    done = *bytes != NULL;
  }
  tf.TF_DeleteBuffer(buffer);
  return done;
}

static size_t bytes_each(int type) {
  return type == 2 ? 8 : type == 19 ? 2 : 4; /* double, half, float */
}

/* Dimensions and number of elements. Returns the rank, or -1 and a status. */
static int read_dims(const TF_Tensor *tensor, int64_t dims[RANK_MAX], size_t *count,
                     TF_Status *status) {
  const int rank = tf.TF_NumDims(tensor);
  *count = 1;
  if (rank < 0 || rank > RANK_MAX) {
    tf.TF_SetStatus(status, TF_INVALID_ARGUMENT, "a tensor of more than 254 dimensions");
    return -1;
  }
  for (int i = 0; i < rank; i++) {
    dims[i] = tf.TF_Dim(tensor, i);
    *count *= (size_t)dims[i]; /* the tensor exists, so its size fits */
  }
  return rank;
}

TF_Tensor *amct_tf_output_over(TF_OpKernelContext *context, int input, TF_Tensor **tensor,
                               TF_Status *status) {
  int64_t dims[RANK_MAX];
  size_t count;
  TF_Tensor *output = NULL;
  int forwarded = 0;
  if (!tf.TF_ForwardInputOrAllocateOutput) {
    output = amct_tf_output(context, 0, *tensor, tf.TF_TensorType(*tensor), status);
    tf.TF_DeleteTensor(*tensor);
  } else {
    const int rank = read_dims(*tensor, dims, &count, status);
    tf.TF_DeleteTensor(*tensor); /* as long as we look, its memory is read by another */
    if (rank >= 0)
      output = tf.TF_ForwardInputOrAllocateOutput(context, &input, 1, 0, dims, rank,
                                                  &forwarded, status);
  }
  *tensor = NULL;
  return output;
}

TF_Tensor *amct_tf_output(TF_OpKernelContext *context, int index, const TF_Tensor *like,
                          int type, TF_Status *status) {
  int64_t dims[RANK_MAX];
  size_t count;
  const int rank = read_dims(like, dims, &count, status);
  return rank < 0 ? NULL
                  : amct_tf_output_shaped(context, index, dims, rank, type, status);
}

TF_Tensor *amct_tf_output_shaped(TF_OpKernelContext *context, int index,
                                 const int64_t *dims, int rank, int type,
                                 TF_Status *status) {
  size_t count = 1;
  for (int i = 0; i < rank; i++)
    count *= (size_t)dims[i];
  /* 1.15's function has no status argument; one too many does no harm in this ABI */
  TF_Tensor *tensor = tf.TF_AllocateOutput(context, index, type, dims, rank,
                                           count * bytes_each(type), status);
  if (!tensor || tf.TF_GetCode(status) != TF_OK) return tensor;
  if (g_is_1_15) amct_tf_1_15_set_output(context, index, tensor, status);
  return tensor;
}
