/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Golden cases of the plan. A case is a text file:
 *
 *   # what it shows
 *   # outputs: y z       model outputs             (optional)
 *   # skip: conv         layers nothing goes into  (optional)
 *   # fusion: off                                  (optional)
 *   # data: stay         layers read what they did, as when they are quantized (optional)
 *   # grids: kept        layers were trained with one scale for all weights (optional)
 *   a graph in text form (graph/textform.h)
 *   ---
 *   a line a decision, a line a layer of the graph after it
 *   ---
 *   the graph after it
 *
 * golden [--accept] case.txt...   compares, or writes what it found.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "graph/textform.h"
#include "op/layers.h"
#include "rewrite/plan.h"

enum { NAMES_MAX = 8, FILE_BYTES_MAX = 1 << 16 };
static const char k_line[] = "---\n";

typedef struct names {
  char text[256];
  const char *at[NAMES_MAX];
  size_t count;
} names;

static void stop(const char *path, const char *what) {
  fprintf(stderr, "%s: %s\n", path, what);
  exit(2);
}

static char *read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) stop(path, strerror(errno));
  char *text = calloc(1, FILE_BYTES_MAX);
  if (!text) stop(path, "out of memory");
  size_t size = fread(text, 1, FILE_BYTES_MAX - 1, file);
  fclose(file);
  if (size == FILE_BYTES_MAX - 1) stop(path, "too large");
  return text;
}

/* The words behind "# key:". */
static void read_names(names *out, const char *text, const char *key) {
  char start[32];
  snprintf(start, sizeof start, "# %s:", key);
  *out = (names){.count = 0};
  const char *at = strstr(text, start);
  if (!at) return;
  at += strlen(start);
  snprintf(out->text, sizeof out->text, "%.*s", (int)strcspn(at, "\n"), at);
  char *rest = NULL;
  for (char *word = strtok_r(out->text, " ", &rest); word && out->count < NAMES_MAX;
       word = strtok_r(NULL, " ", &rest))
    out->at[out->count++] = word;
}

static void print_decisions(const amct_plan *plan, amct_buffer *out) {
  for (size_t i = 0; i < plan->decisions.count; i++) {
    const amct_decision *d = &plan->decisions.at[i];
    if (d->reason)
      amct_buffer_format(out, "declined: %s: %s\n", d->node, d->reason);
    else
      amct_buffer_format(out, "fused: %s%s%s\n", d->node, *d->layer ? " into " : "",
                         d->layer);
  }
}

static void print_layers(const amct_layers *layers, amct_buffer *out) {
  for (size_t i = 0; i < layers->count; i++) {
    const amct_layer *l = &layers->at[i];
    if (l->reason) {
      amct_buffer_format(out, "float: %s: %s\n", l->node->name, l->reason);
      continue;
    }
    amct_buffer_format(out, "layer: %s %s, %lld channels", l->node->name,
                       l->grid == AMCT_PER_CHANNEL ? "per channel" : "per tensor",
                       (long long)l->channels);
    if (l->second.node) amct_buffer_format(out, ", second %s", l->second.node->name);
    if (l->bias) amct_buffer_format(out, ", bias %s", l->bias->name);
    amct_buffer_text(out, "\n");
  }
}

/* What planning the graph gives, from the first line of dashes on. */
static amct_status run(const char *text, size_t graph_size, amct_buffer *out,
                       amct_error *err) {
  const amct_slice slice = {(const uint8_t *)text, graph_size};
  amct_graph *graph = NULL;
  amct_plan *plan = NULL;
  amct_layers layers = {0};
  names outputs, skip, fusion, data, grids;
  amct_status status;

  read_names(&outputs, text, "outputs");
  read_names(&skip, text, "skip");
  read_names(&fusion, text, "fusion");
  read_names(&data, text, "data");
  read_names(&grids, text, "grids");
  const amct_plan_options options = {outputs.at,      outputs.count, fusion.count == 0,
                                     skip.at,         skip.count,    data.count == 0,
                                     grids.count != 0};
  if ((status = amct_graph_from_text(&graph, slice, err)) != AMCT_OK ||
      (status = amct_plan_make(&plan, graph, &options, err)) != AMCT_OK ||
      (status = amct_plan_settle(plan, NULL, err)) != AMCT_OK ||
      (status = amct_graph_sweep(graph, outputs.at, outputs.count, err)) != AMCT_OK ||
      (status = amct_graph_verify(graph, err)) != AMCT_OK ||
      (status = amct_layers_find(&layers, graph, outputs.at, outputs.count, err)) !=
          AMCT_OK)
    goto done;
  amct_buffer_text(out, k_line);
  print_decisions(plan, out);
  print_layers(&layers, out);
  amct_buffer_text(out, k_line);
  amct_graph_print(graph, out);
done:
  amct_layers_free(&layers);
  amct_plan_free(plan);
  amct_graph_free(graph);
  return status;
}

static void accept(const char *path, const char *text, size_t graph_size,
                   const amct_buffer *found) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(text, 1, graph_size, file) != graph_size ||
      fwrite(found->data, 1, found->size, file) != found->size || fclose(file) != 0)
    stop(path, "cannot be written");
}

static bool check(const char *path, bool accepting) {
  char *text = read_file(path);
  char *dashes = strstr(text, k_line);
  const size_t graph_size = dashes ? (size_t)(dashes - text) : strlen(text);
  amct_buffer found = {0};
  amct_error err = {0};
  if (run(text, graph_size, &found, &err) != AMCT_OK) stop(path, err.text);
  const char *wanted = text + graph_size;
  bool same = found.size == strlen(wanted) && memcmp(found.data, wanted, found.size) == 0;
  if (!same && accepting) accept(path, text, graph_size, &found);
  if (!same && !accepting)
    printf("%s differs. Wanted:\n%s\nFound:\n%.*s\n", path, wanted, (int)found.size,
           (const char *)found.data);
  amct_buffer_free(&found);
  free(text);
  return same || accepting;
}

int main(int argc, char **argv) {
  bool accepting = argc > 1 && strcmp(argv[1], "--accept") == 0;
  int bad = 0;
  if (argc < 2 + accepting) stop("golden", "no case given");
  for (int i = 1 + accepting; i < argc; i++)
    bad += !check(argv[i], accepting);
  return bad ? 1 : 0;
}
