/* SPDX-License-Identifier: Apache-2.0 */
/* How far a long job is, on a terminal: a bar that is drawn over itself. */
#ifndef AMCT_BAR_H
#define AMCT_BAR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct cli_bar {
  FILE *to;
  int64_t started_ms, drawn_ms;
} cli_bar;

/* `done` of `total` samples at `now_ms`, of any clock that never goes back. Nothing done
 * starts the clock, and is drawn, as is all; between them a bar is drawn at most every
 * tenth of a second, with the time that is left if it goes on like that. The line ends
 * with the last one: all is done, or the job was `stopped`. */
void cli_bar_show(cli_bar *bar, int64_t done, int64_t total, int64_t now_ms,
                  bool stopped);

#endif
