/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations for retraining: what is written, taken and refused. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "recipe/cfg.h"
#include "unit/recipe_state.h"

/* Of a layer with weights by channel; "clips" stands where they are given. */
static const char k_layer[] = "    \"net/conv1/Conv2D\":{\n"
                              "        \"retrain_enable\":true,\n"
                              "        \"retrain_data_config\":{\n"
                              "            \"algo\":\"ulq_quantize\",\n"
                              "%s"
                              "            \"dst_type\":\"INT8\"\n"
                              "        },\n"
                              "        \"retrain_weight_config\":{\n"
                              "            \"algo\":\"arq_retrain\",\n"
                              "            \"channel_wise\":%s,\n"
                              "            \"dst_type\":\"INT8\"\n"
                              "        }\n"
                              "    },\n";

static const amct_layer_recipe *layer_of(const amct_recipe *recipe, const char *name) {
  for (size_t i = 0; i < recipe->layer_count; i++)
    if (strcmp(recipe->layers[i].name, name) == 0) return &recipe->layers[i];
  fail_msg("no layer %s", name);
  return NULL;
}

static void expect_printed(const amct_recipe *recipe, const char *clips,
                           const char *channel_wise) {
  char wanted[1024];
  amct_buffer text = {0};
  amct_error err = {0};
  snprintf(wanted, sizeof wanted, k_layer, clips, channel_wise);
  assert_int_equal(amct_recipe_print(recipe, &text, &err), AMCT_OK);
  amct_buffer_append(&text, "", 1);
  const char *head = "{\n    \"version\":1,\n    \"batch_num\":";
  assert_memory_equal(text.data, head, strlen(head));
  if (!strstr((const char *)text.data, wanted))
    fail_msg("%s\nlacks\n%s", (const char *)text.data, wanted);
  amct_buffer_free(&text);
}

static amct_status read_retrain(state *s, amct_recipe *recipe, const char *text,
                                amct_error *err) {
  recipe->purpose = AMCT_FOR_RETRAINING;
  return read_text(s, recipe, text, err);
}

static amct_status apply_cfg(state *s, amct_recipe *recipe, const char *text,
                             amct_error *err) {
  amct_cfg cfg = {.purpose = AMCT_FOR_RETRAINING};
  const char *path = temp_path(&s->folder, "c.cfg");
  temp_write(path, text);
  amct_status status = amct_cfg_read(&cfg, path, err);
  if (status == AMCT_OK)
    status = amct_recipe_from_cfg(recipe, &cfg, &s->hand.layers, s->hand.graph, err);
  amct_cfg_free(&cfg);
  return status;
}

static void defaults_are_those_of_the_manual(void **data) {
  state *s = *data;
  const amct_recipe_options options = {NULL, 0, 1, true};
  amct_recipe recipe = {.purpose = AMCT_FOR_RETRAINING};
  amct_error err = {0};
  assert_int_equal(
      amct_recipe_defaults(&recipe, &s->hand.layers, s->hand.graph, &options, &err),
      AMCT_OK);
  expect_printed(&recipe, "", "true");
  amct_buffer text = {0};
  assert_int_equal(amct_recipe_print(&recipe, &text, &err), AMCT_OK);
  amct_buffer_append(&text, "", 1);
  assert_null(strstr((const char *)text.data, "quant_enable"));
  assert_null(strstr((const char *)text.data, "do_fusion"));

  amct_recipe again = {0};
  amct_buffer second = {0};
  assert_int_equal(read_retrain(s, &again, (const char *)text.data, &err), AMCT_OK);
  assert_int_equal(amct_recipe_print(&again, &second, &err), AMCT_OK);
  amct_buffer_append(&second, "", 1);
  assert_string_equal(text.data, second.data);
  amct_buffer_free(&text);
  amct_buffer_free(&second);
  amct_recipe_free(&again);
  amct_recipe_free(&recipe);
}

static void clips_are_read_and_written(void **data) {
  state *s = *data;
  amct_recipe recipe = {0};
  amct_error err = {0};
  const char text[] = "{\"batch_num\":3,\"net/conv1/Conv2D\":{\"retrain_data_config\":"
                      "{\"clip_max\":2.5,\"clip_min\":-1,\"fixed_min\":true},"
                      "\"retrain_weight_config\":{\"channel_wise\":false}},"
                      "\"Fc\":{\"retrain_data_config\":{\"clip_max\":4}},"
                      "\"net/pool/AvgPool\":{\"retrain_enable\":false}}";
  if (read_retrain(s, &recipe, text, &err) != AMCT_OK) fail_msg("%s", err.text);
  assert_int_equal(recipe.batch_num, 3);
  assert_int_equal(amct_recipe_enabled(&recipe), 2);
  const amct_layer_recipe *conv = layer_of(&recipe, "net/conv1/Conv2D");
  assert_true(conv->clips.max == 2.5 && conv->clips.min == -1 && conv->clips.fixed_min);
  const amct_layer_recipe *fc = layer_of(&recipe, "Fc"); /* one clip alone is none */
  assert_true(fc->clips.max == 0 && fc->clips.min == 0 && !fc->channel_wise);
  expect_printed(&recipe,
                 "            \"clip_max\":2.5,\n"
                 "            \"clip_min\":-1.0,\n"
                 "            \"fixed_min\":true,\n",
                 "false");
  amct_recipe_free(&recipe);
}

static void simplified_ones_are_applied(void **data) {
  state *s = *data;
  amct_recipe recipe = {0};
  amct_error err = {0};
  const char text[] =
      "batch_num: 2\n"
      "retrain_data_quant_config: { ulq_quantize { clip_max_min { clip_max: 3.0 "
      "clip_min: -0.1 } dst_type: INT8 } }\n"
      "retrain_weight_quant_config { arq_retrain { channel_wise: True } }\n"
      "skip_layers: \"Fc\"\nquant_skip_layers: \"Fc\"\nquant_skip_types: \"AvgPool\"\n"
      "override_layer_types { layer_type: \"DepthwiseConv2dNative\"\n"
      "  retrain_data_quant_config { ulq_quantize { fixed_min: true } } }\n"
      "override_layer_configs { layer_name: \"net/conv1/Conv2D\"\n"
      "  retrain_weight_quant_config { arq_retrain { channel_wise: false } } }";
  if (apply_cfg(s, &recipe, text, &err) != AMCT_OK) fail_msg("%s", err.text);
  assert_int_equal(recipe.batch_num, 2);
  assert_false(layer_of(&recipe, "Fc")->enabled);
  assert_false(layer_of(&recipe, "net/pool/AvgPool")->enabled);
  const amct_layer_recipe *conv = layer_of(&recipe, "net/conv1/Conv2D");
  assert_true(conv->enabled && !conv->channel_wise); /* its own */
  assert_true(conv->clips.max == 3.0 && conv->clips.min == -0.1);
  const amct_layer_recipe *depthwise = layer_of(&recipe, "net/conv1/depthwise");
  assert_true(depthwise->clips.fixed_min && depthwise->clips.max == 0);
  assert_true(depthwise->channel_wise);
  amct_recipe_free(&recipe);
}

typedef struct refusal {
  amct_status (*take)(state *s, amct_recipe *recipe, const char *text, amct_error *err);
  const char *text, *message;
} refusal;

static const refusal k_refusals[] = {
    {read_retrain, "{\"quant_enable\":true}", "\"quant_enable\" is not in the graph"},
    {read_retrain, "{\"Fc\":{\"quant_enable\":true}}",
     "\"Fc\": quant_enable is not a setting"},
    {read_retrain, "{\"Fc\":{\"retrain_enable\":false}}",
     "no retrain enable layer: retrain_enable is true for none"},
    {read_retrain, "{\"Fd\":{}}", "layer \"Fd\" is not in the graph; nearest: \"Fc\""},
    {read_retrain, "{\"Fc\":{\"retrain_data_config\":{\"clip_max\":0}}}",
     "\"Fc\": retrain_data_config.clip_max is 0: a number over 0 is wanted"},
    {read_retrain, "{\"Fc\":{\"retrain_data_config\":{\"clip_min\":0.0}}}",
     "retrain_data_config.clip_min is 0.0: a number under 0 is wanted"},
    {read_retrain, "{\"Fc\":{\"retrain_data_config\":{\"algo\":\"ifmr\"}}}",
     "this version handles \"ulq_quantize\" only"},
    {read_retrain, "{\"Fc\":{\"retrain_data_config\":{\"dst_type\":\"INT4\"}}}",
     "this version handles \"INT8\" only"},
    {read_retrain, "{\"Fc\":{\"retrain_weight_config\":{\"channel_wise\":true}}}",
     "retrain_weight_config.channel_wise is true: MatMul has no scales by channel"},
    {read_retrain, "{\"Fc\":{\"regular_prune_enable\":true}}", "pruning is not handled"},
    {apply_cfg, "activation_offset: true", "activation_offset is not a field"},
    {apply_cfg,
     "retrain_data_quant_config { ulq_quantize { clip_max_min { clip_max: 1 } } }",
     "clip_min is missing"},
    {apply_cfg, "clip_max: 1", "clip_max is not a field here: it stands in clip_max_min"},
    {apply_cfg, "skip_layers: \"Fc\" skip_layers: \"Fc\"", "\"Fc\" stands twice"},
    {apply_cfg, "quant_skip_types: \"Relu\"", "\"Relu\" is not a type that is quantized"},
    {apply_cfg,
     "override_layer_configs { layer_name: \"Fc\" retrain_weight_quant_config { "
     "arq_retrain { channel_wise: true } } }",
     "channel_wise is true for \"Fc\": MatMul has no scales by channel"},
};

static void wrong_ones_are_refused(void **data) {
  state *s = *data;
  for (size_t i = 0; i < sizeof k_refusals / sizeof *k_refusals; i++) {
    amct_recipe recipe = {0};
    amct_error err = {0};
    const amct_status status = k_refusals[i].take(s, &recipe, k_refusals[i].text, &err);
    if (status != AMCT_BAD_CONFIG)
      fail_msg("case %zu: %s \"%s\"", i, amct_status_name(status), err.text);
    expect_text(&err, k_refusals[i].message, i);
    amct_recipe_free(&recipe);
  }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(defaults_are_those_of_the_manual),
      TEST(clips_are_read_and_written),
      TEST(simplified_ones_are_applied),
      TEST(wrong_ones_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
