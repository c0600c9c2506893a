/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TensorFlow 2.x, by the C API of its Python package. It runs the graph with the
 * observers in it, whose kernels come from our op library: what they see, and what they
 * write, is what they do in Python.
 */
#include "engine/engine.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/logging.h"

typedef struct TF_Status TF_Status;
typedef struct TF_Graph TF_Graph;
typedef struct TF_Operation TF_Operation;
typedef struct TF_Session TF_Session;
typedef struct TF_SessionOptions TF_SessionOptions;
typedef struct TF_ImportGraphDefOptions TF_ImportGraphDefOptions;
typedef struct TF_Library TF_Library;
typedef struct TF_Tensor TF_Tensor;
typedef struct TF_Buffer TF_Buffer;
typedef struct TF_DeviceList TF_DeviceList;
typedef struct TF_Output {
  TF_Operation *operation;
  int index;
} TF_Output;
typedef void tf_free_data(void *data, size_t bytes, void *argument);

// clang-format off
#define TF_API(X)                                                                                  \
  X(const char *, TF_Version, (void))                                                              \
  X(TF_Status *, TF_NewStatus, (void))                                                             \
  X(void, TF_DeleteStatus, (TF_Status *))                                                          \
  X(int, TF_GetCode, (const TF_Status *))                                                          \
  X(const char *, TF_Message, (const TF_Status *))                                                 \
  X(TF_Library *, TF_LoadLibrary, (const char *path, TF_Status *))                                 \
  X(TF_Graph *, TF_NewGraph, (void))                                                               \
  X(void, TF_DeleteGraph, (TF_Graph *))                                                            \
  X(TF_Buffer *, TF_NewBufferFromString, (const void *, size_t))                                   \
  X(void, TF_DeleteBuffer, (TF_Buffer *))                                                          \
  X(TF_ImportGraphDefOptions *, TF_NewImportGraphDefOptions, (void))                               \
  X(void, TF_DeleteImportGraphDefOptions, (TF_ImportGraphDefOptions *))                            \
  X(void, TF_GraphImportGraphDef, (TF_Graph *, const TF_Buffer *, const TF_ImportGraphDefOptions *, TF_Status *)) \
  X(TF_Operation *, TF_GraphOperationByName, (TF_Graph *, const char *))                           \
  X(TF_SessionOptions *, TF_NewSessionOptions, (void))                                             \
  X(void, TF_DeleteSessionOptions, (TF_SessionOptions *))                                          \
  X(void, TF_SetConfig, (TF_SessionOptions *, const void *proto, size_t, TF_Status *))             \
  X(TF_Session *, TF_NewSession, (TF_Graph *, const TF_SessionOptions *, TF_Status *))             \
  X(TF_DeviceList *, TF_SessionListDevices, (TF_Session *, TF_Status *))                           \
  X(void, TF_DeleteDeviceList, (TF_DeviceList *))                                                  \
  X(int, TF_DeviceListCount, (const TF_DeviceList *))                                              \
  X(const char *, TF_DeviceListType, (const TF_DeviceList *, int, TF_Status *))                    \
  X(void, TF_CloseSession, (TF_Session *, TF_Status *))                                            \
  X(void, TF_DeleteSession, (TF_Session *, TF_Status *))                                           \
  X(void, TF_SessionRun, (TF_Session *, const TF_Buffer *, const TF_Output *inputs, TF_Tensor *const *values, int, \
                          const TF_Output *outputs, TF_Tensor **results, int,                      \
                          const TF_Operation *const *targets, int, TF_Buffer *, TF_Status *))      \
  X(TF_Tensor *, TF_NewTensor, (int type, const int64_t *dims, int rank, void *data, size_t bytes, \
                                tf_free_data *, void *argument))                                   \
  X(void, TF_DeleteTensor, (TF_Tensor *))                                                          \
  X(int, TF_TensorType, (const TF_Tensor *))                                                       \
  X(int, TF_NumDims, (const TF_Tensor *))                                                          \
  X(int64_t, TF_Dim, (const TF_Tensor *, int))                                                     \
  X(void *, TF_TensorData, (const TF_Tensor *))
// clang-format on

typedef struct tf_table {
#define TF_MEMBER(result, name, arguments) result(*name) arguments;
  TF_API(TF_MEMBER)
#undef TF_MEMBER
} tf_table;

static const char *const k_functions[] = {
#define TF_NAME(result, name, arguments) #name,
    TF_API(TF_NAME)
#undef TF_NAME
};

enum { FUNCTIONS = sizeof k_functions / sizeof *k_functions, REASON_BYTES = 600 };

extern const amct_engine_class amct_engine_tensorflow;

typedef struct amct_tensorflow {
  amct_engine base;
  tf_table tf;
  void *ops; /* our op library */
  TF_Status *status;
  TF_Graph *graph;
  TF_Session *session;
  size_t input_count, fetch_count;
  TF_Output *inputs, *fetches;
  TF_Tensor **values, **results;
  amct_arena arena;
} amct_tensorflow;

/* ---- loading ---- */

static const char k_wanted[] = "TensorFlow from 2.12 on is wanted";

/* Older ones have no C API that loads without Python. */
static amct_status fail_absent(amct_packages *packages, amct_error *err) {
  static const char *const k_old[] = {
      "tensorflow_core/libtensorflow_framework.so.1",
      "tensorflow/libtensorflow_framework.so.1",
      "tensorflow/libtensorflow_framework.so.2",
  };
  for (size_t i = 0; i < sizeof k_old / sizeof *k_old; i++) {
    const char *path = amct_packages_file(packages, k_old[i]);
    if (path)
      return amct_fail(err, AMCT_NOT_READY, NULL,
                       "the TensorFlow of %s is too old for this command: %s", path,
                       k_wanted);
  }
  return amct_fail(err, AMCT_NOT_READY, NULL,
                   "TensorFlow is not installed (looked in %s): pip install "
                   "tensorflow-cpu; %s",
                   amct_packages_list(packages), k_wanted);
}

/* Beside this program, as in a build folder, or in the Python package. */
static const char *find_ops(amct_packages *packages, amct_arena *arena) {
  static const char k_name[] = "libamct_tf_ops.so";
  const char *folder = getenv("AMCT_LIB_DIR");
  amct_packages own = {0};
  const char *path = NULL;
  if (folder && amct_packages_find(&own, folder, NULL) == AMCT_OK) {
    path = amct_packages_file(&own, k_name);
    if (!path) path = amct_packages_file(&own, "lib/libamct_tf_ops.so");
  } else if (amct_packages_find_own(&own) == AMCT_OK) {
    path = amct_packages_file(&own, k_name);
  }
  if (path) path = amct_arena_text(arena, path, strlen(path));
  amct_packages_free(&own);
  return path ? path
              : amct_packages_file(packages, "amct_tensorflow/_lib/libamct_tf_ops.so");
}

static amct_status fail_status(const amct_tensorflow *e, amct_status status,
                               const char *what, amct_error *err) {
  const char *text = e->tf.TF_Message(e->status);
  return amct_fail(err, status, NULL, "TensorFlow %s: %.*s", what,
                   (int)strcspn(text, "\n"), text);
}

static bool failed(const amct_tensorflow *e) {
  return e->tf.TF_GetCode(e->status) != 0;
}

static amct_status load_ops(amct_tensorflow *e, amct_packages *packages,
                            amct_error *err) {
  const char *path = find_ops(packages, &e->arena);
  if (!path)
    return amct_fail(err, AMCT_NOT_READY, NULL,
                     "libamct_tf_ops.so, which TensorFlow needs to run the observers, "
                     "is not beside this program and not in %s: name its folder in "
                     "AMCT_LIB_DIR",
                     amct_packages_list(packages));
  (void)e->tf.TF_LoadLibrary(path, e->status);
  if (failed(e)) return fail_status(e, AMCT_NOT_READY, "cannot load the ops", err);
  e->ops = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
  if (e->ops) return AMCT_OK;
  return amct_fail(err, AMCT_NOT_READY, NULL, "%s: %s", path, amct_engine_dlerror());
}

static amct_status load(amct_tensorflow *e, amct_packages *packages, amct_error *err) {
  const char *path = amct_packages_file(packages, "tensorflow/libtensorflow_cc.so.2");
  if (!path) return fail_absent(packages, err);
  (void)setenv("TF_CPP_MIN_LOG_LEVEL", "2", 0); /* errors only, unless asked otherwise */
  void *library = dlopen(path, RTLD_LAZY | RTLD_GLOBAL);
  if (!library)
    return amct_fail(err, AMCT_NOT_READY, NULL, "TensorFlow cannot be loaded: %s",
                     amct_engine_dlerror());
  const char *missing = amct_engine_symbols(library, k_functions, &e->tf, FUNCTIONS);
  if (missing)
    return amct_fail(err, AMCT_NOT_READY, NULL, "%s lacks %s: %s", path, missing,
                     k_wanted);
  snprintf(e->base.version, sizeof e->base.version, "TensorFlow %s (%s)",
           e->tf.TF_Version(), path);
  e->status = e->tf.TF_NewStatus();
  if (!e->status) return amct_fail_memory(err);
  return load_ops(e, packages, err);
}

/* ---- the graph ---- */

static amct_status import(amct_tensorflow *e, const amct_graph *graph, amct_error *err) {
  amct_buffer bytes = {0};
  AMCT_TRY(amct_graph_encode(graph, &bytes, err));
  TF_Buffer *buffer = e->tf.TF_NewBufferFromString(bytes.data, bytes.size);
  amct_buffer_free(&bytes);
  TF_ImportGraphDefOptions *options = e->tf.TF_NewImportGraphDefOptions();
  e->graph = e->tf.TF_NewGraph();
  e->tf.TF_GraphImportGraphDef(e->graph, buffer, options, e->status);
  e->tf.TF_DeleteImportGraphDefOptions(options);
  e->tf.TF_DeleteBuffer(buffer);
  return failed(e) ? fail_status(e, AMCT_UNSUPPORTED, "cannot read the graph", err)
                   : AMCT_OK;
}

/* "name" or "name:1". */
static amct_status find_output(amct_tensorflow *e, const char *tensor, TF_Output *to,
                               amct_error *err) {
  const char *colon = strrchr(tensor, ':');
  const size_t size = colon ? (size_t)(colon - tensor) : strlen(tensor);
  const char *name = amct_arena_text(&e->arena, tensor, size);
  if (!name) return amct_fail_memory(err);
  to->operation = e->tf.TF_GraphOperationByName(e->graph, name);
  to->index = colon ? atoi(colon + 1) : 0;
  if (to->operation) return AMCT_OK;
  return amct_fail(err, AMCT_BAD_GRAPH, name, "TensorFlow finds no node \"%s\"", name);
}

static amct_status find_outputs(amct_tensorflow *e, const amct_engine_job *job,
                                amct_error *err) {
  e->input_count = job->input_count;
  e->fetch_count = job->fetch_count;
  e->inputs = amct_arena_array(&e->arena, e->input_count + 1, sizeof *e->inputs);
  e->fetches = amct_arena_array(&e->arena, e->fetch_count + 1, sizeof *e->fetches);
  e->values = amct_arena_array(&e->arena, e->input_count + 1, sizeof(TF_Tensor *));
  e->results = amct_arena_array(&e->arena, e->fetch_count + 1, sizeof(TF_Tensor *));
  if (!e->inputs || !e->fetches || !e->values || !e->results)
    return amct_fail_memory(err);
  for (size_t i = 0; i < e->input_count; i++)
    AMCT_TRY(find_output(e, job->inputs[i].name, &e->inputs[i], err));
  for (size_t i = 0; i < e->fetch_count; i++)
    AMCT_TRY(find_output(e, job->fetches[i], &e->fetches[i], err));
  return AMCT_OK;
}

/*
 * ConfigProto.graph_options.rewrite_options. Of the graph optimizers, those that change
 * no arithmetic take a third of the first run: memory_optimization is NO_MEM_OPT,
 * disable_tfg_optimizer is set. The others merge and fold as in Python, and so round as
 * there. Without GPUs layout_optimizer is OFF too: it would look, and do nothing.
 */
static const uint8_t k_config[] = {0x52, 7, 0x52, 5, 0x20, 1, 0x80, 2, 1};
static const uint8_t k_config_of_cpu[] = {0x52, 9, 0x52, 7, 0x08, 2, 0x20, 1, 0x80, 2, 1};

static amct_status start_session(amct_tensorflow *e, const uint8_t *config, size_t size,
                                 amct_error *err) {
  TF_SessionOptions *options = e->tf.TF_NewSessionOptions();
  if (size > 0) e->tf.TF_SetConfig(options, config, size, e->status);
  if (!failed(e)) e->session = e->tf.TF_NewSession(e->graph, options, e->status);
  e->tf.TF_DeleteSessionOptions(options);
  return failed(e) ? fail_status(e, AMCT_UNSUPPORTED, "cannot run the graph", err)
                   : AMCT_OK;
}

static void end_session(amct_tensorflow *e) {
  if (!e->session) return;
  e->tf.TF_CloseSession(e->session, e->status);
  e->tf.TF_DeleteSession(e->session, e->status);
  e->session = NULL;
}

static bool runs_on_cpu_alone(const amct_tensorflow *e) {
  TF_DeviceList *devices = e->tf.TF_SessionListDevices(e->session, e->status);
  const int count = failed(e) ? 0 : e->tf.TF_DeviceListCount(devices);
  bool alone = count > 0;
  for (int i = 0; i < count; i++) {
    const char *type = e->tf.TF_DeviceListType(devices, i, e->status);
    alone = alone && !failed(e) && strcmp(type, "CPU") == 0;
  }
  e->tf.TF_DeleteDeviceList(devices);
  return alone;
}

static amct_status open_session(amct_tensorflow *e, bool untuned, amct_error *err) {
  if (untuned) return start_session(e, NULL, 0, err);
  AMCT_TRY(start_session(e, k_config, sizeof k_config, err));
  if (!runs_on_cpu_alone(e)) return AMCT_OK;
  end_session(e);
  return start_session(e, k_config_of_cpu, sizeof k_config_of_cpu, err);
}

static amct_status open_graph(amct_tensorflow *e, const amct_engine_job *job,
                              amct_error *err) {
  AMCT_TRY(load(e, (amct_packages *)(uintptr_t)job->packages, err));
  AMCT_TRY(import(e, job->graph, err));
  AMCT_TRY(find_outputs(e, job, err));
  return open_session(e, job->untuned, err);
}

static void close_tensorflow(amct_engine *engine) {
  amct_tensorflow *e = (amct_tensorflow *)(void *)engine;
  if (!e) return;
  end_session(e);
  if (e->graph) e->tf.TF_DeleteGraph(e->graph);
  if (e->status) e->tf.TF_DeleteStatus(e->status);
  amct_arena_free(&e->arena);
  amct_free(e); /* libraries stay: TensorFlow cannot be unloaded */
}

static amct_status open_tensorflow(amct_engine **out, const amct_engine_job *job,
                                   amct_error *err) {
  amct_tensorflow *e = amct_alloc_array(1, sizeof *e);
  if (!e) return amct_fail_memory(err);
  e->base.class = &amct_engine_tensorflow;
  const amct_status status = open_graph(e, job, err);
  if (status == AMCT_OK)
    *out = &e->base;
  else
    close_tensorflow(&e->base);
  return status;
}

/* ---- running ---- */

static void leave_data(void *data, size_t bytes, void *argument) {
  (void)data, (void)bytes, (void)argument; /* the reader's */
}

static amct_status give_inputs(amct_tensorflow *e, const amct_array *inputs,
                               amct_error *err) {
  for (size_t i = 0; i < e->input_count; i++) {
    const amct_array *x = &inputs[i];
    e->values[i] = e->tf.TF_NewTensor(
        (int)x->dtype, x->shape.dims, x->shape.rank, (void *)(uintptr_t)x->data,
        x->count * amct_dtype_bytes(x->dtype), leave_data, NULL);
    if (!e->values[i]) return amct_fail_memory(err);
  }
  return AMCT_OK;
}

static amct_status show_results(amct_tensorflow *e, amct_engine_visit *visit,
                                void *context, amct_error *err) {
  for (size_t i = 0; i < e->fetch_count && visit; i++) {
    const TF_Tensor *tensor = e->results[i];
    amct_array array = {.dtype = (amct_dtype)e->tf.TF_TensorType(tensor), .count = 1};
    array.shape.rank = e->tf.TF_NumDims(tensor);
    if (array.shape.rank > AMCT_RANK_MAX)
      return amct_fail(err, AMCT_UNSUPPORTED, NULL, "an output has %d dimensions",
                       (int)array.shape.rank);
    for (int k = 0; k < array.shape.rank; k++) {
      array.shape.dims[k] = e->tf.TF_Dim(tensor, k);
      array.count *= (size_t)array.shape.dims[k];
    }
    array.data = e->tf.TF_TensorData(tensor);
    AMCT_TRY(visit(context, i, 0, &array, err));
  }
  return AMCT_OK;
}

static void drop_tensors(const amct_tensorflow *e, TF_Tensor **tensors, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (tensors[i]) e->tf.TF_DeleteTensor(tensors[i]);
    tensors[i] = NULL;
  }
}

static amct_status run_tensorflow(amct_engine *engine, const amct_array *inputs,
                                  amct_engine_visit *visit, void *context,
                                  amct_error *err) {
  amct_tensorflow *e = (amct_tensorflow *)(void *)engine;
  amct_status status = give_inputs(e, inputs, err);
  if (status == AMCT_OK) {
    e->tf.TF_SessionRun(e->session, NULL, e->inputs, e->values, (int)e->input_count,
                        e->fetches, e->results, (int)e->fetch_count, NULL, 0, NULL,
                        e->status);
    status = failed(e) ? fail_status(e, AMCT_UNSUPPORTED, "stopped", err)
                       : show_results(e, visit, context, err);
  }
  drop_tensors(e, e->values, e->input_count);
  drop_tensors(e, e->results, e->fetch_count);
  return status;
}

/* The observers keep their state in the core that their library came with. */
static amct_status finish_tensorflow(amct_engine *engine, const char *record_path,
                                     amct_error *err) {
  const amct_tensorflow *e = (const amct_tensorflow *)(void *)engine;
  amct_status (*flush)(const char *, amct_error *) = NULL;
  void *symbol = dlsym(e->ops, "amct_flush_calibration");
  if (!symbol)
    return amct_fail(err, AMCT_NOT_READY, NULL, "the ops' core has no flush: %s",
                     amct_engine_dlerror());
  memcpy(&flush, &symbol, sizeof flush);
  return flush(record_path, err);
}

const amct_engine_class amct_engine_tensorflow = {"tensorflow",      true,
                                                  open_tensorflow,   run_tensorflow,
                                                  finish_tensorflow, close_tensorflow};
