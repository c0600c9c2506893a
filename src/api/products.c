/* SPDX-License-Identifier: Apache-2.0 */
#include "api/products.h"

#include "api/origins.h"
#include "api/paths.h"
#include "base/logging.h"

amct_status amct_products_name(amct_products *products, amct_arena *arena,
                               const char *save_path, amct_error *err) {
  if (!save_path)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "save_path is empty");
  products->pb_path = amct_path_prefixed(arena, save_path, "quantized.pb");
  products->json_path = amct_path_prefixed(arena, save_path, "quant.json");
  return products->pb_path && products->json_path ? AMCT_OK : amct_fail_memory(err);
}

static void warn_overwritten(const amct_products *products, const char *module) {
  const char *paths[] = {products->record_path, products->json_path, products->pb_path};
  for (size_t i = 0; i < 3; i++)
    if (paths[i] && amct_path_exists(paths[i]))
      amct_log(AMCT_LOG_WARNING, module, "%s exists and is overwritten", paths[i]);
}

static amct_status write_record(const amct_products *products, amct_output *output,
                                amct_error *err) {
  amct_buffer text = {0};
  amct_record_print(products->record, &text);
  const amct_status status = text.failed
                                 ? amct_fail_memory(err)
                                 : amct_output_write(output, text.data, text.size, err);
  amct_buffer_free(&text);
  return status;
}

/* The files in the order in which they get their names. */
enum { RECORD, JSON, PB, FILES };

static amct_status write_all(const amct_products *products, const amct_graph *graph,
                             amct_output *files[FILES], amct_error *err) {
  AMCT_TRY(amct_output_open(&files[PB], products->pb_path, err));
  AMCT_TRY(amct_graph_save(graph, files[PB], err));
  AMCT_TRY(amct_output_open(&files[JSON], products->json_path, err));
  AMCT_TRY(amct_origins_write(graph, files[JSON], err));
  if (products->record_path) {
    AMCT_TRY(amct_output_open(&files[RECORD], products->record_path, err));
    AMCT_TRY(write_record(products, files[RECORD], err));
  }
  for (int i = 0; i < FILES; i++)
    if (files[i]) AMCT_TRY(amct_output_ready(files[i], err));
  return AMCT_OK;
}

amct_status amct_products_write(const amct_products *products, const amct_graph *graph,
                                const char *module, amct_error *err) {
  amct_output *files[FILES] = {NULL};
  warn_overwritten(products, module);
  amct_status status = write_all(products, graph, files, err);
  for (int i = 0; i < FILES; i++) {
    amct_output *ready = files[i];
    if (ready && status == AMCT_OK)
      status = amct_output_commit(ready, err); /* takes the handle */
    else
      amct_output_discard(ready);
  }
  return status;
}
