/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a graph whose parameters are variables: what the golden cases, which are
 * settled, do not show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "graph/textform.h"
#include "rewrite/fold_values.h"
#include "rewrite/vectors.h"

/* A small batch norm without scale, NCHW, behind two branches; all parameters are
 * variables, mean and variance behind a Reshape. */
static const char k_group[] = "x = Placeholder() {shape=[?,2,4,4]}\n"
                              "ax = Const() {value=int32[](1)}\n"
                              "s = Split(ax, x) {num_split=2}\n"
                              "w0 = VarHandleOp() {dtype=DT_FLOAT, shape=[1,1,1,1]}\n"
                              "w0/read = ReadVariableOp(w0) {dtype=DT_FLOAT}\n"
                              "w1 = VarHandleOp() {dtype=DT_FLOAT, shape=[1,1,1,2]}\n"
                              "w1/read = ReadVariableOp(w1) {dtype=DT_FLOAT}\n"
                              "c0 = Conv2D(s, w0/read) {data_format=\"NCHW\"}\n"
                              "c1 = Conv2D(s:1, w1/read) {data_format=\"NCHW\"}\n"
                              "b1 = VariableV2() {dtype=DT_FLOAT, shape=[1,2,1,1]}\n"
                              "a1 = AddV2(b1, c1)\n"
                              "cc = ConcatV2(c0, a1, ax) {N=2}\n"
                              "to = Const() {value=int32[4](1,-1,1,1)}\n"
                              "b = VariableV2() {dtype=DT_FLOAT, shape=[1,3,1,1]}\n"
                              "m = VarHandleOp() {dtype=DT_FLOAT, shape=[3]}\n"
                              "m/read = ReadVariableOp(m) {dtype=DT_FLOAT}\n"
                              "mr = Reshape(m/read, to)\n"
                              "v = VariableV2() {dtype=DT_FLOAT, shape=[3]}\n"
                              "vr = Reshape(v, to)\n"
                              "e = Const() {value=float[](0.5)}\n"
                              "sum = AddV2(vr, e)\n"
                              "inv = Rsqrt(sum)\n"
                              "p = Mul(cc, inv)\n"
                              "q = Mul(mr, inv)\n"
                              "d = Sub(b, q)\n"
                              "y = AddV2(p, d)\n"
                              "z = Relu(y)\n";

static amct_plan *plan_of(const char *text, amct_graph **graph) {
  static const char *const outputs[] = {"z"};
  static const amct_plan_options options = {outputs, 1, true, NULL, 0};
  amct_plan *plan = NULL;
  amct_error err = {0};
  if (amct_graph_from_text(graph, amct_slice_of(text), &err) != AMCT_OK ||
      amct_plan_make(&plan, *graph, &options, &err) != AMCT_OK)
    fail_msg("%s", err.text);
  return plan;
}

static void assert_edge(amct_edge edge, const char *name) {
  assert_non_null(edge.node);
  assert_string_equal(amct_edge_text(edge), name);
}

/* Steps name edges of the graph as it was, never what rules made of it. */
static void steps_are_of_the_unfused_graph(void **state) {
  (void)state;
  amct_graph *graph = NULL;
  amct_plan *plan = plan_of(k_group, &graph);
  assert_int_equal(plan->decisions.count, 2);
  assert_string_equal(plan->decisions.at[0].rule, "fuse_small_bn");
  assert_string_equal(plan->decisions.at[1].rule, "fold_group_conv_bn");
  assert_string_equal(plan->decisions.at[1].layer, "c0,c1");
  assert_int_equal(plan->folds.count, 2);

  const amct_fold *first = amct_plan_fold(plan, amct_graph_find(graph, "c0"));
  assert_int_equal(first->steps.count, 1);
  const amct_fold *second = amct_plan_fold(plan, amct_graph_find(graph, "c1"));
  assert_int_equal(second->steps.count, 2);
  assert_int_equal(second->steps.at[0].kind, AMCT_FOLD_BIAS);
  assert_edge(second->steps.at[0].bias, "b1");

  const amct_fold_ref *step = &second->steps.at[1];
  assert_int_equal(step->kind, AMCT_FOLD_BATCH_NORM);
  assert_null(step->scale.node);
  assert_edge(step->offset, "b");
  assert_edge(step->mean, "m/read");
  assert_edge(step->variance, "v");
  assert_true(step->epsilon == 0.5f);
  assert_int_equal(step->first, 1);
  assert_int_equal(step->total, 3);
  assert_int_equal(first->steps.at[0].first, 0);
  assert_false(amct_fold_is_constant(second->steps.at, second->steps.count));
  amct_plan_free(plan);
  amct_graph_free(graph);
}

static void assert_unsettled(const char *text, const char *node) {
  amct_graph *graph = NULL;
  amct_plan *plan = plan_of(text, &graph);
  amct_error err = {0};
  assert_int_equal(amct_plan_settle(plan, NULL, &err), AMCT_UNSUPPORTED);
  assert_non_null(strstr(err.text, "freeze the graph first"));
  assert_string_equal(err.node, node);
  amct_plan_free(plan);
  amct_graph_free(graph);
}

static void variables_cannot_be_settled(void **state) {
  (void)state;
  assert_unsettled(k_group, "w0/read");
  /* a batch norm that stays, with a parameter that is to become a vector */
  assert_unsettled("x = Placeholder() {shape=[?,4,4,2]}\n"
                   "v = VariableV2() {dtype=DT_FLOAT, shape=[1,1,1,2]}\n"
                   "m = Const() {value=float[2](1,2)}\n"
                   "e = Const() {value=float[](0.5)}\n"
                   "sum = AddV2(v, e)\n"
                   "inv = Rsqrt(sum)\n"
                   "p = Mul(x, inv)\n"
                   "n = Neg(m)\n"
                   "q = Mul(n, inv)\n"
                   "y = AddV2(p, q)\n"
                   "z = Relu(y)\n",
                   "v");
}

static void axes_of_vectors(void **state) {
  (void)state;
  static const struct {
    amct_shape shape;
    int32_t axis;
    int64_t count;
  } cases[] = {
      {{1, {5}}, 3, 5},          {{4, {1, 1, 1, 5}}, 3, 5},
      {{4, {1, 5, 1, 1}}, 1, 5}, {{3, {5, 1, 1}}, 1, 5},
      {{2, {1, 5}}, 3, 5},       {{2, {5, 1}}, 2, 5},
      {{4, {5, 1, 1, 1}}, 0, 5}, {{2, {2, 5}}, -1, 10},
      {{0, {0}}, -1, 1},         {{4, {1, 1, 1, 1}}, -1, 1},
      {{1, {-1}}, -1, -1},       {{-1, {0}}, -1, -1},
      {{1, {0}}, -1, 0},         {{5, {1, 1, 1, 1, 5}}, -1, 5},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(amct_vector_axis(&cases[i].shape), cases[i].axis);
    assert_int_equal(amct_shape_count(&cases[i].shape), cases[i].count);
  }
}

/* Each of these places takes the place of an earlier refusal, and no other's. */
static void a_later_word_counts(void **state) {
  (void)state;
  amct_graph *graph = NULL;
  amct_plan *plan = plan_of("x = Placeholder() {shape=[?,4,4,2]}\nz = Relu(x)\n", &graph);
  const amct_node *x = amct_graph_find(graph, "x"), *z = amct_graph_find(graph, "z");
  const amct_decision refused = {.rule = "a", .layer = "", .reason = "no", .root = x};
  const amct_decision other = {.rule = "a", .layer = "", .reason = "no", .root = z};
  const amct_decision done = {.rule = "b", .layer = "", .root = x};
  const amct_decision next = {.rule = "c", .layer = "", .reason = "no", .root = x};
  assert_int_equal(amct_plan_decide(plan, refused, NULL), AMCT_OK);
  assert_int_equal(amct_plan_decide(plan, other, NULL), AMCT_OK);
  assert_int_equal(amct_plan_decide(plan, done, NULL), AMCT_OK);
  assert_int_equal(plan->decisions.count, 2);
  assert_string_equal(plan->decisions.at[0].rule, "b");
  assert_string_equal(plan->decisions.at[1].rule, "a");
  assert_int_equal(amct_plan_decide(plan, next, NULL), AMCT_OK);
  assert_int_equal(plan->decisions.count, 3);
  assert_int_equal(plan->done, 1);
  amct_plan_free(plan);
  amct_graph_free(graph);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(steps_are_of_the_unfused_graph),
      cmocka_unit_test(variables_cannot_be_settled),
      cmocka_unit_test(axes_of_vectors),
      cmocka_unit_test(a_later_word_counts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
