/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 * Calibration as one call: batches from files, run by an inference library that is found
 * at run time. */
#ifndef AMCT_CALIBRATE_H
#define AMCT_CALIBRATE_H

#include "amct/quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What amct_calibrate is to do. */
typedef struct amct_calibrate_options {
  const char *pb_model;    /**< frozen, float */
  amct_strings outputs;    /**< names of output nodes, without ":0" */
  const char *save_path;   /**< as for amct_save_model */
  const char *config_file; /**< NULL: the default configuration */
  const char *preset;      /**< without config_file, as in amct_config_options */
  const char *record_file; /**< NULL: save_path + "_record.txt" */
  /** "path", or "input=path" where the graph has several inputs; a path is a .npy, .npz
   * or .bin (the values alone), or a folder of them */
  amct_strings data;
  int64_t batch_size;        /**< samples; 0: each file is a batch */
  int64_t batch_num;         /**< without config_file: batches to use; 0: all */
  const char *engine;        /**< "openvino", "tensorflow"; NULL, "auto": the first */
  const char *engine_folder; /**< of Python packages, with the engine; NULL: found */
  /** Called before the first batch and behind each run of some samples; false stops.
   * NULL: nobody wants to know. */
  bool (*progress)(void *context, int64_t done, int64_t total);
  void *context; /**< of `progress` */
} amct_calibrate_options;

/** Bytes of an engine's description. */
enum { AMCT_ENGINE_TEXT_BYTES = 256 };

/** What amct_calibrate found and did. */
typedef struct amct_calibrate_result {
  int64_t samples;                     /**< found */
  int64_t batches;                     /**< used */
  int64_t files;                       /**< found */
  size_t layers;                       /**< that were to be calibrated */
  size_t calibrated;                   /**< that are */
  char engine[AMCT_ENGINE_TEXT_BYTES]; /**< "OpenVINO 2026.4.1 (...)" */
  /** with the preset "accurate": what was compared and chosen, and how far each layer is
   * from float, in lines of text; freed with amct_text_free. NULL: nothing was */
  char *comparison;
} amct_calibrate_result;

/**
 * Runs the model over the data, writes the record, and what amct_save_model writes.
 *
 * With the engine "tensorflow" the graph runs with its observers in it, as in Python:
 * the record is the same, byte for byte. Others hand out tensors.
 *
 * With the preset "accurate" the last quarter of the samples is kept apart, if that is 4
 * or more: they do not count for the ranges, but decide between IFMR and min-max for the
 * whole net, by the error of the outputs, and correct the bias of the last layer.
 *
 * @param[out] result  filled as far as it came, also on a failure; may be NULL
 * @return as amct_quantize_model and amct_save_model; AMCT_INVALID_ARGUMENT: data that do
 * not fit the graph, no such engine; AMCT_IO, AMCT_BAD_FORMAT: files of data;
 * AMCT_UNSUPPORTED: NaN or infinity in them, a graph that the engine cannot run;
 * AMCT_NOT_READY: no engine is installed, or `progress` stopped it. The record is
 * replaced when the engine is ready to run, the model at the very end.
 */
AMCT_API AMCT_NODISCARD amct_status amct_calibrate(amct_calibrate_result *result,
                                                   const amct_calibrate_options *options,
                                                   amct_error *err);

#ifdef __cplusplus
}
#endif

#endif
