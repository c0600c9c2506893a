/* SPDX-License-Identifier: Apache-2.0 */
/* From a simplified configuration and a graph to the recipe. */
#include "base/logging.h"
#include "recipe/cfg.h"
#include "recipe/recipe_private.h"

static const char k_module[] = "config";

/* How one layer is quantized: the message that counts for it, and how it was chosen. */
typedef struct choice {
  const amct_cfg_value *settings; /* a calibration message; for retraining an override, or
                                     the file; NULL: defaults */
  amct_select_kind kind;          /* PATTERN for what holds for all layers too */
} choice;

typedef struct applier {
  const amct_cfg *cfg;
  amct_recipe *recipe;
  const amct_layers *layers;
  const amct_graph *graph;
  amct_naming naming;
  amct_layer_recipe **by_layer;
  amct_recipe_fallbacks fallbacks;
  choice *choices;              /* of recipe->layers */
  const amct_cfg_value *common; /* common_config or conv_calibration_config; or NULL */
  amct_map overridden;          /* nodes named in override_layer_configs */
} applier;

static const amct_cfg_value *get(const applier *a, const char *name) {
  return amct_cfg_get(&a->cfg->file, name);
}

static amct_config_place place_of(const applier *a, const amct_cfg_value *value,
                                  const char *field) {
  return (amct_config_place){a->cfg->path, value->line, field};
}

static bool is_retraining(const applier *a) {
  return a->cfg->purpose == AMCT_FOR_RETRAINING;
}

/* What an override says. */
static const amct_cfg_value *settings_of(const applier *a, const amct_cfg_value *v) {
  return is_retraining(a) ? v : amct_cfg_get(v, "calibration_config");
}

/* ---- types ---- */

static bool is_layer_type(const char *type) {
  for (size_t i = 0; i < amct_op_layer_count(); i++)
    if (strcmp(type, amct_op_layer_at(i)->op) == 0) return true;
  return false;
}

static amct_status fail_type(const amct_config_place *place, const char *type,
                             amct_error *err) {
  char names[AMCT_NEAREST_BYTES];
  amct_nearest nearest;
  amct_nearest_start(&nearest, type);
  for (size_t i = 0; i < amct_op_layer_count(); i++)
    amct_nearest_offer(&nearest, amct_op_layer_at(i)->op);
  return amct_config_fail(err, place, NULL,
                          ": \"%.100s\" is not a type that is quantized%s", type,
                          amct_nearest_text(&nearest, names));
}

/* Types are few: those named before are looked through. */
static amct_status check_type_once(const applier *a, const amct_cfg_value *first,
                                   const amct_cfg_value *value, const char *field,
                                   amct_error *err) {
  const amct_config_place place = place_of(a, value, field);
  for (; first != value; first = amct_cfg_next(first)) {
    const amct_cfg_value *type = amct_cfg_get(first, "layer_type");
    const amct_cfg_value *own = amct_cfg_get(value, "layer_type");
    const char *before = type != NULL ? type->text : first->text;
    const char *now = own != NULL ? own->text : value->text;
    if (strcmp(before, now) == 0)
      return amct_config_fail(err, &place, NULL, ": \"%.100s\" stands twice", now);
  }
  return AMCT_OK;
}

/* ---- choices ---- */

/* The message about weights: gptq_quantize, where both stand. */
static const amct_cfg_value *weighting_of(const amct_cfg_value *calibration) {
  const amct_cfg_value *gptq = amct_cfg_get(calibration, "gptq_quantize");
  return gptq != NULL ? gptq : amct_cfg_get(calibration, "arq_quantize");
}

/* The older pair: where neither common_config nor override_layer_types stands. */
static amct_status choose_older(applier *a, amct_error *err) {
  const amct_cfg_value *conv = get(a, "conv_calibration_config");
  const amct_cfg_value *fc = get(a, "fc_calibration_config");
  const amct_cfg_value *older[] = {conv, fc};
  const bool newer = get(a, "common_config") || get(a, "override_layer_types");
  for (size_t i = 0; i < 2; i++)
    if (older[i] != NULL)
      amct_log(newer ? AMCT_LOG_WARNING : AMCT_LOG_INFO, k_module,
               newer ? "%s: line %u: %s is ignored: common_config or "
                       "override_layer_types stands there"
                     : "%s: line %u: %s is the older spelling of common_config and "
                       "override_layer_types",
               a->cfg->path, (unsigned)older[i]->line, older[i]->field->name);
  if (newer) return AMCT_OK;

  const amct_cfg_value *arq = fc != NULL ? weighting_of(fc) : NULL;
  const amct_cfg_value *wise = arq != NULL ? amct_cfg_get(arq, "channel_wise") : NULL;
  if (wise != NULL && wise->flag) {
    const amct_config_place place =
        place_of(a, wise, "fc_calibration_config.arq_quantize.channel_wise");
    return amct_config_fail(err, &place, NULL,
                            " is true: these layers have no scales by channel");
  }
  a->common = conv;
  for (size_t i = 0; i < a->recipe->layer_count; i++) {
    const bool by_channel = amct_lookup_fusible(a->recipe->layers[i].layer);
    a->choices[i] = (choice){by_channel ? conv : fc, AMCT_SELECT_PATTERN};
  }
  return AMCT_OK;
}

static void choose_all(const applier *a, const amct_selector *selector,
                       const amct_cfg_value *settings) {
  for (size_t i = 0; i < a->recipe->layer_count; i++)
    if (amct_selector_takes(selector, a->recipe->layers[i].layer->node))
      a->choices[i] = (choice){settings, selector->kind};
}

static amct_status choose_types(const applier *a, amct_error *err) {
  const amct_cfg_value *first = get(a, "override_layer_types");
  for (const amct_cfg_value *v = first; v != NULL; v = amct_cfg_next(v)) {
    const amct_cfg_value *type = amct_cfg_get(v, "layer_type");
    const amct_config_place place = place_of(a, type, "override_layer_types.layer_type");
    const amct_selector selector = {AMCT_SELECT_TYPE, type->text, NULL};
    if (!is_layer_type(type->text)) return fail_type(&place, type->text, err);
    AMCT_TRY(check_type_once(a, first, v, place.field, err));
    choose_all(a, &selector, settings_of(a, v));
  }
  return AMCT_OK;
}

/* Patterns first, of which the last counts, so that names win over them. */
static amct_status choose_layers(applier *a, bool named, amct_error *err) {
  const amct_cfg_value *v = get(a, "override_layer_configs");
  for (; v != NULL; v = amct_cfg_next(v)) {
    const amct_cfg_value *name = amct_cfg_get(v, "layer_name");
    const amct_cfg_value *settings = settings_of(a, v);
    const amct_config_place place =
        place_of(a, name, "override_layer_configs.layer_name");
    amct_selector selector = amct_selector_of(a->graph, name->text);
    amct_layer_recipe *entry = NULL;
    if ((selector.kind == AMCT_SELECT_NAME) != named) continue;
    if (!named) {
      AMCT_TRY(amct_selector_check(&selector, &a->naming.layers, &place, err));
      choose_all(a, &selector, settings);
      continue;
    }
    AMCT_TRY(
        amct_naming_entry(&a->naming, name->text, &a->overridden, &place, &entry, err));
    a->choices[entry - a->recipe->layers] = (choice){settings, AMCT_SELECT_NAME};
  }
  return AMCT_OK;
}

static amct_status choose(applier *a, amct_error *err) {
  const size_t count = a->recipe->layer_count;
  a->choices = amct_arena_array(&a->recipe->arena, count + 1, sizeof *a->choices);
  if (a->choices == NULL) return amct_fail_memory(err);
  a->common = is_retraining(a) ? &a->cfg->file : get(a, "common_config");
  for (size_t i = 0; i < count; i++)
    a->choices[i] = (choice){a->common, AMCT_SELECT_PATTERN};
  if (!is_retraining(a)) AMCT_TRY(choose_older(a, err));
  AMCT_TRY(choose_types(a, err));
  AMCT_TRY(choose_layers(a, false, err));
  return choose_layers(a, true, err);
}

/* ---- layers ---- */

static const amct_cfg_value *part(const amct_cfg_value *settings, const char *message,
                                  const char *field) {
  const amct_cfg_value *in = settings != NULL ? amct_cfg_get(settings, message) : NULL;
  return in != NULL ? amct_cfg_get(in, field) : NULL;
}

static const amct_cfg_value *asymmetric_of(const amct_cfg_value *calibration) {
  const amct_cfg_value *range = calibration != NULL ? amct_cfg_range(calibration) : NULL;
  return range != NULL ? amct_cfg_get(range, "asymmetric") : NULL;
}

/* A layer that says nothing about asymmetric has that of common_config. */
static void fill_asymmetric(const applier *a, amct_layer_recipe *entry,
                            const amct_cfg_value *calibration) {
  const amct_cfg_value *common = asymmetric_of(a->common);
  if (common != NULL && asymmetric_of(calibration) == NULL)
    entry->range.asymmetric = common->flag;
}

static void store(const amct_cfg_value *message, amct_layer_recipe *entry) {
  if (message != NULL) amct_cfg_store(message, entry);
}

/* The message of an override, or that of all layers. */
static const amct_cfg_value *retrain_part(const applier *a, choice chosen,
                                          const char *config, const char *message) {
  const bool own = amct_cfg_get(chosen.settings, config) != NULL;
  return part(own ? chosen.settings : a->common, config, message);
}

/* Stores what the file says of a layer; returns the message with its channel_wise. */
static const amct_cfg_value *store_layer(const applier *a, amct_layer_recipe *entry,
                                         choice chosen) {
  const amct_cfg_value *arq;
  if (is_retraining(a)) {
    const amct_cfg_value *ulq =
        retrain_part(a, chosen, "retrain_data_quant_config", "ulq_quantize");
    arq = retrain_part(a, chosen, "retrain_weight_quant_config", "arq_retrain");
    store(ulq, entry);
    if (ulq != NULL) store(amct_cfg_get(ulq, "clip_max_min"), entry);
  } else {
    fill_asymmetric(a, entry, chosen.settings);
    if (chosen.settings == NULL) return NULL;
    store(amct_cfg_range(chosen.settings), entry);
    arq = weighting_of(chosen.settings);
  }
  store(arq, entry);
  return arq;
}

static amct_status fill_layer(const applier *a, amct_layer_recipe *entry, choice chosen,
                              amct_error *err) {
  const amct_cfg_value *arq = store_layer(a, entry, chosen);
  amct_recipe_settle_range(entry);
  if (arq == NULL || amct_recipe_settle_channels(entry, chosen.kind)) return AMCT_OK;
  const amct_cfg_value *message = amct_cfg_get(arq, "channel_wise");
  const amct_config_place place = place_of(a, message, "channel_wise");
  return amct_config_fail(err, &place, entry->name,
                          " is true for \"%.200s\": %s has no scales by channel",
                          entry->name, entry->layer->op->op);
}

static amct_status skip_types(const applier *a, const char *field, amct_error *err) {
  const amct_cfg_value *first = get(a, field);
  for (const amct_cfg_value *v = first; v != NULL; v = amct_cfg_next(v)) {
    const amct_config_place place = place_of(a, v, field);
    const amct_selector selector = {AMCT_SELECT_TYPE, v->text, NULL};
    if (!is_layer_type(v->text)) return fail_type(&place, v->text, err);
    AMCT_TRY(check_type_once(a, first, v, place.field, err));
    size_t skipped = 0;
    for (size_t i = 0; i < a->recipe->layer_count; i++) {
      if (!amct_selector_takes(&selector, a->recipe->layers[i].layer->node)) continue;
      a->recipe->layers[i].enabled = false;
      skipped++;
    }
    if (skipped == 0)
      amct_log(AMCT_LOG_WARNING, k_module,
               "%s: line %u: %s: no layers of type \"%s\" can be quantized", place.path,
               (unsigned)v->line, field, v->text);
  }
  return AMCT_OK;
}

static amct_status skip_layers(applier *a, const char *field, amct_error *err) {
  const amct_cfg_value *v = get(a, field);
  for (; v != NULL; v = amct_cfg_next(v)) {
    const amct_config_place at = place_of(a, v, field);
    AMCT_TRY(amct_naming_skip(&a->naming, v->text, &at, err));
  }
  amct_map_free(&a->naming.skipped); /* the other field may name it again */
  return AMCT_OK;
}

static amct_status skip(applier *a, amct_error *err) {
  const amct_config_place place = {a->cfg->path, 0, "skip_layers and skip_layer_types"};
  for (size_t i = 0; i < a->recipe->layer_count; i++)
    a->recipe->layers[i].enabled = true;
  AMCT_TRY(skip_layers(a, "skip_layers", err));
  AMCT_TRY(skip_layers(a, "quant_skip_layers", err)); /* for retraining only */
  AMCT_TRY(skip_types(a, "skip_layer_types", err));
  AMCT_TRY(skip_types(a, "quant_skip_types", err));
  return amct_recipe_check_left(a->recipe, &place, err);
}

/* ---- the whole ---- */

static amct_status take_unfused(amct_recipe *recipe, const amct_cfg *cfg,
                                const amct_graph *graph, amct_error *err) {
  const amct_cfg_value *first = amct_cfg_get(&cfg->file, "skip_fusion_layers");
  size_t count = 0;
  for (const amct_cfg_value *v = first; v != NULL; v = amct_cfg_next(v))
    count++;
  const char **names = amct_arena_array(&recipe->arena, count + 1, sizeof *names);
  uint32_t *lines = amct_arena_array(&recipe->arena, count + 1, sizeof *lines);
  if (names == NULL || lines == NULL) return amct_fail_memory(err);
  size_t i = 0;
  for (const amct_cfg_value *v = first; v != NULL; v = amct_cfg_next(v), i++) {
    names[i] = v->text;
    lines[i] = v->line;
  }
  recipe->skip_fusion_layers = names;
  recipe->skip_fusion_count = count;
  return amct_recipe_name_unfused(recipe, graph, cfg->path, lines, err);
}

static amct_status take_globals(amct_recipe *recipe, const amct_cfg *cfg,
                                const amct_graph *graph,
                                const amct_recipe_fallbacks *fallbacks, amct_error *err) {
  AMCT_TRY(amct_recipe_start(recipe, fallbacks, err));
  recipe->preset = cfg->preset;
  amct_cfg_store(&cfg->file, recipe);
  return take_unfused(recipe, cfg, graph, err);
}

static amct_status add_tensor(applier *a, const amct_cfg_value *v, amct_error *err) {
  const amct_config_place place = place_of(a, v, "tensor_quantize");
  const amct_tensor_recipe named = {amct_cfg_get(v, "layer_name")->text,
                                    amct_cfg_get(v, "input_index")->count};
  amct_layer_recipe *entry = NULL;
  AMCT_TRY(amct_recipe_add_tensor(a->recipe, &a->fallbacks, &entry, err));
  store(amct_cfg_range(v), entry);
  return amct_recipe_name_tensor(a->recipe, &named, &a->naming, &place, err);
}

static amct_status add_tensors(applier *a, amct_error *err) {
  const amct_cfg_value *first = get(a, "tensor_quantize");
  size_t count = 0;
  for (const amct_cfg_value *v = first; v != NULL; v = amct_cfg_next(v))
    count++;
  AMCT_TRY(amct_recipe_expect_tensors(a->recipe, count, err));
  for (const amct_cfg_value *v = first; v != NULL; v = amct_cfg_next(v))
    AMCT_TRY(add_tensor(a, v, err));
  return AMCT_OK;
}

static amct_status apply(applier *a, amct_error *err) {
  AMCT_TRY(take_globals(a->recipe, a->cfg, a->graph, &a->fallbacks, err));
  AMCT_TRY(
      amct_recipe_add_layers(a->recipe, a->layers, &a->fallbacks, &a->by_layer, err));
  AMCT_TRY(amct_naming_make(&a->naming, a->layers, a->graph, err));
  a->naming.by_layer = a->by_layer;
  AMCT_TRY(add_tensors(a, err));
  AMCT_TRY(amct_recipe_check_any(a->recipe, &a->naming.lookup, err));
  AMCT_TRY(choose(a, err));
  for (size_t i = 0; i < a->recipe->layer_count; i++)
    AMCT_TRY(fill_layer(a, &a->recipe->layers[i], a->choices[i], err));
  return skip(a, err);
}

amct_status amct_recipe_from_cfg(amct_recipe *recipe, const amct_cfg *cfg,
                                 const amct_layers *layers, const amct_graph *graph,
                                 amct_error *err) {
  applier a = {.cfg = cfg, .recipe = recipe, .layers = layers, .graph = graph};
  recipe->purpose = cfg->purpose;
  amct_status status = amct_recipe_fallbacks_make(&a.fallbacks, err);
  if (status == AMCT_OK) status = apply(&a, err);
  amct_recipe_fallbacks_free(&a.fallbacks);
  amct_naming_free(&a.naming);
  amct_map_free(&a.overridden);
  if (status != AMCT_OK) return status;

  const amct_cfg_value *reserved = get(&a, "skip_approximation_layers");
  if (reserved != NULL)
    amct_log(AMCT_LOG_WARNING, k_module, "%s: line %u: %s has no effect", cfg->path,
             (unsigned)reserved->line, reserved->field->name);
  amct_recipe_warn_joint(recipe, cfg->path);
  return AMCT_OK;
}

amct_status amct_cfg_fusion(amct_recipe_fusion *fusion, const amct_cfg *cfg,
                            const amct_graph *graph, amct_error *err) {
  amct_recipe recipe = {.purpose = cfg->purpose};
  amct_recipe_fallbacks fallbacks = {0};
  amct_status status = amct_recipe_fallbacks_make(&fallbacks, err);
  if (status == AMCT_OK) status = take_globals(&recipe, cfg, graph, &fallbacks, err);
  amct_recipe_fallbacks_free(&fallbacks);
  if (status == AMCT_OK)
    *fusion = amct_recipe_fusion_of(&recipe);
  else
    amct_recipe_free(&recipe);
  return status;
}
