/* SPDX-License-Identifier: Apache-2.0 */
/* The graph, with what is fetched as its outputs. */
#include "engine/openvino_api.h"

#include "graph/edits.h"

static const char *add_zero(amct_edits *edits) {
  static const uint8_t k_scalar[] = {0x3A, 0}; /* AttrValue.shape, of no dimensions */
  const char *name = amct_edits_free_name(edits, "amct_zero");
  if (!name) return NULL;
  amct_spec *spec = amct_edits_add(edits, name, "Placeholder", NULL, false);
  amct_spec_type(spec, "dtype", AMCT_DTYPE_FLOAT);
  amct_spec_raw(spec, "shape", (amct_slice){k_scalar, sizeof k_scalar});
  return name;
}

/*
 * A tensor that a layer reads cannot be an output's memory: it is copied at the end of
 * the run, by one thread, and if it is a picture, transposed for all that read it. So
 * each output is a sum with an input that is 0: a node of its own, which all threads
 * compute while the tensor is in the cache, in whatever layout it has.
 */
static amct_status add_outputs(const amct_openvino_names *names, amct_edits *edits,
                               const amct_engine_job *job, amct_arena *arena,
                               amct_error *err) {
  for (size_t i = 0; i < job->fetch_count; i++) {
    const char *wanted = amct_arena_format(arena, "amct_fetch_%zu", i);
    const char *name = wanted ? amct_edits_free_name(edits, wanted) : NULL;
    if (!name) return amct_fail_memory(err);
    amct_spec *spec = amct_edits_add(edits, name, "AddV2", NULL, false);
    amct_spec_input(spec, job->fetches[i]);
    amct_spec_input(spec, names->zero);
    amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
    names->outputs[i] = amct_arena_format(arena, "%s:0", name);
    if (!names->outputs[i]) return amct_fail_memory(err);
  }
  return amct_edits_apply(edits, err);
}

amct_status amct_openvino_outputs(amct_openvino_names *names, const amct_engine_job *job,
                                  amct_arena *arena, amct_error *err) {
  amct_edits *edits = amct_edits_new(job->graph);
  names->outputs = amct_arena_array(arena, job->fetch_count + 1, sizeof *names->outputs);
  names->zero = edits ? add_zero(edits) : NULL;
  if (names->zero) names->zero = amct_arena_text(arena, names->zero, strlen(names->zero));
  const amct_status status = names->outputs && names->zero
                                 ? add_outputs(names, edits, job, arena, err)
                                 : amct_fail_memory(err);
  amct_edits_free(edits);
  return status;
}
