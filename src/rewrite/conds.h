/* SPDX-License-Identifier: Apache-2.0 */
/* Conds of version 1 (Switch ... Merge) whose predicate is known, and what they never
 * run. */
#ifndef AMCT_CONDS_H
#define AMCT_CONDS_H

#include "rewrite/match.h"

/** What a predicate hangs on: a PlaceholderWithDefault, or constants alone. */
typedef struct amct_flag {
  const amct_node *source; /* NULL: constants */
  bool trains;             /* it chooses between training and inference */
  const char *refused;     /* why it is not taken at its default; NULL: it is */
} amct_flag;

/** A Switch with a known predicate. */
typedef struct amct_choice {
  amct_node *node;
  amct_flag *flag;
  int32_t port;     /* the output that runs */
  amct_edge source; /* a tensor before it, the nearest or one farther back */
} amct_choice;

typedef struct amct_conds {
  amct_pass *pass;
  amct_arena scratch;
  AMCT_VEC(amct_choice *) choices; /* in file order */
  amct_map choice_of;              /* by Switch */
  amct_map flag_of;                /* by source; NULL's is `constants` */
  amct_flag constants;
  amct_map dead;                /* nodes that never run -> the flag */
  AMCT_VEC(amct_node *) killed; /* the same, in the order found */
} amct_conds;                   /* zero-initialise but for pass */

/** All of them, outside while loops, and what they leave out. */
AMCT_NODISCARD amct_status amct_conds_find(amct_conds *conds, amct_error *err);
/** Takes back what refused flags say, and finds anew what never runs. */
AMCT_NODISCARD amct_status amct_conds_drop_refused(amct_conds *conds, amct_error *err);
void amct_conds_free(amct_conds *conds);

/** The flag that keeps this output from running; NULL: none is known to. */
amct_flag *amct_conds_dead(const amct_conds *conds, amct_edge edge);
/** The input of a Merge that runs where it alone does; -1: several may, or none. */
int amct_conds_live_input(const amct_conds *conds, const amct_node *merge);
/** The tensor behind Switches with a known predicate. */
amct_edge amct_conds_source(const amct_conds *conds, amct_edge edge);

#endif
