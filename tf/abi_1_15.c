/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What TensorFlow 1.15's C API lacks, and what stands in for it:
 *   attributes   its kernel constructor gives out int32 and type only, so the NodeDef is
 * serialized by two C++ functions that the framework library exports. Official builds
 * only: where the pointer to the NodeDef lies follows from the old std::string layout,
 * hence the checks. outputs      TF_AllocateOutput allocates and forgets; TF_SetOutput
 * makes it the output. shapes       shape functions can only see input 0 and output 0:
 * our ops have no use for more.
 */
#include "abi.h"

#include <limits.h>

#include "base/alloc.h"

typedef size_t byte_size_fn(const void *message);
typedef bool serialize_fn(const void *message, void *bytes, int size);
typedef const char *version_fn(void);
typedef int string_layout_fn(void); /* 0: the old one, a string is one word */

static byte_size_fn *g_byte_size;
static serialize_fn *g_serialize;

enum {
  NODEDEF_WORD = 3
}; /* of OpKernelConstruction: device type (a string), device, allocator, def */

static bool find(void *slot, const char *name) {
  *(void **)slot = amct_tf_symbol(name);
  return *(void **)slot != NULL;
}

bool amct_tf_1_15_load(const char **reason) {
#if !defined(__x86_64__)
  *reason = "TensorFlow 1.15 is served on x86-64 only";
  return false;
#endif
  version_fn *version = NULL;
  string_layout_fn *string_layout = NULL;
  if (!find(&version, "TF_Version") || strncmp(version(), "1.15.", 5) != 0) {
    *reason =
        "this TensorFlow has no way to give the attributes of a node to C; versions "
        "that work are 1.15 and those from 2.12 on";
    return false;
  }
  if (!find(&string_layout, "_Z17tf_cxx11_abi_flagv") || string_layout() != 0) {
    *reason = "this build of TensorFlow 1.15 is not the official wheel: its strings, and "
              "so its "
              "kernel construction, are laid out differently";
    return false;
  }
  if (!find(&g_byte_size, "_ZNK10tensorflow7NodeDef12ByteSizeLongEv") ||
      !find(&g_serialize, "_ZNK6google8protobuf11MessageLite16SerializeToArrayEPvi")) {
    *reason = "this build of TensorFlow 1.15 hides the functions that serialize a node; "
              "use the official wheel";
    return false;
  }
  return true;
}

bool amct_tf_1_15_nodedef(TF_OpKernelConstruction *construction, uint8_t **bytes,
                          size_t *size, TF_Status *status) {
  const void *const def = ((const void *const *)(const void *)construction)[NODEDEF_WORD];
  *size = g_byte_size(def);
  if (*size > INT_MAX) {
    tf.TF_SetStatus(status, TF_INVALID_ARGUMENT, "a node of over 2 GB");
    return false;
  }
  *bytes = amct_alloc_array(*size + 1, 1);
  if (!*bytes) {
    tf.TF_SetStatus(status, TF_RESOURCE_EXHAUSTED, "out of memory");
    return false;
  }
  if (g_serialize(def, *bytes, (int)*size)) return true;
  tf.TF_SetStatus(status, TF_UNKNOWN, "the node cannot be serialized");
  amct_free(*bytes);
  *bytes = NULL;
  return false;
}

void amct_tf_1_15_set_output(TF_OpKernelContext *context, int index,
                             const TF_Tensor *tensor, TF_Status *status) {
  tf.TF_SetOutput(context, index, tensor, status);
}
