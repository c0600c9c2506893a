/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/quantize.h"

#include "api/paths.h"
#include "api/study.h"
#include "base/logging.h"
#include "calib/calibration.h"
#include "insert/observe.h"

struct amct_calibration {
  amct_live_edit *edits;
  size_t count;
  amct_arena arena;
};

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

static amct_status copy_edit(amct_calibration *calibration, const amct_edit *from,
                             amct_error *err) {
  amct_arena *arena = &calibration->arena;
  const bool adds = from->kind == AMCT_EDIT_ADD;
  const char *near = adds ? from->near : from->tensor;
  amct_live_edit to = {.kind = adds ? AMCT_LIVE_ADD : AMCT_LIVE_CONTROL};
  to.name = amct_arena_text(arena, from->name, strlen(from->name));
  to.near = amct_arena_text(arena, near, strlen(near));
  to.nodedef =
      amct_arena_text(arena, (const char *)from->nodedef.data, from->nodedef.size);
  to.nodedef_size = from->nodedef.size;
  if (!to.name || !to.near || !to.nodedef) return amct_fail_memory(err);
  calibration->edits[calibration->count++] = to;
  return AMCT_OK;
}

/* The edits as the live graph gets them: observers only add nodes and control edges. */
static amct_status export_edits(amct_calibration *calibration, flow *f, amct_error *err) {
  const size_t count = amct_edits_size(f->edits);
  calibration->edits =
      amct_arena_array(&calibration->arena, count + 1, sizeof *calibration->edits);
  if (!calibration->edits) return amct_fail_memory(err);
  for (size_t i = 0; i < count; i++) {
    amct_edit edit;
    AMCT_TRY(amct_edits_at(f->edits, i, &edit, err));
    AMCT_TRY(copy_edit(calibration, &edit, err));
  }
  return AMCT_OK;
}

/* Observers into the core's own graph, so that it is verified before the user's is
 * touched. */
static amct_status plan_observers(amct_calibration *calibration, flow *f, const char *id,
                                  const char *record_path, amct_error *err) {
  const amct_observe_options options = {id, record_path};
  f->edits = amct_edits_new(f->study.graph);
  if (!f->edits) return amct_fail_memory(err);
  AMCT_TRY(amct_observe(f->edits, f->study.plan, &f->recipe, &options, err));
  AMCT_TRY(export_edits(calibration, f, err));
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

size_t amct_calibration_size(const amct_calibration *calibration) {
  return calibration->count;
}

amct_status amct_calibration_edit(amct_calibration *calibration, size_t i,
                                  amct_live_edit *edit, amct_error *err) {
  if (i >= calibration->count)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "edit %zu of %zu", i,
                     calibration->count);
  *edit = calibration->edits[i];
  return AMCT_OK;
}

void amct_calibration_free(amct_calibration *calibration) {
  if (!calibration) return;
  amct_arena_free(&calibration->arena);
  amct_free(calibration);
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
