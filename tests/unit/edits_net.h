/* SPDX-License-Identifier: Apache-2.0 */
/* A small network to edit, and what the tests of edits ask of a graph. After cmocka.h. */
#ifndef AMCT_TESTS_EDITS_NET_H
#define AMCT_TESTS_EDITS_NET_H

#include <stdio.h>

#include "base/alloc.h"
#include "graph/textform.h"

static const char k_net[] = "x = Placeholder() {shape=[1,8,8,3]}\n"
                            "w = Const() {value=float[3,3,3,2](ramp)}\n"
                            "w/read = Identity(w)\n"
                            "c = Conv2D(x, w/read) {padding=SAME} @/cpu:0\n"
                            "bn = BiasAdd(c, b, ^x)\n"
                            "b = Const() {value=float[2](1,2)}\n"
                            "y = Relu(bn)\n"
                            "z = Split(bn, c:1, ^bn)\n"
                            "lonely = Const() {value=float[1](3)}\n";

static inline amct_graph *graph_of(const char *text) {
  amct_graph *graph = NULL;
  amct_error err = {0};
  if (amct_graph_from_text(&graph, amct_slice_of(text), &err) != AMCT_OK)
    fail_msg("%s", err.text);
  return graph;
}

static inline amct_node *node_of(const amct_graph *graph, const char *name) {
  amct_node *node = amct_graph_find(graph, name);
  if (node == NULL) fail_msg("no node %s", name);
  return node;
}

static inline void apply_ok(amct_edits *edits) {
  amct_error err = {0};
  if (amct_edits_apply(edits, &err) != AMCT_OK) fail_msg("%s", err.text);
  amct_edits_free(edits);
}

/* Names and edges, a line a node; and the graph must be sound, and read back the same
 * from its bytes. */
static inline void assert_graph(const amct_graph *graph, const char *wanted) {
  amct_error err = {0};
  amct_buffer text = {0}, bytes = {0}, again = {0};
  amct_graph *copy = NULL;
  if (amct_graph_verify(graph, &err) != AMCT_OK) fail_msg("%s", err.text);
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    const amct_node *node = amct_graph_at(graph, i);
    amct_buffer_format(&text, "%s=%s(", node->name, node->op);
    for (uint32_t k = 0; k < node->input_count; k++)
      amct_buffer_format(&text, "%s%s", k == 0 ? "" : " ",
                         amct_edge_text(node->inputs[k]));
    amct_buffer_text(&text, ")\n");
  }
  amct_buffer_append(&text, "", 1);
  assert_string_equal((const char *)text.data, wanted);
  assert_int_equal(amct_graph_encode(graph, &bytes, &err), AMCT_OK);
  const amct_slice slice = {bytes.data, bytes.size};
  if (amct_graph_read(&copy, slice, "copy", &err) != AMCT_OK) fail_msg("%s", err.text);
  text.size = 0;
  amct_graph_print(graph, &text);
  amct_graph_print(copy, &again);
  assert_int_equal(text.size, again.size);
  assert_memory_equal(text.data, again.data, text.size);
  amct_graph_free(copy);
  amct_buffer_free(&text);
  amct_buffer_free(&bytes);
  amct_buffer_free(&again);
}

#endif
