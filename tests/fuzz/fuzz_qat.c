/* SPDX-License-Identifier: Apache-2.0 */
/* A graph in text form: what convert_qat_model makes of its fake quantization; of an
 * odd size, with exact weights. */
#include "fuzz/fuzz.h"

#include "graph/textform.h"
#include "insert/deploy.h"
#include "insert/fake_quants.h"

typedef struct flow {
  amct_graph *graph;
  amct_plan *plan;
  amct_layers layers;
  amct_fakes fakes;
  amct_record record;
  amct_stats stats;
  fuzz_outputs outputs;
} flow;

static void check_graph(const flow *f) {
  amct_error err = {0};
  FUZZ_CHECK(amct_graph_verify(f->graph, &err) == AMCT_OK, err.text);
  for (size_t i = 0; i < f->outputs.count; i++)
    FUZZ_CHECK(amct_graph_find(f->graph, f->outputs.at[i]) != NULL, f->outputs.at[i]);
}

static bool read_graph(flow *f, amct_slice text, amct_error *err) {
  if (!fuzz_succeeded(amct_graph_from_text(&f->graph, text, err), err) ||
      !fuzz_succeeded(amct_graph_verify(f->graph, err), err) ||
      amct_layers_quantized(f->graph) != NULL)
    return false;
  fuzz_find_outputs(&f->outputs, f->graph);
  f->fakes.module = "fuzz";
  f->fakes.graph = f->graph;
  return fuzz_succeeded(amct_fakes_find(&f->fakes, err), err);
}

static bool take_out(flow *f, bool split, amct_error *err) {
  amct_layers layers = {0};
  const bool done = fuzz_succeeded(amct_constants_fold(f->graph, err), err) &&
                    fuzz_succeeded(amct_layers_find(&layers, f->graph, f->outputs.at,
                                                    f->outputs.count, err),
                                   err) &&
                    fuzz_succeeded(amct_fakes_take_out(&f->fakes, &layers, f->outputs.at,
                                                       f->outputs.count, err),
                                   err) &&
                    (!split || fuzz_succeeded(amct_fakes_split(&f->fakes, err), err));
  amct_layers_free(&layers);
  check_graph(f);
  return done;
}

static bool plan(flow *f, amct_error *err) {
  const amct_plan_options options = {f->outputs.at, f->outputs.count, true, NULL, 0};
  return fuzz_succeeded(amct_plan_make(&f->plan, f->graph, &options, err), err) &&
         fuzz_succeeded(
             amct_layers_find(&f->layers, f->graph, f->outputs.at, f->outputs.count, err),
             err) &&
         fuzz_succeeded(amct_fakes_record(&f->record, &f->stats, &f->fakes, f->plan,
                                          &f->layers, err),
                        err) &&
         fuzz_succeeded(
             amct_record_check(&f->record, "record", &f->layers, f->graph, err), err);
}

static void deploy(flow *f, amct_error *err) {
  const amct_deploy_options options = {.module = "fuzz",
                                       .record_path = "record",
                                       .outputs = f->outputs.at,
                                       .output_count = f->outputs.count,
                                       .stats = &f->stats,
                                       .steps_only = true};
  size_t quantized = 0;
  if (fuzz_succeeded(
          amct_deploy(f->plan, &f->layers, &f->record, &options, &quantized, err), err) &&
      fuzz_succeeded(amct_fakes_replace(&f->fakes, err), err))
    FUZZ_CHECK(quantized == f->fakes.layers.count, "layers");
  check_graph(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  amct_error err = {0};
  flow f = {0};
  if (read_graph(&f, (amct_slice){data, size}, &err) && take_out(&f, size % 2, &err) &&
      plan(&f, &err))
    deploy(&f, &err);
  amct_fakes_free(&f.fakes);
  amct_layers_free(&f.layers);
  amct_plan_free(f.plan);
  amct_stats_free(&f.stats);
  amct_record_free(&f.record);
  amct_graph_free(f.graph);
  return 0;
}
