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

/*
 * Decimals of usual floats, in integers: |value| = m / 2^s, of decimal exponent x.
 * Records have tens of thousands, and printf takes a microsecond for each.
 */
__extension__ typedef unsigned __int128 wide;

typedef struct usual {
  uint64_t m;
  int s, x;
} usual;

enum { USUAL_LEAST = -11, USUAL_MOST = 5, DIGITS_MOST = 9 };

static uint64_t power_of_ten(int k) {
  uint64_t power = 1;
  while (k-- > 0)
    power *= 10;
  return power;
}

/* |value| with `digits` digits, to nearest, halves to even, as printf rounds; 10^digits
 * where it rounds up to that */
static uint64_t round_digits(const usual *u, int digits) {
  const wide scaled = (wide)u->m * power_of_ten(digits - 1 - u->x);
  const wide half = (wide)1 << (u->s - 1);
  const wide rest = scaled & (2 * half - 1);
  const uint64_t whole = (uint64_t)(scaled >> u->s);
  return whole + (rest > half || (rest == half && whole % 2 != 0));
}

/* The decimal is nearer to the float than to its neighbours. */
static bool reads_back(const usual *u, uint64_t decimal, int digits) {
  const uint64_t power = power_of_ten(digits - 1 - u->x);
  const wide own = (wide)u->m * power;
  const wide other = (wide)decimal << u->s;
  const wide off = own > other ? own - other : other - own;
  const bool narrow = own > other && u->m == UINT64_C(1) << (FLT_MANT_DIG - 1);
  return (narrow ? 4u : 2u) * off < power; /* halfway: let strtof say */
}

static bool take_apart(usual *u, float value) {
  int exponent = 0;
  const double size = fabs((double)value);
  if (!(size >= 1e-11 && size < 999999)) return false;
  u->m = (uint64_t)ldexp(frexp(size, &exponent), FLT_MANT_DIG);
  u->s = FLT_MANT_DIG - exponent; /* 4 or more */
  u->x = (int)floor(log10(size));
  return u->x >= USUAL_LEAST && u->x <= USUAL_MOST;
}

/* As %g: without zeros at the end, with an exponent below 1e-4. */
static void put_decimal(char *to, bool negative, uint64_t decimal, int digits, int x) {
  char all[DIGITS_MOST];
  int last = digits, point = x < -4 ? 0 : x;
  for (int i = digits; i-- > 0; decimal /= 10)
    all[i] = (char)('0' + decimal % 10);
  while (last > 1 && all[last - 1] == '0')
    last--;
  if (negative) *to++ = '-';
  if (point < 0) {
    *to++ = '0';
    *to++ = '.';
    for (int i = -1; i > point; i--)
      *to++ = '0';
  }
  for (int i = 0; i < last || i <= point; i++) {
    *to++ = i < last ? all[i] : '0';
    if (i == point && i + 1 < last) *to++ = '.';
  }
  if (x < -4) {
    *to++ = 'e';
    *to++ = '-';
    *to++ = (char)('0' + -x / 10);
    *to++ = (char)('0' + -x % 10);
  }
  *to = '\0';
}

/* False: printf must. */
static bool print_usual(char text[AMCT_NUMBER_BYTES], float value) {
  usual u;
  if (!take_apart(&u, value)) return false;
  int digits = FLT_DIG;
  uint64_t decimal = round_digits(&u, digits);
  if (!reads_back(&u, decimal, digits)) {
    digits = DIGITS_MOST;
    decimal = round_digits(&u, digits);
  }
  const uint64_t least = power_of_ten(digits - 1);
  if (decimal < least || decimal >= 10 * least) return false; /* log10 was off, a carry */
  put_decimal(text, value < 0, decimal, digits, u.x);
  return true;
}

void amct_number_print_float(char text[AMCT_NUMBER_BYTES], float value) {
  if (print_special(text, (double)value) || print_usual(text, value)) return;
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

/* Few digits and a small power of ten are exact doubles: so is the rounding of what they
 * make. False: strtod must. */
static bool read_short(const char *numeral, double *value) {
  static const double k_powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  enum { POWERS = sizeof k_powers / sizeof *k_powers, EXACT_DIGITS = 15 };
  uint64_t digits = 0;
  int count = 0, exponent = 0;
  bool fraction = false;
  for (; is_digit((uint8_t)*numeral) || *numeral == '.'; numeral++) {
    if (*numeral == '.') {
      fraction = true;
    } else {
      digits = digits * 10 + (uint64_t)(*numeral - '0');
      exponent -= fraction;
      if (digits != 0 && ++count > EXACT_DIGITS) return false;
    }
  }
  if ((*numeral | 0x20) == 'e') {
    const long more = strtol(numeral + 1, NULL, 10);
    if (more < -POWERS || more > POWERS) return false;
    exponent += (int)more;
  }
  if (exponent <= -POWERS || exponent >= POWERS) return false;
  *value = exponent < 0 ? (double)digits / k_powers[-exponent]
                        : (double)digits * k_powers[exponent];
  return true;
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
    if (!read_short(numeral, &magnitude)) {
      pthread_once(&c_locale_once, make_c_locale);
      magnitude = strtod_l(numeral, NULL, c_locale);
    }
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
