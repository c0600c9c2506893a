/* SPDX-License-Identifier: Apache-2.0 */
/* What an observer gathers beside its sketch: means and samples of its tensor as layers
 * read it. */
#ifndef AMCT_OBSERVER_PARTS_H
#define AMCT_OBSERVER_PARTS_H

#include "calib/calibration.h"

#include <pthread.h>
#include <stdatomic.h>

/** One observed tensor. */
typedef struct amct_calib_observer {
  pthread_mutex_t lock;
  amct_sketch *sketch; /* made by the first batch, gone when the range is known */
  struct amct_calib_means *means;     /* made by the first batch that wants some */
  struct amct_calib_samples *samples; /* the same */
  int64_t batches;
  int64_t searched; /* batches of the range that was found last; 0: none yet */
  int64_t handed;   /* of the one that the layers have; with the calibration's lock */
  atomic_bool done;
} amct_calib_observer;

/** Frees what it has gathered, with its lock held or nobody else there; calib_layers.c.
 */
void amct_calib_observer_empty(amct_calib_observer *observer);

/** Means of a layer's input by tap and channel, shared by layers that read it alike. */
typedef struct amct_calib_mean {
  float *mean; /* NULL: there are none */
  size_t count, taps;
} amct_calib_mean;

/** A sample of a layer's input on its grid, shared by layers that read it alike. */
typedef struct amct_calib_steps {
  atomic_size_t holders;
  size_t rows, width, taps;
  int16_t *at; /* NULL: there is none */
} amct_calib_steps;

/* input_means.c; all with the observer's lock held */

/** Room for the sums of a batch, so that adding it cannot fail. */
AMCT_NODISCARD amct_status amct_calib_means_prepare(amct_calib_observer *observer,
                                                    const amct_calib_range_spec *spec,
                                                    const amct_calib_batch *batch,
                                                    amct_error *err);
void amct_calib_means_add(amct_calib_observer *observer, const amct_calib_batch *batch);
/** The means of layer i of the spec, to be freed by the caller; without a mean where none
 * were wanted or they are of no use. */
AMCT_NODISCARD amct_status amct_calib_means_of(const amct_calib_observer *observer,
                                               size_t layer, amct_calib_mean *mean,
                                               amct_error *err);
void amct_calib_means_free(struct amct_calib_means *means);

/* samples.c; all with the observer's lock held, but for release */

/** Room for the rows of a batch, so that adding it cannot fail. */
AMCT_NODISCARD amct_status amct_calib_samples_prepare(amct_calib_observer *observer,
                                                      const amct_calib_range_spec *spec,
                                                      const amct_calib_batch *batch,
                                                      amct_error *err);
void amct_calib_samples_add(amct_calib_observer *observer, const amct_calib_batch *batch);
/** The samples of the spec's layers on the grid of a range, held once for each layer;
 * NULL where none was wanted. */
AMCT_NODISCARD amct_status amct_calib_samples_of(const amct_calib_observer *observer,
                                                 const amct_calib_range_spec *spec,
                                                 amct_range range,
                                                 amct_calib_steps **steps,
                                                 amct_error *err);
size_t amct_calib_samples_bytes(const amct_calib_observer *observer);
void amct_calib_samples_free(struct amct_calib_samples *samples);
/** One holder less; NULL is fine. */
void amct_calib_steps_release(amct_calib_steps *steps);

#endif
