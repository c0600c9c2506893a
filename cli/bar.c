/* SPDX-License-Identifier: Apache-2.0 */
#include "bar.h"

enum { CELLS = 30, SHOW_EVERY_MS = 100 };

/* As long as ", 99999 s left", which it wipes out. */
static const char blanks[] = "                ",
                  back[] = "\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b";

void cli_bar_show(cli_bar *bar, int64_t done, int64_t total, int64_t now_ms,
                  bool stopped) {
  char cells[CELLS + 1];
  const bool between = done > 0 && done < total;
  if (done == 0) bar->started_ms = now_ms;
  if (between && !stopped && now_ms - bar->drawn_ms < SHOW_EVERY_MS) return;
  bar->drawn_ms = now_ms;
  for (int i = 0; i < CELLS; i++)
    cells[i] = i < CELLS * done / total ? '#' : '.';
  cells[CELLS] = '\0';
  fprintf(bar->to, "\rcalibrating [%s] %lld/%lld samples", cells, (long long)done,
          (long long)total);
  if (between)
    fprintf(bar->to, ", %lld s left   ",
            (long long)((now_ms - bar->started_ms) * (total - done) / done / 1000 + 1));
  else
    fprintf(bar->to, "%s%s", blanks, back);
  if (done == total || stopped) fputc('\n', bar->to);
  fflush(bar->to);
}
