/* SPDX-License-Identifier: Apache-2.0 */
#include "recipe/region.h"

#include <stdio.h>

#include "base/alloc.h"
#include "op/nearest.h"

enum { NAME_SHOWN_BYTES = 120 };

/* No name of a node has a blank or a ':'. */
static const char k_from[] = "from:";
static const char k_to[] = " to:";

bool amct_region_is(const char *text) {
  return strncmp(text, k_from, sizeof k_from - 1) == 0;
}

/* ---- ways ---- */

/* Nodes found along data edges from one of them, nearest first. */
typedef struct walk {
  const amct_node **at;
  size_t count;
  uint8_t *seen; /* by index */
} walk;

static void free_walk(walk *w) {
  amct_free(w->at);
  amct_free(w->seen);
}

static void visit(walk *w, const amct_node *node) {
  if (w->seen[node->index]) return;
  w->seen[node->index] = 1;
  w->at[w->count++] = node;
}

static amct_status make_walk(walk *w, const amct_graph *graph, const amct_node *start,
                             bool forward, amct_error *err) {
  const size_t count = amct_graph_count(graph);
  *w = (walk){amct_alloc_array(count, sizeof *w->at), 0, amct_alloc_array(count, 1)};
  if (w->at == NULL || w->seen == NULL) return amct_fail_memory(err);
  visit(w, start);
  for (size_t next = 0; next < w->count; next++) {
    const amct_node *node = w->at[next];
    for (uint32_t i = 0; forward && i < node->use_count; i++)
      if (node->uses[i].input < node->uses[i].node->data_count)
        visit(w, node->uses[i].node);
    for (uint32_t i = 0; !forward && i < node->data_count; i++)
      if (node->inputs[i].node != NULL) visit(w, node->inputs[i].node);
  }
  return AMCT_OK;
}

/* ---- ends ---- */

typedef struct ends {
  const amct_node *from, *to;
} ends;

static amct_status fail_end(const char *name, const char *text, const amct_graph *graph,
                            const amct_config_place *place, amct_error *err) {
  char names[AMCT_NEAREST_BYTES];
  amct_nearest nearest;
  if (strchr(name, ':') != NULL)
    return amct_config_fail(err, place, name,
                            ": \"%.200s\": \"%.200s\" is a tensor: name its node", text,
                            name);
  amct_nearest_start(&nearest, name);
  for (size_t i = 0; i < amct_graph_count(graph); i++)
    amct_nearest_offer(&nearest, amct_graph_at(graph, i)->name);
  return amct_config_fail(
      err, place, name,
      ": \"%.200s\": \"%.200s\" is not in the graph, or was folded away%s", text, name,
      amct_nearest_text(&nearest, names));
}

static amct_status find_ends(ends *e, const char *text, amct_candidates *among,
                             const amct_config_place *place, amct_error *err) {
  const char *from = text + sizeof k_from - 1;
  const char *middle = strstr(from, k_to);
  if (middle == NULL)
    return amct_config_fail(err, place, NULL,
                            ": \"%.200s\" has one end: \"from:<node> to:<node>\" is "
                            "wanted",
                            text);
  const char *to = middle + sizeof k_to - 1;
  from = amct_arena_text(&among->arena, from, (size_t)(middle - from));
  if (from == NULL) return amct_fail_memory(err);
  e->from = amct_graph_find(among->graph, from);
  e->to = amct_graph_find(among->graph, to);
  if (e->from == NULL) return fail_end(from, text, among->graph, place, err);
  return e->to != NULL ? AMCT_OK : fail_end(to, text, among->graph, place, err);
}

/* ---- regions ---- */

/* `ahead`: from the first end on. */
static amct_status fail_apart(const ends *e, const char *text, const walk *ahead,
                              const amct_graph *graph, const amct_config_place *place,
                              amct_error *err) {
  char names[AMCT_NEAREST_BYTES];
  amct_nearest nearest;
  walk other = {0};
  amct_status status = make_walk(&other, graph, e->to, true, err);
  const bool reversed = status == AMCT_OK && other.seen[e->from->index];
  free_walk(&other);
  if (status != AMCT_OK) return status;
  amct_nearest_start(&nearest, e->to->name);
  for (size_t i = 1; i < ahead->count && !reversed; i++)
    amct_nearest_offer(&nearest, ahead->at[i]->name);
  return amct_config_fail(err, place, e->to->name,
                          ": \"%.200s\": no data goes from \"%.200s\" to \"%.200s\"%s%s",
                          text, e->from->name, e->to->name,
                          reversed ? ", but the other way" : "",
                          amct_nearest_text(&nearest, names));
}

static amct_status meet(uint8_t *inside, const ends *e, const char *text,
                        const amct_graph *graph, const amct_config_place *place,
                        amct_error *err) {
  walk ahead = {0}, back = {0};
  amct_status status = make_walk(&ahead, graph, e->from, true, err);
  if (status == AMCT_OK) status = make_walk(&back, graph, e->to, false, err);
  if (status == AMCT_OK && !ahead.seen[e->to->index])
    status = fail_apart(e, text, &ahead, graph, place, err);
  for (size_t i = 0; status == AMCT_OK && i < ahead.count; i++)
    inside[ahead.at[i]->index] = back.seen[ahead.at[i]->index];
  free_walk(&ahead);
  free_walk(&back);
  return status;
}

amct_status amct_region_find(const uint8_t **inside, const char *text,
                             amct_candidates *among, const amct_config_place *place,
                             amct_error *err) {
  ends e = {NULL, NULL};
  AMCT_TRY(find_ends(&e, text, among, place, err));
  uint8_t *bytes = amct_arena_alloc(&among->arena, amct_graph_count(among->graph));
  if (bytes == NULL) return amct_fail_memory(err);
  *inside = bytes;
  return meet(bytes, &e, text, among->graph, place, err);
}

/* ---- what lies around a region ---- */

static amct_status find_closest(const amct_node **closest, const amct_node *start,
                                bool forward, const amct_candidates *among,
                                amct_error *err) {
  walk w = {0};
  uint8_t *meant = amct_alloc_array(amct_graph_count(among->graph), 1);
  amct_status status = make_walk(&w, among->graph, start, forward, err);
  if (status == AMCT_OK && meant == NULL) status = amct_fail_memory(err);
  for (size_t i = 0; status == AMCT_OK && i < among->count; i++)
    meant[among->at[i]->index] = 1;
  *closest = NULL;
  for (size_t i = 0; status == AMCT_OK && *closest == NULL && i < w.count; i++)
    if (meant[w.at[i]->index]) *closest = w.at[i];
  free_walk(&w);
  amct_free(meant);
  return status;
}

amct_status amct_region_fail_empty(const char *text, amct_candidates *among,
                                   const amct_config_place *place, amct_error *err) {
  const amct_node *before, *behind;
  char around[2][NAME_SHOWN_BYTES + 32] = {"", ""};
  ends e = {NULL, NULL};
  AMCT_TRY(find_ends(&e, text, among, place, err));
  AMCT_TRY(find_closest(&before, e.from, false, among, err));
  AMCT_TRY(find_closest(&behind, e.to, true, among, err));
  if (before != NULL)
    snprintf(around[0], sizeof around[0], "; nearest before: \"%.*s\"", NAME_SHOWN_BYTES,
             before->name);
  if (behind != NULL)
    snprintf(around[1], sizeof around[1], "; nearest behind: \"%.*s\"", NAME_SHOWN_BYTES,
             behind->name);
  return amct_config_fail(err, place, NULL, ": \"%.200s\" has no layers that %s%s%s",
                          text, among->are, around[0], around[1]);
}
