/* SPDX-License-Identifier: Apache-2.0 */
/* Plain inference through an engine of amct calibrate, to measure that against:
 *
 *   bench_infer ENGINE MODEL.pb INPUT OUTPUT DATA BATCH_SIZE
 */
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>

static void check(amct_status status, const amct_error *err) {
  if (status == AMCT_OK) return;
  fprintf(stderr, "bench_infer: %s\n", err->text);
  exit(1);
}

enum { ROWS = 8 };

static void run_all(amct_engine *engine, amct_data *data, amct_error *err) {
  amct_array array;
  for (int64_t b = 0; b < amct_data_batches(data); b++) {
    const int64_t rows = amct_data_rows(data, b), each = engine->rows ? ROWS : rows;
    for (int64_t at = 0; at < rows; at += each) {
      const int64_t n = rows - at < each ? rows - at : each;
      check(amct_data_read(data, b, at, n, &array, err), err);
      check(engine->class->run(engine, &array, NULL, NULL, err), err);
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 7) return 2;
  const amct_engine_class *class = amct_engine_named(argv[1]);
  const amct_port port = {argv[3], AMCT_DTYPE_FLOAT, {-1, {0}}, false};
  const char *sources[] = {argv[5]};
  const amct_data_options options = {sources, 1, atoll(argv[6])};
  const char *const fetch = argv[4];
  amct_error err = {0};
  amct_data *data = NULL;
  amct_engine *engine = NULL;
  amct_packages packages = {0};
  amct_engine_job job = {
      .fetches = &fetch, .fetch_count = 1, .splits = true, .untuned = true};
  if (!class) return 2;
  check(amct_graph_load(&job.graph, argv[2], &err), &err);
  check(amct_data_open(&data, &port, 1, &options, &err), &err);
  check(amct_packages_find(&packages, NULL, &err), &err);
  const amct_array input = amct_data_input(data, 0);
  job.inputs = &input;
  job.input_count = 1;
  job.packages = &packages;
  check(class->open(&engine, &job, &err), &err);
  amct_graph_free(job.graph);
  run_all(engine, data, &err);
  class->close(engine);
  amct_packages_free(&packages);
  amct_data_close(data);
  return 0;
}
