/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 * Quantization-aware retraining: its configuration, the training graph, the quantized
 * model. */
#ifndef AMCT_RETRAIN_H
#define AMCT_RETRAIN_H

#include "amct/quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Writes the retraining configuration (JSON) of a graph to `config_file`; an existing
 * file is replaced, with a warning.
 *
 * @param config_defination  path of a simplified configuration (.cfg); NULL: none
 * @return as amct_create_quant_config.
 */
AMCT_API AMCT_NODISCARD amct_status
amct_create_quant_retrain_config(const amct_source *source, const char *config_file,
                                 const char *config_defination, amct_error *err);

/**
 * Plans the retraining ops for a live graph, and writes an empty record. The last edit
 * adds a node whose output 0, once the clips are trained, writes the factors of all
 * layers into the record. Edits are read and freed as those of a calibration.
 *
 * @param record_file  path of the record; NULL: a plan to look at, no record is written
 * @return as amct_quantize_model; AMCT_UNSUPPORTED (the graph was edited before);
 * AMCT_BAD_GRAPH (it has an optimizer, or gradients of weights, already).
 */
AMCT_API AMCT_NODISCARD amct_status amct_create_quant_retrain_model(
    amct_calibration **out, const amct_source *source, const char *config_file,
    const char *record_file, amct_error *err);

/**
 * As amct_save_model, from the frozen pb of a retrained graph: the retraining ops are
 * taken out first.
 *
 * @return as amct_save_model; AMCT_BAD_GRAPH (no retraining ops in the pb);
 * AMCT_NOT_READY (the record is empty).
 */
AMCT_API AMCT_NODISCARD amct_status amct_save_quant_retrain_model(const char *pb_model,
                                                                  amct_strings outputs,
                                                                  const char *record_file,
                                                                  const char *save_path,
                                                                  amct_error *err);

/**
 * Quantizes the frozen pb of a graph that was trained with FakeQuantWithMinMaxVars,
 * FakeQuantWithMinMaxVarsPerChannel or FakeQuantWithMinMaxArgs: their ranges are the
 * factors. Writes the files of amct_save_model. Layers whose data or weights are not
 * fake-quantized to 8 bits stay float, each with a warning.
 *
 * @param record_file    where to write the factors; NULL: nowhere
 * @param exact          true: biases are added in float, and a layer with weights farther
 * from zero than int8 reaches becomes the sum of two, at twice its cost, so that each
 * layer computes what it did; false: biases are rounded to steps of scale_d*scale_w, and
 * such weights anew, with a warning
 * @return as amct_save_model; AMCT_UNSUPPORTED (no fake quantization in the pb, no layer
 * that can be quantized).
 */
AMCT_API AMCT_NODISCARD amct_status amct_convert_qat_model(const char *pb_model,
                                                           amct_strings outputs,
                                                           const char *save_path,
                                                           const char *record_file,
                                                           bool exact, amct_error *err);

#ifdef __cplusplus
}
#endif

#endif
