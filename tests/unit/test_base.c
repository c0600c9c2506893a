/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, allocation, arenas, buffers, mapped files, interned names, maps, vectors. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <sys/stat.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/map.h"
#include "base/names.h"
#include "base/vec.h"
#include "temp_folder.h"

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
  uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

/* ---- errors ---- */

static void first_failure_is_kept(void **unused) {
  (void)unused;
  amct_error err = {0};
  assert_int_equal(
      amct_fail_at(&err, AMCT_BAD_FORMAT, "conv1", 77, "%d scales for %d", 3, 4),
      AMCT_BAD_FORMAT);
  assert_int_equal(amct_fail(&err, AMCT_IO, "other", "later"), AMCT_IO);
  assert_int_equal(err.status, AMCT_BAD_FORMAT);
  assert_int_equal(err.byte_offset, 77);
  assert_string_equal(err.node, "conv1");
  assert_string_equal(err.text, "3 scales for 4");
  assert_int_equal(amct_fail(NULL, AMCT_BAD_GRAPH, NULL, "no record"), AMCT_BAD_GRAPH);
}

static void reports_are_one_printable_line(void **unused) {
  (void)unused;
  amct_error err = {0};
  (void)amct_fail(&err, AMCT_IO, "a\nb\x1b[2J", "x\r\ny\x7f");
  assert_string_equal(err.node, "a?b?[2J");
  assert_string_equal(err.text, "x??y?");
}

static void long_reports_are_cut_between_characters(void **unused) {
  (void)unused;
  static const char *const fillers[] = {"a", "\xC3\xA4", "\xE6\xB5\x8B",
                                        "\xF0\x9F\x98\x80"};
  for (size_t f = 0; f < 4; f++) {
    for (size_t lead = 0; lead < 4; lead++) {
      char name[2000];
      size_t size = strlen(fillers[f]);
      size_t count = 0;
      for (; count < lead; count++)
        name[count] = 'x';
      for (; count + size < sizeof name; count += size)
        memcpy(name + count, fillers[f], size);
      name[count] = '\0';
      amct_error err = {0};
      (void)amct_fail(&err, AMCT_IO, name, "%s", name);
      assert_int_equal((strlen(err.node) - lead) % size, 0);
      assert_int_equal((strlen(err.text) - lead) % size, 0);
      assert_true(strlen(err.text) >= AMCT_ERROR_TEXT_BYTES - 1 - size);
      assert_memory_equal(err.text, name, strlen(err.text));
    }
  }
}

static void statuses_have_names(void **unused) {
  (void)unused;
  assert_string_equal(amct_status_name(AMCT_OK), "OK");
  assert_string_equal(amct_status_name(AMCT_BAD_RECORD), "BAD_RECORD");
  assert_string_equal(amct_status_text(AMCT_OUT_OF_MEMORY), "allocation failed");
  assert_string_equal(amct_status_name((amct_status)4711), "UNKNOWN");
  amct_error err = {0};
  assert_int_equal(amct_fail_memory(&err), AMCT_OUT_OF_MEMORY);
  assert_string_equal(err.text, "out of memory");
}

/* ---- allocation and arenas ---- */

static void the_chosen_allocation_fails(void **unused) {
  (void)unused;
  amct_alloc_fail_after(3);
  void *a = amct_alloc(1);
  void *b = amct_alloc_array(2, 8);
  assert_non_null(a);
  assert_non_null(b);
  assert_null(amct_alloc(1));
  assert_null(amct_realloc_array(a, 100, 1));
  assert_int_equal(amct_alloc_count(), 4);
  amct_alloc_fail_after(0);
  assert_null(amct_alloc_array(SIZE_MAX / 2, 3));
  assert_null(amct_realloc_array(NULL, SIZE_MAX / 2, 3));
  amct_free(a);
  amct_free(b);
  amct_free(NULL);
}

static void arena_memory_is_aligned_zeroed_and_apart(void **unused) {
  (void)unused;
  amct_arena arena = {0};
  uint64_t random = 1;
  enum { COUNT = 3000 };
  static uint8_t *block[COUNT];
  static size_t size[COUNT];
  for (int i = 0; i < COUNT; i++) {
    size[i] = (size_t)(next_random(&random) % (i % 100 == 0 ? 200000 : 200));
    block[i] = amct_arena_alloc(&arena, size[i]);
    assert_non_null(block[i]);
    assert_int_equal((uintptr_t)block[i] % 16, 0);
    for (size_t k = 0; k < size[i]; k++)
      assert_int_equal(block[i][k], 0);
    memset(block[i], i % 255 + 1, size[i]);
  }
  for (int i = 0; i < COUNT; i++) {
    for (size_t k = 0; k < size[i]; k++)
      assert_int_equal(block[i][k], i % 255 + 1);
  }
  assert_null(amct_arena_alloc(&arena, SIZE_MAX));
  assert_null(amct_arena_alloc(&arena, SIZE_MAX - 20));
  assert_null(amct_arena_array(&arena, SIZE_MAX / 4, 8));
  assert_string_equal(amct_arena_text(&arena, "abcdef", 3), "abc");
  assert_string_equal(amct_arena_text(&arena, NULL, 0), "");
  assert_string_equal(amct_arena_format(&arena, "%s/%d", "conv", 7), "conv/7");
  amct_arena_free(&arena);
  assert_null(arena.head);
}

static void arena_without_memory_says_so(void **unused) {
  (void)unused;
  amct_arena arena = {0};
  amct_alloc_fail_after(1);
  assert_null(amct_arena_alloc(&arena, 8));
  assert_null(amct_arena_format(&arena, "%d", 1));
  amct_alloc_fail_after(0);
  assert_non_null(amct_arena_alloc(&arena, 8));
  amct_arena_free(&arena);
}

static void vectors_grow_or_stay(void **unused) {
  (void)unused;
  AMCT_VEC(int) vec = {0};
  for (int i = 0; i < 8; i++)
    assert_true(AMCT_VEC_PUSH(&vec, i));
  amct_alloc_fail_after(1);
  bool pushed = AMCT_VEC_PUSH(&vec, 8);
  assert_false(pushed);
  amct_alloc_fail_after(0);
  assert_int_equal(vec.count, 8);
  for (int i = 8; i < 1000; i++)
    assert_true(AMCT_VEC_PUSH(&vec, i));
  for (int i = 0; i < 1000; i++)
    assert_int_equal(vec.at[i], i);
  AMCT_VEC_FREE(&vec);
  assert_null(vec.at);
}

/* ---- buffers and files ---- */

static void buffers_append(void **unused) {
  (void)unused;
  amct_buffer buffer = {0};
  amct_buffer_append(&buffer, NULL, 0);
  assert_int_equal(buffer.size, 0);
  for (int i = 0; i < 500; i++) {
    amct_buffer_format(&buffer, "%d", i % 10);
    amct_buffer_text(&buffer, "ab");
    amct_buffer_append(&buffer, "\0c", 2);
  }
  assert_false(buffer.failed);
  assert_int_equal(buffer.size, 2500);
  for (int i = 0; i < 500; i++) {
    char wanted[5] = {(char)('0' + i % 10), 'a', 'b', '\0', 'c'};
    assert_memory_equal(buffer.data + 5 * i, wanted, 5);
  }
  amct_buffer_free(&buffer);
}

static void a_failed_append_leaves_the_buffer(void **unused) {
  (void)unused;
  amct_buffer buffer = {0};
  char big[1000] = {0};
  amct_buffer_text(&buffer, "kept");
  amct_alloc_fail_after(1);
  amct_buffer_append(&buffer, big, sizeof big);
  amct_alloc_fail_after(0);
  assert_true(buffer.failed);
  amct_buffer_text(&buffer, "late"); /* a run of appends is checked once */
  assert_int_equal(buffer.size, 4);
  assert_memory_equal(buffer.data, "kept", 4);
  amct_buffer_free(&buffer);

  amct_buffer huge = {0};
  amct_buffer_text(&huge, "x");
  amct_buffer_append(&huge, big,
                     SIZE_MAX); /* the size overflows before anything is read */
  assert_true(huge.failed);
  amct_buffer_free(&huge);
}

static void files_are_mapped(void **unused) {
  (void)unused;
  temp_folder folder;
  temp_folder_make(&folder);
  amct_file file = {0};
  temp_write(temp_path(&folder, "full"), "some bytes");
  temp_write(temp_path(&folder, "empty"), "");
  assert_int_equal(amct_file_open(&file, temp_path(&folder, "full"), NULL), AMCT_OK);
  assert_true(amct_slice_equal(file.bytes, amct_slice_of("some bytes")));
  assert_false(amct_slice_equal(file.bytes, amct_slice_of("some bytez")));
  amct_file_close(&file);
  assert_int_equal(amct_file_open(&file, temp_path(&folder, "empty"), NULL), AMCT_OK);
  assert_int_equal(file.bytes.size, 0);
  amct_file_close(&file);
  temp_folder_remove(&folder);
}

static void files_that_cannot_be_read_are_named(void **unused) {
  (void)unused;
  temp_folder folder;
  temp_folder_make(&folder);
  assert_int_equal(mkfifo(temp_path(&folder, "pipe"), 0600), 0);
  const struct {
    const char *path;
    const char *reason;
  } cases[] = {
      {temp_path(&folder, "missing"), "No such file"},
      {folder.path, "Is a directory"},
      {temp_path(&folder, "pipe"), "not a regular file"}, /* and no hang */
      {"/dev/null", "not a regular file"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    amct_file file = {0};
    amct_error err = {0};
    assert_int_equal(amct_file_open(&file, cases[i].path, &err), AMCT_IO);
    assert_non_null(strstr(err.text, cases[i].path));
    assert_non_null(strstr(err.text, cases[i].reason));
    amct_file_close(&file);
  }
  temp_folder_remove(&folder);
}

/* ---- names and maps ---- */

static void equal_names_are_one_pointer(void **unused) {
  (void)unused;
  enum { COUNT = 50000 };
  amct_names names = {0};
  static amct_name known[COUNT];
  assert_null(amct_names_find(&names, amct_slice_of("a")));
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < COUNT; i++) {
      char text[64];
      snprintf(text, sizeof text, "block_%d/conv%.*s", i, i % 17, "xxxxxxxxxxxxxxxxx");
      amct_name name = amct_names_intern(&names, amct_slice_of(text));
      assert_string_equal(name, text);
      if (round == 0) {
        known[i] = name;
      } else {
        assert_ptr_equal(name, known[i]);
        assert_ptr_equal(amct_names_find(&names, amct_slice_of(text)), known[i]);
      }
    }
  }
  assert_int_equal(names.count, COUNT);
  assert_null(amct_names_find(&names, amct_slice_of("block_")));
  amct_names_free(&names);
}

static void names_may_be_empty_or_hold_nul(void **unused) {
  (void)unused;
  amct_names names = {0};
  amct_slice nothing = {0};
  amct_slice with_nul = {(const uint8_t *)"a\0b", 3};
  amct_name empty = amct_names_intern(&names, nothing);
  assert_string_equal(empty, "");
  assert_ptr_equal(amct_names_intern(&names, amct_slice_of("")), empty);
  amct_name odd = amct_names_intern(&names, with_nul);
  assert_ptr_not_equal(odd, amct_names_intern(&names, amct_slice_of("a")));
  assert_memory_equal(odd, "a\0b", 4);
  amct_names_free(&names);
}

static void interning_without_memory_changes_nothing(void **unused) {
  (void)unused;
  for (uint64_t n = 1; n < 40; n++) {
    amct_names names = {0};
    amct_alloc_fail_after(n);
    int refused_at = -1;
    for (int i = 0; i < 5000 && refused_at < 0; i++) {
      char text[16];
      snprintf(text, sizeof text, "n%d", i);
      if (amct_names_intern(&names, amct_slice_of(text)) == NULL) refused_at = i;
    }
    amct_alloc_fail_after(0);
    if (refused_at >= 0) assert_int_equal(names.count, refused_at);
    for (int i = 0; i < refused_at; i++) {
      char text[16];
      snprintf(text, sizeof text, "n%d", i);
      assert_string_equal(amct_names_find(&names, amct_slice_of(text)), text);
    }
    amct_names_free(&names);
  }
}

static void maps_agree_with_a_plain_array(void **unused) {
  (void)unused;
  enum { KEYS = 700, STEPS = 60000 };
  static char keys[KEYS];
  static void *oracle[KEYS];
  size_t count = 0;
  uint64_t random = 7;
  amct_map map = {0};
  for (int step = 0; step < STEPS; step++) {
    size_t k = (size_t)(next_random(&random) % KEYS);
    if (next_random(&random) % 2 == 0) {
      void *value = &keys[next_random(&random) % KEYS];
      assert_int_equal(amct_map_set(&map, &keys[k], value, NULL), AMCT_OK);
      count += oracle[k] == NULL;
      oracle[k] = value;
    } else {
      amct_map_remove(&map, &keys[k]);
      count -= oracle[k] != NULL;
      oracle[k] = NULL;
    }
    assert_int_equal(map.count, count);
    size_t probe = (size_t)(next_random(&random) % KEYS);
    assert_ptr_equal(amct_map_get(&map, &keys[probe]), oracle[probe]);
  }
  for (size_t k = 0; k < KEYS; k++)
    assert_ptr_equal(amct_map_get(&map, &keys[k]), oracle[k]);
  amct_map_free(&map);
}

static void maps_refuse_null_and_survive_want_of_memory(void **unused) {
  (void)unused;
  amct_map map = {0};
  amct_error err = {0};
  static char keys[13];
  amct_map_remove(&map, keys);
  assert_null(amct_map_get(&map, keys));
  assert_int_equal(amct_map_set(&map, NULL, keys, &err), AMCT_INVALID_ARGUMENT);
  assert_int_equal(amct_map_set(&map, keys, NULL, NULL), AMCT_INVALID_ARGUMENT);
  for (int i = 0; i < 12; i++)
    assert_int_equal(amct_map_set(&map, &keys[i], &keys[i], NULL), AMCT_OK);
  amct_alloc_fail_after(1);
  assert_int_equal(amct_map_set(&map, &keys[12], keys, NULL), AMCT_OUT_OF_MEMORY);
  assert_int_equal(amct_map_set(&map, &keys[3], &keys[4], NULL), AMCT_OK); /* replaces */
  amct_alloc_fail_after(0);
  assert_int_equal(map.count, 12);
  assert_ptr_equal(amct_map_get(&map, &keys[3]), &keys[4]);
  assert_null(amct_map_get(&map, &keys[12]));
  amct_map_free(&map);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(first_failure_is_kept),
      cmocka_unit_test(reports_are_one_printable_line),
      cmocka_unit_test(long_reports_are_cut_between_characters),
      cmocka_unit_test(statuses_have_names),
      cmocka_unit_test(the_chosen_allocation_fails),
      cmocka_unit_test(arena_memory_is_aligned_zeroed_and_apart),
      cmocka_unit_test(arena_without_memory_says_so),
      cmocka_unit_test(vectors_grow_or_stay),
      cmocka_unit_test(buffers_append),
      cmocka_unit_test(a_failed_append_leaves_the_buffer),
      cmocka_unit_test(files_are_mapped),
      cmocka_unit_test(files_that_cannot_be_read_are_named),
      cmocka_unit_test(equal_names_are_one_pointer),
      cmocka_unit_test(names_may_be_empty_or_hold_nul),
      cmocka_unit_test(interning_without_memory_changes_nothing),
      cmocka_unit_test(maps_agree_with_a_plain_array),
      cmocka_unit_test(maps_refuse_null_and_survive_want_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
