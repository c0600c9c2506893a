/* SPDX-License-Identifier: Apache-2.0 */
/* The first half of every calibration: what is observed, and the record begun. */
#ifndef AMCT_PREPARE_H
#define AMCT_PREPARE_H

#include "api/study.h"
#include "calib/calibration.h"
#include "recipe/recipe.h"

typedef struct amct_prepared {
  amct_study study;
  amct_recipe recipe;
  const char *record_path; /* absolute */
  char id[AMCT_CALIB_ID_BYTES];
  amct_recipe_fusion fusion;
  amct_edits *edits; /* observers; once they are planned */
  amct_arena arena;
} amct_prepared; /* zero-initialise */

void amct_prepared_free(amct_prepared *p);

/** Plans fusions and layers as the configuration wants it; config_file NULL: the
 * defaults with that preset, of one batch. */
AMCT_NODISCARD amct_status amct_prepare(amct_prepared *p, const amct_source *source,
                                        const char *config_file, amct_preset preset,
                                        amct_strings outputs, amct_error *err);
/** Makes the record's path absolute and a calibration id; plans the observers. */
AMCT_NODISCARD amct_status amct_prepare_observers(amct_prepared *p,
                                                  const char *record_file,
                                                  amct_error *err);
/** Starts the calibration. It replaces the record: nothing else may fail behind it that
 * could have failed before. */
AMCT_NODISCARD amct_status amct_prepare_begin(amct_prepared *p, amct_error *err);

#endif
