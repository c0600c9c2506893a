/* SPDX-License-Identifier: Apache-2.0 */
/* What the op library needs of the core beyond include/: exported, undocumented, for the
 * two libraries of one build only. */
#ifndef AMCT_VISIBILITY_H
#define AMCT_VISIBILITY_H

#define AMCT_INTERNAL __attribute__((visibility("default")))

#endif
