/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a quantized model: `<save_path>_quantized.pb` and
 * `<save_path>_quant.json`. */
#ifndef AMCT_PRODUCTS_H
#define AMCT_PRODUCTS_H

#include "graph/graph.h"

typedef struct amct_products {
  const char *pb_path, *json_path;
} amct_products;

/** Their paths, in the arena. AMCT_INVALID_ARGUMENT: no save_path. */
AMCT_NODISCARD amct_status amct_products_name(amct_products *products, amct_arena *arena,
                                              const char *save_path, amct_error *err);
/** Writes both, or neither; says so in the log. */
AMCT_NODISCARD amct_status amct_products_write(const amct_products *products,
                                               const amct_graph *graph,
                                               const char *module, amct_error *err);

#endif
