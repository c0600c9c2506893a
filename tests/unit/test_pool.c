/* SPDX-License-Identifier: Apache-2.0 */
/* The thread pool: every shard once, nested and concurrent use, forked children. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/pool.h"

enum { SHARDS = 100, CALLERS = 4, ROUNDS = 200 };

typedef struct tally {
  atomic_int calls[SHARDS];
  atomic_int total;
} tally;

static void count_call(void *context, size_t shard) {
  tally *t = context;
  atomic_fetch_add(&t->calls[shard], 1);
  atomic_fetch_add(&t->total, 1);
}

static void check_once_each(size_t shards) {
  tally t = {0};
  amct_pool_run(count_call, &t, shards);
  assert_int_equal(atomic_load(&t.total), (int)shards);
  for (size_t i = 0; i < shards; i++)
    assert_int_equal(atomic_load(&t.calls[i]), 1);
}

static void test_every_shard_runs_once(void **state) {
  (void)state;
  for (size_t shards = 0; shards <= SHARDS; shards++)
    check_once_each(shards);
}

/* Two shards that wait for each other end only when two threads run them. */
static void meet(void *context, size_t shard) {
  atomic_int *here = context;
  (void)shard;
  atomic_fetch_add(here, 1);
  for (int i = 0; i < 20000 && atomic_load(here) < 2; i++) {
    const struct timespec pause = {0, 1000000};
    nanosleep(&pause, NULL);
  }
}

static void test_shards_run_at_the_same_time(void **state) {
  (void)state;
  atomic_int here = 0;
  struct timespec before, after;
  assert_true(amct_pool_threads() > 1);
  clock_gettime(CLOCK_MONOTONIC, &before);
  amct_pool_run(meet, &here, 2);
  clock_gettime(CLOCK_MONOTONIC, &after);
  assert_int_equal(atomic_load(&here), 2);
  assert_true(after.tv_sec - before.tv_sec < 15);
}

static void run_inner(void *context, size_t shard) {
  (void)shard;
  amct_pool_run(count_call, context, 10);
}

static void test_a_task_may_use_the_pool(void **state) {
  (void)state;
  tally t = {0};
  amct_pool_run(run_inner, &t, 20);
  assert_int_equal(atomic_load(&t.total), 200);
}

static void *call_often(void *argument) {
  (void)argument;
  intptr_t wrong = 0;
  for (int i = 0; i < ROUNDS; i++) {
    tally t = {0};
    amct_pool_run(count_call, &t, 7);
    wrong += atomic_load(&t.total) != 7;
  }
  return (void *)wrong;
}

static void test_many_callers(void **state) {
  (void)state;
  pthread_t threads[CALLERS];
  for (size_t i = 0; i < CALLERS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, call_often, NULL), 0);
  for (size_t i = 0; i < CALLERS; i++) {
    void *wrong = NULL;
    pthread_join(threads[i], &wrong);
    assert_null(wrong);
  }
}

/* Exit status of a child that runs the pool with AMCT_THREADS as given: the threads it
 * has, or 255 where a shard was lost. */
static int threads_of_child(const char *setting) {
  const pid_t child = fork();
  if (child == 0) {
    tally t = {0};
    setenv("AMCT_THREADS", setting, 1);
    amct_pool_run(count_call, &t, SHARDS);
    _exit(atomic_load(&t.total) == SHARDS ? (int)amct_pool_threads() : 255);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void test_forked_child_has_its_own_threads(void **state) {
  (void)state;
  check_once_each(SHARDS); /* the threads of this process are up */
  assert_int_equal(threads_of_child("3"), 3);
  assert_int_equal(threads_of_child("1"), 1);
  check_once_each(SHARDS);
}

static void test_environment_is_checked(void **state) {
  (void)state;
  const int cores = threads_of_child("");
  assert_in_range(cores, 1, AMCT_POOL_THREADS_MAX);
  assert_int_equal(threads_of_child("many"), cores);
  assert_int_equal(threads_of_child("0"), cores);
  assert_int_equal(threads_of_child("-4"), cores);
  assert_int_equal(threads_of_child("1000000"), AMCT_POOL_THREADS_MAX);
}

static void test_parts_cover_everything(void **state) {
  (void)state;
  const size_t counts[] = {0, 1, 63, 64, 65, 1000, 4096, 123457};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    for (size_t shards = 1; shards <= 9; shards++) {
      size_t end = 0;
      for (size_t shard = 0; shard < shards; shard++) {
        size_t first;
        const size_t size = amct_pool_part(counts[i], shards, shard, &first);
        assert_int_equal(first, end);
        assert_true(first % 64 == 0 || size == 0);
        end = first + size;
      }
      assert_int_equal(end, counts[i]);
    }
  assert_int_equal(amct_pool_shards(0, 1000), 1);
  assert_int_equal(amct_pool_shards(1999, 1000), 1);
  assert_true(amct_pool_shards(2000, 1000) == 2);
  assert_int_equal(amct_pool_shards(SIZE_MAX, 1), amct_pool_threads());
}

int main(void) {
  setenv("AMCT_THREADS", "4", 1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_shard_runs_once),
      cmocka_unit_test(test_shards_run_at_the_same_time),
      cmocka_unit_test(test_a_task_may_use_the_pool),
      cmocka_unit_test(test_many_callers),
      cmocka_unit_test(test_forked_child_has_its_own_threads),
      cmocka_unit_test(test_environment_is_checked),
      cmocka_unit_test(test_parts_cover_everything),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
