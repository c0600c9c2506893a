/* SPDX-License-Identifier: Apache-2.0 */
/* text_to_pb: a graph in text form from stdin to a GraphDef on stdout, to make seeds. */
#include "fuzz/fuzz.h"

#include "graph/textform.h"

int main(void) {
  static uint8_t text[1 << 16];
  const size_t size = fread(text, 1, sizeof text, stdin);
  amct_error err = {0};
  amct_graph *graph = NULL;
  amct_buffer bytes = {0};
  FUZZ_CHECK(amct_graph_from_text(&graph, (amct_slice){text, size}, &err) == AMCT_OK,
             err.text);
  FUZZ_CHECK(amct_graph_encode(graph, &bytes, &err) == AMCT_OK, err.text);
  FUZZ_CHECK(fwrite(bytes.data, 1, bytes.size, stdout) == bytes.size, "stdout");
  amct_buffer_free(&bytes);
  amct_graph_free(graph);
  return 0;
}
