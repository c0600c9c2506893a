/* SPDX-License-Identifier: Apache-2.0 */
/* The calibrations of this process, by id and by record path. */
#include "calib/calib_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/logging.h"

static const char k_module[] = "calibration";

/*
 * One for each process: a forked child makes its own, since the locks of its parent's may
 * have been held, and the maps half changed, when it began. No fork handlers: they would
 * lock in an order of their own.
 */
typedef struct registry {
  pid_t process;
  pthread_mutex_t lock;
  /* guarded by `lock` */
  amct_names names; /* ids and paths */
  amct_map by_id;   /* -> amct_calib_state */
  amct_map by_path; /* -> the one that writes there */
} registry;

static _Atomic(registry *) g_registry;
/* All calibrations, newest first: only ever put in front, so that a child may read what
 * it inherited. */
static _Atomic(amct_calib_state *) g_all;

static void free_registry(registry *r) {
  amct_map_free(&r->by_id);
  amct_map_free(&r->by_path);
  amct_names_free(&r->names);
  pthread_mutex_destroy(&r->lock);
  amct_free(r);
}

/* The registry of this process, locked; NULL when memory runs out. */
static registry *lock_registry(void) {
  registry *r = atomic_load(&g_registry);
  if (!r || r->process != getpid()) {
    registry *fresh = amct_alloc_array(1, sizeof *fresh);
    if (!fresh) return NULL;
    fresh->process = getpid();
    pthread_mutex_init(&fresh->lock, NULL);
    if (atomic_compare_exchange_strong(&g_registry, &r, fresh))
      r = fresh;
    else
      free_registry(fresh);
  }
  pthread_mutex_lock(&r->lock);
  return r;
}

static void unlock_registry(registry *r) {
  pthread_mutex_unlock(&r->lock);
}

static amct_calib_state *lookup(const registry *r, const amct_map *map,
                                const char *text) {
  amct_name name = amct_names_find(&r->names, amct_slice_of(text));
  return name ? amct_map_get(map, name) : NULL;
}

/* The calibration of this id that a parent left us; NULL. */
static amct_calib_state *find_inherited(const registry *r, const char *id) {
  for (amct_calib_state *state = atomic_load(&g_all); state; state = state->next)
    if (state->process != r->process && strcmp(state->id, id) == 0) return state;
  return NULL;
}

void amct_calib_make_id(char id[AMCT_CALIB_ID_BYTES]) {
  static atomic_uint counter;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  snprintf(id, AMCT_CALIB_ID_BYTES, "%016" PRIx64 "-%08x-%08x", ns, (unsigned)getpid(),
           atomic_fetch_add(&counter, 1) + 1);
}

/* Finds a calibration by its id, and as the one that writes its path. */
static amct_status enter(registry *r, amct_calib_state *state, amct_error *err) {
  AMCT_TRY(amct_map_set(&r->by_id, state->id, state, err));
  const amct_status status = amct_map_set(&r->by_path, state->path, state, err);
  if (status != AMCT_OK) amct_map_remove(&r->by_id, state->id);
  return status;
}

/* As before `enter`; `older` wrote the path. */
static void leave(registry *r, amct_calib_state *state, amct_calib_state *older) {
  amct_map_remove(&r->by_id, state->id);
  /* replacing takes no memory, so that it does not fail */
  if (!older || amct_map_set(&r->by_path, state->path, older, NULL) != AMCT_OK)
    amct_map_remove(&r->by_path, state->path);
}

static void keep(amct_calib_state *state) {
  state->next = atomic_load(&g_all);
  atomic_store(&g_all, state);
}

static amct_status new_state(registry *r, amct_calib_state **state, const char *id,
                             const char *path, amct_error *err) {
  amct_name own_id = amct_names_intern(&r->names, amct_slice_of(id));
  amct_name own_path = amct_names_intern(&r->names, amct_slice_of(path));
  *state = own_id && own_path ? amct_calib_state_new(own_id, own_path) : NULL;
  return *state ? AMCT_OK : amct_fail_memory(err);
}

/* With its lock held, so that it is not writing. */
static void retire(amct_calib_state *state) {
  atomic_store(&state->retired, true);
  amct_calib_drop_sketches(state);
}

/* ---- begin ---- */

/* The record is written when nothing else can fail; one that cannot be written leaves all
 * as it was. */
static amct_status start(registry *r, amct_calib_state *state,
                         const amct_calib_start *options, amct_calib_state *older,
                         amct_error *err) {
  state->begun = true;
  for (size_t i = 0; i < options->skip_fusion_count; i++)
    AMCT_TRY(amct_calib_mark(state, options->skip_fusion[i], err));
  AMCT_TRY(enter(r, state, err));
  const amct_status status = amct_calib_write(state, err);
  if (status != AMCT_OK) {
    leave(r, state, older);
    return status;
  }
  keep(state);
  if (older) retire(older);
  return AMCT_OK;
}

amct_status amct_calib_begin(const amct_calib_start *options,
                             char id[AMCT_CALIB_ID_BYTES], amct_error *err) {
  amct_calib_state *state = NULL;
  if (!options->record_path || options->record_path[0] != '/')
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "the record path is not absolute");
  registry *r = lock_registry();
  if (!r) return amct_fail_memory(err);
  amct_calib_state *older = lookup(r, &r->by_path, options->record_path);
  if (options->id)
    memmove(id, options->id, strlen(options->id) + 1); /* may be the same memory */
  else
    amct_calib_make_id(id);
  amct_status status = new_state(r, &state, id, options->record_path, err);
  if (older) pthread_mutex_lock(&older->lock);
  if (status == AMCT_OK) status = start(r, state, options, older, err);
  if (older) pthread_mutex_unlock(&older->lock);
  unlock_registry(r);
  if (status != AMCT_OK) amct_calib_state_free(state);
  return status;
}

/* ---- finding and adopting ---- */

static amct_status fail_retired(const amct_calib_key *key, amct_error *err) {
  return amct_fail(
      err, AMCT_NOT_READY, NULL,
      "this graph was prepared by an earlier quantize_model than the one that now "
      "writes %s: run the graph of the later call, or call quantize_model again",
      key->record_path);
}

/* A process that only got the graph takes the calibration on. Of two that want one record
 * the later made counts. */
static amct_status adopt(registry *r, amct_calib_state **state, const amct_calib_key *key,
                         amct_error *err) {
  amct_calib_state *older = lookup(r, &r->by_path, key->record_path);
  if (older && (older->begun || strcmp(older->id, key->id) > 0))
    return fail_retired(key, err);
  amct_calib_state *fresh = NULL;
  AMCT_TRY(new_state(r, &fresh, key->id, key->record_path, err));
  amct_status status = amct_calib_read_marks(fresh, err);
  if (status == AMCT_OK) status = enter(r, fresh, err);
  if (status != AMCT_OK) {
    amct_calib_state_free(fresh);
    return status;
  }
  keep(fresh);
  if (older) {
    pthread_mutex_lock(&older->lock);
    retire(older);
    pthread_mutex_unlock(&older->lock);
  }
  *state = fresh;
  amct_log(AMCT_LOG_INFO, k_module,
           "calibration goes on in this process; factors go to %s", key->record_path);
  return AMCT_OK;
}

static amct_status check_key(const amct_calib_key *key, amct_error *err) {
  if (!key->id[0] || strlen(key->id) >= AMCT_CALIB_ID_BYTES)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "calibration_id has %zu characters", strlen(key->id));
  if (key->record_path[0] != '/')
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "record_file \"%s\" is not absolute", key->record_path);
  return AMCT_OK;
}

static void tell_child(amct_calib_state *state) {
  if (atomic_exchange(&state->told, true)) return;
  amct_log(AMCT_LOG_WARNING, k_module,
           "a forked process runs a graph that its parent calibrates: its data does not "
           "count, "
           "and it writes nothing to %s",
           state->path);
}

amct_status amct_calib_find(amct_calib_state **state, const amct_calib_key *key,
                            amct_error *err) {
  *state = NULL;
  AMCT_TRY(check_key(key, err));
  registry *r = lock_registry();
  if (!r) return amct_fail_memory(err);
  amct_status status = AMCT_OK;
  amct_calib_state *found = lookup(r, &r->by_id, key->id);
  amct_calib_state *inherited = found ? NULL : find_inherited(r, key->id);
  if (inherited)
    tell_child(inherited);
  else if (!found)
    status = adopt(r, &found, key, err);
  else if (atomic_load(&found->retired))
    status = fail_retired(key, err);
  unlock_registry(r);
  if (status == AMCT_OK) *state = found;
  return status;
}

amct_calib_state *amct_calib_known(const amct_calib_key *key) {
  registry *r = lock_registry();
  if (!r) return NULL;
  amct_calib_state *found = lookup(r, &r->by_id, key->id);
  if (found && atomic_load(&found->retired)) found = NULL;
  unlock_registry(r);
  return found;
}

/* ---- flush ---- */

static amct_status flush_one(amct_calib_state *state, amct_error *err) {
  amct_status status = AMCT_OK;
  pthread_mutex_lock(&state->lock);
  if (state->complete > state->written || state->changed)
    status = amct_calib_write(state, err);
  amct_calib_warn_missing(state);
  pthread_mutex_unlock(&state->lock);
  return status;
}

/* It was there when the calibration began: with a folder that somebody has removed since,
 * it is not made again. */
static bool is_gone(const amct_calib_state *state) {
  return access(state->path, F_OK) != 0 && errno == ENOENT;
}

amct_status amct_calib_flush(const char *record_path, amct_error *err) {
  amct_status first = AMCT_OK;
  registry *r = lock_registry();
  if (!r) return amct_fail_memory(err);
  for (amct_calib_state *state = atomic_load(&g_all); state; state = state->next) {
    if (state->process != r->process || atomic_load(&state->retired)) continue;
    if (record_path ? strcmp(record_path, state->path) != 0 : is_gone(state)) continue;
    const amct_status status = flush_one(state, err);
    if (first == AMCT_OK) first = status;
  }
  unlock_registry(r);
  return first;
}

void amct_calib_reset(void) {
  registry *r = atomic_exchange(&g_registry, NULL);
  for (amct_calib_state *state = atomic_exchange(&g_all, NULL); state;) {
    amct_calib_state *next = state->next;
    amct_calib_state_free(state);
    state = next;
  }
  if (r) free_registry(r);
}
