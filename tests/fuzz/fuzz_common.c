/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/fuzz.h"

#include "amct/log.h"
#include "op/layers.h"
#include "rewrite/plan.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  setenv("AMCT_THREADS", "1", 1);
  return amct_log_configure(AMCT_LOG_NONE, AMCT_LOG_NONE, NULL, NULL) != AMCT_OK;
}

bool fuzz_succeeded(amct_status status, const amct_error *err) {
  if (status == AMCT_OK) return true;
  FUZZ_CHECK(err->status == status, "status of the error record");
  FUZZ_CHECK(err->text[0] != '\0', "text of the error record");
  FUZZ_CHECK(status != AMCT_OUT_OF_MEMORY, err->text);
  FUZZ_CHECK(status != AMCT_IO, err->text);
  return false;
}

void fuzz_find_outputs(fuzz_outputs *outputs, const amct_graph *graph) {
  outputs->count = 0;
  for (size_t i = amct_graph_count(graph); i > 0 && outputs->count < FUZZ_OUTPUTS_MAX;
       i--) {
    const amct_node *node = amct_graph_at(graph, i - 1);
    if (node->use_count == 0) outputs->at[outputs->count++] = node->name;
  }
}

amct_graph *fuzz_read_again(const amct_graph *graph, amct_buffer *bytes) {
  amct_error err = {0};
  amct_graph *again = NULL;
  amct_buffer twice = {0};
  FUZZ_CHECK(amct_graph_encode(graph, bytes, &err) == AMCT_OK, err.text);
  const amct_slice slice = {bytes->data, bytes->size};
  FUZZ_CHECK(amct_graph_read(&again, slice, "again", &err) == AMCT_OK, err.text);
  FUZZ_CHECK(amct_graph_verify(again, &err) == AMCT_OK, err.text);
  FUZZ_CHECK(amct_graph_encode(again, &twice, &err) == AMCT_OK, err.text);
  const amct_slice second = {twice.data, twice.size};
  FUZZ_CHECK(amct_slice_equal(slice, second), "bytes of a graph that nobody changed");
  amct_buffer_free(&twice);
  return again;
}

/* Constants are decoded when asked for: a malformed one fails whoever asks, and a
 * variable whoever needs its values. */
static bool had_values(amct_status status, const amct_error *err) {
  if (fuzz_succeeded(status, err)) return true;
  FUZZ_CHECK(status == AMCT_BAD_FORMAT || status == AMCT_UNSUPPORTED, err->text);
  return false;
}

/* What planning a graph that was fused before finds: reasons to decline, no folds. */
static void expect_nothing_to_fuse(amct_graph *graph, const amct_plan_options *options) {
  amct_error err = {0};
  amct_plan *plan = NULL;
  if (!had_values(amct_plan_make(&plan, graph, options, &err), &err)) return;
  for (size_t i = 0; i < plan->decisions.count; i++)
    FUZZ_CHECK(plan->decisions.at[i].reason != NULL, plan->decisions.at[i].node);
  amct_plan_free(plan);
}

static void check_outputs(const amct_graph *graph, const fuzz_outputs *outputs) {
  for (size_t i = 0; i < outputs->count; i++)
    FUZZ_CHECK(amct_graph_find(graph, outputs->at[i]) != NULL, outputs->at[i]);
}

/* True if all constants that mattered could be read. */
static bool fuse(amct_graph *graph, const amct_plan_options *options) {
  amct_error err = {0};
  amct_layers layers = {0};
  amct_plan *plan = NULL;
  const bool fused = had_values(amct_layers_find(&layers, graph, options->outputs,
                                                 options->output_count, &err),
                                &err) &&
                     had_values(amct_plan_make(&plan, graph, options, &err), &err) &&
                     had_values(amct_plan_settle(plan, NULL, &err), &err);
  amct_plan_free(plan);
  amct_layers_free(&layers);
  return fused;
}

void fuzz_fuse(amct_graph *graph) {
  amct_error err = {0};
  amct_buffer bytes = {0};
  fuzz_outputs outputs;
  fuzz_find_outputs(&outputs, graph);
  const amct_plan_options options = {outputs.at, outputs.count, true, NULL, 0, true};
  const bool fused = fuse(graph, &options);
  FUZZ_CHECK(amct_graph_verify(graph, &err) == AMCT_OK, err.text);
  FUZZ_CHECK(amct_graph_sweep(graph, outputs.at, outputs.count, &err) == AMCT_OK,
             err.text);
  FUZZ_CHECK(amct_graph_verify(graph, &err) == AMCT_OK, err.text);
  check_outputs(graph, &outputs);
  amct_graph *again = fuzz_read_again(graph, &bytes);
  if (fused) expect_nothing_to_fuse(again, &options);
  amct_graph_free(again);
  amct_buffer_free(&bytes);
}
