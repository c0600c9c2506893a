/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of the configuration start from. */
#ifndef AMCT_TEST_RECIPE_STATE_H
#define AMCT_TEST_RECIPE_STATE_H

#include "recipe/recipe.h"
#include "unit/hand_layers.h"
#include "unit/temp_folder.h"

typedef struct state {
  hand_layers hand;
  temp_folder folder;
} state;

static inline int set_up(void **data) {
  state *s = calloc(1, sizeof *s);
  hand_layers_make(&s->hand);
  temp_folder_make(&s->folder);
  *data = s;
  return 0;
}

static inline int tear_down(void **data) {
  state *s = *data;
  hand_layers_free(&s->hand);
  temp_folder_remove(&s->folder);
  free(s);
  return 0;
}

static inline amct_status read_text(state *s, amct_recipe *recipe, const char *text,
                                    amct_error *err) {
  const char *path = temp_path(&s->folder, "c");
  temp_write(path, text);
  return amct_recipe_read(recipe, path, &s->hand.layers, s->hand.graph, err);
}

static inline void expect_text(const amct_error *err, const char *part, size_t number) {
  if (strstr(err->text, part) == NULL)
    fail_msg("case %zu: \"%s\" lacks \"%s\"", number, err->text, part);
}

#endif
