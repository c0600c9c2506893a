/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/bins.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "numeric/clones.h"
#include "numeric/sketch.h"

/* Adding one to the count just added to waits for that store: a tensor that is half zeros
 * would take twice the time. During a long add zeros therefore count in spare slots in
 * turn, and all counts have 32 bits, which the cache holds better. */
enum { SLOTS = AMCT_SKETCH_BINS, SPARE = 16, LEAST_EXPONENT = -149 };

bool amct_bins_reserve(amct_bins *bins) {
  if (bins->count != NULL) return true;
  bins->count = amct_alloc_array(SLOTS, sizeof *bins->count);
  bins->empty = true;
  bins->exponent = LEAST_EXPONENT;
  return bins->count != NULL;
}

void amct_bins_free(amct_bins *bins) {
  amct_free(bins->count);
  amct_free(bins->table);
}

void amct_bins_begin(amct_bins *bins) {
  bins->table = amct_alloc_array(SLOTS + SPARE, sizeof *bins->table);
  bins->in_table = 0;
}

static size_t slot_of(const amct_bins *bins, double j) {
  return (size_t)((int32_t)(j - bins->base) & (SLOTS - 1));
}

static void empty_table(amct_bins *bins) {
  uint64_t zeros = 0;
  for (size_t i = 0; i < SPARE; i++)
    zeros += bins->table[SLOTS + i];
  if (zeros != 0) bins->count[slot_of(bins, 0.0)] += zeros;
  for (size_t i = 0; i < SLOTS; i++)
    bins->count[i] += bins->table[i];
  memset(bins->table, 0, (SLOTS + SPARE) * sizeof *bins->table);
  bins->in_table = 0;
}

void amct_bins_end(amct_bins *bins) {
  if (bins->table != NULL) empty_table(bins);
  amct_free(bins->table);
  bins->table = NULL;
}

void amct_bins_like(amct_bins *bins, const amct_bins *other) {
  if (other->count == NULL || other->empty) return;
  bins->low = other->low;
  bins->high = other->high;
  bins->base = other->base;
  bins->exponent = other->exponent;
  bins->empty = false;
}

/* Halves the number of bins `steps` times. Away from base, at both sides, a bin's new
 * distance from it is never larger than the old one: each side is rewritten in place,
 * nearest first. Bin numbers beyond 2^53 are not all doubles, so distances are counted; a
 * bin that is not empty has a number. */
static void coarsen(amct_bins *bins, int steps) {
  double shrink = ldexp(1.0, -steps);
  double base = floor(bins->base * shrink);
  for (int side = 0; side < 2; side++) {
    int32_t sign = side == 0 ? 1 : -1;
    int32_t end = (int32_t)(side == 0 ? bins->high - bins->base : bins->base - bins->low);
    for (int32_t distance = side; distance <= end; distance++) {
      size_t from = (size_t)(sign * distance & (SLOTS - 1));
      uint64_t count = bins->count[from];
      if (count == 0) continue;
      double scaled = (bins->base + sign * distance) * shrink, to = floor(scaled);
      bins->off_edge = bins->off_edge || to != scaled;
      bins->count[from] = 0;
      bins->count[(size_t)((int32_t)(to - base) & (SLOTS - 1))] += count;
    }
  }
  bins->base = base;
  bins->low = floor(bins->low * shrink);
  bins->high = floor(bins->high * shrink);
}

/* Takes [low, high], bins of width 2^exponent, into the range: the smallest width that is
 * not below either and keeps all within SLOTS bins. */
static void widen(amct_bins *bins, double low, double high, int exponent) {
  int before = bins->exponent;
  int now = exponent > before ? exponent : before;
  for (;; now++) {
    double of_new = ldexp(1.0, exponent - now), of_old = ldexp(1.0, before - now);
    double first = floor(low * of_new), last = floor(high * of_new);
    if (!bins->empty) {
      first = fmin(first, floor(bins->low * of_old));
      last = fmax(last, floor(bins->high * of_old));
    }
    if (last - first >= SLOTS) continue;
    if (!bins->empty && now != before) {
      if (bins->table != NULL) empty_table(bins);
      coarsen(bins, now - before);
    }
    if (bins->empty) bins->base = first;
    bins->empty = false;
    bins->exponent = now;
    bins->low = first;
    bins->high = last;
    return;
  }
}

/* Where zeros count: first + (i & mask). */
typedef struct zero_slots {
  uint32_t first, mask;
} zero_slots;

/* floor(v/width) in float32: v/width is exact, or so small that it truncates to 0 as it
 * should; a whole number times the width is exact. Needs |v/width| < 2^31 and a normal
 * width and inverse. */
AMCT_CLONES static int find_slots(uint32_t *slot, const float *v, size_t count,
                                  float width, uint32_t base, zero_slots zero) {
  int off_edge = 0;
  float inverse = 1.0f / width;
  for (size_t i = 0; i < count; i++) {
    int32_t j = (int32_t)(v[i] * inverse);
    float edge = (float)j * width;
    off_edge |= edge != v[i];
    j -= edge > v[i];
    const uint32_t usual = ((uint32_t)j - base) & (SLOTS - 1);
    slot[i] = v[i] == 0.0f ? zero.first + ((uint32_t)i & zero.mask) : usual;
  }
  return off_edge;
}

/* Bin numbers are int32, and width and inverse normal floats. */
static bool is_plain(const amct_bins *bins) {
  return bins->exponent >= -126 && bins->exponent <= 126 && bins->low > -0x1p31 &&
         bins->high < 0x1p31 - 1.0;
}

static int find_slots_fast(uint32_t *slot, const float *v, size_t count,
                           const amct_bins *bins) {
  zero_slots zero = {SLOTS, SPARE - 1};
  if (bins->table == NULL) zero = (zero_slots){(uint32_t)slot_of(bins, 0.0), 0};
  return find_slots(slot, v, count, ldexpf(1.0f, bins->exponent),
                    (uint32_t)(int32_t)bins->base, zero);
}

static int find_slots_slowly(uint32_t *slot, const float *v, size_t count,
                             const amct_bins *bins) {
  int off_edge = 0;
  double inverse = ldexp(1.0, -bins->exponent);
  for (size_t i = 0; i < count; i++) {
    double scaled = (double)v[i] * inverse, j = floor(scaled);
    off_edge |= j != scaled;
    slot[i] = (uint32_t)slot_of(bins, j);
  }
  return off_edge;
}

/* Two slots a load: the loop is bound by its instructions. */
static void count_in_table(uint32_t *table, const uint32_t *slot, size_t n) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    uint64_t pair[2];
    memcpy(pair, slot + i, sizeof pair);
    table[(uint32_t)pair[0]]++;
    table[pair[0] >> 32]++;
    table[(uint32_t)pair[1]]++;
    table[pair[1] >> 32]++;
  }
  for (; i < n; i++)
    table[slot[i]]++;
}

void amct_bins_reach(amct_bins *bins, amct_span span) {
  double inverse = ldexp(1.0, -bins->exponent);
  double low = floor((double)span.low * inverse);
  double high = floor((double)span.high * inverse);
  if (bins->empty || low < bins->low || high > bins->high)
    widen(bins, low, high, bins->exponent);
}

void amct_bins_add(amct_bins *bins, const float *values, size_t count) {
  if (count == 0) return;
  if (bins->exponent == LEAST_EXPONENT && bins->low == bins->high) {
    bins->count[slot_of(bins, bins->low)] +=
        count; /* one value, on its edge: a dead layer */
    return;
  }
  uint32_t slot[AMCT_BINS_BLOCK];
  const int off_edge = is_plain(bins) ? find_slots_fast(slot, values, count, bins)
                                      : find_slots_slowly(slot, values, count, bins);
  bins->off_edge = bins->off_edge || off_edge != 0;
  if (bins->table == NULL) {
    for (size_t i = 0; i < count; i++)
      bins->count[slot[i]]++;
    return;
  }
  if (bins->in_table > UINT32_MAX - count) empty_table(bins);
  bins->in_table += (uint32_t)count;
  count_in_table(bins->table, slot, count);
}

void amct_bins_merge(amct_bins *bins, const amct_bins *other) {
  if (other->count == NULL || other->empty) return;
  widen(bins, other->low, other->high, other->exponent);
  double shrink = ldexp(1.0, other->exponent - bins->exponent);
  bins->off_edge = bins->off_edge || other->off_edge;
  if (bins->exponent == other->exponent && bins->base == other->base) {
    for (size_t i = 0; i < SLOTS; i++)
      bins->count[i] += other->count[i];
    return;
  }
  int32_t distance = (int32_t)(other->low - other->base);
  int32_t end = (int32_t)(other->high - other->base);
  for (; distance <= end; distance++) { /* see coarsen */
    uint64_t count = other->count[distance & (SLOTS - 1)];
    if (count == 0) continue;
    double scaled = (other->base + distance) * shrink, to = floor(scaled);
    bins->off_edge = bins->off_edge || to != scaled;
    bins->count[slot_of(bins, to)] += count;
  }
}

static void reverse(uint64_t *at, size_t count) {
  for (size_t i = 0, j = count; i + 1 < j; i++) {
    uint64_t kept = at[i];
    at[i] = at[--j];
    at[j] = kept;
  }
}

void amct_bins_straighten(amct_bins *bins) {
  if (bins->count == NULL || bins->empty) return;
  size_t shift = slot_of(bins, bins->low);
  if (shift != 0) { /* rotate left by three reversals */
    reverse(bins->count, shift);
    reverse(bins->count + shift, SLOTS - shift);
    reverse(bins->count, SLOTS);
  }
  bins->base = bins->low;
}
