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
  CHUNK = 64, /* values tested at once against the lists' thresholds */
  LANES = 16,
  CHUNKS = BLOCK / CHUNK,
  MANY = 1 << 17 /* values from which interleaved tables are worth their summing */
};

struct amct_sketch {
  uint64_t count;
  amct_extremes top, bottom;
  amct_bins bins;
  bool tidy; /* lists trimmed and sorted, bins straight */
};

amct_sketch *amct_sketch_new(void) {
  amct_sketch *sketch = amct_alloc(sizeof *sketch);
  if (sketch == NULL) return NULL;
  sketch->count = 0;
  sketch->tidy = false;
  sketch->bins = (amct_bins){0};
  amct_extremes_start(&sketch->top, true);
  amct_extremes_start(&sketch->bottom, false);
  return sketch;
}

void amct_sketch_free(amct_sketch *sketch) {
  if (sketch == NULL) return;
  amct_bins_free(&sketch->bins);
  amct_free(sketch);
}

static void span_take(amct_span *span, float value) {
  span->low = value < span->low ? value : span->low;
  span->high = value > span->high ? value : span->high;
}

static const amct_span k_no_span = {INFINITY, -INFINITY};

/* Into the bins with up to BLOCK values whose span is not known. */
static void count_rest(amct_sketch *sketch, const float *values, size_t count) {
  amct_span span = k_no_span;
  for (size_t i = 0; i < count; i++)
    span_take(&span, values[i]);
  if (count != 0) amct_bins_add(&sketch->bins, values, count, span);
}

/* Appends the values that beat the list's threshold, moves the others to the front of
 * `rest`, which may be `values`, and returns how many those are. The list has room for
 * more than `count`. */
static size_t split(amct_extremes *list, float *rest, const float *values, size_t count) {
  size_t kept = 0, at = list->count;
  for (size_t i = 0; i < count; i++) {
    float value = values[i];
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

/* Copies whole chunks, -0 as 0, with the span of each. Lanes, because a minimum over
 * floats is only vectorised where its order is spelt out. */
AMCT_CLONES static void copy_chunks(float *to, const float *from, size_t chunks,
                                    amct_span *spans) {
  for (size_t c = 0; c < chunks; c++, to += CHUNK, from += CHUNK) {
    float low[LANES], high[LANES];
    for (size_t l = 0; l < LANES; l++)
      low[l] = high[l] = to[l] = from[l] + 0.0f;
    for (size_t i = LANES; i < CHUNK; i += LANES) {
      for (size_t l = 0; l < LANES; l++) {
        float value = from[i + l] + 0.0f;
        to[i + l] = value;
        low[l] = value < low[l] ? value : low[l];
        high[l] = value > high[l] ? value : high[l];
      }
    }
    for (size_t half = LANES / 2; half > 0; half /= 2) {
      for (size_t l = 0; l < half; l++) {
        low[l] = low[l + half] < low[l] ? low[l + half] : low[l];
        high[l] = high[l + half] > high[l] ? high[l + half] : high[l];
      }
    }
    spans[c] = (amct_span){low[0], high[0]};
  }
}

static void add_block(amct_sketch *sketch, const float *values, size_t count) {
  float rest[BLOCK];
  amct_span spans[CHUNKS];
  size_t chunks = count / CHUNK, kept = 0;
  amct_span span = k_no_span;
  copy_chunks(rest, values, chunks, spans);
  for (size_t c = 0; c < chunks; c++) {
    float *chunk = rest + c * CHUNK;
    if (spans[c].high > sketch->top.threshold ||
        spans[c].low < sketch->bottom.threshold) {
      size_t left = split_both(sketch, rest + kept, chunk, CHUNK);
      for (size_t i = kept; i < kept + left; i++)
        span_take(&span, rest[i]);
      kept += left;
      continue;
    }
    if (kept != c * CHUNK) memmove(rest + kept, chunk, CHUNK * sizeof *rest);
    span_take(&span, spans[c].low);
    span_take(&span, spans[c].high);
    kept += CHUNK;
  }
  float tail[CHUNK];
  size_t tail_count = count - chunks * CHUNK;
  for (size_t i = 0; i < tail_count; i++)
    tail[i] = values[chunks * CHUNK + i] + 0.0f;
  size_t left = split_both(sketch, rest + kept, tail, tail_count);
  for (size_t i = kept; i < kept + left; i++)
    span_take(&span, rest[i]);
  kept += left;
  if (kept != 0) amct_bins_add(&sketch->bins, rest, kept, span);
}

static AMCT_NOINLINE void add_values(amct_sketch *sketch, const float *values,
                                     size_t count) {
  bool many = count >= MANY;
  if (many) amct_bins_begin(&sketch->bins);
  for (size_t done = 0; done < count; done += BLOCK)
    add_block(sketch, values + done, count - done < BLOCK ? count - done : BLOCK);
  if (many) amct_bins_end(&sketch->bins);
}

/* Room for bins as soon as the lists cannot hold all, so that nothing fails half way. */
static amct_status prepare(amct_sketch *sketch, uint64_t more, amct_error *err) {
  bool fits = sketch->count + more <= 2 * AMCT_SKETCH_EXACT;
  if (!fits && !amct_bins_reserve(&sketch->bins)) return amct_fail_memory(err);
  sketch->count += more;
  sketch->tidy = false;
  return AMCT_OK;
}

amct_status amct_sketch_add(amct_sketch *sketch, const float *values, size_t count,
                            amct_error *err) {
  if (count == 0) return AMCT_OK;
  AMCT_TRY(prepare(sketch, count, err));
  fenv_t saved;
  amct_float_env_enter(&saved);
  add_values(sketch, values, count);
  amct_float_env_leave(&saved);
  return AMCT_OK;
}

/* What has left the lists of `other` leaves those of the union too: the values that
 * pushed it out are there. What is still in them is added like any value. */
static AMCT_NOINLINE void merge(amct_sketch *sketch, const amct_sketch *other) {
  add_values(sketch, other->top.at, other->top.count);
  add_values(sketch, other->bottom.at, other->bottom.count);
  amct_bins_merge(&sketch->bins, &other->bins);
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
    seen += view->bins[bin];
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
