/* SPDX-License-Identifier: Apache-2.0 */
/* Values of pictures on their way into a sketch. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "numeric/clones.h"
#include "numeric/float_env.h"
#include "numeric/sampling.h"
#include "numeric/sketch_private.h"

enum {
  BLOCK = AMCT_SKETCH_BLOCK,
  CHUNK = 16, /* values tested at once */
  FETCH_LEAST = 1 << 13,
  SECTION = 64 * BLOCK,
};

/* Eight values, from anywhere in memory; compared, a mask of eight. */
typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t masks __attribute__((vector_size(32)));

/* Which whole chunks hold a value outside [low, high], or a NaN. */
AMCT_CLONES static int find_strangers(uint8_t *chunk_has, const float *values,
                                      size_t chunks, amct_span plain) {
  int any = 0;
  for (size_t c = 0; c < chunks; c++) {
    const lanes *at = (const lanes *)(const void *)(values + c * CHUNK);
    masks in = (at[0] <= plain.high) & (at[0] >= plain.low) & (at[1] <= plain.high) &
               (at[1] >= plain.low);
    uint64_t all[4];
    memcpy(all, &in, sizeof all);
    const int strange = (all[0] & all[1] & all[2] & all[3]) != UINT64_MAX;
    chunk_has[c] = (uint8_t)strange;
    any |= strange;
  }
  return any;
}

/* Values that neither list wants and that lie where the bins have counted before. They
 * only grow more. */
static amct_span plain_of(const amct_sketch *sketch) {
  return (amct_span){fmaxf(sketch->reach.low, sketch->bottom.threshold),
                     fminf(sketch->reach.high, sketch->top.threshold)};
}

/* Marks the chunks that hold others. False: a value is not finite. */
static bool mark_chunks(uint8_t *strange, const amct_sketch *sketch, const float *values,
                        size_t count) {
  const amct_span plain = plain_of(sketch);
  for (size_t done = 0; done < count; done += BLOCK) {
    const size_t n = count - done < BLOCK ? count - done : BLOCK;
    uint8_t *marks = strange + done / CHUNK;
    const int any = find_strangers(marks, values + done, n / CHUNK, plain);
    if (n % CHUNK != 0) marks[n / CHUNK] = 1;
    if ((any || n % CHUNK != 0) && amct_find_not_finite(values + done, n) < n)
      return false;
  }
  return true;
}

/* Values of a block, told apart. */
typedef struct sifted {
  amct_loose strange; /* for lists, or beyond the bins */
  float plain[BLOCK]; /* that count */
  size_t plain_count;
} sifted;

/* No branch: each value goes to both, and one of the two moves on, or none. */
static void sift(sifted *to, const float *values, size_t count, uint8_t weight,
                 amct_span plain) {
  amct_loose *strange = &to->strange;
  size_t at = strange->count, n = to->plain_count;
  for (size_t i = 0; i < count; i++) {
    const bool is_plain = values[i] <= plain.high && values[i] >= plain.low;
    strange->value[at] = values[i];
    strange->weight[at] = weight;
    at += !is_plain;
    to->plain[n] = values[i];
    n += is_plain && weight > 0;
  }
  strange->count = at;
  to->plain_count = n;
}

/* Whole pictures, or a part of one. */
typedef struct pictures {
  const float *values;
  size_t count;
  size_t row, at; /* values of a picture; the place of the first in its own */
  size_t every;   /* one chunk of so many counts */
} pictures;

/* A run of values of one picture, all within its groups or all behind them. */
typedef struct run {
  const float *values;
  const uint8_t *strange; /* by chunk of the section */
  size_t at;              /* in the section */
  size_t place;           /* in the picture */
  size_t every;           /* 1: all count */
} run;

static bool any_strange(const run *r, size_t first, size_t count) {
  uint8_t any = 0;
  for (size_t c = (r->at + first) / CHUNK; c <= (r->at + first + count - 1) / CHUNK; c++)
    any |= r->strange[c];
  return any != 0;
}

static bool counts(const run *r, size_t first) {
  const size_t chunk = (r->place + first) / AMCT_SAMPLING_CHUNK;
  return r->every == 1 ||
         chunk % r->every == amct_sampling_chosen(chunk / r->every, r->every);
}

/* One sampling chunk with strange values in it. */
static void sift_chunk(sifted *to, const run *r, size_t first, size_t count,
                       amct_span plain) {
  const uint8_t weight = (uint8_t)(counts(r, first) ? r->every : 0);
  for (size_t i = first, end; i < first + count; i = end) {
    const size_t c = (r->at + i) / CHUNK;
    end = (c + 1) * CHUNK - r->at;
    end = end < first + count ? end : first + count;
    if (weight > 0 || r->strange[c]) sift(to, r->values + i, end - i, weight, plain);
  }
}

/* For lists and bins to widen, and all others of their sampling chunks. */
static void add_strange(amct_sketch *sketch, const run *r, size_t count) {
  const amct_span plain = plain_of(sketch);
  sifted some;
  some.strange.count = some.plain_count = 0;
  for (size_t i = 0, n; i < count; i += n) {
    n = AMCT_SAMPLING_CHUNK - (r->place + i) % AMCT_SAMPLING_CHUNK;
    n = n < count - i ? n : count - i;
    if (any_strange(r, i, n)) sift_chunk(&some, r, i, n, plain);
  }
  amct_bins_add(&sketch->bins, some.plain, some.plain_count, (uint32_t)r->every);
  amct_sketch_add_loose(sketch, &some.strange);
}

/* The others that count, one sampling chunk of each group, from where they are; those
 * that lie side by side at once. */
static void add_plain(amct_sketch *sketch, const run *r, size_t count, bool mixed) {
  const size_t group = r->every * AMCT_SAMPLING_CHUNK;
  size_t first = 0, ready = 0; /* values first .. ready - 1 are to be counted */
  for (size_t g = r->place / group; g * group < r->place + count; g++) {
    const size_t chunk = g * r->every + amct_sampling_chosen(g, r->every);
    const size_t start = chunk * AMCT_SAMPLING_CHUNK, end = start + AMCT_SAMPLING_CHUNK;
    if (start >= r->place + count || end <= r->place) continue;
    const size_t from = start > r->place ? start - r->place : 0;
    const size_t to = end < r->place + count ? end - r->place : count;
    if (mixed && any_strange(r, from, to - from)) continue;
    if (from != ready) {
      amct_bins_add(&sketch->bins, r->values + first, ready - first, (uint32_t)r->every);
      first = from;
    }
    ready = to;
  }
  amct_bins_add(&sketch->bins, r->values + first, ready - first, (uint32_t)r->every);
}

static AMCT_NOINLINE void add_pictures(amct_sketch *sketch, const pictures *p,
                                       const uint8_t *strange) {
  const size_t groups = p->row - p->row % (p->every * AMCT_SAMPLING_CHUNK);
  size_t at = p->at;
  for (size_t done = 0, n; done < p->count; done += n) {
    const size_t end = at < groups ? groups : p->row;
    n = BLOCK - at % BLOCK;
    n = n < end - at ? n : end - at;
    n = n < p->count - done ? n : p->count - done;
    const run r = {p->values + done, strange, done, at, at < groups ? p->every : 1};
    const bool mixed = any_strange(&r, 0, n);
    add_plain(sketch, &r, n, mixed);
    if (mixed) add_strange(sketch, &r, n);
    at = (at + n) % p->row;
  }
}

static amct_status add_section(amct_sketch *sketch, const pictures *p, uint8_t *strange,
                               bool starts, amct_error *err) {
  if (!mark_chunks(strange, sketch, p->values, p->count))
    return amct_fail(err, AMCT_UNSUPPORTED, NULL, "a value is not finite");
  AMCT_TRY(amct_sketch_prepare(sketch, p->count, err));
  if (starts && p->count >= FETCH_LEAST) amct_bins_fetch(&sketch->bins);
  add_pictures(sketch, p, strange);
  return AMCT_OK;
}

/* All at once, so that nothing is kept of values that are refused. A branch is of no use
 * then: it gets them while they are in the cache. */
static amct_status add(amct_sketch *sketch, pictures p, amct_error *err) {
  const size_t all = p.count, most = sketch->is_branch && all > SECTION ? SECTION : all;
  uint8_t *strange = amct_alloc_array(most / CHUNK + 1, 1);
  amct_status status = strange ? AMCT_OK : amct_fail_memory(err);
  amct_float_env saved;
  amct_float_env_enter(&saved);
  for (size_t left = all; left > 0 && status == AMCT_OK; left -= p.count) {
    p.count = left;
    if (left > most)
      p.count = most - (p.at + most) % p.row % AMCT_SAMPLING_CHUNK; /* whole chunks */
    status = add_section(sketch, &p, strange, left == all, err);
    p.values += p.count;
    p.at = (p.at + p.count) % p.row;
  }
  amct_float_env_leave(&saved);
  amct_free(strange);
  return status;
}

amct_status amct_sketch_add(amct_sketch *sketch, const float *values, size_t count,
                            amct_error *err) {
  return add(sketch, (pictures){values, count, count, 0, 1}, err);
}

amct_status amct_sketch_add_sampled(amct_sketch *sketch, const float *values,
                                    size_t count, amct_place place, amct_error *err) {
  const size_t every = amct_sampling_every(place.row);
  if (every == 1) return amct_sketch_add(sketch, values, count, err);
  return add(sketch, (pictures){values, count, place.row, place.at, every}, err);
}
