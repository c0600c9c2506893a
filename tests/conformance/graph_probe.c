/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the graph code sees in a GraphDef, for tests that compare it with TensorFlow.
 *
 *   graph_probe show IN.pb OUT.pb    a line a node; OUT.pb: written again
 *   graph_probe shapes IN.pb OUT.pb  a line for each of the first two outputs of a node
 *   graph_probe text IN.txt OUT.pb   text form to GraphDef
 */
#include <stdio.h>

#include "graph/textform.h"
#include "op/shapes.h"

static void put_hex(const void *data, size_t size) {
  const uint8_t *bytes = data;
  for (size_t i = 0; i < size; i++)
    printf("%02x", bytes[i]);
}

/* const NAME DTYPE [dims] f|i hex of float32 or int64 */
static amct_status show_constant(const amct_node *node, amct_error *err) {
  amct_tensor tensor;
  amct_arena arena = {0};
  const float *floats = NULL;
  const int64_t *ints = NULL;
  AMCT_TRY(amct_const_tensor(node, &tensor, err));
  printf("const\t%s\t%d\t", node->name, (int)tensor.dtype);
  for (int32_t i = 0; i < tensor.shape.rank; i++)
    printf("%s%lld", i == 0 ? "" : ",", (long long)tensor.shape.dims[i]);
  amct_status status = amct_tensor_floats(&tensor, &arena, &floats, node, NULL);
  if (status == AMCT_OK) {
    printf("\tf\t");
    put_hex(floats, tensor.count * sizeof *floats);
  } else if ((status = amct_tensor_ints(&tensor, &arena, &ints, node, err)) == AMCT_OK) {
    printf("\ti\t");
    put_hex(ints, tensor.count * sizeof *ints);
  }
  printf("\n");
  amct_arena_free(&arena);
  return status;
}

static amct_status show(const amct_graph *graph, amct_error *err) {
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    const amct_node *node = amct_graph_at(graph, i);
    amct_dtype dtype = AMCT_DTYPE_INVALID;
    printf("node\t%s\t%s", node->name, node->op);
    for (uint32_t k = 0; k < node->input_count; k++)
      printf("\t%s", amct_edge_text(node->inputs[k]));
    printf("\n");
    if (strcmp(node->op, "Const") != 0) continue;
    if (amct_attr_type(node, "dtype", &dtype) && dtype == AMCT_DTYPE_STRING) continue;
    AMCT_TRY(show_constant(node, err));
  }
  for (size_t i = 0; i < amct_graph_function_count(graph); i++) {
    const amct_slice name = amct_graph_function_name(graph, i);
    printf("function\t%.*s\n", (int)name.size, (const char *)name.data);
  }
  return amct_graph_verify(graph, err);
}

static void show_shape(const amct_shapes *shapes, amct_node *node, int32_t port) {
  const amct_shape shape = amct_shapes_of(shapes, (amct_edge){node, port});
  printf("shape\t%s:%d\t", node->name, (int)port);
  for (int32_t i = 0; i < shape.rank; i++)
    printf("%s%lld", i == 0 ? "" : ",", (long long)shape.dims[i]);
  printf("%s\n", shape.rank < 0 ? "?" : "");
}

static amct_status show_shapes(const amct_graph *graph, amct_error *err) {
  amct_shapes *shapes = NULL;
  AMCT_TRY(amct_shapes_infer(&shapes, graph, err));
  for (size_t i = 0; i < amct_graph_count(graph); i++)
    for (int32_t port = 0; port < 2; port++)
      show_shape(shapes, amct_graph_at(graph, i), port);
  amct_shapes_free(shapes);
  return AMCT_OK;
}

static amct_status save(const amct_graph *graph, const char *path, amct_error *err) {
  amct_output *output = NULL;
  AMCT_TRY(amct_output_open(&output, path, err));
  const amct_status status = amct_graph_save(graph, output, err);
  if (status == AMCT_OK) return amct_output_commit(output, err);
  amct_output_discard(output);
  return status;
}

static amct_status run(char **argv, amct_error *err) {
  amct_graph *graph = NULL;
  amct_file file = {0};
  amct_status status = AMCT_OK;
  if (strcmp(argv[1], "text") == 0) {
    if ((status = amct_file_open(&file, argv[2], err)) != AMCT_OK) goto done;
    status = amct_graph_from_text(&graph, file.bytes, err);
  } else {
    status = amct_graph_load(&graph, argv[2], err);
    if (status == AMCT_OK)
      status =
          strcmp(argv[1], "shapes") == 0 ? show_shapes(graph, err) : show(graph, err);
  }
  if (status == AMCT_OK) status = save(graph, argv[3], err);
done:
  amct_graph_free(graph);
  amct_file_close(&file);
  return status;
}

int main(int argc, char **argv) {
  amct_error err = {0};
  if (argc != 4) return 2;
  if (run(argv, &err) == AMCT_OK) return 0;
  fprintf(stderr, "%s: %s\n", amct_status_name(err.status), err.text);
  return 1;
}
