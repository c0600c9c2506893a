/* SPDX-License-Identifier: Apache-2.0 */
#include "recipe/selector.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "op/nearest.h"
#include "op/ops.h"
#include "recipe/region.h"

enum { PATH_SHOWN_BYTES = 400 };

static const char k_type_prefix[] = "type:";

amct_status amct_config_fail(amct_error *err, const amct_config_place *place,
                             const char *node, const char *format, ...) {
  char text[AMCT_ERROR_TEXT_BYTES];
  char line[32] = "";
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (place->line != 0) snprintf(line, sizeof line, "line %u: ", (unsigned)place->line);
  return amct_fail(err, AMCT_BAD_CONFIG, node, "%.*s%s%s%s%s", PATH_SHOWN_BYTES,
                   place->path != NULL ? place->path : "",
                   place->path != NULL ? ": " : "", line, place->field, text);
}

void amct_candidates_free(amct_candidates *among) {
  amct_free(among->at);
  amct_arena_free(&among->arena);
}

amct_selector amct_selector_of(const amct_graph *graph, const char *text) {
  const size_t prefix = sizeof k_type_prefix - 1;
  if (amct_graph_find(graph, text) != NULL)
    return (amct_selector){AMCT_SELECT_NAME, text, NULL};
  if (strncmp(text, k_type_prefix, prefix) == 0)
    return (amct_selector){AMCT_SELECT_TYPE, text + prefix, NULL};
  if (amct_region_is(text)) return (amct_selector){AMCT_SELECT_REGION, text, NULL};
  const bool pattern = strpbrk(text, "*?[") != NULL;
  return (amct_selector){pattern ? AMCT_SELECT_PATTERN : AMCT_SELECT_NAME, text, NULL};
}

bool amct_selector_takes(const amct_selector *selector, const amct_node *node) {
  switch (selector->kind) {
  case AMCT_SELECT_NAME:
    return strcmp(selector->text, node->name) == 0;
  case AMCT_SELECT_TYPE:
    return strcmp(selector->text, node->op) == 0;
  case AMCT_SELECT_PATTERN:
    return fnmatch(selector->text, node->name, 0) == 0;
  case AMCT_SELECT_REGION:
    return selector->inside != NULL && selector->inside[node->index] != 0;
  }
  return false;
}

static amct_status fail_empty(const amct_selector *selector, amct_candidates *among,
                              const amct_config_place *place, amct_error *err) {
  char names[AMCT_NEAREST_BYTES];
  amct_nearest nearest;
  if (selector->kind == AMCT_SELECT_REGION)
    return amct_region_fail_empty(selector->text, among, place, err);
  if (selector->kind == AMCT_SELECT_TYPE) {
    amct_nearest_start(&nearest, selector->text);
    for (size_t i = 0; i < amct_op_layer_count(); i++)
      amct_nearest_offer(&nearest, amct_op_layer_at(i)->op);
    return amct_config_fail(err, place, NULL, ": no layers of type \"%.60s\" %s%s",
                            selector->text, among->are,
                            amct_nearest_text(&nearest, names));
  }
  amct_nearest_start_pattern(&nearest, selector->text);
  for (size_t i = 0; i < among->count; i++)
    amct_nearest_offer(&nearest, among->at[i]->name);
  return amct_config_fail(err, place, NULL, ": \"%.200s\" matches no layers that %s%s",
                          selector->text, among->are, amct_nearest_text(&nearest, names));
}

amct_status amct_selector_check(amct_selector *selector, amct_candidates *among,
                                const amct_config_place *place, amct_error *err) {
  if (selector->kind == AMCT_SELECT_NAME) return AMCT_OK;
  if (++among->patterns > AMCT_SELECTOR_PATTERNS_MAX)
    return amct_config_fail(err, place, NULL, ": more than %d patterns",
                            AMCT_SELECTOR_PATTERNS_MAX);
  if (selector->kind == AMCT_SELECT_REGION)
    AMCT_TRY(amct_region_find(&selector->inside, selector->text, among, place, err));
  else if (strlen(selector->text) > AMCT_SELECTOR_BYTES_MAX)
    return amct_config_fail(err, place, NULL,
                            ": a pattern of %zu bytes: at most %d are taken",
                            strlen(selector->text), AMCT_SELECTOR_BYTES_MAX);
  for (size_t i = 0; i < among->count; i++)
    if (amct_selector_takes(selector, among->at[i])) return AMCT_OK;
  return fail_empty(selector, among, place, err);
}
