/* SPDX-License-Identifier: Apache-2.0 */
/* A GraphDef: read, verified, written as it came, fused. */
#include "fuzz/fuzz.h"

#include "graph/textform.h"

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
    fuzz_fuse(graph);
  }
  amct_buffer_free(&text);
  amct_buffer_free(&same);
  amct_graph_free(graph);
  return 0;
}
