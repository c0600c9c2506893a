/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, verifying and writing graphs, against bytes assembled by hand. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "graph/edits.h"
#include "unit/graph_bytes.h"

static amct_slice slice_of(const pb *bytes) {
  return (amct_slice){bytes->data, bytes->size};
}

static amct_graph *read_ok(const pb *bytes) {
  amct_graph *graph = NULL;
  amct_error err = {0};
  const amct_status status = amct_graph_read(&graph, slice_of(bytes), "test", &err);
  if (status != AMCT_OK) fail_msg("%s: %s", amct_status_name(status), err.text);
  return graph;
}

static void assert_encodes_to(const amct_graph *graph, const pb *wanted) {
  amct_buffer buffer = {0};
  assert_int_equal(amct_graph_encode(graph, &buffer, NULL), AMCT_OK);
  assert_int_equal(buffer.size, wanted->size);
  assert_memory_equal(buffer.data, wanted->data, wanted->size);
  amct_buffer_free(&buffer);
}

/* Every oddity at once: fields out of order, unknown ones, versions twice, long varints,
 * a library. */
static void make_odd(pb *graph) {
  pb node = {.size = 0}, value = {.size = 0}, function = {.size = 0},
     signature = {.size = 0};
  pb library = {.size = 0};
  graph->size = 0;
  pb_int(graph, 3, 21);
  pb_raw(graph, "\x22\x83\x00\x08\xb1\x02",
         6); /* versions, its length 3 written as 83 00 */
  pb_int(&value, 3, 7);
  pb_attr(&node, "k", &value); /* attribute first, name last, op twice */
  pb_text(&node, 99, "unknown");
  pb_text(&node, 3, "b:0");
  pb_text(&node, 2, "Old");
  pb_text(&node, 2, "Relu");
  pb_text(&node, 4, "/gpu:0");
  pb_text(&node, 1, "a");
  pb_message(graph, 1, &node);
  pb_fixed32(graph, 200, 0xdeadbeef);
  pb_text(&signature, 1, "my_function");
  pb_message(&function, 1, &signature);
  pb_message(&library, 1, &function);
  pb_message(graph, 2, &library);
  pb_raw(graph,
         "\x0a\x88\x80\x00\x0a\x01"
         "b\x12\x03"
         "Foo",
         12); /* node b, length in 3 bytes */
  pb_raw(graph, "\x22\x00", 2);
}

static void test_untouched_is_identical(void **state) {
  (void)state;
  pb bytes;
  make_odd(&bytes);
  amct_graph *graph = read_ok(&bytes);
  assert_int_equal(amct_graph_count(graph), 2);
  amct_node *a = amct_graph_find(graph, "a"), *b = amct_graph_find(graph, "b");
  assert_ptr_equal(amct_graph_at(graph, 0), a);
  assert_ptr_equal(amct_graph_at(graph, 1), b);
  assert_string_equal(a->op, "Relu");
  assert_string_equal(b->op, "Foo");
  assert_true(amct_slice_equal(a->device, amct_slice_of("/gpu:0")));
  assert_ptr_equal(a->inputs[0].node, b);
  int64_t k = 0;
  assert_true(amct_attr_int(a, "k", &k));
  assert_int_equal(k, 7);
  assert_int_equal(amct_graph_function_count(graph), 1);
  assert_true(
      amct_slice_equal(amct_graph_function_name(graph, 0), amct_slice_of("my_function")));
  assert_int_equal(amct_graph_verify(graph, NULL), AMCT_OK);
  assert_encodes_to(graph, &bytes);
  amct_graph_free(graph);
}

/* Only the edited node changes: its head comes first, then its other fields as they were.
 */
static void test_edited_node_keeps_the_rest(void **state) {
  (void)state;
  pb bytes, wanted = {.size = 0}, node = {.size = 0}, value = {.size = 0};
  make_odd(&bytes);
  amct_graph *graph = read_ok(&bytes);
  amct_edits *edits = amct_edits_new(graph);
  amct_edits_set_input(edits, amct_graph_find(graph, "a"), 0, "b:3");
  amct_edits_control(edits, amct_graph_find(graph, "a"), "b");
  assert_int_equal(amct_edits_apply(edits, NULL), AMCT_OK);
  amct_edits_free(edits);

  pb_int(&value, 3, 7);
  pb_text(&node, 1, "a");
  pb_text(&node, 2, "Relu");
  pb_text(&node, 3, "b:3");
  pb_text(&node, 3, "^b");
  pb_attr(&node, "k", &value);
  pb_text(&node, 99, "unknown");
  pb_text(&node, 4, "/gpu:0");
  pb_raw(&wanted, bytes.data, 8);
  pb_message(&wanted, 1, &node);
  const uint8_t *rest = memmem(bytes.data, bytes.size, "\xef\xbe\xad\xde", 4);
  rest -= 2; /* the tag of field 200 */
  pb_raw(&wanted, rest, (size_t)(bytes.data + bytes.size - rest));
  assert_encodes_to(graph, &wanted);
  amct_graph_free(graph);
}

static void test_edges_and_uses(void **state) {
  (void)state;
  pb bytes = {.size = 0};
  pb_node(&bytes, "sum", "Add", INPUTS("split:1", "split", "^late", "^split"));
  pb_node(&bytes, "split", "Split", INPUTS("late:0", "late:65535"));
  pb_node(&bytes, "late", "Const", NULL);
  amct_graph *graph = read_ok(&bytes);
  const amct_node *sum = amct_graph_at(graph, 0), *split = amct_graph_at(graph, 1);
  const amct_node *late = amct_graph_at(graph, 2);
  assert_int_equal(sum->input_count, 4);
  assert_int_equal(sum->data_count, 2);
  assert_ptr_equal(sum->inputs[0].node, split);
  assert_int_equal(sum->inputs[0].port, 1);
  assert_int_equal(sum->inputs[1].port, 0);
  assert_int_equal(sum->inputs[2].port, AMCT_CONTROL);
  assert_ptr_equal(sum->inputs[2].node, late);
  assert_int_equal(split->inputs[1].port, 65535);
  assert_int_equal(split->use_count, 3);
  assert_ptr_equal(split->uses[2].node, sum);
  assert_int_equal(split->uses[2].input, 3);
  assert_int_equal(late->use_count, 3);
  assert_ptr_equal(late->uses[0].node, sum); /* file order of the reader */
  assert_int_equal(amct_node_readers(split, 0), 1);
  assert_int_equal(amct_node_readers(split, 1), 1);
  assert_int_equal(amct_node_readers(late, AMCT_CONTROL), 0);
  assert_string_equal(amct_edge_text(sum->inputs[0]), "split:1");
  assert_string_equal(amct_edge_text(sum->inputs[1]), "split");
  assert_string_equal(amct_edge_text(sum->inputs[2]), "^late");
  assert_null(amct_graph_find(graph, "nobody"));
  assert_null(amct_graph_find(graph, "Add"));
  assert_null(amct_graph_at(graph, 3));
  assert_string_equal(amct_graph_label(graph), "test");
  assert_ptr_equal(amct_graph_intern(graph, "Split"), split->op);
  assert_int_equal(amct_graph_verify(graph, NULL), AMCT_OK);
  amct_graph_free(graph);
}

typedef struct bad_case {
  const char *why;
  const char *bytes;
  size_t size;
  amct_status status;
  const char *node;
  uint64_t offset;
} bad_case;

#define BAD(why, bytes, status, node, offset)                                            \
  { why, bytes, sizeof bytes - 1, AMCT_##status, node, offset }
#define X "\x0a\x06\x0a\x01x\x12\x01O" /* node x, op O: 8 bytes */

// clang-format off
static const bad_case k_bad[] = {
    BAD("cut in a tag's varint", X "\x8a", BAD_FORMAT, "", 8),
    BAD("node longer than the file", "\x0a\x05\x0a\x01x", BAD_FORMAT, "", 1),
    BAD("length of 64 bits", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", BAD_FORMAT, "", 1),
    BAD("varint of 11 bytes", "\x18\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", BAD_FORMAT, "", 1),
    BAD("group", X "\x0b\x0c", BAD_FORMAT, "", 8),
    BAD("field 0", X "\x02\x00", BAD_FORMAT, "", 8),
    BAD("name longer than the node", "\x0a\x03\x0a\x05x", BAD_FORMAT, "", 3),
    BAD("attribute longer than the node", "\x0a\x08\x0a\x01x\x12\x01O\x2a\x10", BAD_FORMAT, "", 9),
    BAD("attribute's value is cut", "\x0a\x0d\x0a\x01x\x12\x01O\x2a\x05\x12\x03\x08\x01\x25", BAD_FORMAT, "", 15),
    BAD("library is cut inside", X "\x12\x02\x0a\x05", BAD_FORMAT, "", 11),
    BAD("node without a name", X "\x0a\x03\x12\x01O", BAD_GRAPH, "", 8),
    BAD("name with NUL", "\x0a\x08\x0a\x03x\x00y\x12\x01O", BAD_GRAPH, "x", 0),
    BAD("name with a line break", "\x0a\x07\x0a\x02x\n\x12\x01O", BAD_GRAPH, "x?", 0),
    BAD("name with a colon", "\x0a\x08\x0a\x03x:1\x12\x01O", BAD_GRAPH, "x:1", 0),
    BAD("name with a caret", "\x0a\x07\x0a\x02^x\x12\x01O", BAD_GRAPH, "^x", 0),
    BAD("no op", "\x0a\x03\x0a\x01x", BAD_GRAPH, "x", 0),
    BAD("op with NUL", "\x0a\x07\x0a\x01x\x12\x02O\x00", BAD_GRAPH, "x", 0),
    BAD("two of one name", X X, BAD_GRAPH, "x", 8),
    BAD("input names no node", "\x0a\x09\x0a\x01x\x12\x01O\x1a\x01y", BAD_GRAPH, "x", 8),
    BAD("input names an op", "\x0a\x09\x0a\x01x\x12\x01O\x1a\x01O", BAD_GRAPH, "x", 8),
    BAD("empty input", "\x0a\x08\x0a\x01x\x12\x01O\x1a\x00", BAD_GRAPH, "x", 8),
    BAD("only a caret", "\x0a\x09\x0a\x01x\x12\x01O\x1a\x01^", BAD_GRAPH, "x", 8),
    BAD("port without digits", "\x0a\x0a\x0a\x01x\x12\x01O\x1a\x02x:", BAD_GRAPH, "x", 8),
    BAD("port of letters", "\x0a\x0b\x0a\x01x\x12\x01O\x1a\x03x:a", BAD_GRAPH, "x", 8),
    BAD("port below zero", "\x0a\x0c\x0a\x01x\x12\x01O\x1a\x04x:-1", BAD_GRAPH, "x", 8),
    BAD("port over 65535", "\x0a\x0f\x0a\x01x\x12\x01O\x1a\x07x:65536", BAD_GRAPH, "x", 8),
    BAD("port beyond 32 bits", "\x0a\x14\x0a\x01x\x12\x01O\x1a\x0cx:4294967296", BAD_GRAPH, "x", 8),
    BAD("control input with a port", "\x0a\x0c\x0a\x01x\x12\x01O\x1a\x04^x:0", BAD_GRAPH, "x", 8),
    BAD("input with NUL", "\x0a\x0b\x0a\x01x\x12\x01O\x1a\x03x\x00x", BAD_GRAPH, "x", 8),
    BAD("data after control", "\x0a\x0d\x0a\x01x\x12\x01O\x1a\x02^x\x1a\x01x", BAD_GRAPH, "x", 12),
};
// clang-format on

static void test_bad_input(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof k_bad / sizeof k_bad[0]; i++) {
    const bad_case *c = &k_bad[i];
    amct_graph *graph = (amct_graph *)&i; /* must become NULL */
    amct_error err = {0};
    const amct_slice bytes = {(const uint8_t *)c->bytes, c->size};
    const amct_status status = amct_graph_read(&graph, bytes, "test", &err);
    if (status != c->status || strcmp(err.node, c->node) != 0 ||
        err.byte_offset != c->offset)
      fail_msg("%s: %s, node '%s', offset %llu: %s", c->why, amct_status_name(status),
               err.node, (unsigned long long)err.byte_offset, err.text);
    assert_null(graph);
    assert_int_equal(amct_graph_read(&graph, bytes, "test", NULL), c->status);
  }
}

static void test_empty_graph(void **state) {
  (void)state;
  pb bytes = {.size = 0};
  amct_graph *graph = read_ok(&bytes);
  assert_int_equal(amct_graph_count(graph), 0);
  assert_int_equal(amct_graph_verify(graph, NULL), AMCT_OK);
  assert_encodes_to(graph, &bytes);
  amct_graph_free(graph);
}

static void expect_cycle(const pb *bytes, const char *on_cycle) {
  amct_error err = {0};
  amct_graph *graph = read_ok(bytes);
  const amct_status status = amct_graph_verify(graph, &err);
  amct_graph_free(graph);
  assert_int_equal(status, on_cycle == NULL ? AMCT_OK : AMCT_BAD_GRAPH);
  if (on_cycle != NULL && strstr(on_cycle, err.node) == NULL)
    fail_msg("named %s", err.node);
}

static void test_cycles(void **state) {
  (void)state;
  pb loop = {.size = 0}, self = {.size = 0}, control = {.size = 0}, frame = {.size = 0};
  pb_node(&loop, "in", "Placeholder", NULL);
  pb_node(&loop, "after", "Relu", INPUTS("p"));
  pb_node(&loop, "p", "Add", INPUTS("in", "q"));
  pb_node(&loop, "q", "Relu", INPUTS("p"));
  expect_cycle(&loop, "p q");
  pb_node(&self, "s", "Relu", INPUTS("s"));
  expect_cycle(&self, "s");
  pb_node(&control, "u", "NoOp", INPUTS("^v"));
  pb_node(&control, "v", "NoOp", INPUTS("^u"));
  expect_cycle(&control, "u v");
  pb_node(&frame, "enter", "Enter", NULL);
  pb_node(&frame, "merge", "Merge", INPUTS("enter", "next"));
  pb_node(&frame, "body", "Relu", INPUTS("merge"));
  pb_node(&frame, "next", "NextIteration", INPUTS("body"));
  expect_cycle(&frame, NULL);
  pb_node(&frame, "add", "Add", INPUTS("merge", "turn")); /* not into a Merge: a cycle */
  pb_node(&frame, "turn", "NextIteration", INPUTS("add"));
  expect_cycle(&frame, "add turn");
}

/* A chain through a hundred thousand nodes, and a node nested deeper than any stack. */
static void test_large_and_deep(void **state) {
  (void)state;
  enum { NODES = 100000, DEPTH = 200000 };
  amct_buffer buffer = {0};
  for (int i = 0; i < NODES; i++) {
    char text[64];
    const int size = snprintf(text, sizeof text, "%c%c%c%06d%c%c%s%c%cn%06d", 0x0a, 7,
                              'n', i, 0x12, 4, "Relu", 0x1a, 7, (i + 1) % NODES);
    const uint8_t head[2] = {0x0a, (uint8_t)(i + 1 == NODES ? size - 9 : size)};
    amct_buffer_append(&buffer, head, 2);
    amct_buffer_append(&buffer, text, head[1]);
  }
  amct_graph *graph = NULL;
  const amct_slice bytes = {buffer.data, buffer.size};
  assert_int_equal(amct_graph_read(&graph, bytes, "chain", NULL), AMCT_OK);
  assert_int_equal(amct_graph_count(graph), NODES);
  assert_int_equal(amct_graph_verify(graph, NULL), AMCT_OK);
  amct_graph_free(graph);
  amct_buffer_free(&buffer);

  /* built from the inside: each level is field 1 around the level within */
  size_t room = (size_t)DEPTH * 5 + 64, at = room;
  uint8_t *deep = malloc(room);
  assert_non_null(deep);
  for (int level = 0; level < DEPTH; level++) {
    uint8_t length[5];
    size_t size = 0, value = room - at;
    do {
      length[size++] = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
      value >>= 7;
    } while (value != 0);
    at -= size;
    memcpy(deep + at, length, size);
    deep[--at] = 0x0a;
  }
  const amct_slice nested = {deep + at, room - at};
  assert_int_not_equal(amct_graph_read(&graph, nested, "deep", NULL), AMCT_OK);
  free(deep);
}

/* Over four gigabytes of tensor, in a file with a hole: nothing of it is read. */
static void test_file_over_4_gib(void **state) {
  (void)state;
  const uint64_t content = UINT64_C(5) << 30;
  char path[] = "/tmp/amct_test_graph_XXXXXX";
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  pb tensor = {.size = 0}, dim = {.size = 0}, shape = {.size = 0}, head = {.size = 0},
     type = {.size = 0};
  pb_int(&tensor, 1, 4); /* uint8 */
  pb_int(&dim, 1, content);
  pb_message(&shape, 2, &dim);
  pb_message(&tensor, 2, &shape);
  pb_varint(&tensor, 4 << 3 | 2);
  pb_varint(&tensor, content);
  /* tag and length of each level, from the inside; all lengths take 5 bytes */
  const uint64_t tensor_size = tensor.size + content, value_size = tensor_size + 6;
  const uint64_t entry_size = 7 + 6 + value_size, node_size = 3 + 7 + 6 + entry_size;
  pb_varint(&head, 1 << 3 | 2);
  pb_varint(&head, node_size);
  pb_text(&head, 1, "w");
  pb_text(&head, 2, "Const");
  pb_varint(&head, 5 << 3 | 2);
  pb_varint(&head, entry_size);
  pb_text(&head, 1, "value");
  pb_varint(&head, 2 << 3 | 2);
  pb_varint(&head, value_size);
  pb_varint(&head, 8 << 3 | 2);
  pb_varint(&head, tensor_size);
  pb_raw(&head, tensor.data, tensor.size);
  pb_node(&type, "r", "Relu", INPUTS("w"));
  assert_int_equal(write(fd, head.data, head.size), head.size);
  assert_int_equal(pwrite(fd, type.data, type.size, (off_t)(head.size + content)),
                   type.size);
  close(fd);
  amct_graph *graph = NULL;
  amct_error err = {0};
  amct_tensor value;
  const amct_status status = amct_graph_load(&graph, path, &err);
  unlink(path);
  if (status != AMCT_OK) fail_msg("%s", err.text);
  assert_int_equal(amct_graph_count(graph), 2);
  assert_int_equal(amct_const_tensor(amct_graph_at(graph, 0), &value, &err), AMCT_OK);
  assert_true(value.count == content && value.content.size == content);
  amct_graph_free(graph);
}

static void test_save_and_load(void **state) {
  (void)state;
  char folder[] = "/tmp/amct_test_graph_XXXXXX", path[64];
  assert_non_null(mkdtemp(folder));
  (void)snprintf(path, sizeof path, "%s/g.pb", folder);
  pb bytes;
  make_odd(&bytes);
  amct_graph *graph = read_ok(&bytes), *again = NULL;
  amct_output *output = NULL;
  amct_error err = {0};
  assert_int_equal(amct_output_open(&output, path, &err), AMCT_OK);
  assert_int_equal(amct_graph_save(graph, output, &err), AMCT_OK);
  assert_int_equal(amct_output_commit(output, &err), AMCT_OK);
  assert_int_equal(amct_graph_load(&again, path, &err), AMCT_OK);
  assert_string_equal(amct_graph_label(again), path);
  assert_encodes_to(again, &bytes);
  amct_graph_free(again);
  amct_graph_free(graph);
  unlink(path);
  assert_int_equal(amct_graph_load(&again, path, &err), AMCT_IO);
  assert_null(again);
  rmdir(folder);
}

/* Each prefix and each changed byte: read or refused, never worse; what is read is
 * written the same. */
static void test_hostile_bytes(void **state) {
  (void)state;
  pb bytes;
  make_odd(&bytes);
  for (size_t i = 0; i < bytes.size; i++) {
    for (int change = -1; change < 256; change++) {
      pb copy = bytes;
      if (change < 0) {
        copy.size = i;
      } else {
        copy.data[i] = (uint8_t)change;
      }
      uint8_t *tight = malloc(copy.size + 1); /* the sanitizer sees a read past the end */
      assert_non_null(tight);
      memcpy(tight, copy.data, copy.size);
      amct_graph *graph = NULL;
      const amct_slice slice = {tight, copy.size};
      const amct_status status = amct_graph_read(&graph, slice, "fuzz", NULL);
      if (status == AMCT_OK) {
        assert_encodes_to(graph, &copy);
      } else if (status != AMCT_BAD_FORMAT && status != AMCT_BAD_GRAPH) {
        fail_msg("byte %zu change %d: %s", i, change, amct_status_name(status));
      }
      amct_graph_free(graph);
      free(tight);
    }
  }
}

static void test_no_memory(void **state) {
  (void)state;
  pb bytes;
  make_odd(&bytes);
  uint64_t n = 0;
  amct_status status;
  do {
    amct_graph *graph = NULL;
    amct_buffer buffer = {0};
    amct_error err = {0};
    amct_alloc_fail_after(++n);
    status = amct_graph_read(&graph, slice_of(&bytes), "test", &err);
    if (status == AMCT_OK) status = amct_graph_verify(graph, &err);
    if (status == AMCT_OK) status = amct_graph_encode(graph, &buffer, &err);
    amct_alloc_fail_after(0);
    if (status != AMCT_OK) assert_int_equal(status, AMCT_OUT_OF_MEMORY);
    assert_int_equal(err.status, status);
    amct_graph_free(graph);
    amct_buffer_free(&buffer);
  } while (status != AMCT_OK);
  assert_true(n > 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_untouched_is_identical),
      cmocka_unit_test(test_edited_node_keeps_the_rest),
      cmocka_unit_test(test_edges_and_uses),
      cmocka_unit_test(test_bad_input),
      cmocka_unit_test(test_empty_graph),
      cmocka_unit_test(test_cycles),
      cmocka_unit_test(test_large_and_deep),
      cmocka_unit_test(test_file_over_4_gib),
      cmocka_unit_test(test_save_and_load),
      cmocka_unit_test(test_hostile_bytes),
      cmocka_unit_test(test_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
