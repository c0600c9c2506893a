/* SPDX-License-Identifier: Apache-2.0 */
/* Retraining ops: what is planned for a graph, and how they are taken out of one. */
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

#include "amct/retrain.h"
#include "insert/training.h"
#include "unit/edits_net.h"
#include "unit/temp_folder.h"

/* ---- out of a graph ---- */

static void the_ops_leave_no_trace(void **unused) {
  (void)unused;
  amct_graph *graph = graph_of("x = Placeholder() {shape=[1,8,8,3]}\n"
                               "w = Const() {value=float[3,3,3,2](ramp)}\n"
                               "w/read = Identity(w)\n"
                               "high = Const() {value=float[](1)}\n"
                               "high/read = Identity(high)\n"
                               "low = Const() {value=float[](-1)}\n"
                               "c/ULQ/Ulq = Ulq(x, high/read, low)\n"
                               "c/ARQ/ArqRetrain = ArqRetrain(w/read)\n"
                               "c = Conv2D(c/ULQ/Ulq, c/ARQ/ArqRetrain, ^c/ULQ/Ulq)\n"
                               "f = RetrainFactors(w/read, high/read, low)\n"
                               "r = RetrainRecord(f)\n"
                               "y = Relu(c)\n");
  amct_error err = {0};
  size_t count = 0;
  const char *const keep[] = {"y"};
  if (amct_train_undo(graph, keep, 1, &count, &err) != AMCT_OK) fail_msg("%s", err.text);
  assert_int_equal(count, 1);
  assert_graph(graph, "x=Placeholder()\nw=Const()\nw/read=Identity(w)\n"
                      "c=Conv2D(x w/read)\ny=Relu(c)\n");
  amct_graph_free(graph);
}

static void odd_ones_are_refused_or_nothing_happens(void **unused) {
  (void)unused;
  static const struct {
    const char *text;
    amct_status status;
    size_t count;
  } k_cases[] = {
      {"x = Placeholder()\ny = Relu(x)\n", AMCT_OK, 0},
      {"u = Ulq()\ny = Relu(u)\n", AMCT_BAD_GRAPH, 1},
      {"x = Placeholder()\nu = Ulq(x)\ny = Relu(u:1)\n", AMCT_BAD_GRAPH, 1},
      {"x = Placeholder()\nt = Ulq(x)\nu = Ulq(t)\ny = Relu(u)\n", AMCT_BAD_GRAPH, 2},
      {"u = Ulq(^y)\ny = NoOp()\n", AMCT_OK, 1},
  };
  for (size_t i = 0; i < sizeof k_cases / sizeof *k_cases; i++) {
    amct_graph *graph = graph_of(k_cases[i].text);
    amct_error err = {0};
    size_t count = 0;
    const char *const keep[] = {"y"};
    const amct_status status = amct_train_undo(graph, keep, 1, &count, &err);
    if (status != k_cases[i].status)
      fail_msg("case %zu: %s \"%s\"", i, amct_status_name(status), err.text);
    assert_int_equal(count, k_cases[i].count);
    amct_graph_free(graph);
  }
}

/* ---- into one ---- */

static const char k_config[] = "{\"c\":{\"retrain_data_config\":{\"clip_max\":2,"
                               "\"clip_min\":-1}},\"p\":{}}";

typedef struct state {
  temp_folder folder;
  amct_buffer bytes;
} state;

static int set_up(void **data) {
  state *s = calloc(1, sizeof *s);
  temp_folder_make(&s->folder);
  temp_write(temp_path(&s->folder, "c.json"), k_config);
  amct_graph *graph = graph_of(
      "x = Placeholder() {shape=[1,8,8,3]}\n"
      "w = VariableV2() {shape=[3,3,3,2], dtype=DT_FLOAT}\n"
      "c = Conv2D(x, w) {strides=[1,1,1,1], padding=\"SAME\"}\n"
      "b = VariableV2() {shape=[2], dtype=DT_FLOAT}\n"
      "d = BiasAdd(c, b)\n"
      "p = AvgPool(d) {ksize=[1,8,8,1], strides=[1,1,1,1], padding=\"VALID\"}\n");
  assert_int_equal(amct_graph_encode(graph, &s->bytes, NULL), AMCT_OK);
  amct_graph_free(graph);
  *data = s;
  return 0;
}

static int tear_down(void **data) {
  state *s = *data;
  amct_buffer_free(&s->bytes);
  temp_folder_remove(&s->folder);
  free(s);
  return 0;
}

static amct_status plan(state *s, amct_calibration **edits, amct_error *err) {
  const amct_source source = {"graph", s->bytes.data, s->bytes.size};
  return amct_create_quant_retrain_model(edits, &source, temp_path(&s->folder, "c.json"),
                                         temp_path(&s->folder, "r.txt"), err);
}

static void edits_are_variables_nodes_and_inputs(void **data) {
  static const struct {
    amct_live_kind kind;
    const char *name, *near;
    uint32_t index;
  } k_wanted[] = {
      {AMCT_LIVE_ADD, "c/retrain/RetrainOutput", "d", 0},
      {AMCT_LIVE_SET_INPUT, "p", "c/retrain/RetrainOutput", 0},
      {AMCT_LIVE_VARIABLE, "c/ULQ/clip_max", "c", 0},
      {AMCT_LIVE_VARIABLE, "c/ULQ/clip_max_pre", "c", 1},
      {AMCT_LIVE_VARIABLE, "c/ULQ/clip_min", "c", 0},
      {AMCT_LIVE_VARIABLE, "c/ULQ/clip_min_pre", "c", 1},
      {AMCT_LIVE_ADD, "c/ULQ/Ulq", "c", 0},
      {AMCT_LIVE_SET_INPUT, "c", "c/ULQ/Ulq", 0},
      {AMCT_LIVE_ADD, "c/ARQ/ArqRetrain", "c", 0},
      {AMCT_LIVE_SET_INPUT, "c", "c/ARQ/ArqRetrain", 1},
      {AMCT_LIVE_ADD, "c/retrain/RetrainFactors", "c", 0},
      {AMCT_LIVE_VARIABLE, "p/ULQ/clip_max", "p", 0},
      {AMCT_LIVE_VARIABLE, "p/ULQ/clip_max_pre", "p", 1},
      {AMCT_LIVE_VARIABLE, "p/ULQ/clip_min", "p", 0},
      {AMCT_LIVE_VARIABLE, "p/ULQ/clip_min_pre", "p", 1},
      {AMCT_LIVE_ADD, "p/ULQ/Ulq", "p", 0},
      {AMCT_LIVE_SET_INPUT, "p", "p/ULQ/Ulq", 0},
      {AMCT_LIVE_ADD, "p/retrain/RetrainFactors", "p", 0},
      {AMCT_LIVE_ADD, "retrain/RetrainRecord", "", 0},
  };
  state *s = *data;
  amct_calibration *edits = NULL;
  amct_error err = {0};
  if (plan(s, &edits, &err) != AMCT_OK) fail_msg("%s", err.text);
  assert_int_equal(amct_calibration_size(edits), sizeof k_wanted / sizeof *k_wanted);
  for (size_t i = 0; i < amct_calibration_size(edits); i++) {
    amct_live_edit edit;
    assert_int_equal(amct_calibration_edit(edits, i, &edit, &err), AMCT_OK);
    if (edit.kind != k_wanted[i].kind || strcmp(edit.name, k_wanted[i].name) != 0 ||
        strcmp(edit.near, k_wanted[i].near) != 0 || edit.index != k_wanted[i].index)
      fail_msg("edit %zu is %d %s %s %u", i, (int)edit.kind, edit.name, edit.near,
               (unsigned)edit.index);
    assert_true(!edit.nodedef_size == (edit.kind == AMCT_LIVE_SET_INPUT));
  }
  amct_calibration_free(edits);
}

static void a_configuration_for_calibration_is_refused(void **data) {
  state *s = *data;
  amct_calibration *edits = NULL;
  amct_error err = {0};
  temp_write(temp_path(&s->folder, "c.json"),
             "{\"version\":1,\"activation_offset\":true,\"c\":{\"quant_enable\":true}}");
  assert_int_equal(plan(s, &edits, &err), AMCT_BAD_CONFIG);
  assert_non_null(strstr(err.text, "\"activation_offset\" is not in the graph"));
  assert_null(edits);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_ops_leave_no_trace),
      cmocka_unit_test(odd_ones_are_refused_or_nothing_happens),
      TEST(edits_are_variables_nodes_and_inputs),
      TEST(a_configuration_for_calibration_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
