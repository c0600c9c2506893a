/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/quantize.h"

#include "api/live.h"
#include "api/paths.h"
#include "api/prepare.h"
#include "base/logging.h"

/* Observers into the core's own graph, so that it is verified before the user's is
 * touched; the record is replaced last, when nothing else can fail. */
static amct_status observe(amct_calibration *calibration, amct_prepared *p,
                           const char *record_file, amct_error *err) {
  const amct_strings no_variables = {NULL, 0};
  AMCT_TRY(amct_prepare_observers(p, record_file, err));
  AMCT_TRY(amct_live_export(calibration, p->edits, p->study.graph, no_variables, err));
  AMCT_TRY(amct_edits_apply(p->edits, err));
  AMCT_TRY(amct_graph_verify(p->study.graph, err));
  return amct_prepare_begin(p, err);
}

amct_status amct_quantize_model(amct_calibration **out, const amct_source *source,
                                const char *config_file, const char *record_file,
                                amct_strings outputs, amct_error *err) {
  amct_prepared p = {0};
  amct_status status;

  *out = NULL;
  if (!config_file)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "config_file is empty");
  amct_calibration *calibration = amct_alloc_array(1, sizeof *calibration);
  if (!calibration) return amct_fail_memory(err);
  if ((status = amct_prepare(&p, source, config_file, AMCT_PRESET_NONE, outputs, err)) !=
          AMCT_OK ||
      (status = observe(calibration, &p, record_file, err)) != AMCT_OK)
    goto done;
  amct_plan_log(p.study.plan, "quantize_model");
  amct_log(AMCT_LOG_INFO, "quantize_model",
           "%zu layers wait for %lld batches each; factors go to %s",
           amct_recipe_enabled(&p.recipe), (long long)p.recipe.batch_num, p.record_path);

  *out = calibration;
  calibration = NULL; /* moved to the caller */
done:
  amct_calibration_free(calibration);
  amct_prepared_free(&p);
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
