/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that work on models and records. */
#include "amct/export.h"
#include "amct/inspect.h"
#include "amct/retrain.h"

#include "run.h"

#include <stdio.h>

cli_status cli_finish(amct_status status, const amct_error *err) {
  if (status == AMCT_OK) return CLI_DONE;
  cli_error("%s", *err->text ? err->text : amct_status_text(status));
  return status == AMCT_INVALID_ARGUMENT ? CLI_USAGE : CLI_FAILED;
}

static void print_report(char *report) {
  if (report) fputs(report, stdout);
  amct_text_free(report);
}

amct_strings cli_names(const cli_call *call, cli_option_id option) {
  return (amct_strings){call->value[option].at, call->value[option].count};
}

cli_status cli_run_inspect(const cli_call *call) {
  const amct_source source = {.path = cli_text(call, CLI_inspect_model)};
  const amct_report_form form =
      call->given[CLI_inspect_json] ? AMCT_REPORT_JSON : AMCT_REPORT_TEXT;
  amct_error err = {0};
  char *report = NULL;
  size_t left = 0;
  const amct_status status = amct_inspect_model(
      &report, &left, &source, cli_names(call, CLI_inspect_outputs), form, &err);
  print_report(report);
  if (status == AMCT_OK && left && call->given[CLI_inspect_strict]) return CLI_DECLINED;
  return cli_finish(status, &err);
}

/* Of the options only those that both configurations know. */
static cli_status config_retraining(const cli_call *call, const amct_source *source) {
  static const cli_option_id k_others[] = {CLI_config_skip_layers, CLI_config_batch_num,
                                           CLI_config_no_activation_offset,
                                           CLI_config_preset};
  amct_error err = {0};
  for (size_t i = 0; i < sizeof k_others / sizeof *k_others; i++)
    if (call->given[k_others[i]])
      return cli_usage(CLI_config,
                       "--%s does not go with --retrain: use "
                       "--config_defination",
                       k_options[k_others[i]].name);
  return cli_finish(amct_create_quant_retrain_config(
                        source, cli_text(call, CLI_config_config),
                        cli_text(call, CLI_config_config_defination), &err),
                    &err);
}

cli_status cli_run_config(const cli_call *call) {
  const amct_source source = {.path = cli_text(call, CLI_config_model)};
  amct_config_options options = AMCT_CONFIG_OPTIONS_INIT;
  amct_error err = {0};
  if (call->given[CLI_config_retrain]) return config_retraining(call, &source);
  options.skip_layers = cli_names(call, CLI_config_skip_layers);
  options.activation_offset = !call->given[CLI_config_no_activation_offset];
  options.config_defination = cli_text(call, CLI_config_config_defination);
  options.preset = cli_text(call, CLI_config_preset);
  if (call->given[CLI_config_batch_num])
    options.batch_num = cli_number(cli_text(call, CLI_config_batch_num));
  return cli_finish(amct_create_quant_config(&source, cli_text(call, CLI_config_config),
                                             &options, &err),
                    &err);
}

cli_status cli_run_fuse(const cli_call *call) {
  amct_error err = {0};
  return cli_finish(amct_fuse_model(cli_text(call, CLI_fuse_model),
                                    cli_names(call, CLI_fuse_outputs),
                                    cli_text(call, CLI_fuse_save_path), &err),
                    &err);
}

cli_status cli_run_convert(const cli_call *call) {
  const char *model = cli_text(call, CLI_convert_model);
  const char *record = cli_text(call, CLI_convert_record);
  const char *path = cli_text(call, CLI_convert_save_path);
  const char *factors = cli_text(call, CLI_convert_factors);
  const amct_strings outputs = cli_names(call, CLI_convert_outputs);
  const bool exact = call->given[CLI_convert_exact];
  amct_error err = {0};
  if (record && factors)
    return cli_usage(CLI_convert, "--factors is for models without a --record");
  if (record && exact)
    return cli_usage(CLI_convert, "--exact is for models without a --record");
  if (call->given[CLI_convert_retrained]) {
    if (!record) return cli_usage(CLI_convert, "--retrained needs a --record");
    return cli_finish(amct_save_quant_retrain_model(model, outputs, record, path, &err),
                      &err);
  }
  return cli_finish(
      record ? amct_convert_model(model, outputs, record, path, &err)
             : amct_convert_qat_model(model, outputs, path, factors, exact, &err),
      &err);
}

cli_status cli_run_export(const cli_call *call) {
  amct_error err = {0};
  return cli_finish(amct_export_stock(cli_text(call, CLI_export_model),
                                      cli_text(call, CLI_export_save_path), &err),
                    &err);
}

static cli_status check_record(const cli_call *call) {
  const char *record = cli_text(call, CLI_record_check);
  const char *model = cli_text(call, CLI_record_model);
  amct_error err = {0};
  size_t quantized = 0;
  if (!model)
    return cli_usage(CLI_record, "--check: --%s %s is missing",
                     k_options[CLI_record_model].name, k_options[CLI_record_model].value);
  const amct_status status = amct_check_record(
      &quantized, model, cli_names(call, CLI_record_outputs), record, &err);
  if (status == AMCT_OK) printf("%s fits: %zu layers are quantized\n", record, quantized);
  return cli_finish(status, &err);
}

static cli_status compare_records(const cli_call *call) {
  const char *const *path = call->value[CLI_record_compare].at;
  amct_error err = {0};
  char *report = NULL;
  size_t differences = 0;
  const amct_status status =
      amct_compare_records(&report, &differences, path[0], path[1], &err);
  print_report(report);
  return status == AMCT_OK && differences ? CLI_FAILED : cli_finish(status, &err);
}

cli_status cli_run_record(const cli_call *call) {
  const int asked = call->given[CLI_record_check] + call->given[CLI_record_print] +
                    call->given[CLI_record_compare];
  amct_error err = {0};
  char *report = NULL;
  if (asked != 1)
    return cli_usage(CLI_record, "one of --check, --print and --compare is wanted");
  if (call->given[CLI_record_check]) return check_record(call);
  if (call->given[CLI_record_model] || call->given[CLI_record_outputs])
    return cli_usage(CLI_record, "--model and --outputs are for --check");
  if (call->given[CLI_record_compare]) return compare_records(call);
  const amct_status status =
      amct_show_record(&report, cli_text(call, CLI_record_print), &err);
  print_report(report);
  return cli_finish(status, &err);
}

cli_status cli_run_diff(const cli_call *call) {
  amct_error err = {0};
  char *report = NULL;
  size_t differences = 0;
  const amct_status status = amct_compare_models(
      &report, &differences, call->operands.at[0], call->operands.at[1], &err);
  print_report(report);
  return status == AMCT_OK && differences ? CLI_FAILED : cli_finish(status, &err);
}

cli_status cli_run_passes(const cli_call *call) {
  amct_error err = {0};
  char *report = NULL;
  const amct_status status =
      amct_list_passes(&report, call->given[CLI_passes_long], &err);
  print_report(report);
  return cli_finish(status, &err);
}

cli_status cli_run_version(const cli_call *call) {
  (void)call;
  printf("amct %s\n", amct_version());
  return CLI_DONE;
}
