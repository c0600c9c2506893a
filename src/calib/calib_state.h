/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of calib/ share.
 *
 * Locks, in the order in which they may be taken: the registry's (finding and retiring
 * calibrations), a calibration's (layers, factors, the record file), an observer's (its
 * sketch). Sketching holds only the last, so that different tensors are sketched at the
 * same time.
 */
#ifndef AMCT_CALIB_STATE_H
#define AMCT_CALIB_STATE_H

#include "base/map.h"
#include "base/names.h"
#include "base/vec.h"
#include "calib/observer_parts.h"

#include <pthread.h>
#include <sys/types.h>

enum { AMCT_CALIB_LAYERS_MAX = 1000000 };

/** One layer: what came in, and its factors once it is complete. */
typedef struct amct_calib_entry {
  amct_name name;
  bool weighted;
  amct_calib_observer *observers[2]; /* of the data, of what stands in the place of
                                        weights; NULL until its QuantIfmr ran */
  bool owns_observer[2];
  bool has_range;
  amct_range range;
  bool has_weights;
  float *scale_w;
  size_t scale_count;
  float *bias; /* folded, a value a channel; NULL: none */
  size_t channels;
  uint64_t weights_digest;
  double weight_norm; /* of the folded weights of a channel, root mean square */
  double pixel_rms;   /* of data that look like pixels from 0 to 255; else 0 */
  amct_calib_mean mean;
  amct_calib_steps *steps; /* NULL: no sample was wanted */
  double damping;          /* 0: weights go to their nearest step */
  float *folded;           /* weights to be rounded by the sample, until they are */
  amct_weight_layout layout;
  bool rounding;   /* somebody is at it */
  bool rounded;    /* it is done, or cannot be */
  int8_t *integer; /* the rounded weights; NULL: nearest steps */
  bool complete;
  bool changed; /* since: its range was found again */
} amct_calib_entry;

/** Where the time of observers goes. */
typedef enum amct_calib_phase {
  AMCT_CALIB_SKETCH,
  AMCT_CALIB_MEANS,
  AMCT_CALIB_SAMPLE,
  AMCT_CALIB_RANGE,
  AMCT_CALIB_WEIGH,
  AMCT_CALIB_ROUND,
  AMCT_CALIB_PHASES,
} amct_calib_phase;

typedef struct amct_calib_state {
  amct_name id, path;
  pid_t process; /* that began or adopted it: only this one writes */
  bool begun;    /* by amct_calib_begin here, else adopted */
  atomic_bool retired;
  atomic_bool told; /* that a forked child takes no part */
  _Atomic int64_t spent_ns[AMCT_CALIB_PHASES];
  _Atomic int64_t sketch_bytes, sketch_peak;
  _Atomic int64_t batch_shown, shown_ns; /* of the progress in the log */
  pthread_mutex_t lock;
  /* guarded by `lock` */
  amct_names names;          /* of layers */
  amct_calib_entry **layers; /* by index; NULL until the first observer comes */
  size_t total, complete, written;
  bool changed;                /* factors that the record has are out of date */
  AMCT_VEC(amct_name) unfused; /* layers marked skip_fusion in the record */
  amct_map unfused_set;
  int64_t write_ms; /* of the last record, monotonic */
  bool warned;
  struct amct_calib_state *next;
} amct_calib_state;

/* calib_registry.c */

/** The calibration of `key`, adopted where this process knows nothing of it. *state is
 * NULL where a forked child meets its parent's. AMCT_NOT_READY: retired. */
AMCT_NODISCARD amct_status amct_calib_find(amct_calib_state **state,
                                           const amct_calib_key *key, amct_error *err);
/** The same without adopting; NULL where there is none that takes data. */
amct_calib_state *amct_calib_known(const amct_calib_key *key);

/* calib_layers.c; all with the calibration's lock held, but for new and free */

/** NULL when memory runs out. */
amct_calib_state *amct_calib_state_new(amct_name id, amct_name path);
void amct_calib_state_free(amct_calib_state *state);
/** Remembers a layer as marked. */
AMCT_NODISCARD amct_status amct_calib_mark(amct_calib_state *state, const char *layer,
                                           amct_error *err);
/** The entry of a layer, made where it is new. AMCT_INVALID_ARGUMENT: index, total or
 * name do not fit what came before. */
AMCT_NODISCARD amct_status amct_calib_entry_get(amct_calib_state *state,
                                                const amct_calib_key *key,
                                                const amct_calib_layer *layer,
                                                amct_calib_entry **entry,
                                                amct_error *err);
/** NULL if there is none yet. */
amct_calib_entry *amct_calib_entry_known(const amct_calib_state *state, int64_t index);
/** The observer of the layers of `spec`, made where it is new. */
AMCT_NODISCARD amct_status amct_calib_observer_get(amct_calib_state *state,
                                                   const amct_calib_range_spec *spec,
                                                   amct_calib_observer **observer,
                                                   amct_error *err);
/** Frees all sketches: nothing more is observed. */
void amct_calib_drop_sketches(amct_calib_state *state);

/* rounding.c */

/** Rounds the weights of those layers that have what it takes, without the calibration's
 * lock, which is taken between. What cannot be rounded is left to its nearest steps, with
 * a warning. */
void amct_calib_round(amct_calib_state *state, amct_calib_entry *const *entries,
                      size_t count);
/** Raises scale_w until the bias fits int32. With the calibration's lock held. */
void amct_calib_fit_bias(amct_calib_entry *entry);

/* guards.c */

/** Warns of data that are all one value, of a range that one value sets, of percentiles
 * that the values are too few for. */
void amct_calib_check_range(const amct_calib_range_spec *spec, amct_sketch *sketch,
                            const amct_range *range);
/** Root mean square of data that look like pixels from 0 to 255; else 0. */
double amct_calib_pixel_rms(amct_sketch *sketch);
/** Warns where a layer makes much of pixels, so that others were meant. */
void amct_calib_check_pixels(const amct_calib_entry *entry);

/* progress.c */

int64_t amct_calib_now_ns(void);
void amct_calib_spent(amct_calib_state *state, amct_calib_phase phase, int64_t since);
/** Memory of sketches changed by this much. */
void amct_calib_sketched(amct_calib_state *state, int64_t bytes);
/** "batch 3 of 10", once; of many batches a line a second. */
void amct_calib_show_batch(amct_calib_state *state, int64_t batch, int64_t total);
/** One line: where the time went, and what the sketches took. */
void amct_calib_show_costs(const amct_calib_state *state);

/* calib_record.c; all with the calibration's lock held */

/** Computes the factors of a layer that has all it needs, and writes the record when it
 * is due. */
AMCT_NODISCARD amct_status amct_calib_settle(amct_calib_state *state,
                                             amct_calib_entry *const *entries,
                                             size_t count, amct_error *err);
AMCT_NODISCARD amct_status amct_calib_write(amct_calib_state *state, amct_error *err);
/** Takes over the marks of the record on the calibration's path, where there is one. */
AMCT_NODISCARD amct_status amct_calib_read_marks(amct_calib_state *state,
                                                 amct_error *err);
/** One warning that says which layers have no factors. */
void amct_calib_warn_missing(amct_calib_state *state);

#endif
