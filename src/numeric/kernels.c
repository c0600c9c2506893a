/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/kernels.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "numeric/clones.h"
#include "numeric/half.h"
#include "numeric/round.h"

enum { BLOCK = 512 }; /* halves go through float32 blocks on the stack */

static void widen_half(float *to, const uint16_t *from, size_t count) {
  for (size_t i = 0; i < count; i++)
    to[i] = amct_half_to_float(from[i]);
}

static void narrow_half(uint16_t *to, const float *from, size_t count) {
  for (size_t i = 0; i < count; i++)
    to[i] = amct_half_from_float(from[i]);
}

/* Quant */

AMCT_CLONES void amct_quant_float(float *y, const float *x, size_t count, float scale,
                                  float offset, int bits) {
  float high = (float)((1 << (bits - 1)) - 1), low = -(float)(1 << (bits - 1));
  for (size_t i = 0; i < count; i++) {
    float q = amct_round_float(x[i] * scale) + offset;
    q = q > high ? high : q; /* comparisons that let NaN through */
    q = q < low ? low : q;
    y[i] = q - offset;
  }
}

void amct_quant_half(uint16_t *y, const uint16_t *x, size_t count, float scale,
                     float offset, int bits) {
  float block[BLOCK];
  for (size_t done = 0; done < count; done += BLOCK) {
    size_t n = count - done < BLOCK ? count - done : BLOCK;
    widen_half(block, x + done, n);
    amct_quant_float(block, block, n, scale, offset, bits);
    narrow_half(y + done, block, n);
  }
}

void amct_quant_double(double *y, const double *x, size_t count, float scale,
                       float offset, int bits) {
  double high = (double)((1 << (bits - 1)) - 1), low = -(double)(1 << (bits - 1));
  for (size_t i = 0; i < count; i++) {
    double q = round(x[i] * (double)scale) + (double)offset;
    q = q > high ? high : q;
    q = q < low ? low : q;
    y[i] = q - (double)offset;
  }
}

/* AntiQuant */

AMCT_CLONES void amct_antiquant_float(float *y, const float *x, size_t count,
                                      float scale) {
  for (size_t i = 0; i < count; i++)
    y[i] = x[i] * scale;
}

void amct_antiquant_half(uint16_t *y, const uint16_t *x, size_t count, float scale) {
  for (size_t i = 0; i < count; i++)
    y[i] = amct_half_from_float(amct_half_to_float(x[i]) * scale);
}

AMCT_CLONES void amct_antiquant_double(double *y, const double *x, size_t count,
                                       float scale) {
  for (size_t i = 0; i < count; i++)
    y[i] = x[i] * (double)scale;
}

/* Dequant */

/* One unpacked deq_scale word. */
typedef struct channel_step {
  float scale;
  double power; /* 2^N */
  int shift;    /* N */
} channel_step;

static channel_step unpack(uint64_t word) {
  channel_step step;
  uint32_t bits = (uint32_t)word;
  memcpy(&step.scale, &bits, sizeof bits);
  step.shift = (int)(word >> 32 & 0xFFu);
  uint64_t power = (uint64_t)(1023 + step.shift) << 52;
  memcpy(&step.power, &power, sizeof power);
  return step;
}

AMCT_INLINE double shift_down(double v, const channel_step *step) {
  v = floor(v / step->power);
  v = v > 32767.0 ? 32767.0 : v; /* NaN goes through */
  return v < -32768.0 ? -32768.0 : v;
}

AMCT_INLINE float dequant_one(float x, const channel_step *step, double area) {
  float v = x * (float)area;
  if (step->shift > 0) v = (float)shift_down((double)v, step);
  float product = v * step->scale;
  return (float)((double)product * step->power / area);
}

AMCT_INLINE double dequant_one_double(double x, const channel_step *step, double area) {
  double v = x * area;
  if (step->shift > 0) v = shift_down(v, step);
  return v * (double)step->scale * step->power / area;
}

AMCT_CLONES static void dequant_run(float *y, const float *x, size_t count,
                                    const channel_step *step, double area) {
  if (step->shift == 0) { /* the case of every file we write: plain arithmetic */
    for (size_t i = 0; i < count; i++) {
      float product = x[i] * (float)area * step->scale;
      y[i] = (float)((double)product / area);
    }
    return;
  }
  for (size_t i = 0; i < count; i++)
    y[i] = dequant_one(x[i], step, area);
}

/* Walks elements first .. first+count as runs of one channel. */
typedef struct channel_run {
  size_t begin, count, channel; /* begin counts from y[0] */
} channel_run;

static channel_run next_run(size_t begin, size_t first, size_t count, size_t channels,
                            size_t inner) {
  if (channels == 1) return (channel_run){begin, count - begin, 0};
  size_t at = first + begin;
  size_t left = inner - at % inner;
  if (left > count - begin) left = count - begin;
  return (channel_run){begin, left, at / inner % channels};
}

/* inner 1: neighbours have different channels. A table of unpacked words on the stack
 * serves a stretch of channels for every row. */
enum { STRETCH = 256 };

AMCT_CLONES static void dequant_stretch(float *y, const float *x, size_t count,
                                        const float *scale, double area) {
  for (size_t i = 0; i < count; i++) {
    float product = x[i] * (float)area * scale[i];
    y[i] = (float)((double)product / area);
  }
}

/* Rows of channels that all have N = 0: channels [c, c+n) of every whole row, then the
 * ends. */
static void dequant_interleaved(float *y, const float *x, size_t first, size_t count,
                                const amct_dequant_spec *spec) {
  float scale[STRETCH];
  channel_step step[STRETCH];
  for (size_t c = 0; c < spec->channels; c += STRETCH) {
    size_t n = spec->channels - c < STRETCH ? spec->channels - c : STRETCH;
    bool plain = true;
    for (size_t k = 0; k < n; k++) {
      step[k] = unpack(spec->deq[c + k]);
      scale[k] = step[k].scale;
      plain = plain && step[k].shift == 0;
    }
    size_t end = first + count;
    for (size_t row = first / spec->channels * spec->channels; row < end;
         row += spec->channels) {
      size_t from = row + c > first ? row + c : first;
      size_t to = row + c + n < end ? row + c + n : end;
      if (from >= to) continue;
      size_t k = from - row - c;
      if (plain) {
        dequant_stretch(y + (from - first), x + (from - first), to - from, scale + k,
                        spec->area);
        continue;
      }
      for (size_t i = from; i < to; i++, k++)
        y[i - first] = dequant_one(x[i - first], &step[k], spec->area);
    }
  }
}

void amct_dequant_float(float *y, const float *x, size_t first, size_t count,
                        const amct_dequant_spec *spec) {
  if (spec->channels > 1 && spec->inner == 1) {
    dequant_interleaved(y, x, first, count, spec);
    return;
  }
  for (size_t done = 0; done < count;) {
    channel_run run = next_run(done, first, count, spec->channels, spec->inner);
    channel_step step = unpack(spec->deq[run.channel]);
    dequant_run(y + done, x + done, run.count, &step, spec->area);
    done += run.count;
  }
}

void amct_dequant_half(uint16_t *y, const uint16_t *x, size_t first, size_t count,
                       const amct_dequant_spec *spec) {
  float block[BLOCK];
  for (size_t done = 0; done < count; done += BLOCK) {
    size_t n = count - done < BLOCK ? count - done : BLOCK;
    widen_half(block, x + done, n);
    amct_dequant_float(block, block, first + done, n, spec);
    narrow_half(y + done, block, n);
  }
}

void amct_dequant_double(double *y, const double *x, size_t first, size_t count,
                         const amct_dequant_spec *spec) {
  for (size_t done = 0; done < count;) {
    channel_run run = next_run(done, first, count, spec->channels, spec->inner);
    channel_step step = unpack(spec->deq[run.channel]);
    for (size_t i = done; i < done + run.count; i++)
      y[i] = dequant_one_double(x[i], &step, spec->area);
    done += run.count;
  }
}

/* Weight dequant */

/* Offsets that are all the same (all that ARQ makes are 0) are one offset. */
static size_t count_channels(const amct_weight_offsets *offsets) {
  for (size_t c = 1; c < offsets->channels; c++) {
    if (offsets->offset_w[c] != offsets->offset_w[0]) return offsets->channels;
  }
  return 1;
}

void amct_weight_dequant_float(float *y, const int8_t *x, size_t first, size_t count,
                               const amct_weight_offsets *offsets) {
  const size_t channels = count_channels(offsets);
  for (size_t done = 0; done < count;) {
    channel_run run = next_run(done, first, count, channels, offsets->inner);
    int offset = offsets->offset_w[run.channel];
    for (size_t i = done; i < done + run.count; i++)
      y[i] = (float)(x[i] - offset);
    done += run.count;
  }
}

void amct_weight_dequant_half(uint16_t *y, const int8_t *x, size_t first, size_t count,
                              const amct_weight_offsets *offsets) {
  float block[BLOCK];
  for (size_t done = 0; done < count; done += BLOCK) {
    size_t n = count - done < BLOCK ? count - done : BLOCK;
    amct_weight_dequant_float(block, x + done, first + done, n, offsets);
    narrow_half(y + done, block, n);
  }
}

void amct_weight_dequant_double(double *y, const int8_t *x, size_t first, size_t count,
                                const amct_weight_offsets *offsets) {
  const size_t channels = count_channels(offsets);
  for (size_t done = 0; done < count;) {
    channel_run run = next_run(done, first, count, channels, offsets->inner);
    int offset = offsets->offset_w[run.channel];
    for (size_t i = done; i < done + run.count; i++)
      y[i] = (double)(x[i] - offset);
    done += run.count;
  }
}
