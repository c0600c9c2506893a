/* SPDX-License-Identifier: Apache-2.0 */
/* Grids of fake quantization, int8 scales of weights on them, and constants in front of
 * weights. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <math.h>
#include <string.h>

#include "graph/textform.h"
#include "rewrite/constants.h"

static void ranges_are_nudged(void **unused) {
  static const struct {
    float min, max;
    int bits;
    bool narrow, fine;
    int32_t low, last, zero;
    float scale;
  } k_cases[] = {
      {-1, 1.55f, 8, false, true, 0, 255, 100, 0.01f},
      {-1.27f, 1.27f, 8, true, true, 1, 255, 128, 0.01f},
      {0, 6.375f, 8, false, true, 0, 255, 0, 0.025f},
      {1, 3.55f, 8, false, true, 0, 255, 0, 0.01f},            /* zero lies below */
      {-3.55f, -1, 8, true, true, 1, 255, 255, 0.0100393701f}, /* and above */
      {-2, 1.75f, 4, false, true, 0, 15, 8, 0.25f},
      {1, 1, 8, false, false, 0, 0, 0, 0},
      {2, 1, 8, false, false, 0, 0, 0, 0},
      {-INFINITY, 1, 8, false, false, 0, 0, 0, 0},
      {NAN, 1, 8, false, false, 0, 0, 0, 0},
      {-3e38f, 3e38f, 8, false, false, 0, 0, 0, 0}, /* the difference overflows */
      {0, 1e-44f, 8, false, false, 0, 0, 0, 0},
  };
  (void)unused;
  for (size_t i = 0; i < sizeof k_cases / sizeof *k_cases; i++) {
    amct_nudged grid;
    assert_int_equal(amct_nudge(&grid, k_cases[i].min, k_cases[i].max, k_cases[i].bits,
                                k_cases[i].narrow),
                     k_cases[i].fine);
    if (!k_cases[i].fine) continue;
    assert_int_equal(grid.low, k_cases[i].low);
    assert_int_equal(grid.last, k_cases[i].last);
    assert_int_equal(grid.zero, k_cases[i].zero);
    assert_float_equal(grid.scale, k_cases[i].scale, 1e-8);
  }
}

static void values_go_to_the_grid(void **unused) {
  static const float x[] = {-9, -1.004f, -0.996f, 0, 0.004f, 0.006f, 1.55f, 9};
  static const int32_t steps[] = {-100, -100, -100, 0, 0, 1, 155, 155};
  const amct_nudged grid = {0.01f, 0, 255, 100};
  float y[8];
  (void)unused;
  amct_nudged_apply(y, x, 8, &grid);
  for (size_t i = 0; i < 8; i++)
    assert_true(y[i] == (float)steps[i] * 0.01f);
}

/* Two channels of three weights; a ratio: of the scale to the grid's, 0 where it is 1. */
static void check_scales(const float w[6], const double *factor, bool per_channel,
                         const float *wanted, size_t count, bool fit) {
  const amct_nudged grid = {0.5f, 0, 255, 128};
  const amct_nudged_weights of = {w, {3, 2, 1}, &grid, 1, factor, per_channel};
  float scale[3];
  size_t found = 0;
  bool exact = !fit;
  assert_int_equal(amct_nudged_scales(scale, &found, &exact, &of, NULL), AMCT_OK);
  assert_int_equal(found, count);
  assert_int_equal(exact, fit);
  for (size_t c = 0; c < count; c++)
    assert_true(scale[c] == wanted[c]);
}

/* 200 steps, of j: the scale of the grid times 200/128*(1 + j/1024). */
static float raised(int largest, int j) {
  return (float)(largest * (1024 + j) / (1024 * 128.0) * 0.5);
}

static void scales_of_weights(void **unused) {
  static const float fits[] = {63.5f, 1, 0, -64, -0.5f, 2};
  static const float wide[] = {100, 1, 0, -64, -0.5f, 2}; /* 200, -1 steps */
  static const float dead[] = {0, 1, 0, -64, 0, 2};
  static const double both[] = {2, -2}, other[] = {1, 3}, none[] = {0, 1};
  (void)unused;
  check_scales(fits, NULL, true, (const float[]){0.5f}, 1, true);
  check_scales(fits, both, true, (const float[]){1, raised(128, 8) * 2}, 2,
               false); /* 128, -2, -4 steps */
  check_scales(fits, other, true, (const float[]){0.5f, 1.5f}, 2, true);
  check_scales(fits, other, false, (const float[]){1.5f}, 1, true);
  check_scales(wide, NULL, true, (const float[]){raised(200, 8), 0.5f}, 2, false);
  check_scales(wide, NULL, false, (const float[]){raised(200, 126)}, 1, false);
  check_scales(dead, NULL, true, (const float[]){0.5f}, 1, true);
  check_scales(dead, other, true, (const float[]){1.5f}, 1, true);
  check_scales(fits, none, true, (const float[]){1, 0.5f}, 2, true);
}

static void losses_are_measured(void **unused) {
  static const float w[] = {100, 1, 0, -64, -0.5f, 2}; /* in steps: 200 0 -1, 2 -128 4 */
  static const int8_t q[] = {127, 1, 0, -64, 0, 2};
  static const float scales[] = {0.75f, 1};
  static const double factor[] = {-1, 1};
  const amct_nudged grid = {0.5f, 0, 255, 128};
  amct_nudged_weights of = {w, {3, 2, 1}, &grid, 1, NULL, true};
  (void)unused;
  amct_nudged_loss loss = amct_nudged_missed(&of, q, scales, 2);
  assert_int_equal(loss.channels, 1);
  assert_true(loss.largest == (100 - 127 * 0.75) / 0.5);
  loss = amct_nudged_missed(&of, q, scales + 1, 1);
  assert_int_equal(loss.channels, 1);
  assert_true(loss.largest == 54);
  of.factor = factor;
  loss = amct_nudged_missed(&of, q, scales + 1, 1); /* the first with the other sign */
  assert_true(loss.largest == 227 / 0.5);
}

static void weights_are_split(void **unused) {
  static const float wide[] = {100, 1, 0, -127, -0.5f, 2}, fits[] = {63.5f, -64};
  static const float most[] = {127, 127.5f}; /* 254, 255 steps */
  const amct_nudged grid = {0.5f, 0, 255, 128};
  amct_nudged_weights of = {wide, {3, 2, 1}, &grid, 1, NULL, true};
  float held[6], rest[6];
  (void)unused;
  assert_true(amct_nudged_split(held, rest, &of));
  for (size_t i = 0; i < 6; i++) {
    assert_true(held[i] + rest[i] == wide[i]);
    assert_true(held[i] == (i == 0 ? 63.5f : i == 3 ? -64 : wide[i]));
  }
  of = (amct_nudged_weights){fits, {2, 1, 1}, &grid, 1, NULL, true};
  assert_false(amct_nudged_split(held, rest, &of));
  of = (amct_nudged_weights){most, {1, 1, 1}, &grid, 1, NULL, true};
  assert_true(amct_nudged_split(held, rest, &of));
  of.layout.outer = 2;
  assert_false(amct_nudged_split(held, rest, &of));
}

static void weights_are_finite(void **unused) {
  const float w[] = {1, NAN};
  const amct_nudged grid = {0.5f, 0, 255, 128};
  const amct_nudged_weights of = {w, {1, 2, 1}, &grid, 1, NULL, true};
  float scale[3];
  size_t count;
  bool exact;
  (void)unused;
  assert_int_equal(amct_nudged_scales(scale, &count, &exact, &of, NULL),
                   AMCT_UNSUPPORTED);
}

static const char k_graph[] =
    "x = Placeholder() {shape=[?,2]}\n"
    "w = Const() {value=float[2,2](1,2,3,4)}\n"
    "k = Const() {value=float[2](4,16)}\n"
    "s = Const() {value=int32[2](1,-1)}\n"
    "bad = Const() {value=int32[2](3,-1)}\n"
    "low = Const() {value=float[](-127)}\n"
    "high = Const() {value=float[](127)}\n"
    "late = Const(^x) {value=float[2](1,1)}\n"
    "root = Rsqrt(k)\n"
    "row = Reshape(root, s)\n"
    "scaled = Mul(w, row)\n"
    "fake = FakeQuantWithMinMaxVars(scaled, low, high) {narrow_range=true}\n"
    "y = MatMul(x, fake)\n"
    "wrong = Reshape(root, bad)\n"
    "unfit = Mul(w, wrong)\n"
    "z = MatMul(x, unfit)\n"
    "column = Reshape(k, down)\n"
    "down = Const() {value=int32[2](-1,1)}\n"
    "outer = Mul(k, column)\n"
    "v = MatMul(x, outer)\n"
    "waits = Mul(late, k)\n"
    "u = MatMul(x, waits)\n";

static void constants_fold(void **unused) {
  static const char *const k_stay[] = {"unfit", "outer", "waits", "row"};
  amct_graph *graph = NULL;
  amct_tensor tensor;
  amct_arena arena = {0};
  const float *values = NULL;
  (void)unused;
  assert_int_equal(amct_graph_from_text(&graph, amct_slice_of(k_graph), NULL), AMCT_OK);
  assert_int_equal(amct_constants_fold(graph, NULL), AMCT_OK);
  assert_int_equal(amct_graph_verify(graph, NULL), AMCT_OK);
  const amct_node *fake = amct_graph_find(graph, "fake");
  assert_string_equal(fake->op, "Const");
  assert_int_equal(amct_const_tensor(fake, &tensor, NULL), AMCT_OK);
  assert_int_equal(amct_tensor_floats(&tensor, &arena, &values, fake, NULL), AMCT_OK);
  const float wanted[] = {1, 1, 2, 1}; /* 0.5, 0.5, 1.5, 1: halves go up */
  for (size_t i = 0; i < 4; i++)
    assert_true(values[i] == wanted[i]);
  for (size_t i = 0; i < sizeof k_stay / sizeof *k_stay; i++)
    assert_string_not_equal(amct_graph_find(graph, k_stay[i])->op, "Const");
  amct_arena_free(&arena);
  amct_graph_free(graph);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ranges_are_nudged), cmocka_unit_test(values_go_to_the_grid),
      cmocka_unit_test(scales_of_weights), cmocka_unit_test(losses_are_measured),
      cmocka_unit_test(weights_are_split), cmocka_unit_test(weights_are_finite),
      cmocka_unit_test(constants_fold),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
