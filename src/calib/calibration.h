/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State of calibrations: sketches and weight scales by calibration id, in this process.
 * Observers (the TensorFlow kernels QuantIfmr and QuantArq) bring data in; when a layer
 * has all it needs its factors are in the record.
 *
 * State belongs to its process: a forked child starts empty and never writes the record
 * of a calibration that its parent began. Thread-safe throughout.
 */
#ifndef AMCT_CALIBRATION_H
#define AMCT_CALIBRATION_H

#include "numeric/fold.h"
#include "numeric/input_sums.h"
#include "numeric/range.h"

#include "base/visibility.h"

enum { AMCT_CALIB_ID_BYTES = 40 };

/** What every observer carries, so that a process that only got the graph knows all. */
typedef struct amct_calib_key {
  const char *id;          /* of amct_calib_begin */
  const char *record_path; /* absolute */
  int64_t layer_total;     /* layers in this calibration */
} amct_calib_key;

typedef struct amct_calib_layer {
  const char *name;
  int64_t index; /* place in the record, 0 .. layer_total-1 */
  bool weighted; /* waits for weight scales too */
  bool second;   /* the tensor stands in the place of the weights: its scale is theirs */
} amct_calib_layer;

/** A new calibration id. Ids sort by the time at which they were made. */
void amct_calib_make_id(char id[AMCT_CALIB_ID_BYTES]);

typedef struct amct_calib_start {
  const char *record_path; /* absolute */
  const char *const
      *skip_fusion; /* layers that nothing may be folded into, quantized or not */
  size_t skip_fusion_count;
  const char *id; /* of amct_calib_make_id, not begun before; NULL: a new one */
} amct_calib_start;

/**
 * Starts a calibration on a record path: writes a record that holds nothing but
 * `skip_fusion: true` for the layers named so, hands out the id, and retires an older id
 * on the same path, whose observers fail from now on. Whoever writes the record later
 * keeps these marks: they are read back from the file, so that a process that only got
 * the graph keeps them too (save_model sees no configuration, the record tells it what
 * not to fold).
 */
AMCT_NODISCARD amct_status amct_calib_begin(const amct_calib_start *start,
                                            char id[AMCT_CALIB_ID_BYTES],
                                            amct_error *err);

typedef struct amct_calib_range_spec {
  amct_calib_key key;
  int64_t batch_num;
  const amct_calib_layer *layers; /* all that read this tensor with these parameters */
  size_t layer_count;
  amct_range_options options;
  const amct_window *const *windows; /* by layer: how it reads the tensor, for the means
                                        of bias correction; NULL: none are wanted */
  const amct_window *const *row_windows; /* the same for a sample of its rows, that
                                            weights are rounded by; NULL: none */
  int64_t turns; /* the range is found again when 2, 4, 8, ... times batch_num batches are
                    in, up to this many times: inside loops, where a batch is one turn,
                    and the first may have nothing but zeros; below 2: once */
} amct_calib_range_spec;

/** A batch: float32 values, and their shape where windows want it (NULL: unknown). */
typedef struct amct_calib_batch {
  const float *values;
  size_t count;
  const int64_t *dims;
  int rank;
} amct_calib_batch;

/** One batch of an observed tensor. Batches after batch_num (times turns) are
 * ignored; an empty batch is none, and warns. AMCT_UNSUPPORTED: NaN or infinity, naming
 * layer, batch and index; nothing of the batch is kept. AMCT_NOT_READY: the id was
 * retired. Computes the range when batch_num batches are in, and again as `turns` says.
 */
AMCT_INTERNAL AMCT_NODISCARD amct_status amct_calib_observe(
    const amct_calib_range_spec *spec, const amct_calib_batch *batch, amct_error *err);
/** True once no more batches are wanted: the caller may skip converting its data. */
AMCT_INTERNAL bool amct_calib_range_done(const amct_calib_range_spec *spec);

typedef struct amct_calib_weight_spec {
  amct_calib_key key;
  amct_calib_layer layer;
  bool channel_wise;
  double damping; /* of the rounding by a sample of the inputs; 0: to nearest */
} amct_calib_weight_spec;

/** True once the weights were seen. */
AMCT_INTERNAL bool amct_calib_weights_done(const amct_calib_weight_spec *spec);
/**
 * Weights of a layer, float32 [outer, channels, inner], with what is folded into them.
 * Values that cannot be folded: the batch norm stays, as in the plan; a warning names the
 * reason. Keeps scale_w and the folded bias (for the fit of scale_w when scale_d is
 * known).
 */
AMCT_INTERNAL AMCT_NODISCARD amct_status amct_calib_weigh(
    const amct_calib_weight_spec *spec, const float *weights, amct_weight_layout layout,
    const amct_fold_step *steps, size_t step_count, amct_error *err);

/** Writes what is complete and not yet written, for one record (absolute path) or all
 * (NULL) that are still there. Layers without factors are warned of, once. */
AMCT_NODISCARD amct_status amct_calib_flush(const char *record_path, amct_error *err);

/** Forgets everything. Tests only. */
void amct_calib_reset(void);

#endif
