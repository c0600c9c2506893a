/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations that are refused: what the message says. */
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

#include "recipe/recipe_keys.h"
#include "unit/recipe_state.h"

typedef struct refused {
  const char *text;
  amct_status status;
  const char *message;
} refused;

#define FC(body) "{\"Fc\":{" body "}}"
#define ACT(body) FC("\"activation_quant_params\":{" body "}")
#define WTS(body) FC("\"weight_quant_params\":{" body "}")
#define DATA(body) FC("\"retrain_data_config\":{" body "}")
#define ARQ(body) FC("\"retrain_weight_config\":{" body "}")
#define POOL "{\"layer_name\":\"net/pool/MaxPool\",\"input_index\":0}"
#define TENSOR(body) "{\"tensor_quantize\":[{" body "}]}"

static const refused k_refused[] = {
    /* not JSON of the right kind */
    {"", AMCT_BAD_FORMAT, "/c: the file is empty"},
    {"{\"a\":1", AMCT_BAD_FORMAT, "/c: line 1, column 6: "},
    {"{\n\"do_fusion\":true,\n\"do_fusion\":true}", AMCT_BAD_FORMAT,
     "/c: line 3, column 11: duplicate object key"},
    {FC("\"quant_enable\":true,\"quant_enable\":true"), AMCT_BAD_FORMAT, "duplicate"},
    {"[]", AMCT_BAD_FORMAT, "the top of the file is a list, it must be an object"},
    {"{} {}", AMCT_BAD_FORMAT, "end of file expected"},
    {"{\"batch_num\":NaN}", AMCT_BAD_FORMAT, "invalid token"},
    {"{\"a\\u0000b\":{}}", AMCT_BAD_FORMAT, "NUL byte in object key"},
    /* globals */
    {"{\"version\":2}", AMCT_BAD_CONFIG, "/c: version is 2: this version handles 1 only"},
    {"{\"batch_num\":0}", AMCT_BAD_CONFIG,
     "/c: batch_num is 0: a whole number over 0 is wanted"},
    {"{\"batch_num\":1.0}", AMCT_BAD_CONFIG, "batch_num is 1.0: a whole number over 0"},
    {"{\"batch_num\":true}", AMCT_BAD_CONFIG, "batch_num is true: a whole number over 0"},
    {"{\"batch_num\":null}", AMCT_BAD_CONFIG, "batch_num is null"},
    {"{\"do_fusion\":1}", AMCT_BAD_CONFIG, "do_fusion is 1: true or false is wanted"},
    {"{\"activation_offset\":\"true\"}", AMCT_BAD_CONFIG,
     "activation_offset is \"true\": true or false is wanted"},
    {"{\"weight_offset\":true}", AMCT_BAD_CONFIG,
     "weight_offset is true: this version handles false only"},
    {"{\"tensor_quantize\":{}}", AMCT_BAD_CONFIG,
     "tensor_quantize is {}: a list of objects is wanted"},
    {"{\"tensor_quantize\":[3]}", AMCT_BAD_CONFIG,
     "tensor_quantize: an element is no object"},
    {TENSOR("\"layer_name\":\"net/pool/MaxPol\",\"input_index\":0"), AMCT_BAD_CONFIG,
     "/c: tensor_quantize: \"net/pool/MaxPol\" is not in the graph; nearest: "
     "\"net/pool/MaxPool\""},
    {TENSOR("\"layer_name\":\"Fc\",\"input_index\":0"), AMCT_BAD_CONFIG,
     "tensor_quantize: \"Fc\" is a MatMul: a MaxPool or an Add is wanted"},
    {TENSOR("\"layer_name\":\"net/pool/MaxPool\",\"input_index\":1"), AMCT_BAD_CONFIG,
     "tensor_quantize: \"net/pool/MaxPool\" has 1 inputs: there is no input 1"},
    {"{\"tensor_quantize\":[" POOL "," POOL "]}", AMCT_BAD_CONFIG,
     "tensor_quantize: input 0 of \"net/pool/MaxPool\" stands twice"},
    {TENSOR("\"input_index\":0"), AMCT_BAD_CONFIG, "layer_name is missing"},
    {TENSOR("\"layer_name\":\"net/pool/MaxPool\""), AMCT_BAD_CONFIG,
     "input_index is missing"},
    {TENSOR("\"layer_nam\":\"p\""), AMCT_BAD_CONFIG,
     "\"tensor_quantize\": layer_nam is not a setting; nearest: \"layer_name\""},
    {TENSOR("\"input_index\":-1"), AMCT_BAD_CONFIG,
     "\"tensor_quantize\": input_index is -1: a whole number, 0 or more is wanted"},
    {TENSOR("\"activation_quant_params\":{\"search_step\":0}"), AMCT_BAD_CONFIG,
     "\"tensor_quantize\": activation_quant_params.search_step is 0"},
    {"{\"fakequant_precision_mode\":\"FORCE_FP16_QUANT\"}", AMCT_BAD_CONFIG,
     "this version handles \"DEFAULT\" only"},
    {"{\"skip_fusion_layers\":\"a\"}", AMCT_BAD_CONFIG,
     "skip_fusion_layers is \"a\": a list of layer names is wanted"},
    {"{\"skip_fusion_layers\":[1]}", AMCT_BAD_CONFIG, "a list of layer names is wanted"},
    {"{\"skip_fusion_layers\":[\"net/conv1/Conv2\"]}", AMCT_BAD_CONFIG,
     "skip_fusion_layers: \"net/conv1/Conv2\" is not in the graph; nearest: "
     "\"net/conv1/Conv2D\""},
    {"{\"skip_fusion_layers\":[\"Fc\"]}", AMCT_BAD_CONFIG,
     "skip_fusion_layers: \"Fc\" is a MatMul: nothing is ever folded into it"},
    {"{\"skip_fusion_layers\":[\"x\"]}", AMCT_BAD_CONFIG, "\"x\" is a Placeholder"},
    {"{\"skip_fusion_layers\":[\"net/conv1/Conv2D\",\"net/conv1/Conv2D\"]}",
     AMCT_BAD_CONFIG, "skip_fusion_layers: \"net/conv1/Conv2D\" stands twice"},
    {"{\"do_fuson\":true}", AMCT_BAD_CONFIG,
     "/c: \"do_fuson\" is not in the graph; nearest: \"do_fusion\""},
    /* layers */
    {"{\"Fcc\":{}}", AMCT_BAD_CONFIG,
     "layer \"Fcc\" is not in the graph; nearest: \"Fc\""},
    {"{\"Fc\":true}", AMCT_BAD_CONFIG, "\"Fc\" is a layer: an object is wanted"},
    {"{\"net/odd/Conv2D\":{}}", AMCT_BAD_CONFIG,
     "layer \"net/odd/Conv2D\" does not support quantization: the weight comes from an "
     "op"},
    {"{\"net/relu/Relu6\":{}}", AMCT_BAD_CONFIG,
     "does not support quantization: Relu6 is not an op that is quantized"},
    {FC("\"quant_enabled\":true"), AMCT_BAD_CONFIG,
     "/c: \"Fc\": quant_enabled is not a setting; nearest: \"quant_enable\""},
    {FC("\"quant_enable\":0"), AMCT_BAD_CONFIG,
     "/c: \"Fc\": quant_enable is 0: true or false is wanted"},
    {FC("\"dmq_balancer_param\":0.5"), AMCT_BAD_CONFIG,
     "\"Fc\": dmq_balancer_param is 0.5: the balancer is not handled by this version"},
    {FC("\"activation_quant_params\":[]"), AMCT_BAD_CONFIG,
     "\"Fc\": activation_quant_params is []: an object is wanted"},
    {FC("\"quant_enable\":false"), AMCT_BAD_CONFIG, "/c: no quant enable layer"},
    {"{}", AMCT_BAD_CONFIG, "/c: no quant enable layer"},
    /* patterns and types */
    {"{\"net/conv2/*\":{}}", AMCT_BAD_CONFIG,
     "/c: layers: \"net/conv2/*\" matches no layers that can be quantized; nearest: "
     "\"net/conv1/Conv2D\""},
    {"{\"*/[a-b]c\":{}}", AMCT_BAD_CONFIG, "\"*/[a-b]c\" matches no layers"},
    {"{\"net/odd/*\":{}}", AMCT_BAD_CONFIG, "matches no layers that can be quantized"},
    {"{\"type:Conv2d\":{}}", AMCT_BAD_CONFIG,
     "/c: layers: no layers of type \"Conv2d\" can be quantized; nearest: \"Conv2D\""},
    {"{\"type:\":{}}", AMCT_BAD_CONFIG, "no layers of type \"\" can be quantized"},
    {"{\"net/*\":[]}", AMCT_BAD_CONFIG, "/c: layers: \"net/*\": an object is wanted"},
    {"{\"net/*\":{\"quant_enable\":1}}", AMCT_BAD_CONFIG,
     "/c: \"net/*\": quant_enable is 1: true or false is wanted"},
    {"{\"Fc\":{},\"F*\":{\"activation_quant_params\":{\"search_step\":1}}}",
     AMCT_BAD_CONFIG, "\"F*\": activation_quant_params.search_step: 1 is over"},
    {"{\"type:MatMul\":{\"weight_quant_params\":{\"channel_wise\":true}}}",
     AMCT_BAD_CONFIG,
     "\"type:MatMul\": weight_quant_params.channel_wise is true: MatMul has no scales "
     "by "
     "channel"},
    {"{\"*\":{\"quant_enable\":false}}", AMCT_BAD_CONFIG, "/c: no quant enable layer"},
    /* regions */
    {"{\"from:x\":{}}", AMCT_BAD_CONFIG, "/c: layers: \"from:x\" has one end"},
    {"{\"from:x to:Fcc\":{}}", AMCT_BAD_CONFIG,
     "/c: layers: \"from:x to:Fcc\": \"Fcc\" is not in the graph, or was folded away; "
     "nearest: \"Fc\""},
    {"{\"from:Fc to:x\":{}}", AMCT_BAD_CONFIG,
     "no data goes from \"Fc\" to \"x\", but the other way"},
    {"{\"from:x to:net/relu/Relu6\":{}}", AMCT_BAD_CONFIG,
     "\"from:x to:net/relu/Relu6\" has no layers that can be quantized"},
    {"{\"from:x to:Fc\":[]}", AMCT_BAD_CONFIG, "\"from:x to:Fc\": an object is wanted"},
    {"{\"skip_fusion_layers\":[\"from:x to:Fc\"]}", AMCT_BAD_CONFIG,
     "skip_fusion_layers: \"from:x to:Fc\" has no layers that anything is folded into"},
    /* activations */
    {ACT("\"max_percentil\":1"), AMCT_BAD_CONFIG,
     "\"Fc\": activation_quant_params.max_percentil is not a setting; nearest: "
     "\"max_percentile\""},
    {ACT("\"channel_wise\":false"), AMCT_BAD_CONFIG,
     "activation_quant_params.channel_wise is not a setting"},
    {ACT("\"max_percentile\":0.5"), AMCT_BAD_CONFIG,
     "\"Fc\": activation_quant_params.max_percentile is 0.5: a number over 0.5, at most "
     "1 "
     "is wanted"},
    {ACT("\"max_percentile\":true"), AMCT_BAD_CONFIG, "max_percentile is true"},
    {ACT("\"min_percentile\":1.0000001"), AMCT_BAD_CONFIG,
     "activation_quant_params.min_percentile is 1.0000001: a number over 0.5, at most 1"},
    {ACT("\"search_range\":[0.7]"), AMCT_BAD_CONFIG,
     "activation_quant_params.search_range is [0.7]: [start, end] with 0 < start < end "
     "is "
     "wanted"},
    {ACT("\"search_range\":[0,1]"), AMCT_BAD_CONFIG,
     "search_range is [0,1]: [start, end]"},
    {ACT("\"search_range\":[1,1e39]"), AMCT_BAD_CONFIG, "search_range is [1,1e39]"},
    {ACT("\"search_range\":[1.3,0.7]"), AMCT_BAD_CONFIG,
     "activation_quant_params.search_range: start 1.3 is not below end 0.7"},
    {ACT("\"search_range\":[1,1.00000001],\"search_step\":1e-9"), AMCT_BAD_CONFIG,
     "search_range: start 1 is not below end 1.00000001"},
    {ACT("\"search_step\":0"), AMCT_BAD_CONFIG,
     "activation_quant_params.search_step is 0: a number over 0"},
    {ACT("\"search_step\":0.61"), AMCT_BAD_CONFIG,
     "search_step: 0.61 is over end - start of search_range, 0.6"},
    {ACT("\"search_step\":1e-300"), AMCT_BAD_CONFIG,
     "search_step: 1e-300 gives more than 10000 candidates between 0.7 and 1.3"},
    {ACT("\"act_algo\":\"hfmgx\""), AMCT_BAD_CONFIG,
     "activation_quant_params.act_algo is \"hfmgx\": ifmr, hfmg, min_max or percentile "
     "is "
     "wanted"},
    {ACT("\"act_algo\":1"), AMCT_BAD_CONFIG, "act_algo is 1: ifmr, hfmg"},
    {ACT("\"act_algo\":\"\""), AMCT_BAD_CONFIG, "act_algo is \"\": ifmr, hfmg"},
    {ACT("\"num_of_bins\":4096"), AMCT_BAD_CONFIG,
     "num_of_bins is 4096: it belongs to act_algo \"hfmg\", not to \"ifmr\""},
    {ACT("\"act_algo\":\"hfmg\",\"num_of_bins\":3000"), AMCT_BAD_CONFIG,
     "num_of_bins is 3000: 1024, 2048, 4096 or 8192 is wanted"},
    {ACT("\"act_algo\":\"hfmg\",\"num_of_bins\":512"), AMCT_BAD_CONFIG, "is 512: 1024"},
    {ACT("\"act_algo\":\"hfmg\",\"num_of_bins\":16384"), AMCT_BAD_CONFIG, "is 16384: 1"},
    {ACT("\"num_of_bins\":4096.0,\"act_algo\":\"hfmg\""), AMCT_BAD_CONFIG,
     "is 4096.0: 1"},
    {ACT("\"max_percentile\":1,\"act_algo\":\"hfmg\""), AMCT_BAD_CONFIG,
     "max_percentile is 1: it belongs to act_algo \"ifmr\" or \"percentile\", not to "
     "\"hfmg\""},
    {ACT("\"act_algo\":\"percentile\",\"search_step\":0.1"), AMCT_BAD_CONFIG,
     "search_step is 0.1: it belongs to act_algo \"ifmr\", not to \"percentile\""},
    {ACT("\"act_algo\":\"min_max\",\"min_percentile\":1"), AMCT_BAD_CONFIG,
     "not to \"min_max\""},
    {ACT("\"num_bits\":4"), AMCT_BAD_CONFIG,
     "num_bits is 4: this version handles 8 only"},
    {ACT("\"asymmetric\":null"), AMCT_BAD_CONFIG, "asymmetric is null: true or false"},
    /* weights */
    {WTS("\"channel_wise\":true"), AMCT_BAD_CONFIG,
     "\"Fc\": weight_quant_params.channel_wise is true: MatMul has no scales by "
     "channel"},
    {"{\"net/pool/AvgPool\":{\"weight_quant_params\":{\"channel_wise\":true}}}",
     AMCT_BAD_CONFIG, "AvgPool has no scales by channel"},
    {WTS("\"channel_wize\":true"), AMCT_BAD_CONFIG,
     "weight_quant_params.channel_wize is not a setting; nearest: \"channel_wise\""},
    {WTS("\"wts_algo\":\"ada_quantize\""), AMCT_BAD_CONFIG,
     "wts_algo is \"ada_quantize\": arq_quantize or gptq_quantize is wanted"},
    {WTS("\"damping\":0.1"), AMCT_BAD_CONFIG,
     "weight_quant_params.damping is 0.1: it belongs to wts_algo \"gptq_quantize\", not "
     "to "
     "\"arq_quantize\""},
    {WTS("\"wts_algo\":\"gptq_quantize\",\"damping\":0"), AMCT_BAD_CONFIG,
     "damping is 0: a number over 0, at most 1 is wanted"},
    {WTS("\"wts_algo\":\"gptq_quantize\",\"damping\":2"), AMCT_BAD_CONFIG,
     "damping is 2"},
    {"{\"preset\":\"best\",\"Fc\":{}}", AMCT_BAD_CONFIG,
     "preset is \"best\": none or accurate is wanted"},
    {"{\"preset\":\"accurate\",\"Fc\":{\"activation_quant_params\":{\"act_algo\":"
     "\"hfmg\","
     "\"search_step\":0.1}}}",
     AMCT_BAD_CONFIG, "it belongs to act_algo \"ifmr\", not to \"hfmg\""},
    {WTS("\"num_bits\":7"), AMCT_BAD_CONFIG, "weight_quant_params.num_bits is 7"},
    {WTS("\"num_steps\":32"), AMCT_BAD_CONFIG, "it belongs to wts_algo \"nuq_quantize\""},
};

static void wrong_files_are_refused(void **data) {
  state *s = *data;
  for (size_t i = 0; i < sizeof k_refused / sizeof *k_refused; i++) {
    amct_recipe recipe = {0};
    amct_error err = {0};
    amct_status status = read_text(s, &recipe, k_refused[i].text, &err);
    if (status != k_refused[i].status)
      fail_msg("case %zu: %s \"%s\"", i, amct_status_name(status), err.text);
    expect_text(&err, k_refused[i].message, i);
    amct_recipe_free(&recipe);
  }
}

/* Every known key is refused or taken by name: none is answered with "not a setting". */
static void every_key_is_known_where_it_belongs(void **data) {
  state *s = *data;
  static const char *const frames[] = {
      "{\"%s\":{\"?\":0}}",    FC("\"%s\":{\"?\":0}"),     ACT("\"%s\":{\"?\":0}"),
      WTS("\"%s\":{\"?\":0}"), TENSOR("\"%s\":{\"?\":0}"), "{\"%s\":{\"?\":0}}",
      FC("\"%s\":{\"?\":0}"),  DATA("\"%s\":{\"?\":0}"),   ARQ("\"%s\":{\"?\":0}")};
  const amct_recipe_key *key;
  for (size_t i = 0; (key = amct_recipe_key_at(i)) != NULL; i++) {
    char text[256];
    amct_recipe recipe = {0};
    amct_error err = {0};
    const char *frame = frames[key->object];
    const char *hole = strstr(frame, "%s");
    snprintf(text, sizeof text, "%.*s%s%s", (int)(hole - frame), frame, key->name,
             hole + 2);
    if (key->object >= AMCT_RECIPE_RETRAIN) recipe.purpose = AMCT_FOR_RETRAINING;
    assert_int_equal(read_text(s, &recipe, text, &err), AMCT_BAD_CONFIG);
    if (key->kind == AMCT_RECIPE_OBJECT)
      expect_text(&err, ".? is not a setting", i);
    else
      expect_text(&err, " is {\"?\":0}: ", i);
    expect_text(&err, key->name, i);
    assert_true(key->meaning[0] != '\0');
    amct_recipe_free(&recipe);
  }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(wrong_files_are_refused),
      TEST(every_key_is_known_where_it_belongs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
