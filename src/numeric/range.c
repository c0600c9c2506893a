/* SPDX-License-Identifier: Apache-2.0 */
#include "numeric/range.h"

#include <string.h>

#include "numeric/clip.h"
#include "numeric/float_env.h"
#include "numeric/hfmg.h"
#include "numeric/ifmr.h"

static const struct {
  const char *name, *settings;
} k_algorithms[] = {
#define ALGORITHM(id, name, settings) {name, settings},
#include "numeric/range_algorithms.def"
#undef ALGORITHM
};

const char *amct_range_name(int64_t algorithm) {
  return k_algorithms[algorithm].name;
}

amct_range_algorithm amct_range_named(amct_slice name) {
  size_t i = 0;
  while (i < AMCT_RANGE_ALGORITHMS &&
         (name.size != strlen(k_algorithms[i].name) ||
          memcmp(name.data, k_algorithms[i].name, name.size) != 0))
    i++;
  return (amct_range_algorithm)i;
}

bool amct_range_takes(int64_t algorithm, const char *setting) {
  const size_t size = strlen(setting);
  const char *at = k_algorithms[algorithm].settings;
  while (*at) {
    const size_t word = strcspn(at, " ");
    if (word == size && memcmp(at, setting, size) == 0) return true;
    at += word + strspn(at + word, " ");
  }
  return false;
}

static AMCT_NOINLINE amct_range between(float min, float max, bool asymmetric) {
  return amct_ends_range(amct_ends_with_zero(min, max), asymmetric);
}

amct_range amct_range_min_max(amct_sketch *sketch, bool asymmetric) {
  const amct_sketch_view view = amct_sketch_look(sketch);
  amct_float_env saved;
  amct_float_env_enter(&saved);
  const amct_range range =
      between(amct_sketch_smallest(&view, 1), amct_sketch_largest(&view, 1), asymmetric);
  amct_float_env_leave(&saved);
  return range;
}

amct_status amct_percentiles_check(const amct_range_options *options, amct_error *err) {
  if (options->max_percentile > 0.0 && options->max_percentile <= 1.0 &&
      options->min_percentile > 0.0 && options->min_percentile <= 1.0)
    return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                   "percentiles %g and %g: not within 0 and 1", options->max_percentile,
                   options->min_percentile);
}

amct_status amct_range_percentile(amct_range *range, amct_sketch *sketch,
                                  const amct_range_options *options, amct_error *err) {
  const amct_sketch_view view = amct_sketch_look(sketch);
  AMCT_TRY(amct_percentiles_check(options, err));
  amct_float_env saved;
  amct_float_env_enter(&saved);
  *range = between(amct_percentile_value(&view, options->min_percentile, false),
                   amct_percentile_value(&view, options->max_percentile, true),
                   options->asymmetric);
  amct_float_env_leave(&saved);
  return AMCT_OK;
}

amct_status amct_range_find(amct_range *range, amct_sketch *sketch,
                            const amct_range_options *options, amct_error *err) {
  if (amct_sketch_look(sketch).count == 0)
    return amct_fail(err, AMCT_NOT_READY, NULL, "no values to take a range from");
  switch (options->algorithm) {
  case AMCT_RANGE_IFMR:
    return amct_ifmr_search(range, sketch, options, err);
  case AMCT_RANGE_HFMG:
    return amct_hfmg_search(range, sketch, options, err);
  case AMCT_RANGE_MIN_MAX:
    *range = amct_range_min_max(sketch, options->asymmetric);
    return AMCT_OK;
  case AMCT_RANGE_PERCENTILE:
    return amct_range_percentile(range, sketch, options, err);
  default:
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "range algorithm %lld of %d",
                     (long long)options->algorithm, AMCT_RANGE_ALGORITHMS);
  }
}
