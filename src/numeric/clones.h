/* SPDX-License-Identifier: Apache-2.0 */
/* AMCT_CLONES: compile a function for AVX2 as well, chosen at load time. The arithmetic
 * is the same in both (no fused multiply-adds, no reordered sums). */
#ifndef AMCT_CLONES_H
#define AMCT_CLONES_H

/* Sanitizers instrument the resolvers that run before they are ready. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) &&                \
    !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&                             \
    !defined(__SANITIZE_THREAD__) && !defined(AMCT_NO_CLONES)
#define AMCT_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define AMCT_CLONES
#endif

/* For helpers of such functions: gcc leaves plain inline ones out of the copies. */
#define AMCT_INLINE static inline __attribute__((always_inline))

#endif
