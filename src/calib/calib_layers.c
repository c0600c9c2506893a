/* SPDX-License-Identifier: Apache-2.0 */
/* Layers and observers of one calibration. */
#include "calib/calib_state.h"

#include <unistd.h>

amct_calib_state *amct_calib_state_new(amct_name id, amct_name path) {
  amct_calib_state *state = amct_alloc_array(1, sizeof *state);
  if (!state) return NULL;
  state->id = id;
  state->path = path;
  state->process = getpid();
  pthread_mutex_init(&state->lock, NULL);
  return state;
}

void amct_calib_observer_empty(amct_calib_observer *observer) {
  amct_sketch_free(observer->sketch);
  observer->sketch = NULL;
  amct_calib_means_free(observer->means);
  observer->means = NULL;
  amct_calib_samples_free(observer->samples);
  observer->samples = NULL;
}

static void free_observer(amct_calib_observer *observer) {
  amct_calib_observer_empty(observer);
  pthread_mutex_destroy(&observer->lock);
  amct_free(observer);
}

static void free_entry(amct_calib_entry *entry) {
  if (!entry) return;
  for (int i = 0; i < 2; i++)
    if (entry->owns_observer[i]) free_observer(entry->observers[i]);
  amct_free(entry->scale_w);
  amct_free(entry->bias);
  amct_free(entry->mean.mean);
  amct_calib_steps_release(entry->steps);
  amct_free(entry->folded);
  amct_free(entry->integer);
  amct_free(entry);
}

void amct_calib_state_free(amct_calib_state *state) {
  if (!state) return;
  for (size_t i = 0; state->layers && i < state->total; i++)
    free_entry(state->layers[i]);
  amct_free(state->layers);
  AMCT_VEC_FREE(&state->unfused);
  amct_map_free(&state->unfused_set);
  amct_names_free(&state->names);
  pthread_mutex_destroy(&state->lock);
  amct_free(state);
}

amct_status amct_calib_mark(amct_calib_state *state, const char *layer, amct_error *err) {
  amct_name name = amct_names_intern(&state->names, amct_slice_of(layer));
  if (!name) return amct_fail_memory(err);
  if (amct_map_get(&state->unfused_set, name)) return AMCT_OK;
  AMCT_TRY(amct_map_set(&state->unfused_set, name, state, err));
  return AMCT_VEC_PUSH(&state->unfused, name) ? AMCT_OK : amct_fail_memory(err);
}

/* The first observer says how many layers there are. */
static amct_status make_room(amct_calib_state *state, const amct_calib_key *key,
                             amct_error *err) {
  if (key->layer_total < 1 || key->layer_total > AMCT_CALIB_LAYERS_MAX)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "layer_total is %lld, not 1 to %d",
                     (long long)key->layer_total, AMCT_CALIB_LAYERS_MAX);
  if (state->layers) {
    if ((size_t)key->layer_total == state->total) return AMCT_OK;
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "layer_total is %lld, other observers of %s say %zu",
                     (long long)key->layer_total, state->path, state->total);
  }
  state->layers = amct_alloc_array((size_t)key->layer_total, sizeof *state->layers);
  if (!state->layers) return amct_fail_memory(err);
  state->total = (size_t)key->layer_total;
  return AMCT_OK;
}

amct_status amct_calib_entry_get(amct_calib_state *state, const amct_calib_key *key,
                                 const amct_calib_layer *layer, amct_calib_entry **entry,
                                 amct_error *err) {
  AMCT_TRY(make_room(state, key, err));
  if (layer->index < 0 || (size_t)layer->index >= state->total)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, layer->name,
                     "layer \"%s\" is number %lld of %zu", layer->name,
                     (long long)layer->index, state->total);
  amct_name name = amct_names_intern(&state->names, amct_slice_of(layer->name));
  if (!name) return amct_fail_memory(err);
  amct_calib_entry **slot = &state->layers[layer->index];
  if (!*slot) {
    *slot = amct_alloc_array(1, sizeof **slot);
    if (!*slot) return amct_fail_memory(err);
    (*slot)->name = name;
    (*slot)->weighted = layer->weighted;
  }
  *entry = *slot;
  if ((*slot)->name == name && (*slot)->weighted == layer->weighted) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, layer->name,
                   "layers \"%s\" and \"%s\" are both number %lld", (*slot)->name, name,
                   (long long)layer->index);
}

amct_calib_entry *amct_calib_entry_known(const amct_calib_state *state, int64_t index) {
  const bool inside = state->layers && index >= 0 && (size_t)index < state->total;
  return inside ? state->layers[index] : NULL;
}

static amct_calib_observer *new_observer(void) {
  amct_calib_observer *observer = amct_alloc_array(1, sizeof *observer);
  if (observer) pthread_mutex_init(&observer->lock, NULL);
  return observer;
}

/* Where the observer of a layer's tensor stands. What is filled in later cannot fail. */
static amct_status observer_slot(amct_calib_state *state, const amct_calib_key *key,
                                 const amct_calib_layer *layer, amct_calib_entry **entry,
                                 amct_error *err) {
  AMCT_TRY(amct_calib_entry_get(state, key, layer, entry, err));
  if (!layer->second || (*entry)->scale_w) return AMCT_OK;
  (*entry)->scale_w = amct_alloc_array(1, sizeof *(*entry)->scale_w);
  return (*entry)->scale_w ? AMCT_OK : amct_fail_memory(err);
}

amct_status amct_calib_observer_get(amct_calib_state *state,
                                    const amct_calib_range_spec *spec,
                                    amct_calib_observer **observer, amct_error *err) {
  const bool second = spec->layers[0].second;
  amct_calib_entry *first = NULL;
  AMCT_TRY(observer_slot(state, &spec->key, &spec->layers[0], &first, err));
  if (!first->observers[second]) {
    first->observers[second] = new_observer();
    if (!first->observers[second]) return amct_fail_memory(err);
    first->owns_observer[second] = true;
  }
  *observer = first->observers[second];
  for (size_t i = 1; i < spec->layer_count; i++) {
    const amct_calib_layer *layer = &spec->layers[i];
    amct_calib_entry *entry = NULL;
    AMCT_TRY(observer_slot(state, &spec->key, layer, &entry, err));
    if (!entry->observers[layer->second]) entry->observers[layer->second] = *observer;
    if (entry->observers[layer->second] != *observer)
      return amct_fail(err, AMCT_INVALID_ARGUMENT, entry->name,
                       "layer \"%s\" has two observers of its data", entry->name);
  }
  return AMCT_OK;
}

static void drop_sketch(amct_calib_observer *observer) {
  pthread_mutex_lock(&observer->lock);
  amct_calib_observer_empty(observer);
  pthread_mutex_unlock(&observer->lock);
}

void amct_calib_drop_sketches(amct_calib_state *state) {
  for (size_t i = 0; state->layers && i < state->total; i++) {
    amct_calib_entry *entry = state->layers[i];
    for (int k = 0; entry && k < 2; k++)
      if (entry->owns_observer[k]) drop_sketch(entry->observers[k]);
  }
}
