/* SPDX-License-Identifier: Apache-2.0 */
/* Private to src/op: what a layer's attributes must say for it to be quantized. */
#ifndef AMCT_CONSTRAINTS_H
#define AMCT_CONSTRAINTS_H

#include "op/ops.h"

enum { AMCT_REASON_BYTES = 320 };

/** True if something stands against quantization; `text` says what, and what to change.
 * `varies`: the weight input is quantized as data. */
bool amct_constraint_broken(const amct_node *node, bool varies,
                            char text[AMCT_REASON_BYTES]);
/** The one that holds for all ops: they compute in float32. */
bool amct_constraint_dtype(const amct_node *node, char text[AMCT_REASON_BYTES]);

#endif
