/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share. A target is a function on bytes; libFuzzer calls it in the
 * preset `fuzz`, replay.c over the corpus in every other build. */
#ifndef AMCT_TESTS_FUZZ_H
#define AMCT_TESTS_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "graph/graph.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** An invariant of doc/security.md; `detail` is a string for the report. */
#define FUZZ_CHECK(condition, detail)                                                    \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      fprintf(stderr, "%s:%d: %s does not hold: %s\n", __FILE__, __LINE__, #condition,   \
              (detail));                                                                 \
      abort();                                                                           \
    }                                                                                    \
  } while (0)

/** True for AMCT_OK. A failure must be reported in `err`, and be no lack of memory: the
 * input is small. */
bool fuzz_succeeded(amct_status status, const amct_error *err);

/** The nodes without readers, as model outputs. */
enum { FUZZ_OUTPUTS_MAX = 8 };
typedef struct fuzz_outputs {
  const char *at[FUZZ_OUTPUTS_MAX];
  size_t count;
} fuzz_outputs;
void fuzz_find_outputs(fuzz_outputs *outputs, const amct_graph *graph);

/** Encodes a sound graph into `bytes` and reads it again: it must be sound there too, and
 * have the same bytes. */
amct_graph *fuzz_read_again(const amct_graph *graph, amct_buffer *bytes);

/** Plans, settles and sweeps a sound graph: it must stay sound, with nothing left to
 * fuse. */
void fuzz_fuse(amct_graph *graph);

#endif
