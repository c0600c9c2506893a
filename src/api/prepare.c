/* SPDX-License-Identifier: Apache-2.0 */
#include "api/prepare.h"

#include "api/paths.h"
#include "insert/observe.h"

void amct_prepared_free(amct_prepared *p) {
  amct_edits_free(p->edits);
  amct_recipe_free(&p->recipe);
  amct_arena_free(&p->fusion.arena);
  amct_study_free(&p->study);
  amct_arena_free(&p->arena);
}

static amct_status plan(amct_prepared *p, const char *config_file, amct_strings outputs,
                        amct_error *err) {
  p->fusion.do_fusion = true;
  if (config_file)
    AMCT_TRY(amct_recipe_read_fusion(&p->fusion, config_file, p->study.graph, err));
  const amct_plan_options options = {outputs.at, outputs.count, p->fusion.do_fusion,
                                     p->fusion.skip_fusion_layers,
                                     p->fusion.skip_fusion_count};
  return amct_study_plan(&p->study, &options, err);
}

amct_status amct_prepare(amct_prepared *p, const amct_source *source,
                         const char *config_file, amct_preset preset,
                         amct_strings outputs, amct_error *err) {
  const amct_recipe_options defaults = {
      .batch_num = 1, .preset = preset, .activation_offset = true};
  AMCT_TRY(amct_study_load(&p->study, source, outputs, err));
  AMCT_TRY(amct_study_is_float(&p->study, err));
  AMCT_TRY(plan(p, config_file, outputs, err));
  const amct_layers *layers = &p->study.layers;
  return config_file
             ? amct_recipe_read(&p->recipe, config_file, layers, p->study.graph, err)
             : amct_recipe_defaults(&p->recipe, layers, p->study.graph, &defaults, err);
}

amct_status amct_prepare_observers(amct_prepared *p, const char *record_file,
                                   amct_error *err) {
  if (!record_file || !*record_file)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "record_file is empty");
  AMCT_TRY(amct_path_absolute(&p->arena, record_file, &p->record_path, err));
  amct_calib_make_id(p->id);
  const amct_observe_options options = {p->id, p->record_path};
  p->edits = amct_edits_new(p->study.graph);
  if (!p->edits) return amct_fail_memory(err);
  return amct_observe(p->edits, p->study.plan, &p->recipe, &options, err);
}

/* Layers that save_model must not fold into: the record carries them, since save_model
 * sees no configuration. */
static amct_status unfused_layers(amct_prepared *p, amct_calib_start *start,
                                  amct_error *err) {
  if (p->recipe.do_fusion) {
    start->skip_fusion = p->recipe.skip_fusion_layers;
    start->skip_fusion_count = p->recipe.skip_fusion_count;
    return AMCT_OK;
  }
  const char **all = amct_arena_array(&p->arena, p->study.layers.count + 1, sizeof *all);
  if (!all) return amct_fail_memory(err);
  for (size_t i = 0; i < p->study.layers.count; i++)
    if (amct_plan_fusible(p->study.layers.at[i].node->op))
      all[start->skip_fusion_count++] = p->study.layers.at[i].node->name;
  start->skip_fusion = all;
  return AMCT_OK;
}

amct_status amct_prepare_begin(amct_prepared *p, amct_error *err) {
  amct_calib_start start = {.record_path = p->record_path, .id = p->id};
  AMCT_TRY(unfused_layers(p, &start, err));
  return amct_calib_begin(&start, p->id, err);
}
