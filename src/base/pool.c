/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/number.h"

enum { PART_VALUES = 64 };

typedef struct pool {
  pid_t process; /* the threads live in this one */
  size_t threads;
  bool started;          /* under `run` */
  pthread_mutex_t run;   /* held by the one caller that uses the pool */
  pthread_mutex_t lock;  /* guards all below */
  pthread_cond_t wake;   /* there are shards to take */
  pthread_cond_t finish; /* the last shard is done */
  amct_pool_task *task;
  void *context;
  size_t shards;
  size_t next; /* first shard that nobody took */
  size_t done;
} pool;

static _Atomic(pool *) g_pool;
static _Thread_local bool t_inside; /* this thread does a shard */

static size_t count_threads(void) {
  const char *text = getenv("AMCT_THREADS");
  int64_t wanted = 0;
  if (!text || !amct_number_read_int(amct_slice_of(text), &wanted) || wanted < 1) {
    cpu_set_t cores;
    wanted = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
  }
  if (wanted < 1) wanted = 1;
  return wanted < AMCT_POOL_THREADS_MAX ? (size_t)wanted : AMCT_POOL_THREADS_MAX;
}

static pool *new_pool(void) {
  pool *p = amct_alloc_array(1, sizeof *p);
  if (!p) return NULL;
  p->process = getpid();
  p->threads = count_threads();
  pthread_mutex_init(&p->run, NULL);
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->wake, NULL);
  pthread_cond_init(&p->finish, NULL);
  return p;
}

static void free_pool(pool *p) {
  pthread_cond_destroy(&p->finish);
  pthread_cond_destroy(&p->wake);
  pthread_mutex_destroy(&p->lock);
  pthread_mutex_destroy(&p->run);
  amct_free(p);
}

/* The pool of this process. That of a parent is left alone: its locks may have been held
 * when the child began. NULL when memory runs out. */
static pool *own_pool(void) {
  pool *p = atomic_load(&g_pool);
  if (p && p->process == getpid()) return p;
  pool *fresh = new_pool();
  if (!fresh) return NULL;
  if (atomic_compare_exchange_strong(&g_pool, &p, fresh)) return fresh;
  free_pool(fresh);
  return p;
}

/* Takes and does shards until none is left. Called and left with `lock` held. */
static void work(pool *p) {
  while (p->next < p->shards) {
    const size_t shard = p->next++;
    amct_pool_task *const task = p->task;
    void *const context = p->context;
    pthread_mutex_unlock(&p->lock);
    t_inside = true;
    task(context, shard);
    t_inside = false;
    pthread_mutex_lock(&p->lock);
    if (++p->done == p->shards) pthread_cond_signal(&p->finish);
  }
}

static void *serve(void *argument) {
  pool *p = argument;
  fesetenv(FE_DFL_ENV); /* a new thread has that of whoever started it */
  pthread_mutex_lock(&p->lock);
  for (;;) {
    work(p);
    pthread_cond_wait(&p->wake, &p->lock);
  }
  return NULL;
}

/* Threads take no signals: those are the program's. One that cannot be started is not
 * missed, the caller works too. */
static void start_threads(pool *p) {
  sigset_t all, before;
  pthread_attr_t attributes;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  for (size_t i = 1; i < p->threads; i++) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, serve, p) != 0) break;
  }
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  p->started = true;
}

static void run_shared(pool *p, amct_pool_task *task, void *context, size_t shards) {
  if (!p->started) start_threads(p);
  pthread_mutex_lock(&p->lock);
  p->task = task;
  p->context = context;
  p->shards = shards;
  p->next = p->done = 0;
  pthread_cond_broadcast(&p->wake);
  work(p);
  while (p->done < p->shards)
    pthread_cond_wait(&p->finish, &p->lock);
  pthread_mutex_unlock(&p->lock);
}

static void run(amct_pool_task *task, void *context, size_t shards) {
  pool *p = shards > 1 ? own_pool() : NULL;
  if (p && p->threads > 1 && pthread_mutex_trylock(&p->run) == 0) {
    run_shared(p, task, context, shards);
    pthread_mutex_unlock(&p->run);
    return;
  }
  for (size_t shard = 0; shard < shards; shard++)
    task(context, shard);
}

void amct_pool_run(amct_pool_task *task, void *context, size_t shards) {
  fenv_t callers;
  fegetenv(&callers);
  fesetenv(FE_DFL_ENV);
  run(task, context, shards);
  fesetenv(&callers);
}

size_t amct_pool_threads(void) {
  const pool *p = own_pool();
  return p ? p->threads : 1;
}

size_t amct_pool_shards(size_t count, size_t least) {
  if (count / 2 < least || t_inside) return 1;
  const size_t threads = amct_pool_threads(), parts = count / least;
  return parts < threads ? parts : threads;
}

size_t amct_pool_part(size_t count, size_t shards, size_t shard, size_t *first) {
  size_t each = count / shards + (count % shards != 0);
  each += (PART_VALUES - each % PART_VALUES) % PART_VALUES;
  *first = shard * each < count ? shard * each : count;
  return count - *first < each ? count - *first : each;
}
