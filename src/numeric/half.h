/* SPDX-License-Identifier: Apache-2.0 */
/* IEEE half precision (and bfloat16) to float32 and back, round to nearest even. */
#ifndef AMCT_HALF_H
#define AMCT_HALF_H

#include <stdint.h>

#include "base/visibility.h"

AMCT_INTERNAL float amct_half_to_float(uint16_t half);
uint16_t amct_half_from_float(float value);
float amct_bfloat_to_float(uint16_t bits);

#endif
