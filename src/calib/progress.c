/* SPDX-License-Identifier: Apache-2.0 */
/* How far a calibration is, where its time goes, and what its sketches take. */
#include "calib/calib_state.h"

#include <time.h>

#include "base/logging.h"

static const char k_module[] = "calibration";

enum { BATCHES_ALL_SHOWN = 20 };
static const int64_t k_second_ns = 1000000000;

int64_t amct_calib_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * k_second_ns + now.tv_nsec;
}

void amct_calib_spent(amct_calib_state *state, amct_calib_phase phase, int64_t since) {
  atomic_fetch_add(&state->spent_ns[phase], amct_calib_now_ns() - since);
}

void amct_calib_sketched(amct_calib_state *state, int64_t bytes) {
  const int64_t now = atomic_fetch_add(&state->sketch_bytes, bytes) + bytes;
  int64_t peak = atomic_load(&state->sketch_peak);
  while (now > peak && !atomic_compare_exchange_weak(&state->sketch_peak, &peak, now))
    continue;
}

void amct_calib_show_batch(amct_calib_state *state, int64_t batch, int64_t total) {
  int64_t shown = atomic_load(&state->batch_shown);
  if (total < 2 || batch <= shown) return;
  if (total > BATCHES_ALL_SHOWN && batch < total) {
    const int64_t now = amct_calib_now_ns(), last = atomic_load(&state->shown_ns);
    if (now - last < k_second_ns) return;
    atomic_store(&state->shown_ns, now);
  }
  if (atomic_compare_exchange_strong(&state->batch_shown, &shown, batch))
    amct_log(AMCT_LOG_INFO, k_module, "batch %lld of %lld", (long long)batch,
             (long long)total);
}

void amct_calib_show_costs(const amct_calib_state *state) {
  double s[AMCT_CALIB_PHASES], all = 0;
  for (int i = 0; i < AMCT_CALIB_PHASES; i++) {
    s[i] = (double)atomic_load(&state->spent_ns[i]) / 1e9;
    all += s[i];
  }
  amct_log(AMCT_LOG_INFO, k_module,
           "observing took %.2f s: sketches %.2f, means for biases %.2f, samples %.2f, "
           "ranges %.2f, weights %.2f, rounding %.2f; sketches and samples took at most "
           "%.1f MiB",
           all, s[AMCT_CALIB_SKETCH], s[AMCT_CALIB_MEANS], s[AMCT_CALIB_SAMPLE],
           s[AMCT_CALIB_RANGE], s[AMCT_CALIB_WEIGH], s[AMCT_CALIB_ROUND],
           (double)atomic_load(&state->sketch_peak) / 1048576.0);
}
