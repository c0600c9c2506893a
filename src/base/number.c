/* SPDX-License-Identifier: Apache-2.0 */
#include "base/number.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer numerals are refused; the exact decimal of the smallest double has 1,074 digits.
 */
enum { NUMERAL_BYTES = 1536 };

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void) {
  c_locale =
      newlocale(LC_ALL_MASK, "C", (locale_t)0); /* a static object in glibc and musl */
}

/* "1e+10" and not "1,5": the host program may have set a locale with a decimal comma. */
static void print(char text[AMCT_NUMBER_BYTES], char form, int digits, double value) {
  pthread_once(&c_locale_once, make_c_locale);
  locale_t before = uselocale(c_locale);
  if (form == 'e')
    snprintf(text, AMCT_NUMBER_BYTES, "%.*e", digits, value);
  else if (form == 'f')
    snprintf(text, AMCT_NUMBER_BYTES, "%.*f", digits, value);
  else
    snprintf(text, AMCT_NUMBER_BYTES, "%.*g", digits, value);
  uselocale(before);
}

static void print_digits(char text[AMCT_NUMBER_BYTES], int digits, double value) {
  print(text, 'g', digits, value);
}

/* The next decimal of as many digits. At a power of two the nearest decimal may lie on
 * the side of the smaller, closer neighbours and read back as one, and the next one not.
 * False where a 9 would carry: there the next digit decides. */
static bool step_up(char text[AMCT_NUMBER_BYTES]) {
  size_t last = strcspn(text, "e");
  if (last == 0 || text[last - 1] < '0' || text[last - 1] > '8') return false;
  text[last - 1]++;
  return true;
}

static bool print_special(char text[AMCT_NUMBER_BYTES], double value) {
  if (isfinite(value)) return false;
  const char *word = isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
  snprintf(text, AMCT_NUMBER_BYTES, "%s", word);
  return true;
}

void amct_number_print_float(char text[AMCT_NUMBER_BYTES], float value) {
  if (print_special(text, (double)value)) return;
  print_digits(text, FLT_DIG, (double)value);
  if (strtof_l(text, NULL, c_locale) != value) print_digits(text, 9, (double)value);
}

void amct_number_print_shortest(char text[AMCT_NUMBER_BYTES], float value) {
  if (print_special(text, (double)value)) return;
  for (int digits = 1; digits <= 9; digits++) {
    print_digits(text, digits, (double)value);
    if (strtof_l(text, NULL, c_locale) == value) return;
    if (step_up(text) && strtof_l(text, NULL, c_locale) == value) return;
  }
}

void amct_number_print_double(char text[AMCT_NUMBER_BYTES], double value) {
  if (print_special(text, value)) return;
  /* below DBL_MIN fewer than 15 digits may identify the value, above they never lose to
   * 15 */
  int digits = fabs(value) < DBL_MIN ? 1 : DBL_DIG;
  for (; digits <= 17; digits++) {
    print_digits(text, digits, value);
    if (strtod_l(text, NULL, c_locale) == value) return;
  }
}

void amct_number_print_repr(char text[AMCT_NUMBER_BYTES], double value) {
  int behind = 0; /* digits behind the first */
  for (; behind < 17; behind++) {
    print(text, 'e', behind, value);
    if (strtod_l(text, NULL, c_locale) == value) break;
    if (step_up(text) && strtod_l(text, NULL, c_locale) == value) break;
  }
  const int exponent = atoi(strchr(text, 'e') + 1);
  if (exponent < -4 || exponent > 15) return;
  print(text, 'f', behind - exponent > 1 ? behind - exponent : 1, value);
}

static bool is_digit(uint8_t c) {
  return c >= '0' && c <= '9';
}

static bool is_word(amct_slice text, const char *word) {
  size_t i = 0;
  for (; i < text.size && word[i] != '\0'; i++) {
    if ((text.data[i] | 0x20) != (uint8_t)word[i]) return false;
  }
  return i == text.size && word[i] == '\0';
}

static size_t count_digits(amct_slice text, size_t from) {
  size_t i = from;
  while (i < text.size && is_digit(text.data[i]))
    i++;
  return i - from;
}

/* Length of the numeral that strtod gets; 0 when the slice is not
 * digits[.digits][e±digits][f]. */
static size_t numeral_size(amct_slice text) {
  size_t whole = count_digits(text, 0);
  size_t i = whole;
  size_t fraction = 0;
  if (i < text.size && text.data[i] == '.') {
    fraction = count_digits(text, i + 1);
    i += 1 + fraction;
  }
  if (whole + fraction == 0) return 0;
  if (whole > 1 && text.data[0] == '0')
    return 0; /* would be octal, and a fraction cannot be */
  if (i < text.size && (text.data[i] | 0x20) == 'e') {
    i++;
    if (i < text.size && (text.data[i] == '+' || text.data[i] == '-')) i++;
    size_t exponent = count_digits(text, i);
    if (exponent == 0) return 0;
    i += exponent;
  }
  size_t size = i;
  if (i < text.size && (text.data[i] | 0x20) == 'f') i++;
  return i == text.size ? size : 0;
}

bool amct_number_read_double(amct_slice text, double *value) {
  bool negative = text.size != 0 && text.data[0] == '-';
  if (negative) text = (amct_slice){text.data + 1, text.size - 1};

  double magnitude = 0;
  if (is_word(text, "inf") || is_word(text, "infinity")) {
    magnitude = (double)INFINITY;
  } else if (is_word(text, "nan")) {
    magnitude = (double)NAN;
  } else {
    char numeral[NUMERAL_BYTES];
    size_t size = numeral_size(text);
    if (size == 0 || size >= sizeof numeral) return false;
    memcpy(numeral, text.data, size);
    numeral[size] = '\0';
    pthread_once(&c_locale_once, make_c_locale);
    magnitude = strtod_l(numeral, NULL, c_locale);
  }
  *value = negative ? -magnitude : magnitude;
  return true;
}

static int digit_of(uint8_t c) {
  if (is_digit(c)) return c - '0';
  uint8_t lower = c | 0x20;
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 16;
}

bool amct_number_read_int(amct_slice text, int64_t *value) {
  size_t i = 0;
  bool negative = text.size != 0 && text.data[0] == '-';
  if (negative) i++;

  int base = 10;
  if (text.size - i > 1 && text.data[i] == '0') {
    bool hex = (text.data[i + 1] | 0x20) == 'x';
    base = hex ? 16 : 8;
    i += hex ? 2 : 1;
  }
  if (i == text.size) return false;

  uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
  uint64_t magnitude = 0;
  for (; i < text.size; i++) {
    int digit = digit_of(text.data[i]);
    if (digit >= base) return false;
    if (magnitude > (limit - (uint64_t)digit) / (uint64_t)base) return false;
    magnitude = magnitude * (uint64_t)base + (uint64_t)digit;
  }
  /* negated unsigned, so that INT64_MIN does not overflow */
  *value = (int64_t)(negative ? 0 - magnitude : magnitude);
  return true;
}
