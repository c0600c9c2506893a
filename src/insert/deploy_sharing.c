/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that share a weight, and quantize it alike, share its int8 constant. */
#include "base/digest.h"
#include "insert/deploy_private.h"

/* An AscendWeightQuant that stays, by the digest of its weights. */
typedef struct kept {
  const amct_node *node;
  uint64_t digest;
  amct_slice weights;
  struct kept *next; /* of the same original weight */
} kept;

/* Of constants that wait for nothing: those inside a loop belong to its turns. */
static bool read_weights(const amct_node *node, kept *out, amct_error *err,
                         amct_status *status) {
  amct_tensor tensor;
  *out = (kept){.node = node};
  for (int i = 0; i < 2; i++)
    if (node->inputs[i].node->input_count > 0) return false;
  *status = amct_const_tensor(node->inputs[0].node, &tensor, err);
  out->weights = tensor.content;
  if (*status == AMCT_OK)
    out->digest = amct_digest(0, tensor.content.data, tensor.content.size);
  return *status == AMCT_OK && tensor.content.size > 0;
}

/* offset_w is zeros; its shape says the channel axis. */
static bool same_offsets(const amct_node *a, const amct_node *b) {
  amct_shape one, other;
  amct_tensor first, second;
  if (amct_const_tensor(a->inputs[1].node, &first, NULL) != AMCT_OK ||
      amct_const_tensor(b->inputs[1].node, &second, NULL) != AMCT_OK)
    return false;
  one = first.shape;
  other = second.shape;
  return one.rank == other.rank &&
         memcmp(one.dims, other.dims, (size_t)one.rank * sizeof one.dims[0]) == 0;
}

static const kept *find_equal(const kept *first, const kept *wanted) {
  for (const kept *k = first; k; k = k->next)
    if (k->digest == wanted->digest && k->weights.size == wanted->weights.size &&
        memcmp(k->weights.data, wanted->weights.data, k->weights.size) == 0 &&
        same_offsets(k->node, wanted->node))
      return k;
  return NULL;
}

/* `by_weight`: original weight -> kept. */
static amct_status share(amct_deployer *d, amct_map *by_weight, const amct_job *j,
                         amct_error *err) {
  amct_node *layer = j->layer->node;
  amct_node *node = layer->inputs[j->layer->op->weight].node;
  amct_status status = AMCT_OK;
  kept found;
  if (strcmp(node->op, "AscendWeightQuant") != 0) return AMCT_OK; /* behind an Enter */
  if (!read_weights(node, &found, err, &status)) return status;
  kept *first = amct_map_get(by_weight, j->layer->weight_node);
  const kept *equal = find_equal(first, &found);
  if (equal) {
    amct_edits_set_input(d->edits, layer, (uint32_t)j->layer->op->weight,
                         equal->node->name);
    amct_edits_remove(d->edits, node); /* its constants go with the sweep */
    return AMCT_OK;
  }
  kept *next = amct_arena_alloc(d->arena, sizeof *next);
  if (!next) return amct_fail_memory(err);
  *next = found;
  next->next = first;
  return amct_map_set(by_weight, j->layer->weight_node, next, err);
}

amct_status amct_deploy_share(amct_deployer *d, amct_error *err) {
  amct_map by_weight = {0}, readers = {0};
  amct_status status = AMCT_OK;
  /* only weights that several layers read are looked at */
  for (size_t i = 0; i < d->jobs.count && status == AMCT_OK; i++) {
    const amct_layer *layer = d->jobs.at[i].layer;
    if (!layer->weight.node) continue;
    const uintptr_t before = (uintptr_t)amct_map_get(&readers, layer->weight_node);
    status = amct_map_set(&readers, layer->weight_node, (void *)(before + 1), err);
  }
  for (size_t i = 0; i < d->jobs.count && status == AMCT_OK; i++) {
    const amct_layer *layer = d->jobs.at[i].layer;
    if (layer->weight.node && (uintptr_t)amct_map_get(&readers, layer->weight_node) > 1)
      status = share(d, &by_weight, &d->jobs.at[i], err);
  }
  amct_map_free(&by_weight);
  amct_map_free(&readers);
  return status;
}
