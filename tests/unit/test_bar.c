/* SPDX-License-Identifier: Apache-2.0 */
/* The bar of amct calibrate, at times that the test chooses. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <stdlib.h>
#include <string.h>

#include "cli/bar.h"

/* What a bar writes for one call. */
static void expect_shown(cli_bar *bar, int64_t done, int64_t total, int64_t now_ms,
                         bool stopped, const char *expected) {
  char *text = NULL;
  size_t size = 0;
  bar->to = open_memstream(&text, &size);
  assert_non_null(bar->to);
  cli_bar_show(bar, done, total, now_ms, stopped);
  assert_int_equal(fclose(bar->to), 0);
  assert_string_equal(text, expected);
  free(text);
}

#define WIPED "                \b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b"

static void test_from_nothing_to_all(void **unused) {
  (void)unused;
  cli_bar bar = {0};
  expect_shown(&bar, 0, 1000, 5000, false,
               "\rcalibrating [..............................] 0/1000 samples" WIPED);
  expect_shown(&bar, 20, 1000, 5099, false, ""); /* too soon */
  expect_shown(
      &bar, 100, 1000, 5500, false,
      "\rcalibrating [###...........................] 100/1000 samples, 5 s left   ");
  expect_shown(&bar, 300, 1000, 5599, false, "");
  expect_shown(
      &bar, 333, 1000, 5600, false,
      "\rcalibrating [#########.....................] 333/1000 samples, 2 s left   ");
  expect_shown(
      &bar, 999, 1000, 5700, false,
      "\rcalibrating [#############################.] 999/1000 samples, 1 s left   ");
  expect_shown(&bar, 1000, 1000, 5701, false, /* however soon */
               "\rcalibrating [##############################] 1000/1000 samples" WIPED
               "\n");
}

static void test_stopped(void **unused) {
  (void)unused;
  cli_bar bar = {0};
  expect_shown(&bar, 0, 3, 0, false,
               "\rcalibrating [..............................] 0/3 samples" WIPED);
  expect_shown(
      &bar, 1, 3, 1, true, /* however soon: the error has a line of its own */
      "\rcalibrating [##########....................] 1/3 samples, 1 s left   \n");
}

static void test_large_numbers(void **unused) {
  (void)unused;
  cli_bar bar = {0};
  const int64_t total = INT64_C(1) << 40, started = INT64_C(1) << 41;
  expect_shown(
      &bar, 0, total, started, false,
      "\rcalibrating [..............................] 0/1099511627776 samples" WIPED);
  expect_shown(
      &bar, total / 2, total, started + 3600000, false,
      "\rcalibrating [###############...............] 549755813888/1099511627776 "
      "samples, 3601 s left   ");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_from_nothing_to_all),
      cmocka_unit_test(test_stopped),
      cmocka_unit_test(test_large_numbers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
