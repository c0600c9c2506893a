/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/quantize.h"

#include "api/live.h"
#include "api/paths.h"
#include "api/study.h"
#include "base/logging.h"
#include "calib/calibration.h"
#include "insert/observe.h"

/* What quantize_model works on; freed in one place. */
typedef struct flow {
  amct_study study;
  amct_recipe_fusion fusion;
  amct_recipe recipe;
  amct_edits *edits;
  amct_arena arena;
} flow;

static void free_flow(flow *f) {
  amct_edits_free(f->edits);
  amct_recipe_free(&f->recipe);
  amct_arena_free(&f->fusion.arena);
  amct_study_free(&f->study);
  amct_arena_free(&f->arena);
}

static amct_status plan_flow(flow *f, const amct_source *source, const char *config_file,
                             amct_strings outputs, amct_error *err) {
  AMCT_TRY(amct_study_load(&f->study, source, outputs, err));
  AMCT_TRY(amct_study_is_float(&f->study, err));
  AMCT_TRY(amct_recipe_read_fusion(&f->fusion, config_file, f->study.graph, err));
  const amct_plan_options options = {outputs.at, outputs.count, f->fusion.do_fusion,
                                     f->fusion.skip_fusion_layers,
                                     f->fusion.skip_fusion_count};
  AMCT_TRY(amct_study_plan(&f->study, &options, err));
  return amct_recipe_read(&f->recipe, config_file, &f->study.layers, f->study.graph, err);
}

/* Layers that save_model must not fold into: the record carries them, since save_model
 * sees no configuration. */
static amct_status unfused_layers(flow *f, const char *const **names, size_t *count,
                                  amct_error *err) {
  if (f->recipe.do_fusion) {
    *names = f->recipe.skip_fusion_layers;
    *count = f->recipe.skip_fusion_count;
    return AMCT_OK;
  }
  const char **all = amct_arena_array(&f->arena, f->study.layers.count + 1, sizeof *all);
  if (!all) return amct_fail_memory(err);
  *count = 0;
  for (size_t i = 0; i < f->study.layers.count; i++)
    if (amct_plan_fusible(f->study.layers.at[i].node->op))
      all[(*count)++] = f->study.layers.at[i].node->name;
  *names = all;
  return AMCT_OK;
}

/* Observers into the core's own graph, so that it is verified before the user's is
 * touched. */
static amct_status plan_observers(amct_calibration *calibration, flow *f, const char *id,
                                  const char *record_path, amct_error *err) {
  const amct_observe_options options = {id, record_path};
  const amct_strings no_variables = {NULL, 0};
  f->edits = amct_edits_new(f->study.graph);
  if (!f->edits) return amct_fail_memory(err);
  AMCT_TRY(amct_observe(f->edits, f->study.plan, &f->recipe, &options, err));
  AMCT_TRY(amct_live_export(calibration, f->edits, f->study.graph, no_variables, err));
  AMCT_TRY(amct_edits_apply(f->edits, err));
  return amct_graph_verify(f->study.graph, err);
}

/* The record is replaced last, when nothing else can fail. */
static amct_status begin(amct_calibration *calibration, flow *f, const char *record_file,
                         const char **record_path, amct_error *err) {
  char id[AMCT_CALIB_ID_BYTES];
  amct_calib_start start = {.id = id};
  if (!record_file || !*record_file)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "record_file is empty");
  AMCT_TRY(amct_path_absolute(&f->arena, record_file, record_path, err));
  AMCT_TRY(unfused_layers(f, &start.skip_fusion, &start.skip_fusion_count, err));
  start.record_path = *record_path;
  amct_calib_make_id(id);
  AMCT_TRY(plan_observers(calibration, f, id, *record_path, err));
  return amct_calib_begin(&start, id, err);
}

amct_status amct_quantize_model(amct_calibration **out, const amct_source *source,
                                const char *config_file, const char *record_file,
                                amct_strings outputs, amct_error *err) {
  flow f = {0};
  const char *record_path = NULL;
  amct_status status;
  amct_calibration *calibration = amct_alloc_array(1, sizeof *calibration);

  *out = NULL;
  if (!calibration) return amct_fail_memory(err);
  if ((status = plan_flow(&f, source, config_file, outputs, err)) != AMCT_OK ||
      (status = begin(calibration, &f, record_file, &record_path, err)) != AMCT_OK)
    goto done;
  amct_plan_log(f.study.plan, "quantize_model");
  amct_log(AMCT_LOG_INFO, "quantize_model",
           "%zu layers wait for %lld batches each; factors go to %s",
           amct_recipe_enabled(&f.recipe), (long long)f.recipe.batch_num, record_path);

  *out = calibration;
  calibration = NULL; /* moved to the caller */
done:
  amct_calibration_free(calibration);
  free_flow(&f);
  return status;
}

amct_status amct_flush_calibration(const char *record_file, amct_error *err) {
  amct_arena arena = {0};
  const char *path = NULL;
  amct_status status = AMCT_OK;
  if (record_file) status = amct_path_absolute(&arena, record_file, &path, err);
  if (status == AMCT_OK) status = amct_calib_flush(path, err);
  amct_arena_free(&arena);
  return status;
}
