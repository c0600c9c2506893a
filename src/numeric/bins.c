/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/bins.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "numeric/clones.h"
#include "numeric/sketch.h"

/* Adding one to the count just added to waits for that store: a tensor that is half zeros
 * would take twice the time. Zeros therefore count in spare slots in turn, and counts
 * have 32 bits, which the cache holds better, until they would overflow. */
enum { SLOTS_BITS = 16, SLOTS = AMCT_SKETCH_BINS, SPARE = 16, LEAST_EXPONENT = -149 };

bool amct_bins_reserve(amct_bins *bins, uint64_t values) {
  if (values > UINT32_MAX && bins->wide == NULL) {
    bins->wide = amct_alloc_array(SLOTS, sizeof *bins->wide);
    if (bins->wide == NULL) return false;
  }
  if (bins->count != NULL) return true;
  bins->count = amct_alloc_array(SLOTS + SPARE, sizeof *bins->count);
  bins->empty = true;
  bins->exponent = LEAST_EXPONENT;
  return bins->count != NULL;
}

void amct_bins_free(amct_bins *bins) {
  amct_free(bins->count);
  amct_free(bins->wide);
}

size_t amct_bins_bytes(const amct_bins *bins) {
  return (bins->count ? (SLOTS + SPARE) * sizeof *bins->count : 0) +
         (bins->wide ? SLOTS * sizeof *bins->wide : 0);
}

static size_t slot_of(const amct_bins *bins, double j) {
  return (size_t)((int32_t)(j - bins->base) & (SLOTS - 1));
}

static uint32_t spare_zeros(const amct_bins *bins) {
  uint32_t zeros = 0;
  for (size_t i = 0; i < SPARE; i++)
    zeros += bins->count[SLOTS + i];
  return zeros;
}

static void gather_zeros(amct_bins *bins) {
  const uint32_t zeros = spare_zeros(bins);
  if (zeros != 0) bins->count[slot_of(bins, 0.0)] += zeros;
  memset(bins->count + SLOTS, 0, SPARE * sizeof *bins->count);
}

/* Before `more` values would not fit 32 bits. */
static void make_room(amct_bins *bins, uint64_t more) {
  if (more <= UINT32_MAX - bins->held) return;
  gather_zeros(bins);
  for (size_t i = 0; i < SLOTS; i++)
    bins->wide[i] += bins->count[i];
  memset(bins->count, 0, SLOTS * sizeof *bins->count);
  bins->held = 0;
}

/* What a slot holds; it is empty then. */
static uint64_t take(amct_bins *bins, size_t slot) {
  const uint64_t count = bins->count[slot] + (bins->wide ? bins->wide[slot] : 0);
  bins->count[slot] = 0;
  if (bins->wide) bins->wide[slot] = 0;
  return count;
}

static void put(amct_bins *bins, size_t slot, uint64_t count) {
  if (bins->wide)
    bins->wide[slot] += count;
  else
    bins->count[slot] += (uint32_t)count; /* as all of them together fit */
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
  gather_zeros(bins);
  double shrink = ldexp(1.0, -steps);
  double base = floor(bins->base * shrink);
  for (int side = 0; side < 2; side++) {
    int32_t sign = side == 0 ? 1 : -1;
    int32_t end = (int32_t)(side == 0 ? bins->high - bins->base : bins->base - bins->low);
    for (int32_t distance = side; distance <= end; distance++) {
      size_t from = (size_t)(sign * distance & (SLOTS - 1));
      const uint64_t count = take(bins, from);
      if (count == 0) continue;
      double scaled = (bins->base + sign * distance) * shrink, to = floor(scaled);
      bins->off_edge = bins->off_edge || to != scaled;
      put(bins, (size_t)((int32_t)(to - base) & (SLOTS - 1)), count);
    }
  }
  if (bins->wide) bins->held = 0;
  bins->base = base;
  bins->low = floor(bins->low * shrink);
  bins->high = floor(bins->high * shrink);
}

/* Takes [low, high], bins of width 2^exponent, into the range: the smallest width that is
 * not below either and keeps all within SLOTS bins. */
static void widen(amct_bins *bins, double low, double high, int exponent) {
  int before = bins->exponent, span = 0;
  int now = exponent > before ? exponent : before;
  (void)frexp(high - low, &span); /* not above 2^span */
  if (bins->empty && exponent + span - SLOTS_BITS - 2 > now)
    now = exponent + span - SLOTS_BITS - 2;
  for (;; now++) {
    double of_new = ldexp(1.0, exponent - now), of_old = ldexp(1.0, before - now);
    double first = floor(low * of_new), last = floor(high * of_new);
    if (!bins->empty) {
      first = fmin(first, floor(bins->low * of_old));
      last = fmax(last, floor(bins->high * of_old));
    }
    if (last - first >= SLOTS) continue;
    if (!bins->empty && now != before) coarsen(bins, now - before);
    if (bins->empty) bins->base = first;
    bins->empty = false;
    bins->exponent = now;
    bins->low = first;
    bins->high = last;
    return;
  }
}

/* floor(v/width) in float32: v/width is exact, or so small that it truncates to 0 as it
 * should; a whole number times the width is exact. Needs |v/width| < 2^31 and a normal
 * width and inverse. */
AMCT_CLONES static int find_slots(uint32_t *slot, const float *v, size_t count,
                                  float width, uint32_t base) {
  int off_edge = 0;
  float inverse = 1.0f / width;
  for (size_t i = 0; i < count; i++) {
    int32_t j = (int32_t)(v[i] * inverse);
    float edge = (float)j * width;
    off_edge |= edge != v[i];
    j -= edge > v[i];
    const uint32_t usual = ((uint32_t)j - base) & (SLOTS - 1);
    slot[i] = v[i] == 0.0f ? SLOTS + ((uint32_t)i & (SPARE - 1)) : usual;
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
  return find_slots(slot, v, count, ldexpf(1.0f, bins->exponent),
                    (uint32_t)(int32_t)bins->base);
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
static void count_slots(uint32_t *table, const uint32_t *slot, size_t n,
                        uint32_t weight) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    uint64_t pair[2];
    memcpy(pair, slot + i, sizeof pair);
    table[(uint32_t)pair[0]] += weight;
    table[pair[0] >> 32] += weight;
    table[(uint32_t)pair[1]] += weight;
    table[pair[1] >> 32] += weight;
  }
  for (; i < n; i++)
    table[slot[i]] += weight;
}

void amct_bins_reach(amct_bins *bins, amct_span span) {
  double inverse = ldexp(1.0, -bins->exponent);
  double low = floor((double)span.low * inverse);
  double high = floor((double)span.high * inverse);
  if (bins->empty || low < bins->low || high > bins->high)
    widen(bins, low, high, bins->exponent);
}

void amct_bins_add(amct_bins *bins, const float *values, size_t count, uint32_t weight) {
  if (count == 0) return;
  const uint32_t all = (uint32_t)count * weight;
  make_room(bins, all);
  bins->held += all;
  if (bins->exponent == LEAST_EXPONENT && bins->low == bins->high) {
    /* one value, on its edge: a dead layer */
    bins->count[slot_of(bins, bins->low)] += all;
    return;
  }
  uint32_t slot[AMCT_BINS_BLOCK];
  const int off_edge = is_plain(bins) ? find_slots_fast(slot, values, count, bins)
                                      : find_slots_slowly(slot, values, count, bins);
  bins->off_edge = bins->off_edge || off_edge != 0;
  count_slots(bins->count, slot, count, weight);
}

/* Slot by slot, where both keep the same bins there. */
static void merge_same(amct_bins *bins, const amct_bins *other) {
  make_room(bins, other->held);
  bins->held += other->held;
  for (size_t i = 0; i < SLOTS + SPARE; i++)
    bins->count[i] += other->count[i];
  for (size_t i = 0; other->wide && i < SLOTS; i++)
    bins->wide[i] += other->wide[i];
}

void amct_bins_merge(amct_bins *bins, const amct_bins *other) {
  if (other->count == NULL || other->empty) return;
  widen(bins, other->low, other->high, other->exponent);
  double shrink = ldexp(1.0, other->exponent - bins->exponent);
  bins->off_edge = bins->off_edge || other->off_edge;
  if (bins->exponent == other->exponent && bins->base == other->base) {
    merge_same(bins, other);
    return;
  }
  if (!bins->wide) bins->held += other->held; /* else all goes there */
  const uint32_t zeros = spare_zeros(other);
  if (zeros != 0) put(bins, slot_of(bins, 0.0), zeros);
  int32_t distance = (int32_t)(other->low - other->base);
  int32_t end = (int32_t)(other->high - other->base);
  for (; distance <= end; distance++) { /* see coarsen */
    const size_t from = (size_t)(distance & (SLOTS - 1));
    const uint64_t count = other->count[from] + (other->wide ? other->wide[from] : 0);
    if (count == 0) continue;
    double scaled = (other->base + distance) * shrink, to = floor(scaled);
    bins->off_edge = bins->off_edge || to != scaled;
    put(bins, slot_of(bins, to), count);
  }
}

static void reverse(uint32_t *at, size_t count) {
  for (size_t i = 0, j = count; i + 1 < j; i++) {
    uint32_t kept = at[i];
    at[i] = at[--j];
    at[j] = kept;
  }
}

static void reverse_wide(uint64_t *at, size_t count) {
  for (size_t i = 0, j = count; i + 1 < j; i++) {
    uint64_t kept = at[i];
    at[i] = at[--j];
    at[j] = kept;
  }
}

void amct_bins_straighten(amct_bins *bins) {
  if (bins->count == NULL || bins->empty) return;
  gather_zeros(bins);
  size_t shift = slot_of(bins, bins->low);
  bins->base = bins->low;
  if (shift == 0) return; /* else rotate left by three reversals */
  reverse(bins->count, shift);
  reverse(bins->count + shift, SLOTS - shift);
  reverse(bins->count, SLOTS);
  if (!bins->wide) return;
  reverse_wide(bins->wide, shift);
  reverse_wide(bins->wide + shift, SLOTS - shift);
  reverse_wide(bins->wide, SLOTS);
}

int64_t amct_bins_shift(amct_bins *bins, size_t slot, int64_t by) {
  const uint64_t count = take(bins, slot);
  const uint64_t less = by < 0 ? (uint64_t)-by : 0;
  const int64_t shift = less > count ? -(int64_t)count : by;
  put(bins, slot, count + (uint64_t)shift);
  return shift;
}

bool amct_bins_on_edge(const amct_bins *bins, float value) {
  const double scaled = ldexp((double)value, -bins->exponent);
  return floor(scaled) == scaled;
}

void amct_bins_fetch(const amct_bins *bins) {
  enum { LINE = 64 / sizeof *bins->count };
  for (size_t i = 0; bins->count && i < SLOTS; i += LINE)
    __builtin_prefetch(bins->count + i, 1);
}
