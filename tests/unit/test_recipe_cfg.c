/* SPDX-License-Identifier: Apache-2.0 */
/* Simplified configurations: what files in different spellings ask for. */
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

#include "amct/log.h"
#include "base/alloc.h"
#include "base/number.h"
#include "unit/cfg_state.h"

/* ---- files in several spellings ---- */

static void the_spellings_mean_the_same(void **data) {
  state *s = *data;
  static const char *const files[] = {"data/cfg/spelled_out.cfg", "data/cfg/terse.cfg"};
  for (size_t i = 0; i < 2; i++) {
    amct_recipe recipe = {0};
    must_apply(s, files[i], &recipe);
    assert_int_equal(recipe.batch_num, 2);
    assert_true(recipe.activation_offset && !recipe.joint_quant && recipe.do_fusion);
    assert_int_equal(recipe.skip_fusion_count, 1);
    assert_string_equal(recipe.skip_fusion_layers[0], "net/conv1/depthwise");
    expect_layer(&recipe, "Fc", "off tensor asym 0.999999 0.999999 0.7 1.3 0.01");
    expect_layer(&recipe, "net/pool/AvgPool",
                 "off tensor asym 0.999999 0.999999 0.7 1.3 0.01");
    expect_layer(&recipe, "net/conv1/Conv2D", "on channel asym 0.9999 1 0.9 1.1 0.005");
    expect_layer(&recipe, "net/conv1/depthwise",
                 "on tensor sym 0.999999 0.999999 0.8 1.2 0.02");
    expect_layer(&recipe, "net/logits/Conv2D", /* one scale, whatever is common */
                 "on tensor asym 0.999999 0.999999 0.7 1.3 0.01");
    expect_layer(&recipe, "net/free/Conv2D",
                 "on channel asym 0.999999 0.999999 0.7 1.3 0.01");
    amct_recipe_free(&recipe);
  }
}

static void the_older_pair_is_read(void **data) {
  state *s = *data;
  amct_recipe recipe = {0};
  must_apply(s, "data/cfg/older.cfg", &recipe);
  assert_int_equal(recipe.batch_num, 2);
  assert_false(recipe.activation_offset);
  expect_layer(&recipe, "net/conv1/Conv2D",
               "on tensor asym 0.999999 0.999999 0.8 1.2 0.02");
  /* asymmetric of the first holds where the second is silent */
  expect_layer(&recipe, "Fc", "on tensor asym 0.99999 0.99999 0.7 1.3 0.01");
  expect_layer(&recipe, "net/pool/AvgPool",
               "on tensor asym 0.99999 0.99999 0.7 1.3 0.01");
  amct_recipe_free(&recipe);
}

static void patterns_choose_layers(void **data) {
  state *s = *data;
  amct_recipe recipe = {0};
  must_apply(s, "data/cfg/patterns.cfg", &recipe);
  expect_layer(&recipe, "net/conv1/Conv2D", "on channel asym 0.8 0.999999 0.7 1.3 0.01");
  expect_layer(&recipe, "net/conv1/depthwise",
               "on channel asym 0.6 0.999999 0.7 1.3 0.01");
  expect_layer(&recipe, "net/free/Conv2D", "on channel asym 0.9 0.999999 0.7 1.3 0.01");
  assert_false(layer_of(&recipe, "Fc")->enabled);
  assert_false(layer_of(&recipe, "net/pool/AvgPool")->enabled);
  assert_int_equal(recipe.skip_fusion_count, 2);
  assert_string_equal(recipe.skip_fusion_layers[0], "net/conv1/Conv2D");
  assert_string_equal(recipe.skip_fusion_layers[1], "net/conv1/depthwise");

  amct_cfg cfg = {0};
  amct_recipe_fusion fusion = {0};
  assert_int_equal(amct_cfg_read(&cfg, "data/cfg/patterns.cfg", NULL), AMCT_OK);
  assert_int_equal(amct_cfg_fusion(&fusion, &cfg, s->hand.graph, NULL), AMCT_OK);
  assert_true(fusion.do_fusion);
  assert_int_equal(fusion.skip_fusion_count, 2);
  amct_arena_free(&fusion.arena);
  amct_cfg_free(&cfg);
  amct_recipe_free(&recipe);
}

/* ---- single rules ---- */

#define DEFAULTS "on channel asym 0.999999 0.999999 0.7 1.3 0.01"
static const struct {
  const char *text, *layer, *wanted;
} k_rules[] = {
    {"", "net/conv1/Conv2D", DEFAULTS},
    {"# nothing but this", "net/conv1/Conv2D", DEFAULTS},
    {"common_config {}", "net/conv1/Conv2D", DEFAULTS},
    {"weight_offset: False fakequant_precision_mode: DEFAULT", "net/conv1/Conv2D",
     DEFAULTS},
    {"common_config { arq_quantize { quant_bits: 8 } ifmr_quantize { dst_type: INT8 } "
     "}",
     "net/conv1/Conv2D", DEFAULTS},
    {"activation_offset: false", "Fc", "on tensor sym 0.999999 0.999999 0.7 1.3 0.01"},
    {"activation_offset: false common_config { ifmr_quantize { asymmetric: true } }",
     "Fc", "on tensor asym 0.999999 0.999999 0.7 1.3 0.01"},
    /* what is common does not show through, but for asymmetric */
    {"common_config { arq_quantize { channel_wise: false } ifmr_quantize { "
     "search_step: "
     "0.1 max_percentile: 0.9 asymmetric: false } } override_layer_types { layer_type: "
     "\"Conv2D\" calibration_config { ifmr_quantize { min_percentile: 0.8 } } }",
     "net/conv1/Conv2D", "on channel sym 0.999999 0.8 0.7 1.3 0.01"},
    {"common_config { ifmr_quantize { search_step: 0.1 } } override_layer_configs { "
     "layer_name: \"Fc\" calibration_config { arq_quantize { } } }",
     "Fc", "on tensor asym 0.999999 0.999999 0.7 1.3 0.01"},
    {"common_config { ifmr_quantize { search_step: 0.1 } } override_layer_configs { "
     "layer_name: \"Fc\" calibration_config { } }",
     "net/free/Conv2D", "on channel asym 0.999999 0.999999 0.7 1.3 0.1"},
    /* one scale by default: a name changes that, a group does not */
    {"override_layer_types { layer_type: \"Conv2D\" calibration_config { arq_quantize "
     "{ "
     "channel_wise: true } } }",
     "net/logits/Conv2D", "on tensor asym 0.999999 0.999999 0.7 1.3 0.01"},
    {"override_layer_configs { layer_name: \"net/logits/Conv2D\" calibration_config { "
     "arq_quantize { channel_wise: true } } }",
     "net/logits/Conv2D", DEFAULTS},
    {"override_layer_configs { layer_name: \"*\" calibration_config { arq_quantize { "
     "channel_wise: true } } }",
     "Fc", "on tensor asym 0.999999 0.999999 0.7 1.3 0.01"},
    {"skip_layers: \"type:Conv2D\"", "net/free/Conv2D",
     "off channel asym 0.999999 0.999999 0.7 1.3 0.01"},
    {"skip_layers: \"from:x to:net/free/Conv2D\"", "net/free/Conv2D",
     "off channel asym 0.999999 0.999999 0.7 1.3 0.01"},
    {"override_layer_configs { layer_name: \"from:x to:Fc\" calibration_config { "
     "arq_quantize { channel_wise: true } ifmr_quantize { search_step: 0.1 } } }",
     "Fc", "on tensor asym 0.999999 0.999999 0.7 1.3 0.1"},
    {"skip_layers: \"type:Conv2D\" skip_layers: \"net/free/*\" skip_layers: "
     "\"net/free/Conv2D\"",
     "net/free/Conv2D", "off channel asym 0.999999 0.999999 0.7 1.3 0.01"},
    {"skip_layer_types: \"Conv3D\"", "net/conv1/Conv2D", DEFAULTS}, /* warns */
    /* the later of two counts; messages grow together */
    {"common_config { ifmr_quantize { search_step: 0.1 } } common_config { "
     "ifmr_quantize "
     "{ search_step: 0.2 max_percentile: 0.9 } }",
     "net/conv1/Conv2D", "on channel asym 0.9 0.999999 0.7 1.3 0.2"},
    /* ignored beside common_config */
    {"common_config {} conv_calibration_config { arq_quantize { channel_wise: false } "
     "}",
     "net/conv1/Conv2D", DEFAULTS},
};

static void rules_hold(void **data) {
  state *s = *data;
  for (size_t i = 0; i < sizeof k_rules / sizeof *k_rules; i++) {
    amct_recipe recipe = {0};
    const char *path = temp_path(&s->folder, "c");
    temp_write(path, k_rules[i].text);
    must_apply(s, path, &recipe);
    expect_layer(&recipe, k_rules[i].layer, k_rules[i].wanted);
    amct_recipe_free(&recipe);
  }
}

static void messages_and_presets_choose_how_weights_are_rounded(void **data) {
  state *s = *data;
  static const struct {
    const char *text;
    amct_range_algorithm range;
    amct_weight_algorithm weighting;
    double damping;
  } cases[] = {
      {"common_config { arq_quantize {} }", AMCT_RANGE_IFMR, AMCT_WEIGHT_ARQ, 0.1},
      {"common_config { gptq_quantize {} }", AMCT_RANGE_IFMR, AMCT_WEIGHT_GPTQ, 0.1},
      {"common_config { arq_quantize {} gptq_quantize { damping: 0.01 } }",
       AMCT_RANGE_IFMR, AMCT_WEIGHT_GPTQ, 0.01},
      {"preset: accurate", AMCT_RANGE_IFMR, AMCT_WEIGHT_GPTQ, 0.1},
      {"preset: \"none\"", AMCT_RANGE_IFMR, AMCT_WEIGHT_ARQ, 0.1},
      {"preset: \"accurate\" common_config { min_max_quantize {} }", AMCT_RANGE_MIN_MAX,
       AMCT_WEIGHT_GPTQ, 0.1},
      {"preset: accurate override_layer_configs { layer_name: \"Fc\" calibration_config "
       "{ "
       "arq_quantize {} } }",
       AMCT_RANGE_IFMR, AMCT_WEIGHT_ARQ, 0.1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    amct_recipe recipe = {0};
    const char *path = temp_path(&s->folder, "c");
    temp_write(path, cases[i].text);
    must_apply(s, path, &recipe);
    const amct_layer_recipe *layer = layer_of(&recipe, "Fc");
    assert_int_equal(layer->range.algorithm, cases[i].range);
    assert_int_equal(layer->weighting, cases[i].weighting);
    assert_true(layer->damping == cases[i].damping);
    amct_recipe_free(&recipe);
  }
}

static void messages_choose_the_algorithm(void **data) {
  state *s = *data;
  static const struct {
    const char *text, *layer;
    amct_range_algorithm wanted;
    int64_t bins;
    bool asymmetric;
  } cases[] = {
      {"common_config { hfmg_quantize { num_of_bins: 1024 } }", "Fc", AMCT_RANGE_HFMG,
       1024, true},
      {"common_config { min_max_quantize {} }", "Fc", AMCT_RANGE_MIN_MAX, 4096, true},
      {"common_config { percentile_quantize { asymmetric: false } }", "Fc",
       AMCT_RANGE_PERCENTILE, 4096, false},
      /* one a message: the later */
      {"common_config { hfmg_quantize { num_of_bins: 1024 } ifmr_quantize {} }", "Fc",
       AMCT_RANGE_IFMR, 4096, true},
      {"common_config { hfmg_quantize { num_of_bins: 1024 } arq_quantize {} "
       "min_max_quantize {} hfmg_quantize {} }",
       "Fc", AMCT_RANGE_HFMG, 4096, true},
      /* what is common does not show through, but for asymmetric */
      {"common_config { hfmg_quantize { asymmetric: false } } override_layer_configs { "
       "layer_name: \"Fc\" calibration_config { min_max_quantize {} } }",
       "Fc", AMCT_RANGE_MIN_MAX, 4096, false},
      {"common_config { hfmg_quantize {} } override_layer_configs { "
       "layer_name: \"Fc\" calibration_config {} }",
       "Fc", AMCT_RANGE_IFMR, 4096, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    amct_recipe recipe = {0};
    const char *path = temp_path(&s->folder, "c");
    temp_write(path, cases[i].text);
    must_apply(s, path, &recipe);
    const amct_range_options *range = &layer_of(&recipe, cases[i].layer)->range;
    assert_int_equal(range->algorithm, cases[i].wanted);
    assert_int_equal(range->num_of_bins, cases[i].bins);
    assert_int_equal(range->asymmetric, cases[i].asymmetric);
    amct_recipe_free(&recipe);
  }
}

/* Oracle: every float32 near a number of few digits is told apart by its shortest text.
 */
static void floats_are_the_shortest_decimals(void **data) {
  (void)data;
  static const struct {
    float value;
    const char *text;
  } cases[] = {{0.999999f, "0.999999"},
               {0.7f, "0.7"},
               {1.3f, "1.3"},
               {0.01f, "0.01"},
               {1, "1"},
               {16777216, "16777216"},
               {0.1234567f, "0.1234567"},
               {3.4028235e38f, "3.4028235e+38"},
               {1e-45f, "1e-45"},
               {0.33333334f, "0.33333334"},
               {1.2621775e-29f, "1.2621775e-29"}}; /* 2^-96 */
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[AMCT_NUMBER_BYTES];
    amct_number_print_shortest(text, cases[i].value);
    assert_string_equal(text, cases[i].text);
  }
}

static void warnings_name_the_line(void **data) {
  state *s = *data;
  static const char text[] = "batch_num: 1\n"
                             "batch_num: 2\n"
                             "joint_quant: true\n"
                             "skip_approximation_layers: \"Fc\"\n"
                             "skip_layer_types: \"Conv3D\"\n"
                             "common_config {}\n"
                             "fc_calibration_config {}\n"
                             "override_layer_configs { layer_name: \"Fc\"\n"
                             "  calibration_config { hfmg_quantize {}\n"
                             "  min_max_quantize {} } }\n";
  static const char *const wanted[] = {
      "line 2: batch_num stands in line 1 too",
      "joint_quant is true: it has no effect",
      "line 4: skip_approximation_layers has no effect",
      "line 5: skip_layer_types: no layers of type \"Conv3D\" can be quantized",
      "line 7: fc_calibration_config is ignored: common_config or override_layer_types",
      "line 10: min_max_quantize takes the place of hfmg_quantize in line 9",
  };
  const char *path = temp_path(&s->folder, "c");
  const char *log = temp_path(&s->folder, "log");
  amct_recipe recipe = {0};
  temp_write(path, text);
  assert_int_equal(amct_log_configure(AMCT_LOG_NONE, AMCT_LOG_WARNING, log, NULL),
                   AMCT_OK);
  must_apply(s, path, &recipe);
  assert_int_equal(recipe.batch_num, 2);
  assert_int_equal(amct_log_configure(AMCT_LOG_NONE, AMCT_LOG_NONE, NULL, NULL), AMCT_OK);
  char *lines = temp_read(log);
  assert_non_null(lines);
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
    if (strstr(lines, wanted[i]) == NULL) fail_msg("no \"%s\" in\n%s", wanted[i], lines);
  free(lines);
  amct_recipe_free(&recipe);
}

/* What a file asks for is written, read and asked for again. */
static void recipes_survive_the_json(void **data) {
  state *s = *data;
  static const char *const files[] = {"data/cfg/spelled_out.cfg", "data/cfg/older.cfg",
                                      "data/cfg/patterns.cfg"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    amct_recipe first = {0}, again = {0};
    amct_buffer texts[2] = {{0}, {0}};
    const char *path = temp_path(&s->folder, "config.json");
    must_apply(s, files[i], &first);
    assert_int_equal(amct_recipe_write(&first, path, NULL), AMCT_OK);
    assert_int_equal(amct_recipe_read(&again, path, &s->hand.layers, s->hand.graph, NULL),
                     AMCT_OK);
    assert_int_equal(amct_recipe_print(&first, &texts[0], NULL), AMCT_OK);
    assert_int_equal(amct_recipe_print(&again, &texts[1], NULL), AMCT_OK);
    assert_int_equal(texts[0].size, texts[1].size);
    assert_memory_equal(texts[0].data, texts[1].data, texts[0].size);
    amct_buffer_free(&texts[0]);
    amct_buffer_free(&texts[1]);
    amct_recipe_free(&first);
    amct_recipe_free(&again);
  }
}

static void every_allocation_may_fail(void **data) {
  state *s = *data;
  static const char *const files[] = {"data/cfg/spelled_out.cfg",
                                      "data/cfg/patterns.cfg"};
  for (size_t i = 0; i < 2; i++) {
    uint64_t n = 1;
    for (;; n++) {
      assert_true(n < 20000);
      amct_recipe recipe = {0};
      amct_error err = {0};
      amct_alloc_fail_after(n);
      amct_status status = apply_file(s, files[i], &recipe, &err);
      amct_alloc_fail_after(0);
      amct_recipe_free(&recipe);
      if (status == AMCT_OK) break;
      if (status != AMCT_OUT_OF_MEMORY) fail_msg("allocation %d: %s", (int)n, err.text);
    }
    assert_true(n > 30);
  }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(the_spellings_mean_the_same),
      TEST(the_older_pair_is_read),
      TEST(patterns_choose_layers),
      TEST(rules_hold),
      TEST(messages_choose_the_algorithm),
      TEST(messages_and_presets_choose_how_weights_are_rounded),
      TEST(floats_are_the_shortest_decimals),
      TEST(warnings_name_the_line),
      TEST(recipes_survive_the_json),
      TEST(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
