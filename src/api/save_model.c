/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/inspect.h"
#include "amct/retrain.h"

#include "api/paths.h"
#include "api/products.h"
#include "api/study.h"
#include "base/logging.h"
#include "insert/deploy.h"
#include "insert/observe.h"
#include "insert/training.h"

/* save_model, save_quant_retrain_model and convert_model: the same, with factors from
 * calibration, from training and from the user.
 */
typedef struct flow {
  const char *module; /* for the log */
  bool calibrated, retrained;
  bool all_wanted; /* every layer has factors, or a warning is due */
  amct_study study;
  amct_record record;
  amct_stats stats;
  bool has_stats;
  amct_map grids; /* of the clips of a retrained graph */
  amct_arena arena;
  amct_products products;
} flow;

static void free_flow(flow *f) {
  amct_study_free(&f->study);
  amct_record_free(&f->record);
  amct_stats_free(&f->stats);
  amct_map_free(&f->grids);
  amct_arena_free(&f->arena);
}

static amct_status check_arguments(flow *f, const char *record_file,
                                   const char *save_path, amct_strings outputs,
                                   amct_error *err) {
  if (outputs.count == 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "outputs is empty: name the output nodes");
  if (!record_file || !*record_file)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "record_file is empty");
  return amct_products_name(&f->products, &f->arena, save_path, err);
}

/* A graph frozen from the session that calibrated still has the observers. */
static amct_status undo_observers(flow *f, amct_error *err) {
  size_t observers = 0;
  AMCT_TRY(amct_observe_undo(f->study.graph, &observers, err));
  if (observers)
    amct_log(AMCT_LOG_INFO, f->module, "%zu observers of a calibration are taken out",
             observers);
  return AMCT_OK;
}

static amct_status undo_training(flow *f, amct_strings outputs, amct_error *err) {
  size_t layers = 0;
  AMCT_TRY(amct_train_grids(&f->grids, f->study.graph, err));
  AMCT_TRY(amct_train_undo(f->study.graph, outputs.at, outputs.count, &layers, err));
  if (layers == 0)
    return amct_fail(err, AMCT_BAD_GRAPH, NULL,
                     "%s holds no retraining ops: freeze the inference graph after "
                     "create_quant_retrain_model has edited it",
                     amct_graph_label(f->study.graph));
  for (size_t i = 0; i < outputs.count; i++)
    if (!amct_graph_find(f->study.graph, outputs.at[i]))
      return amct_fail(err, AMCT_INVALID_ARGUMENT, outputs.at[i],
                       "outputs: \"%s\" is a retraining op, which is taken out",
                       outputs.at[i]);
  amct_log(AMCT_LOG_INFO, f->module, "the retraining ops of %zu layers are taken out",
           layers);
  return AMCT_OK;
}

static amct_status load(flow *f, const char *pb_model, amct_strings outputs,
                        amct_error *err) {
  const amct_source source = {.path = pb_model};
  AMCT_TRY(amct_study_load(&f->study, &source, outputs, err));
  if (f->calibrated) AMCT_TRY(undo_observers(f, err));
  if (f->retrained) AMCT_TRY(undo_training(f, outputs, err));
  return amct_study_is_float(&f->study, err);
}

static amct_status read_factors(flow *f, const char *record_file, amct_error *err) {
  if (f->calibrated) AMCT_TRY(amct_flush_calibration(record_file, err));
  AMCT_TRY(amct_record_read(&f->record, record_file, err));
  for (size_t i = 0; i < f->record.layers.count; i++)
    if (f->record.layers.at[i].has_data) return AMCT_OK;
  if (f->retrained)
    return amct_fail(
        err, AMCT_NOT_READY, NULL,
        "%s holds no factors: run the last of the retrain_ops on the inference "
        "graph first, with the trained variables restored",
        record_file);
  if (!f->calibrated)
    return amct_fail(err, AMCT_BAD_RECORD, NULL, "%s holds no factors", record_file);
  return amct_fail(err, AMCT_NOT_READY, NULL,
                   "%s holds no factors: run the calibration batches (batch_num of the "
                   "configuration) first, in a session opened after quantize_model",
                   record_file);
}

/* Beside the record of a calibration; without them a model is saved all the same. */
static amct_status read_stats(flow *f, const char *record_file, amct_error *err) {
  const char *path = amct_stats_path(&f->arena, record_file);
  amct_error wrong = {0};
  if (!path) return amct_fail_memory(err);
  if (!f->calibrated || f->retrained) return AMCT_OK;
  if (!f->all_wanted && !amct_path_exists(path)) return AMCT_OK; /* a record to check */
  if (amct_stats_read(&f->stats, path, &wrong) == AMCT_OK) {
    f->has_stats = f->stats.layers.count > 0; /* none: nothing was wanted */
    return AMCT_OK;
  }
  if (wrong.status == AMCT_OUT_OF_MEMORY) return amct_fail_memory(err);
  amct_log(AMCT_LOG_WARNING, f->module,
           "biases are not corrected, and weights go to their nearest steps: %s",
           wrong.text);
  return AMCT_OK;
}

static amct_status fuse(flow *f, amct_strings outputs, amct_error *err) {
  const char **skip =
      amct_arena_array(&f->arena, f->record.layers.count + 1, sizeof *skip);
  amct_plan_options options = {.outputs = outputs.at,
                               .output_count = outputs.count,
                               .do_fusion = true,
                               .skip_layers = skip,
                               .keeps_grids = f->retrained};
  if (!skip) return amct_fail_memory(err);
  for (size_t i = 0; i < f->record.layers.count; i++)
    if (f->record.layers.at[i].skip_fusion)
      skip[options.skip_count++] = f->record.layers.at[i].key;
  AMCT_TRY(amct_study_plan(&f->study, &options, err));
  amct_plan_log(f->study.plan, f->module);
  return AMCT_OK;
}

static amct_status run(flow *f, const char *pb_model, amct_strings outputs,
                       const char *record_file, size_t *quantized, amct_error *err) {
  amct_deploy_options options = {.module = f->module,
                                 .record_path = record_file,
                                 .all_wanted = f->all_wanted,
                                 .outputs = outputs.at,
                                 .output_count = outputs.count};
  AMCT_TRY(load(f, pb_model, outputs, err));
  AMCT_TRY(read_factors(f, record_file, err));
  AMCT_TRY(amct_train_check(&f->grids, f->study.graph, &f->record, record_file, err));
  AMCT_TRY(read_stats(f, record_file, err));
  if (f->has_stats) options.stats = &f->stats;
  AMCT_TRY(fuse(f, outputs, err));
  AMCT_TRY(
      amct_record_check(&f->record, record_file, &f->study.layers, f->study.graph, err));
  AMCT_TRY(
      amct_deploy(f->study.plan, &f->study.layers, &f->record, &options, quantized, err));
  return amct_graph_verify(f->study.graph, err);
}

static amct_status save(flow *f, const char *pb_model, amct_strings outputs,
                        const char *record_file, const char *save_path, amct_error *err) {
  size_t quantized = 0;
  AMCT_TRY(check_arguments(f, record_file, save_path, outputs, err));
  AMCT_TRY(run(f, pb_model, outputs, record_file, &quantized, err));
  AMCT_TRY(amct_products_write(&f->products, f->study.graph, f->module, err));
  amct_log(AMCT_LOG_INFO, f->module, "%zu of %zu layers are quantized", quantized,
           f->study.layers.count);
  amct_log(AMCT_LOG_INFO, f->module, "The model is saved in %s", f->products.pb_path);
  return AMCT_OK;
}

amct_status amct_save_model(const char *pb_model, amct_strings outputs,
                            const char *record_file, const char *save_path,
                            amct_error *err) {
  flow f = {.module = "save_model", .calibrated = true, .all_wanted = true};
  const amct_status status = save(&f, pb_model, outputs, record_file, save_path, err);
  free_flow(&f);
  return status;
}

amct_status amct_products_preview(amct_study *study, const char *pb_model,
                                  amct_strings outputs, const char *record_file,
                                  amct_error *err) {
  flow f = {.module = "calibrate", .calibrated = true};
  size_t quantized = 0;
  const amct_status status = run(&f, pb_model, outputs, record_file, &quantized, err);
  *study = f.study;
  f.study = (amct_study){0};
  free_flow(&f);
  return status;
}

amct_status amct_check_record(size_t *quantized, const char *pb_model,
                              amct_strings outputs, const char *record_file,
                              amct_error *err) {
  flow f = {.module = "check_record", .calibrated = true};
  size_t count = 0;
  if (!record_file || !*record_file)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "record_file is empty");
  const amct_status status = run(&f, pb_model, outputs, record_file, &count, err);
  if (status == AMCT_OK && quantized) *quantized = count;
  free_flow(&f);
  return status;
}

amct_status amct_convert_model(const char *pb_model, amct_strings outputs,
                               const char *record_file, const char *save_path,
                               amct_error *err) {
  flow f = {.module = "convert_model"};
  const amct_status status = save(&f, pb_model, outputs, record_file, save_path, err);
  free_flow(&f);
  return status;
}

amct_status amct_save_quant_retrain_model(const char *pb_model, amct_strings outputs,
                                          const char *record_file, const char *save_path,
                                          amct_error *err) {
  flow f = {.module = "save_model", .retrained = true};
  const amct_status status = save(&f, pb_model, outputs, record_file, save_path, err);
  free_flow(&f);
  return status;
}
