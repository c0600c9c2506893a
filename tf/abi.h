/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TensorFlow's C API, found at load time: one table of what we call, declared by hand, so
 * that one library builds without TensorFlow and runs in 1.15 and in 2.x. What 1.15 lacks
 * is made up for in abi_1_15.c and nowhere else.
 */
#ifndef AMCT_ABI_H
#define AMCT_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

typedef struct TF_Status TF_Status;
typedef struct TF_Tensor TF_Tensor;
typedef struct TF_KernelBuilder TF_KernelBuilder;
typedef struct TF_OpKernelConstruction TF_OpKernelConstruction;
typedef struct TF_OpKernelContext TF_OpKernelContext;
typedef struct TF_OpDefinitionBuilder TF_OpDefinitionBuilder;
typedef struct TF_ShapeHandle TF_ShapeHandle;
typedef struct TF_ShapeInferenceContext TF_ShapeInferenceContext;
typedef struct TF_Buffer {
  const void *data;
  size_t length;
  void (*data_deallocator)(void *data, size_t length);
} TF_Buffer;

typedef void *tf_create_kernel(TF_OpKernelConstruction *construction);
typedef void tf_compute(void *kernel, TF_OpKernelContext *context);
typedef void tf_delete_kernel(void *kernel);
typedef void tf_infer_shape(TF_ShapeInferenceContext *context, TF_Status *status);

/* TF_Code, as far as we use it. */
enum {
  TF_OK = 0,
  TF_UNKNOWN = 2,
  TF_INVALID_ARGUMENT = 3,
  TF_RESOURCE_EXHAUSTED = 8,
  TF_FAILED_PRECONDITION = 9,
  TF_UNIMPLEMENTED = 12,
};

// clang-format off
/* need, result, name, arguments; need: ALL every version has it, NEW 1.15 does not, OLD only 1.15's way needs it,
   MORE it goes without */
#define AMCT_TF_API(X)                                                                                      \
  X(ALL, TF_Status *, TF_NewStatus, (void))                                                                 \
  X(ALL, void, TF_DeleteStatus, (TF_Status *))                                                              \
  X(ALL, void, TF_SetStatus, (TF_Status *, int code, const char *message))                                  \
  X(ALL, int, TF_GetCode, (const TF_Status *))                                                              \
  X(ALL, const char *, TF_Message, (const TF_Status *))                                                     \
  X(ALL, void, TF_DeleteBuffer, (TF_Buffer *))                                                              \
  X(ALL, TF_OpDefinitionBuilder *, TF_NewOpDefinitionBuilder, (const char *op))                             \
  X(ALL, void, TF_OpDefinitionBuilderAddAttr, (TF_OpDefinitionBuilder *, const char *attr))                 \
  X(ALL, void, TF_OpDefinitionBuilderAddInput, (TF_OpDefinitionBuilder *, const char *input))               \
  X(ALL, void, TF_OpDefinitionBuilderAddOutput, (TF_OpDefinitionBuilder *, const char *output))             \
  X(ALL, void, TF_OpDefinitionBuilderSetIsStateful, (TF_OpDefinitionBuilder *, bool))                       \
  X(ALL, void, TF_OpDefinitionBuilderSetShapeInferenceFunction, (TF_OpDefinitionBuilder *, tf_infer_shape *)) \
  X(ALL, void, TF_RegisterOpDefinition, (TF_OpDefinitionBuilder *, TF_Status *))                            \
  X(ALL, TF_ShapeHandle *, TF_NewShapeHandle, (void))                                                       \
  X(ALL, void, TF_DeleteShapeHandle, (TF_ShapeHandle *))                                                    \
  X(ALL, void, TF_ShapeInferenceContextGetInput, (TF_ShapeInferenceContext *, int, TF_ShapeHandle *, TF_Status *)) \
  X(ALL, void, TF_ShapeInferenceContextSetOutput, (TF_ShapeInferenceContext *, int, TF_ShapeHandle *, TF_Status *)) \
  X(ALL, void, TF_ShapeInferenceContextSetUnknownShape, (TF_ShapeInferenceContext *, TF_Status *))          \
  X(ALL, TF_Buffer *, TF_GetRegisteredKernelsForOp, (const char *op, TF_Status *))                          \
  X(ALL, TF_KernelBuilder *, TF_NewKernelBuilder, (const char *op, const char *device, tf_create_kernel *,  \
                                                   tf_compute *, tf_delete_kernel *))                       \
  X(ALL, void, TF_KernelBuilder_TypeConstraint, (TF_KernelBuilder *, const char *attr, int type, TF_Status *)) \
  X(ALL, void, TF_RegisterKernelBuilder, (const char *name, TF_KernelBuilder *, TF_Status *))               \
  X(ALL, void, TF_OpKernelConstruction_Failure, (TF_OpKernelConstruction *, TF_Status *))                   \
  X(ALL, void, TF_OpKernelContext_Failure, (TF_OpKernelContext *, TF_Status *))                             \
  X(ALL, int, TF_NumInputs, (TF_OpKernelContext *))                                                         \
  X(ALL, void, TF_GetInput, (TF_OpKernelContext *, int, TF_Tensor **, TF_Status *))                         \
  X(ALL, TF_Tensor *, TF_AllocateOutput, (TF_OpKernelContext *, int, int type, const int64_t *dims, int rank, \
                                          size_t bytes, TF_Status *))                                       \
  X(ALL, int, TF_TensorType, (const TF_Tensor *))                                                           \
  X(ALL, int, TF_NumDims, (const TF_Tensor *))                                                              \
  X(ALL, int64_t, TF_Dim, (const TF_Tensor *, int))                                                         \
  X(ALL, size_t, TF_TensorByteSize, (const TF_Tensor *))                                                    \
  X(ALL, void *, TF_TensorData, (const TF_Tensor *))                                                        \
  X(ALL, void, TF_DeleteTensor, (TF_Tensor *))                                                              \
  X(NEW, TF_Buffer *, TF_OpKernelConstruction_GetNodeDef, (TF_OpKernelConstruction *, TF_Status *))         \
  X(MORE, TF_Tensor *, TF_ForwardInputOrAllocateOutput, (TF_OpKernelContext *, const int *inputs, int input_count, \
                                                         int output, const int64_t *dims, int rank,        \
                                                         int *forwarded, TF_Status *))                     \
  X(OLD, void, TF_SetOutput, (TF_OpKernelContext *, int, const TF_Tensor *, TF_Status *))
// clang-format on

/** The functions, by their own names without TF_'s table around them: tf.TF_NewStatus().
 */
typedef struct amct_tf_table {
#define AMCT_TF_MEMBER(need, result, name, arguments) result(*name) arguments;
  AMCT_TF_API(AMCT_TF_MEMBER)
#undef AMCT_TF_MEMBER
} amct_tf_table;

extern amct_tf_table tf;

/**
 * Fills the table. NULL on success, else why this process has no TensorFlow that we can
 * serve, in words that say what to do. Static storage.
 */
const char *amct_tf_load(void);

/** Address of a symbol in whichever of TensorFlow's libraries is loaded; NULL. */
void *amct_tf_symbol(const char *name);

/** The serialized NodeDef of the kernel under construction, to be freed with amct_free.
 * False: status says why. */
bool amct_tf_nodedef(TF_OpKernelConstruction *construction, uint8_t **bytes, size_t *size,
                     TF_Status *status);

/** Allocates output `index` and makes it the kernel's output. NULL on failure. Delete the
 * tensor after filling it. */
TF_Tensor *amct_tf_output(TF_OpKernelContext *context, int index, const TF_Tensor *like,
                          int type, TF_Status *status);

/** The same with the shape given. */
TF_Tensor *amct_tf_output_shaped(TF_OpKernelContext *context, int index,
                                 const int64_t *dims, int rank, int type,
                                 TF_Status *status);

/** Output 0 of the type and shape of an input, in its memory where nobody else reads that
 * any more. `*tensor`, a look at that input, is deleted in any case; its data stay
 * readable. */
TF_Tensor *amct_tf_output_over(TF_OpKernelContext *context, int input, TF_Tensor **tensor,
                               TF_Status *status);

/* abi_1_15.c */

/** True where this process runs a 1.15 that we can serve; `*reason` (may stay NULL) says
 * why not. */
bool amct_tf_1_15_load(const char **reason);
bool amct_tf_1_15_nodedef(TF_OpKernelConstruction *construction, uint8_t **bytes,
                          size_t *size, TF_Status *status);
void amct_tf_1_15_set_output(TF_OpKernelContext *context, int index,
                             const TF_Tensor *tensor, TF_Status *status);

#endif
