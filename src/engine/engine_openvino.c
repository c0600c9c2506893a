/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenVINO, by the C API of its Python package. The graph goes to it as a file that is in
 * memory only. Where the graph lets samples go one by one, they do: their tensors are
 * small, and still in the cache when they are looked at.
 */
#include "engine/openvino_api.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/pool.h"

extern const amct_engine_class amct_engine_openvino;

typedef struct amct_openvino {
  amct_engine base;
  ov_table ov;
  ov_core *core;
  ov_model *model; /* as read; NULL once it has the one shape that it will be run with */
  ov_compiled *compiled;
  ov_request *request;
  size_t input_count, fetch_count;
  struct {
    size_t port; /* of the model; SIZE_MAX: what is fetched does not need it */
    int type;
    amct_shape shape; /* that the model is compiled for */
  } * inputs;         /* the last is amct_openvino_names.zero */
  float zero;
  amct_openvino_names names;
  amct_arena arena;
} amct_openvino;

/* ---- reading ---- */

static amct_status write_all(int fd, const amct_buffer *bytes, amct_error *err) {
  for (size_t done = 0; done < bytes->size;) {
    const ssize_t n = write(fd, bytes->data + done, bytes->size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return amct_fail_io(err, "the graph for OpenVINO", n < 0 ? errno : EIO);
    done += (size_t)n;
  }
  return AMCT_OK;
}

static amct_status read_model(amct_openvino *e, const amct_graph *graph,
                              amct_error *err) {
  amct_buffer bytes = {0};
  char path[64];
  /* by number: memfd_create is in no glibc before 2.27 */
  const int fd = (int)syscall(SYS_memfd_create, "amct.pb", MFD_CLOEXEC);
  if (fd < 0) return amct_fail_io(err, "the graph for OpenVINO", errno);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  amct_status status = amct_graph_encode(graph, &bytes, err);
  if (status == AMCT_OK) status = write_all(fd, &bytes, err);
  amct_buffer_free(&bytes);
  if (status == AMCT_OK && e->ov.ov_core_read_model(e->core, path, NULL, &e->model) != 0)
    status = amct_openvino_fail(&e->ov, AMCT_UNSUPPORTED, "cannot read the graph", err);
  close(fd);
  return status;
}

/* ---- inputs, and whether samples may go one by one ---- */

static bool is_tensor_of(const char *tensor, const char *node) {
  const size_t size = strlen(node);
  return strncmp(tensor, node, size) == 0 &&
         (!tensor[size] || strcmp(tensor + size, ":0") == 0);
}

static amct_status match_input(amct_openvino *e, const amct_engine_job *job, size_t port,
                               bool *varies, amct_error *err) {
  ov_port *p = NULL;
  char *name = NULL;
  ov_partial_shape shape = {{0, 0}, NULL};
  amct_status status = AMCT_OK;
  if (e->ov.ov_model_const_input_by_index(e->model, port, &p) != 0 ||
      e->ov.ov_port_get_any_name(p, &name) != 0 ||
      e->ov.ov_port_get_partial_shape(p, &shape) != 0) {
    status =
        amct_openvino_fail(&e->ov, AMCT_UNSUPPORTED, "does not tell the inputs", err);
    goto done;
  }
  size_t i = 0;
  while (i < job->input_count && !is_tensor_of(name, job->inputs[i].name))
    i++;
  const bool is_zero = i == job->input_count && is_tensor_of(name, e->names.zero);
  if (i == job->input_count && !is_zero) {
    status = amct_fail(err, AMCT_INVALID_ARGUMENT, name,
                       "data: none for input \"%s\", which OpenVINO wants", name);
    goto done;
  }
  *varies = *varies &&
            (is_zero || (shape.rank.min > 0 && shape.dims[0].min != shape.dims[0].max));
  e->inputs[i].port = port;
  if (e->ov.ov_port_get_element_type(p, &e->inputs[i].type) != 0)
    status =
        amct_openvino_fail(&e->ov, AMCT_UNSUPPORTED, "does not tell the inputs", err);
done:
  if (shape.dims) e->ov.ov_partial_shape_free(&shape);
  if (name) e->ov.ov_free(name);
  if (p) e->ov.ov_output_const_port_free(p);
  return status;
}

static amct_status match_inputs(amct_openvino *e, const amct_engine_job *job,
                                bool *varies, amct_error *err) {
  size_t ports = 0;
  e->inputs = amct_arena_array(&e->arena, job->input_count + 1, sizeof *e->inputs);
  if (!e->inputs) return amct_fail_memory(err);
  e->input_count = job->input_count;
  if (e->ov.ov_model_inputs_size(e->model, &ports) != 0)
    return amct_openvino_fail(&e->ov, AMCT_UNSUPPORTED, "does not tell the inputs", err);
  for (size_t i = 0; i <= e->input_count; i++)
    e->inputs[i].port = SIZE_MAX;
  for (size_t i = 0; i < ports; i++)
    AMCT_TRY(match_input(e, job, i, varies, err));
  for (size_t i = 0; i < e->input_count; i++)
    if (e->inputs[i].port == SIZE_MAX && amct_graph_find(job->graph, job->inputs[i].name))
      return amct_fail(err, AMCT_UNSUPPORTED, job->inputs[i].name,
                       "OpenVINO has no input \"%s\": it takes its default",
                       job->inputs[i].name);
  return AMCT_OK;
}

/* A tensor whose first axis is not the batch's mixes samples. */
static amct_status check_outputs(amct_openvino *e, bool *varies, amct_error *err) {
  for (size_t i = 0; i < e->fetch_count && *varies; i++) {
    ov_port *port = NULL;
    ov_partial_shape shape = {{0, 0}, NULL};
    if (e->ov.ov_model_const_output_by_name(e->model, e->names.outputs[i], &port) != 0)
      return amct_openvino_fail(&e->ov, AMCT_UNSUPPORTED, "does not tell the outputs",
                                err);
    *varies = e->ov.ov_port_get_partial_shape(port, &shape) == 0 && shape.dims &&
              shape.rank.min > 0 && shape.dims[0].min != shape.dims[0].max;
    if (shape.dims) e->ov.ov_partial_shape_free(&shape);
    e->ov.ov_output_const_port_free(port);
  }
  return AMCT_OK;
}

/* ---- compiling ---- */

static void drop_compiled(amct_openvino *e) {
  if (e->request) e->ov.ov_infer_request_free(e->request);
  e->request = NULL;
  if (e->compiled) e->ov.ov_compiled_model_free(e->compiled);
  e->compiled = NULL;
}

static amct_status set_shapes(amct_openvino *e, amct_error *err) {
  size_t *ports = amct_alloc_array(e->input_count + 1, sizeof *ports);
  ov_partial_shape *shapes = amct_alloc_array(e->input_count + 1, sizeof *shapes);
  ov_dimension(*dims)[AMCT_RANK_MAX] = amct_alloc_array(e->input_count + 1, sizeof *dims);
  amct_status status = ports && shapes && dims ? AMCT_OK : amct_fail_memory(err);
  size_t count = 0;
  for (size_t i = 0; i < e->input_count && status == AMCT_OK; i++) {
    const amct_shape *shape = &e->inputs[i].shape;
    if (e->inputs[i].port == SIZE_MAX) continue;
    for (int k = 0; k < shape->rank; k++)
      dims[i][k] = (ov_dimension){shape->dims[k], shape->dims[k]};
    ports[count] = e->inputs[i].port;
    shapes[count++] = (ov_partial_shape){{shape->rank, shape->rank}, dims[i]};
  }
  if (status == AMCT_OK &&
      e->ov.ov_model_reshape_by_port_indexes(e->model, ports, shapes, count) != 0)
    status = amct_openvino_fail(&e->ov, AMCT_UNSUPPORTED,
                                "cannot give the graph the shape of the data", err);
  amct_free(dims);
  amct_free(shapes);
  amct_free(ports);
  return status;
}

static amct_status set_input(const amct_openvino *e, size_t i, ov_shape shape,
                             const void *data, amct_error *err) {
  void *only_read = (void *)(uintptr_t)data;
  ov_tensor *tensor = NULL;
  int wrong =
      e->ov.ov_tensor_create_from_host_ptr(e->inputs[i].type, shape, only_read, &tensor);
  if (wrong == 0)
    wrong = e->ov.ov_infer_request_set_input_tensor_by_index(e->request,
                                                             e->inputs[i].port, tensor);
  if (tensor) e->ov.ov_tensor_free(tensor);
  return wrong
             ? amct_openvino_fail(&e->ov, AMCT_UNSUPPORTED, "does not take the data", err)
             : AMCT_OK;
}

/* For inputs of these shapes, but for the samples where they go one by one. */
static amct_status compile(amct_openvino *e, const amct_array *inputs, amct_error *err) {
  char threads[24];
  drop_compiled(e);
  for (size_t i = 0; i < e->input_count; i++) {
    e->inputs[i].shape = inputs[i].shape;
    if (e->base.rows) e->inputs[i].shape.dims[0] = e->base.rows;
  }
  AMCT_TRY(set_shapes(e, err));
  snprintf(threads, sizeof threads, "%zu", amct_pool_threads());
  if (e->ov.ov_core_compile_model(e->core, e->model, "CPU", 8, &e->compiled,
                                  "NUM_STREAMS", "1", "INFERENCE_NUM_THREADS", threads,
                                  "INFERENCE_PRECISION_HINT", "f32", "ENABLE_CPU_PINNING",
                                  "NO") != 0)
    return amct_openvino_fail(&e->ov, AMCT_UNSUPPORTED, "cannot compile the graph", err);
  if (e->ov.ov_compiled_model_create_infer_request(e->compiled, &e->request) != 0)
    return amct_openvino_fail(&e->ov, AMCT_UNSUPPORTED, "cannot run the graph", err);
  return set_input(e, e->input_count, (ov_shape){0, NULL}, &e->zero, err);
}

static void drop_model(amct_openvino *e) {
  if (e->model) e->ov.ov_model_free(e->model);
  e->model = NULL;
}

static amct_status open_graph(amct_openvino *e, const amct_engine_job *job,
                              amct_error *err) {
  bool varies = job->splits;
  amct_packages *packages = (amct_packages *)(uintptr_t)job->packages;
  AMCT_TRY(amct_openvino_load(&e->ov, e->base.version, packages, err));
  if (e->ov.ov_core_create(&e->core) != 0)
    return amct_openvino_fail(&e->ov, AMCT_NOT_READY, "does not start", err);
  AMCT_TRY(amct_openvino_outputs(&e->names, job, &e->arena, err));
  AMCT_TRY(read_model(e, job->graph, err));
  AMCT_TRY(match_inputs(e, job, &varies, err));
  AMCT_TRY(check_outputs(e, &varies, err));
  e->base.rows = varies ? 1 : 0;
  AMCT_TRY(compile(e, job->inputs, err));
  if (varies) {
    drop_model(e); /* it holds all constants once more */
    (void)malloc_trim(0);
  }
  return AMCT_OK;
}

static void close_openvino(amct_engine *engine) {
  amct_openvino *e = (amct_openvino *)(void *)engine;
  if (!e) return;
  drop_compiled(e);
  drop_model(e);
  if (e->core) e->ov.ov_core_free(e->core);
  amct_arena_free(&e->arena);
  amct_free(e); /* the library stays: its threads may be on their way out */
}

static amct_status open_openvino(amct_engine **out, const amct_engine_job *job,
                                 amct_error *err) {
  amct_openvino *e = amct_alloc_array(1, sizeof *e);
  if (!e) return amct_fail_memory(err);
  e->base.class = &amct_engine_openvino;
  e->fetch_count = job->fetch_count;
  const amct_status status = open_graph(e, job, err);
  if (status == AMCT_OK)
    *out = &e->base;
  else
    close_openvino(&e->base);
  return status;
}

/* ---- running ---- */

static amct_status give_input(const amct_openvino *e, const amct_array *input, size_t i,
                              int64_t row, amct_error *err) {
  const size_t values = input->count / (size_t)input->shape.dims[0];
  const size_t bytes = (size_t)row * values * amct_dtype_bytes(input->dtype);
  amct_shape shape = e->inputs[i].shape;
  return set_input(e, i, (ov_shape){shape.rank, shape.dims},
                   (const uint8_t *)input->data + bytes, err);
}

static bool describe(const amct_openvino *e, const ov_tensor *tensor, amct_array *to) {
  ov_shape shape = {0, NULL};
  size_t bytes = 0;
  void *data = NULL;
  if (e->ov.ov_tensor_get_shape(tensor, &shape) != 0) return false;
  bool good = shape.rank >= 0 && shape.rank <= AMCT_RANK_MAX;
  to->shape.rank = (int32_t)shape.rank;
  to->count = 1;
  for (int i = 0; good && i < to->shape.rank; i++) {
    to->shape.dims[i] = shape.dims[i];
    to->count *= (size_t)shape.dims[i];
  }
  e->ov.ov_shape_free(&shape);
  good = good && e->ov.ov_tensor_get_byte_size(tensor, &bytes) == 0 &&
         bytes == to->count * sizeof(float) && e->ov.ov_tensor_data(tensor, &data) == 0;
  to->dtype = AMCT_DTYPE_FLOAT;
  to->data = data;
  return good;
}

/* The tensors of one run, which several threads show. */
typedef struct showing {
  const amct_openvino *engine;
  ov_tensor **tensors; /* by fetch */
  int64_t row;
  atomic_size_t next;
  atomic_bool stopped;
  amct_engine_visit *visit;
  void *context;
  pthread_mutex_t lock;
  amct_status status; /* the first that is not AMCT_OK */
  amct_error error;
} showing;

static void stop(showing *s, amct_status status, const amct_error *error) {
  pthread_mutex_lock(&s->lock);
  if (s->status == AMCT_OK) {
    s->status = status;
    s->error = *error;
  }
  pthread_mutex_unlock(&s->lock);
  atomic_store(&s->stopped, true);
}

static void show_some(void *context, size_t shard) {
  showing *s = context;
  const amct_openvino *e = s->engine;
  (void)shard;
  while (!atomic_load(&s->stopped)) {
    const size_t fetch = atomic_fetch_add(&s->next, 1);
    if (fetch >= e->fetch_count) return;
    amct_array array = {.name = e->names.outputs[fetch]};
    amct_error error = {0};
    const amct_status status =
        describe(e, s->tensors[fetch], &array)
            ? s->visit(s->context, fetch, s->row, &array, &error)
            : amct_fail(&error, AMCT_UNSUPPORTED, NULL,
                        "OpenVINO hands out a tensor that is not float32");
    if (status != AMCT_OK) stop(s, status, &error);
  }
}

static amct_status get_tensors(const amct_openvino *e, ov_tensor **tensors,
                               amct_error *err) {
  for (size_t i = 0; i < e->fetch_count; i++)
    if (e->ov.ov_infer_request_get_tensor(e->request, e->names.outputs[i], &tensors[i]) !=
        0)
      return amct_openvino_fail(&e->ov, AMCT_UNSUPPORTED, "does not hand out a tensor",
                                err);
  return AMCT_OK;
}

static amct_status show_all(const amct_openvino *e, int64_t row, amct_engine_visit *visit,
                            void *context, amct_error *err) {
  showing s = {.engine = e, .row = row, .visit = visit, .context = context};
  s.tensors = amct_alloc_array(e->fetch_count + 1, sizeof(ov_tensor *));
  if (!s.tensors) return amct_fail_memory(err);
  amct_status status = get_tensors(e, s.tensors, err);
  if (status == AMCT_OK) {
    pthread_mutex_init(&s.lock, NULL);
    amct_pool_run(show_some, &s, amct_pool_threads());
    pthread_mutex_destroy(&s.lock);
    if (s.status != AMCT_OK)
      status = amct_fail(err, s.status, *s.error.node ? s.error.node : NULL, "%s",
                         s.error.text);
  }
  for (size_t i = 0; i < e->fetch_count; i++)
    if (s.tensors[i]) e->ov.ov_tensor_free(s.tensors[i]);
  amct_free(s.tensors);
  return status;
}

static amct_status run_once(const amct_openvino *e, const amct_array *inputs, int64_t row,
                            amct_error *err) {
  for (size_t i = 0; i < e->input_count; i++)
    if (e->inputs[i].port != SIZE_MAX) AMCT_TRY(give_input(e, &inputs[i], i, row, err));
  if (e->ov.ov_infer_request_infer(e->request) == 0) return AMCT_OK;
  return amct_openvino_fail(&e->ov, AMCT_UNSUPPORTED, "cannot run the graph", err);
}

static bool fits(const amct_openvino *e, const amct_array *inputs) {
  for (size_t i = 0; i < e->input_count; i++) {
    const amct_shape *a = &e->inputs[i].shape, *b = &inputs[i].shape;
    if (a->rank != b->rank || memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims))
      return false;
  }
  return true;
}

static amct_status run_openvino(amct_engine *engine, const amct_array *inputs,
                                amct_engine_visit *visit, void *context,
                                amct_error *err) {
  amct_openvino *e = (amct_openvino *)(void *)engine;
  if (!engine->rows && !fits(e, inputs)) AMCT_TRY(compile(e, inputs, err));
  const int64_t rows = e->input_count > 0 ? inputs[0].shape.dims[0] : 1;
  const int64_t each = engine->rows ? engine->rows : rows;
  for (int64_t row = 0; row < rows; row += each) {
    AMCT_TRY(run_once(e, inputs, row, err));
    if (visit) AMCT_TRY(show_all(e, row, visit, context, err));
  }
  return AMCT_OK;
}

const amct_engine_class amct_engine_openvino = {"openvino",   false, open_openvino,
                                                run_openvino, NULL,  close_openvino};
