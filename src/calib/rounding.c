/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of layers rounded by samples of their inputs, when both are there. */
#include "calib/calib_state.h"

#include "base/logging.h"
#include "numeric/weight_rounding.h"

static const char k_module[] = "calibration";

/* Whoever brings the last of what a layer waits for rounds it. */
static bool claim(amct_calib_state *state, amct_calib_entry *entry) {
  pthread_mutex_lock(&state->lock);
  const bool mine = entry->damping > 0 && entry->has_range && entry->has_weights &&
                    !entry->rounding && !atomic_load(&state->retired);
  if (mine) {
    entry->rounding = true;
    amct_calib_fit_bias(entry);
  }
  pthread_mutex_unlock(&state->lock);
  return mine;
}

/* NULL: the nearest steps are left, and a warning says why. Nobody else looks at what the
 * layer has while it is claimed. */
static int8_t *round_entry(const amct_calib_entry *entry) {
  const amct_weight_layout layout = entry->layout;
  const amct_calib_steps *steps = entry->steps;
  amct_error wrong = {0};
  int8_t *q = NULL;
  if (!steps || !steps->at) {
    amct_log(AMCT_LOG_WARNING, k_module,
             "layer \"%s\": its weights go to their nearest steps: there is no sample of "
             "an input of this shape",
             entry->name);
    return NULL;
  }
  const amct_rounding rounding = {
      .w = entry->folded,
      .layout = layout,
      .scale = entry->scale_w,
      .scales = entry->scale_count,
      .steps = steps->at,
      .rows = steps->rows,
      .width = steps->width,
      .taps = steps->taps,
      .damping = entry->damping,
  };
  q = amct_alloc_array(layout.outer * layout.inner, layout.channels);
  if (q && amct_weight_round(q, &rounding, &wrong) == AMCT_OK) return q;
  amct_log(AMCT_LOG_WARNING, k_module,
           "layer \"%s\": its weights go to their nearest steps: %s", entry->name,
           q ? wrong.text : "out of memory");
  amct_free(q);
  return NULL;
}

void amct_calib_round(amct_calib_state *state, amct_calib_entry *const *entries,
                      size_t count) {
  for (size_t i = 0; i < count; i++) {
    amct_calib_entry *entry = entries[i];
    if (!claim(state, entry)) continue;
    const int64_t since = amct_calib_now_ns();
    int8_t *q = round_entry(entry);
    amct_calib_spent(state, AMCT_CALIB_ROUND, since);
    pthread_mutex_lock(&state->lock);
    entry->integer = q;
    entry->rounded = true;
    amct_calib_steps_release(entry->steps);
    entry->steps = NULL;
    amct_free(entry->folded);
    entry->folded = NULL;
    pthread_mutex_unlock(&state->lock);
  }
}
