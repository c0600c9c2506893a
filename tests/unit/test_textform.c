/* SPDX-License-Identifier: Apache-2.0 */
/* The text form: what it reads, against bytes and values written down here; what it
 * prints. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "graph/textform.h"
#include "unit/graph_bytes.h"

static amct_graph *graph_of(const char *text) {
  amct_graph *graph = NULL;
  amct_error err = {0};
  if (amct_graph_from_text(&graph, amct_slice_of(text), &err) != AMCT_OK)
    fail_msg("%s", err.text);
  return graph;
}

static void assert_prints(const amct_graph *graph, const char *wanted) {
  amct_buffer text = {0};
  amct_graph_print(graph, &text);
  amct_buffer_append(&text, "", 1);
  assert_false(text.failed);
  assert_string_equal((const char *)text.data, wanted);
  amct_buffer_free(&text);
}

static void test_bytes(void **state) {
  (void)state;
  amct_graph *graph =
      graph_of("# a comment\nx = Placeholder() {shape=[1,?]} # another\n"
               "c = Conv2D(x:0, x:2, ^x)\n  {pad=SAME, s=[1,2]} @/cpu:0\n");
  pb wanted = {.size = 0}, x = {.size = 0}, c = {.size = 0}, v = {.size = 0};
  pb_text(&x, 1, "x");
  pb_text(&x, 2, "Placeholder");
  pb_raw(&v,
         "\x3a\x11\x12\x02\x08\x01\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
         19);
  pb_attr(&x, "shape", &v);
  v.size = 0;
  pb_int(&v, 6, 1);
  pb_attr(&x, "dtype", &v);
  pb_message(&wanted, 1, &x);
  pb_text(&c, 1, "c");
  pb_text(&c, 2, "Conv2D");
  pb_text(&c, 3, "x:0");
  pb_text(&c, 3, "x:2");
  pb_text(&c, 3, "^x");
  v.size = 0;
  pb_text(&v, 2, "SAME");
  pb_attr(&c, "pad", &v);
  v.size = 0;
  pb_raw(&v, "\x0a\x04\x18\x01\x18\x02", 6);
  pb_attr(&c, "s", &v);
  v.size = 0;
  pb_int(&v, 6, 1);
  pb_attr(&c, "T", &v);
  pb_text(&c, 4, "/cpu:0");
  pb_message(&wanted, 1, &c);
  amct_buffer bytes = {0};
  assert_int_equal(amct_graph_encode(graph, &bytes, NULL), AMCT_OK);
  assert_int_equal(bytes.size, wanted.size);
  assert_memory_equal(bytes.data, wanted.data, wanted.size);
  amct_buffer_free(&bytes);
  amct_graph_free(graph);
}

static void test_attributes(void **state) {
  (void)state;
  amct_graph *graph =
      graph_of("n = Op() {i=-3, hex=0x10, f=0.5, e=1e3, neg=-inf, b=true, s=\"a "
               "\\\"b\\\"\\x01\\n\", w=N/a-1, t=DT_INT8,"
               " r=DT_FLOAT_REF, u=DT_21, lf=[1,0.5], lb=[true,false], ls=[a,\"b c\"], "
               "lt=[DT_HALF], l0=[],"
               " sh=shape[2,?], un=?, lsh=[[1],?,[]], none={}, shape=list[4]}");
  const amct_node *n = amct_graph_find(graph, "n");
  int64_t i = 0;
  float f = 0;
  bool b = false;
  amct_slice s;
  amct_dtype t = AMCT_DTYPE_INVALID;
  amct_shape shape;
  amct_ints ints;
  assert_true(amct_attr_int(n, "i", &i) && i == -3);
  assert_true(amct_attr_int(n, "hex", &i) && i == 16);
  assert_true(amct_attr_float(n, "f", &f) && f == 0.5f);
  assert_true(amct_attr_float(n, "e", &f) && f == 1000.0f);
  assert_true(amct_attr_float(n, "neg", &f) && f < -3e38f);
  assert_true(amct_attr_bool(n, "b", &b) && b);
  assert_true(amct_attr_text(n, "s", &s) &&
              amct_slice_equal(s, amct_slice_of("a \"b\"\x01\n")));
  assert_true(amct_attr_is(n, "w", "N/a-1", false));
  assert_true(amct_attr_type(n, "t", &t) && t == AMCT_DTYPE_INT8);
  assert_true(amct_attr_type(n, "r", &t) && (int)t == 101);
  assert_true(amct_attr_type(n, "u", &t) && (int)t == 21);
  assert_true(amct_attr_shape(n, "sh", &shape) && shape.rank == 2 && shape.dims[1] == -1);
  assert_true(amct_attr_shape(n, "un", &shape) && shape.rank == -1);
  assert_true(amct_attr_ints(n, "l0", &ints) && ints.count == 0);
  assert_true(amct_attr_ints(n, "shape", &ints) && ints.count == 1 && ints.at[0] == 4);
  assert_true(amct_attr_raw(n, "lf", &s));
  assert_int_equal(s.size, 12); /* two floats */
  assert_true(amct_attr_has(n, "none"));
  assert_prints(
      graph, "n = Op() {b=true, e=1000.0, f=0.5, hex=16, i=-3, l0=[], lb=[true,false], "
             "lf=[1.0,0.5], ls=[a,\"b c\"], lsh=[[1],?,[]], lt=[DT_HALF], neg=-inf, "
             "none={}, r=DT_FLOAT_REF, "
             "s=\"a \\\"b\\\"\\001\\n\", sh=shape[2,?], shape=list[4], t=DT_INT8, "
             "u=DT_21, un=?, "
             "w=N/a-1}\n");
  amct_graph_free(graph);
}

typedef struct tensor_case {
  const char *text;
  amct_dtype dtype;
  int64_t count;
  bool content; /* tensor_content, not typed values */
  double wanted[4];
  const char *printed;
} tensor_case;

// clang-format off
static const tensor_case k_tensors[] = {
    {"float[2](1,-0.5)", AMCT_DTYPE_FLOAT, 2, true, {1, -0.5}, "float[2](1,-0.5)"},
    {"float[2,2](1,2,...)", AMCT_DTYPE_FLOAT, 4, false, {1, 2, 2, 2}, "float[2,2](1,2,2,2)"},
    {"float[3](fill 0.5)", AMCT_DTYPE_FLOAT, 3, false, {0.5, 0.5, 0.5}, "float[3](0.5,0.5,0.5)"},
    {"float[3]()", AMCT_DTYPE_FLOAT, 3, false, {0, 0, 0}, "float[3](0,0,0)"},
    {"float[](7)", AMCT_DTYPE_FLOAT, 1, true, {7}, "float[](7)"},
    {"float(7)", AMCT_DTYPE_FLOAT, 1, true, {7}, "float[](7)"},
    {"float[0]()", AMCT_DTYPE_FLOAT, 0, false, {0}, "float[0]()"},
    {"float[2](ramp)", AMCT_DTYPE_FLOAT, 2, true, {(double)0.01f, (double)0.02f}, "float[2](0.01,0.02)"},
    {"half[3](1,65504,1e-9)", AMCT_DTYPE_HALF, 3, true, {1, 65504, 0}, "half[3](1,65504,0)"},
    {"half[4](0.1,65520,...)", AMCT_DTYPE_HALF, 4, false, {0.0999755859375, HUGE_VAL, HUGE_VAL, HUGE_VAL}, "half[4](0.0999755859,inf,inf,inf)"},
    {"half[3](2049,2051,6.0e-8)", AMCT_DTYPE_HALF, 3, true, {2048, 2052, 0x1p-24}, "half[3](2048,2052,5.96046448e-08)"},
    {"bfloat16[2](1.00390625,-3)", AMCT_DTYPE_BFLOAT16, 2, true, {1, -3}, "bfloat16[2](1,-3)"},
    {"double[2](0.25,...)", AMCT_DTYPE_DOUBLE, 2, false, {0.25, 0.25}, "double[2](0.25,0.25)"},
    {"int32[3](-1,2,2147483647)", AMCT_DTYPE_INT32, 3, true, {-1, 2, 2147483647}, "int32[3](-1,2,2147483647)"},
    {"int32[3](-5)", AMCT_DTYPE_INT32, 3, false, {-5, -5, -5}, "int32[3](-5,-5,-5)"},
    {"int64[1](-9000000000)", AMCT_DTYPE_INT64, 1, true, {-9e9}, "int64[1](-9000000000)"},
    {"int8[2](-128,127)", AMCT_DTYPE_INT8, 2, true, {-128, 127}, "int8[2](-128,127)"},
    {"uint8[2](255)", AMCT_DTYPE_UINT8, 2, false, {255, 255}, "uint8[2](255,255)"},
    {"bool[3](true,false)", AMCT_DTYPE_BOOL, 3, false, {1, 0, 0}, "bool[3](true,false,false)"},
};
// clang-format on

static void test_tensors(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof k_tensors / sizeof k_tensors[0]; i++) {
    const tensor_case *c = &k_tensors[i];
    char text[256];
    (void)snprintf(text, sizeof text, "a = Const() {value=%s}\n", c->text);
    amct_graph *graph = graph_of(text);
    const amct_node *a = amct_graph_find(graph, "a");
    amct_tensor tensor;
    amct_dtype dtype = AMCT_DTYPE_INVALID;
    amct_arena arena = {0};
    const float *floats = NULL;
    const int64_t *ints = NULL;
    assert_int_equal(amct_const_tensor(a, &tensor, NULL), AMCT_OK);
    assert_int_equal(tensor.dtype, c->dtype);
    assert_true(amct_attr_type(a, "dtype", &dtype) && dtype == c->dtype);
    assert_int_equal(tensor.count, c->count);
    assert_int_equal(tensor.content.size > 0, c->content);
    if (amct_tensor_floats(&tensor, &arena, &floats, a, NULL) != AMCT_OK)
      assert_int_equal(amct_tensor_ints(&tensor, &arena, &ints, a, NULL), AMCT_OK);
    for (int64_t k = 0; k < c->count; k++) {
      const double value = floats != NULL ? (double)floats[k] : (double)ints[k];
      if (value != c->wanted[k]) fail_msg("%s: [%d] = %.9g", c->text, (int)k, value);
    }
    (void)snprintf(text, sizeof text, "a = Const() {value=%s}\n", c->printed);
    assert_prints(graph, text);
    amct_arena_free(&arena);
    amct_graph_free(graph);
  }
}

static void test_printing(void **state) {
  (void)state;
  amct_graph *graph = graph_of("w v = Const() {value=float[3,3](ramp)}\n"
                               "x = Placeholder() {dtype=DT_HALF, shape=?}\n"
                               "\"odd name\" = Relu(x, w:1, ^v) {T=DT_HALF} @\"/a b\"\n"
                               "y = NoOp(^\"odd name\")\n");
  static const char k_wanted[] =
      "w = Const() {value=float[3,3](0.01,0.02,0.03,0.04,0.05,0.06,0.07,0.08,...)}\n"
      "v = Const() {value=float[3,3](0.01,0.02,0.03,0.04,0.05,0.06,0.07,0.08,...)}\n"
      "x = Placeholder() {dtype=DT_HALF, shape=?}\n"
      "\"odd name\" = Relu(x, w:1, ^v) {T=DT_HALF} @\"/a b\"\n"
      "y = NoOp(^\"odd name\")\n";
  assert_prints(graph, k_wanted);
  amct_graph_free(graph);
  graph = graph_of(k_wanted); /* what is printed reads back to what prints the same */
  assert_prints(graph, k_wanted);
  amct_graph_free(graph);
}

typedef struct bad_text {
  const char *text;
  const char *line; /* "line 2": how the report starts, or the node it names */
  amct_status status;
} bad_text;

// clang-format off
static const bad_text k_bad[] = {
    {"x", "line 1", AMCT_BAD_FORMAT},
    {"x =", "line 1", AMCT_BAD_FORMAT},
    {"x = Op", "line 1", AMCT_BAD_FORMAT},
    {"\n\nx = Op(", "line 3", AMCT_BAD_FORMAT},
    {"x = Op(\n,)", "line 2", AMCT_BAD_FORMAT},
    {"x = Op() {a}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {a=}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {a=[1,}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {a=[1", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {a=\"b}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {a=\"b\\", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {a=\"\\777\"}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {shape=[a]}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {shape=[-2]}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=what[2](1)}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=string[2](a)}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=float[?](1)}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=float?(1)}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=float[2](1,2,3)}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=float[2](one)}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=int8[1](128)}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=uint8[1](-1)}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=bool[1](2)}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=int32[1](0.5)}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=float[9999999999](ramp)}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=float[9999999999,9999999999](1)}", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() {v=float[2](ramp", "line 1", AMCT_BAD_FORMAT},
    {"x = Op() ; y", "line 1", AMCT_BAD_FORMAT},
    {"x = Op(y)", "node x", AMCT_BAD_GRAPH},
    {"x x = Op()", "two nodes", AMCT_BAD_GRAPH},
    {"x = Op(x:)", "node x", AMCT_BAD_GRAPH},
};
// clang-format on

static void test_bad_text(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof k_bad / sizeof k_bad[0]; i++) {
    amct_graph *graph = (amct_graph *)&i;
    amct_error err = {0};
    const amct_status status =
        amct_graph_from_text(&graph, amct_slice_of(k_bad[i].text), &err);
    if (status != k_bad[i].status ||
        strncmp(err.text, k_bad[i].line, strlen(k_bad[i].line)) != 0)
      fail_msg("%s: %s: %s", k_bad[i].text, amct_status_name(status), err.text);
    assert_null(graph);
  }
  amct_graph *graph = NULL;
  const amct_slice nul = {(const uint8_t *)"x = Op()\0y", 10};
  assert_int_equal(amct_graph_from_text(&graph, nul, NULL), AMCT_BAD_FORMAT);
}

/* Each prefix and each changed character of a text with everything: read or refused; no
 * memory: said so. */
static const char k_full[] =
    "x \"y z\" = P(x:1, ^x) {shape=[1,?], a=\"q\\n\\x4a\", b=[1,2.5], c=[[1],?], "
    "d=shape[2]} @d\n"
    "w = Const() {value=half[2,2](1,...), t=[DT_FLOAT], u=?} # end\n"
    "v = Const() {value=int8[3](ramp)}\n";

static void test_hostile_text(void **state) {
  (void)state;
  static const char k_change[] = "\0\n \"\\#[](){}=,?^:@.-0x";
  const size_t size = sizeof k_full - 1;
  for (size_t i = 0; i < size; i++) {
    for (size_t k = 0; k <= sizeof k_change; k++) {
      const size_t taken = k == sizeof k_change ? i : size;
      uint8_t *tight = malloc(taken + 1);
      assert_non_null(tight);
      memcpy(tight, k_full, taken);
      if (taken == size) tight[i] = (uint8_t)k_change[k];
      tight = realloc(tight, taken == 0 ? 1 : taken);
      amct_graph *graph = NULL;
      const amct_slice text = {tight, taken};
      if (amct_graph_from_text(&graph, text, NULL) == AMCT_OK) {
        amct_buffer printed = {0};
        amct_graph_print(graph, &printed);
        amct_buffer_free(&printed);
      }
      amct_graph_free(graph);
      free(tight);
    }
  }
}

static void test_no_memory(void **state) {
  (void)state;
  uint64_t n = 0;
  amct_status status;
  do {
    amct_graph *graph = NULL;
    amct_buffer text = {0};
    amct_error err = {0};
    amct_alloc_fail_after(++n);
    status = amct_graph_from_text(&graph, amct_slice_of(k_full), &err);
    if (status == AMCT_OK) amct_graph_print(graph, &text);
    amct_alloc_fail_after(0);
    if (status == AMCT_OK && text.failed) status = AMCT_OUT_OF_MEMORY;
    if (status != AMCT_OK) assert_int_equal(status, AMCT_OUT_OF_MEMORY);
    amct_graph_free(graph);
    amct_buffer_free(&text);
  } while (status != AMCT_OK);
  assert_true(n > 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bytes),     cmocka_unit_test(test_attributes),
      cmocka_unit_test(test_tensors),   cmocka_unit_test(test_printing),
      cmocka_unit_test(test_bad_text),  cmocka_unit_test(test_hostile_text),
      cmocka_unit_test(test_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
