/* SPDX-License-Identifier: Apache-2.0 */
/* Field numbers of the TensorFlow messages that we read, and its data types. */
#ifndef AMCT_GRAPHDEF_H
#define AMCT_GRAPHDEF_H

#include <stddef.h>
#include <stdint.h>

enum amct_graphdef_field {
  GRAPH_NODE = 1,
  GRAPH_LIBRARY = 2,
  GRAPH_VERSION = 3,
  GRAPH_VERSIONS = 4
};
enum amct_nodedef_field {
  NODE_NAME = 1,
  NODE_OP = 2,
  NODE_INPUT = 3,
  NODE_DEVICE = 4,
  NODE_ATTR = 5
};
enum amct_mapentry_field { ENTRY_KEY = 1, ENTRY_VALUE = 2 };
enum amct_attrvalue_field {
  ATTR_LIST = 1,
  ATTR_S = 2,
  ATTR_I = 3,
  ATTR_F = 4,
  ATTR_B = 5,
  ATTR_TYPE = 6,
  ATTR_SHAPE = 7,
  ATTR_TENSOR = 8,
  ATTR_PLACEHOLDER = 9,
  ATTR_FUNC = 10,
};
/* AttrValue.ListValue uses the same numbers 2..8 and 9 for func */
enum amct_tensordef_field {
  TENSOR_DTYPE = 1,
  TENSOR_SHAPE = 2,
  TENSOR_VERSION = 3,
  TENSOR_CONTENT = 4,
  TENSOR_HALF_VAL = 13,
  TENSOR_FLOAT_VAL = 5,
  TENSOR_DOUBLE_VAL = 6,
  TENSOR_INT_VAL = 7,
  TENSOR_STRING_VAL = 8,
  TENSOR_INT64_VAL = 10,
  TENSOR_BOOL_VAL = 11,
  TENSOR_UINT32_VAL = 16,
  TENSOR_UINT64_VAL = 17,
};
enum amct_shapedef_field { SHAPE_DIM = 2, SHAPE_UNKNOWN_RANK = 3 };
enum amct_dimdef_field { DIM_SIZE = 1, DIM_NAME = 2 };
enum amct_library_field { LIBRARY_FUNCTION = 1 };
enum amct_functiondef_field { FUNCTION_SIGNATURE = 1, FUNCTION_NODE = 3 };

/* name, number in types.proto, bytes each (0: not fixed) */
// clang-format off
#define AMCT_DTYPE_MAP(X) \
  X(FLOAT, 1, 4) X(DOUBLE, 2, 8) X(INT32, 3, 4) X(UINT8, 4, 1) X(INT16, 5, 2) \
  X(INT8, 6, 1) X(STRING, 7, 0) X(INT64, 9, 8) X(BOOL, 10, 1) X(BFLOAT16, 14, 2) \
  X(QINT8, 11, 1) X(QUINT8, 12, 1) X(QINT16, 15, 2) X(QUINT16, 16, 2) \
  X(UINT16, 17, 2) X(HALF, 19, 2) X(RESOURCE, 20, 0) X(UINT32, 22, 4) X(UINT64, 23, 8)
// clang-format on

typedef enum amct_dtype {
  AMCT_DTYPE_INVALID = 0,
#define AMCT_DTYPE_ENUM(name, number, size) AMCT_DTYPE_##name = number,
  AMCT_DTYPE_MAP(AMCT_DTYPE_ENUM)
#undef AMCT_DTYPE_ENUM
      AMCT_DTYPE_REF = 100, /* added to a type: a reference to a variable */
} amct_dtype;

/** Bytes of one element; 0 for string, resource and unknown numbers. */
size_t amct_dtype_bytes(amct_dtype dtype);
/** "FLOAT", "HALF", ...; "?" for unknown numbers. */
const char *amct_dtype_name(amct_dtype dtype);
/** The inverse of amct_dtype_name; AMCT_DTYPE_INVALID where there is none. */
amct_dtype amct_dtype_from_name(const char *name);

#endif
