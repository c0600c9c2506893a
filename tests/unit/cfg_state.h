/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of simplified configurations start from. */
#ifndef AMCT_TEST_CFG_STATE_H
#define AMCT_TEST_CFG_STATE_H

#include "recipe/cfg.h"
#include "unit/recipe_state.h"

static inline amct_status apply_file(state *s, const char *path, amct_recipe *recipe,
                                     amct_error *err) {
  amct_cfg cfg = {0};
  amct_status status = amct_cfg_read(&cfg, path, err);
  if (status == AMCT_OK)
    status = amct_recipe_from_cfg(recipe, &cfg, &s->hand.layers, s->hand.graph, err);
  amct_cfg_free(&cfg);
  return status;
}

static inline void must_apply(state *s, const char *path, amct_recipe *recipe) {
  amct_error err = {0};
  if (apply_file(s, path, recipe, &err) != AMCT_OK) fail_msg("%s", err.text);
}

static inline const amct_layer_recipe *layer_of(const amct_recipe *recipe,
                                                const char *name) {
  for (size_t i = 0; i < recipe->layer_count; i++)
    if (strcmp(recipe->layers[i].name, name) == 0) return &recipe->layers[i];
  fail_msg("no layer %s", name);
  return NULL;
}

/* "on channel asym <max> <min> <start> <end> <step>", to the last digit. */
static inline void expect_layer(const amct_recipe *recipe, const char *name,
                                const char *wanted) {
  const amct_layer_recipe *layer = layer_of(recipe, name);
  char text[256];
  snprintf(text, sizeof text, "%s %s %s %.15g %.15g %.15g %.15g %.15g",
           layer->enabled ? "on" : "off", layer->channel_wise ? "channel" : "tensor",
           layer->range.asymmetric ? "asym" : "sym", layer->range.max_percentile,
           layer->range.min_percentile, layer->range.search_start,
           layer->range.search_end, layer->range.search_step);
  if (strcmp(text, wanted) != 0)
    fail_msg("%s: \"%s\" instead of \"%s\"", name, text, wanted);
}

#endif
