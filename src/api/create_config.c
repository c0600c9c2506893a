/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/quantize.h"

#include "api/paths.h"
#include "api/study.h"
#include "base/logging.h"
#include "recipe/recipe.h"

static amct_status check_options(const char *config_file,
                                 const amct_config_options *options, amct_error *err) {
  if (!config_file || !*config_file)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "config_file is empty");
  if (options->batch_num <= 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "batch_num is %lld: it must be over 0",
                     (long long)options->batch_num);
  return AMCT_OK;
}

amct_status amct_create_quant_config(const amct_source *source, const char *config_file,
                                     const amct_config_options *options,
                                     amct_error *err) {
  const amct_config_options defaults = AMCT_CONFIG_OPTIONS_INIT;
  const amct_strings no_outputs = {NULL, 0};
  const amct_plan_options fusion = {.do_fusion = true};
  amct_study study = {0};
  amct_recipe recipe = {0};
  amct_status status;

  options = options ? options : &defaults;
  AMCT_TRY(check_options(config_file, options, err));
  const amct_recipe_options wanted = {options->skip_layers.at, options->skip_layers.count,
                                      options->batch_num, options->activation_offset};
  if ((status = amct_study_load(&study, source, no_outputs, err)) != AMCT_OK ||
      (status = amct_study_is_float(&study, err)) != AMCT_OK ||
      (status = amct_study_plan(&study, &fusion, err)) != AMCT_OK ||
      (status = amct_recipe_defaults(&recipe, &study.layers, study.graph, &wanted,
                                     err)) != AMCT_OK)
    goto done;

  for (size_t i = 0; i < study.layers.count; i++)
    if (study.layers.at[i].reason)
      amct_log(AMCT_LOG_INFO, "create_quant_config", "%s \"%s\" stays float: %s",
               study.layers.at[i].node->op, study.layers.at[i].node->name,
               study.layers.at[i].reason);
  if (amct_path_exists(config_file))
    amct_log(AMCT_LOG_WARNING, "create_quant_config", "%s exists and is overwritten",
             config_file);
  if ((status = amct_recipe_write(&recipe, config_file, err)) != AMCT_OK) goto done;
  amct_log(AMCT_LOG_INFO, "create_quant_config",
           "Generate config file:%s success! %zu of %zu layers are quantized",
           config_file, amct_recipe_enabled(&recipe), study.layers.count);
done:
  amct_recipe_free(&recipe);
  amct_study_free(&study);
  return status;
}
