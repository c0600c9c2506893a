/* SPDX-License-Identifier: Apache-2.0 */
/* The simplified configurations: their fields as rows (cfg_fields.def,
 * retrain_fields.def), a file as a tree of them. */
#ifndef AMCT_CFG_H
#define AMCT_CFG_H

#include "recipe/recipe.h"

/** A message, by what its fields are about. */
typedef enum amct_cfg_message {
  AMCT_CFG_IN_FILE,
  AMCT_CFG_IN_TYPE,
  AMCT_CFG_IN_LAYER,
  AMCT_CFG_IN_TENSOR,
  AMCT_CFG_IN_CALIBRATION,
  AMCT_CFG_IN_ARQ,
  AMCT_CFG_IN_GPTQ,
#define ALGORITHM(id, name, settings) AMCT_CFG_IN_##id,
#include "numeric/range_algorithms.def"
#undef ALGORITHM
  /* of a file for retraining; the first is the file itself */
  AMCT_CFG_IN_RETRAIN,
  AMCT_CFG_IN_RETRAIN_LAYER,
  AMCT_CFG_IN_RETRAIN_TYPE,
  AMCT_CFG_IN_RETRAIN_DATA,
  AMCT_CFG_IN_ULQ,
  AMCT_CFG_IN_CLIPS,
  AMCT_CFG_IN_RETRAIN_WEIGHT,
  AMCT_CFG_IN_ARQ_RETRAIN,
} amct_cfg_message;

typedef enum amct_cfg_label {
  AMCT_CFG_OPTIONAL,
  AMCT_CFG_REQUIRED,
  AMCT_CFG_REPEATED,
} amct_cfg_label;

typedef enum amct_cfg_kind {
  AMCT_CFG_FLAG,
  AMCT_CFG_COUNT,
  AMCT_CFG_REAL,
  AMCT_CFG_TEXT,
  AMCT_CFG_ONLY,
  AMCT_CFG_MESSAGE,
  AMCT_CFG_REFUSED,
  AMCT_CFG_SIZE,
  AMCT_CFG_PRESET,
} amct_cfg_kind;

typedef struct amct_cfg_field {
  amct_cfg_message message; /* that it stands in */
  const char *name;
  amct_cfg_label label;
  amct_cfg_kind kind;
  size_t place; /* in amct_recipe or amct_layer_recipe; MESSAGE: an amct_cfg_message */
  double low, high;
  const char *allowed;
  const char *meaning;
} amct_cfg_field;

/** Row i; NULL past the last. */
const amct_cfg_field *amct_cfg_field_at(size_t i);

/** A field of a file. */
typedef struct amct_cfg_value {
  const amct_cfg_field *field; /* NULL: the file itself */
  uint32_t line;
  bool flag;
  int64_t count;
  double real; /* of the shortest decimal that is the same float32 */
  const char *text;
  struct amct_cfg_value *parent;
  struct amct_cfg_value *first; /* of a message: repeated fields last, in file order */
  struct amct_cfg_value *last;
  struct amct_cfg_value *next; /* of the same message */
} amct_cfg_value;

typedef struct amct_cfg {
  amct_recipe_purpose purpose; /* set before it is read */
  amct_preset preset;          /* where the file names none; set before it is applied */
  const char *path;            /* borrowed */
  amct_cfg_value file;
  amct_arena arena;
} amct_cfg; /* zero-initialise */

/**
 * Reads and checks a file as far as that goes without a graph. AMCT_IO; AMCT_BAD_FORMAT
 * (not protobuf text: line); AMCT_BAD_CONFIG naming file, line, field, value and what is
 * allowed, or the nearest fields.
 */
AMCT_NODISCARD amct_status amct_cfg_read(amct_cfg *cfg, const char *path,
                                         amct_error *err);
void amct_cfg_free(amct_cfg *cfg);

/** The first value of a field in a message; NULL: it is not there. */
const amct_cfg_value *amct_cfg_get(const amct_cfg_value *message, const char *name);
/** The next value of the same repeated field. */
const amct_cfg_value *amct_cfg_next(const amct_cfg_value *value);
/** True if the message is one of a range algorithm. */
bool amct_cfg_is_range(const amct_cfg_value *message);
/** The message of a range algorithm in a CALIBRATION message; NULL: there is none. */
const amct_cfg_value *amct_cfg_range(const amct_cfg_value *calibration);
/** Stores what the fields of a message that have a place say; `base` is an amct_recipe
 * (FILE, RETRAIN) or an amct_layer_recipe (IFMR and its like, and GPTQ and ARQ, which
 * store the algorithm too; ULQ, CLIPS, ARQ_RETRAIN). */
void amct_cfg_store(const amct_cfg_value *message, void *base);

/**
 * The recipe that a file asks for, of its purpose. Priority: override_layer_configs by
 * name, then by pattern or type (the last that matches), override_layer_types,
 * common_config; a message takes the place of all below it (for retraining: the messages
 * for data and weights each). AMCT_BAD_CONFIG naming file, line, field and value.
 */
AMCT_NODISCARD amct_status amct_recipe_from_cfg(amct_recipe *recipe, const amct_cfg *cfg,
                                                const amct_layers *layers,
                                                const amct_graph *graph, amct_error *err);
/** What fusion needs of it; patterns are held against the graph. */
AMCT_NODISCARD amct_status amct_cfg_fusion(amct_recipe_fusion *fusion,
                                           const amct_cfg *cfg, const amct_graph *graph,
                                           amct_error *err);

#endif
