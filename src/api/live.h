/* SPDX-License-Identifier: Apache-2.0 */
/* Edits as a live graph gets them. */
#ifndef AMCT_LIVE_H
#define AMCT_LIVE_H

#include "amct/quantize.h"
#include "graph/edits.h"

struct amct_calibration {
  amct_live_edit *edits;
  size_t count;
  amct_arena arena;
};

/** Copies the edits of a list, which only adds nodes, sets inputs and adds control
 * inputs. The Consts of these names become variables. */
AMCT_NODISCARD amct_status amct_live_export(amct_calibration *live, amct_edits *edits,
                                            amct_graph *graph, amct_strings variables,
                                            amct_error *err);

/** Makes the Consts of these names among exported edits variables that are not trained.
 */
AMCT_NODISCARD amct_status amct_live_keep(amct_calibration *live, amct_graph *graph,
                                          amct_strings kept, amct_error *err);

#endif
