/* SPDX-License-Identifier: Apache-2.0 */
/* Presets: algorithms of the layers that name none. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "unit/cfg_state.h"

/* A preset names the algorithms where a layer does not; settings of others are idle. */
static void a_preset_chooses_algorithms(void **data) {
  state *s = *data;
  static const char text[] =
      "{\"Fc\":{\"activation_quant_params\":{\"max_percentile\":0.9,\"search_step\":0.1}}"
      ","
      "\"net/logits/Conv2D\":{\"activation_quant_params\":{\"act_algo\":\"min_max\"},"
      "\"weight_quant_params\":{\"wts_algo\":\"arq_quantize\"}},\"preset\":\"accurate\"}";
  amct_recipe recipe = {0}, again = {0};
  amct_buffer printed = {0}, twice = {0};
  amct_error err = {0};
  if (read_text(s, &recipe, text, &err) != AMCT_OK) fail_msg("%s", err.text);
  const amct_layer_recipe *fc = layer_of(&recipe, "Fc");
  const amct_layer_recipe *conv = layer_of(&recipe, "net/logits/Conv2D");
  assert_int_equal(fc->range.algorithm, AMCT_RANGE_IFMR);
  assert_int_equal(fc->weighting, AMCT_WEIGHT_GPTQ);
  assert_true(fc->damping == 0.1);
  assert_int_equal(conv->range.algorithm, AMCT_RANGE_MIN_MAX);
  assert_int_equal(conv->weighting, AMCT_WEIGHT_ARQ);
  assert_int_equal(amct_recipe_print(&recipe, &printed, NULL), AMCT_OK);
  amct_buffer_append(&printed, "", 1);
  if (read_text(s, &again, (const char *)printed.data, &err) != AMCT_OK)
    fail_msg("%s", err.text);
  assert_int_equal(amct_recipe_print(&again, &twice, NULL), AMCT_OK);
  amct_buffer_append(&twice, "", 1);
  assert_string_equal((const char *)printed.data, (const char *)twice.data);
  amct_buffer_free(&printed);
  amct_buffer_free(&twice);
  amct_recipe_free(&recipe);
  amct_recipe_free(&again);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_preset_chooses_algorithms, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
