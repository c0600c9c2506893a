/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/sketch.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "numeric/bins.h"
#include "numeric/clones.h"
#include "numeric/extremes.h"
#include "numeric/float_env.h"

enum {
  BLOCK = AMCT_BINS_BLOCK,
  CHUNK = 16, /* values tested at once */
  CHUNKS = BLOCK / CHUNK,
};

struct amct_sketch {
  uint64_t count;
  amct_extremes top, bottom;
  amct_bins bins;
  amct_span reach; /* least and largest value that the bins have counted */
  bool tidy;       /* lists trimmed and sorted, bins straight */
};

static const amct_span k_no_span = {INFINITY, -INFINITY};

amct_sketch *amct_sketch_new(void) {
  amct_sketch *sketch = amct_alloc(sizeof *sketch);
  if (sketch == NULL) return NULL;
  sketch->count = 0;
  sketch->tidy = false;
  sketch->bins = (amct_bins){0};
  amct_extremes_start(&sketch->top, true);
  amct_extremes_start(&sketch->bottom, false);
  sketch->reach = k_no_span;
  return sketch;
}

amct_sketch *amct_sketch_branch(const amct_sketch *trunk) {
  amct_sketch *sketch = amct_sketch_new();
  if (sketch == NULL || trunk->bins.count == NULL) return sketch;
  if (!amct_bins_reserve(&sketch->bins, 0)) {
    amct_sketch_free(sketch);
    return NULL;
  }
  amct_bins_like(&sketch->bins, &trunk->bins);
  sketch->top.threshold = trunk->top.threshold;
  sketch->bottom.threshold = trunk->bottom.threshold;
  sketch->reach = trunk->reach;
  return sketch;
}

void amct_sketch_free(amct_sketch *sketch) {
  if (sketch == NULL) return;
  amct_bins_free(&sketch->bins);
  amct_free(sketch);
}

size_t amct_sketch_bytes(const amct_sketch *sketch) {
  if (sketch == NULL) return 0;
  return sizeof *sketch + amct_bins_bytes(&sketch->bins);
}

static void span_take(amct_span *span, float value) {
  span->low = value < span->low ? value : span->low;
  span->high = value > span->high ? value : span->high;
}

/* Lets the bins reach over the values. */
static void reach_to(amct_sketch *sketch, const float *values, size_t count) {
  amct_span reach = sketch->reach;
  for (size_t i = 0; i < count; i++)
    span_take(&reach, values[i]);
  if (reach.low == sketch->reach.low && reach.high == sketch->reach.high) return;
  amct_bins_reach(&sketch->bins, reach);
  sketch->reach = reach;
}

/* Into the bins with up to BLOCK values, of whatever span. */
static void count_rest(amct_sketch *sketch, const float *values, size_t count) {
  reach_to(sketch, values, count);
  amct_bins_add(&sketch->bins, values, count);
}

/* Appends the values that beat the list's threshold, moves the others to the front of
 * `rest`, which may be `values`, and returns how many those are. The list has room for
 * more than `count`. */
static size_t split(amct_extremes *list, float *rest, const float *values, size_t count) {
  size_t kept = 0, at = list->count;
  for (size_t i = 0; i < count; i++) {
    float value = values[i] + 0.0f; /* -0 becomes 0 */
    bool wanted = list->largest ? value > list->threshold : value < list->threshold;
    list->at[at] = value; /* no branch: each goes to both, one of the two moves on */
    at += wanted;
    rest[kept] = value;
    kept += !wanted;
  }
  list->count = at;
  return kept;
}

static bool has_room(const amct_extremes *list, size_t count) {
  return list->count + count < AMCT_EXTREMES_ROOM;
}

static void trim_bottom(amct_sketch *sketch) {
  size_t evicted = amct_extremes_trim(&sketch->bottom);
  for (size_t done = 0; done < evicted; done += BLOCK) {
    size_t n = evicted - done < BLOCK ? evicted - done : BLOCK;
    count_rest(sketch, sketch->bottom.at + AMCT_SKETCH_EXACT + done, n);
  }
}

static void trim_top(amct_sketch *sketch) {
  size_t evicted = amct_extremes_trim(&sketch->top);
  for (size_t done = 0; done < evicted; done += BLOCK) {
    size_t n = evicted - done < BLOCK ? evicted - done : BLOCK;
    float rest[BLOCK];
    if (!has_room(&sketch->bottom, n)) trim_bottom(sketch);
    size_t kept =
        split(&sketch->bottom, rest, sketch->top.at + AMCT_SKETCH_EXACT + done, n);
    count_rest(sketch, rest, kept);
  }
}

/* Both lists take what they want of up to CHUNK values; see split. */
static size_t split_both(amct_sketch *sketch, float *rest, const float *values,
                         size_t count) {
  if (!has_room(&sketch->top, count)) trim_top(sketch);
  size_t kept = split(&sketch->top, rest, values, count);
  if (!has_room(&sketch->bottom, kept)) trim_bottom(sketch);
  return split(&sketch->bottom, rest, rest, kept);
}

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

/* Values that a list may want, or that the bins have not reached to, one by one. False:
 * one is not finite. */
static bool add_strangers(amct_sketch *sketch, const float *values, size_t count) {
  float rest[CHUNK];
  if (amct_find_not_finite(values, count) < count) return false;
  const size_t left = split_both(sketch, rest, values, count);
  reach_to(sketch, rest, left);
  amct_bins_add(&sketch->bins, rest, left);
  return true;
}

/* Values that neither list wants and that lie where the bins have counted before are
 * counted straight from where they are, run by run; others are rare once there have been
 * many. */
static bool add_block(amct_sketch *sketch, const float *values, size_t count) {
  amct_span plain = {fmaxf(sketch->reach.low, sketch->bottom.threshold),
                     fminf(sketch->reach.high, sketch->top.threshold)};
  uint8_t strange[CHUNKS];
  const size_t chunks = count / CHUNK, whole = chunks * CHUNK;
  if (find_strangers(strange, values, chunks, plain) == 0) {
    amct_bins_add(&sketch->bins, values, whole);
    return add_strangers(sketch, values + whole, count - whole);
  }
  for (size_t c = 0, first = 0; c <= chunks; c++) {
    if (c < chunks && strange[c] == 0) continue;
    amct_bins_add(&sketch->bins, values + first * CHUNK, (c - first) * CHUNK);
    first = c + 1;
    const size_t n = c < chunks ? CHUNK : count - whole;
    if (!add_strangers(sketch, values + c * CHUNK, n)) return false;
  }
  return true;
}

static AMCT_NOINLINE bool add_values(amct_sketch *sketch, const float *values,
                                     size_t count) {
  bool finite = true;
  for (size_t done = 0; done < count && finite; done += BLOCK)
    finite =
        add_block(sketch, values + done, count - done < BLOCK ? count - done : BLOCK);
  return finite;
}

/* Room for bins as soon as the lists cannot hold all, so that nothing fails half way. */
static amct_status prepare(amct_sketch *sketch, uint64_t more, amct_error *err) {
  const uint64_t total = sketch->count + more;
  const bool fits = total <= 2 * AMCT_SKETCH_EXACT;
  if (!fits && !amct_bins_reserve(&sketch->bins, total)) return amct_fail_memory(err);
  sketch->count = total;
  sketch->tidy = false;
  return AMCT_OK;
}

amct_status amct_sketch_add(amct_sketch *sketch, const float *values, size_t count,
                            amct_error *err) {
  if (count == 0) return AMCT_OK;
  AMCT_TRY(prepare(sketch, count, err));
  fenv_t saved;
  amct_float_env_enter(&saved);
  const bool finite = add_values(sketch, values, count);
  amct_float_env_leave(&saved);
  return finite ? AMCT_OK
                : amct_fail(err, AMCT_UNSUPPORTED, NULL, "a value is not finite");
}

/* What has left the lists of `other` leaves those of the union too: the values that
 * pushed it out are there, or in `sketch` where other is its branch. What is still in
 * them is added like any value. */
static AMCT_NOINLINE void merge(amct_sketch *sketch, const amct_sketch *other) {
  (void)add_values(sketch, other->top.at, other->top.count); /* finite */
  (void)add_values(sketch, other->bottom.at, other->bottom.count);
  amct_bins_merge(&sketch->bins, &other->bins);
  sketch->reach.low = fminf(sketch->reach.low, other->reach.low);
  sketch->reach.high = fmaxf(sketch->reach.high, other->reach.high);
}

amct_status amct_sketch_merge(amct_sketch *sketch, const amct_sketch *other,
                              amct_error *err) {
  if (sketch == other)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "a sketch merged with itself");
  if (other->count == 0) return AMCT_OK;
  AMCT_TRY(prepare(sketch, other->count, err));
  fenv_t saved;
  amct_float_env_enter(&saved);
  merge(sketch, other);
  amct_float_env_leave(&saved);
  return AMCT_OK;
}

static AMCT_NOINLINE void tidy(amct_sketch *sketch) {
  trim_top(sketch);
  trim_bottom(sketch);
  amct_extremes_sort(&sketch->top);
  amct_extremes_sort(&sketch->bottom);
  amct_bins_straighten(&sketch->bins);
  sketch->tidy = true;
}

static bool has_bins(const amct_sketch *sketch) {
  return sketch->bins.count != NULL && !sketch->bins.empty;
}

amct_sketch_view amct_sketch_look(amct_sketch *sketch) {
  fenv_t saved;
  amct_float_env_enter(&saved);
  if (!sketch->tidy) tidy(sketch);
  amct_float_env_leave(&saved);
  const amct_bins *bins = &sketch->bins;
  amct_sketch_view view = {
      .count = sketch->count,
      .top = sketch->top.at,
      .top_count = sketch->top.count,
      .bottom = sketch->bottom.at,
      .bottom_count = sketch->bottom.count,
  };
  if (!has_bins(sketch)) return view;
  view.bins = bins->count;
  view.wide = bins->wide;
  view.bin_count = (size_t)(bins->high - bins->low) + 1;
  view.first = bins->low;
  view.width = ldexp(1.0, bins->exponent);
  view.on_edges = !bins->off_edge;
  return view;
}

double amct_sketch_bin_value(const amct_sketch_view *view, size_t bin) {
  double edge = view->first + (double)bin;
  return (view->on_edges ? edge : edge + 0.5) * view->width;
}

/* The k-th value counted from either end. */
static float find_kth(const amct_sketch_view *view, uint64_t k, bool largest) {
  const float *near = largest ? view->top : view->bottom;
  const float *far = largest ? view->bottom : view->top;
  uint64_t near_count = largest ? view->top_count : view->bottom_count;
  uint64_t far_count = largest ? view->bottom_count : view->top_count;
  if (k <= near_count) return near[k - 1];
  if (k > view->count - far_count) return far[view->count - k];
  uint64_t seen = near_count;
  for (size_t i = 0; i < view->bin_count; i++) {
    size_t bin = largest ? view->bin_count - 1 - i : i;
    seen += amct_sketch_count(view, bin);
    if (seen >= k) return (float)amct_sketch_bin_value(view, bin);
  }
  return far_count != 0 ? far[far_count - 1] : near[near_count - 1];
}

float amct_sketch_largest(const amct_sketch_view *view, uint64_t k) {
  return find_kth(view, k, true);
}

float amct_sketch_smallest(const amct_sketch_view *view, uint64_t k) {
  return find_kth(view, k, false);
}
