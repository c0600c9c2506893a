/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/quantize.h"

#include "api/paths.h"
#include "api/study.h"
#include "base/logging.h"

static const char k_module[] = "fuse_model";

static amct_status fuse(amct_study *study, const char *pb_model, amct_strings outputs,
                        const char *path, amct_error *err) {
  const amct_source source = {.path = pb_model};
  const amct_plan_options options = {.outputs = outputs.at,
                                     .output_count = outputs.count,
                                     .do_fusion = true,
                                     .moves_data = true};
  AMCT_TRY(amct_study_load(study, &source, outputs, err));
  AMCT_TRY(amct_study_is_float(study, err));
  AMCT_TRY(amct_study_plan(study, &options, err));
  AMCT_TRY(amct_plan_settle(study->plan, NULL, err));
  AMCT_TRY(amct_graph_verify(study->graph, err));
  amct_plan_log(study->plan, k_module);
  return amct_study_save(study, path, err);
}

amct_status amct_fuse_model(const char *pb_model, amct_strings outputs,
                            const char *save_path, amct_error *err) {
  amct_study study = {0};
  amct_arena arena = {0};
  if (outputs.count == 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "outputs is empty: name the output nodes");
  if (!save_path)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "save_path is missing");
  const char *path = amct_path_prefixed(&arena, save_path, "fused.pb");
  const amct_status status =
      path ? fuse(&study, pb_model, outputs, path, err) : amct_fail_memory(err);
  if (status == AMCT_OK)
    amct_log(AMCT_LOG_INFO, k_module, "The fused model is saved in %s", path);
  amct_study_free(&study);
  amct_arena_free(&arena);
  return status;
}
