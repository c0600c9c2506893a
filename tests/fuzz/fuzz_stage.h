/* SPDX-License-Identifier: Apache-2.0 */
/* What the targets for configurations share: a small graph, and a file in memory, since
 * configurations are read by path. */
#ifndef AMCT_TESTS_FUZZ_STAGE_H
#define AMCT_TESTS_FUZZ_STAGE_H

#include "fuzz/fuzz.h"
#include "recipe/recipe.h"

typedef struct fuzz_stage {
  amct_graph *graph;
  amct_layers layers;
  int fd;
  char path[64];
} fuzz_stage;

/** Made at the first call. */
const fuzz_stage *fuzz_stage_get(void);
/** The file holds `bytes` from now on. */
void fuzz_stage_put(const fuzz_stage *s, amct_slice bytes);

#endif
