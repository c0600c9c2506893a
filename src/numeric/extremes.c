/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/extremes.h"

#include <math.h>
#include <string.h>

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, PASSES = 3 };

void amct_extremes_start(amct_extremes *list, bool largest) {
  list->count = 0;
  list->largest = largest;
  list->threshold = largest ? -INFINITY : INFINITY;
}

/* Integers in the order of the floats, the better the smaller. */
static uint32_t rank_of(float value, bool largest) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint32_t ascending = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return largest ? ~ascending : ascending;
}

static float value_of(uint32_t rank, bool largest) {
  uint32_t ascending = largest ? ~rank : rank;
  uint32_t bits = (ascending & 0x80000000u) != 0 ? ascending & 0x7FFFFFFFu : ~ascending;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint32_t digit_of(uint32_t rank, int pass) {
  return rank >> (pass * DIGIT_BITS) & (DIGITS - 1);
}

/* Counts the digits of the ranks, and finds the one of the *wanted-th best, of which
 * *wanted are left to find. */
static uint32_t find_digit(const uint32_t *rank, size_t count, int pass, size_t *wanted) {
  uint32_t histogram[DIGITS] = {0};
  for (size_t i = 0; i < count; i++)
    histogram[digit_of(rank[i], pass)]++;
  uint32_t digit = 0;
  while (histogram[digit] < *wanted)
    *wanted -= histogram[digit++];
  return digit;
}

/* The rank of the AMCT_SKETCH_EXACT-th best, digit by digit from the top, among those
 * that have the digits so far; *ties is how many of that rank belong to the best. */
static uint32_t find_worst_kept(const amct_extremes *list, size_t *ties) {
  uint32_t rank[AMCT_EXTREMES_ROOM], found = 0;
  size_t count = list->count;
  *ties = AMCT_SKETCH_EXACT;
  for (size_t i = 0; i < count; i++)
    rank[i] = rank_of(list->at[i], list->largest);
  for (int pass = PASSES - 1; pass >= 0; pass--) {
    const uint32_t digit = find_digit(rank, count, pass, ties);
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
      rank[left] = rank[i];
      left += digit_of(rank[i], pass) == digit;
    }
    count = left;
    found |= digit << (pass * DIGIT_BITS);
  }
  return found;
}

size_t amct_extremes_trim(amct_extremes *list) {
  if (list->count <= AMCT_SKETCH_EXACT) return 0;
  float out[AMCT_EXTREMES_ROOM - AMCT_SKETCH_EXACT];
  uint8_t out_weight[AMCT_EXTREMES_ROOM - AMCT_SKETCH_EXACT];
  size_t ties = 0, kept = 0, evicted = 0;
  uint32_t worst = find_worst_kept(list, &ties);
  for (size_t i = 0; i < list->count; i++) {
    float value = list->at[i];
    uint32_t rank = rank_of(value, list->largest);
    bool keep = rank < worst || (rank == worst && ties > 0);
    ties -= keep && rank == worst;
    const uint8_t weight = list->weight[i];
    if (keep) {
      list->at[kept] = value;
      list->weight[kept++] = weight;
    } else {
      out[evicted] = value;
      out_weight[evicted++] = weight;
    }
  }
  memcpy(list->at + kept, out, evicted * sizeof *out);
  memcpy(list->weight + kept, out_weight, evicted);
  list->count = kept;
  list->threshold = value_of(worst, list->largest);
  return evicted;
}

void amct_extremes_sort(amct_extremes *list) {
  enum { WEIGHT_BITS = 8 };
  uint64_t key[2][AMCT_SKETCH_EXACT]; /* rank, then weight */
  size_t count = list->count;
  for (size_t i = 0; i < count; i++) {
    const uint64_t rank = rank_of(list->at[i], list->largest);
    key[0][i] = rank << WEIGHT_BITS | list->weight[i];
  }
  for (int pass = 0; pass < PASSES; pass++) { /* least digit first, stable */
    const uint64_t *from = key[pass % 2];
    uint64_t *to = key[(pass + 1) % 2];
    uint32_t start[DIGITS + 1] = {0};
    for (size_t i = 0; i < count; i++)
      start[digit_of((uint32_t)(from[i] >> WEIGHT_BITS), pass) + 1]++;
    for (size_t d = 0; d < DIGITS; d++)
      start[d + 1] += start[d];
    for (size_t i = 0; i < count; i++)
      to[start[digit_of((uint32_t)(from[i] >> WEIGHT_BITS), pass)]++] = from[i];
  }
  for (size_t i = 0; i < count; i++) {
    const uint64_t sorted = key[PASSES % 2][i];
    list->at[i] = value_of((uint32_t)(sorted >> WEIGHT_BITS), list->largest);
    list->weight[i] = (uint8_t)sorted;
  }
}
