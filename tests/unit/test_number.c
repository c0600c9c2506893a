/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as text; oracles: strtof, strtod, strtoll of the C library. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"

enum { ROUNDS = 200000 };

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
  uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

static void is_as_printf_says(float value) {
  char text[AMCT_NUMBER_BYTES], six[64], nine[64];
  amct_number_print_float(text, value);
  snprintf(six, sizeof six, "%.6g", (double)value);
  snprintf(nine, sizeof nine, "%.9g", (double)value);
  assert_string_equal(text, strtof(six, NULL) == value ? six : nine);
}

static void floats_round_trip(void **unused) {
  (void)unused;
  uint64_t random = 11;
  for (int i = 0; i < ROUNDS; i++) {
    uint32_t bits = (uint32_t)next_random(&random);
    float value = 0;
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value)) continue;
    is_as_printf_says(value);
    char text[AMCT_NUMBER_BYTES];
    amct_number_print_float(text, value);
    double back = 0;
    assert_true(amct_number_read_double(amct_slice_of(text), &back));
    float narrowed = (float)back;
    assert_memory_equal(&narrowed, &value, sizeof value);
  }
}

/* Scales, means and biases: 1e-13 to 1e8, of few digits too, powers of two, and what is
 * next to powers of ten. */
static void usual_floats_are_as_printf_says(void **unused) {
  (void)unused;
  uint64_t random = 17;
  for (int i = 0; i < ROUNDS; i++) {
    const uint64_t bits = next_random(&random);
    const double power = pow(10, (double)(bits % 22) - 13);
    is_as_printf_says((float)((double)(bits >> 32) / 4294967296.0 * power));
    is_as_printf_says((float)(-(double)(bits >> 44) / 1000 * power));
    is_as_printf_says((float)((double)(bits >> 57) * power));
  }
  for (int exponent = -45; exponent <= 30; exponent++) {
    const float two = ldexpf(1, exponent), ten = (float)pow(10, exponent / 3);
    const float values[] = {two, ten};
    for (int i = 0; i < 2; i++) {
      is_as_printf_says(values[i]);
      is_as_printf_says(nextafterf(values[i], 0));
      is_as_printf_says(nextafterf(values[i], INFINITY));
    }
  }
  is_as_printf_says(0.0f);
  is_as_printf_says(-0.0f);
}

/* Of all lengths and exponents, around what is exact in a double. */
static void short_numerals_read_as_strtod_reads_them(void **unused) {
  (void)unused;
  uint64_t random = 19;
  for (int i = 0; i < ROUNDS; i++) {
    const uint64_t bits = next_random(&random);
    char text[64];
    snprintf(text, sizeof text, "%.*f%s%d", (int)(bits % 12),
             (double)(bits >> 40) / 1000 * pow(10, (double)(bits >> 8 & 7)),
             bits & 1 ? "e" : "e-", (int)(bits >> 16 & 31));
    double found = 0, wanted = strtod(text, NULL);
    assert_true(amct_number_read_double(amct_slice_of(text), &found));
    assert_memory_equal(&found, &wanted, sizeof found);
  }
}

static void doubles_round_trip(void **unused) {
  (void)unused;
  uint64_t random = 13;
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t bits = next_random(&random);
    if (i % 4 == 0) bits &= UINT64_C(0x800FFFFFFFFFFFFF); /* subnormal */
    double value = 0;
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value)) continue;
    char text[AMCT_NUMBER_BYTES];
    amct_number_print_double(text, value);
    double by_library = strtod(text, NULL);
    double by_us = 0;
    assert_true(amct_number_read_double(amct_slice_of(text), &by_us));
    assert_memory_equal(&by_library, &value, sizeof value);
    assert_memory_equal(&by_us, &value, sizeof value);
  }
}

static void known_values_print_as_people_write_them(void **unused) {
  (void)unused;
  static const struct {
    double value;
    const char *text;
  } cases[] = {
      {0.999999, "0.999999"},
      {0.1, "0.1"},
      {100, "100"},
      {1e100, "1e+100"},
      {-0.0, "-0"},
      {5e-324, "5e-324"},
      {1.0 / 3, "0.3333333333333333"},
      {0.7, "0.7"},
      {(double)INFINITY, "inf"},
      {-(double)INFINITY, "-inf"},
      {(double)NAN, "nan"},
      {-(double)NAN, "nan"},
  };
  char text[AMCT_NUMBER_BYTES];
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    amct_number_print_double(text, cases[i].value);
    assert_string_equal(text, cases[i].text);
  }
  static const struct {
    float value;
    const char *text;
  } floats[] = {
      /* as a record file of the original has them */
      {0.0235294122f, "0.0235294122"},
      {0.0128474627f, "0.0128474627"},
      {0.018680146f, "0.018680146"},
      {0.019320868f, "0.019320868"},
      {0.5f, "0.5"},
      {-INFINITY, "-inf"},
      {NAN, "nan"},
      {1e-45f, "1.4013e-45"},
  };
  for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) {
    amct_number_print_float(text, floats[i].value);
    assert_string_equal(text, floats[i].text);
  }
}

/* Oracle: what Python 3 prints. */
static void doubles_are_printed_as_python_prints_them(void **unused) {
  (void)unused;
  static const struct {
    double value;
    const char *text;
  } cases[] = {{0, "0.0"},
               {-0.0, "-0.0"},
               {1, "1.0"},
               {0.7, "0.7"},
               {0.1 + 0.2, "0.30000000000000004"},
               {0.012345678901234567, "0.012345678901234567"},
               {1e-4, "0.0001"},
               {0.00012345678901234567, "0.00012345678901234567"},
               {1e-5, "1e-05"},
               {5.9604644775390625e-08, "5.960464477539063e-08"}, /* 2^-24 */
               {-7.120236347223045e-307, "-7.120236347223045e-307"},
               {1.25e-300, "1.25e-300"},
               {5e-324, "5e-324"},
               {1e15, "1000000000000000.0"},
               {-9007199254740993.0, "-9007199254740992.0"},
               {9999999999999998.0, "9999999999999998.0"},
               {1e16, "1e+16"},
               {1.5e22, "1.5e+22"},
               {1.7976931348623157e308, "1.7976931348623157e+308"},
               {3.4028235e38, "3.4028235e+38"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[AMCT_NUMBER_BYTES];
    amct_number_print_repr(text, cases[i].value);
    assert_string_equal(text, cases[i].text);
  }
}

static void doubles_are_read_whole_or_not_at_all(void **unused) {
  (void)unused;
  static const struct {
    const char *text;
    double value;
  } good[] = {
      {"1", 1},
      {"-1", -1},
      {"1e-3", 1e-3},
      {"1E+3", 1000},
      {".5", 0.5},
      {"5.", 5},
      {"0.5f", 0.5},
      {"2F", 2},
      {"1e2f", 100},
      {"-0.25", -0.25},
      {"1e999", (double)INFINITY},
      {"inf", (double)INFINITY},
      {"-Infinity", -(double)INFINITY},
      {"INF", (double)INFINITY},
      {"1e-999", 0},
  };
  double value = 0;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_true(amct_number_read_double(amct_slice_of(good[i].text), &value));
    assert_true(value == good[i].value);
  }
  assert_true(amct_number_read_double(amct_slice_of("nan"), &value));
  assert_true(isnan(value));

  static const char *const bad[] = {
      "",    "-",    ".",     "e5",    "1e",  "1e+",  "+1",  " 1",      "1 ",
      "--1", "0x10", "1.2.3", "1ff",   "f",   "infx", "in",  "infinit", "nan(1)",
      "1,5", "1f2",  "-.",    "1e1.5", "017", "00.5", "-01", "true",
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_false(amct_number_read_double(amct_slice_of(bad[i]), &value));
}

static void reading_stops_at_the_end_of_the_slice(void **unused) {
  (void)unused;
  double value = 0;
  int64_t number = 0;
  char *exact = malloc(2); /* no NUL behind it: a sanitizer sees a read past the end */
  assert_non_null(exact);
  memcpy(exact, "42", 2);
  amct_slice slice = {(const uint8_t *)exact, 2};
  assert_true(amct_number_read_double(slice, &value));
  assert_true(value == 42);
  assert_true(amct_number_read_int(slice, &number));
  assert_int_equal(number, 42);
  free(exact);

  char *long_numeral = malloc(100000);
  assert_non_null(long_numeral);
  memset(long_numeral, '1', 100000);
  assert_false(
      amct_number_read_double((amct_slice){(uint8_t *)long_numeral, 100000}, &value));
  assert_false(
      amct_number_read_int((amct_slice){(uint8_t *)long_numeral, 100000}, &number));
  free(long_numeral);
}

static void integers_agree_with_strtoll(void **unused) {
  (void)unused;
  uint64_t random = 17;
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t magnitude = (next_random(&random) >> 1) >> (next_random(&random) % 63);
    char text[64];
    const char *sign = next_random(&random) % 2 == 0 ? "-" : "";
    int size = 0;
    switch (i % 4) {
    case 0:
      size = snprintf(text, sizeof text, "%s%" PRIu64, sign, magnitude);
      break;
    case 1:
      size = snprintf(text, sizeof text, "%s0x%" PRIx64, sign, magnitude);
      break;
    case 2:
      size = snprintf(text, sizeof text, "%s0%" PRIo64, sign, magnitude);
      break;
    default:
      size = snprintf(text, sizeof text, "%s0X%" PRIX64, sign, magnitude);
      break;
    }
    int64_t value = 0;
    assert_true(
        amct_number_read_int((amct_slice){(uint8_t *)text, (size_t)size}, &value));
    assert_true(value == strtoll(text, NULL, 0));
  }
}

static void integers_at_the_edges(void **unused) {
  (void)unused;
  static const struct {
    const char *text;
    int64_t value;
  } good[] = {
      {"0", 0},
      {"-0", 0},
      {"00", 0},
      {"9223372036854775807", INT64_MAX},
      {"-9223372036854775808", INT64_MIN},
      {"-0x8000000000000000", INT64_MIN},
      {"0x7fffffffffffffff", INT64_MAX},
  };
  int64_t value = 0;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_true(amct_number_read_int(amct_slice_of(good[i].text), &value));
    assert_true(value == good[i].value);
  }
  static const char *const bad[] = {
      "",
      "-",
      "0x",
      "08",
      "1.0",
      "1e3",
      "9223372036854775808",
      "-9223372036854775809",
      "18446744073709551616",
      "0x8000000000000000",
      "99999999999999999999999",
      "+1",
      " 1",
      "1 ",
      "0xg",
      "a",
      "--1",
      "1_000",
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_false(amct_number_read_int(amct_slice_of(bad[i]), &value));
}

static void a_decimal_comma_changes_nothing(void **unused) {
  (void)unused;
  static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "ru_RU.UTF-8",
                                        "de_DE"};
  const char *found = NULL;
  for (size_t i = 0; i < sizeof locales / sizeof locales[0] && found == NULL; i++)
    found = setlocale(LC_NUMERIC, locales[i]);
  if (found == NULL) skip(); /* no such locale on this machine */
  char text[AMCT_NUMBER_BYTES];
  double value = 0;
  amct_number_print_float(text, 0.25f);
  assert_string_equal(text, "0.25");
  amct_number_print_double(text, 0.999999);
  assert_string_equal(text, "0.999999");
  assert_true(amct_number_read_double(amct_slice_of("1.5"), &value));
  assert_true(value == 1.5);
  char by_library[16];
  snprintf(by_library, sizeof by_library, "%.1f", 0.5);
  assert_string_equal(by_library, "0,5"); /* the host's locale is as it was */
  setlocale(LC_NUMERIC, "C");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(floats_round_trip),
      cmocka_unit_test(usual_floats_are_as_printf_says),
      cmocka_unit_test(short_numerals_read_as_strtod_reads_them),
      cmocka_unit_test(doubles_round_trip),
      cmocka_unit_test(known_values_print_as_people_write_them),
      cmocka_unit_test(doubles_are_printed_as_python_prints_them),
      cmocka_unit_test(doubles_are_read_whole_or_not_at_all),
      cmocka_unit_test(reading_stops_at_the_end_of_the_slice),
      cmocka_unit_test(integers_agree_with_strtoll),
      cmocka_unit_test(integers_at_the_edges),
      cmocka_unit_test(a_decimal_comma_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
