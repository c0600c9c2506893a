/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/retrain.h"

#include "api/live.h"
#include "api/paths.h"
#include "api/study.h"
#include "base/logging.h"
#include "calib/calibration.h"
#include "insert/training.h"

static const char k_module[] = "create_quant_retrain_model";

/* What a call works on; freed in one place. */
typedef struct flow {
  amct_study study;
  amct_unfused unfused;
  amct_recipe recipe;
  amct_training training;
  amct_edits *edits;
  amct_arena arena;
} flow;

static void free_flow(flow *f) {
  amct_edits_free(f->edits);
  amct_recipe_free(&f->recipe);
  amct_unfused_free(&f->unfused);
  amct_study_free(&f->study);
  amct_arena_free(&f->arena);
}

/* ApplyMomentum, ResourceApplyAdam, SparseApplyFtrl...; or the gradient of a
 * convolution's weights. */
static bool trains(const char *op) {
  const char *apply = strstr(op, "Apply");
  const size_t before = apply ? (size_t)(apply - op) : 0;
  return strstr(op, "BackpropFilter") ||
         (apply && (before == 0 || strncmp(op, "Resource", 8) == 0 ||
                    strncmp(op, "SparseApply", 11) == 0));
}

/* Gradients read the edges that were there when they were made. */
static amct_status refuse_optimizer(const flow *f, amct_error *err) {
  for (size_t i = 0; i < amct_graph_count(f->study.graph); i++) {
    const amct_node *node = amct_graph_at(f->study.graph, i);
    if (!trains(node->op)) continue;
    return amct_fail(err, AMCT_BAD_GRAPH, node->name,
                     "the graph has an optimizer or its gradients already (%s \"%s\"): "
                     "they go past the "
                     "retraining ops, so that no clip would be trained. Call "
                     "create_quant_retrain_model "
                     "before the optimizer's minimize",
                     node->op, node->name);
  }
  return AMCT_OK;
}

static amct_status plan_flow(flow *f, const amct_source *source, const char *config_file,
                             amct_error *err) {
  const amct_strings no_outputs = {NULL, 0};
  const amct_plan_options options = {.do_fusion = true, .keeps_grids = true};
  AMCT_TRY(amct_study_load(&f->study, source, no_outputs, err));
  AMCT_TRY(amct_study_is_float(&f->study, err));
  AMCT_TRY(refuse_optimizer(f, err));
  AMCT_TRY(amct_unfused_look(&f->unfused, f->study.graph, err));
  AMCT_TRY(amct_study_plan(&f->study, &options, err));
  amct_train_limit(&f->study.layers);
  return amct_recipe_read(&f->recipe, config_file, &f->study.layers, f->study.graph, err);
}

/* Into the core's own graph too, so that it is verified before the user's is touched; the
 * record is replaced last, when nothing else can fail. Without one, this is a plan. */
static amct_status edit(flow *f, amct_calibration *live, const char *record_file,
                        amct_error *err) {
  char id[AMCT_CALIB_ID_BYTES];
  amct_calib_start start = {0};
  if (record_file && !*record_file)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "record_file is empty");
  start.record_path = "";
  if (record_file)
    AMCT_TRY(amct_path_absolute(&f->arena, record_file, &start.record_path, err));
  f->training.record_path = start.record_path;
  f->edits = amct_edits_new(f->study.graph);
  if (!f->edits) return amct_fail_memory(err);
  AMCT_TRY(
      amct_train(f->edits, f->study.plan, &f->recipe, &f->unfused, &f->training, err));
  const amct_strings variables = {f->training.variables, f->training.variable_count};
  const amct_strings kept = {f->training.kept, f->training.kept_count};
  AMCT_TRY(amct_live_export(live, f->edits, f->study.graph, variables, err));
  AMCT_TRY(amct_live_keep(live, f->study.graph, kept, err));
  AMCT_TRY(amct_edits_apply(f->edits, err));
  AMCT_TRY(amct_graph_verify(f->study.graph, err));
  if (!record_file) return AMCT_OK;
  return amct_calib_begin(&start, id, err); /* retires a calibration that writes there */
}

amct_status amct_create_quant_retrain_model(amct_calibration **out,
                                            const amct_source *source,
                                            const char *config_file,
                                            const char *record_file, amct_error *err) {
  flow f = {.recipe.purpose = AMCT_FOR_RETRAINING};
  amct_status status;
  amct_calibration *live = amct_alloc_array(1, sizeof *live);

  *out = NULL;
  if (!live) return amct_fail_memory(err);
  if ((status = plan_flow(&f, source, config_file, err)) != AMCT_OK ||
      (status = edit(&f, live, record_file, err)) != AMCT_OK)
    goto done;
  if (record_file)
    amct_log(AMCT_LOG_INFO, k_module, "%zu layers are retrained; factors go to %s",
             amct_recipe_enabled(&f.recipe), f.training.record_path);
  *out = live;
  live = NULL; /* moved to the caller */
done:
  amct_calibration_free(live);
  free_flow(&f);
  return status;
}
