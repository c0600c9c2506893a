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

#define AMCT_NOINLINE __attribute__((noinline))

/* Round to nearest, subnormals kept; the caller's state goes to *saved. Where all
 * arithmetic is SSE's, its register is all the state there is: fesetenv takes the time of
 * a hundred multiplications for the x87's besides. */
#if defined(__x86_64__) && defined(__SSE_MATH__)

#include <xmmintrin.h>

typedef unsigned amct_float_env;

enum { AMCT_MXCSR_DEFAULT = 0x1F80 }; /* exceptions masked, none seen */

static inline void amct_float_env_enter(amct_float_env *saved) {
  *saved = _mm_getcsr();
  _mm_setcsr(AMCT_MXCSR_DEFAULT);
}

static inline void amct_float_env_leave(const amct_float_env *saved) {
  _mm_setcsr(*saved);
}

#else

#include <fenv.h>

typedef fenv_t amct_float_env;

static inline void amct_float_env_enter(amct_float_env *saved) {
  fegetenv(saved);
  fesetenv(FE_DFL_ENV);
}

static inline void amct_float_env_leave(const amct_float_env *saved) {
  fesetenv(saved);
}

#endif

#endif
