/* SPDX-License-Identifier: Apache-2.0 */
/* `<prefix>_quant.json`: which node of the quantized graph stands for which of the
 * original one, in the shape that the vendor's accuracy comparison reads (amct.md 9.8).
 */
#ifndef AMCT_ORIGINS_H
#define AMCT_ORIGINS_H

#include "graph/graph.h"

/** Writes the JSON for a deployed graph, one op a node. */
AMCT_NODISCARD amct_status amct_origins_write(const amct_graph *graph,
                                              amct_output *output, amct_error *err);

#endif
