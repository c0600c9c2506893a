/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/input_rows.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "numeric/float_env.h"
#include "numeric/kernels.h"

enum { LOOKED_AT = 1024 /* values of a picture that its rank is made of */ };

/* A row that was taken; `slot` is where its values are. */
typedef struct taken {
  uint64_t rank;
  size_t slot;
} taken;

struct amct_input_rows {
  amct_window window;
  size_t channels, width, most;
  size_t count;
  taken *heap;   /* the highest rank first */
  float *values; /* of most + 1 slots: one is free */
  size_t free_slot;
};

static size_t width_of(const amct_window *window, size_t channels) {
  return (size_t)window->kernel[0] * (size_t)window->kernel[1] * channels;
}

static size_t most_rows(size_t width) {
  const size_t fit = AMCT_ROWS_BYTES_MOST / (width * sizeof(float));
  const size_t most = fit < AMCT_ROWS_MOST ? fit : AMCT_ROWS_MOST;
  return most > AMCT_ROWS_FEWEST ? most : AMCT_ROWS_FEWEST;
}

bool amct_input_rows_possible(const amct_window *window, size_t channels) {
  return channels > 0 && width_of(window, channels) <= AMCT_ROW_VALUES_MOST;
}

amct_input_rows *amct_input_rows_new(const amct_window *window, size_t channels) {
  amct_input_rows *rows = amct_alloc_array(1, sizeof *rows);
  if (rows == NULL) return NULL;
  rows->window = *window;
  rows->channels = channels;
  rows->width = width_of(window, channels);
  rows->most = most_rows(rows->width);
  rows->heap = amct_alloc_array(rows->most, sizeof *rows->heap);
  rows->values = amct_alloc_array(rows->most + 1, rows->width * sizeof *rows->values);
  if (rows->heap != NULL && rows->values != NULL) return rows;
  amct_input_rows_free(rows);
  return NULL;
}

void amct_input_rows_free(amct_input_rows *rows) {
  if (rows == NULL) return;
  amct_free(rows->heap);
  amct_free(rows->values);
  amct_free(rows);
}

/* ---- the rows of least rank ---- */

static float *values_of(const amct_input_rows *rows, size_t slot) {
  return rows->values + slot * rows->width;
}

/* By rank, then by values: pictures may look alike where they are looked at. */
static int compare(const amct_input_rows *rows, taken a, taken b) {
  if (a.rank != b.rank) return a.rank < b.rank ? -1 : 1;
  return memcmp(values_of(rows, a.slot), values_of(rows, b.slot),
                rows->width * sizeof *rows->values);
}

static void sift_down(amct_input_rows *rows) {
  taken *heap = rows->heap;
  for (size_t at = 0, next; (next = 2 * at + 1) < rows->count; at = next) {
    if (next + 1 < rows->count && compare(rows, heap[next + 1], heap[next]) > 0) next++;
    if (compare(rows, heap[next], heap[at]) <= 0) return;
    const taken moved = heap[at];
    heap[at] = heap[next];
    heap[next] = moved;
  }
}

static void sift_up(amct_input_rows *rows) {
  taken *heap = rows->heap;
  for (size_t at = rows->count - 1; at > 0; at = (at - 1) / 2) {
    const size_t above = (at - 1) / 2;
    if (compare(rows, heap[at], heap[above]) <= 0) return;
    const taken moved = heap[at];
    heap[at] = heap[above];
    heap[above] = moved;
  }
}

/* Takes the row in the free slot, if it is among those of least rank. */
static void take(amct_input_rows *rows, uint64_t rank) {
  const taken found = {rank, rows->free_slot};
  if (rows->count < rows->most) {
    rows->heap[rows->count++] = found;
    rows->free_slot = rows->count;
    sift_up(rows);
  } else if (compare(rows, found, rows->heap[0]) < 0) {
    rows->free_slot = rows->heap[0].slot;
    rows->heap[0] = found;
    sift_down(rows);
  }
}

/* ---- pictures ---- */

static uint64_t scramble(uint64_t x) {
  x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
  return x ^ (x >> 31);
}

/* Of values spread over the picture. */
static uint64_t rank_of_picture(const float *x, size_t count) {
  float seen[LOOKED_AT];
  const size_t wanted = count < LOOKED_AT ? count : LOOKED_AT;
  for (size_t i = 0; i < wanted; i++)
    seen[i] = x[i * count / wanted];
  return amct_digest(count, seen, wanted * sizeof *seen);
}

/* Where points of a picture are. */
typedef struct strides {
  size_t row, column, channel;
} strides;

typedef struct picture {
  const amct_pictures *of;
  const float *x;
  strides at;
  int64_t pad[2];
} picture;

static void copy_point(const amct_input_rows *rows, float *to, const picture *p,
                       int64_t row, int64_t column) {
  if (row < 0 || row >= p->of->in[0] || column < 0 || column >= p->of->in[1]) {
    memset(to, 0, rows->channels * sizeof *to);
    return;
  }
  const float *from = p->x + (size_t)row * p->at.row + (size_t)column * p->at.column;
  if (p->at.channel == 1) {
    memcpy(to, from, rows->channels * sizeof *to);
    return;
  }
  for (size_t c = 0; c < rows->channels; c++)
    to[c] = from[c * p->at.channel];
}

/* What the position sees, into the free slot. */
static void gather(amct_input_rows *rows, const picture *p, int64_t y, int64_t x) {
  const amct_window *w = &rows->window;
  float *to = values_of(rows, rows->free_slot);
  for (int64_t i = 0; i < w->kernel[0]; i++) {
    const int64_t row = y * w->stride[0] + i * w->dilation[0] - p->pad[0];
    for (int64_t j = 0; j < w->kernel[1]; j++, to += rows->channels)
      copy_point(rows, to, p, row, x * w->stride[1] + j * w->dilation[1] - p->pad[1]);
  }
}

static void add_picture(amct_input_rows *rows, const picture *p, size_t size) {
  const uint64_t rank = rank_of_picture(p->x, size);
  const int64_t columns = p->of->out[1], positions = p->of->out[0] * columns;
  for (int64_t i = 0; i < positions; i++) {
    const uint64_t own = scramble(rank + (uint64_t)i * UINT64_C(0x9E3779B97F4A7C15));
    if (rows->count == rows->most && own > rows->heap[0].rank) continue;
    gather(rows, p, i / columns, i % columns);
    take(rows, own);
  }
}

void amct_input_rows_add(amct_input_rows *rows, const amct_pictures *pictures,
                         const float *values) {
  const size_t width = (size_t)pictures->in[1];
  const size_t points = (size_t)pictures->in[0] * width;
  picture p = {.of = pictures, .at = {width * rows->channels, rows->channels, 1}};
  if (rows->window.channels_first) p.at = (strides){width, 1, points};
  for (int axis = 0; axis < 2; axis++)
    p.pad[axis] = amct_window_pad(&rows->window, pictures, axis);
  for (size_t n = 0; n < pictures->count; n++) {
    p.x = values + n * points * rows->channels;
    add_picture(rows, &p, points * rows->channels);
  }
}

/* ---- the sample ---- */

size_t amct_input_rows_count(const amct_input_rows *rows) {
  return rows->count;
}

size_t amct_input_rows_width(const amct_input_rows *rows) {
  return rows->width;
}

size_t amct_input_rows_bytes(const amct_input_rows *rows) {
  return rows->most * (rows->width * sizeof *rows->values + sizeof *rows->heap);
}

/* A row at a time, through room for its values on the grid. */
static AMCT_NOINLINE void put_steps(const amct_input_rows *rows, amct_range range,
                                    float *row, int16_t *steps) {
  for (size_t r = 0; r < rows->count; r++) {
    amct_quant_float(row, values_of(rows, rows->heap[r].slot), rows->width,
                     1.0f / range.scale, (float)range.offset, 8);
    for (size_t k = 0; k < rows->width; k++)
      steps[k * rows->count + r] = (int16_t)row[k];
  }
}

bool amct_input_rows_steps(const amct_input_rows *rows, amct_range range,
                           int16_t *steps) {
  amct_float_env saved;
  float *row = amct_alloc_array(rows->width, sizeof *row);
  if (row == NULL) return false;
  amct_float_env_enter(&saved);
  put_steps(rows, range, row, steps);
  amct_float_env_leave(&saved);
  amct_free(row);
  return true;
}
