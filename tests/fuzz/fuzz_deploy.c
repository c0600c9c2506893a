/* SPDX-License-Identifier: Apache-2.0 */
/* A graph in text form, a line of dashes, a record: what save_model, after
 * save_quant_retrain_model where the graph has its ops, and export_stock make of them. */
#include "fuzz/fuzz.h"

#include <unistd.h>

#include "api/origins.h"
#include "graph/textform.h"
#include "insert/deploy.h"
#include "insert/stock.h"
#include "insert/training.h"
#include "op/tensors.h"

enum { SKIPPED_MAX = 16 };

typedef struct flow {
  amct_graph *graph;
  amct_plan *plan;
  amct_layers layers;
  amct_record record;
  fuzz_outputs outputs;
  const char *skipped[SKIPPED_MAX];
  size_t skip_count;
} flow;

/* The ops of retraining are gone, or the graph is as it was. */
static bool undo_training(flow *f, amct_error *err) {
  amct_map grids = {0};
  size_t layers = 0;
  const bool fine =
      fuzz_succeeded(amct_train_grids(&grids, f->graph, err), err) &&
      fuzz_succeeded(amct_train_check(&grids, f->graph, &f->record, "record", err),
                     err) &&
      fuzz_succeeded(amct_train_undo(f->graph, NULL, 0, &layers, err), err);
  amct_map_free(&grids);
  amct_error wrong = {0};
  FUZZ_CHECK(amct_graph_verify(f->graph, &wrong) == AMCT_OK, wrong.text);
  return fine;
}

/* Both halves; false where an input is refused. */
static bool read_halves(flow *f, amct_slice input, amct_error *err) {
  static const char line[] = "\n---\n";
  const uint8_t *dashes =
      input.size ? memmem(input.data, input.size, line, sizeof line - 1) : NULL;
  if (dashes == NULL) return false;
  const amct_slice graph = {input.data, (size_t)(dashes - input.data)};
  const uint8_t *rest = dashes + sizeof line - 1;
  const amct_slice record = {rest, (size_t)(input.data + input.size - rest)};
  if (!fuzz_succeeded(amct_graph_from_text(&f->graph, graph, err), err) ||
      !fuzz_succeeded(amct_graph_verify(f->graph, err), err) ||
      !fuzz_succeeded(amct_record_parse(&f->record, record, "record", err), err))
    return false;
  if (!undo_training(f, err)) return false;
  fuzz_find_outputs(&f->outputs, f->graph);
  for (size_t i = 0; i < f->record.layers.count && f->skip_count < SKIPPED_MAX; i++)
    if (f->record.layers.at[i].skip_fusion)
      f->skipped[f->skip_count++] = f->record.layers.at[i].key;
  return amct_layers_quantized(f->graph) == NULL;
}

static bool plan(flow *f, amct_error *err) {
  const amct_plan_options options = {f->outputs.at, f->outputs.count, true, f->skipped,
                                     f->skip_count};
  return fuzz_succeeded(amct_plan_make(&f->plan, f->graph, &options, err), err) &&
         fuzz_succeeded(
             amct_layers_find(&f->layers, f->graph, f->outputs.at, f->outputs.count, err),
             err) &&
         fuzz_succeeded(
             amct_record_check(&f->record, "record", &f->layers, f->graph, err), err);
}

/* The JSON beside the pb; its file is never seen. */
static void write_origins(const amct_graph *graph) {
  char path[64];
  amct_error err = {0};
  amct_output *output = NULL;
  snprintf(path, sizeof path, "/tmp/amct_fuzz_%d.json", (int)getpid());
  FUZZ_CHECK(amct_output_open(&output, path, &err) == AMCT_OK, err.text);
  (void)fuzz_succeeded(amct_origins_write(graph, output, &err), &err);
  amct_output_discard(output);
}

/* The same graph in stock ops: nothing of ours is left in it. */
static void make_stock(const flow *f) {
  amct_error err = {0};
  size_t count = 0;
  if (!fuzz_succeeded(amct_stock(f->graph, &count, &err), &err)) return;
  FUZZ_CHECK(amct_graph_verify(f->graph, &err) == AMCT_OK, err.text);
  FUZZ_CHECK(amct_layers_quantized(f->graph) == NULL, "ops of ours");
}

/* Input tensors with factors. */
static size_t count_tensors(const flow *f) {
  size_t count = 0;
  for (size_t i = 0; i < f->record.layers.count; i++) {
    const amct_factors *factors = &f->record.layers.at[i];
    amct_node *node;
    uint64_t input;
    count += factors->has_data && amct_tensor_find(f->graph, factors->key, &node, &input);
  }
  return count;
}

static void deploy(flow *f) {
  const amct_deploy_options options = {.module = "fuzz",
                                       .record_path = "record",
                                       .outputs = f->outputs.at,
                                       .output_count = f->outputs.count};
  amct_error err = {0};
  amct_buffer bytes = {0};
  size_t quantized = 0;
  const size_t tensors = count_tensors(f);
  const bool done = fuzz_succeeded(
      amct_deploy(f->plan, &f->layers, &f->record, &options, &quantized, &err), &err);
  err = (amct_error){0};
  FUZZ_CHECK(amct_graph_verify(f->graph, &err) == AMCT_OK, err.text);
  FUZZ_CHECK((amct_layers_quantized(f->graph) != NULL) ==
                 (done && quantized + tensors > 0),
             "quantization ops");
  for (size_t i = 0; i < f->outputs.count; i++)
    FUZZ_CHECK(amct_graph_find(f->graph, f->outputs.at[i]) != NULL, f->outputs.at[i]);
  amct_graph_free(fuzz_read_again(f->graph, &bytes));
  amct_buffer_free(&bytes);
  if (done) write_origins(f->graph);
  if (done) make_stock(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  amct_error err = {0};
  flow f = {0};
  if (read_halves(&f, (amct_slice){data, size}, &err) && plan(&f, &err)) deploy(&f);
  amct_layers_free(&f.layers);
  amct_plan_free(f.plan);
  amct_record_free(&f.record);
  amct_graph_free(f.graph);
  return 0;
}
