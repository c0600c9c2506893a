/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/input_sums.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "numeric/clones.h"
#include "numeric/float_env.h"

__extension__ typedef __int128 wide;

enum {
  ROWS = 0,
  COLUMNS = 1,
  COLUMN_BLOCK = 8,
  COARSE_BITS = 16, /* a sum is coarse*2^-16 + fine*2^-62 */
  FINE_BITS = 62,
  PICTURES_AT_ONCE = 1 << 16, /* 2^30 * 2^16 * 2^16 < 2^63 */
};
static const double k_sum_limit = 0x1p30;

/* Columns (or rows) that a tap sees: first, first + stride, ... last; none where
 * first > last. Position p sees p*stride + shift. */
typedef struct reach {
  int64_t first, last, shift;
} reach;

struct amct_input_sums {
  amct_window window;
  size_t taps, channels; /* taps: rows times columns */
  bool useless;
  uint64_t positions;
  wide *sum; /* of all pictures, in 2^-62 */
  /* of the pictures being added */
  int64_t *coarse, *fine;
  /* of one picture: by tap and channel; of one row: by column of the kernel and channel
   */
  double *picture, *row;
};

/* ---- windows ---- */

void amct_window_print(char text[AMCT_WINDOW_BYTES], const amct_window *window) {
  const amct_window *w = window;
  if (w->flat)
    snprintf(text, AMCT_WINDOW_BYTES, "flat");
  else
    snprintf(text, AMCT_WINDOW_BYTES, "%s:%s:%d:%d:%d:%d:%d:%d",
             w->channels_first ? "NCHW" : "NHWC", w->same ? "SAME" : "VALID",
             (int)w->kernel[0], (int)w->kernel[1], (int)w->stride[0], (int)w->stride[1],
             (int)w->dilation[0], (int)w->dilation[1]);
}

static bool takes(const char **at, const char *word) {
  const size_t size = strlen(word);
  if (strncmp(*at, word, size) != 0) return false;
  *at += size;
  return true;
}

static bool read_numbers(const char *at, amct_window *window) {
  int64_t *const to[] = {window->kernel, window->stride, window->dilation};
  for (int i = 0; i < 6; i++) {
    char *end = NULL;
    if (*at != ':' || at[1] < '0' || at[1] > '9') return false;
    const long number = strtol(at + 1, &end, 10);
    if (number < 1 || number > INT32_MAX) return false;
    to[i / 2][i % 2] = number;
    at = end;
  }
  return *at == '\0' && window->kernel[0] <= AMCT_WINDOW_KERNEL_MAX &&
         window->kernel[1] <= AMCT_WINDOW_KERNEL_MAX;
}

bool amct_window_read(amct_slice text, amct_window *window) {
  char copy[AMCT_WINDOW_BYTES] = "";
  const char *at = copy;
  if (text.size == 0 || text.size >= sizeof copy) return false;
  memcpy(copy, text.data, text.size);
  *window = (amct_window){{1, 1}, {1, 1}, {1, 1}, false, false, true};
  if (strcmp(copy, "flat") == 0) return strlen(copy) == text.size;
  window->flat = false;
  window->channels_first = takes(&at, "NCHW:");
  if (!window->channels_first && !takes(&at, "NHWC:")) return false;
  window->same = takes(&at, "SAME");
  return (window->same || takes(&at, "VALID")) && read_numbers(at, window) &&
         strlen(copy) == text.size;
}

static int64_t extent_of(const amct_window *w, int axis) {
  return (w->kernel[axis] - 1) * w->dilation[axis] + 1;
}

static int64_t positions_of(const amct_window *w, int axis, int64_t in) {
  const int64_t stride = w->stride[axis], extent = extent_of(w, axis);
  if (w->same) return (in + stride - 1) / stride;
  return in < extent ? 0 : (in - extent) / stride + 1;
}

bool amct_window_fits(const amct_window *window, const int64_t *dims, int rank,
                      amct_pictures *pictures) {
  *pictures = (amct_pictures){.in = {1, 1}, .out = {1, 1}};
  if (window->flat ? rank < 1 : rank != 4) return false;
  const int channel = window->channels_first ? 1 : rank - 1;
  pictures->channels = (size_t)dims[channel];
  pictures->count = 1;
  for (int i = 0; i < (window->flat ? rank - 1 : 1); i++)
    pictures->count *= (size_t)dims[i];
  for (int axis = 0; axis < 2 && !window->flat; axis++) {
    pictures->in[axis] = dims[(window->channels_first ? 2 : 1) + axis];
    pictures->out[axis] = positions_of(window, axis, pictures->in[axis]);
  }
  return true;
}

/* Of large pictures every n-th row of positions counts. */
static int64_t row_step(const amct_pictures *p) {
  const int64_t rows = p->out[ROWS], most = rows / AMCT_ROWS_LEAST;
  const int64_t step = rows * p->out[COLUMNS] / AMCT_POSITIONS_ENOUGH;
  return step < 1 || most < 1 ? 1 : step < most ? step : most;
}

static int64_t rows_counted(const amct_pictures *p) {
  const int64_t step = row_step(p);
  return (p->out[ROWS] - step / 2 + step - 1) / step;
}

int64_t amct_window_pad(const amct_window *window, const amct_pictures *pictures,
                        int axis) {
  if (!window->same) return 0;
  const int64_t past = (pictures->out[axis] - 1) * window->stride[axis];
  const int64_t pad = past + extent_of(window, axis) - pictures->in[axis];
  return pad > 0 ? pad / 2 : 0;
}

bool amct_window_equal(const amct_window *a, const amct_window *b) {
  return memcmp(a->kernel, b->kernel, sizeof a->kernel) == 0 &&
         memcmp(a->stride, b->stride, sizeof a->stride) == 0 &&
         memcmp(a->dilation, b->dilation, sizeof a->dilation) == 0 &&
         a->same == b->same && a->channels_first == b->channels_first &&
         a->flat == b->flat;
}

static reach reach_of(const amct_window *w, const amct_pictures *p, int axis,
                      int64_t tap) {
  const int64_t stride = w->stride[axis], in = p->in[axis], out = p->out[axis];
  const int64_t pad = amct_window_pad(w, p, axis);
  const int64_t shift =
      tap * w->dilation[axis] - pad; /* point = position*stride + shift */
  const int64_t low = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
  const int64_t room = in - 1 - shift;
  int64_t high = room < 0 ? -1 : room / stride;
  if (high > out - 1) high = out - 1;
  return (reach){low * stride + shift, high * stride + shift, shift};
}

/* ---- memory ---- */

amct_input_sums *amct_input_sums_new(const amct_window *window, size_t channels) {
  const size_t columns = (size_t)window->kernel[COLUMNS];
  const size_t taps = (size_t)window->kernel[ROWS] * columns, size = taps * channels;
  amct_input_sums *sums = amct_alloc_array(1, sizeof *sums);
  if (sums == NULL) return NULL;
  *sums = (amct_input_sums){.window = *window, .taps = taps, .channels = channels};
  sums->sum = amct_alloc_array(size + 1, sizeof *sums->sum);
  sums->coarse = amct_alloc_array(2 * size + 1, sizeof *sums->coarse);
  sums->picture = amct_alloc_array(size + columns * channels + 1, sizeof *sums->picture);
  if (sums->sum == NULL || sums->coarse == NULL || sums->picture == NULL) {
    amct_input_sums_free(sums);
    return NULL;
  }
  sums->fine = sums->coarse + size;
  sums->row = sums->picture + size;
  return sums;
}

void amct_input_sums_free(amct_input_sums *sums) {
  if (sums == NULL) return;
  amct_free(sums->sum);
  amct_free(sums->coarse);
  amct_free(sums->picture);
  amct_free(sums);
}

/* ---- one picture ---- */

/* Where its points are. */
typedef struct steps {
  size_t row, column, channel;
} steps;

/* acc[c] += sum of x[m*step + c] over m < columns. */
AMCT_CLONES static void add_columns(double *acc, const float *x, size_t channels,
                                    size_t columns, size_t step) {
  size_t m = 0;
  for (; m + COLUMN_BLOCK <= columns; m += COLUMN_BLOCK) {
    const float *a = x + m * step, *b = a + 4 * step;
    for (size_t c = 0; c < channels; c++) {
      const float low = (a[c] + a[step + c]) + (a[2 * step + c] + a[3 * step + c]);
      const float high = (b[c] + b[step + c]) + (b[2 * step + c] + b[3 * step + c]);
      acc[c] += (double)(low + high);
    }
  }
  for (; m < columns; m++)
    for (size_t c = 0; c < channels; c++)
      acc[c] += (double)x[m * step + c];
}

/* The same where channels do not lie next to each other; the same bits too. */
static void add_columns_apart(double *acc, const float *x, size_t channels,
                              size_t columns, steps at) {
  for (size_t c = 0; c < channels; c++)
    add_columns(acc + c, x + c * at.channel, 1, columns, at.column);
}

/* Columns first, first + stride, ... last of a row. */
static void add_reach(const amct_input_sums *s, double *acc, const float *row, reach r,
                      steps at) {
  if (r.first > r.last) return;
  const size_t stride = (size_t)s->window.stride[COLUMNS];
  const size_t columns = (size_t)(r.last - r.first) / stride + 1;
  at.column *= stride;
  row += (size_t)r.first * (at.column / stride);
  if (at.channel == 1)
    add_columns(acc, row, s->channels, columns, at.column);
  else
    add_columns_apart(acc, row, s->channels, columns, at);
}

static reach overlap(reach a, reach b) {
  return (reach){a.first > b.first ? a.first : b.first, a.last < b.last ? a.last : b.last,
                 a.shift};
}

/* Sums of a row by column of the kernel. Taps on the same columns but for a few at the
 * ends share what they have in common. */
static void sum_row(const amct_input_sums *s, const reach *reaches, const float *row,
                    steps at) {
  const int64_t columns = s->window.kernel[COLUMNS], stride = s->window.stride[COLUMNS];
  bool done[AMCT_WINDOW_KERNEL_MAX] = {false};
  for (int64_t j = 0; j < columns; j++) {
    if (done[j]) continue;
    reach common = reaches[j];
    double *sum = s->row + (size_t)j * s->channels;
    for (int64_t i = j + 1; i < columns; i++)
      if ((reaches[i].first - reaches[j].first) % stride == 0)
        common = overlap(common, reaches[i]);
    const bool shared = common.first <= common.last;
    memset(sum, 0, s->channels * sizeof *sum);
    if (shared) add_reach(s, sum, row, common, at);
    for (int64_t i = columns - 1; i >= j; i--) { /* tap j last: it holds what is common */
      if ((reaches[i].first - reaches[j].first) % stride != 0) continue;
      double *own = s->row + (size_t)i * s->channels;
      done[i] = true;
      if (i != j) memcpy(own, sum, s->channels * sizeof *own);
      if (!shared) {
        add_reach(s, own, row, reaches[i], at);
        continue;
      }
      add_reach(s, own, row, (reach){reaches[i].first, common.first - stride, 0}, at);
      add_reach(s, own, row, (reach){common.last + stride, reaches[i].last, 0}, at);
    }
  }
}

AMCT_CLONES static void add_doubles(double *to, const double *from, size_t count) {
  for (size_t i = 0; i < count; i++)
    to[i] += from[i];
}

/* Does the tap see row y from a position that counts? */
static bool sees(reach r, int64_t y, int64_t stride, int64_t step) {
  if (y < r.first || y > r.last || (y - r.shift) % stride != 0) return false;
  return (y - r.shift) / stride % step == step / 2;
}

static void sum_picture(const amct_input_sums *s, const amct_pictures *p, const float *x,
                        steps at) {
  const amct_window *w = &s->window;
  const size_t width = (size_t)w->kernel[COLUMNS] * s->channels;
  const int64_t step = row_step(p);
  reach columns[AMCT_WINDOW_KERNEL_MAX], rows[AMCT_WINDOW_KERNEL_MAX];
  memset(s->picture, 0, s->taps * s->channels * sizeof *s->picture);
  for (int64_t j = 0; j < w->kernel[COLUMNS]; j++)
    columns[j] = reach_of(w, p, COLUMNS, j);
  for (int64_t i = 0; i < w->kernel[ROWS]; i++)
    rows[i] = reach_of(w, p, ROWS, i);
  for (int64_t y = 0; y < p->in[ROWS]; y++) {
    bool summed = false;
    for (int64_t i = 0; i < w->kernel[ROWS]; i++) {
      if (!sees(rows[i], y, w->stride[ROWS], step)) continue;
      if (!summed) sum_row(s, columns, x + (size_t)y * at.row, at);
      summed = true;
      add_doubles(s->picture + (size_t)i * width, s->row, width);
    }
  }
}

/* A kernel of one point that is everywhere: a picture is one long row, where all of its
 * rows count. */
static void sum_points(const amct_input_sums *s, const amct_pictures *p, const float *x,
                       steps at) {
  const size_t step = (size_t)row_step(p);
  size_t rows = (size_t)p->in[ROWS], width = (size_t)p->in[COLUMNS];
  memset(s->picture, 0, s->channels * sizeof *s->picture);
  if (step == 1) {
    width *= rows;
    rows = 1;
  }
  for (size_t y = step / 2; y < rows; y += step) {
    if (at.channel == 1)
      add_columns(s->picture, x + y * at.row, s->channels, width, at.column);
    else
      add_columns_apart(s->picture, x + y * at.row, s->channels, width, at);
  }
}

/* ---- between pictures ---- */

/* value + 1.5*2^52 has value, rounded to whole numbers, in its low bits. */
AMCT_INLINE int64_t whole_of(double value, double *rounded) {
  const double magic = 0x1.8p52;
  const double sum = value + magic;
  int64_t bits, base;
  memcpy(&bits, &sum, sizeof bits);
  memcpy(&base, &magic, sizeof base);
  *rounded = sum - magic;
  return bits - base;
}

/* Adds a picture's sums as whole numbers. False: one is out of bounds. */
AMCT_CLONES static bool add_wholes(int64_t *coarse, int64_t *fine, const double *sum,
                                   size_t count) {
  const double up = 0x1p16, down = 0x1p-16, finest = 0x1p62;
  int64_t bad = 0;
  for (size_t i = 0; i < count; i++) {
    double rounded, ignored;
    coarse[i] += whole_of(sum[i] * up, &rounded);
    fine[i] += whole_of((sum[i] - rounded * down) * finest, &ignored);
    bad |= !(fabs(sum[i]) < k_sum_limit);
  }
  return bad == 0;
}

static void flush(amct_input_sums *s) {
  const size_t size = s->taps * s->channels;
  for (size_t i = 0; i < size; i++)
    s->sum[i] += ((wide)s->coarse[i] * ((int64_t)1 << (FINE_BITS - COARSE_BITS))) +
                 (wide)s->fine[i];
  memset(s->coarse, 0, 2 * size * sizeof *s->coarse);
}

static bool is_one_point(const amct_window *w) {
  return w->kernel[0] == 1 && w->kernel[1] == 1 && w->stride[0] == 1 && w->stride[1] == 1;
}

static AMCT_NOINLINE void add(amct_input_sums *s, const amct_pictures *p,
                              const float *values, size_t first, size_t count) {
  const size_t points = (size_t)p->in[ROWS] * (size_t)p->in[COLUMNS];
  const size_t width = (size_t)p->in[COLUMNS];
  const steps at = s->window.channels_first
                       ? (steps){width, 1, points}
                       : (steps){width * s->channels, s->channels, 1};
  for (size_t n = 0; n < count && !s->useless; n++) {
    const float *x = values + (first + n) * points * s->channels;
    if (is_one_point(&s->window))
      sum_points(s, p, x, at);
    else
      sum_picture(s, p, x, at);
    if (!add_wholes(s->coarse, s->fine, s->picture, s->taps * s->channels))
      s->useless = true;
    if (n % PICTURES_AT_ONCE == PICTURES_AT_ONCE - 1) flush(s);
  }
  flush(s);
  s->positions += count * (uint64_t)rows_counted(p) * (uint64_t)p->out[COLUMNS];
}

void amct_input_sums_add(amct_input_sums *sums, const amct_pictures *pictures,
                         const float *values, size_t first, size_t count) {
  amct_float_env saved;
  amct_float_env_enter(&saved);
  add(sums, pictures, values, first, count);
  amct_float_env_leave(&saved);
}

void amct_input_sums_merge(amct_input_sums *sums, const amct_input_sums *other) {
  for (size_t i = 0; i < sums->taps * sums->channels; i++)
    sums->sum[i] += other->sum[i];
  sums->positions += other->positions;
  sums->useless = sums->useless || other->useless;
}

size_t amct_input_sums_size(const amct_input_sums *sums) {
  return sums->taps * sums->channels;
}

bool amct_input_sums_means(const amct_input_sums *sums, float *mean) {
  if (sums->useless || sums->positions == 0) return false;
  for (size_t i = 0; i < sums->taps * sums->channels; i++)
    mean[i] = (float)((double)sums->sum[i] * 0x1p-62 / (double)sums->positions);
  return true;
}
