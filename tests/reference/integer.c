/* SPDX-License-Identifier: Apache-2.0 */
#include "reference/integer.h"

#include <math.h>

/* ---- the grid ---- */

void integer_quantize(int8_t *q, const float *x, size_t count, float scale,
                      int32_t offset) {
  for (size_t i = 0; i < count; i++) {
    const double steps = round((double)(x[i] * scale)) + (double)offset;
    q[i] = (int8_t)(steps > 127.0 ? 127.0 : steps < -128.0 ? -128.0 : steps);
  }
}

/* ---- sums ---- */

/* A sum that is being made. */
typedef struct total {
  int64_t sum, reach;
} total;

static void add(total *t, int64_t term) {
  t->sum += term;
  t->reach += term < 0 ? -term : term;
}

static bool store(const integer_sums *sums, size_t i, total t) {
  sums->sum[i] = (int32_t)t.sum;
  sums->reach[i] = t.reach;
  return t.sum >= INT32_MIN && t.sum <= INT32_MAX;
}

/* A place: batch, depth, height, width. */
typedef struct place {
  int32_t batch, at[3];
} place;

static size_t volume(const int32_t size[3]) {
  return (size_t)size[0] * (size_t)size[1] * (size_t)size[2];
}

static place place_of(size_t index, const int32_t size[3]) {
  place p;
  p.at[2] = (int32_t)(index % (size_t)size[2]);
  index /= (size_t)size[2];
  p.at[1] = (int32_t)(index % (size_t)size[1]);
  index /= (size_t)size[1];
  p.at[0] = (int32_t)(index % (size_t)size[0]);
  p.batch = (int32_t)(index / (size_t)size[0]);
  return p;
}

static size_t index_of(place p, const int32_t size[3]) {
  size_t index = (size_t)p.batch;
  for (int i = 0; i < 3; i++)
    index = index * (size_t)size[i] + (size_t)p.at[i];
  return index;
}

/* Where element `tap` of the window of an output lies in the input; false: in the
 * padding. */
static bool find_input(const integer_window *w, place out, size_t tap, size_t *index) {
  const place k = place_of(tap, w->kernel);
  place in = {out.batch, {0}};
  for (int i = 0; i < 3; i++) {
    in.at[i] = out.at[i] * w->stride[i] + k.at[i] * w->dilation[i] - w->pad[i];
    if (in.at[i] < 0 || in.at[i] >= w->in[i]) return false;
  }
  *index = index_of(in, w->in);
  return true;
}

/* Where the output lies whose window has an input as element `tap`; false: there is none.
 */
static bool find_output(const integer_window *w, place in, size_t tap, size_t *index) {
  const place k = place_of(tap, w->kernel);
  place out = {in.batch, {0}};
  for (int i = 0; i < 3; i++) {
    const int32_t from = in.at[i] + w->pad[i] - k.at[i] * w->dilation[i];
    out.at[i] = from / w->stride[i];
    if (from < 0 || from % w->stride[i] || out.at[i] >= w->out[i]) return false;
  }
  *index = index_of(out, w->out);
  return true;
}

bool integer_conv(const integer_sums *sums, const int8_t *q, int32_t offset,
                  const int8_t *w, const integer_window *window) {
  const size_t in = (size_t)window->in_channels, out = (size_t)window->out_channels;
  const size_t places = (size_t)window->batch * volume(window->out);
  bool fits = true;
  for (size_t i = 0; i < places * out; i++) {
    const place at = place_of(i / out, window->out);
    total t = {0, 0};
    for (size_t tap = 0; tap < volume(window->kernel); tap++) {
      size_t from;
      if (!find_input(window, at, tap, &from)) continue;
      for (size_t c = 0; c < in; c++)
        add(&t, (int64_t)(q[from * in + c] - offset) * w[(tap * in + c) * out + i % out]);
    }
    fits = store(sums, i, t) && fits;
  }
  return fits;
}

bool integer_depthwise(const integer_sums *sums, const int8_t *q, int32_t offset,
                       const int8_t *w, const integer_window *window) {
  const size_t in = (size_t)window->in_channels, out = (size_t)window->out_channels;
  const size_t places = (size_t)window->batch * volume(window->out), m = out / in;
  bool fits = true;
  for (size_t i = 0; i < places * out; i++) {
    const place at = place_of(i / out, window->out);
    total t = {0, 0};
    for (size_t tap = 0; tap < volume(window->kernel); tap++) {
      size_t from;
      if (find_input(window, at, tap, &from))
        add(&t, (int64_t)(q[from * in + i % out / m] - offset) * w[tap * out + i % out]);
    }
    fits = store(sums, i, t) && fits;
  }
  return fits;
}

bool integer_transposed(const integer_sums *sums, const int8_t *q, int32_t offset,
                        const int8_t *w, const integer_window *window) {
  const size_t in = (size_t)window->in_channels, out = (size_t)window->out_channels;
  const size_t places = (size_t)window->batch * volume(window->in);
  bool fits = true;
  for (size_t i = 0; i < places * in; i++) {
    const place at = place_of(i / in, window->in);
    total t = {0, 0};
    for (size_t tap = 0; tap < volume(window->kernel); tap++) {
      size_t from;
      if (!find_output(window, at, tap, &from)) continue;
      for (size_t c = 0; c < out; c++)
        add(&t, (int64_t)(q[from * out + c] - offset) * w[(tap * in + i % in) * out + c]);
    }
    fits = store(sums, i, t) && fits;
  }
  return fits;
}

bool integer_product(const integer_sums *sums, const int8_t *a, const int8_t *b,
                     const integer_matrices *size) {
  const size_t rows = (size_t)size->rows, inner = (size_t)size->inner;
  const size_t columns = (size_t)size->columns;
  bool fits = true;
  for (size_t i = 0; i < (size_t)size->batch * rows * columns; i++) {
    const size_t batch = i / (rows * columns), row = i / columns % rows;
    const size_t column = i % columns;
    const int8_t *left = a + (batch * rows + row) * inner;
    const int8_t *right = b + batch * inner * columns;
    total t = {0, 0};
    for (size_t k = 0; k < inner; k++)
      add(&t, (int64_t)left[k] *
                  right[size->turned ? column * inner + k : k * columns + column]);
    fits = store(sums, i, t) && fits;
  }
  return fits;
}

void integer_max_pool(int8_t *y, const int8_t *q, const integer_window *window) {
  const size_t channels = (size_t)window->in_channels;
  const size_t places = (size_t)window->batch * volume(window->out);
  for (size_t i = 0; i < places * channels; i++) {
    const place at = place_of(i / channels, window->out);
    y[i] = INT8_MIN;
    for (size_t tap = 0; tap < volume(window->kernel); tap++) {
      size_t from;
      if (!find_input(window, at, tap, &from)) continue;
      const int8_t value = q[from * channels + i % channels];
      if (value > y[i]) y[i] = value;
    }
  }
}

bool integer_pool(const integer_sums *sums, int32_t *counts, const int8_t *q,
                  int32_t offset, const integer_window *window) {
  const size_t channels = (size_t)window->in_channels;
  const size_t places = (size_t)window->batch * volume(window->out);
  bool fits = true;
  for (size_t i = 0; i < places * channels; i++) {
    const place at = place_of(i / channels, window->out);
    total t = {0, 0};
    counts[i] = 0;
    for (size_t tap = 0; tap < volume(window->kernel); tap++) {
      size_t from;
      if (!find_input(window, at, tap, &from)) continue;
      add(&t, q[from * channels + i % channels] - offset);
      counts[i]++;
    }
    fits = store(sums, i, t) && fits;
  }
  return fits;
}

bool integer_add_bias(const integer_sums *sums, size_t count, const int32_t *bias,
                      size_t channels) {
  bool fits = true;
  for (size_t i = 0; i < count; i++) {
    total t = {sums->sum[i], sums->reach[i]};
    add(&t, bias[i % channels]);
    fits = store(sums, i, t) && fits;
  }
  return fits;
}

/* ---- back to real units ---- */

void integer_dequantize(float *y, const int32_t *sum, size_t count, const float *scale,
                        size_t channels) {
  for (size_t i = 0; i < count; i++)
    y[i] = (float)sum[i] * scale[i % channels];
}

void integer_antiquantize(float *y, const int8_t *q, size_t count, int32_t offset,
                          float scale) {
  for (size_t i = 0; i < count; i++)
    y[i] = (float)(q[i] - offset) * scale;
}

void integer_dequantize_mean(float *y, const int32_t *sum, const int32_t *counts,
                             size_t count, double area, float scale) {
  for (size_t i = 0; i < count; i++) {
    const float mean = (float)((double)sum[i] / (double)counts[i]);
    const float product = mean * (float)area * scale;
    y[i] = (float)((double)product / area);
  }
}
