/* SPDX-License-Identifier: Apache-2.0 */
/* A small network, its record and its configurations, in a folder of its own. */
#ifndef AMCT_TESTS_FAULT_NET_H
#define AMCT_TESTS_FAULT_NET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "amct/log.h"
#include "base/alloc.h"
#include "base/output.h"
#include "calib/calibration.h"
#include "graph/textform.h"
#include "unit/temp_folder.h"

static const char k_net[] =
    "x = Placeholder() {shape=[?,8,8,3]}\n"
    "w = Const() {value=float[3,3,3,4](ramp)}\n"
    "g = Const() {value=float[4](4,2,1,3)}\n"
    "v = Const() {value=float[4](3.75,15.75,1,2)}\n"
    "z = Const() {value=float[4](0,0,0,0)}\n"
    "d = Const() {value=float[3,3,4,1](ramp)}\n"
    "m = Const() {value=float[4,2](ramp)}\n"
    "s = Const() {value=int32[2](-1,4)}\n"
    "conv = Conv2D(x, w) {strides=[1,1,1,1], padding=\"SAME\"}\n"
    "norm = FusedBatchNormV3(conv, g, g, g, v) {epsilon=0.25, is_training=false}\n"
    "relu = Relu(norm)\n"
    "ahead = FusedBatchNormV3(relu, g, z, z, v) {epsilon=0.25, is_training=false}\n"
    "depthwise = DepthwiseConv2dNative(ahead, d) {strides=[1,1,1,1], padding=\"SAME\"}\n"
    "pool = AvgPool(depthwise) {ksize=[1,8,8,1], strides=[1,1,1,1], padding=\"VALID\"}\n"
    "flat = Reshape(pool, s)\n"
    "fc = MatMul(flat, m)\n"
    "prob = Softmax(fc)\n";

#define FACTORS(name, weights)                                                           \
  "record {\n  key: \"" name                                                             \
  "\"\n  value {\n    scale_d: 0.5\n    offset_d: -3\n" weights "  }\n}\n"
#define ONE_WEIGHT "    scale_w: 1\n    offset_w: 0\n"
#define FOUR_WEIGHTS                                                                     \
  "    scale_w: [1, 1, 1, 1]\n    offset_w: 0 offset_w: 0 offset_w: 0 offset_w: 0\n"
static const char k_record[] = FACTORS("conv", FOUR_WEIGHTS)
    FACTORS("depthwise", FOUR_WEIGHTS) FACTORS("pool", "") FACTORS("fc", ONE_WEIGHT);
static const char k_other_net[] =
    "x = Placeholder() {shape=[?,8,8,4]}\n"
    "w = Const() {value=float[3,3,3,4](1)}\n"
    "v = Const() {value=int32[1](1)}\n"
    "conv = Conv2D(x, w) {strides=[1,2,2,1], padding=\"SAME\"} @\"/cpu:0\"\n"
    "relu = Relu6(conv)\n"
    "new = Identity(relu)\n";
static const char k_other_record[] =
    FACTORS("conv", ONE_WEIGHT) FACTORS("depthwise", FOUR_WEIGHTS) FACTORS("new", "");
/* The network as it is frozen after retraining: of its first layer and the last. */
static const char k_trained_net[] =
    "x = Placeholder() {shape=[?,8,8,3]}\n"
    "w = Const() {value=float[3,3,3,4](ramp)}\n"
    "g = Const() {value=float[4](4,2,1,3)}\n"
    "v = Const() {value=float[4](3.75,15.75,1,2)}\n"
    "m = Const() {value=float[256,2](0.001)}\n"
    "s = Const() {value=int32[2](-1,256)}\n"
    "high = Const() {value=float[](65)}\n"
    "high/read = Identity(high)\n"
    "low = Const() {value=float[](-62.5)}\n"
    "conv/ULQ/Ulq = Ulq(x, high/read, low) {layer_name=\"conv\"}\n"
    "conv/ARQ/ArqRetrain = ArqRetrain(w) {layer_name=\"conv\"}\n"
    "conv = Conv2D(conv/ULQ/Ulq, conv/ARQ/ArqRetrain) {strides=[1,1,1,1], "
    "padding=\"SAME\"}\n"
    "norm = FusedBatchNormV3(conv, g, g, g, v) {epsilon=0.25, is_training=false}\n"
    "flat = Reshape(norm, s)\n"
    "fc/ULQ/Ulq = Ulq(flat, high/read, low) {layer_name=\"fc\"}\n"
    "fc/ARQ/ArqRetrain = ArqRetrain(m) {layer_name=\"fc\"}\n"
    "fc = MatMul(fc/ULQ/Ulq, fc/ARQ/ArqRetrain)\n"
    "prob = Softmax(fc)\n";
/* The network as TensorFlow's own quantization-aware training leaves it. */
static const char k_fake_net[] =
    "x = Placeholder() {shape=[?,8,8,3]}\n"
    "w = Const() {value=float[3,3,3,4](ramp)}\n"
    "k = Const() {value=float[4](4,2,1,3)}\n"
    "e = Const() {value=float[](0.5)}\n"
    "k/sum = AddV2(k, e)\n"
    "k/root = Rsqrt(k/sum)\n"
    "w/folded = Mul(w, k/root)\n"
    "high = Const() {value=float[](65)}\n"
    "high/read = Identity(high)\n"
    "low = Const() {value=float[](-62.5)}\n"
    "x/fake = FakeQuantWithMinMaxVars(x, low, high/read) {num_bits=8}\n"
    "w/fake = FakeQuantWithMinMaxVars(w/folded, low, high/read) {narrow_range=true}\n"
    "conv = Conv2D(x/fake, w/fake) {strides=[1,1,1,1], padding=\"SAME\"}\n"
    "sum = Add(conv, k/root)\n"
    "sum/fake = FakeQuantWithMinMaxArgs(sum) {min=-9.0, max=8.0}\n"
    "prob = Softmax(sum/fake)\n";
static const char k_trained_record[] =
    FACTORS("conv", FOUR_WEIGHTS) FACTORS("fc", ONE_WEIGHT);
static const char k_retrain_config[] =
    "{\"version\":1,\"batch_num\":2,\"conv\":{\"retrain_data_config\":{\"clip_max\":1,"
    "\"clip_min\":-1}},\"pool\":{},\"type:MatMul\":{}}";
static const char k_retrain_cfg[] =
    "batch_num: 2 skip_layers: \"po*\" quant_skip_types: \"MatMul\"\n"
    "override_layer_types { layer_type: \"Conv2D\"\n"
    "  retrain_data_quant_config { ulq_quantize { fixed_min: true } } }\n";
static const char k_config[] = "{\"version\":1,\"skip_fusion_layers\":[\"conv\"],"
                               "\"conv\":{},\"depthwise\":{},\"pool\":{},\"fc\":{}}";
static const char k_cfg[] =
    "batch_num: 2 skip_layers: \"po*\" skip_fusion_layers: \"conv\"\n"
    "common_config { ifmr_quantize { search_step: 0.05 } }\n"
    "override_layer_configs { layer_name: \"fc\"\n"
    "  calibration_config { arq_quantize { channel_wise: false } } }\n";

typedef struct net {
  temp_folder folder;
} net;

static inline void write_graph(const net *n, const char *name, amct_slice text) {
  amct_graph *graph = NULL;
  amct_buffer bytes = {0};
  assert_int_equal(amct_graph_from_text(&graph, text, NULL), AMCT_OK);
  assert_int_equal(amct_graph_encode(graph, &bytes, NULL), AMCT_OK);
  assert_int_equal(
      amct_output_whole(temp_path(&n->folder, name), bytes.data, bytes.size, NULL),
      AMCT_OK);
  amct_buffer_free(&bytes);
  amct_graph_free(graph);
}

static inline int net_make(void **state) {
  net *n = calloc(1, sizeof *n);
  assert_non_null(n);
  temp_folder_make(&n->folder);
  write_graph(n, "net.pb", amct_slice_of(k_net));
  write_graph(n, "other.pb", amct_slice_of(k_other_net));
  temp_write(temp_path(&n->folder, "other.txt"), k_other_record);
  temp_write(temp_path(&n->folder, "record.txt"), k_record);
  temp_write(temp_path(&n->folder, "config.json"), k_config);
  temp_write(temp_path(&n->folder, "simple.cfg"), k_cfg);
  write_graph(n, "trained.pb", amct_slice_of(k_trained_net));
  write_graph(n, "fake.pb", amct_slice_of(k_fake_net));
  temp_write(temp_path(&n->folder, "trained.txt"), k_trained_record);
  temp_write(temp_path(&n->folder, "retrain.json"), k_retrain_config);
  temp_write(temp_path(&n->folder, "retrain.cfg"), k_retrain_cfg);
  const char *const outputs[] = {"prob"};
  assert_int_equal(amct_save_model(temp_path(&n->folder, "net.pb"),
                                   (amct_strings){outputs, 1},
                                   temp_path(&n->folder, "record.txt"),
                                   temp_path(&n->folder, "saved"), NULL),
                   AMCT_OK);
  *state = n;
  return 0;
}

static inline int net_remove(void **state) {
  net *n = *state;
  temp_folder_remove(&n->folder);
  free(n);
  return 0;
}

#endif
