/* SPDX-License-Identifier: Apache-2.0 */
/* A simplified configuration, for either purpose, of a small graph: the configuration
 * that it asks for is printed, and reads again as the same. */
#include "fuzz/fuzz_stage.h"

#include "recipe/cfg.h"

static void check_printed(const fuzz_stage *s, const amct_recipe *recipe) {
  amct_error err = {0};
  amct_recipe again = {.purpose = recipe->purpose};
  amct_buffer first = {0}, second = {0};
  FUZZ_CHECK(amct_recipe_print(recipe, &first, &err) == AMCT_OK, err.text);
  const amct_slice printed = {first.data, first.size};
  fuzz_stage_put(s, printed);
  FUZZ_CHECK(amct_recipe_read(&again, s->path, &s->layers, s->graph, &err) == AMCT_OK,
             err.text);
  FUZZ_CHECK(amct_recipe_print(&again, &second, &err) == AMCT_OK, err.text);
  FUZZ_CHECK(amct_slice_equal(printed, (amct_slice){second.data, second.size}), "text");
  amct_buffer_free(&first);
  amct_buffer_free(&second);
  amct_recipe_free(&again);
}

static void read_for(amct_recipe_purpose purpose, const uint8_t *data, size_t size) {
  const fuzz_stage *s = fuzz_stage_get();
  amct_error err = {0};
  amct_cfg cfg = {.purpose = purpose};
  amct_recipe recipe = {0};
  amct_recipe_fusion fusion = {0};
  fuzz_stage_put(s, (amct_slice){data, size});
  if (fuzz_succeeded(amct_cfg_read(&cfg, s->path, &err), &err) &&
      fuzz_succeeded(amct_cfg_fusion(&fusion, &cfg, s->graph, &err), &err) &&
      fuzz_succeeded(amct_recipe_from_cfg(&recipe, &cfg, &s->layers, s->graph, &err),
                     &err))
    check_printed(s, &recipe);
  amct_arena_free(&fusion.arena);
  amct_recipe_free(&recipe);
  amct_cfg_free(&cfg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  read_for(AMCT_FOR_CALIBRATION, data, size);
  read_for(AMCT_FOR_RETRAINING, data, size);
  return 0;
}
