/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that fail, come short, are interrupted or are the last of their process:
 * the test is linked with --wrap for each. */
#ifndef AMCT_TESTS_FAULTY_CALLS_H
#define AMCT_TESTS_FAULTY_CALLS_H

#include <stdbool.h>

/* name, whether a signal may interrupt it */
#define FAULTY_CALLS(X)                                                                  \
  X(open, true)                                                                          \
  X(fstat, false)                                                                        \
  X(mmap, false)                                                                         \
  X(mkdir, false)                                                                        \
  X(write, true)                                                                         \
  X(fsync, true)                                                                         \
  X(close, true)                                                                         \
  X(rename, false)

typedef enum faulty_call {
#define FAULTY_ENUM(name, interruptible) FAULTY_##name,
  FAULTY_CALLS(FAULTY_ENUM)
#undef FAULTY_ENUM
      FAULTY_COUNT,
} faulty_call;

const char *faulty_name(faulty_call which);

/** Call number `nth` of `which` (1 = the next) fails with `error_number`. */
void faulty_fail(faulty_call which, unsigned nth, int error_number);
/** Every second call of those that a signal may interrupt fails with EINTR; a write takes
 * a few bytes at a time. */
void faulty_interrupt(void);
/** SIGKILL before call number `nth`, whichever it is. */
void faulty_kill(unsigned nth);
/** All as usual again. True if what was asked for happened. */
bool faulty_stop(void);

#endif
