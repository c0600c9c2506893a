/* SPDX-License-Identifier: Apache-2.0 */
/* Simplified configurations that are refused: what the message says. */
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

#include "unit/cfg_state.h"

typedef struct refused {
  const char *text;
  amct_status status;
  const char *message;
} refused;

#define COMMON(body) "common_config {\n" body "\n}"
#define IFMR(body) COMMON("ifmr_quantize { " body " }")
#define TYPE(name, body)                                                                 \
  "override_layer_types { layer_type: \"" name "\"\n calibration_config { " body " } }"
#define LAYER(name, body)                                                                \
  "override_layer_configs { layer_name: \"" name "\"\n calibration_config { " body " } " \
  "}"
#define WISE "arq_quantize { channel_wise: true }"
#define POOL "layer_name: \"net/pool/MaxPool\" input_index: 0"
#define TENSOR(body) "\ntensor_quantize { " body " }"

static const refused k_refused[] = {
    /* not protobuf text */
    {"batch_num 1", AMCT_BAD_FORMAT, "/c: line 1: '1' where ':' is wanted"},
    {"batch_num: 1\ncommon_config {\n", AMCT_BAD_FORMAT,
     "/c: line 3: message 'common_config' of line 2 is not closed"},
    {"skip_layers: \"Fc", AMCT_BAD_FORMAT, "line 1: a string is not closed"},
    {"}", AMCT_BAD_FORMAT, "line 1: '}' where a field name is wanted"},
    /* fields */
    {"\nbatchnum: 1", AMCT_BAD_CONFIG,
     "/c: line 2: batchnum is not a field; nearest: \"batch_num\""},
    {"zzz {}", AMCT_BAD_CONFIG, "/c: line 1: zzz is not a field"},
    {"search_step: 0.1", AMCT_BAD_CONFIG,
     "line 1: search_step is not a field here: it stands in ifmr_quantize"},
    {COMMON("channel_wise: true"), AMCT_BAD_CONFIG,
     "line 2: common_config.channel_wise is not a field here: it stands in arq_quantize"},
    {COMMON("batch_num: 1"), AMCT_BAD_CONFIG,
     "common_config.batch_num is not a field here: it stands at the top of the file"},
    {IFMR("max_percentil: 1"), AMCT_BAD_CONFIG,
     "line 2: common_config.ifmr_quantize.max_percentil is not a field; nearest: "
     "\"max_percentile\""},
    {"common_config: 3", AMCT_BAD_CONFIG,
     "line 1: common_config is 3: a message in braces is wanted"},
    {"batch_num {}", AMCT_BAD_CONFIG,
     "line 1: batch_num is a message: a whole number over 0 is wanted"},
    {"weight_offset {}", AMCT_BAD_CONFIG,
     "weight_offset is a message: a plain value is wanted"},
    {"override_layer_types {\n}", AMCT_BAD_CONFIG,
     "line 2: override_layer_types.layer_type is missing in the message of line 1"},
    {"override_layer_configs { layer_name: \"Fc\" }", AMCT_BAD_CONFIG,
     "override_layer_configs.calibration_config is missing in the message of line 1"},
    /* values */
    {"batch_num: 0", AMCT_BAD_CONFIG,
     "/c: line 1: batch_num is 0: a whole number over 0 is wanted"},
    {"batch_num: -1", AMCT_BAD_CONFIG, "batch_num is -1: a whole number over 0"},
    {"batch_num: 4294967296", AMCT_BAD_CONFIG, "batch_num is 4294967296: a whole"},
    {"batch_num: 1.0", AMCT_BAD_CONFIG, "batch_num is 1.0: a whole number over 0"},
    {"batch_num: \"1\"", AMCT_BAD_CONFIG, "batch_num is \"1\": a whole number over 0"},
    {"do_fusion: yes", AMCT_BAD_CONFIG, "do_fusion is yes: true or false is wanted"},
    {"do_fusion: TRUE", AMCT_BAD_CONFIG, "do_fusion is TRUE: true or false is wanted"},
    {"do_fusion: \"true\"", AMCT_BAD_CONFIG, "do_fusion is \"true\": true or false"},
    {"skip_layers: Fc", AMCT_BAD_CONFIG,
     "skip_layers is Fc: a quoted name or pattern is wanted"},
    {"skip_layers: \"a\\0b\"", AMCT_BAD_CONFIG, "skip_layers: no name has a NUL"},
    {"weight_offset: true", AMCT_BAD_CONFIG,
     "weight_offset is true: this version handles false only"},
    {"fakequant_precision_mode: FORCE_FP16_QUANT", AMCT_BAD_CONFIG,
     "fakequant_precision_mode is FORCE_FP16_QUANT: this version handles DEFAULT only"},
    {IFMR("dst_type: INT16"), AMCT_BAD_CONFIG,
     "ifmr_quantize.dst_type is INT16: this version handles INT8 only"},
    {COMMON("arq_quantize { quant_bits: 4 }"), AMCT_BAD_CONFIG,
     "line 2: common_config.arq_quantize.quant_bits is 4: this version handles 8 only"},
    {IFMR("max_percentile: 0.5"), AMCT_BAD_CONFIG,
     "max_percentile is 0.5: a number over 0.5, at most 1 is wanted"},
    {IFMR("min_percentile: 1.000001"), AMCT_BAD_CONFIG, "min_percentile is 1.000001: "},
    {IFMR("min_percentile: nan"), AMCT_BAD_CONFIG, "min_percentile is nan: a number"},
    {IFMR("search_step: 0"), AMCT_BAD_CONFIG, "search_step is 0: a number over 0"},
    {IFMR("search_step: 1e-50"), AMCT_BAD_CONFIG, "search_step is 1e-50: a number over"},
    {IFMR("search_step: a"), AMCT_BAD_CONFIG, "search_step is a: a number over 0"},
    {IFMR("search_range_end: 1e39"), AMCT_BAD_CONFIG, "search_range_end is 1e39: a"},
    {IFMR("search_range_start: inf"), AMCT_BAD_CONFIG, "search_range_start is inf: a"},
    {IFMR("\nsearch_range_start: 1.3\n"), AMCT_BAD_CONFIG,
     "line 3: common_config.ifmr_quantize.search_range_start: start 1.3 is not below end "
     "1.3"},
    {IFMR("search_step: 0.61"), AMCT_BAD_CONFIG,
     "search_step: 0.61 is over end - start of search_range, 0.6"},
    {IFMR("search_step: 1e-6"), AMCT_BAD_CONFIG,
     "search_step: 1e-06 gives more than 10000 candidates between 0.7 and 1.3"},
    /* not handled */
    {COMMON("hfmg_quantize { num_of_bins: 4095 }"), AMCT_BAD_CONFIG,
     "line 2: common_config.hfmg_quantize.num_of_bins is 4095: 1024, 2048, 4096 or 8192"},
    {COMMON("hfmg_quantize { num_of_bins: \"4096\" }"), AMCT_BAD_CONFIG,
     "num_of_bins is \"4096\": 1024"},
    {COMMON("hfmg_quantize { max_percentile: 1 }"), AMCT_BAD_CONFIG,
     "hfmg_quantize.max_percentile is not a field here: it stands in ifmr_quantize"},
    {COMMON("min_max_quantize { search_step: 1 }"), AMCT_BAD_CONFIG,
     "min_max_quantize.search_step is not a field here: it stands in ifmr_quantize"},
    {COMMON("nuq_quantize {}"), AMCT_BAD_CONFIG, "non-uniform quantization is not"},
    {COMMON("dmq_balancer {}"), AMCT_BAD_CONFIG, "the balancer is not handled"},
    {"nuq_config { mapping_file: \"f\" }", AMCT_BAD_CONFIG, "nuq_config: non-uniform"},
    {TENSOR(POOL) TENSOR(POOL), AMCT_BAD_CONFIG,
     "/c: line 3: tensor_quantize: input 0 of \"net/pool/MaxPool\" stands twice"},
    {TENSOR("layer_name: \"net/pool/MaxPool\" input_index: 1"), AMCT_BAD_CONFIG,
     "\"net/pool/MaxPool\" has 1 inputs: there is no input 1"},
    {TENSOR("layer_name: \"Fc\" input_index: 0"), AMCT_BAD_CONFIG,
     "\"Fc\" is a MatMul: a MaxPool or an Add is wanted"},
    {TENSOR("layer_name: \"Fc\""), AMCT_BAD_CONFIG,
     "line 2: tensor_quantize.input_index is missing"},
    /* layers */
    {"skip_layers: \"Fcc\"", AMCT_BAD_CONFIG,
     "/c: line 1: skip_layers: \"Fcc\" is not in the graph; nearest: \"Fc\""},
    {"skip_layers: \"Fc\"\nskip_layers: \"Fc\"", AMCT_BAD_CONFIG,
     "/c: line 2: skip_layers: \"Fc\" stands twice"},
    {"skip_layers: \"net/relu/Relu6\"", AMCT_BAD_CONFIG,
     "\"net/relu/Relu6\" does not support quantization: Relu6 is not an op"},
    {"skip_layers: \"net/conv2/*\"", AMCT_BAD_CONFIG,
     "/c: line 1: skip_layers: \"net/conv2/*\" matches no layers that can be quantized; "
     "nearest: \"net/conv1/Conv2D\""},
    {"skip_layers: \"type:Matmul\"", AMCT_BAD_CONFIG,
     "skip_layers: no layers of type \"Matmul\" can be quantized; nearest: \"MatMul\""},
    {"skip_layers: \"*\"", AMCT_BAD_CONFIG,
     "skip_layers and skip_layer_types: no layer is left, all 6 are skipped"},
    {"skip_layer_types: \"Conv2d\"", AMCT_BAD_CONFIG,
     "line 1: skip_layer_types: \"Conv2d\" is not a type that is quantized; nearest: "
     "\"Conv2D\""},
    {"skip_layer_types: \"MatMul\"\n skip_layer_types: \"MatMul\"", AMCT_BAD_CONFIG,
     "line 2: skip_layer_types: \"MatMul\" stands twice"},
    {"skip_fusion_layers: \"Fc\"", AMCT_BAD_CONFIG,
     "/c: line 1: skip_fusion_layers: \"Fc\" is a MatMul: nothing is ever folded into "
     "it"},
    {"skip_fusion_layers: \"net/conv1/Conv2\"", AMCT_BAD_CONFIG,
     "skip_fusion_layers: \"net/conv1/Conv2\" is not in the graph; nearest: "
     "\"net/conv1/Conv2D\""},
    {"skip_fusion_layers: [\"net/conv1/Conv2D\",\n\"net/conv1/Conv2D\"]", AMCT_BAD_CONFIG,
     "line 2: skip_fusion_layers: \"net/conv1/Conv2D\" stands twice"},
    {"skip_fusion_layers: \"*/conv\"", AMCT_BAD_CONFIG,
     "skip_fusion_layers: \"*/conv\" matches no layers that anything is folded into"},
    {TYPE("Conv4D", ""), AMCT_BAD_CONFIG,
     "line 1: override_layer_types.layer_type: \"Conv4D\" is not a type that is "
     "quantized"},
    {TYPE("MatMul", WISE), AMCT_BAD_CONFIG,
     "line 2: channel_wise is true for \"Fc\": MatMul has no scales by channel"},
    {TYPE("MatMul", "") TYPE("MatMul", ""), AMCT_BAD_CONFIG,
     "override_layer_types.layer_type: \"MatMul\" stands twice"},
    {LAYER("Fd", ""), AMCT_BAD_CONFIG,
     "line 1: override_layer_configs.layer_name: \"Fd\" is not in the graph; nearest: "
     "\"Fc\""},
    {LAYER("net/odd/Conv2D", ""), AMCT_BAD_CONFIG,
     "\"net/odd/Conv2D\" does not support quantization: the weight comes from an op"},
    {LAYER("Fc", WISE), AMCT_BAD_CONFIG, "line 2: channel_wise is true for \"Fc\": "},
    {LAYER("Fc", "") LAYER("Fc", ""), AMCT_BAD_CONFIG,
     "line 2: override_layer_configs.layer_name: \"Fc\" stands twice"},
    {LAYER("from:Fc to:x", ""), AMCT_BAD_CONFIG,
     "/c: line 1: override_layer_configs.layer_name: \"from:Fc to:x\": no data goes from "
     "\"Fc\" to \"x\", but the other way"},
    {"\nskip_layers: \"from:x to:Fcc\"", AMCT_BAD_CONFIG,
     "/c: line 2: skip_layers: \"from:x to:Fcc\": \"Fcc\" is not in the graph, or was "
     "folded away; nearest: \"Fc\""},
    {LAYER("net/?", ""), AMCT_BAD_CONFIG, "layer_name: \"net/?\" matches no layers"},
    {"preset: fast", AMCT_BAD_CONFIG,
     "line 1: preset is fast: none or accurate is wanted"},
    {COMMON("gptq_quantize { damping: 0 }"), AMCT_BAD_CONFIG,
     "gptq_quantize.damping is 0: a number over 0, at most 1 is wanted"},
    {COMMON("gptq_quantize { damping: 1.5 }"), AMCT_BAD_CONFIG,
     "damping is 1.5: a number"},
    {"fc_calibration_config {\n" WISE "}", AMCT_BAD_CONFIG,
     "line 2: fc_calibration_config.arq_quantize.channel_wise is true: these layers"},
};

static void wrong_files_are_refused(void **data) {
  state *s = *data;
  const char *path = temp_path(&s->folder, "c");
  for (size_t i = 0; i < sizeof k_refused / sizeof *k_refused; i++) {
    amct_recipe recipe = {0};
    amct_error err = {0};
    temp_write(path, k_refused[i].text);
    amct_status status = apply_file(s, path, &recipe, &err);
    if (status != k_refused[i].status)
      fail_msg("case %zu: %s \"%s\"", i, amct_status_name(status), err.text);
    expect_text(&err, k_refused[i].message, i);
    amct_recipe_free(&recipe);
  }
}

static void files_that_are_not_there_are_named(void **data) {
  state *s = *data;
  amct_recipe recipe = {0};
  amct_error err = {0};
  assert_int_equal(apply_file(s, "data/no_such.cfg", &recipe, &err), AMCT_IO);
  expect_text(&err, "data/no_such.cfg: ", 0);
}

/* "<message> <a> { <message> <b> { " up to the message of a field, and the way back. */
static void frame_of(const amct_cfg_field *field, char before[256], char after[16]) {
  static const char *const frames[] = {
      [AMCT_CFG_IN_FILE] = "",
      [AMCT_CFG_IN_TYPE] = "override_layer_types { ",
      [AMCT_CFG_IN_LAYER] = "override_layer_configs { ",
      [AMCT_CFG_IN_TENSOR] = "tensor_quantize { ",
      [AMCT_CFG_IN_CALIBRATION] = "common_config { ",
      [AMCT_CFG_IN_ARQ] = "common_config { arq_quantize { ",
      [AMCT_CFG_IN_GPTQ] = "common_config { gptq_quantize { ",
      [AMCT_CFG_IN_IFMR] = "common_config { ifmr_quantize { ",
      [AMCT_CFG_IN_HFMG] = "common_config { hfmg_quantize { ",
      [AMCT_CFG_IN_MIN_MAX] = "common_config { min_max_quantize { ",
      [AMCT_CFG_IN_PERCENTILE] = "common_config { percentile_quantize { ",
      [AMCT_CFG_IN_RETRAIN] = "",
      [AMCT_CFG_IN_RETRAIN_LAYER] = "override_layer_configs { ",
      [AMCT_CFG_IN_RETRAIN_TYPE] = "override_layer_types { ",
      [AMCT_CFG_IN_RETRAIN_DATA] = "retrain_data_quant_config { ",
      [AMCT_CFG_IN_ULQ] = "retrain_data_quant_config { ulq_quantize { ",
      [AMCT_CFG_IN_CLIPS] = "retrain_data_quant_config { ulq_quantize { clip_max_min { ",
      [AMCT_CFG_IN_RETRAIN_WEIGHT] = "retrain_weight_quant_config { ",
      [AMCT_CFG_IN_ARQ_RETRAIN] = "retrain_weight_quant_config { arq_retrain { ",
  };
  snprintf(before, 256, "%s", frames[field->message]);
  after[0] = '\0';
  for (const char *c = before; *c != '\0'; c++)
    if (*c == '{') strcat(after, " }");
}

/* Each row is known in its message and refuses a word as value. */
static void every_field_is_known_where_it_belongs(void **data) {
  state *s = *data;
  const char *path = temp_path(&s->folder, "c");
  const amct_cfg_field *field;
  for (size_t i = 0; (field = amct_cfg_field_at(i)) != NULL; i++) {
    char text[512], before[256], after[16];
    amct_cfg cfg = {0};
    amct_error err = {0};
    if (field->message >= AMCT_CFG_IN_RETRAIN) cfg.purpose = AMCT_FOR_RETRAINING;
    frame_of(field, before, after);
    snprintf(text, sizeof text, "%s%s: wrong%s", before, field->name, after);
    temp_write(path, text);
    assert_int_equal(amct_cfg_read(&cfg, path, &err), AMCT_BAD_CONFIG);
    expect_text(&err, field->name, i);
    if (field->kind == AMCT_CFG_REFUSED)
      expect_text(&err, field->allowed, i);
    else
      expect_text(&err, " is wrong: ", i);
    assert_true(field->meaning[0] != '\0');
    amct_cfg_free(&cfg);
  }
}

static void patterns_have_a_limit(void **data) {
  state *s = *data;
  const char *path = temp_path(&s->folder, "c");
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  for (int i = 0; i <= 1000; i++)
    fprintf(file, "skip_layers: \"F*\"\n");
  assert_int_equal(fclose(file), 0);
  amct_recipe recipe = {0};
  amct_error err = {0};
  assert_int_equal(apply_file(s, path, &recipe, &err), AMCT_BAD_CONFIG);
  expect_text(&err, "line 1001: skip_layers: more than 1000 patterns", 0);
  amct_recipe_free(&recipe);

  char text[400];
  snprintf(text, sizeof text, "skip_layers: \"%0256d*\"", 0);
  temp_write(path, text);
  err = (amct_error){0};
  recipe = (amct_recipe){0};
  assert_int_equal(apply_file(s, path, &recipe, &err), AMCT_BAD_CONFIG);
  expect_text(&err, "skip_layers: a pattern of 257 bytes: at most 255 are taken", 1);
  amct_recipe_free(&recipe);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(wrong_files_are_refused),
      TEST(files_that_are_not_there_are_named),
      TEST(every_field_is_known_where_it_belongs),
      TEST(patterns_have_a_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
