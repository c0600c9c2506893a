/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration for a small graph: read, printed, read again, printed the same. */
#include "fuzz/fuzz.h"

#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

#include "graph/textform.h"
#include "recipe/recipe.h"

static const char k_graph[] =
    "x = Placeholder() {shape=[?,8,8,3]}\n"
    "w = Const() {value=float[3,3,3,4](ramp)}\n"
    "d = Const() {value=float[3,3,4,1](ramp)}\n"
    "m = Const() {value=float[4,2](ramp)}\n"
    "s = Const() {value=int32[2](-1,4)}\n"
    "conv = Conv2D(x, w) {strides=[1,1,1,1], padding=\"SAME\"}\n"
    "depthwise = DepthwiseConv2dNative(conv, d) {strides=[1,1,1,1], padding=\"SAME\"}\n"
    "pool = AvgPool(depthwise) {ksize=[1,8,8,1], strides=[1,1,1,1], padding=\"VALID\"}\n"
    "flat = Reshape(pool, s)\n"
    "fc = MatMul(flat, m)\n"
    "odd = Conv2D(x, conv) {strides=[1,1,1,1], padding=\"SAME\"}\n";

/* Made once: the graph, and a file in memory, since configurations are read by path. */
typedef struct stage {
  amct_graph *graph;
  amct_layers layers;
  int fd;
  char path[64];
} stage;

static const stage *get_stage(void) {
  static stage s;
  amct_error err = {0};
  if (s.graph != NULL) return &s;
  json_object_seed(1); /* the same order of a hash table in every run */
  FUZZ_CHECK(amct_graph_from_text(&s.graph, amct_slice_of(k_graph), &err) == AMCT_OK,
             err.text);
  FUZZ_CHECK(amct_layers_find(&s.layers, s.graph, NULL, 0, &err) == AMCT_OK, err.text);
  s.fd = memfd_create("config", MFD_CLOEXEC);
  FUZZ_CHECK(s.fd >= 0, "memfd_create");
  snprintf(s.path, sizeof s.path, "/proc/self/fd/%d", s.fd);
  return &s;
}

static amct_status read_bytes(const stage *s, amct_slice bytes, amct_recipe *recipe,
                              amct_error *err) {
  amct_recipe_fusion fusion = {0};
  amct_error fusion_err = {0};
  FUZZ_CHECK(ftruncate(s->fd, 0) == 0, s->path);
  FUZZ_CHECK(pwrite(s->fd, bytes.data, bytes.size, 0) == (ssize_t)bytes.size, s->path);
  const amct_status status = amct_recipe_read(recipe, s->path, &s->layers, s->graph, err);
  const amct_status early =
      amct_recipe_read_fusion(&fusion, s->path, s->graph, &fusion_err);
  if (fuzz_succeeded(status, err)) {
    FUZZ_CHECK(early == AMCT_OK, fusion_err.text);
    FUZZ_CHECK(fusion.do_fusion == recipe->do_fusion, "do_fusion");
    FUZZ_CHECK(fusion.skip_fusion_count == recipe->skip_fusion_count, "skipped layers");
  }
  amct_arena_free(&fusion.arena);
  return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const stage *s = get_stage();
  amct_error err = {0};
  amct_recipe recipe = {0}, again = {0};
  amct_buffer first = {0}, second = {0};
  if (read_bytes(s, (amct_slice){data, size}, &recipe, &err) == AMCT_OK) {
    FUZZ_CHECK(amct_recipe_print(&recipe, &first, &err) == AMCT_OK, err.text);
    const amct_slice printed = {first.data, first.size};
    FUZZ_CHECK(read_bytes(s, printed, &again, &err) == AMCT_OK, err.text);
    FUZZ_CHECK(amct_recipe_enabled(&recipe) == amct_recipe_enabled(&again), "layers");
    FUZZ_CHECK(amct_recipe_print(&again, &second, &err) == AMCT_OK, err.text);
    FUZZ_CHECK(amct_slice_equal(printed, (amct_slice){second.data, second.size}), "text");
  }
  amct_buffer_free(&first);
  amct_buffer_free(&second);
  amct_recipe_free(&recipe);
  amct_recipe_free(&again);
  return 0;
}
