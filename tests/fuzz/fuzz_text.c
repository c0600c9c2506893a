/* SPDX-License-Identifier: Apache-2.0 */
/* A graph in text form: read, written as a GraphDef, printed, fused. */
#include "fuzz/fuzz.h"

#include "graph/textform.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  amct_error err = {0};
  amct_graph *graph = NULL, *again = NULL;
  amct_buffer bytes = {0}, text = {0};
  if (!fuzz_succeeded(amct_graph_from_text(&graph, (amct_slice){data, size}, &err), &err))
    return 0;
  if (fuzz_succeeded(amct_graph_verify(graph, &err), &err)) {
    again = fuzz_read_again(graph, &bytes);
    amct_graph_print(again, &text);
    FUZZ_CHECK(!text.failed, "text form");
    fuzz_fuse(again);
  }
  amct_graph_free(again);
  amct_graph_free(graph);
  amct_buffer_free(&text);
  amct_buffer_free(&bytes);
  return 0;
}
