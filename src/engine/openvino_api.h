/* SPDX-License-Identifier: Apache-2.0 */
/* OpenVINO's C API, as far as we use it; struct layouts as in its headers since 2022. */
#ifndef AMCT_OPENVINO_API_H
#define AMCT_OPENVINO_API_H

#include "engine/engine.h"

/* ---- the C API, as far as we use it; struct layouts as in its headers since 2022 ----
 */

typedef struct ov_core ov_core;
typedef struct ov_model ov_model;
typedef struct ov_port ov_port;
typedef struct ov_compiled ov_compiled;
typedef struct ov_request ov_request;
typedef struct ov_tensor ov_tensor;

typedef struct ov_version {
  const char *build, *description;
} ov_version;
typedef struct ov_shape {
  int64_t rank;
  int64_t *dims;
} ov_shape;
typedef struct ov_dimension {
  int64_t min, max;
} ov_dimension;
typedef struct ov_partial_shape {
  ov_dimension rank;
  ov_dimension *dims;
} ov_partial_shape;

/* Element types are numbered otherwise in every version: those of ports are handed on,
 * never looked at. */
// clang-format off
#define OV_API(X)                                                                                      \
  X(const char *, ov_get_last_err_msg, (void))                                                         \
  X(int, ov_get_openvino_version, (ov_version *))                                                      \
  X(void, ov_version_free, (ov_version *))                                                             \
  X(void, ov_free, (const char *))                                                                     \
  X(int, ov_core_create, (ov_core **))                                                                 \
  X(void, ov_core_free, (ov_core *))                                                                   \
  X(int, ov_core_read_model, (const ov_core *, const char *path, const char *weights, ov_model **))    \
  X(void, ov_model_free, (ov_model *))                                                                 \
  X(int, ov_model_inputs_size, (const ov_model *, size_t *))                                           \
  X(int, ov_model_const_input_by_index, (const ov_model *, size_t, ov_port **))                        \
  X(int, ov_model_const_output_by_name, (const ov_model *, const char *, ov_port **))                  \
  X(int, ov_model_reshape_by_port_indexes, (const ov_model *, const size_t *, const ov_partial_shape *, size_t)) \
  X(int, ov_port_get_any_name, (const ov_port *, char **))                                             \
  X(int, ov_port_get_element_type, (const ov_port *, int *))                                           \
  X(int, ov_port_get_partial_shape, (const ov_port *, ov_partial_shape *))                             \
  X(void, ov_partial_shape_free, (ov_partial_shape *))                                                 \
  X(void, ov_output_const_port_free, (ov_port *))                                                      \
  X(int, ov_core_compile_model, (const ov_core *, const ov_model *, const char *device, size_t, ov_compiled **, ...)) \
  X(void, ov_compiled_model_free, (ov_compiled *))                                                     \
  X(int, ov_compiled_model_create_infer_request, (const ov_compiled *, ov_request **))                 \
  X(void, ov_infer_request_free, (ov_request *))                                                       \
  X(int, ov_infer_request_set_input_tensor_by_index, (ov_request *, size_t, const ov_tensor *))        \
  X(int, ov_infer_request_get_tensor, (const ov_request *, const char *, ov_tensor **))                \
  X(int, ov_infer_request_infer, (ov_request *))                                                       \
  X(int, ov_tensor_create_from_host_ptr, (int type, ov_shape, void *, ov_tensor **))                   \
  X(int, ov_tensor_get_shape, (const ov_tensor *, ov_shape *))                                         \
  X(int, ov_shape_free, (ov_shape *))                                                                  \
  X(int, ov_tensor_get_byte_size, (const ov_tensor *, size_t *))                                       \
  X(int, ov_tensor_data, (const ov_tensor *, void **))                                                 \
  X(void, ov_tensor_free, (ov_tensor *))
// clang-format on

typedef struct ov_table {
#define OV_MEMBER(result, name, arguments) result(*name) arguments;
  OV_API(OV_MEMBER)
#undef OV_MEMBER
} ov_table;

/** Finds and loads it. AMCT_NOT_READY: not installed, or too old. */
AMCT_NODISCARD amct_status amct_openvino_load(ov_table *ov,
                                              char version[AMCT_ENGINE_VERSION_BYTES],
                                              amct_packages *packages, amct_error *err);
/** Fails with the library's own words behind `what`. */
amct_status amct_openvino_fail(const ov_table *ov, amct_status status, const char *what,
                               amct_error *err);

/** Nodes that amct_openvino_outputs adds. */
typedef struct amct_openvino_names {
  const char **outputs; /* "name:0", of the tensors that stand for the fetches */
  const char *zero;     /* a scalar input, to be given 0 */
} amct_openvino_names;

/** Makes what is fetched outputs of the job's graph. Names are in the arena. */
AMCT_NODISCARD amct_status amct_openvino_outputs(amct_openvino_names *names,
                                                 const amct_engine_job *job,
                                                 amct_arena *arena, amct_error *err);

#endif
