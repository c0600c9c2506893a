/* SPDX-License-Identifier: Apache-2.0 */
/* What the fault tests run: the public calls on the network of fault_net.h. */
#ifndef AMCT_TESTS_FAULT_CALLS_H
#define AMCT_TESTS_FAULT_CALLS_H

#include "amct/export.h"
#include "amct/inspect.h"
#include "amct/retrain.h"
#include "fault/fault_net.h"

static inline amct_status run_create_config(const net *n, amct_error *err) {
  const char *const skip[] = {"pool"};
  amct_config_options options = AMCT_CONFIG_OPTIONS_INIT;
  const amct_source source = {.path = temp_path(&n->folder, "net.pb")};
  options.skip_layers = (amct_strings){skip, 1};
  return amct_create_quant_config(&source, temp_path(&n->folder, "made/config.json"),
                                  &options, err);
}

static inline amct_status run_create_from_cfg(const net *n, amct_error *err) {
  amct_config_options options = AMCT_CONFIG_OPTIONS_INIT;
  const amct_source source = {.path = temp_path(&n->folder, "net.pb")};
  options.config_defination = temp_path(&n->folder, "simple.cfg");
  return amct_create_quant_config(&source, temp_path(&n->folder, "made/config.json"),
                                  &options, err);
}

static inline amct_status run_quantize(const net *n, amct_error *err) {
  const char *const names[] = {"prob"};
  const amct_source source = {.path = temp_path(&n->folder, "net.pb")};
  amct_calibration *calibration = NULL;
  const amct_status status = amct_quantize_model(
      &calibration, &source, temp_path(&n->folder, "config.json"),
      temp_path(&n->folder, "made/record.txt"), (amct_strings){names, 1}, err);
  amct_calibration_free(calibration);
  return status;
}

static inline amct_status run_save(const net *n, amct_error *err) {
  const char *const names[] = {"prob"};
  return amct_save_model(temp_path(&n->folder, "net.pb"), (amct_strings){names, 1},
                         temp_path(&n->folder, "record.txt"),
                         temp_path(&n->folder, "made/model"), err);
}

static inline amct_status run_fuse(const net *n, amct_error *err) {
  const char *const names[] = {"prob"};
  return amct_fuse_model(temp_path(&n->folder, "net.pb"), (amct_strings){names, 1},
                         temp_path(&n->folder, "made/model"), err);
}

static inline amct_status run_export_stock(const net *n, amct_error *err) {
  return amct_export_stock(temp_path(&n->folder, "saved_quantized.pb"),
                           temp_path(&n->folder, "made/model"), err);
}

static inline amct_status run_describe(const net *n, amct_error *err) {
  const char *const names[] = {"prob"};
  const amct_source source = {.path = temp_path(&n->folder, "net.pb")};
  char *text = NULL;
  const amct_status status =
      amct_describe_plan(&text, &source, (amct_strings){names, 1}, err);
  amct_text_free(text);
  return status;
}

static inline amct_status run_inspect(const net *n, amct_error *err) {
  const amct_source source = {.path = temp_path(&n->folder, "net.pb")};
  char *report = NULL;
  size_t left = 0;
  const amct_status status = amct_inspect_model(
      &report, &left, &source, (amct_strings){NULL, 0}, AMCT_REPORT_JSON, err);
  assert_true(!report == (status != AMCT_OK));
  amct_text_free(report);
  return status;
}

static inline amct_status run_compare_models(const net *n, amct_error *err) {
  char *report = NULL;
  size_t differences = 0;
  const amct_status status =
      amct_compare_models(&report, &differences, temp_path(&n->folder, "net.pb"),
                          temp_path(&n->folder, "other.pb"), err);
  assert_true(!report == (status != AMCT_OK));
  amct_text_free(report);
  return status;
}

static inline amct_status run_check_record(const net *n, amct_error *err) {
  size_t quantized = 0;
  return amct_check_record(&quantized, temp_path(&n->folder, "net.pb"),
                           (amct_strings){NULL, 0}, temp_path(&n->folder, "record.txt"),
                           err);
}

static inline amct_status run_show_record(const net *n, amct_error *err) {
  char *report = NULL;
  const amct_status status =
      amct_show_record(&report, temp_path(&n->folder, "record.txt"), err);
  assert_true(!report == (status != AMCT_OK));
  amct_text_free(report);
  return status;
}

static inline amct_status run_compare_records(const net *n, amct_error *err) {
  char *report = NULL;
  size_t differences = 0;
  const amct_status status =
      amct_compare_records(&report, &differences, temp_path(&n->folder, "record.txt"),
                           temp_path(&n->folder, "other.txt"), err);
  assert_true(!report == (status != AMCT_OK));
  amct_text_free(report);
  return status;
}

static inline amct_status run_retrain_config(const net *n, amct_error *err) {
  const amct_source source = {.path = temp_path(&n->folder, "net.pb")};
  return amct_create_quant_retrain_config(&source,
                                          temp_path(&n->folder, "made/config.json"),
                                          temp_path(&n->folder, "retrain.cfg"), err);
}

static inline amct_status run_retrain_model(const net *n, amct_error *err) {
  const amct_source source = {.path = temp_path(&n->folder, "net.pb")};
  amct_calibration *edits = NULL;
  const amct_status status = amct_create_quant_retrain_model(
      &edits, &source, temp_path(&n->folder, "retrain.json"),
      temp_path(&n->folder, "empty.txt"), err);
  assert_true(!edits == (status != AMCT_OK));
  amct_calibration_free(edits);
  return status;
}

static inline amct_status run_retrain_save(const net *n, amct_error *err) {
  const char *const names[] = {"prob"};
  return amct_save_quant_retrain_model(
      temp_path(&n->folder, "trained.pb"), (amct_strings){names, 1},
      temp_path(&n->folder, "trained.txt"), temp_path(&n->folder, "made/model"), err);
}

static inline amct_status run_convert_qat(const net *n, amct_error *err) {
  const char *const names[] = {"prob"};
  return amct_convert_qat_model(temp_path(&n->folder, "fake.pb"),
                                (amct_strings){names, 1},
                                temp_path(&n->folder, "made/model"),
                                temp_path(&n->folder, "made/record.txt"), true, err);
}

enum { TARGETS = 3 };
typedef struct call {
  const char *name;
  amct_status (*run)(const net *n, amct_error *err);
  const char *targets[TARGETS]; /* in the order in which they are replaced; NULL: none */
} call;

static const call k_calls[] = {
    {"create_quant_config", run_create_config, {"made/config.json"}},
    {"create_quant_config, cfg", run_create_from_cfg, {"made/config.json"}},
    {"quantize_model", run_quantize, {"made/record.txt"}},
    {"save_model", run_save, {"made/model_quant.json", "made/model_quantized.pb"}},
    {"create_quant_retrain_config", run_retrain_config, {"made/config.json"}},
    {"create_quant_retrain_model", run_retrain_model, {NULL}},
    {"save_quant_retrain_model",
     run_retrain_save,
     {"made/model_quant.json", "made/model_quantized.pb"}},
    {"convert_qat_model",
     run_convert_qat,
     {"made/record.txt", "made/model_quant.json", "made/model_quantized.pb"}},
    {"fuse_model", run_fuse, {"made/model_fused.pb"}},
    {"export_stock", run_export_stock, {"made/model_stock.pb"}},
    {"describe_plan", run_describe, {NULL}},
    {"inspect_model", run_inspect, {NULL}},
    {"compare_models", run_compare_models, {NULL}},
    {"check_record", run_check_record, {NULL}},
    {"show_record", run_show_record, {NULL}},
    {"compare_records", run_compare_records, {NULL}},
};
enum { CALL_COUNT = sizeof k_calls / sizeof *k_calls };

#endif
