/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/hfmg.h"

#include <math.h>

#include "base/alloc.h"
#include "numeric/clip.h"
#include "numeric/float_env.h"

enum { CELLS = 256, PARTS = 100000, BINS_LEAST = 256, BINS_MOST = 65536 };

/* Places are in bins from `low` on. */
typedef struct histogram {
  size_t bins;
  double low, width; /* of the values: place p is the value low + p*width */
  double *count;
  /* sums over bins 0 .. i-1 of the integrals of n, n*x and n*x^2; bins + 1 each */
  double *zeroth, *first, *second;
} histogram;

typedef struct moments {
  double zeroth, first, second;
} moments;

static void count_value(histogram *h, double value, double times) {
  double place = floor((value - h->low) / h->width);
  const double last = (double)h->bins - 1.0;
  place = place < 0.0 ? 0.0 : place > last ? last : place;
  h->count[(size_t)place] += times;
}

static void fill(histogram *h, const amct_sketch_view *view) {
  for (size_t i = 0; i < view->top_count; i++)
    count_value(h, (double)view->top[i], 1.0);
  for (size_t i = 0; i < view->bottom_count; i++)
    count_value(h, (double)view->bottom[i], 1.0);
  for (size_t i = 0; i < view->bin_count; i++)
    if (amct_sketch_count(view, i) != 0)
      count_value(h, amct_sketch_bin_value(view, i), (double)amct_sketch_count(view, i));
}

/* A bin of density n between places e and e+1: n, n*(e + 1/2), n*(e^2 + e + 1/3). */
static void sum_up(histogram *h) {
  h->zeroth[0] = h->first[0] = h->second[0] = 0.0;
  for (size_t i = 0; i < h->bins; i++) {
    const double n = h->count[i], e = (double)i;
    h->zeroth[i + 1] = h->zeroth[i] + n;
    h->first[i + 1] = h->first[i] + n * (e + 0.5);
    h->second[i + 1] = h->second[i] + n * (e * e + e + 1.0 / 3.0);
  }
}

/* Integrals from the first bin to a place within 0 .. bins. */
static moments moments_to(const histogram *h, double place) {
  const double e = floor(place), f = place - e;
  const size_t i = (size_t)e;
  moments m = {h->zeroth[i], h->first[i], h->second[i]};
  if (f == 0.0) return m;
  const double n = h->count[i];
  m.zeroth += n * f;
  m.first += n * f * (e + 0.5 * f);
  m.second += n * f * (e * e + e * f + f * f / 3.0);
  return m;
}

/* The integral of n*(x - c)^2 between two places. */
static double miss(moments from, moments to, double c) {
  return (to.second - from.second) - 2.0 * c * (to.first - from.first) +
         c * c * (to.zeroth - from.zeroth);
}

static double loss_of(const histogram *h, size_t a, size_t b) {
  const double width = (double)(b + 1 - a) / CELLS;
  moments from = {0.0, 0.0, 0.0};
  double loss = 0.0;
  for (int cell = 0; cell < CELLS; cell++) {
    const bool last = cell == CELLS - 1; /* what lies outside is nearest to an end */
    const double edge = last ? (double)h->bins : (double)a + (cell + 1) * width;
    const moments to = moments_to(h, edge);
    loss += miss(from, to, (double)a + (cell + 0.5) * width);
    from = to;
  }
  return loss;
}

/* How many bins from `at` on hold `wanted` values; at most `most`. */
static size_t bins_to_drop(const histogram *h, size_t at, bool upwards, double wanted,
                           size_t most) {
  double dropped = 0.0;
  size_t n = 0;
  while (n < most && dropped < wanted) {
    dropped += h->count[upwards ? at + n : at - n];
    n++;
  }
  return n;
}

static void search(const histogram *h, double total, size_t *best_a, size_t *best_b) {
  const double wanted = ceil(total / PARTS);
  size_t a = 0, b = h->bins - 1;
  double least = HUGE_VAL;
  while ((b + 1 - a) * 4 >= h->bins) {
    const double loss = loss_of(h, a, b);
    if (loss < least) {
      least = loss;
      *best_a = a;
      *best_b = b;
    }
    const size_t kept = b + 1 - a;
    const size_t lower = bins_to_drop(h, a, true, wanted, kept);
    const size_t upper = bins_to_drop(h, b, false, wanted, kept);
    if (lower >= kept && upper >= kept) break;
    if (lower > upper)
      a += lower;
    else
      b -= upper;
  }
}

static AMCT_NOINLINE void run(float ends[2], histogram *h, const amct_sketch_view *view) {
  const float min = amct_sketch_smallest(view, 1), max = amct_sketch_largest(view, 1);
  size_t a = 0, b = h->bins - 1;
  ends[0] = min;
  ends[1] = max;
  h->low = (double)min;
  h->width = ((double)max - (double)min) / (double)h->bins;
  if (!(h->width > 0.0)) return; /* all values are one */
  fill(h, view);
  sum_up(h);
  search(h, (double)view->count, &a, &b);
  if (a > 0) ends[0] = (float)(h->low + (double)a * h->width);
  if (b + 1 < h->bins) ends[1] = (float)(h->low + (double)(b + 1) * h->width);
}

amct_status amct_hfmg_ends(float ends[2], amct_sketch *sketch, int64_t num_of_bins,
                           amct_error *err) {
  const amct_sketch_view view = amct_sketch_look(sketch);
  if (view.count == 0)
    return amct_fail(err, AMCT_NOT_READY, NULL, "no values to take a range from");
  if (num_of_bins < BINS_LEAST || num_of_bins > BINS_MOST)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "num_of_bins is %lld, not %d to %d", (long long)num_of_bins,
                     BINS_LEAST, BINS_MOST);
  histogram h = {.bins = (size_t)num_of_bins};
  const size_t room = h.bins + 1;
  h.count = amct_alloc_array(4 * room, sizeof *h.count); /* zeros */
  if (h.count == NULL) return amct_fail_memory(err);
  h.zeroth = h.count + room;
  h.first = h.zeroth + room;
  h.second = h.first + room;
  amct_float_env saved;
  amct_float_env_enter(&saved);
  run(ends, &h, &view);
  amct_float_env_leave(&saved);
  amct_free(h.count);
  return AMCT_OK;
}

static AMCT_NOINLINE amct_range range_of(const float ends[2], bool asymmetric) {
  return amct_ends_range(amct_ends_with_zero(ends[0], ends[1]), asymmetric);
}

amct_status amct_hfmg_search(amct_range *range, amct_sketch *sketch,
                             const amct_range_options *options, amct_error *err) {
  float ends[2];
  AMCT_TRY(amct_hfmg_ends(ends, sketch, options->num_of_bins, err));
  amct_float_env saved;
  amct_float_env_enter(&saved);
  *range = range_of(ends, options->asymmetric);
  amct_float_env_leave(&saved);
  return AMCT_OK;
}
