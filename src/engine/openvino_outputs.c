/* SPDX-License-Identifier: Apache-2.0 */
/* The graph, with what is fetched as its outputs. */
#include "engine/openvino_api.h"

#include "graph/edits.h"

static amct_spec *add_op(amct_edits *edits, const char *op, const char *name,
                         const char *first, const char *second) {
  amct_spec *spec = amct_edits_add(edits, name, op, NULL, false);
  amct_spec_input(spec, first);
  if (second) amct_spec_input(spec, second);
  amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
  return spec;
}

static const char *add_permutation(amct_edits *edits, const char *wanted,
                                   const int32_t axes[4]) {
  const amct_shape shape = {1, {4}};
  const char *name = amct_edits_free_name(edits, wanted);
  if (!name) return NULL;
  amct_spec_tensor(amct_edits_add(edits, name, "Const", NULL, false), AMCT_DTYPE_INT32,
                   &shape, axes, 4 * sizeof *axes);
  return name;
}

/* Names of the nodes of a fetch. */
typedef struct leaf {
  const char *there, *shape, *same, *fetch;
} leaf;

/* A reshape that changes nothing: a tensor under a name of its own, which an Identity of
 * an input would not get. */
static void add_same(amct_edits *edits, const leaf *to, const char *name,
                     const char *tensor) {
  amct_spec *spec = add_op(edits, "Shape", to->shape, tensor, NULL);
  amct_spec_type(spec, "out_type", AMCT_DTYPE_INT32);
  spec = add_op(edits, "Reshape", name, tensor, to->shape);
  amct_spec_type(spec, "Tshape", AMCT_DTYPE_INT32);
}

/*
 * Inside, pictures are kept channels first, in a memory order of its own. An output in
 * TensorFlow's order would leave a pair of transpositions in the way of every layer
 * behind. Two beside the graph, with a reshape between them that changes nothing, are
 * kept apart from those of the layers until both have become no work at all.
 */
static void add_picture(amct_edits *edits, const leaf *to, const char *tensor,
                        const char *const permutations[2]) {
  amct_spec *spec = add_op(edits, "Transpose", to->there, tensor, permutations[0]);
  amct_spec_type(spec, "Tperm", AMCT_DTYPE_INT32);
  add_same(edits, to, to->same, to->there);
  spec = add_op(edits, "Transpose", to->fetch, to->same, permutations[1]);
  amct_spec_type(spec, "Tperm", AMCT_DTYPE_INT32);
}

static const char *leaf_name(amct_edits *edits, amct_arena *arena, const char *part,
                             size_t i) {
  const char *wanted = amct_arena_format(arena, "amct_%s_%zu", part, i);
  return wanted ? amct_edits_free_name(edits, wanted) : NULL;
}

static amct_status add_outputs(const char **names, amct_edits *edits,
                               const amct_fetch *fetches, size_t count, amct_arena *arena,
                               amct_error *err) {
  static const int32_t k_first[4] = {0, 3, 1, 2}, k_last[4] = {0, 2, 3, 1};
  const char *const permutations[2] = {
      add_permutation(edits, "amct_channels_first", k_first),
      add_permutation(edits, "amct_channels_last", k_last)};
  if (!permutations[0] || !permutations[1]) return amct_fail_memory(err);
  for (size_t i = 0; i < count; i++) {
    const amct_fetch *fetch = &fetches[i];
    const leaf to = {
        leaf_name(edits, arena, "there", i), leaf_name(edits, arena, "shape", i),
        leaf_name(edits, arena, "same", i), leaf_name(edits, arena, "fetch", i)};
    if (!to.there || !to.shape || !to.same || !to.fetch) return amct_fail_memory(err);
    if (fetch->picture)
      add_picture(edits, &to, fetch->tensor, permutations);
    else
      add_same(edits, &to, to.fetch, fetch->tensor);
    names[i] = amct_arena_format(arena, "%s:0", to.fetch);
    if (!names[i]) return amct_fail_memory(err);
  }
  return amct_edits_apply(edits, err);
}

amct_status amct_openvino_outputs(const char ***names, amct_graph *graph,
                                  const amct_fetch *fetches, size_t count,
                                  amct_arena *arena, amct_error *err) {
  amct_edits *edits = amct_edits_new(graph);
  *names = amct_arena_array(arena, count + 1, sizeof **names);
  const amct_status status = edits && *names
                                 ? add_outputs(*names, edits, fetches, count, arena, err)
                                 : amct_fail_memory(err);
  amct_edits_free(edits);
  return status;
}
