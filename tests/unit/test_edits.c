/* SPDX-License-Identifier: Apache-2.0 */
/* Edit lists: what they do to a graph, and what can be read off them. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "unit/edits_net.h"
#include "unit/graph_bytes.h"

static void test_add_and_rewire(void **state) {
  (void)state;
  amct_graph *graph = graph_of(k_net);
  amct_node *c = node_of(graph, "c"), *y = node_of(graph, "y"),
            *bn = node_of(graph, "bn");
  amct_edits *edits = amct_edits_new(graph);
  const amct_node *except[] = {y};
  const amct_edge from = {bn, 0};
  /* in any order: readers before what they read */
  amct_spec *second = amct_edits_add(edits, "q2", "Dequant", bn, false);
  amct_spec *first = amct_edits_add(edits, "q1", "Quant", bn, false);
  amct_spec *third = amct_edits_add(edits, "q3", "Quant", bn, true);
  amct_spec *last = amct_edits_add(edits, "end", "NoOp", NULL, false);
  amct_spec_input(first, "bn:0");
  amct_spec_input(second, "q1:2");
  amct_spec_input(second, "^c");
  amct_spec_input(second, "q3");
  amct_spec_input(second, "^c"); /* once */
  amct_spec_input(third, "c");
  amct_spec_input(last, "^y");
  amct_edits_rewire(edits, from, "q2", except, 1);
  amct_edits_control(edits, c, "q3"); /* a cycle, which is for verify to find */
  amct_edits_control(edits, bn, "x"); /* it has that already */
  assert_int_equal(amct_edits_size(edits), 7);
  assert_true(amct_edits_has_name(edits, "q1"));
  assert_true(amct_edits_has_name(edits, "bn"));
  assert_false(amct_edits_has_name(edits, "q9"));
  assert_int_equal(amct_edits_apply(edits, NULL), AMCT_OK);
  amct_edits_free(edits);
  assert_int_equal(amct_graph_verify(graph, NULL), AMCT_BAD_GRAPH);
  amct_graph_free(graph);

  graph = graph_of(k_net);
  edits = amct_edits_new(graph);
  bn = node_of(graph, "bn");
  const amct_edge again = {bn, 0};
  except[0] = node_of(graph, "y");
  second = amct_edits_add(edits, "q2", "Dequant", bn, false);
  first = amct_edits_add(edits, "q1", "Quant", bn, true);
  amct_spec_input(second, "bn");
  amct_spec_input(first, "x");
  amct_edits_rewire(edits, again, "q2", except, 1);
  apply_ok(edits);
  assert_graph(
      graph,
      "x=Placeholder()\nw=Const()\nw/read=Identity(w)\nc=Conv2D(x w/read)\nq1=Quant(x)\n"
      "bn=BiasAdd(c b ^x)\nq2=Dequant(bn)\nb=Const()\ny=Relu(bn)\nz=Split(q2 c:1 ^bn)\n"
      "lonely=Const()\n");
  assert_int_equal(amct_node_readers(bn, 0), 2);
  amct_graph_free(graph);
}

static void test_order_of_new_nodes(void **state) {
  (void)state;
  amct_graph *graph = graph_of("a = Const() {value=float[](1)}\nb = Relu(a)\n");
  amct_node *a = node_of(graph, "a");
  for (int round = 0; round < 2; round++) {
    amct_edits *edits = amct_edits_new(graph);
    const char *const names[2][5] = {{"p", "q", "r", "s", "t"},
                                     {"p2", "q2", "r2", "s2", "t2"}};
    (void)amct_edits_add(edits, names[round][0], "NoOp", a, false);
    (void)amct_edits_add(edits, names[round][1], "NoOp", a, false);
    (void)amct_edits_add(edits, names[round][2], "NoOp", a, true);
    (void)amct_edits_add(edits, names[round][3], "NoOp", a, true);
    (void)amct_edits_add(edits, names[round][4], "NoOp", NULL, true);
    apply_ok(edits);
  }
  assert_graph(
      graph, "r=NoOp()\ns=NoOp()\nr2=NoOp()\ns2=NoOp()\na=Const()\np2=NoOp()\nq2=NoOp()\n"
             "p=NoOp()\nq=NoOp()\nb=Relu(a)\nt=NoOp()\nt2=NoOp()\n");
  amct_graph_free(graph);
}

static void test_replace(void **state) {
  (void)state;
  amct_graph *graph = graph_of(k_net);
  amct_node *bn = node_of(graph, "bn"), *c = node_of(graph, "c");
  amct_edits *edits = amct_edits_new(graph);
  amct_edits_control(edits, bn,
                     "c"); /* survives the replacement, whichever comes first */
  amct_edits_set_input(edits, bn, 0, "x");
  amct_spec *spec = amct_edits_replace(edits, bn, "Mul");
  amct_edits_control(edits, bn, "w");
  amct_spec_input(spec, "c");
  amct_spec_input(spec, "c:1");
  amct_spec_int(spec, "N", 5);
  amct_spec_origin(spec, "c");
  amct_spec *conv = amct_edits_replace(edits, c, "Conv2D");
  amct_spec_input(conv, "x");
  amct_spec_input(conv, "w/read");
  assert_int_equal(amct_edits_size(edits), 4); /* set_input is overtaken */
  apply_ok(edits);
  assert_ptr_equal(node_of(graph, "bn"), bn);
  assert_string_equal(bn->op, "Mul");
  assert_true(amct_slice_equal(c->device, amct_slice_of("/cpu:0")));
  assert_false(amct_attr_has(c, "padding"));
  assert_false(amct_attr_has(bn, "T"));
  int64_t n = 0;
  assert_true(amct_attr_int(bn, "N", &n) && n == 5);
  assert_null(c->origins);
  assert_int_equal(bn->origin_count, 2);
  assert_string_equal(bn->origins[0], "bn");
  assert_string_equal(bn->origins[1], "c");
  assert_graph(graph,
               "x=Placeholder()\nw=Const()\nw/read=Identity(w)\nc=Conv2D(x w/read)\n"
               "bn=Mul(c c:1 ^x ^c ^w)\nb=Const()\ny=Relu(bn)\nz=Split(bn c:1 "
               "^bn)\nlonely=Const()\n");

  edits = amct_edits_new(graph); /* a node that edits made is edited again */
  spec = amct_edits_replace(edits, bn, "Relu");
  amct_spec_input(spec, "c");
  amct_spec_origin(spec, "y");
  amct_spec_origin(spec, "c");
  apply_ok(edits);
  assert_int_equal(bn->origin_count, 3);
  assert_string_equal(bn->origins[2], "y");
  amct_graph_free(graph);
}

static void test_remove(void **state) {
  (void)state;
  amct_graph *graph = graph_of(k_net);
  amct_node *bn = node_of(graph, "bn"), *b = node_of(graph, "b");
  amct_edits *edits = amct_edits_new(graph);
  const amct_edge from = {bn, 0};
  amct_edits_remove(edits, bn);
  amct_edits_remove(edits, bn); /* no harm */
  amct_edits_remove(edits, b);
  amct_edits_remove(edits, node_of(graph, "z"));
  assert_false(amct_edits_has_name(edits, "b"));
  amct_edits_rewire(edits, from, "c", NULL, 0); /* z, which is removed, is passed over */
  amct_spec *spec =
      amct_edits_add(edits, "b", "NoOp", b, false); /* the name is free again */
  amct_spec_input(spec, "^y");
  assert_int_equal(amct_edits_size(edits), 5);
  apply_ok(edits);
  assert_graph(
      graph,
      "x=Placeholder()\nw=Const()\nw/read=Identity(w)\nc=Conv2D(x w/read)\nb=NoOp(^y)\n"
      "y=Relu(c)\nlonely=Const()\n");
  assert_true(bn->removed && b->removed);
  assert_int_equal(bn->use_count, 0);
  assert_string_equal(bn->name, "bn"); /* still to be read */
  assert_string_equal(bn->inputs[1].node->name, "b");
  assert_true(amct_attr_has(b, "value"));
  assert_null(amct_graph_find(graph, "bn"));
  assert_ptr_not_equal(amct_graph_find(graph, "b"), b);

  edits = amct_edits_new(
      graph); /* a removed node still says where it stood, but cannot be edited */
  (void)amct_edits_add(edits, "new", "NoOp", bn, true);
  assert_string_equal(amct_edits_free_name(edits, "bn"), "bn_1");
  apply_ok(edits);
  assert_string_equal(amct_graph_at(graph, 4)->name, "new");
  edits = amct_edits_new(graph);
  amct_edits_remove(edits, bn);
  assert_int_equal(amct_edits_apply(edits, NULL), AMCT_INVALID_ARGUMENT);
  amct_edits_free(edits);
  amct_graph_free(graph);
}

static void test_copy(void **state) {
  (void)state;
  amct_graph *graph = graph_of(k_net);
  amct_edits *edits = amct_edits_new(graph);
  const float values[] = {7, 8};
  const amct_shape shape = {1, {2}};
  (void)amct_edits_copy(edits, node_of(graph, "bn"), "bn2");
  (void)amct_edits_copy(edits, node_of(graph, "c"), "c2");
  amct_spec *b = amct_edits_copy(edits, node_of(graph, "b"), "b2");
  amct_spec_tensor(b, AMCT_DTYPE_FLOAT, &shape, values, sizeof values);
  assert_string_equal(amct_spec_name(b), "b2");
  apply_ok(edits);
  const amct_node *c2 = node_of(graph, "c2"), *b2 = node_of(graph, "b2"),
                  *bn2 = node_of(graph, "bn2");
  assert_true(amct_slice_equal(c2->device, amct_slice_of("/cpu:0")));
  assert_true(amct_attr_is(c2, "padding", "SAME", false));
  assert_int_equal(c2->index, node_of(graph, "c")->index + 1);
  assert_int_equal(bn2->data_count, 2);
  assert_string_equal(amct_edge_text(bn2->inputs[2]), "^x");
  amct_tensor tensor;
  amct_slice key, value;
  assert_int_equal(amct_const_tensor(b2, &tensor, NULL), AMCT_OK);
  assert_memory_equal(tensor.content.data, values, sizeof values);
  for (size_t i = 0, seen = 0; amct_attr_at(b2, i, &key, &value); i++) {
    seen += amct_slice_equal(key, amct_slice_of("value"));
    assert_true(seen <= 1); /* the earlier value is gone, not only overruled */
  }
  amct_graph_free(graph);
}

// clang-format off
/* Attribute bytes as protobuf writes them. */
static const struct {
  const char *key, *bytes;
  size_t size;
} k_attrs[] = {
#define ATTR(key, bytes) {key, bytes, sizeof bytes - 1}
    ATTR("i", "\x18\x04"),
    ATTR("f", "\x25\x00\x00\xc0\x3f"),
    ATTR("b", "\x28\x00"),
    ATTR("s", "\x12\x02hi"),
    ATTR("T", "\x30\x17"),
    ATTR("li", "\x0a\x05\x1a\x03\x01\xac\x02"),
    ATTR("l0", "\x0a\x00"),
    ATTR("lt", "\x0a\x04\x32\x02\x01\x13"),
    ATTR("ls", "\x0a\x07\x12\x01"
               "a\x12\x02"
               "bc"),
    ATTR("raw", "\x18\x07"),
    ATTR("value", "\x42\x10\x08\x06\x12\x08\x12\x02\x08\x02\x12\x02\x08\x01\x22\x02\x01\xff"),
    ATTR("dtype", "\x30\x06"),
#undef ATTR
};
// clang-format on

static void test_attribute_bytes(void **state) {
  (void)state;
  amct_graph *graph = graph_of("x = Placeholder() {shape=[2]}\n");
  amct_edits *edits = amct_edits_new(graph);
  amct_spec *spec = amct_edits_add(edits, "n", "Op", NULL, false);
  const int64_t ints[] = {1, 300};
  const amct_dtype types[] = {AMCT_DTYPE_FLOAT, AMCT_DTYPE_HALF};
  const char *const texts[] = {"a", "bc"};
  const int8_t data[] = {1, -1};
  const amct_shape shape = {2, {2, 1}};
  amct_spec_input(spec, "x:1");
  amct_spec_input(spec, "^x");
  amct_spec_device(spec, amct_slice_of("/d"));
  amct_spec_int(spec, "i", -1);
  amct_spec_float(spec, "f", 1.5f);
  amct_spec_bool(spec, "b", false);
  amct_spec_text(spec, "s", "hi");
  amct_spec_type(spec, "T", AMCT_DTYPE_UINT64);
  amct_spec_ints(spec, "li", ints, 2);
  amct_spec_ints(spec, "l0", ints, 0);
  amct_spec_types(spec, "lt", types, 2);
  amct_spec_texts(spec, "ls", texts, 2);
  amct_spec_raw(spec, "raw", amct_slice_of("\x18\x07"));
  amct_spec_int(spec, "i", 4); /* instead of -1, in its place */
  amct_spec_tensor(spec, AMCT_DTYPE_INT8, &shape, data, 2);

  pb wanted = {.size = 0};
  pb_text(&wanted, 1, "n");
  pb_text(&wanted, 2, "Op");
  pb_text(&wanted, 3, "x:1");
  pb_text(&wanted, 3, "^x");
  pb_text(&wanted, 4, "/d");
  for (size_t i = 0; i < sizeof k_attrs / sizeof k_attrs[0]; i++) {
    pb value = {.size = 0};
    pb_raw(&value, k_attrs[i].bytes, k_attrs[i].size);
    pb_attr(&wanted, k_attrs[i].key, &value);
  }
  amct_edit edit;
  assert_int_equal(amct_edits_at(edits, 0, &edit, NULL), AMCT_OK);
  assert_int_equal(edit.kind, AMCT_EDIT_ADD);
  assert_int_equal(edit.nodedef.size, wanted.size);
  assert_memory_equal(edit.nodedef.data, wanted.data, wanted.size);
  apply_ok(edits);
  amct_buffer bytes = {0};
  assert_int_equal(amct_graph_encode(graph, &bytes, NULL), AMCT_OK);
  assert_memory_equal(bytes.data + bytes.size - wanted.size, wanted.data, wanted.size);
  amct_buffer_free(&bytes);
  amct_graph_free(graph);
}

static void test_reading_a_list(void **state) {
  (void)state;
  amct_graph *graph = graph_of(k_net);
  amct_edits *edits = amct_edits_new(graph);
  amct_edit edit;
  amct_edits_set_input(edits, node_of(graph, "y"), 0, "c"); /* overtaken by the removal */
  amct_edits_set_input(edits, node_of(graph, "z"), 1, "x");
  amct_edits_remove(edits, node_of(graph, "y"));
  amct_edits_control(edits, node_of(graph, "z"), "c");
  amct_spec *spec = amct_edits_replace(edits, node_of(graph, "bn"), "Relu");
  amct_spec_input(spec, "c");
  (void)amct_edits_add(edits, "new", "NoOp", node_of(graph, "c"), true);
  assert_int_equal(amct_edits_size(edits), 5);
  assert_int_equal(amct_edits_at(edits, 0, &edit, NULL), AMCT_OK);
  assert_int_equal(edit.kind, AMCT_EDIT_SET_INPUT);
  assert_string_equal(edit.name, "z");
  assert_int_equal(edit.index, 1);
  assert_string_equal(edit.tensor, "x");
  assert_int_equal(amct_edits_at(edits, 1, &edit, NULL), AMCT_OK);
  assert_int_equal(edit.kind, AMCT_EDIT_REMOVE);
  assert_string_equal(edit.name, "y");
  assert_int_equal(amct_edits_at(edits, 2, &edit, NULL), AMCT_OK);
  assert_int_equal(edit.kind, AMCT_EDIT_CONTROL);
  assert_string_equal(edit.tensor, "c");
  assert_string_equal(edit.near, "");
  assert_int_equal(amct_edits_at(edits, 3, &edit, NULL), AMCT_OK);
  assert_int_equal(edit.kind, AMCT_EDIT_REPLACE);
  /* whole: the control input that stays is in it */
  static const char k_bn[] = "\x0a\x02"
                             "bn\x12\x04Relu\x1a\x01"
                             "c\x1a\x02^x";
  assert_int_equal(edit.nodedef.size, sizeof k_bn - 1);
  assert_memory_equal(edit.nodedef.data, k_bn, sizeof k_bn - 1);
  assert_int_equal(amct_edits_at(edits, 4, &edit, NULL), AMCT_OK);
  assert_string_equal(edit.near, "c");
  assert_int_equal(amct_edits_at(edits, 5, &edit, NULL), AMCT_INVALID_ARGUMENT);
  amct_edits_free(edits);
  amct_graph_free(graph);
}

static void test_spent(void **state) {
  (void)state;
  amct_graph *graph = graph_of(k_net);
  amct_edits *edits = amct_edits_new(graph);
  assert_int_equal(amct_edits_apply(edits, NULL), AMCT_OK); /* an empty list is fine */
  assert_null(amct_edits_add(edits, "n", "NoOp", NULL, false));
  assert_int_equal(amct_edits_apply(edits, NULL), AMCT_INVALID_ARGUMENT);
  amct_edits_free(edits);
  amct_edits_free(NULL);
  amct_graph_free(graph);
}

static void test_free_names(void **state) {
  (void)state;
  amct_graph *graph = graph_of("a a_1 a_3 = NoOp()\n");
  amct_edits *edits = amct_edits_new(graph);
  assert_string_equal(amct_edits_free_name(edits, "b"), "b");
  assert_string_equal(amct_edits_free_name(edits, "a"), "a_2");
  assert_string_equal(amct_edits_free_name(edits, "a"), "a_2"); /* not taken yet */
  (void)amct_edits_add(edits, "a_2", "NoOp", NULL, false);
  assert_string_equal(amct_edits_free_name(edits, "a"), "a_4");
  assert_string_equal(amct_edits_free_name(edits, "a_1"), "a_1_1");
  for (int i = 0; i < 20000; i++) /* linear, or this takes minutes */
    (void)amct_edits_add(edits, amct_edits_free_name(edits, "a"), "NoOp", NULL, false);
  apply_ok(edits);
  assert_int_equal(amct_graph_count(graph), 20004);
  assert_non_null(amct_graph_find(graph, "a_20003"));
  amct_graph_free(graph);
}

static void test_sweep(void **state) {
  (void)state;
  static const char k_text[] = "x = Placeholder() {shape=[2]}\n"
                               "w = Const() {value=float[4](ramp)}\n"
                               "shape = Const() {value=int32[2](2,2)}\n"
                               "r = Reshape(w, shape)\n"
                               "i = Identity(r)\n"
                               "kept = Const() {value=float[1](1)}\n"
                               "shared = Const() {value=float[1](1)}\n"
                               "held = Const(^x) {value=float[1](1)}\n"
                               "idle = Const() {value=float[1](1)}\n"
                               "idle/read = Identity(idle)\n"
                               "data = Identity(x)\n"
                               "hold = NoOp(^held, ^idle/read, ^idle, ^shared)\n"
                               "y = Op(x, i, kept, shared, held, data, idle/read)\n"
                               "z = Relu(shared)\n"
                               "lonely = Const() {value=float[1](3)}\n";
  amct_graph *graph = graph_of(k_text);
  const char *const keep[] = {"kept", "nobody"};
  assert_int_equal(amct_graph_sweep(graph, keep, 2, NULL), AMCT_OK);
  assert_int_equal(amct_graph_count(graph), 15); /* nothing lost a reader yet */
  amct_edits *edits = amct_edits_new(graph);
  for (uint32_t i = 1; i < 7; i++)
    amct_edits_set_input(edits, node_of(graph, "y"), i, "x");
  apply_ok(edits);
  assert_int_equal(amct_graph_sweep(graph, keep, 2, NULL), AMCT_OK);
  assert_graph(
      graph,
      "x=Placeholder()\nkept=Const()\nshared=Const()\nheld=Const(^x)\ndata=Identity(x)\n"
      "hold=NoOp(^held ^shared)\ny=Op(x x x x x x x)\nz=Relu(shared)\nlonely=Const()\n");
  amct_graph_free(graph);
}

static void test_detach(void **state) {
  (void)state;
  amct_graph *graph = graph_of(k_net);
  amct_edits *edits = amct_edits_new(graph);
  amct_spec *watch = amct_edits_add(edits, "watch", "Watch", node_of(graph, "c"), true);
  amct_spec_input(watch, "x");
  amct_edits_control(edits, node_of(graph, "c"), "watch");
  amct_edits_control(edits, node_of(graph, "bn"), "watch");
  apply_ok(edits);
  edits = amct_edits_new(graph);
  amct_edits_detach(edits, node_of(graph, "watch"));
  amct_edits_detach(edits, node_of(graph, "watch"));
  apply_ok(edits);
  assert_graph(graph,
               "x=Placeholder()\nw=Const()\nw/read=Identity(w)\nc=Conv2D(x w/read)\n"
               "bn=BiasAdd(c b ^x)\nb=Const()\ny=Relu(bn)\nz=Split(bn c:1 ^bn)\n"
               "lonely=Const()\n");
  edits = amct_edits_new(graph);
  amct_edits_detach(edits, node_of(graph, "c")); /* has data readers */
  amct_error err = {0};
  assert_int_equal(amct_edits_apply(edits, &err), AMCT_BAD_GRAPH);
  assert_non_null(strstr(err.text, "which is removed"));
  amct_edits_free(edits);
  amct_graph_free(graph);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_add_and_rewire), cmocka_unit_test(test_order_of_new_nodes),
      cmocka_unit_test(test_replace),        cmocka_unit_test(test_remove),
      cmocka_unit_test(test_copy),           cmocka_unit_test(test_attribute_bytes),
      cmocka_unit_test(test_reading_a_list), cmocka_unit_test(test_spent),
      cmocka_unit_test(test_free_names),     cmocka_unit_test(test_sweep),
      cmocka_unit_test(test_detach),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
