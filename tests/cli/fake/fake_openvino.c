/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library that looks like OpenVINO's, for a model that reads x [?,4] and nothing else:
 * each output of it is [1,4] of numbers. AMCT_FAKE names the function that fails, or what
 * else is wrong.
 */
#include "engine/openvino_api.h"

#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define DECLARE(result, name, arguments) EXPORT result name arguments;
OV_API(DECLARE)

enum { VALUES = 4, FLOAT = 5 };

static bool is(const char *what) {
  const char *wanted = getenv("AMCT_FAKE");
  return wanted && strcmp(wanted, what) == 0;
}

/* Everything that is handed out is memory that its free function gets back. */
static int make(void *to, size_t bytes, const char *function) {
  void *made = is(function) ? NULL : calloc(1, bytes);
  memcpy(to, &made, sizeof made);
  return made ? 0 : -1;
}

static int fails(const char *function) {
  return is(function) ? -1 : 0;
}

/* ---- the library ---- */

const char *ov_get_last_err_msg(void) {
  if (is("silence")) return NULL;
  return "Exception from src/somewhere.cpp:7:\nCheck 'false' failed\nit is a fake,\nand "
         "says so\n";
}

int ov_get_openvino_version(ov_version *version) {
  *version = (ov_version){is("age") ? "2022.3.0-1-old" : "2026.4.1-1-fake", "OpenVINO"};
  return fails(__func__);
}

void ov_version_free(ov_version *version) {
  *version = (ov_version){NULL, NULL};
}

void ov_free(const char *text) {
  free((void *)(uintptr_t)text);
}

int ov_core_create(ov_core **core) {
  return make(core, 1, is("silence") ? "silence" : __func__);
}

void ov_core_free(ov_core *core) {
  free(core);
}

/* ---- the model ---- */

int ov_core_read_model(const ov_core *core, const char *path, const char *weights,
                       ov_model **model) {
  (void)core, (void)path, (void)weights;
  return make(model, 1, __func__);
}

void ov_model_free(ov_model *model) {
  free(model);
}

int ov_model_inputs_size(const ov_model *model, size_t *size) {
  (void)model;
  *size = is("no input") ? 0 : 1;
  return fails(__func__);
}

int ov_model_const_input_by_index(const ov_model *model, size_t index, ov_port **port) {
  (void)model, (void)index;
  return make(port, 1, __func__);
}

int ov_model_const_output_by_name(const ov_model *model, const char *name,
                                  ov_port **port) {
  (void)model, (void)name;
  return make(port, 1, __func__);
}

int ov_model_reshape_by_port_indexes(const ov_model *model, const size_t *ports,
                                     const ov_partial_shape *shapes, size_t count) {
  (void)model, (void)ports, (void)shapes, (void)count;
  return fails(__func__);
}

/* ---- ports ---- */

int ov_port_get_any_name(const ov_port *port, char **name) {
  (void)port;
  const int status = make(name, 8, __func__);
  if (status == 0) memcpy(*name, is("other input") ? "y:0" : "x:0", 4);
  return status;
}

int ov_port_get_element_type(const ov_port *port, int *type) {
  (void)port;
  *type = FLOAT;
  return fails(__func__);
}

int ov_port_get_partial_shape(const ov_port *port, ov_partial_shape *shape) {
  (void)port;
  shape->rank = (ov_dimension){2, 2};
  const int status = make(&shape->dims, 2 * sizeof *shape->dims, __func__);
  if (status == 0) shape->dims[0] = (ov_dimension){0, INT64_MAX};
  if (status == 0) shape->dims[1] = (ov_dimension){VALUES, VALUES};
  return status;
}

void ov_partial_shape_free(ov_partial_shape *shape) {
  free(shape->dims);
  shape->dims = NULL;
}

void ov_output_const_port_free(ov_port *port) {
  free(port);
}

/* ---- running ---- */

int ov_core_compile_model(const ov_core *core, const ov_model *model, const char *device,
                          size_t properties, ov_compiled **compiled, ...) {
  (void)core, (void)model, (void)device, (void)properties;
  return make(compiled, 1, __func__);
}

void ov_compiled_model_free(ov_compiled *compiled) {
  free(compiled);
}

int ov_compiled_model_create_infer_request(const ov_compiled *compiled,
                                           ov_request **request) {
  (void)compiled;
  return make(request, 1, __func__);
}

void ov_infer_request_free(ov_request *request) {
  free(request);
}

int ov_infer_request_set_input_tensor_by_index(ov_request *request, size_t index,
                                               const ov_tensor *tensor) {
  (void)request, (void)index, (void)tensor;
  return fails(__func__);
}

int ov_infer_request_get_tensor(const ov_request *request, const char *name,
                                ov_tensor **tensor) {
  (void)request, (void)name;
  return make(tensor, VALUES * sizeof(float), __func__);
}

int ov_infer_request_infer(ov_request *request) {
  (void)request;
  return fails(__func__);
}

/* ---- tensors, which are their values ---- */

int ov_tensor_create_from_host_ptr(int type, ov_shape shape, void *data,
                                   ov_tensor **tensor) {
  (void)type, (void)shape, (void)data;
  return make(tensor, VALUES * sizeof(float), __func__);
}

int ov_tensor_get_shape(const ov_tensor *tensor, ov_shape *shape) {
  (void)tensor;
  shape->rank = 2;
  const int status = make(&shape->dims, 2 * sizeof *shape->dims, __func__);
  if (status == 0) shape->dims[0] = 1;
  if (status == 0) shape->dims[1] = VALUES;
  return status;
}

int ov_shape_free(ov_shape *shape) {
  free(shape->dims);
  return 0;
}

int ov_tensor_get_byte_size(const ov_tensor *tensor, size_t *bytes) {
  (void)tensor;
  *bytes = VALUES * (is("doubles") ? sizeof(double) : sizeof(float));
  return fails(__func__);
}

int ov_tensor_data(const ov_tensor *tensor, void **data) {
  float *values = (float *)(uintptr_t)tensor;
  for (int i = 0; i < VALUES; i++)
    values[i] = (float)i;
  *data = values;
  return fails(__func__);
}

void ov_tensor_free(ov_tensor *tensor) {
  free(tensor);
}
