/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration, for either purpose, of a small graph: read, printed, read again,
 * printed the same. */
#include "fuzz/fuzz_stage.h"

static amct_status read_bytes(const fuzz_stage *s, amct_slice bytes, amct_recipe *recipe,
                              amct_error *err) {
  amct_recipe_fusion fusion = {0};
  amct_error fusion_err = {0};
  fuzz_stage_put(s, bytes);
  const amct_status status = amct_recipe_read(recipe, s->path, &s->layers, s->graph, err);
  if (recipe->purpose == AMCT_FOR_RETRAINING) {
    (void)fuzz_succeeded(status, err);
    return status;
  }
  const amct_status early =
      amct_recipe_read_fusion(&fusion, s->path, s->graph, &fusion_err);
  if (fuzz_succeeded(status, err)) {
    FUZZ_CHECK(early == AMCT_OK, fusion_err.text);
    FUZZ_CHECK(fusion.do_fusion == recipe->do_fusion, "do_fusion");
    FUZZ_CHECK(fusion.skip_fusion_count == recipe->skip_fusion_count, "skipped layers");
  }
  amct_arena_free(&fusion.arena);
  return status;
}

static void read_for(amct_recipe_purpose purpose, const uint8_t *data, size_t size) {
  const fuzz_stage *s = fuzz_stage_get();
  amct_error err = {0};
  amct_recipe recipe = {.purpose = purpose}, again = {.purpose = purpose};
  amct_buffer first = {0}, second = {0};
  if (read_bytes(s, (amct_slice){data, size}, &recipe, &err) == AMCT_OK) {
    FUZZ_CHECK(amct_recipe_print(&recipe, &first, &err) == AMCT_OK, err.text);
    const amct_slice printed = {first.data, first.size};
    FUZZ_CHECK(read_bytes(s, printed, &again, &err) == AMCT_OK, err.text);
    FUZZ_CHECK(amct_recipe_enabled(&recipe) == amct_recipe_enabled(&again), "layers");
    FUZZ_CHECK(amct_recipe_print(&again, &second, &err) == AMCT_OK, err.text);
    FUZZ_CHECK(amct_slice_equal(printed, (amct_slice){second.data, second.size}), "text");
  }
  amct_buffer_free(&first);
  amct_buffer_free(&second);
  amct_recipe_free(&recipe);
  amct_recipe_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  read_for(AMCT_FOR_CALIBRATION, data, size);
  read_for(AMCT_FOR_RETRAINING, data, size);
  return 0;
}
