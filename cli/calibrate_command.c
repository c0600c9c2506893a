/* SPDX-License-Identifier: Apache-2.0 */
/* amct calibrate: a bar while it runs, and Ctrl-C that is heard between runs. */
#include "amct/calibrate.h"

#include "bar.h"
#include "run.h"

#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t g_interrupted;

static void interrupt(int number) {
  (void)number;
  g_interrupted = 1;
}

/* The second Ctrl-C ends the program at once. */
static void watch_signals(void) {
  struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

enum { SMALL_BLOCK = 1 << 17, LARGE_BLOCK = 1 << 25 };

/* One heap, and large blocks outside it, which go back when they are freed: a tenth less
 * memory. TensorFlow makes and frees blocks all the time: half of its time in the kernel
 * would go there. */
static void tune_memory(const char *engine) {
  const bool often = strncmp(engine, "TensorFlow", 10) == 0;
  (void)mallopt(M_ARENA_MAX, 1);
  (void)mallopt(M_MMAP_THRESHOLD, often ? LARGE_BLOCK : SMALL_BLOCK);
  if (often) (void)mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

typedef struct progress {
  bool shown; /* standard error is a terminal */
  cli_bar bar;
  const char *engine;
} progress;

static bool show_progress(void *context, int64_t done, int64_t total) {
  progress *p = context;
  if (done == 0) tune_memory(p->engine);
  if (p->shown) cli_bar_show(&p->bar, done, total, now_ms(), g_interrupted != 0);
  return !g_interrupted;
}

static void print_result(const amct_calibrate_result *r, const char *save_path,
                         bool quiet) {
  printf("%lld samples found in %lld files, %lld batches used\n", (long long)r->samples,
         (long long)r->files, (long long)r->batches);
  printf("run by %s\n", r->engine);
  if (r->comparison && !quiet) fputs(r->comparison, stdout);
  printf("%zu of %zu layers are calibrated; the model is saved as %s\n", r->calibrated,
         r->layers, save_path);
}

cli_status cli_run_calibrate(const cli_call *call) {
  amct_calibrate_result result = {.engine = ""};
  progress p = {.shown = isatty(STDERR_FILENO) && !call->given[CLI_any_quiet],
                .bar = {.to = stderr},
                .engine = result.engine};
  const amct_calibrate_options options = {
      .pb_model = cli_text(call, CLI_calibrate_model),
      .outputs = cli_names(call, CLI_calibrate_outputs),
      .save_path = cli_text(call, CLI_calibrate_save_path),
      .config_file = cli_text(call, CLI_calibrate_config),
      .preset = cli_text(call, CLI_calibrate_preset),
      .record_file = cli_text(call, CLI_calibrate_record),
      .data = cli_names(call, CLI_calibrate_data),
      .batch_size = call->given[CLI_calibrate_batch_size]
                        ? cli_number(cli_text(call, CLI_calibrate_batch_size))
                        : 0,
      .batch_num = call->given[CLI_calibrate_batch_num]
                       ? cli_number(cli_text(call, CLI_calibrate_batch_num))
                       : 0,
      .engine = cli_text(call, CLI_calibrate_engine),
      .engine_folder = cli_text(call, CLI_calibrate_engine_dir),
      .progress = show_progress,
      .context = &p,
  };
  amct_error err = {0};
  tune_memory("");
  watch_signals();
  const amct_status status = amct_calibrate(&result, &options, &err);
  if (status == AMCT_OK)
    print_result(&result, options.save_path, call->given[CLI_any_quiet]);
  amct_text_free(result.comparison);
  const cli_status exit = cli_finish(status, &err);
  return exit == CLI_FAILED && g_interrupted ? CLI_INTERRUPTED : exit;
}
