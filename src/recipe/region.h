/* SPDX-License-Identifier: Apache-2.0 */
/* Private to src/recipe: the nodes of "from:<node> to:<node>". */
#ifndef AMCT_REGION_H
#define AMCT_REGION_H

#include "recipe/selector.h"

/** True if a text says that it is a region. */
bool amct_region_is(const char *text);
/**
 * The nodes on the ways along data edges from the one to the other, both among them: a
 * byte a node, by its index, in the arena of `among`. AMCT_BAD_CONFIG: no two nodes of
 * the graph, or no way leads from the first to the second.
 */
AMCT_NODISCARD amct_status amct_region_find(const uint8_t **inside, const char *text,
                                            amct_candidates *among,
                                            const amct_config_place *place,
                                            amct_error *err);
/** AMCT_BAD_CONFIG for a region of which no node may be meant: it names those before and
 * behind. */
AMCT_NODISCARD amct_status amct_region_fail_empty(const char *text,
                                                  amct_candidates *among,
                                                  const amct_config_place *place,
                                                  amct_error *err);

#endif
