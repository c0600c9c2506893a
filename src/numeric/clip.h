/* SPDX-License-Identifier: Apache-2.0 */
/* The int8 grid of a clip range, as all range algorithms make it. Every operation is a
 * float32 one of its own: the records of the original show it. */
#ifndef AMCT_CLIP_H
#define AMCT_CLIP_H

#include <float.h>

#include "numeric/range.h"
#include "numeric/round.h"

/* Values are clipped to [low, high] and rounded to steps of `scale`. */
typedef struct amct_clip {
  float low, high, scale;
} amct_clip;

/* Ends of a range that holds zero. */
typedef struct amct_ends {
  float min, max; /* min <= 0 <= max */
} amct_ends;

AMCT_INLINE amct_ends amct_ends_with_zero(float min, float max) {
  return (amct_ends){min < 0.0f ? min : 0.0f, max > 0.0f ? max : 0.0f};
}

AMCT_INLINE float amct_clip_scale(float high, float low, float steps) {
  const float least = 1.192092896e-7f; /* FLT_EPSILON, as the original has it */
  float range = high - low;
  float scale = range / steps;
  if (range > FLT_MAX) scale = (float)(((double)high - (double)low) / (double)steps);
  return scale < least ? 1.0f : scale;
}

AMCT_INLINE float amct_clip_limit(float value) {
  return value > FLT_MAX ? FLT_MAX : value;
}

/* The upper end moves by the factor; a symmetric grid moves with it. */
AMCT_INLINE amct_clip amct_clip_of(amct_ends ends, float factor, bool asymmetric) {
  amct_clip clip;
  if (asymmetric) {
    clip.low = ends.min;
    clip.high = amct_clip_limit(factor * ends.max);
    clip.scale = amct_clip_scale(clip.high, clip.low, 255.0f);
    return clip;
  }
  const float largest = ends.max > -ends.min ? ends.max : -ends.min;
  clip.high = amct_clip_limit(factor * largest);
  clip.low = -clip.high;
  clip.scale = amct_clip_scale(clip.high, 0.0f, ends.max < -ends.min ? 128.0f : 127.0f);
  return clip;
}

AMCT_INLINE amct_range amct_clip_range(amct_clip clip, float min, bool asymmetric) {
  float offset = -128.0f - amct_round_float(min / clip.scale);
  offset = offset > 127.0f ? 127.0f : offset;
  return (amct_range){clip.scale, asymmetric ? (int32_t)offset : 0};
}

/* The range between two ends as it is. */
AMCT_INLINE amct_range amct_ends_range(amct_ends ends, bool asymmetric) {
  return amct_clip_range(amct_clip_of(ends, 1.0f, asymmetric), ends.min, asymmetric);
}

/* k-th largest or smallest of all values: k = L - (int64)(p*L), at least 1. */
AMCT_INLINE float amct_percentile_value(const amct_sketch_view *view, double percentile,
                                        bool largest) {
  int64_t count = (int64_t)view->count;
  int64_t k = count - (int64_t)(percentile * (double)count);
  if (k < 1) k = 1;
  return largest ? amct_sketch_largest(view, (uint64_t)k)
                 : amct_sketch_smallest(view, (uint64_t)k);
}

/* AMCT_INVALID_ARGUMENT: percentiles outside (0, 1]. */
AMCT_NODISCARD amct_status amct_percentiles_check(const amct_range_options *options,
                                                  amct_error *err);

#endif
