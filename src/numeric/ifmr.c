/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/ifmr.h"

#include <math.h>

#include "base/alloc.h"
#include "numeric/clip.h"
#include "numeric/clones.h"
#include "numeric/float_env.h"

enum { LANES = 8, MOST_CANDIDATES = 65536 };

static const double k_negligible = 1e-6; /* of scale^2, per value */

/* Sums over bins 0 .. i-1 of 1, x and x^2, so that a run of bins is a difference. */
typedef struct bin_sums {
  double *zeroth, *first, *second;
} bin_sums;

typedef struct search {
  amct_sketch_view view;
  bin_sums sums;
  amct_ends ends; /* min0, max0 */
  bool asymmetric;
} search;

static amct_clip candidate_of(const search *s, float r) {
  return amct_clip_of(s->ends, r, s->asymmetric);
}

AMCT_INLINE float steps_of(float x, amct_clip c) {
  float clipped = x > c.high ? c.high : x;
  clipped = clipped < c.low ? c.low : clipped;
  return amct_round_float(clipped / c.scale);
}

/* What rounding costs each value: float32 operations, as over the data itself. */
AMCT_CLONES static void find_misses(float *miss, const float *x, size_t count,
                                    amct_clip c) {
  for (size_t i = 0; i < count; i++)
    miss[i] = steps_of(x[i], c) * c.scale - x[i];
}

/* Squares and their sum in double. Lanes fix the order, whatever the vectors. */
AMCT_CLONES static double sum_squares(const float *miss, size_t count) {
  double lane[LANES] = {0};
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    for (size_t l = 0; l < LANES; l++)
      lane[l] += (double)miss[i + l] * (double)miss[i + l];
  }
  for (size_t l = 0; i + l < count; l++)
    lane[l] += (double)miss[i + l] * (double)miss[i + l];
  double sum = 0.0;
  for (size_t l = 0; l < LANES; l++)
    sum += lane[l];
  return sum;
}

/* A sorted list; of what a ReLU or a clip gives, all is one value. */
static double list_loss(const float *x, size_t count, amct_clip c) {
  float miss[AMCT_SKETCH_EXACT];
  const size_t distinct = count > 0 && x[0] == x[count - 1] ? 1 : count;
  find_misses(miss, x, distinct, c);
  const double sum = sum_squares(miss, distinct);
  return distinct == count ? sum : sum * (double)count;
}

/* Loss over the bins */

static float bin_steps(const search *s, size_t bin, amct_clip c) {
  return steps_of((float)amct_sketch_bin_value(&s->view, bin), c);
}

/* First bin from `from` on that rounds above `steps`: a guess from the boundary, then the
 * arithmetic itself decides. */
static size_t find_run_end(const search *s, size_t from, float steps, amct_clip c) {
  const amct_sketch_view *view = &s->view;
  double boundary = ((double)steps + 0.5) * (double)c.scale;
  double guess = ceil(boundary / view->width - view->first - 0.5);
  size_t end = from;
  if (guess > (double)from)
    end = guess < (double)view->bin_count ? (size_t)guess : view->bin_count;
  while (end > from && bin_steps(s, end - 1, c) > steps)
    end--;
  while (end < view->bin_count && bin_steps(s, end, c) <= steps)
    end++;
  return end;
}

/* sum n*(g - x)^2 = sum n*x^2 - 2*g*sum n*x + g^2*sum n over each run of bins with the
 * same g */
static double bin_loss(const search *s, amct_clip c) {
  size_t count = s->view.bin_count;
  if (count == 0) return 0.0;
  double loss = 0.0;
  float last = bin_steps(s, count - 1, c);
  size_t from = 0;
  for (float steps = bin_steps(s, 0, c); from < count; steps++) {
    size_t end = steps >= last ? count : find_run_end(s, from, steps, c);
    if (end == from) continue;
    double g = (double)(steps * c.scale);
    double zeroth = s->sums.zeroth[end] - s->sums.zeroth[from];
    double first = s->sums.first[end] - s->sums.first[from];
    double second = s->sums.second[end] - s->sums.second[from];
    loss += second - 2.0 * g * first + g * g * zeroth;
    from = end;
  }
  return loss;
}

static void sum_bins(bin_sums *sums, const amct_sketch_view *view) {
  sums->zeroth[0] = sums->first[0] = sums->second[0] = 0.0;
  for (size_t i = 0; i < view->bin_count; i++) {
    double n = (double)amct_sketch_count(view, i), x = amct_sketch_bin_value(view, i);
    sums->zeroth[i + 1] = sums->zeroth[i] + n;
    sums->first[i + 1] = sums->first[i] + n * x;
    sums->second[i + 1] = sums->second[i] + n * x * x;
  }
}

/* Search */

static double loss_of(const search *s, amct_clip c) {
  double loss = list_loss(s->view.top, s->view.top_count, c) +
                list_loss(s->view.bottom, s->view.bottom_count, c) + bin_loss(s, c);
  return loss / (double)s->view.count;
}

static amct_clip find_best(const search *s, const amct_range_options *options) {
  float start = (float)options->search_start, end = (float)options->search_end;
  float step = (float)options->search_step;
  amct_clip best = candidate_of(s, start), first_negligible = best;
  double best_loss = HUGE_VAL;
  bool best_is_negligible = false, any_negligible = false;
  for (int i = 0; i <= MOST_CANDIDATES; i++) {
    float r = start + (float)i * step;
    if (!(r < end)) break;
    amct_clip c = candidate_of(s, r);
    double loss = loss_of(s, c);
    bool negligible = loss < k_negligible * (double)c.scale * (double)c.scale;
    if (negligible && !any_negligible) first_negligible = c;
    any_negligible = any_negligible || negligible;
    if (loss < best_loss) {
      best = c;
      best_loss = loss;
      best_is_negligible = negligible;
    }
  }
  /* losses that are nothing but rounding errors do not compete */
  return best_is_negligible ? first_negligible : best;
}

static AMCT_NOINLINE void run_search(amct_range *range, search *s,
                                     const amct_range_options *options) {
  s->ends =
      amct_ends_with_zero(amct_percentile_value(&s->view, options->min_percentile, false),
                          amct_percentile_value(&s->view, options->max_percentile, true));
  s->asymmetric = options->asymmetric;
  sum_bins(&s->sums, &s->view);
  amct_clip widest = candidate_of(s, (float)options->search_end);
  bool is_dead = widest.scale == 1.0f && !(widest.high - widest.low > 1.0f);
  amct_clip best =
      is_dead ? widest : find_best(s, options); /* all candidates have scale 1 */
  *range = amct_clip_range(best, s->ends.min, s->asymmetric);
}

static amct_status check(const amct_range_options *options, amct_error *err) {
  double count = (options->search_end - options->search_start) / options->search_step;
  if (!(options->search_start > 0.0 && count > 0.0 && count <= MOST_CANDIDATES))
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "search range [%g, %g] in steps of %g: not 1 to %d candidates",
                     options->search_start, options->search_end, options->search_step,
                     MOST_CANDIDATES);
  return amct_percentiles_check(options, err);
}

amct_status amct_ifmr_search(amct_range *range, amct_sketch *sketch,
                             const amct_range_options *options, amct_error *err) {
  search s = {.view = amct_sketch_look(sketch)};
  if (s.view.count == 0)
    return amct_fail(err, AMCT_NOT_READY, NULL, "no values to take a range from");
  AMCT_TRY(check(options, err));
  size_t room = s.view.bin_count + 1;
  double *sums = amct_alloc_array(3 * room, sizeof *sums);
  if (sums == NULL) return amct_fail_memory(err);
  s.sums = (bin_sums){sums, sums + room, sums + 2 * room};
  amct_float_env saved;
  amct_float_env_enter(&saved);
  run_search(range, &s, options);
  amct_float_env_leave(&saved);
  amct_free(sums);
  return AMCT_OK;
}
