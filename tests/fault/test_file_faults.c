/* SPDX-License-Identifier: Apache-2.0 */
/* Each system call on files of each public call fails, is interrupted, or is the last
 * that the process made. */
#include <errno.h>
#include <sys/wait.h>

#include "fault/fault_files.h"
#include "fault/faulty_calls.h"

/* save_model has several files: the first ones stay when the rename of a later one fails.
 */
static bool is_renamed_before(const call *c, size_t i, faulty_call which, unsigned nth) {
  return which == FAULTY_rename && i + 1 < nth && nth <= TARGETS &&
         c->targets[nth - 1] != NULL;
}

static void check_target(const net *n, const call *c, size_t i, content wanted) {
  if (!has_content(n, c->targets[i], wanted))
    fail_msg("%s: %s is not as it should be", c->name, c->targets[i]);
}

/* True once call number nth came and failed. */
static bool fail_one(const net *n, const call *c, const results *wanted, bool present,
                     unsigned nth, faulty_call which) {
  amct_error err = {0};
  int files = 0;
  prepare(n, c, present);
  faulty_fail(which, nth, which == FAULTY_write ? ENOSPC : EIO);
  const amct_status status = c->run(n, &err);
  const bool failed = faulty_stop();
  if (status != AMCT_OK && (status != AMCT_IO || !failed))
    fail_msg("%s: %s %u: %s", c->name, faulty_name(which), nth, err.text);
  for (size_t i = 0; i < TARGETS && c->targets[i]; i++) {
    const bool made = status == AMCT_OK || is_renamed_before(c, i, which, nth);
    check_target(n, c, i, made ? wanted->at[i] : old_content(present));
    files += made || present;
  }
  assert_int_equal(count_made(n), files);
  amct_calib_reset();
  return failed;
}

static unsigned fail_each(const net *n, const call *c, bool present) {
  results wanted = run_unharmed(n, c);
  unsigned count = 0;
  for (int which = 0; which < FAULTY_COUNT; which++) {
    unsigned nth = 1;
    while (fail_one(n, c, &wanted, present, nth, (faulty_call)which))
      nth++;
    count += nth - 1;
  }
  free_results(&wanted);
  return count;
}

static void calls_fail(void **state) {
  for (size_t i = 0; i < CALL_COUNT; i++) {
    const unsigned absent = fail_each(*state, &k_calls[i], false);
    const unsigned present = fail_each(*state, &k_calls[i], true);
    print_message("%s: %u and %u failures\n", k_calls[i].name, absent, present);
    assert_true(absent >= 4 && present >= 4); /* a file read: open, fstat, mmap, close */
  }
}

static void calls_are_interrupted(void **state) {
  for (size_t i = 0; i < CALL_COUNT; i++) {
    const call *c = &k_calls[i];
    amct_error err = {0};
    results wanted = run_unharmed(*state, c);
    prepare(*state, c, true);
    faulty_interrupt();
    const amct_status status = c->run(*state, &err);
    assert_true(faulty_stop());
    if (status != AMCT_OK) fail_msg("%s: %s", c->name, err.text);
    for (size_t k = 0; k < TARGETS && c->targets[k]; k++)
      check_target(*state, c, k, wanted.at[k]);
    amct_calib_reset();
    free_results(&wanted);
  }
}

/* A child runs the call and dies before system call nth. True if it did. */
static bool kill_child(const net *n, const call *c, unsigned nth) {
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    amct_error err = {0};
    faulty_kill(nth);
    _exit(c->run(n, &err) == AMCT_OK ? 0 : 1);
  }
  int how = 0;
  assert_int_equal(waitpid(child, &how, 0), child);
  if (WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL) return true;
  assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
  return false;
}

static void kill_at_each(const net *n, const call *c, bool present) {
  results wanted = run_unharmed(n, c);
  unsigned nth = 1;
  for (bool killed = true; killed; nth++) {
    amct_error err = {0};
    prepare(n, c, present);
    killed = kill_child(n, c, nth);
    for (size_t i = 0; i < TARGETS && c->targets[i]; i++)
      if (!killed || !has_content(n, c->targets[i], old_content(present)))
        check_target(n, c, i, wanted.at[i]);
    /* what the dead left does not stand in the way */
    assert_int_equal(c->run(n, &err), AMCT_OK);
    for (size_t i = 0; i < TARGETS && c->targets[i]; i++)
      check_target(n, c, i, wanted.at[i]);
    amct_calib_reset();
  }
  assert_true(nth > 4);
  free_results(&wanted);
}

static void process_is_killed(void **state) {
  for (size_t i = 0; i < CALL_COUNT; i++) {
    kill_at_each(*state, &k_calls[i], false);
    kill_at_each(*state, &k_calls[i], true);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(calls_fail, net_make, net_remove),
      cmocka_unit_test_setup_teardown(calls_are_interrupted, net_make, net_remove),
      cmocka_unit_test_setup_teardown(process_is_killed, net_make, net_remove),
  };
  if (amct_log_configure(AMCT_LOG_NONE, AMCT_LOG_NONE, NULL, NULL) != AMCT_OK) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
