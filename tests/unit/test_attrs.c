/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes and constants in every encoding, against bytes assembled by hand. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "graph/attrs.h"
#include "unit/graph_bytes.h"

/* A graph of the one node `n`, whose attributes are in `node`; `bytes` must outlive it.
 */
static amct_graph *graph_of(const pb *attrs, pb *bytes) {
  pb node = {.size = 0};
  amct_graph *graph = NULL;
  amct_error err = {0};
  pb_text(&node, 1, "n");
  pb_text(&node, 2, "Const");
  pb_raw(&node, attrs->data, attrs->size);
  bytes->size = 0;
  pb_message(bytes, 1, &node);
  const amct_slice slice = {bytes->data, bytes->size};
  if (amct_graph_read(&graph, slice, "test", &err) != AMCT_OK) fail_msg("%s", err.text);
  return graph;
}

static void put(pb *node, const char *key, const void *value, size_t size) {
  pb message = {.size = 0};
  pb_raw(&message, value, size);
  pb_attr(node, key, &message);
}
#define PUT(node, key, bytes) put(node, key, bytes, sizeof bytes - 1)

static void test_kinds(void **state) {
  (void)state;
  pb node = {.size = 0}, bytes;
  PUT(&node, "i", "\x18\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"); /* -2 */
  PUT(&node, "f", "\x25\x00\x00\xc0\x3f");                         /* 1.5 */
  PUT(&node, "b", "\x28\x01");
  PUT(&node, "b0", "\x28\x00");
  PUT(&node, "s", "\x12\x04SAME");
  PUT(&node, "t", "\x30\x13");   /* half */
  PUT(&node, "ref", "\x30\x65"); /* float reference */
  PUT(&node, "empty", "");
  PUT(&node, "two", "\x18\x05\x28\x01"); /* the last of a oneof counts */
  PUT(&node, "key", "\x18\x01");
  PUT(&node, "key", "\x18\x02"); /* the last of a key counts */
  amct_graph *graph = graph_of(&node, &bytes);
  const amct_node *n = amct_graph_at(graph, 0);
  int64_t i = 0;
  float f = 0;
  bool b = false;
  amct_slice s, key, value;
  amct_dtype t = AMCT_DTYPE_INVALID;
  assert_true(amct_attr_int(n, "i", &i) && i == -2);
  assert_true(amct_attr_float(n, "f", &f) && f == 1.5f);
  assert_true(amct_attr_bool(n, "b", &b) && b);
  assert_true(amct_attr_bool(n, "b0", &b) && !b);
  assert_true(amct_attr_text(n, "s", &s) && amct_slice_equal(s, amct_slice_of("SAME")));
  assert_true(amct_attr_type(n, "t", &t) && t == AMCT_DTYPE_HALF);
  assert_true(amct_attr_type(n, "ref", &t) &&
              (int)t == AMCT_DTYPE_REF + AMCT_DTYPE_FLOAT);
  assert_true(amct_attr_int(n, "key", &i) && i == 2);
  assert_true(amct_attr_bool(n, "two", &b) && b);
  assert_false(amct_attr_int(n, "two", &i));
  assert_false(amct_attr_int(n, "f", &i));
  assert_false(amct_attr_int(n, "empty", &i));
  assert_false(amct_attr_int(n, "none", &i));
  assert_false(amct_attr_float(n, "i", &f));
  assert_false(amct_attr_text(n, "i", &s));
  assert_true(amct_attr_has(n, "empty"));
  assert_false(amct_attr_has(n, "none"));
  assert_true(amct_attr_is(n, "s", "SAME", false));
  assert_false(amct_attr_is(n, "s", "VALID", true));
  assert_true(amct_attr_is(n, "none", "SAME", true));
  assert_false(amct_attr_is(n, "none", "SAME", false));
  assert_false(amct_attr_is(n, "i", "SAME", true));
  assert_true(amct_attr_raw(n, "b", &value) && value.size == 2 && value.data[1] == 1);
  assert_true(amct_attr_at(n, 1, &key, &value) &&
              amct_slice_equal(key, amct_slice_of("f")));
  assert_false(amct_attr_at(n, 11, &key, &value));
  amct_graph_free(graph);
}

static void test_shapes(void **state) {
  (void)state;
  pb node = {.size = 0}, bytes;
  PUT(&node, "s",
      "\x3a\x13\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x00\x12\x02\x08"
      "\x07"); /* [?,0,7] */
  PUT(&node, "scalar", "\x3a\x00");
  PUT(&node, "unknown", "\x3a\x02\x18\x01");
  PUT(&node, "named", "\x3a\x07\x12\x05\x08\x03\x12\x01x");
  PUT(&node, "below", "\x3a\x0d\x12\x0b\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01");
  PUT(&node, "nine",
      "\x3a\x12\x12\x00\x12\x00\x12\x00\x12\x00\x12\x00\x12\x00\x12\x00\x12\x00\x12\x00");
  PUT(&node, "cut", "\x3a\x02\x12\x05");
  PUT(&node, "int", "\x18\x01");
  amct_graph *graph = graph_of(&node, &bytes);
  const amct_node *n = amct_graph_at(graph, 0);
  amct_shape s;
  assert_true(amct_attr_shape(n, "s", &s));
  assert_int_equal(s.rank, 3);
  assert_true(s.dims[0] == -1 && s.dims[1] == 0 && s.dims[2] == 7);
  assert_true(amct_attr_shape(n, "scalar", &s) && s.rank == 0);
  assert_true(amct_attr_shape(n, "unknown", &s) && s.rank == -1);
  assert_true(amct_attr_shape(n, "named", &s) && s.rank == 1 && s.dims[0] == 3);
  assert_false(amct_attr_shape(n, "below", &s));
  assert_false(amct_attr_shape(n, "nine", &s));
  assert_false(amct_attr_shape(n, "cut", &s));
  assert_false(amct_attr_shape(n, "int", &s));
  amct_graph_free(graph);
}

static void test_int_lists(void **state) {
  (void)state;
  pb node = {.size = 0}, bytes;
  PUT(&node, "packed", "\x0a\x06\x1a\x04\x01\x02\xac\x02");
  PUT(&node, "loose", "\x0a\x04\x18\x01\x18\x02");
  PUT(&node, "both", "\x0a\x07\x18\x09\x1a\x01\x08\x18\x07");
  PUT(&node, "none", "\x0a\x00");
  PUT(&node, "texts", "\x0a\x03\x12\x01x");
  PUT(&node, "cut", "\x0a\x03\x1a\x01\x80");
  PUT(&node, "many",
      "\x0a\x13\x1a\x11\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01"
      "\x01");
  amct_graph *graph = graph_of(&node, &bytes);
  const amct_node *n = amct_graph_at(graph, 0);
  amct_ints v;
  assert_true(amct_attr_ints(n, "packed", &v));
  assert_true(v.count == 3 && v.at[0] == 1 && v.at[1] == 2 && v.at[2] == 300);
  assert_true(amct_attr_ints(n, "loose", &v) && v.count == 2 && v.at[1] == 2);
  assert_true(amct_attr_ints(n, "both", &v) && v.count == 3);
  assert_true(v.at[0] == 9 && v.at[1] == 8 && v.at[2] == 7);
  assert_true(amct_attr_ints(n, "none", &v) && v.count == 0);
  assert_false(amct_attr_ints(n, "texts", &v));
  assert_false(amct_attr_ints(n, "cut", &v));
  assert_false(amct_attr_ints(n, "many", &v)); /* 17 */
  assert_false(amct_attr_ints(n, "absent", &v));
  amct_graph_free(graph);
}

/* TensorProto { dtype: shape: } followed by `values`, as attribute `value`. */
static void put_const(pb *node, unsigned dtype, const int64_t *dims, size_t rank,
                      const void *values, size_t size) {
  pb tensor = {.size = 0}, shape = {.size = 0}, value = {.size = 0};
  for (size_t i = 0; i < rank; i++) {
    pb dim = {.size = 0};
    pb_int(&dim, 1, (uint64_t)dims[i]);
    pb_message(&shape, 2, &dim);
  }
  pb_int(&tensor, 1, dtype);
  pb_message(&tensor, 2, &shape);
  pb_raw(&tensor, values, size);
  pb_message(&value, 8, &tensor);
  pb_attr(node, "value", &value);
}

typedef struct value_case {
  const char *why;
  unsigned dtype;
  int64_t count;
  const char *bytes;
  size_t size;
  double wanted[4];
} value_case;

#define VALUES(why, dtype, count, bytes, ...)                                            \
  {                                                                                      \
    why, dtype, count, bytes, sizeof bytes - 1, {                                        \
      __VA_ARGS__                                                                        \
    }                                                                                    \
  }

// clang-format off
static const value_case k_reals[] = {
    VALUES("float content", 1, 2, "\x22\x08\x00\x00\x80\x3f\x00\x00\x00\xc0", 1, -2),
    VALUES("float packed", 1, 2, "\x2a\x08\x00\x00\x80\x3f\x00\x00\x00\xc0", 1, -2),
    VALUES("float one by one", 1, 2, "\x2d\x00\x00\x80\x3f\x2d\x00\x00\x00\xc0", 1, -2),
    VALUES("float one repeated", 1, 4, "\x2d\x00\x00\x00\xc0", -2, -2, -2, -2),
    VALUES("float last repeated", 1, 4, "\x2a\x08\x00\x00\x80\x3f\x00\x00\x00\xc0", 1, -2, -2, -2),
    VALUES("float mixed runs", 1, 3, "\x2a\x04\x00\x00\x80\x3f\x2d\x00\x00\x00\xc0\x2a\x04\x00\x00\x00\x3f", 1, -2, 0.5),
    VALUES("float none", 1, 3, "", 0, 0, 0),
    VALUES("float other fields ignored", 1, 2, "\x3a\x01\x05\x2d\x00\x00\x80\x3f", 1, 1),
    VALUES("double content", 2, 1, "\x22\x08\x00\x00\x00\x00\x00\x00\x04\xc0", -2.5),
    VALUES("double packed", 2, 2, "\x32\x08\x00\x00\x00\x00\x00\x00\x04\xc0", -2.5, -2.5),
    VALUES("double one by one", 2, 1, "\x31\x00\x00\x00\x00\x00\x00\x04\xc0", -2.5),
    VALUES("half content", 19, 4, "\x22\x08\x00\x3c\x00\xc0\x01\x00\xff\x7b", 1, -2, 0x1p-24, 65504),
    VALUES("half values", 19, 4, "\x6a\x07\x80\x78\x80\x80\x02\x80\x08", 1, -0.0, 0x1p-14, 0x1p-14),
    VALUES("half one by one", 19, 2, "\x68\xff\x07", 1023 * 0x1p-24, 1023 * 0x1p-24),
    VALUES("half infinity", 19, 2, "\x6a\x06\x80\xf8\x01\x80\xf8\x03", HUGE_VAL, -HUGE_VAL),
    VALUES("bfloat16 content", 14, 2, "\x22\x04\x80\x3f\x20\xc0", 1, -2.5),
    VALUES("bfloat16 values", 14, 2, "\x6a\x02\x80\x7f", 1, 1),
};

static const value_case k_ints[] = {
    VALUES("int32 content", 3, 2, "\x22\x08\x01\x00\x00\x00\xff\xff\xff\xff", 1, -1),
    VALUES("int32 packed", 3, 2, "\x3a\x03\x05\xac\x02", 5, 300),
    VALUES("int32 negative", 3, 1, "\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", -1),
    VALUES("int32 negative in 5 bytes", 3, 1, "\x38\xff\xff\xff\xff\x0f", -1),
    VALUES("int32 repeated", 3, 3, "\x38\x07", 7, 7, 7),
    VALUES("int32 none", 3, 2, "", 0, 0),
    VALUES("int64 content", 9, 1, "\x22\x08\xfe\xff\xff\xff\xff\xff\xff\xff", -2),
    VALUES("int64 packed", 9, 2, "\x52\x06\x80\x80\x80\x80\x10\x01", 4294967296.0, 1),
    VALUES("int64 one by one", 9, 2, "\x50\x01\x50\x02", 1, 2),
    VALUES("int16 content", 5, 1, "\x22\x02\x00\x80", -32768),
    VALUES("int8 values", 6, 1, "\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", -1),
    VALUES("uint8 values", 4, 1, "\x38\xff\x01", 255),
    VALUES("bool packed", 10, 3, "\x5a\x02\x01\x00", 1, 0, 0),
    VALUES("bool one by one", 10, 2, "\x58\x00\x58\x01", 0, 1),
    VALUES("bool content", 10, 2, "\x22\x02\x01\x00", 1, 0),
    VALUES("uint32 values", 22, 1, "\x82\x01\x05\xff\xff\xff\xff\x0f", 4294967295.0),
    VALUES("uint64 values", 23, 1, "\x8a\x01\x01\x09", 9),
};
// clang-format on

static void test_reals(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof k_reals / sizeof k_reals[0]; i++) {
    const value_case *c = &k_reals[i];
    pb node = {.size = 0}, bytes;
    put_const(&node, c->dtype, &c->count, 1, c->bytes, c->size);
    amct_graph *graph = graph_of(&node, &bytes);
    amct_tensor tensor;
    amct_arena arena = {0};
    const float *values = NULL;
    const int64_t *ints = NULL;
    amct_error err = {0};
    const amct_node *n = amct_graph_at(graph, 0);
    if (amct_const_tensor(n, &tensor, &err) != AMCT_OK ||
        amct_tensor_floats(&tensor, &arena, &values, n, &err) != AMCT_OK)
      fail_msg("%s: %s", c->why, err.text);
    assert_int_equal(tensor.dtype, c->dtype);
    assert_int_equal(tensor.count, c->count);
    for (int64_t k = 0; k < c->count; k++) {
      const float wanted = (float)c->wanted[k];
      if (memcmp(&values[k], &wanted, 4) != 0)
        fail_msg("%s: [%d] = %g", c->why, (int)k, (double)values[k]);
    }
    assert_int_equal(amct_tensor_ints(&tensor, &arena, &ints, n, NULL), AMCT_UNSUPPORTED);
    amct_arena_free(&arena);
    amct_graph_free(graph);
  }
}

static void test_ints(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof k_ints / sizeof k_ints[0]; i++) {
    const value_case *c = &k_ints[i];
    pb node = {.size = 0}, bytes;
    put_const(&node, c->dtype, &c->count, 1, c->bytes, c->size);
    amct_graph *graph = graph_of(&node, &bytes);
    amct_tensor tensor;
    amct_arena arena = {0};
    const float *floats = NULL;
    const int64_t *values = NULL;
    amct_error err = {0};
    const amct_node *n = amct_graph_at(graph, 0);
    if (amct_const_tensor(n, &tensor, &err) != AMCT_OK ||
        amct_tensor_ints(&tensor, &arena, &values, n, &err) != AMCT_OK)
      fail_msg("%s: %s", c->why, err.text);
    for (int64_t k = 0; k < c->count; k++) {
      if (values[k] != (int64_t)c->wanted[k])
        fail_msg("%s: [%d] = %lld", c->why, (int)k, (long long)values[k]);
    }
    assert_int_equal(amct_tensor_floats(&tensor, &arena, &floats, n, NULL),
                     AMCT_UNSUPPORTED);
    amct_arena_free(&arena);
    amct_graph_free(graph);
  }
}

typedef struct bad_const {
  const char *why;
  unsigned dtype;
  int64_t dims[9];
  size_t rank;
  const char *bytes;
  size_t size;
  amct_status status;
} bad_const;

#define DIM_MAX INT64_MAX
#define BAD(why, dtype, dims, rank, bytes, status)                                       \
  { why, dtype, {DIMS dims}, rank, bytes, sizeof bytes - 1, AMCT_##status }
#define DIMS(...) __VA_ARGS__

// clang-format off
static const bad_const k_bad[] = {
    BAD("content too short", 1, (2), 1, "\x22\x04\x00\x00\x80\x3f", BAD_FORMAT),
    BAD("content too long", 1, (1), 1, "\x22\x08\x00\x00\x80\x3f\x00\x00\x80\x3f", BAD_FORMAT),
    BAD("more values than elements", 1, (1), 1, "\x2a\x08\x00\x00\x80\x3f\x00\x00\x80\x3f", BAD_FORMAT),
    BAD("values of an empty tensor", 3, (0), 1, "\x38\x01", BAD_FORMAT),
    BAD("negative dimension", 1, (2, -1), 2, "", BAD_FORMAT),
    BAD("dimension below -1", 1, (-7), 1, "", BAD_FORMAT),
    BAD("elements beyond 64 bits", 1, (DIM_MAX, DIM_MAX, 3), 3, "", BAD_FORMAT),
    BAD("elements beyond memory", 2, (DIM_MAX / 4), 1, "", BAD_FORMAT),
    BAD("packed run is cut", 1, (2), 1, "\x2a\x05\x00\x00\x80\x3f\x00", BAD_FORMAT),
    BAD("packed varint is cut", 3, (2), 1, "\x3a\x01\x80", BAD_FORMAT),
    BAD("packed varint of 11 bytes", 3, (2), 1, "\x3a\x0b\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", BAD_FORMAT),
    BAD("tensor is cut", 1, (2), 1, "\x22\x09", BAD_FORMAT),
    BAD("rank 9", 1, (1, 1, 1, 1, 1, 1, 1, 1, 1), 9, "", UNSUPPORTED),
    BAD("few bytes, many elements", 1, (((int64_t)1 << 24) + 1), 1, "\x2d\x00\x00\x80\x3f", UNSUPPORTED),
    BAD("no bytes, very many elements", 19, (1 << 20, 1 << 20), 2, "", UNSUPPORTED),
};
// clang-format on

static void test_bad_constants(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof k_bad / sizeof k_bad[0]; i++) {
    const bad_const *c = &k_bad[i];
    pb node = {.size = 0}, bytes;
    put_const(&node, c->dtype, c->dims, c->rank, c->bytes, c->size);
    amct_graph *graph = graph_of(&node, &bytes);
    amct_tensor tensor;
    amct_arena arena = {0};
    const float *values;
    amct_error err = {0};
    const amct_node *n = amct_graph_at(graph, 0);
    amct_status status = amct_const_tensor(n, &tensor, &err);
    if (status == AMCT_OK) status = amct_tensor_floats(&tensor, &arena, &values, n, &err);
    if (status != c->status || strcmp(err.node, "n") != 0)
      fail_msg("%s: %s, node '%s': %s", c->why, amct_status_name(status), err.node,
               err.text);
    amct_arena_free(&arena);
    amct_graph_free(graph);
  }
}

static void test_shape_of_a_constant(void **state) {
  (void)state;
  pb node = {.size = 0}, bytes, tensor = {.size = 0}, value = {.size = 0};
  pb_raw(&tensor, "\x08\x01\x2d\x00\x00\x80\x3f", 7); /* no shape: a scalar */
  pb_message(&value, 8, &tensor);
  pb_attr(&node, "value", &value);
  PUT(&node, "dtype", "\x30\x01");
  amct_graph *graph = graph_of(&node, &bytes);
  amct_tensor t;
  assert_int_equal(amct_const_tensor(amct_graph_at(graph, 0), &t, NULL), AMCT_OK);
  assert_true(t.count == 1 && t.shape.rank == 0);
  amct_graph_free(graph);

  PUT(&node, "dtype", "\x30\x02"); /* says double */
  graph = graph_of(&node, &bytes);
  assert_int_equal(amct_const_tensor(amct_graph_at(graph, 0), &t, NULL), AMCT_BAD_FORMAT);
  amct_graph_free(graph);

  const int64_t empty[] = {DIM_MAX, DIM_MAX, 0};
  node.size = 0;
  put_const(&node, 1, empty, 3, "", 0);
  graph = graph_of(&node, &bytes);
  amct_arena arena = {0};
  const float *values = NULL;
  assert_int_equal(amct_const_tensor(amct_graph_at(graph, 0), &t, NULL), AMCT_OK);
  assert_int_equal(t.count, 0);
  assert_int_equal(amct_tensor_floats(&t, &arena, &values, amct_graph_at(graph, 0), NULL),
                   AMCT_OK);
  assert_non_null(values);
  amct_arena_free(&arena);
  amct_graph_free(graph);

  node.size = 0;
  PUT(&node, "value", "\x18\x01"); /* no tensor */
  graph = graph_of(&node, &bytes);
  assert_int_equal(amct_const_tensor(amct_graph_at(graph, 0), &t, NULL), AMCT_BAD_FORMAT);
  amct_graph_free(graph);
}

/* Expanding at every alignment of the content, and with each allocation failing. */
static void test_alignment_and_memory(void **state) {
  (void)state;
  const int64_t two = 2;
  for (size_t shift = 0; shift < 4; shift++) {
    pb node = {.size = 0}, bytes;
    pb_bytes(&node, 99, "xxxx", shift);
    put_const(&node, 1, &two, 1, "\x22\x08\x00\x00\x80\x3f\x00\x00\x00\xc0", 10);
    amct_graph *graph = graph_of(&node, &bytes);
    amct_tensor tensor;
    amct_arena arena = {0};
    const float *values = NULL;
    const amct_node *n = amct_graph_at(graph, 0);
    assert_int_equal(amct_const_tensor(n, &tensor, NULL), AMCT_OK);
    amct_alloc_fail_after(1);
    amct_status status = amct_tensor_floats(&tensor, &arena, &values, n, NULL);
    amct_alloc_fail_after(0);
    if (status == AMCT_OUT_OF_MEMORY)
      status = amct_tensor_floats(&tensor, &arena, &values, n, NULL);
    assert_int_equal(status, AMCT_OK);
    assert_true(values[0] == 1 && values[1] == -2);
    amct_arena_free(&arena);
    amct_graph_free(graph);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_kinds),
      cmocka_unit_test(test_shapes),
      cmocka_unit_test(test_int_lists),
      cmocka_unit_test(test_reals),
      cmocka_unit_test(test_ints),
      cmocka_unit_test(test_bad_constants),
      cmocka_unit_test(test_shape_of_a_constant),
      cmocka_unit_test(test_alignment_and_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
