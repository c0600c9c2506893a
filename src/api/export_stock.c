/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/export.h"

#include "api/paths.h"
#include "api/study.h"
#include "base/logging.h"
#include "insert/stock.h"

static const char k_module[] = "export_stock";

static amct_status convert(amct_study *study, const char *pb_quantized, size_t *count,
                           amct_error *err) {
  const amct_source source = {.path = pb_quantized};
  AMCT_TRY(amct_study_load(study, &source, (amct_strings){NULL, 0}, err));
  AMCT_TRY(amct_stock(study->graph, count, err));
  AMCT_TRY(amct_graph_verify(study->graph, err));
  if (*count == 0)
    return amct_fail(err, AMCT_UNSUPPORTED, NULL,
                     "%s holds no quantization ops: give the pb that save_model wrote",
                     pb_quantized);
  const amct_node *left = amct_layers_quantized(study->graph);
  if (!left) return AMCT_OK;
  return amct_fail(err, AMCT_UNSUPPORTED, left->name,
                   "%s holds %s \"%s\", an op of a calibration: give the pb that "
                   "save_model wrote",
                   pb_quantized, left->op, left->name);
}

amct_status amct_export_stock(const char *pb_quantized, const char *save_path,
                              amct_error *err) {
  amct_study study = {0};
  amct_arena arena = {0};
  size_t count = 0;
  if (!save_path)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "save_path is missing");
  const char *path = amct_path_prefixed(&arena, save_path, "stock.pb");
  amct_status status = path ? AMCT_OK : amct_fail_memory(err);
  if (status == AMCT_OK) status = convert(&study, pb_quantized, &count, err);
  if (status == AMCT_OK) status = amct_study_save(&study, path, err);
  if (status == AMCT_OK) {
    amct_log(AMCT_LOG_INFO, k_module, "%zu ops are replaced by stock ops", count);
    amct_log(AMCT_LOG_INFO, k_module, "The model is saved in %s", path);
  }
  amct_study_free(&study);
  amct_arena_free(&arena);
  return status;
}
