/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation of each public call fails once, alone and with all after it: the call
 * reports it, or did without; files are as they were, or whole. */
#include "fault/fault_files.h"

typedef struct round {
  const net *n;
  const call *c;
  const results *wanted;
  bool present; /* the targets, before the call */
} round;

static void check_files(const round *r, amct_status status, uint64_t n) {
  int files = 0;
  for (size_t i = 0; i < TARGETS && r->c->targets[i]; i++) {
    const content expected =
        status == AMCT_OK ? r->wanted->at[i] : old_content(r->present);
    if (!has_content(r->n, r->c->targets[i], expected))
      fail_msg("%s: allocation %llu: %s is not as it should be after %s", r->c->name,
               (unsigned long long)n, r->c->targets[i], amct_status_name(status));
    files += expected.data != NULL;
  }
  assert_int_equal(count_made(r->n), files);
}

/* True once allocation n came and failed. */
static bool fail_one(const round *r, void (*arm)(uint64_t), uint64_t n) {
  amct_error err = {0};
  prepare(r->n, r->c, r->present);
  arm(n);
  const amct_status status = r->c->run(r->n, &err);
  const bool failed = amct_alloc_count() >= n;
  amct_alloc_fail_after(0);
  if (status != AMCT_OK && (status != AMCT_OUT_OF_MEMORY || !failed))
    fail_msg("%s: allocation %llu: %s: %s", r->c->name, (unsigned long long)n,
             amct_status_name(status), err.text);
  assert_int_equal(err.status, status);
  check_files(r, status, n);
  amct_calib_reset();
  return failed;
}

typedef void arming(uint64_t n);

static void fail_each(const net *n, const call *c, bool present, arming *arm) {
  results wanted = run_unharmed(n, c);
  const round r = {n, c, &wanted, present};
  uint64_t count = 0;
  while (fail_one(&r, arm, count + 1))
    count++;
  assert_true(count > 10);
  print_message("%s: %llu allocations\n", c->name, (unsigned long long)count);
  free_results(&wanted);
}

static void memory_ends(void **state) {
  for (size_t i = 0; i < CALL_COUNT; i++)
    fail_each(*state, &k_calls[i], true, amct_alloc_fail_after);
}

static void memory_is_short_once(void **state) {
  for (size_t i = 0; i < CALL_COUNT; i++)
    fail_each(*state, &k_calls[i], false, amct_alloc_fail_once);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(memory_ends, net_make, net_remove),
      cmocka_unit_test_setup_teardown(memory_is_short_once, net_make, net_remove),
  };
  /* log lines are made, and seen nowhere */
  if (amct_log_configure(AMCT_LOG_NONE, AMCT_LOG_DEBUG, "/dev/null", NULL) != AMCT_OK)
    return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
