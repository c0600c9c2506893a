/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 * AMCT for TensorFlow: model compression. This header includes all the others.
 *
 * Conventions
 *   Outputs come first, then the subject, then the rest, the error record last (NULL
 * allowed). A call returns amct_status; on anything but AMCT_OK the outputs are as they
 * were or NULL, no file was changed, and the error record says what, where and why.
 *   Handles are freed with their _free or _close function; NULL is fine there. Borrowed
 * views say how long they live. Calls on different handles may run in different threads.
 * Strings are UTF-8 and NUL-terminated. A scale is real units per integer step; an offset
 * is the integer that means zero.
 */
#ifndef AMCT_AMCT_H
#define AMCT_AMCT_H

#include "amct/calibrate.h"
#include "amct/export.h"
#include "amct/inspect.h"
#include "amct/log.h"
#include "amct/quantize.h"
#include "amct/retrain.h"
#include "amct/status.h"

#endif
