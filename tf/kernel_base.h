/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels share: construction from attributes, tensors, errors that name the
 * node. */
#ifndef AMCT_KERNEL_BASE_H
#define AMCT_KERNEL_BASE_H

#include "abi.h"
#include "nodedef.h"

typedef struct amct_kernel amct_kernel;

/** Kind of a kernel. `init` reads attributes into a zeroed kernel of `bytes`; `clear`
 * frees what it made, also after a failed init. A kernel does not change after init:
 * several runs compute with it at once. */
typedef struct amct_kernel_class {
  size_t bytes;
  amct_status (*init)(amct_kernel *kernel, const amct_node_view *node, amct_error *err);
  amct_status (*compute)(const amct_kernel *kernel, TF_OpKernelContext *context,
                         amct_error *err);
  void (*clear)(amct_kernel *kernel);
} amct_kernel_class;

/** First member of every kernel. */
struct amct_kernel {
  const amct_kernel_class *class;
  char *name; /* of the node */
};

/* What TensorFlow calls; create is one line for each class. */
void *amct_kernel_create(const amct_kernel_class *class,
                         TF_OpKernelConstruction *construction);
void amct_kernel_compute(void *kernel, TF_OpKernelContext *context);
void amct_kernel_delete(void *kernel);

/** A borrowed look at a tensor. */
typedef struct amct_tf_view {
  TF_Tensor *tensor;
  void *data;
  size_t count; /* elements */
  int rank;
  amct_dtype type;
} amct_tf_view;

enum { AMCT_SHAPE_TEXT_BYTES = 128 };

/** Input `index`, to be given to amct_tf_close. */
AMCT_NODISCARD amct_status amct_tf_input(TF_OpKernelContext *context, int index,
                                         amct_tf_view *view, amct_error *err);
/** Output `index` of type `type`, shaped as `like`, to be given to amct_tf_close when it
 * is filled. */
AMCT_NODISCARD amct_status amct_tf_new_output(TF_OpKernelContext *context, int index,
                                              const amct_tf_view *like, amct_dtype type,
                                              amct_tf_view *view, amct_error *err);
/** Output 0 of this shape, to be given to amct_tf_close when it is filled. */
AMCT_NODISCARD amct_status amct_tf_new_shaped(TF_OpKernelContext *context,
                                              const int64_t *dims, int rank,
                                              amct_dtype type, amct_tf_view *view,
                                              amct_error *err);
/** Output 0 of the type and shape of input `index`, over its memory where nobody else
 * reads that. `input`, which views it, is closed; its data and count stay good for this
 * compute. */
AMCT_NODISCARD amct_status amct_tf_output_over_input(TF_OpKernelContext *context,
                                                     int index, amct_tf_view *input,
                                                     amct_tf_view *view, amct_error *err);
/** Zero-initialised views are fine. */
void amct_tf_close(amct_tf_view *view);

/** "[2,3]", for messages. */
const char *amct_tf_shape_text(const amct_tf_view *view,
                               char text[AMCT_SHAPE_TEXT_BYTES]);

/** The elements of a half, float or double tensor as float32: the tensor's own memory for
 * float32, else in memory that *owned gets (freed with amct_free). */
AMCT_NODISCARD amct_status amct_tf_floats(const amct_tf_view *view, const float **values,
                                          float **owned, amct_error *err);

#endif
