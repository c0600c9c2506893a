/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 * Quantized models in forms that need no library of ours. */
#ifndef AMCT_EXPORT_H
#define AMCT_EXPORT_H

#include "amct/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Writes a quantized model with stock TensorFlow ops only, to `<save_path>_stock.pb`
 * (save_path "dir/": "dir/stock.pb"). Each AscendQuant, AscendWeightQuant, AscendDequant
 * and AscendAntiQuant becomes its own arithmetic; the node of its name gives the same
 * values, bit for bit on CPU. int8 weights stay int8.
 *
 * @param pb_quantized  what amct_save_model wrote
 * @return AMCT_OK; AMCT_INVALID_ARGUMENT; AMCT_IO; AMCT_BAD_FORMAT; AMCT_BAD_GRAPH;
 * AMCT_UNSUPPORTED (no quantization ops, ops of a calibration, another type than float).
 * Nothing is written then.
 */
AMCT_API AMCT_NODISCARD amct_status amct_export_stock(const char *pb_quantized,
                                                      const char *save_path,
                                                      amct_error *err);

#ifdef __cplusplus
}
#endif

#endif
