/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration. Oracle of what is written: Python's json.dumps
 * (data/config_default.json). */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "amct/log.h"
#include "base/alloc.h"
#include "recipe/recipe_keys.h"
#include "unit/recipe_state.h"

static const char k_default[] = "data/config_default.json";

static const amct_layer_recipe *layer_of(const amct_recipe *recipe, const char *name) {
  for (size_t i = 0; i < recipe->layer_count; i++)
    if (strcmp(recipe->layers[i].name, name) == 0) return &recipe->layers[i];
  fail_msg("no layer %s", name);
  return NULL;
}

static void expect_same_file(const char *path, const char *wanted_path) {
  char *written = temp_read(path);
  char *wanted = temp_read(wanted_path);
  assert_non_null(written);
  assert_non_null(wanted);
  assert_string_equal(written, wanted);
  free(written);
  free(wanted);
}

/* ---- defaults ---- */

static void defaults_are_written_as_python_writes_them(void **data) {
  state *s = *data;
  static const char *const skip[] = {"Fc"};
  const amct_recipe_options options = {skip, 1, 4, true};
  amct_recipe recipe = {0};
  amct_error err = {0};
  if (amct_recipe_defaults(&recipe, &s->hand.layers, s->hand.graph, &options, &err) !=
      AMCT_OK)
    fail_msg("%s", err.text);
  assert_int_equal(recipe.layer_count, HAND_LAYER_COUNT - 1); /* one has a reason */
  const char *path = temp_path(&s->folder, "deep/er/config.json");
  assert_int_equal(amct_recipe_write(&recipe, path, &err), AMCT_OK);
  expect_same_file(path, k_default);
  amct_recipe_free(&recipe);
}

static void a_comma_locale_changes_nothing(void **data) {
  if (setlocale(LC_ALL, "de_DE.UTF-8") == NULL) {
    print_message("SKIPPED: no locale de_DE.UTF-8\n");
    skip();
  }
  defaults_are_written_as_python_writes_them(data);
  setlocale(LC_ALL, "C");
}

static void rows_agree_with_the_struct_of_the_search(void **data) {
  state *s = *data;
  const amct_range_options wanted = AMCT_RANGE_DEFAULTS;
  amct_recipe recipe = {0};
  const amct_recipe_options options = {NULL, 0, 1, true};
  assert_int_equal(
      amct_recipe_defaults(&recipe, &s->hand.layers, s->hand.graph, &options, NULL),
      AMCT_OK);
  const amct_range_options *range = &recipe.layers[0].range;
  assert_true(range->max_percentile == wanted.max_percentile);
  assert_true(range->min_percentile == wanted.min_percentile);
  assert_true(range->search_start == wanted.search_start);
  assert_true(range->search_end == wanted.search_end);
  assert_true(range->search_step == wanted.search_step);
  assert_true(range->asymmetric == wanted.asymmetric);
  assert_true(range->algorithm == wanted.algorithm);
  assert_true(range->num_of_bins == wanted.num_of_bins);
  amct_recipe_free(&recipe);
}

static void wrong_skip_layers_are_refused(void **data) {
  state *s = *data;
  static const struct {
    const char *skip[6];
    size_t count;
    const char *message;
  } cases[] = {
      {{"Fc", "Fc"}, 2, "skip_layers: \"Fc\" stands twice"},
      {{"net/conv1/Conv2Dd"},
       1,
       "skip_layers: \"net/conv1/Conv2Dd\" is not in the graph; nearest: "
       "\"net/conv1/Conv2D\""},
      {{"depthwise"}, 1, "nearest: \"net/conv1/depthwise\""},
      {{"zzzzzzzzzzzz"}, 1, "skip_layers: \"zzzzzzzzzzzz\" is not in the graph"},
      {{"net/odd/Conv2D"},
       1,
       "\"net/odd/Conv2D\" does not support quantization: the weight comes from an op"},
      {{"net/relu/Relu6"}, 1, "Relu6 is not an op that is quantized"},
      {{"net/conv1/Conv2D", "net/conv1/depthwise", "net/pool/AvgPool",
        "net/logits/Conv2D", "Fc", "net/free/Conv2D"},
       6,
       "no layer is left, all 6 are skipped"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const amct_recipe_options options = {cases[i].skip, cases[i].count, 1, true};
    amct_recipe recipe = {0};
    amct_error err = {0};
    assert_int_equal(
        amct_recipe_defaults(&recipe, &s->hand.layers, s->hand.graph, &options, &err),
        AMCT_BAD_CONFIG);
    expect_text(&err, cases[i].message, i);
    amct_recipe_free(&recipe);
  }
}

static void nothing_to_quantize_is_refused(void **data) {
  state *s = *data;
  const amct_layers none = {NULL, 0};
  const amct_recipe_options options = {NULL, 0, 1, true};
  amct_recipe recipe = {0};
  amct_error err = {0};
  assert_int_equal(amct_recipe_defaults(&recipe, &none, s->hand.graph, &options, &err),
                   AMCT_BAD_CONFIG);
  expect_text(&err, "no layer can be quantized", 0);
  amct_recipe_free(&recipe);
}

/* ---- reading ---- */

static void written_file_reads_and_writes_back(void **data) {
  state *s = *data;
  amct_recipe recipe = {0};
  amct_error err = {0};
  if (amct_recipe_read(&recipe, k_default, &s->hand.layers, s->hand.graph, &err) !=
      AMCT_OK)
    fail_msg("%s", err.text);
  assert_int_equal(recipe.batch_num, 4);
  assert_false(layer_of(&recipe, "Fc")->enabled);
  assert_true(layer_of(&recipe, "net/conv1/Conv2D")->channel_wise);
  assert_false(layer_of(&recipe, "net/logits/Conv2D")->channel_wise);
  const char *path = temp_path(&s->folder, "again.json");
  assert_int_equal(amct_recipe_write(&recipe, path, &err), AMCT_OK);
  expect_same_file(path, k_default);
  amct_recipe_free(&recipe);
}

static void missing_keys_get_defaults(void **data) {
  state *s = *data;
  static const char text[] =
      "{\"net/conv1/Conv2D\":{}, "
      "\"Fc\":{\"activation_quant_params\":{\"asymmetric\":true,"
      "\"search_range\":[1,2]}, \"weight_quant_params\":{}}, \"activation_offset\":false,"
      "\"net/pool/AvgPool\":{\"quant_enable\":false,\"weight_quant_params\":"
      "{\"channel_wise\":false}}}";
  amct_recipe recipe = {0};
  amct_error err = {0};
  if (read_text(s, &recipe, text, &err) != AMCT_OK) fail_msg("%s", err.text);
  assert_int_equal(recipe.batch_num, 1);
  assert_true(recipe.do_fusion && !recipe.joint_quant && !recipe.activation_offset);
  const amct_layer_recipe *conv = layer_of(&recipe, "net/conv1/Conv2D");
  assert_true(conv->enabled && conv->channel_wise && !conv->range.asymmetric);
  assert_true(conv->range.search_step == 0.01 && conv->range.search_end == 1.3);
  assert_ptr_equal(conv->layer, &s->hand.at[0]);
  const amct_layer_recipe *fc = layer_of(&recipe, "Fc");
  assert_true(fc->enabled && !fc->channel_wise && fc->range.asymmetric);
  assert_true(fc->range.search_start == 1 && fc->range.search_end == 2);
  assert_false(layer_of(&recipe, "net/pool/AvgPool")->enabled);
  assert_false(layer_of(&recipe, "net/conv1/depthwise")->enabled); /* absent */
  amct_recipe_free(&recipe);
}

static void groups_fill_what_has_no_entry(void **data) {
  state *s = *data;
  static const char text[] =
      "{\"*\":{\"activation_quant_params\":{\"search_step\":0.1},"
      "\"weight_quant_params\":{\"channel_wise\":true}},"
      "\"net/conv1/*\":{\"activation_quant_params\":{\"search_step\":0.2}},"
      "\"type:Conv2D\":{\"activation_quant_params\":{\"search_step\":0.3},"
      "\"weight_quant_params\":{\"channel_wise\":true}},"
      "\"net/conv1/Conv2D\":{},"
      "\"net/po*\":{\"quant_enable\":false}}";
  amct_recipe recipe = {0};
  amct_error err = {0};
  if (read_text(s, &recipe, text, &err) != AMCT_OK) fail_msg("%s", err.text);
  assert_true(layer_of(&recipe, "net/conv1/Conv2D")->range.search_step == 0.01);
  assert_true(layer_of(&recipe, "net/conv1/depthwise")->range.search_step == 0.2);
  assert_true(layer_of(&recipe, "net/free/Conv2D")->range.search_step == 0.3);
  assert_true(layer_of(&recipe, "Fc")->range.search_step == 0.1);
  assert_false(layer_of(&recipe, "net/pool/AvgPool")->enabled);
  /* true for several reaches those that have scales by channel by default */
  assert_true(layer_of(&recipe, "net/free/Conv2D")->channel_wise);
  assert_false(layer_of(&recipe, "net/logits/Conv2D")->channel_wise);
  assert_false(layer_of(&recipe, "Fc")->channel_wise);
  amct_recipe_free(&recipe);

  recipe = (amct_recipe){0};
  assert_int_equal(read_text(s, &recipe,
                             "{\"type:Conv2D\":{},\"type:MatMul\":{\"quant_enable\":"
                             "false}}",
                             NULL),
                   AMCT_OK);
  assert_int_equal(amct_recipe_enabled(&recipe), 3);
  assert_false(layer_of(&recipe, "Fc")->enabled);
  amct_recipe_free(&recipe);
}

/* x leads to every layer, and no layer to another. */
static void regions_choose_layers(void **data) {
  state *s = *data;
  static const char text[] =
      "{\"from:x to:net/conv1/Conv2D\":{\"activation_quant_params\":{\"search_step\":"
      "0.1},\"weight_quant_params\":{\"channel_wise\":true}},"
      "\"from:x to:Fc\":{\"weight_quant_params\":{\"channel_wise\":true}},"
      "\"from:net/pool/AvgPool to:net/pool/AvgPool\":{},"
      "\"net/pool/AvgPool\":{\"quant_enable\":false},"
      "\"skip_fusion_layers\":[\"from:x to:net/free/Conv2D\"]}";
  static const char *const skip[] = {"from:x to:Fc"};
  const amct_recipe_options options = {skip, 1, 1, true};
  amct_recipe recipe = {0};
  amct_error err = {0};
  if (read_text(s, &recipe, text, &err) != AMCT_OK) fail_msg("%s", err.text);
  assert_int_equal(amct_recipe_enabled(&recipe), 2);
  assert_true(layer_of(&recipe, "net/conv1/Conv2D")->range.search_step == 0.1);
  assert_true(layer_of(&recipe, "net/conv1/Conv2D")->channel_wise);
  assert_true(layer_of(&recipe, "Fc")->enabled);
  assert_false(layer_of(&recipe, "Fc")->channel_wise);          /* asked of several */
  assert_false(layer_of(&recipe, "net/pool/AvgPool")->enabled); /* a name wins */
  assert_int_equal(recipe.skip_fusion_count, 1);
  assert_string_equal(recipe.skip_fusion_layers[0], "net/free/Conv2D");
  amct_recipe_free(&recipe);

  recipe = (amct_recipe){0};
  assert_int_equal(
      amct_recipe_defaults(&recipe, &s->hand.layers, s->hand.graph, &options, NULL),
      AMCT_OK);
  assert_int_equal(amct_recipe_enabled(&recipe), recipe.layer_count - 1);
  assert_false(layer_of(&recipe, "Fc")->enabled);
  amct_recipe_free(&recipe);
}

static void skipped_patterns_and_types_are_disabled(void **data) {
  state *s = *data;
  static const char *const skip[] = {"net/conv?/[a-d]*", "type:AvgPool", "Fc"};
  const amct_recipe_options options = {skip, 3, 1, true};
  amct_recipe recipe = {0};
  assert_int_equal(
      amct_recipe_defaults(&recipe, &s->hand.layers, s->hand.graph, &options, NULL),
      AMCT_OK);
  assert_int_equal(amct_recipe_enabled(&recipe), 3);
  assert_true(layer_of(&recipe, "net/conv1/Conv2D")->enabled);
  assert_false(layer_of(&recipe, "net/conv1/depthwise")->enabled);
  assert_false(layer_of(&recipe, "net/pool/AvgPool")->enabled);
  amct_recipe_free(&recipe);
}

static void overrides_survive_writing(void **data) {
  state *s = *data;
  static const char text[] =
      "{\"skip_fusion_layers\":[\"net/conv1/depthwise\",\"net/odd/Conv2D\"],"
      "\"do_fusion\":false, \"joint_quant\":true,"
      "\"Fc\":{\"activation_quant_params\":{\"asymmetric\":false,"
      "\"search_step\":0.012345678901234567, \"max_percentile\":1}}}";
  amct_recipe first = {0};
  amct_recipe second = {0};
  amct_error err = {0};
  if (read_text(s, &first, text, &err) != AMCT_OK) fail_msg("%s", err.text);
  const char *path = temp_path(&s->folder, "again.json");
  assert_int_equal(amct_recipe_write(&first, path, &err), AMCT_OK);
  if (amct_recipe_read(&second, path, &s->hand.layers, s->hand.graph, &err) != AMCT_OK)
    fail_msg("%s", err.text);
  assert_true(!second.do_fusion && second.joint_quant);
  assert_int_equal(second.skip_fusion_count, 2);
  assert_string_equal(second.skip_fusion_layers[0], "net/conv1/depthwise");
  const amct_layer_recipe *fc = layer_of(&second, "Fc");
  assert_false(fc->range.asymmetric);
  assert_true(fc->range.search_step == 0.012345678901234567);
  assert_true(fc->range.max_percentile == 1);
  for (size_t i = 0; i < first.layer_count; i++)
    assert_int_equal(first.layers[i].enabled, second.layers[i].enabled);
  amct_recipe_free(&first);
  amct_recipe_free(&second);
}

static void algorithms_survive_writing(void **data) {
  state *s = *data;
  static const char text[] =
      "{\"Fc\":{\"activation_quant_params\":{\"num_of_bins\":8192,\"act_algo\":\"hfmg\","
      "\"asymmetric\":false}},"
      "\"net/conv1/Conv2D\":{\"activation_quant_params\":{\"act_algo\":\"min_max\"}},"
      "\"type:AvgPool\":{\"activation_quant_params\":{\"act_algo\":\"percentile\","
      "\"min_percentile\":0.75}}}";
  amct_recipe first = {0};
  amct_recipe second = {0};
  amct_error err = {0};
  if (read_text(s, &first, text, &err) != AMCT_OK) fail_msg("%s", err.text);
  const char *path = temp_path(&s->folder, "again.json");
  assert_int_equal(amct_recipe_write(&first, path, &err), AMCT_OK);
  char *written = temp_read(path);
  /* a layer has the settings of its algorithm alone */
  assert_non_null(strstr(written, "\"act_algo\":\"hfmg\",\n"
                                  "            \"num_of_bins\":8192,\n"
                                  "            \"asymmetric\":false\n"));
  assert_non_null(strstr(written, "\"activation_quant_params\":{\n"
                                  "            \"act_algo\":\"min_max\"\n"));
  free(written);
  if (amct_recipe_read(&second, path, &s->hand.layers, s->hand.graph, &err) != AMCT_OK)
    fail_msg("%s", err.text);
  const amct_range_options *fc = &layer_of(&second, "Fc")->range;
  assert_int_equal(fc->algorithm, AMCT_RANGE_HFMG);
  assert_int_equal(fc->num_of_bins, 8192);
  assert_false(fc->asymmetric);
  assert_int_equal(layer_of(&second, "net/conv1/Conv2D")->range.algorithm,
                   AMCT_RANGE_MIN_MAX);
  const amct_range_options *pool = &layer_of(&second, "net/pool/AvgPool")->range;
  assert_int_equal(pool->algorithm, AMCT_RANGE_PERCENTILE);
  assert_true(pool->min_percentile == 0.75 && pool->max_percentile == 0.999999);
  assert_int_equal(layer_of(&second, "net/free/Conv2D")->range.algorithm,
                   AMCT_RANGE_IFMR);
  amct_recipe_free(&first);
  amct_recipe_free(&second);
}

static void joint_quant_is_taken_with_a_warning(void **data) {
  state *s = *data;
  const char *log = temp_path(&s->folder, "log");
  amct_recipe recipe = {0};
  assert_int_equal(amct_log_configure(AMCT_LOG_NONE, AMCT_LOG_WARNING, log, NULL),
                   AMCT_OK);
  assert_int_equal(read_text(s, &recipe, "{\"joint_quant\":true,\"Fc\":{}}", NULL),
                   AMCT_OK);
  assert_int_equal(amct_log_configure(AMCT_LOG_NONE, AMCT_LOG_NONE, NULL, NULL), AMCT_OK);
  char *lines = temp_read(log);
  assert_non_null(lines);
  assert_non_null(strstr(lines, "joint_quant is true: it has no effect"));
  free(lines);
  assert_true(recipe.joint_quant);
  amct_recipe_free(&recipe);
}

static void the_values_of_this_version_are_taken(void **data) {
  state *s = *data;
  static const char text[] =
      "\xEF\xBB\xBF{\"version\":1, \"weight_offset\":false, \"tensor_quantize\":[],"
      "\"fakequant_precision_mode\":\"DEFAULT\", \"batch_num\":9223372036854775807,"
      "\"net/logits/Conv2D\":{\"activation_quant_params\":{\"num_bits\":8,"
      "\"act_algo\":\"ifmr\", \"search_range\":[0.8,1.0], \"search_step\":0.2},"
      "\"weight_quant_params\":{\"num_bits\":8,\"wts_algo\":\"arq_quantize\","
      "\"channel_wise\":true}}}";
  amct_recipe recipe = {0};
  amct_error err = {0};
  if (read_text(s, &recipe, text, &err) != AMCT_OK) fail_msg("%s", err.text);
  assert_true(recipe.batch_num == INT64_MAX);
  assert_true(layer_of(&recipe, "net/logits/Conv2D")->channel_wise);
  amct_recipe_free(&recipe);
}

static void fusion_is_read_without_layers(void **data) {
  state *s = *data;
  const char *path = temp_path(&s->folder, "fusion.json");
  amct_recipe_fusion fusion = {0};
  temp_write(path, "{\"skip_fusion_layers\":[\"net/odd/Conv2D\",\"net/conv1/*\",\"*\"],"
                   "\"no_layer\":{\"x\":1}}");
  assert_int_equal(amct_recipe_read_fusion(&fusion, path, s->hand.graph, NULL), AMCT_OK);
  assert_true(fusion.do_fusion);
  static const char *const wanted[] = {"net/odd/Conv2D", "net/conv1/Conv2D",
                                       "net/conv1/depthwise", "net/logits/Conv2D",
                                       "net/free/Conv2D"};
  assert_int_equal(fusion.skip_fusion_count, sizeof wanted / sizeof *wanted);
  for (size_t i = 0; i < fusion.skip_fusion_count; i++)
    assert_string_equal(fusion.skip_fusion_layers[i], wanted[i]);
  amct_arena_free(&fusion.arena);

  static const struct {
    const char *text, *message;
  } cases[] = {
      {"{\"do_fusion\":0}", "do_fusion is 0"},
      {"{\"skip_fusion_layers\":[\"net/conv2/*\"]}",
       "skip_fusion_layers: \"net/conv2/*\" matches no layers that anything is folded "
       "into; nearest: \"net/conv1/Conv2D\""},
      {"{\"skip_fusion_layers\":[\"type:MatMul\"]}",
       "skip_fusion_layers: no layers of type \"MatMul\" anything is folded into"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    amct_error err = {0};
    fusion = (amct_recipe_fusion){0};
    temp_write(path, cases[i].text);
    assert_int_equal(amct_recipe_read_fusion(&fusion, path, s->hand.graph, &err),
                     AMCT_BAD_CONFIG);
    expect_text(&err, cases[i].message, i);
    assert_null(fusion.arena.head);
  }
  assert_int_equal(
      amct_recipe_read_fusion(&fusion, "data/no_such_file", s->hand.graph, NULL),
      AMCT_IO);
}

static void names_that_json_cannot_hold_are_refused(void **data) {
  state *s = *data;
  static const struct {
    const char *name;
    const char *message;
  } cases[] = {{"version", "the configuration has a setting of that name"},
               {"a\xFFz", "the name is not UTF-8"}};
  for (size_t i = 0; i < 2; i++) {
    amct_layer_recipe layer = {.name = cases[i].name, .layer = &s->hand.at[0]};
    const amct_recipe recipe = {.batch_num = 1, .layers = &layer, .layer_count = 1};
    amct_error err = {0};
    const char *path = temp_path(&s->folder, "unwritten.json");
    assert_int_equal(amct_recipe_write(&recipe, path, &err), AMCT_BAD_CONFIG);
    expect_text(&err, cases[i].message, i);
    assert_null(temp_read(path));
  }
}

/* ---- memory ---- */

static amct_status read_and_write(state *s, const char *to, amct_error *err) {
  amct_recipe recipe = {0};
  amct_status status =
      amct_recipe_read(&recipe, k_default, &s->hand.layers, s->hand.graph, err);
  if (status == AMCT_OK) status = amct_recipe_write(&recipe, to, err);
  amct_recipe_free(&recipe);
  return status;
}

static void every_allocation_may_fail(void **data) {
  state *s = *data;
  const char *path = temp_path(&s->folder, "config.json");
  temp_write(path, "before");
  amct_recipe_use_alloc();
  uint64_t n = 1;
  for (;; n++) {
    assert_true(n < 20000);
    amct_error err = {0};
    amct_alloc_fail_after(n);
    amct_status status = read_and_write(s, path, &err);
    amct_alloc_fail_after(0);
    if (status == AMCT_OK) break;
    if (status != AMCT_OUT_OF_MEMORY) fail_msg("allocation %d: %s", (int)n, err.text);
    char *left = temp_read(path);
    assert_string_equal(left, "before");
    free(left);
  }
  assert_true(n > 100);
  expect_same_file(path, k_default);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(defaults_are_written_as_python_writes_them),
      TEST(a_comma_locale_changes_nothing),
      TEST(rows_agree_with_the_struct_of_the_search),
      TEST(wrong_skip_layers_are_refused),
      TEST(nothing_to_quantize_is_refused),
      TEST(written_file_reads_and_writes_back),
      TEST(missing_keys_get_defaults),
      TEST(groups_fill_what_has_no_entry),
      TEST(regions_choose_layers),
      TEST(skipped_patterns_and_types_are_disabled),
      TEST(overrides_survive_writing),
      TEST(algorithms_survive_writing),
      TEST(joint_quant_is_taken_with_a_warning),
      TEST(the_values_of_this_version_are_taken),
      TEST(fusion_is_read_without_layers),
      TEST(names_that_json_cannot_hold_are_refused),
      TEST(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
