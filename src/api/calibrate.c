/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/calibrate.h"

#include "api/calibrate_flow.h"
#include "api/paths.h"
#include "base/logging.h"
#include "base/output.h"
#include "factors/record.h"
#include "factors/stats.h"

#include <stdio.h>

static const char k_module[] = "calibrate";

enum { CHUNK_BYTES = 2 << 20, CHUNK_LEAST = 1 };

static void close_engine(amct_calibrate_flow *f) {
  if (f->engine) f->engine->class->close(f->engine);
  f->engine = NULL;
  amct_runs_free(&f->runs);
  f->runs = (amct_runs){0};
  amct_study_free(&f->pb);
}

static void free_flow(amct_calibrate_flow *f) {
  close_engine(f);
  amct_packages_free(&f->packages);
  amct_data_close(f->data);
  amct_observed_free(&f->observed);
  amct_prepared_free(&f->p);
  amct_arena_free(&f->arena);
}

static amct_status check_options(amct_calibrate_flow *f, amct_error *err) {
  const amct_calibrate_options *o = f->o;
  if (o->outputs.count == 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "outputs is empty: name the output nodes");
  if (o->data.count == 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "data is empty: name files");
  if (!o->save_path)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "save_path is empty");
  if (o->batch_size < 0 || o->batch_num < 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "batch_size or batch_num is below 0");
  if (o->config_file && (o->batch_num || o->preset))
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "%s stands in the configuration",
                     o->batch_num ? "batch_num" : "preset");
  if (o->engine && strcmp(o->engine, "auto") != 0 && !amct_engine_named(o->engine))
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "engine \"%s\": there are %s",
                     o->engine, k_amct_engine_names);
  f->record_file = o->record_file
                       ? o->record_file
                       : amct_path_prefixed(&f->arena, o->save_path, "record.txt");
  if (f->record_file) f->stats_path = amct_stats_path(&f->arena, f->record_file);
  return f->stats_path ? AMCT_OK : amct_fail_memory(err);
}

/* ---- inputs and data ---- */

static bool is_input(const amct_node *node) {
  return strcmp(node->op, "Placeholder") == 0 ||
         strcmp(node->op, "PlaceholderWithDefault") == 0;
}

static amct_status load_pb(amct_calibrate_flow *f, amct_map *needed, amct_error *err) {
  const amct_source source = {.path = f->o->pb_model};
  AMCT_TRY(amct_study_load(&f->pb, &source, f->o->outputs, err));
  return amct_needed_find(needed, f->pb.graph, f->o->outputs.at, f->o->outputs.count,
                          err);
}

static amct_status list_inputs(amct_calibrate_flow *f, amct_error *err) {
  amct_map needed = {0};
  amct_status status = load_pb(f, &needed, err);
  const size_t count = status == AMCT_OK ? amct_graph_count(f->pb.graph) : 0;
  f->ports = amct_arena_array(&f->arena, count + 1, sizeof *f->ports);
  if (!f->ports && status == AMCT_OK) status = amct_fail_memory(err);
  for (size_t i = 0; i < count && status == AMCT_OK; i++) {
    const amct_node *node = amct_graph_at(f->pb.graph, i);
    if (!is_input(node) || !amct_map_get(&needed, node)) continue;
    amct_port port = {.optional = strcmp(node->op, "PlaceholderWithDefault") == 0};
    port.name = amct_arena_text(&f->arena, node->name, strlen(node->name));
    if (!amct_attr_type(node, "dtype", &port.dtype)) port.dtype = AMCT_DTYPE_FLOAT;
    if (!amct_attr_shape(node, "shape", &port.shape)) port.shape.rank = -1;
    f->ports[f->port_count++] = port;
    if (!port.name) status = amct_fail_memory(err);
  }
  amct_map_free(&needed);
  amct_study_free(&f->pb);
  return status;
}

/* As many batches as are asked for. */
static amct_status count_batches(amct_calibrate_flow *f, amct_error *err) {
  const int64_t has = amct_data_batches(f->data);
  const bool asked = f->o->config_file || f->o->batch_num;
  f->batches = f->o->config_file ? f->p.recipe.batch_num : f->o->batch_num;
  if (!asked) f->batches = has;
  if (f->batches > has)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "data: %lld samples in %lld batches; batch_num%s%s is %lld",
                     (long long)amct_data_samples(f->data), (long long)has,
                     f->o->config_file ? " of " : "",
                     f->o->config_file ? f->o->config_file : "", (long long)f->batches);
  f->data_batches = f->batches;
  for (int64_t b = 0; b < f->batches; b++)
    f->samples += f->last_rows = amct_data_rows(f->data, b);
  if (f->batches < has)
    amct_log(AMCT_LOG_WARNING, k_module, "only the first %lld of %lld batches are used",
             (long long)f->batches, (long long)has);
  return AMCT_OK;
}

static amct_status open_data(amct_calibrate_flow *f, amct_error *err) {
  const amct_data_options options = {f->o->data.at, f->o->data.count, f->o->batch_size};
  AMCT_TRY(list_inputs(f, err));
  AMCT_TRY(amct_data_open(&f->data, f->ports, f->port_count, &options, err));
  f->result->samples = amct_data_samples(f->data);
  f->result->files = amct_data_files(f->data);
  AMCT_TRY(count_batches(f, err));
  f->result->batches = f->batches;
  f->total = f->samples;
  amct_log(AMCT_LOG_INFO, k_module,
           "%lld samples found in %lld files; %lld in %lld "
           "batches are used",
           (long long)f->result->samples, (long long)f->result->files,
           (long long)f->samples, (long long)f->batches);
  return AMCT_OK;
}

/* ---- the engine ---- */

static amct_status fill_job(amct_calibrate_flow *f, amct_engine_job *job,
                            amct_error *err) {
  job->input_count = amct_data_inputs(f->data);
  amct_array *inputs = amct_arena_array(&f->arena, job->input_count, sizeof *inputs);
  if (!inputs) return amct_fail_memory(err);
  for (size_t i = 0; i < job->input_count; i++)
    inputs[i] = amct_data_input(f->data, i);
  job->inputs = inputs;
  for (size_t i = 0; i < job->input_count && f->batches == 1; i++) {
    inputs[i].count = inputs[i].count / (size_t)inputs[i].shape.dims[0];
    inputs[i].count *= (size_t)f->last_rows;
    inputs[i].shape.dims[0] = f->last_rows;
  }
  job->packages = &f->packages;
  return AMCT_OK;
}

/* Observers as ops of the graph, or what they would read. */
static amct_status fill_runs(amct_calibrate_flow *f, const amct_engine_class *class,
                             const amct_map *needed, amct_engine_job *job,
                             amct_error *err) {
  if (class->runs_our_ops) {
    AMCT_TRY(amct_runs_insert(&f->p, f->pb.graph, err));
    AMCT_TRY(amct_runs_outputs(&f->runs, f->o->outputs, err));
  } else {
    AMCT_TRY(amct_runs_observed(&f->runs, &f->p, &f->observed, f->pb.graph, needed, err));
    AMCT_TRY(amct_runs_prune(&f->runs, f->pb.graph, &job->splits, err));
  }
  if (f->runs.count == 0)
    return amct_fail(err, AMCT_BAD_CONFIG, NULL,
                     "the outputs need none of the layers that are to be quantized");
  job->graph = f->pb.graph;
  job->fetches = f->runs.fetches;
  job->fetch_count = f->runs.count;
  return AMCT_OK;
}

static amct_status open_engine(amct_calibrate_flow *f, const amct_engine_class *class,
                               amct_error *err) {
  amct_engine_job job = {0};
  amct_map needed = {0};
  close_engine(f);
  amct_status status = load_pb(f, &needed, err);
  if (status == AMCT_OK) status = fill_job(f, &job, err);
  if (status == AMCT_OK) status = fill_runs(f, class, &needed, &job, err);
  if (status == AMCT_OK) status = class->open(&f->engine, &job, err);
  amct_map_free(&needed);
  amct_study_free(&f->pb);
  return status;
}

/* The first that opens the graph; where none does, why not, of each. */
static amct_status choose_engine(amct_calibrate_flow *f, amct_error *err) {
  const char *wanted = f->o->engine ? f->o->engine : "auto";
  const amct_engine_class *named = f->class ? f->class : amct_engine_named(wanted);
  const char *reasons = "";
  amct_status status = AMCT_OK;
  if (!f->class) AMCT_TRY(amct_packages_find(&f->packages, f->o->engine_folder, err));
  if (named) status = open_engine(f, named, err);
  for (size_t i = 0; !named && i < amct_engine_count() && !f->engine; i++) {
    amct_error why = {0};
    status = open_engine(f, amct_engine_at(i), &why);
    if (status == AMCT_OK) break;
    const bool other = why.status == AMCT_NOT_READY || why.status == AMCT_UNSUPPORTED;
    if (!other)
      return amct_fail(err, status, *why.node ? why.node : NULL, "%s", why.text);
    amct_log(AMCT_LOG_INFO, k_module, "%s", why.text);
    reasons = amct_arena_format(&f->arena, "%s%s%s", reasons, i ? "; " : "", why.text);
    if (!reasons) return amct_fail_memory(err);
  }
  if (status != AMCT_OK && !named)
    return amct_fail(err, status, NULL, "no engine runs the model: %s", reasons);
  AMCT_TRY(status);
  f->class = f->engine->class;
  snprintf(f->result->engine, sizeof f->result->engine, "%s", f->engine->version);
  amct_log(AMCT_LOG_INFO, k_module, "the model runs in %s", f->engine->version);
  return AMCT_OK;
}

/* ---- runs ---- */

/* Of a batch; the last one is cut where the rest is kept apart. */
static int64_t rows_of(const amct_calibrate_flow *f, int64_t batch) {
  return batch == f->batches - 1 ? f->last_rows : amct_data_rows(f->data, batch);
}

/* Factors of the record, as far as it can be read. */
static size_t count_factors(const char *path) {
  amct_record record = {0};
  amct_error wrong = {0};
  size_t count = 0;
  if (amct_record_read(&record, path, &wrong) == AMCT_OK)
    for (size_t i = 0; i < record.layers.count; i++)
      count += record.layers.at[i].has_data;
  amct_record_free(&record);
  return count;
}

amct_status amct_calibrate_put_back(const amct_calibrate_flow *f,
                                    const amct_pass_files *files, amct_error *err) {
  AMCT_TRY(
      amct_output_whole(f->record_file, files->record.data, files->record.size, err));
  return amct_output_whole(f->stats_path, files->stats.data, files->stats.size, err);
}

amct_status amct_calibrate_tell(amct_calibrate_flow *f, int64_t samples,
                                amct_error *err) {
  f->done += samples;
  if (!f->o->progress || f->o->progress(f->o->context, f->done, f->total) ||
      f->done == f->total)
    return AMCT_OK;
  if (f->best) AMCT_TRY(amct_calibrate_put_back(f, f->best, err));
  return amct_fail(
      err, AMCT_NOT_READY, NULL,
      "stopped after %lld of %lld samples: %s holds the factors of %zu of %zu "
      "layers, no model was written",
      (long long)f->done, (long long)f->total, f->record_file,
      count_factors(f->p.record_path), f->result->layers);
}

/* So many samples at a time as fit some memory, where the engine goes through them one by
 * one anyway. */
static int64_t chunk_rows(const amct_calibrate_flow *f, int64_t rows) {
  uint64_t bytes = 1;
  if (!f->engine->rows) return rows;
  for (size_t i = 0; i < amct_data_inputs(f->data); i++) {
    const amct_array input = amct_data_input(f->data, i);
    bytes += input.count / (size_t)input.shape.dims[0] * amct_dtype_bytes(input.dtype);
  }
  const int64_t fit = (int64_t)(CHUNK_BYTES / bytes);
  const int64_t some = fit < CHUNK_LEAST ? CHUNK_LEAST : fit;
  return some < rows ? some : rows;
}

static amct_status run_batch(amct_calibrate_flow *f, int64_t batch, amct_array *arrays,
                             amct_error *err) {
  const amct_engine_class *class = f->engine->class;
  const int64_t rows = rows_of(f, batch), chunk = chunk_rows(f, rows);
  for (int64_t at = 0; at < rows; at += chunk) {
    const int64_t n = rows - at < chunk ? rows - at : chunk;
    AMCT_TRY(amct_data_read(f->data, batch, at, n, arrays, err));
    AMCT_TRY(class->run(f->engine, arrays, class->runs_our_ops ? NULL : amct_runs_take,
                        &f->runs, err));
    AMCT_TRY(amct_calibrate_tell(f, n, err));
  }
  return AMCT_OK;
}

/* How often each tensor will be seen. */
static void count_visits(amct_calibrate_flow *f) {
  const int64_t rows = f->engine->rows;
  int64_t visits = 0;
  for (int64_t b = 0; b < f->batches; b++)
    visits += rows ? (rows_of(f, b) + rows - 1) / rows : 1;
  for (size_t i = 0; i < f->runs.count; i++)
    f->runs.specs[i].batch_num = visits;
}

static amct_status run_all(amct_calibrate_flow *f, amct_error *err) {
  const amct_engine_class *class = f->engine->class;
  amct_array *arrays =
      amct_arena_array(&f->arena, amct_data_inputs(f->data), sizeof *arrays);
  if (!arrays) return amct_fail_memory(err);
  count_visits(f);
  AMCT_TRY(amct_calibrate_tell(f, 0, err));
  if (!class->runs_our_ops) AMCT_TRY(amct_runs_weigh(&f->p, &f->observed, err));
  for (int64_t b = 0; b < f->batches; b++)
    AMCT_TRY(run_batch(f, b, arrays, err));
  if (class->finish) AMCT_TRY(class->finish(f->engine, f->p.record_path, err));
  AMCT_TRY(amct_flush_calibration(f->record_file, err));
  f->result->calibrated = count_factors(f->p.record_path);
  return AMCT_OK;
}

/* ---- the whole ---- */

/* The configuration, and what of it is observed; the first time the data too. */
static amct_status prepare(amct_calibrate_flow *f, amct_error *err) {
  const amct_source source = {.path = f->o->pb_model};
  amct_observed_free(&f->observed);
  amct_prepared_free(&f->p);
  f->observed = (amct_observed_list){0};
  f->p = (amct_prepared){0};
  AMCT_TRY(
      amct_prepare(&f->p, &source, f->o->config_file, f->preset, f->o->outputs, err));
  if (!f->data) AMCT_TRY(open_data(f, err));
  for (size_t i = 0; i < f->p.recipe.layer_count && f->kept.samples; i++)
    f->p.recipe.layers[i].range.algorithm = f->algorithm;
  f->p.recipe.batch_num = f->batches;
  return amct_observed_find(&f->observed, f->p.study.plan, &f->p.recipe, err);
}

amct_status amct_calibrate_pass(amct_calibrate_flow *f, amct_error *err) {
  AMCT_TRY(prepare(f, err));
  f->result->layers = (size_t)f->observed.total;
  AMCT_TRY(amct_prepare_observers(&f->p, f->record_file, err));
  AMCT_TRY(choose_engine(f, err));
  AMCT_TRY(amct_prepare_begin(&f->p, err));
  AMCT_TRY(run_all(f, err));
  close_engine(f);
  return AMCT_OK;
}

static amct_status calibrate(amct_calibrate_flow *f, amct_error *err) {
  const amct_calibrate_options *o = f->o;
  AMCT_TRY(check_options(f, err));
  f->preset = o->preset ? amct_preset_named(amct_slice_of(o->preset)) : AMCT_PRESET_NONE;
  if (f->preset == AMCT_PRESETS)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "preset \"%s\": there are none, accurate", o->preset);
  if (f->preset == AMCT_PRESET_ACCURATE) {
    AMCT_TRY(prepare(f, err));
    AMCT_TRY(amct_calibrate_accurate(f, err));
  } else {
    AMCT_TRY(amct_calibrate_pass(f, err));
  }
  return amct_save_model(o->pb_model, o->outputs, f->record_file, o->save_path, err);
}

amct_status amct_calibrate(amct_calibrate_result *result,
                           const amct_calibrate_options *options, amct_error *err) {
  amct_calibrate_result own;
  amct_calibrate_flow f = {.o = options, .result = result ? result : &own};
  *f.result = (amct_calibrate_result){0};
  const amct_status status = calibrate(&f, err);
  if (status != AMCT_OK || !result) {
    amct_text_free(f.result->comparison);
    f.result->comparison = NULL;
  }
  free_flow(&f);
  return status;
}
