/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same arithmetic on every thread. TensorFlow runs its kernels with subnormal numbers
 * flushed to zero, Python's threads do not: what calibrates in one must equal what is
 * computed in the other.
 *
 * Compilers may move arithmetic across the calls, so the work between them belongs in a
 * function marked AMCT_NOINLINE.
 */
#ifndef AMCT_FLOAT_ENV_H
#define AMCT_FLOAT_ENV_H

#include <fenv.h>

#define AMCT_NOINLINE __attribute__((noinline))

/** Round to nearest, subnormals kept; the caller's state goes to *saved. */
static inline void amct_float_env_enter(fenv_t *saved) {
  fegetenv(saved);
  fesetenv(FE_DFL_ENV);
}

static inline void amct_float_env_leave(const fenv_t *saved) {
  fesetenv(saved);
}

#endif
