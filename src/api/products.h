/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a quantized model: `<save_path>_quantized.pb` and
 * `<save_path>_quant.json`. */
#ifndef AMCT_PRODUCTS_H
#define AMCT_PRODUCTS_H

#include "api/study.h"
#include "factors/record.h"

typedef struct amct_products {
  const char *pb_path, *json_path;
  const char *record_path; /* NULL: it is not written */
  const amct_record *record;
} amct_products;

/** Their paths, in the arena. AMCT_INVALID_ARGUMENT: no save_path. */
AMCT_NODISCARD amct_status amct_products_name(amct_products *products, amct_arena *arena,
                                              const char *save_path, amct_error *err);
/** Writes all of them, or none; a warning for those that are there. */
AMCT_NODISCARD amct_status amct_products_write(const amct_products *products,
                                               const amct_graph *graph,
                                               const char *module, amct_error *err);

/** The graph that amct_save_model would write. */
AMCT_NODISCARD amct_status amct_products_preview(amct_study *study, const char *pb_model,
                                                 amct_strings outputs,
                                                 const char *record_file,
                                                 amct_error *err);

#endif
