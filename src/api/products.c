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
  const char *paths[] = {products->pb_path, products->json_path};
  for (size_t i = 0; i < 2; i++)
    if (amct_path_exists(paths[i]))
      amct_log(AMCT_LOG_WARNING, module, "%s exists and is overwritten", paths[i]);
}

static amct_status write_both(const amct_products *products, const amct_graph *graph,
                              amct_error *err) {
  amct_output *pb = NULL, *json = NULL;
  amct_status status;
  if ((status = amct_output_open(&pb, products->pb_path, err)) != AMCT_OK ||
      (status = amct_graph_save(graph, pb, err)) != AMCT_OK ||
      (status = amct_output_open(&json, products->json_path, err)) != AMCT_OK ||
      (status = amct_origins_write(graph, json, err)) != AMCT_OK ||
      (status = amct_output_ready(json, err)) != AMCT_OK ||
      (status = amct_output_ready(pb, err)) != AMCT_OK)
    goto done;
  amct_output *ready = json;
  json = NULL; /* commit takes the handle */
  if ((status = amct_output_commit(ready, err)) != AMCT_OK) goto done;
  ready = pb;
  pb = NULL;
  status = amct_output_commit(ready, err);
done:
  amct_output_discard(pb);
  amct_output_discard(json);
  return status;
}

amct_status amct_products_write(const amct_products *products, const amct_graph *graph,
                                const char *module, amct_error *err) {
  warn_overwritten(products, module);
  return write_both(products, graph, err);
}
