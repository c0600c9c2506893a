/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/quantize.h"
#include "amct/retrain.h"

#include "api/paths.h"
#include "api/study.h"
#include "base/logging.h"
#include "insert/training.h"
#include "recipe/cfg.h"

static const char *const k_modules[] = {
    [AMCT_FOR_CALIBRATION] = "create_quant_config",
    [AMCT_FOR_RETRAINING] = "create_quant_retrain_config",
};

/* What a call works on; freed in one place. */
typedef struct flow {
  const char *module;
  amct_study study;
  amct_cfg cfg;
  amct_recipe_fusion fusion;
  amct_recipe recipe;
} flow;

static void free_flow(flow *f) {
  amct_recipe_free(&f->recipe);
  amct_arena_free(&f->fusion.arena);
  amct_cfg_free(&f->cfg);
  amct_study_free(&f->study);
}

static amct_preset preset_of(const amct_config_options *options) {
  if (!options->preset) return AMCT_PRESET_NONE;
  return amct_preset_named(amct_slice_of(options->preset));
}

static amct_status check_options(const char *config_file,
                                 const amct_config_options *options, amct_error *err) {
  if (!config_file || !*config_file)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "config_file is empty");
  if (options->config_defination && !*options->config_defination)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "config_defination is empty");
  if (!options->config_defination && options->batch_num <= 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "batch_num is %lld: it must be over 0",
                     (long long)options->batch_num);
  if (preset_of(options) == AMCT_PRESETS)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "preset is \"%.40s\": none or accurate is wanted", options->preset);
  return AMCT_OK;
}

static void warn_unread(const flow *f, const amct_config_options *options) {
  if (options->skip_layers.count != 0 || options->batch_num != 1 ||
      !options->activation_offset)
    amct_log(AMCT_LOG_WARNING, f->module,
             "skip_layers, batch_num and activation_offset are ignored: %s stands in for "
             "them",
             options->config_defination);
}

static amct_status plan_study(flow *f, const amct_plan_options *options,
                              amct_error *err) {
  AMCT_TRY(amct_study_plan(&f->study, options, err));
  if (f->recipe.purpose == AMCT_FOR_RETRAINING) amct_train_limit(&f->study.layers);
  return AMCT_OK;
}

/* Layers depend on what is fused, and that on the simplified configuration. */
static amct_status make_recipe(flow *f, const amct_config_options *options,
                               amct_error *err) {
  const amct_recipe_options wanted = {options->skip_layers.at, options->skip_layers.count,
                                      options->batch_num, options->activation_offset,
                                      preset_of(options)};
  amct_plan_options plan = {.do_fusion = true,
                            .keeps_grids = f->recipe.purpose == AMCT_FOR_RETRAINING};
  if (!options->config_defination) {
    AMCT_TRY(plan_study(f, &plan, err));
    return amct_recipe_defaults(&f->recipe, &f->study.layers, f->study.graph, &wanted,
                                err);
  }
  warn_unread(f, options);
  f->cfg.preset = preset_of(options);
  AMCT_TRY(amct_cfg_read(&f->cfg, options->config_defination, err));
  AMCT_TRY(amct_cfg_fusion(&f->fusion, &f->cfg, f->study.graph, err));
  plan.do_fusion = f->fusion.do_fusion;
  plan.skip_layers = f->fusion.skip_fusion_layers;
  plan.skip_count = f->fusion.skip_fusion_count;
  AMCT_TRY(plan_study(f, &plan, err));
  return amct_recipe_from_cfg(&f->recipe, &f->cfg, &f->study.layers, f->study.graph, err);
}

static void log_floats(const flow *f) {
  const size_t hidden = amct_layers_hidden(f->study.graph);
  if (hidden)
    amct_log(
        AMCT_LOG_WARNING, f->module,
        "%zu more layers stay float: they are in functions (of tf.function, compiled "
        "by XLA or not), which stay calls; amct_tensorflow.freeze writes out what "
        "Keras has compiled",
        hidden);
  for (size_t i = 0; i < f->study.layers.count; i++) {
    const amct_layer *layer = &f->study.layers.at[i];
    if (layer->reason)
      amct_log(AMCT_LOG_INFO, f->module, "%s \"%s\" stays float: %s", layer->node->op,
               layer->node->name, layer->reason);
  }
}

static amct_status write_config(flow *f, const amct_source *source,
                                const char *config_file,
                                const amct_config_options *options, amct_error *err) {
  const amct_strings no_outputs = {NULL, 0};
  AMCT_TRY(amct_study_load(&f->study, source, no_outputs, err));
  AMCT_TRY(amct_study_is_float(&f->study, err));
  AMCT_TRY(make_recipe(f, options, err));
  log_floats(f);
  if (amct_path_exists(config_file))
    amct_log(AMCT_LOG_WARNING, f->module, "%s exists and is overwritten", config_file);
  AMCT_TRY(amct_recipe_write(&f->recipe, config_file, err));
  amct_log(AMCT_LOG_INFO, "Config", "Generate config file:%s success!", config_file);
  amct_log(AMCT_LOG_INFO, f->module, "%zu of %zu layers are quantized",
           amct_recipe_enabled(&f->recipe), f->study.layers.count);
  return AMCT_OK;
}

static amct_status create(amct_recipe_purpose purpose, const amct_source *source,
                          const char *config_file, const amct_config_options *options,
                          amct_error *err) {
  flow f = {.module = k_modules[purpose]};
  f.recipe.purpose = f.cfg.purpose = purpose;
  AMCT_TRY(check_options(config_file, options, err));
  amct_status status = write_config(&f, source, config_file, options, err);
  free_flow(&f);
  return status;
}

amct_status amct_create_quant_config(const amct_source *source, const char *config_file,
                                     const amct_config_options *options,
                                     amct_error *err) {
  const amct_config_options defaults = AMCT_CONFIG_OPTIONS_INIT;
  return create(AMCT_FOR_CALIBRATION, source, config_file, options ? options : &defaults,
                err);
}

amct_status amct_create_quant_retrain_config(const amct_source *source,
                                             const char *config_file,
                                             const char *config_defination,
                                             amct_error *err) {
  amct_config_options options = AMCT_CONFIG_OPTIONS_INIT;
  options.config_defination = config_defination;
  return create(AMCT_FOR_RETRAINING, source, config_file, &options, err);
}
