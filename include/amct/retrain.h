/* SPDX-License-Identifier: Apache-2.0 */
/* Quantization-aware retraining: its configuration, the training graph, the quantized
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

#ifdef __cplusplus
}
#endif

#endif
