/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of a node, decoded when asked. False: absent, or of another kind. */
#ifndef AMCT_ATTRS_H
#define AMCT_ATTRS_H

#include "graph/graph.h"

enum { AMCT_RANK_MAX = 8 };

/** Static shape; rank -1 = unknown, a dimension -1 = unknown. */
typedef struct amct_shape {
  int32_t rank;
  int64_t dims[AMCT_RANK_MAX];
} amct_shape;

/** A list attribute of integers; more than the array holds = not found. */
typedef struct amct_ints {
  size_t count;
  int64_t at[16];
} amct_ints;

bool amct_attr_has(const amct_node *node, const char *key);
bool amct_attr_int(const amct_node *node, const char *key, int64_t *value);
bool amct_attr_float(const amct_node *node, const char *key, float *value);
bool amct_attr_bool(const amct_node *node, const char *key, bool *value);
bool amct_attr_text(const amct_node *node, const char *key, amct_slice *value);
bool amct_attr_type(const amct_node *node, const char *key, amct_dtype *value);
bool amct_attr_shape(const amct_node *node, const char *key, amct_shape *value);
bool amct_attr_ints(const amct_node *node, const char *key, amct_ints *value);
/** Encoded AttrValue message. */
bool amct_attr_list(const amct_node *node, const char *key, amct_slice *value);
bool amct_attr_raw(const amct_node *node, const char *key, amct_slice *value);
/** i-th attribute in file order, for printing and copying; false past the end. */
bool amct_attr_at(const amct_node *node, size_t i, amct_slice *key, amct_slice *value);
/** True if the text attribute equals `text`; `absent` if there is no such attribute. */
bool amct_attr_is(const amct_node *node, const char *key, const char *text, bool absent);

/** A constant's value as TensorFlow wrote it: tensor_content or typed values, the last
 * one repeated. */
typedef struct amct_tensor {
  amct_dtype dtype;
  amct_shape shape;   /* fully known */
  size_t count;       /* elements */
  amct_slice message; /* the TensorProto */
  amct_slice
      content; /* tensor_content, little-endian; empty when typed values are used */
} amct_tensor;

/**
 * The `value` of a Const node. AMCT_BAD_FORMAT (content of the wrong length, more values
 * than elements, negative dimension, element count over the address space),
 * AMCT_UNSUPPORTED (rank over 8).
 */
AMCT_NODISCARD amct_status amct_const_tensor(const amct_node *node, amct_tensor *tensor,
                                             amct_error *err);
/** Gives back the memory of a Const's value where it lies in a mapped file; it is read
 * again when it is looked at. */
void amct_const_forget(const amct_node *node);
/** FLOAT, HALF, BFLOAT16 or DOUBLE as float32 [count]: in `arena`, or, where the file has
 * aligned float32, a view that lives as long as the graph. AMCT_UNSUPPORTED: other
 * dtypes; a repeat to over 2^28 elements. */
AMCT_NODISCARD amct_status amct_tensor_floats(const amct_tensor *tensor,
                                              amct_arena *arena, const float **values,
                                              const amct_node *node, amct_error *err);
/** Expands BOOL and the integer types, those of quantized values too, into int64 [count],
 * in `arena`; errors as above. */
AMCT_NODISCARD amct_status amct_tensor_ints(const amct_tensor *tensor, amct_arena *arena,
                                            const int64_t **values, const amct_node *node,
                                            amct_error *err);

#endif
