/* SPDX-License-Identifier: Apache-2.0 */
/* Edit lists that are refused, or run out of memory, do nothing to the graph. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "unit/edits_net.h"

typedef enum refusal {
  NAME_IN_GRAPH,
  NAME_TWICE,
  NAME_EMPTY,
  NAME_WITH_COLON,
  OP_EMPTY,
  INPUT_UNKNOWN,
  INPUT_MALFORMED,
  INPUT_REMOVED,
  SET_UNKNOWN,
  SET_CONTROL,
  SET_NO_SUCH_INPUT,
  CONTROL_UNKNOWN,
  READER_LEFT,
  EDITED_READER_LEFT,
  CONTROL_READER_LEFT,
  REPLACED_TWICE,
  FOREIGN_NODE,
  REFUSALS,
} refusal;

static amct_status refuse_change(amct_edits *edits, amct_graph *graph,
                                 const amct_graph *other, refusal which) {
  amct_node *y = node_of(graph, "y");
  switch (which) {
  case SET_UNKNOWN:
    amct_edits_set_input(edits, y, 0, "nobody");
    return AMCT_BAD_GRAPH;
  case SET_CONTROL:
    amct_edits_set_input(edits, y, 0, "^c");
    return AMCT_BAD_GRAPH;
  case SET_NO_SUCH_INPUT:
    amct_edits_set_input(edits, y, 1, "c");
    return AMCT_INVALID_ARGUMENT;
  case CONTROL_UNKNOWN:
    amct_edits_control(edits, y, "nobody");
    return AMCT_BAD_GRAPH;
  case READER_LEFT:
    amct_edits_remove(edits, node_of(graph, "c"));
    return AMCT_BAD_GRAPH;
  case EDITED_READER_LEFT:
    amct_edits_remove(edits, node_of(graph, "bn"));
    amct_edits_set_input(edits, y, 0, "c");
    amct_edits_set_input(edits, node_of(graph, "z"), 1, "c"); /* input 0 still reads it */
    return AMCT_BAD_GRAPH;
  case CONTROL_READER_LEFT:
    amct_edits_remove(edits, node_of(graph, "bn"));
    amct_edits_set_input(edits, y, 0, "c");
    amct_edits_set_input(edits, node_of(graph, "z"), 0, "c"); /* ^bn still reads it */
    return AMCT_BAD_GRAPH;
  case REPLACED_TWICE:
    amct_spec_input(amct_edits_replace(edits, y, "Relu6"), "c");
    amct_spec_input(amct_edits_replace(edits, y, "Elu"), "c");
    return AMCT_BAD_GRAPH;
  default:
    amct_edits_set_input(edits, node_of(other, "y"), 0, "c");
    return AMCT_INVALID_ARGUMENT;
  }
}

static amct_status refuse(amct_edits *edits, amct_graph *graph, const amct_graph *other,
                          refusal which) {
  amct_node *y = node_of(graph, "y");
  switch (which) {
  case NAME_IN_GRAPH:
    (void)amct_edits_add(edits, "c", "NoOp", NULL, false);
    return AMCT_BAD_GRAPH;
  case NAME_TWICE:
    (void)amct_edits_add(edits, "n", "NoOp", NULL, false);
    (void)amct_edits_add(edits, "n", "NoOp", NULL, false);
    return AMCT_BAD_GRAPH;
  case NAME_EMPTY:
    (void)amct_edits_add(edits, "", "NoOp", NULL, false);
    return AMCT_BAD_GRAPH;
  case NAME_WITH_COLON:
    (void)amct_edits_add(edits, "a:0", "NoOp", NULL, false);
    return AMCT_BAD_GRAPH;
  case OP_EMPTY:
    (void)amct_edits_add(edits, "n", "", NULL, false);
    return AMCT_BAD_GRAPH;
  case INPUT_UNKNOWN:
    amct_spec_input(amct_edits_add(edits, "n", "Relu", NULL, false), "nobody");
    return AMCT_BAD_GRAPH;
  case INPUT_MALFORMED:
    amct_spec_input(amct_edits_add(edits, "n", "Relu", NULL, false), "c:x");
    return AMCT_BAD_GRAPH;
  case INPUT_REMOVED:
    amct_edits_remove(edits, y);
    amct_spec_input(amct_edits_add(edits, "n", "Relu", NULL, false), "y");
    return AMCT_BAD_GRAPH;
  default:
    return refuse_change(edits, graph, other, which);
  }
}
/* What a refused list must leave: the same bytes, the same uses, the same names. */
static void assert_same(const amct_graph *graph, const amct_buffer *before) {
  amct_buffer after = {0};
  amct_error err = {0};
  assert_int_equal(amct_graph_encode(graph, &after, NULL), AMCT_OK);
  assert_int_equal(after.size, before->size);
  assert_memory_equal(after.data, before->data, after.size);
  if (amct_graph_verify(graph, &err) != AMCT_OK) fail_msg("%s", err.text);
  assert_null(amct_graph_find(graph, "n"));
  amct_buffer_free(&after);
}

static void test_refused_lists_change_nothing(void **state) {
  (void)state;
  amct_graph *graph = graph_of(k_net), *other = graph_of(k_net);
  amct_buffer before = {0};
  assert_int_equal(amct_graph_encode(graph, &before, NULL), AMCT_OK);
  for (int which = 0; which < REFUSALS; which++) {
    amct_edits *edits = amct_edits_new(graph);
    /* beside the wrong edit stand right ones */
    amct_spec_input(amct_edits_add(edits, "good", "Relu", NULL, false), "x");
    amct_edits_set_input(edits, node_of(graph, "w/read"), 0, "b");
    const amct_status wanted = refuse(edits, graph, other, (refusal)which);
    amct_error err = {0};
    const amct_status status = amct_edits_apply(edits, &err);
    if (status != wanted || err.text[0] == '\0')
      fail_msg("case %d: %s: %s", which, amct_status_name(status), err.text);
    assert_same(graph, &before);
    assert_null(amct_graph_find(graph, "good"));
    amct_edits_free(edits);
  }
  amct_buffer_free(&before);
  amct_graph_free(graph);
  amct_graph_free(other);
}

/* One list with every kind of edit; false when memory ran out while it was built or
 * applied. */
static amct_status apply_everything(amct_graph *graph, amct_error *err) {
  amct_edits *edits = amct_edits_new(graph);
  if (edits == NULL) return amct_fail_memory(err);
  const float values[] = {1, 2};
  const amct_shape shape = {1, {2}};
  amct_node *bn = node_of(graph, "bn");
  const amct_edge from = {node_of(graph, "c"), 0};
  amct_spec *spec = amct_edits_replace(edits, bn, "Mul");
  amct_spec_input(spec, "c");
  amct_spec_input(spec, "n");
  amct_spec_origin(spec, "b");
  amct_edits_control(edits, bn, "w");
  spec = amct_edits_add(edits, "n", "Const", bn, true);
  amct_spec_tensor(spec, AMCT_DTYPE_FLOAT, &shape, values, sizeof values);
  amct_spec_text(spec, "s", "text");
  amct_spec_origin(spec, "c");
  (void)amct_edits_copy(edits, from.node, amct_edits_free_name(edits, "c"));
  amct_edits_remove(edits, node_of(graph, "b"));
  amct_edits_rewire(edits, from, "c_1", NULL, 0);
  amct_status status = amct_edits_apply(edits, err);
  amct_edit edit;
  for (size_t i = 0; status == AMCT_OK && i < amct_edits_size(edits); i++)
    status = amct_edits_at(edits, i, &edit, err);
  amct_edits_free(edits);
  return status;
}

static void test_no_memory(void **state) {
  (void)state;
  amct_graph *graph = graph_of(k_net);
  amct_buffer before = {0};
  assert_int_equal(amct_graph_encode(graph, &before, NULL), AMCT_OK);
  bool done = false;
  uint64_t n = 0;
  while (!done) {
    amct_error err = {0};
    amct_alloc_fail_after(++n);
    const amct_status status = apply_everything(graph, &err);
    amct_alloc_fail_after(0);
    done = amct_graph_find(graph, "n") !=
           NULL; /* applied: only the reading afterwards may fail */
    if (status != AMCT_OK) assert_int_equal(status, AMCT_OUT_OF_MEMORY);
    if (!done) {
      assert_int_equal(status, AMCT_OUT_OF_MEMORY);
      assert_same(graph, &before);
    }
  }
  assert_true(n > 20);
  assert_graph(
      graph,
      "x=Placeholder()\nw=Const()\nw/read=Identity(w)\nc=Conv2D(x w/read)\nc_1=Conv2D(x "
      "w/read)\n"
      "n=Const()\nbn=Mul(c n ^x ^w)\ny=Relu(bn)\nz=Split(bn c:1 ^bn)\nlonely=Const()\n");
  amct_buffer_free(&before);
  amct_graph_free(graph);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_refused_lists_change_nothing),
      cmocka_unit_test(test_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
