/* SPDX-License-Identifier: Apache-2.0 */
#include "reference/config_probe.h"

#include <stdio.h>
#include <stdlib.h>

#include "graph/textform.h"
#include "recipe/cfg.h"

struct config_probe {
  amct_graph *graph;
  amct_layers layers;
};

config_probe *config_probe_open(const char *graph) {
  config_probe *probe = calloc(1, sizeof *probe);
  if (probe == NULL) return NULL;
  if (amct_graph_from_text(&probe->graph, amct_slice_of(graph), NULL) == AMCT_OK &&
      amct_layers_find(&probe->layers, probe->graph, NULL, 0, NULL) == AMCT_OK)
    return probe;
  config_probe_close(probe);
  return NULL;
}

void config_probe_close(config_probe *probe) {
  amct_layers_free(&probe->layers);
  amct_graph_free(probe->graph);
  free(probe);
}

static amct_status take(const config_probe *probe, const char *path, bool simplified,
                        amct_recipe *recipe, amct_error *err) {
  if (!simplified)
    return amct_recipe_read(recipe, path, &probe->layers, probe->graph, err);
  amct_cfg cfg = {.purpose = recipe->purpose};
  amct_status status = amct_cfg_read(&cfg, path, err);
  if (status == AMCT_OK)
    status = amct_recipe_from_cfg(recipe, &cfg, &probe->layers, probe->graph, err);
  amct_cfg_free(&cfg);
  return status;
}

int config_probe_take(const config_probe *probe, const char *path, bool retraining,
                      bool simplified, char *text, size_t size) {
  amct_recipe recipe = {.purpose =
                            retraining ? AMCT_FOR_RETRAINING : AMCT_FOR_CALIBRATION};
  amct_buffer buffer = {0};
  amct_error err = {0};
  amct_status status = take(probe, path, simplified, &recipe, &err);
  if (status == AMCT_OK) status = amct_recipe_print(&recipe, &buffer, &err);
  if (status == AMCT_OK)
    snprintf(text, size, "%.*s", (int)buffer.size, (const char *)buffer.data);
  else
    snprintf(text, size, "%s", err.text);
  amct_buffer_free(&buffer);
  amct_recipe_free(&recipe);
  return (int)status;
}
