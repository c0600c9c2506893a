/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a call hold before and after it. */
#ifndef AMCT_TESTS_FAULT_FILES_H
#define AMCT_TESTS_FAULT_FILES_H

#include "fault/fault_calls.h"

typedef struct content {
  char *data; /* NULL: no file */
  size_t size;
} content;

static inline content read_content(const net *n, const char *name) {
  amct_file file = {0};
  content found = {0};
  if (amct_file_open(&file, temp_path(&n->folder, name), NULL) != AMCT_OK) return found;
  found.data = calloc(1, file.bytes.size + 1);
  assert_non_null(found.data);
  if (file.bytes.size) memcpy(found.data, file.bytes.data, file.bytes.size);
  found.size = file.bytes.size;
  amct_file_close(&file);
  return found;
}

static inline bool has_content(const net *n, const char *name, content wanted) {
  content found = read_content(n, name);
  const bool same = !found.data == !wanted.data && found.size == wanted.size &&
                    (!found.data || memcmp(found.data, wanted.data, found.size) == 0);
  free(found.data);
  return same;
}

static inline void remove_made(const net *n) {
  const char *made = temp_path(&n->folder, "made");
  (void)nftw(made, temp_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The targets as a call finds them: absent, or with content of an earlier day. */
static inline void prepare(const net *n, const call *c, bool present) {
  remove_made(n);
  if (!present) return;
  assert_int_equal(amct_output_make_parents(temp_path(&n->folder, "made/x"), NULL),
                   AMCT_OK);
  for (size_t i = 0; i < TARGETS && c->targets[i]; i++)
    temp_write(temp_path(&n->folder, c->targets[i]), "old");
}

static inline content old_content(bool present) {
  static char old[] = "old";
  return present ? (content){old, 3} : (content){NULL, 0};
}

/* What the call writes when nothing fails. */
typedef struct results {
  content at[TARGETS];
} results;

static inline results run_unharmed(const net *n, const call *c) {
  amct_error err = {0};
  results r = {{{NULL, 0}}};
  prepare(n, c, false);
  if (c->run(n, &err) != AMCT_OK) fail_msg("%s: %s", c->name, err.text);
  for (size_t i = 0; i < TARGETS && c->targets[i]; i++) {
    r.at[i] = read_content(n, c->targets[i]);
    assert_true(r.at[i].size > 0);
  }
  amct_calib_reset();
  return r;
}

static inline void free_results(results *r) {
  for (size_t i = 0; i < TARGETS; i++)
    free(r->at[i].data);
}

/* Targets are there or not, and nothing else is. */
static inline int count_made(const net *n) {
  const char *made = temp_path(&n->folder, "made");
  return access(made, F_OK) == 0 ? temp_count_entries(made) : 0;
}

#endif
