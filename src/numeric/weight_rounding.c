/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/weight_rounding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "numeric/clones.h"
#include "numeric/float_env.h"

enum {
  LANES = 8,    /* partial sums of a scalar product */
  ABREAST = 8,  /* channels that are rounded side by side */
  Q_MOST = 127, /* as far as scales let plain rounding go */
};

/* Inputs that are taken together, in ascending order of their mean square. */
typedef struct part {
  size_t first, count; /* of the rows of weights of a group */
  size_t group;
} part;

typedef struct input {
  double square; /* sum over the sample */
  size_t row;    /* of the group's weights */
} input;

typedef struct workspace {
  const amct_rounding *r;
  size_t inputs, all; /* of a tap in a group, in all */
  size_t groups, outputs;
  input *order;   /* of the part */
  double *lower;  /* count x count: H, then L */
  double *sought; /* count x ABREAST: sums of L[m,k] d[m] */
} workspace;

/* ---- H ---- */

static const int16_t *column_of(const workspace *s, part p, size_t row) {
  const size_t t = row / s->inputs, i = row % s->inputs;
  return s->r->steps + (t * s->all + p.group * s->inputs + i) * s->r->rows;
}

AMCT_CLONES static int32_t product(const int16_t *a, const int16_t *b, size_t count) {
  int32_t sum = 0;
  for (size_t i = 0; i < count; i++)
    sum += (int32_t)a[i] * (int32_t)b[i];
  return sum;
}

static int by_square(const void *a, const void *b) {
  const input *left = a, *right = b;
  if (left->square != right->square) return left->square < right->square ? -1 : 1;
  return left->row < right->row ? -1 : 1;
}

/* False: all inputs are zero. */
static bool fill_products(const workspace *s, part p) {
  const size_t n = p.count, rows = s->r->rows;
  double mean = 0;
  for (size_t k = 0; k < n; k++) {
    const int16_t *x = column_of(s, p, p.first + k);
    s->order[k] = (input){(double)product(x, x, rows), p.first + k};
    mean += s->order[k].square / (double)n;
  }
  if (!(mean > 0)) return false;
  qsort(s->order, n, sizeof *s->order, by_square);
  for (size_t k = 0; k < n; k++) {
    const int16_t *x = column_of(s, p, s->order[k].row);
    for (size_t l = 0; l < k; l++)
      s->lower[k * n + l] = (double)product(x, column_of(s, p, s->order[l].row), rows);
    s->lower[k * n + k] = s->order[k].square + s->r->damping * mean;
  }
  return true;
}

/* ---- Cholesky ---- */

AMCT_CLONES static double scalar_product(const double *a, const double *b, size_t count) {
  double lane[LANES] = {0}, sum = 0;
  size_t i = 0;
  for (; i + LANES <= count; i += LANES)
    for (size_t l = 0; l < LANES; l++)
      lane[l] += a[i + l] * b[i + l];
  for (; i < count; i++)
    lane[0] += a[i] * b[i];
  for (size_t l = 0; l < LANES; l++)
    sum += lane[l];
  return sum;
}

/* In place; H is positive definite by its damping. False: rounding has eaten that up. */
static bool factorize(double *a, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double *row = a + i * n;
    for (size_t j = 0; j < i; j++)
      row[j] = (row[j] - scalar_product(row, a + j * n, j)) / a[j * n + j];
    const double left = row[i] - scalar_product(row, row, i);
    if (!(left > 0)) return false;
    row[i] = sqrt(left);
  }
  return true;
}

/* ---- rounding ---- */

static double nearest(double x) {
  const double whole = round(x);
  return whole < -Q_MOST ? -Q_MOST : whole > Q_MOST ? Q_MOST : whole;
}

/* sought[k][.] += lower[k] * missed[.] for k < count */
AMCT_CLONES static void spread(double *sought, const double *lower, const double *missed,
                               size_t count) {
  for (size_t k = 0; k < count; k++)
    for (size_t c = 0; c < ABREAST; c++)
      sought[k * ABREAST + c] += lower[k] * missed[c];
}

static void round_channels(const workspace *s, part p, size_t first, size_t count,
                           int8_t *q) {
  const size_t n = p.count, channels = s->r->layout.channels;
  memset(s->sought, 0, n * ABREAST * sizeof *s->sought);
  for (size_t k = n; k-- > 0;) {
    const size_t at = s->order[k].row * channels + first;
    double missed[ABREAST] = {0};
    for (size_t c = 0; c < count; c++) {
      const float scale = s->r->scale[s->r->scales == 1 ? 0 : first + c];
      const double exact = (double)s->r->w[at + c] / (double)scale;
      const double whole =
          nearest(exact + s->sought[k * ABREAST + c] / s->lower[k * n + k]);
      q[at + c] = (int8_t)whole;
      missed[c] = exact - whole;
    }
    spread(s->sought, s->lower + k * n, missed, k);
  }
}

static void round_part(const workspace *s, part p, int8_t *q) {
  if (!fill_products(s, p) || !factorize(s->lower, p.count)) return;
  const size_t begin = p.group * s->outputs, end = begin + s->outputs;
  for (size_t c = begin; c < end; c += ABREAST)
    round_channels(s, p, c, end - c < ABREAST ? end - c : ABREAST, q);
}

static AMCT_NOINLINE void round_all(const workspace *s, size_t parts, int8_t *q) {
  const size_t outer = s->r->layout.outer;
  amct_weight_quantize(q, s->r->w, s->r->layout, s->r->scale, s->r->scales);
  for (size_t g = 0; g < s->groups; g++)
    for (size_t i = 0; i < parts; i++) {
      const size_t first = outer * i / parts, end = outer * (i + 1) / parts;
      round_part(s, (part){first, end - first, g}, q);
    }
}

/* ---- the whole ---- */

static bool fits(workspace *s) {
  const amct_rounding *r = s->r;
  const amct_weight_layout layout = r->layout;
  if (r->taps == 0 || layout.inner != 1 || layout.outer % r->taps != 0 ||
      r->width % r->taps != 0 || r->rows == 0 || r->rows > AMCT_ROUNDING_ROWS_MOST ||
      !(r->damping > 0))
    return false;
  s->inputs = layout.outer / r->taps;
  s->all = r->width / r->taps;
  if (s->inputs == 0 || s->all == 0 || s->all % s->inputs != 0) return false;
  s->groups = s->all / s->inputs;
  s->outputs = layout.channels / s->groups;
  return layout.channels % s->groups == 0;
}

amct_status amct_weight_round(int8_t *q, const amct_rounding *rounding, amct_error *err) {
  workspace s = {.r = rounding};
  amct_status status = AMCT_OK;
  if (!fits(&s))
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "%zu rows of %zu inputs for weights of %zu x %zu and %zu taps",
                     rounding->rows, rounding->width, rounding->layout.outer,
                     rounding->layout.channels, rounding->taps);
  const size_t outer = rounding->layout.outer;
  const size_t parts =
      (outer + AMCT_ROUNDING_INPUTS_MOST - 1) / AMCT_ROUNDING_INPUTS_MOST;
  const size_t most = (outer + parts - 1) / parts;
  s.order = amct_alloc_array(most, sizeof *s.order);
  s.lower = amct_alloc_array(most * most, sizeof *s.lower);
  s.sought = amct_alloc_array(most * ABREAST, sizeof *s.sought);
  if (s.order && s.lower && s.sought) {
    amct_float_env saved;
    amct_float_env_enter(&saved);
    round_all(&s, parts, q);
    amct_float_env_leave(&saved);
  } else {
    status = amct_fail_memory(err);
  }
  amct_free(s.order);
  amct_free(s.lower);
  amct_free(s.sought);
  return status;
}
