/* SPDX-License-Identifier: Apache-2.0 */
/* From what was measured to factors, and to the record file. */
#include "calib/calib_state.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/logging.h"
#include "factors/stats.h"
#include "numeric/weights.h"

static const char k_module[] = "calibration";

enum { WRITE_EVERY_MS = 1000, NAMES_SHOWN = 10 };

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- factors ---- */

/* Channel by channel, or all of one scale to the smallest that fits every channel. */
void amct_calib_fit_bias(amct_calib_entry *entry) {
  size_t raised = 0;
  if (!entry->bias) return;
  const bool per_channel = entry->scale_count == entry->channels;
  const float least = entry->scale_w[0];
  for (size_t c = 0; c < entry->channels; c++) {
    float *scale = &entry->scale_w[per_channel ? c : 0];
    const float from = per_channel ? *scale : least;
    const float fit = amct_bias_fit(entry->bias[c], entry->range.scale, from);
    raised += fit > from;
    if (fit > *scale) *scale = fit;
  }
  if (raised == 0) return;
  amct_log(AMCT_LOG_INFO, k_module,
           "layer \"%s\": scale_w raised so that the bias fits int32, for %zu of %zu "
           "channels",
           entry->name, raised, entry->channels);
}

static void log_factors(const amct_calib_entry *entry) {
  float low = 0, high = 0;
  for (size_t i = 0; i < entry->scale_count; i++) {
    if (i == 0 || entry->scale_w[i] < low) low = entry->scale_w[i];
    if (i == 0 || entry->scale_w[i] > high) high = entry->scale_w[i];
  }
  amct_log(AMCT_LOG_DEBUG, k_module,
           "layer \"%s\": scale_d %.9g, offset_d %" PRId32
           ", %zu scale_w from %.9g to %.9g",
           entry->name, (double)entry->range.scale, entry->range.offset,
           entry->scale_count, (double)low, (double)high);
}

static bool settle_one(amct_calib_state *state, amct_calib_entry *entry) {
  if (!entry->has_range || (entry->weighted && !entry->has_weights)) return false;
  if (entry->damping > 0 && !entry->rounded) return false;
  if (entry->complete && !entry->changed) return false;
  amct_calib_fit_bias(entry);
  if (entry->complete) {
    entry->changed = false;
    state->changed = true;
    log_factors(entry);
    return true;
  }
  amct_calib_check_pixels(entry);
  entry->complete = true;
  state->complete++;
  log_factors(entry);
  amct_log(AMCT_LOG_INFO, k_module, "layer \"%s\" calibrated (%zu/%zu)", entry->name,
           state->complete, state->total);
  return true;
}

amct_status amct_calib_settle(amct_calib_state *state, amct_calib_entry *const *entries,
                              size_t count, amct_error *err) {
  bool news = false;
  if (atomic_load(&state->retired)) return AMCT_OK; /* while this run was under way */
  for (size_t i = 0; i < count; i++)
    news = settle_one(state, entries[i]) || news;
  if (!news) return AMCT_OK;
  if (state->complete < state->total && now_ms() - state->write_ms < WRITE_EVERY_MS)
    return AMCT_OK;
  return amct_calib_write(state, err);
}

/* ---- the record ---- */

static size_t most_scales(const amct_calib_state *state) {
  size_t most = 1;
  for (size_t i = 0; i < state->total; i++)
    if (state->layers[i] && state->layers[i]->scale_count > most)
      most = state->layers[i]->scale_count;
  return most;
}

static amct_factors factors_of(const amct_calib_state *state,
                               const amct_calib_entry *entry, int32_t *zeros) {
  const bool marked = amct_map_get(&state->unfused_set, entry->name) != NULL;
  return (amct_factors){.key = entry->name,
                        .has_data = true,
                        .scale_d = entry->range.scale,
                        .offset_d = entry->range.offset,
                        .scale_w = entry->scale_w,
                        .scale_w_count = entry->scale_count,
                        .offset_w = zeros,
                        .offset_w_count = entry->scale_count,
                        .skip_fusion = marked};
}

/* Complete layers in index order, then the marks of layers without factors. */
static amct_status fill_record(const amct_calib_state *state, amct_record *record,
                               amct_map *written, amct_error *err) {
  int32_t *zeros = amct_arena_array(&record->arena, most_scales(state), sizeof *zeros);
  if (!zeros) return amct_fail_memory(err);
  for (size_t i = 0; i < state->total; i++) {
    amct_calib_entry *entry = state->layers[i];
    if (!entry || !entry->complete) continue;
    if (!AMCT_VEC_PUSH(&record->layers, factors_of(state, entry, zeros)))
      return amct_fail_memory(err);
    AMCT_TRY(amct_map_set(written, entry->name, entry, err));
  }
  for (size_t i = 0; i < state->unfused.count; i++) {
    const amct_factors mark = {.key = state->unfused.at[i], .skip_fusion = true};
    if (!amct_map_get(written, mark.key) && !AMCT_VEC_PUSH(&record->layers, mark))
      return amct_fail_memory(err);
  }
  return AMCT_OK;
}

static size_t count_of(amct_weight_layout layout) {
  return layout.outer * layout.channels * layout.inner;
}

/* What is known of the layers of the record beyond it, in a file beside it, which is
 * empty where no means or samples were wanted. The record comes first: stats of another
 * record count as stale. */
static amct_status write_stats(const amct_calib_state *state, const amct_record *record,
                               amct_error *err) {
  amct_stats stats = {0};
  bool any = false;
  amct_status status = AMCT_OK;
  for (size_t i = 0, next = 0; i < state->total && status == AMCT_OK; i++) {
    const amct_calib_entry *entry = state->layers[i];
    if (!entry || !entry->complete) continue;
    const amct_factors *factors = &record->layers.at[next++]; /* in the same order */
    const amct_layer_stats layer = {
        entry->name,           amct_stats_of_factors(factors),
        entry->weights_digest, entry->mean.mean ? entry->mean.taps : 1,
        entry->mean.mean,      entry->mean.mean ? entry->mean.count : 0,
        entry->integer,        entry->integer ? count_of(entry->layout) : 0};
    any = any || entry->mean.mean || entry->integer;
    const bool weighted = entry->weighted && !entry->observers[1];
    if (weighted && !AMCT_VEC_PUSH(&stats.layers, layer)) status = amct_fail_memory(err);
  }
  const char *path = amct_stats_path(&stats.arena, state->path);
  if (status == AMCT_OK && !path) status = amct_fail_memory(err);
  if (!any) stats.layers.count = 0;
  if (status == AMCT_OK) status = amct_stats_write(&stats, path, err);
  amct_stats_free(&stats);
  return status;
}

/* Those of an earlier record on this path. It is too late to fail: the record is
 * written. */
static void remove_stats(const amct_calib_state *state) {
  char path[PATH_MAX + 8];
  snprintf(path, sizeof path, "%s%s", state->path, AMCT_STATS_SUFFIX);
  if (unlink(path) != 0 && errno != ENOENT)
    amct_log(AMCT_LOG_WARNING, k_module, "%s cannot be removed: %s: do so by hand", path,
             strerror(errno));
}

amct_status amct_calib_write(amct_calib_state *state, amct_error *err) {
  amct_record record = {0};
  amct_map written = {0};
  amct_status status = fill_record(state, &record, &written, err);
  if (status == AMCT_OK) status = amct_record_write(&record, state->path, err);
  if (status == AMCT_OK && state->complete == 0) remove_stats(state);
  if (status == AMCT_OK && state->complete > 0) status = write_stats(state, &record, err);
  const bool news = state->written < state->complete;
  if (status == AMCT_OK) {
    state->written = state->complete;
    state->changed = false;
    state->write_ms = now_ms();
  }
  if (status == AMCT_OK && news && state->complete == state->total) {
    amct_log(AMCT_LOG_INFO, k_module, "all %zu layers are calibrated: %s", state->total,
             state->path);
    amct_calib_show_costs(state);
  }
  amct_map_free(&written);
  amct_record_free(&record);
  return status;
}

amct_status amct_calib_read_marks(amct_calib_state *state, amct_error *err) {
  amct_record record = {0};
  amct_error trouble = {0};
  amct_status status = AMCT_OK;
  if (access(state->path, F_OK) != 0) return AMCT_OK;
  if (amct_record_read(&record, state->path, &trouble) != AMCT_OK)
    amct_log(AMCT_LOG_WARNING, k_module,
             "the record is replaced, since it cannot be read: %s", trouble.text);
  else
    for (size_t i = 0; i < record.layers.count && status == AMCT_OK; i++)
      if (record.layers.at[i].skip_fusion)
        status = amct_calib_mark(state, record.layers.at[i].key, err);
  amct_record_free(&record);
  return status;
}

void amct_calib_warn_missing(amct_calib_state *state) {
  amct_buffer names = {0};
  size_t known = 0;
  if (state->warned || state->complete == 0 || state->complete == state->total) return;
  state->warned = true;
  for (size_t i = 0; i < state->total; i++) {
    const amct_calib_entry *entry = state->layers[i];
    if (!entry || entry->complete) continue;
    if (known++ < NAMES_SHOWN) amct_buffer_format(&names, ", \"%s\"", entry->name);
  }
  const size_t missing = state->total - state->complete;
  if (known > NAMES_SHOWN) amct_buffer_text(&names, ", ...");
  if (missing > known)
    amct_buffer_format(&names, ", %zu that never ran", missing - known);
  amct_buffer_append(&names, "", 1);
  amct_log(
      AMCT_LOG_WARNING, k_module,
      "%zu of %zu layers have no factors and stay float: too few batches, or a branch "
      "not taken: %s",
      missing, state->total, names.failed ? "?" : (const char *)names.data + 2);
  amct_buffer_free(&names);
}
