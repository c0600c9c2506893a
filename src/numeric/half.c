/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/half.h"

#include <string.h>

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

float amct_half_to_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
  uint32_t magnitude = half & 0x7FFFu;
  if (magnitude >=
      0x7C00u) { /* infinity, NaN: the payload stays, made quiet as hardware does */
    uint32_t quiet = magnitude > 0x7C00u ? 0x400000u : 0;
    return float_of(sign | 0x7F800000u | quiet | (magnitude & 0x3FFu) << 13);
  }
  if (magnitude >= 0x400u)
    return float_of(sign | ((magnitude << 13) + ((127u - 15u) << 23)));
  float value = (float)magnitude * 0x1p-24f; /* subnormal or zero */
  return float_of(sign | bits_of(value));
}

uint16_t amct_half_from_float(float value) {
  uint32_t bits = bits_of(value);
  uint32_t sign = bits >> 16 & 0x8000u;
  uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u)
    return (uint16_t)(sign | 0x7E00u | (magnitude >> 13 & 0x3FFu));
  if (magnitude >= 0x47800000u) return (uint16_t)(sign | 0x7C00u); /* 65536 and more */
  if (magnitude < 0x38800000u) { /* below 2^-14: units of 2^-24 */
    uint32_t shift = 126u - (magnitude >> 23);
    if (shift > 25u) return (uint16_t)sign;
    uint32_t mantissa = (magnitude & 0x7FFFFFu) | 0x800000u;
    uint32_t whole = mantissa >> shift, rest = mantissa & ((1u << shift) - 1u);
    uint32_t half = 1u << (shift - 1u);
    whole += rest > half || (rest == half && (whole & 1u) != 0);
    return (uint16_t)(sign | whole);
  }
  /* adding just under a half unit, and one more where the kept part is odd, rounds to
   * even; a carry into the exponent is right, up to infinity */
  uint32_t rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);
  return (uint16_t)(sign | ((rounded - ((127u - 15u) << 23)) >> 13));
}

float amct_bfloat_to_float(uint16_t bits) {
  return float_of((uint32_t)bits << 16);
}
