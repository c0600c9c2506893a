/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/retrain.h"

#include "api/products.h"
#include "api/study.h"
#include "base/logging.h"
#include "insert/deploy.h"
#include "insert/fake_quants.h"

static const char k_module[] = "convert_qat_model";

/* What a call works on; freed in one place. */
typedef struct flow {
  bool exact;
  amct_study study;
  amct_fakes fakes;
  amct_record record;
  amct_stats stats;
  amct_products products;
  amct_arena arena;
} flow;

static void free_flow(flow *f) {
  amct_stats_free(&f->stats);
  amct_record_free(&f->record);
  amct_fakes_free(&f->fakes);
  amct_study_free(&f->study);
  amct_arena_free(&f->arena);
}

static amct_status load(flow *f, const char *pb_model, amct_strings outputs,
                        amct_error *err) {
  const amct_source source = {.path = pb_model};
  AMCT_TRY(amct_study_load(&f->study, &source, outputs, err));
  AMCT_TRY(amct_study_is_float(&f->study, err));
  f->fakes.module = k_module;
  f->fakes.graph = f->study.graph;
  AMCT_TRY(amct_fakes_find(&f->fakes, err));
  if (f->fakes.all.count) return AMCT_OK;
  return amct_fail(err, AMCT_UNSUPPORTED, NULL,
                   "%s holds no fake quantization (FakeQuantWithMinMaxVars, "
                   "...VarsPerChannel or ...Args): a float model needs a record",
                   pb_model);
}

static amct_status take_out(flow *f, amct_strings outputs, amct_error *err) {
  amct_layers layers = {0};
  AMCT_TRY(amct_constants_fold(f->study.graph, err));
  amct_status status =
      amct_layers_find(&layers, f->study.graph, outputs.at, outputs.count, err);
  if (status == AMCT_OK)
    status = amct_fakes_take_out(&f->fakes, &layers, outputs.at, outputs.count, err);
  amct_layers_free(&layers);
  if (status == AMCT_OK && f->exact) status = amct_fakes_split(&f->fakes, err);
  if (status != AMCT_OK || f->fakes.layers.count) return status;
  return amct_fail(err, AMCT_UNSUPPORTED, NULL, "%s: no layer can be quantized%s%s",
                   amct_graph_label(f->study.graph), f->fakes.reason ? ": " : "",
                   f->fakes.reason ? f->fakes.reason : "");
}

/* It is added in float, behind the dequantization. */
static void leave_bias(amct_layer *layer) {
  layer->bias = NULL;
  layer->output = layer->node;
}

static amct_status fuse(flow *f, amct_strings outputs, amct_error *err) {
  const amct_plan_options options = {.outputs = outputs.at,
                                     .output_count = outputs.count,
                                     .do_fusion = true,
                                     .keeps_grids = true};
  AMCT_TRY(amct_study_plan(&f->study, &options, err));
  amct_plan_log(f->study.plan, k_module);
  for (size_t i = 0; i < f->study.layers.count && f->exact; i++)
    leave_bias(&f->study.layers.at[i]);
  return AMCT_OK;
}

static amct_status deploy(flow *f, const char *pb_model, amct_strings outputs,
                          size_t *quantized, amct_error *err) {
  const amct_deploy_options options = {.module = k_module,
                                       .record_path = pb_model,
                                       .outputs = outputs.at,
                                       .output_count = outputs.count,
                                       .stats = &f->stats,
                                       .steps_only = true};
  amct_graph *graph = f->study.graph;
  AMCT_TRY(amct_fakes_record(&f->record, &f->stats, &f->fakes, f->study.plan,
                             &f->study.layers, err));
  AMCT_TRY(amct_record_check(&f->record, pb_model, &f->study.layers, graph, err));
  AMCT_TRY(
      amct_deploy(f->study.plan, &f->study.layers, &f->record, &options, quantized, err));
  AMCT_TRY(amct_fakes_replace(&f->fakes, err));
  AMCT_TRY(amct_graph_sweep(graph, outputs.at, outputs.count, err));
  return amct_graph_verify(graph, err);
}

static amct_status convert(flow *f, const char *pb_model, amct_strings outputs,
                           const char *save_path, const char *record_file,
                           amct_error *err) {
  size_t quantized = 0, layers;
  if (outputs.count == 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "outputs is empty: name the output nodes");
  if (record_file && !*record_file)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "record_file is empty");
  AMCT_TRY(amct_products_name(&f->products, &f->arena, save_path, err));
  AMCT_TRY(load(f, pb_model, outputs, err));
  AMCT_TRY(take_out(f, outputs, err));
  AMCT_TRY(fuse(f, outputs, err));
  layers = f->study.layers.count;
  AMCT_TRY(deploy(f, pb_model, outputs, &quantized, err));
  f->products.record = &f->record;
  f->products.record_path = record_file;
  AMCT_TRY(amct_products_write(&f->products, f->study.graph, k_module, err));
  amct_log(AMCT_LOG_INFO, k_module, "%zu of %zu layers are quantized", quantized, layers);
  amct_log(AMCT_LOG_INFO, k_module, "The model is saved in %s", f->products.pb_path);
  return AMCT_OK;
}

amct_status amct_convert_qat_model(const char *pb_model, amct_strings outputs,
                                   const char *save_path, const char *record_file,
                                   bool exact, amct_error *err) {
  flow f = {.exact = exact};
  const amct_status status = convert(&f, pb_model, outputs, save_path, record_file, err);
  free_flow(&f);
  return status;
}
