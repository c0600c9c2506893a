/* SPDX-License-Identifier: Apache-2.0 */
/* Warnings about data that no range can do justice to, or that look like a mistake. */
#include "calib/calib_state.h"

#include <math.h>

#include "base/logging.h"

static const char k_module[] = "calibration";

enum { OUTLIER_COUNT_LEAST = 10000 };
static const float k_outlier_ratio = 4.0f;
static const double k_pixel_output_most = 128.0;

/* ---- one value for all ---- */

static bool is_constant(const amct_sketch_view *view) {
  return view->count > 1 && amct_sketch_largest(view, 1) == amct_sketch_smallest(view, 1);
}

static void warn_constant(const char *layer, const amct_sketch_view *view) {
  amct_log(AMCT_LOG_WARNING, k_module, "layer \"%s\": all %llu values of its data are %g",
           layer, (unsigned long long)view->count, (double)amct_sketch_largest(view, 1));
}

/* ---- outliers ---- */

/* The end of the range reaches at least half way to a value that is far from all
 * others. */
static bool is_outlier(float value, float next, float end) {
  return fabsf(value) > k_outlier_ratio * fabsf(next) && value != 0 &&
         fabsf(end) >= 0.5f * fabsf(value);
}

static void warn_outlier(const char *layer, const char *which, float value, float next) {
  amct_log(
      AMCT_LOG_WARNING, k_module,
      "layer \"%s\": one value sets the range of its data: the %s is %g, the next %g; "
      "act_algo \"percentile\" or \"hfmg\" leaves it out",
      layer, which, (double)value, (double)next);
}

static void check_outliers(const char *layer, const amct_sketch_view *view,
                           const amct_range *range, bool asymmetric) {
  if (view->count < OUTLIER_COUNT_LEAST) return;
  const float high = range->scale * (float)(127 - range->offset);
  const float low = range->scale * (float)(-128 - range->offset);
  const float top = amct_sketch_largest(view, 1), second = amct_sketch_largest(view, 2);
  const float bottom = amct_sketch_smallest(view, 1);
  const float above = amct_sketch_smallest(view, 2);
  const float other = asymmetric ? 0 : fmaxf(top, -bottom); /* of a shared end */
  if (top > 0 && second >= 0 && top >= other && is_outlier(top, second, high))
    warn_outlier(layer, "largest", top, second);
  if (bottom < 0 && above <= 0 && -bottom >= other && is_outlier(bottom, above, low))
    warn_outlier(layer, "smallest", bottom, above);
}

/* ---- percentiles ---- */

/* Asked for, and not reached: all values are within. */
static bool is_too_fine(const amct_range_options *options, double percentile,
                        uint64_t count) {
  const amct_range_options usual = AMCT_RANGE_DEFAULTS;
  const bool chosen =
      options->algorithm == AMCT_RANGE_PERCENTILE || percentile != usual.max_percentile;
  const int64_t inside = (int64_t)(percentile * (double)count);
  return chosen && percentile < 1 && (int64_t)count - inside <= 1;
}

static void check_percentiles(const char *layer, const amct_sketch_view *view,
                              const amct_range_options *options) {
  const double p[] = {options->max_percentile, options->min_percentile};
  static const char *const names[] = {"max_percentile", "min_percentile"};
  for (int i = 0; i < 2; i++)
    if (amct_range_takes(options->algorithm, names[i]) &&
        is_too_fine(options, p[i], view->count))
      amct_log(
          AMCT_LOG_WARNING, k_module,
          "layer \"%s\": %s %g leaves none of its %llu values out: it takes over %.0f",
          layer, names[i], p[i], (unsigned long long)view->count, 1 / (1 - p[i]));
}

void amct_calib_check_range(const amct_calib_range_spec *spec, amct_sketch *sketch,
                            const amct_range *range) {
  const amct_sketch_view view = amct_sketch_look(sketch);
  const char *layer = spec->layers[0].name;
  if (is_constant(&view)) {
    warn_constant(layer, &view);
    return;
  }
  check_outliers(layer, &view, range, spec->options.asymmetric);
  check_percentiles(layer, &view, &spec->options);
}

/* ---- pixels ---- */

double amct_calib_pixel_rms(amct_sketch *sketch) {
  const amct_sketch_view view = amct_sketch_look(sketch);
  double sum = 0;
  const float most = amct_sketch_largest(&view, 1);
  if (view.count < OUTLIER_COUNT_LEAST || amct_sketch_smallest(&view, 1) < 0 ||
      most <= 128 || most > 255 || !view.on_edges)
    return 0;
  for (size_t i = 0; i < view.top_count; i++)
    sum += (double)view.top[i] * (double)view.top[i];
  for (size_t i = 0; i < view.bottom_count; i++)
    sum += (double)view.bottom[i] * (double)view.bottom[i];
  for (size_t i = 0; i < view.bin_count; i++) {
    const double value = amct_sketch_bin_value(&view, i);
    sum += (double)amct_sketch_count(&view, i) * value * value;
  }
  return sqrt(sum / (double)view.count);
}

void amct_calib_check_pixels(const amct_calib_entry *entry) {
  const double output = entry->pixel_rms * entry->weight_norm;
  if (output <= k_pixel_output_most) return;
  amct_log(AMCT_LOG_WARNING, k_module,
           "layer \"%s\": its data are pixels from 0 to 255, of which its weights make "
           "values of about %.0f: weights trained on pictures scaled to about [-1, 1] do "
           "that; is the preprocessing that of the training?",
           entry->name, output);
}
