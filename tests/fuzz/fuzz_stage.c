/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/fuzz_stage.h"

#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

#include "graph/textform.h"

static const char k_graph[] =
    "x = Placeholder() {shape=[?,8,8,3]}\n"
    "w = Const() {value=float[3,3,3,4](ramp)}\n"
    "d = Const() {value=float[3,3,4,1](ramp)}\n"
    "m = Const() {value=float[4,2](ramp)}\n"
    "s = Const() {value=int32[2](-1,4)}\n"
    "conv = Conv2D(x, w) {strides=[1,1,1,1], padding=\"SAME\"}\n"
    "depthwise = DepthwiseConv2dNative(conv, d) {strides=[1,1,1,1], padding=\"SAME\"}\n"
    "pool = AvgPool(depthwise) {ksize=[1,8,8,1], strides=[1,1,1,1], padding=\"VALID\"}\n"
    "peak = MaxPool(depthwise) {T=DT_FLOAT, ksize=[1,2,2,1], strides=[1,1,1,1], "
    "padding=\"SAME\"}\n"
    "flat = Reshape(pool, s)\n"
    "fc = MatMul(flat, m)\n"
    "odd = Conv2D(x, conv) {strides=[1,1,1,1], padding=\"SAME\"}\n";

const fuzz_stage *fuzz_stage_get(void) {
  static fuzz_stage s;
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

void fuzz_stage_put(const fuzz_stage *s, amct_slice bytes) {
  FUZZ_CHECK(ftruncate(s->fd, 0) == 0, s->path);
  FUZZ_CHECK(pwrite(s->fd, bytes.data, bytes.size, 0) == (ssize_t)bytes.size, s->path);
}
