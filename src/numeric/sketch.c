/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/sketch_private.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "numeric/float_env.h"

enum { BLOCK = AMCT_SKETCH_BLOCK };

static const amct_span k_no_span = {INFINITY, -INFINITY};

amct_sketch *amct_sketch_new(void) {
  amct_sketch *sketch = amct_alloc(sizeof *sketch);
  if (sketch == NULL) return NULL;
  sketch->count = 0;
  sketch->is_branch = sketch->tidy = false;
  memset(sketch->shift, 0, sizeof sketch->shift);
  sketch->bins = (amct_bins){0};
  amct_extremes_start(&sketch->top, true);
  amct_extremes_start(&sketch->bottom, false);
  sketch->reach = k_no_span;
  return sketch;
}

amct_sketch *amct_sketch_branch(const amct_sketch *trunk) {
  amct_sketch *sketch = amct_sketch_new();
  if (sketch == NULL) return NULL;
  sketch->is_branch = true;
  if (trunk->bins.count == NULL) return sketch;
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

static void take_from(amct_loose *some, const amct_extremes *list, size_t first,
                      size_t count) {
  some->count = count < BLOCK ? count : BLOCK;
  memcpy(some->value, list->at + first, some->count * sizeof *some->value);
  memcpy(some->weight, list->weight + first, some->count);
}

/* Into the bins with values of whatever span, weight by weight. */
static void count_rest(amct_sketch *sketch, amct_loose *some) {
  float same[BLOCK];
  reach_to(sketch, some->value, some->count);
  while (some->count > 0) {
    const uint8_t weight = some->weight[0];
    size_t n = 0, left = 0;
    for (size_t i = 0; i < some->count; i++) {
      const bool now = some->weight[i] == weight;
      same[n] = some->value[i];
      some->value[left] = some->value[i];
      some->weight[left] = some->weight[i];
      n += now;
      left += !now;
    }
    some->count = left;
    if (weight > 0) amct_bins_add(&sketch->bins, same, n, weight);
  }
}

/* Appends the values that beat the list's threshold, and leaves the others. The list has
 * room for more than there are. */
static void split(amct_extremes *list, amct_loose *some) {
  size_t kept = 0, at = list->count;
  for (size_t i = 0; i < some->count; i++) {
    const float value = some->value[i] + 0.0f; /* -0 becomes 0 */
    const uint8_t weight = some->weight[i];
    bool wanted = list->largest ? value > list->threshold : value < list->threshold;
    list->at[at] = value; /* no branch: each goes to both, one of the two moves on */
    list->weight[at] = weight;
    at += wanted;
    some->value[kept] = value;
    some->weight[kept] = weight;
    kept += !wanted;
  }
  list->count = at;
  some->count = kept;
}

static bool has_room(const amct_extremes *list, size_t count) {
  return list->count + count < AMCT_EXTREMES_ROOM;
}

static void trim_bottom(amct_sketch *sketch) {
  size_t evicted = amct_extremes_trim(&sketch->bottom);
  for (size_t done = 0; done < evicted; done += BLOCK) {
    amct_loose some;
    take_from(&some, &sketch->bottom, AMCT_SKETCH_EXACT + done, evicted - done);
    count_rest(sketch, &some);
  }
}

static void add_to_bottom(amct_sketch *sketch, amct_loose *some) {
  if (!has_room(&sketch->bottom, some->count)) trim_bottom(sketch);
  split(&sketch->bottom, some);
  count_rest(sketch, some);
}

static void trim_top(amct_sketch *sketch) {
  size_t evicted = amct_extremes_trim(&sketch->top);
  for (size_t done = 0; done < evicted; done += BLOCK) {
    amct_loose some;
    take_from(&some, &sketch->top, AMCT_SKETCH_EXACT + done, evicted - done);
    add_to_bottom(sketch, &some);
  }
}

void amct_sketch_add_loose(amct_sketch *sketch, amct_loose *some) {
  if (some->count == 0) return;
  if (!has_room(&sketch->top, some->count)) trim_top(sketch);
  split(&sketch->top, some);
  add_to_bottom(sketch, some);
}

static bool has_bins(const amct_sketch *sketch) {
  return sketch->bins.count != NULL && !sketch->bins.empty;
}

/* A sorted list has some of the values equal to its worst, and the bins the others:
 * how much more those of the list weigh than the one that each counts. */
static int64_t weight_owed(const amct_extremes *list, float next) {
  int64_t owed = 0;
  for (size_t i = list->count; i > 0 && list->at[i - 1] == next; i--)
    owed += (int64_t)list->weight[i - 1] - 1;
  return owed;
}

/* Which of equal values left a list, and with what weight, depends on their order; what
 * all of them weigh does not. Their bin gets that, less one for each in the list. */
static void settle_ties(amct_sketch *sketch) {
  amct_bins *bins = &sketch->bins;
  int64_t owed[2] = {weight_owed(&sketch->top, sketch->reach.high),
                     weight_owed(&sketch->bottom, sketch->reach.low)};
  sketch->shift[0].slot = (size_t)(bins->high - bins->low);
  sketch->shift[1].slot = 0;
  if (sketch->shift[0].slot == 0) {
    owed[0] += owed[1];
    owed[1] = 0;
  }
  for (int i = 0; i < 2; i++)
    sketch->shift[i].by = amct_bins_shift(bins, sketch->shift[i].slot, owed[i]);
}

/* Before more comes. */
static void untidy(amct_sketch *sketch) {
  for (int i = 0; sketch->tidy && i < 2; i++)
    if (sketch->shift[i].by != 0)
      (void)amct_bins_shift(&sketch->bins, sketch->shift[i].slot, -sketch->shift[i].by);
  memset(sketch->shift, 0, sizeof sketch->shift);
  sketch->tidy = false;
}

amct_status amct_sketch_prepare(amct_sketch *sketch, uint64_t more, amct_error *err) {
  const uint64_t total = sketch->count + more;
  const bool fits = total <= 2 * AMCT_SKETCH_EXACT;
  if (!fits && !amct_bins_reserve(&sketch->bins, total)) return amct_fail_memory(err);
  untidy(sketch);
  sketch->count = total;
  return AMCT_OK;
}

static void add_list(amct_sketch *sketch, const amct_extremes *list) {
  for (size_t done = 0; done < list->count; done += BLOCK) {
    amct_loose some;
    take_from(&some, list, done, list->count - done);
    amct_sketch_add_loose(sketch, &some);
  }
}

/* What has left the lists of `other` leaves those of the union too: the values that
 * pushed it out are there, or in `sketch` where other is its branch. What is still in
 * them is added like any value. */
static AMCT_NOINLINE void merge(amct_sketch *sketch, amct_sketch *other) {
  untidy(other);
  add_list(sketch, &other->top);
  add_list(sketch, &other->bottom);
  amct_bins_merge(&sketch->bins, &other->bins);
  sketch->reach.low = fminf(sketch->reach.low, other->reach.low);
  sketch->reach.high = fmaxf(sketch->reach.high, other->reach.high);
}

amct_status amct_sketch_merge(amct_sketch *sketch, amct_sketch *other, amct_error *err) {
  if (sketch == other)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "a sketch merged with itself");
  if (other->count == 0) return AMCT_OK;
  AMCT_TRY(amct_sketch_prepare(sketch, other->count, err));
  amct_float_env saved;
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
  if (has_bins(sketch)) settle_ties(sketch);
  sketch->tidy = true;
}

amct_sketch_view amct_sketch_look(amct_sketch *sketch) {
  amct_float_env saved;
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
  view.on_edges = !bins->off_edge && amct_bins_on_edge(bins, sketch->reach.low) &&
                  amct_bins_on_edge(bins, sketch->reach.high);
  return view;
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
