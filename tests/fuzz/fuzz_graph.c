/* SPDX-License-Identifier: Apache-2.0 */
/* A GraphDef: read, verified, written as it came, looked at, fused. */
#include "fuzz/fuzz.h"

#include "amct/inspect.h"
#include "graph/textform.h"

static void inspect(amct_slice bytes) {
  const amct_source source = {"input", bytes.data, bytes.size};
  amct_error err = {0};
  char *report = NULL;
  (void)fuzz_succeeded(amct_inspect_model(&report, NULL, &source, (amct_strings){NULL, 0},
                                          AMCT_REPORT_JSON, &err),
                       &err);
  amct_text_free(report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const amct_slice bytes = {data, size};
  amct_error err = {0};
  amct_graph *graph = NULL;
  amct_buffer same = {0}, text = {0};
  if (!fuzz_succeeded(amct_graph_read(&graph, bytes, "input", &err), &err)) return 0;
  FUZZ_CHECK(amct_graph_encode(graph, &same, &err) == AMCT_OK, err.text);
  FUZZ_CHECK(amct_slice_equal(bytes, (amct_slice){same.data, same.size}), "bytes");
  if (fuzz_succeeded(amct_graph_verify(graph, &err), &err)) {
    amct_graph_print(graph, &text);
    FUZZ_CHECK(!text.failed, "text form");
    inspect(bytes);
    fuzz_fuse(graph);
  }
  amct_buffer_free(&text);
  amct_buffer_free(&same);
  amct_graph_free(graph);
  return 0;
}
