/* SPDX-License-Identifier: Apache-2.0 */
/* Names, patterns and types of layers, and the names that a wrong one is near to. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "op/nearest.h"
#include "recipe/selector.h"
#include "unit/graph_bytes.h"

static void put_placeholder(pb *graph, const char *name) {
  pb node = {.size = 0};
  pb_text(&node, 1, name);
  pb_text(&node, 2, "Placeholder");
  pb_message(graph, 1, &node);
}

static void a_name_wins_over_its_reading_as_a_pattern(void **data) {
  (void)data;
  static const struct {
    const char *text;
    amct_select_kind kind;
    bool takes_ab;
  } cases[] = {
      {"a*", AMCT_SELECT_NAME, false},       {"ab", AMCT_SELECT_NAME, true},
      {"abc", AMCT_SELECT_NAME, false},      {"", AMCT_SELECT_NAME, false},
      {"a?", AMCT_SELECT_PATTERN, true},     {"A?", AMCT_SELECT_PATTERN, false},
      {"*", AMCT_SELECT_PATTERN, true},      {"[!b]b", AMCT_SELECT_PATTERN, true},
      {"[ab", AMCT_SELECT_PATTERN, false},   {"type:Placeholder", AMCT_SELECT_TYPE, true},
      {"type:Pl*", AMCT_SELECT_TYPE, false}, {"type", AMCT_SELECT_NAME, false}};
  static pb bytes;
  amct_graph *graph = NULL;
  put_placeholder(&bytes, "a*");
  put_placeholder(&bytes, "ab");
  assert_int_equal(
      amct_graph_read(&graph, (amct_slice){bytes.data, bytes.size}, "graph", NULL),
      AMCT_OK);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const amct_selector selector = amct_selector_of(graph, cases[i].text);
    if (selector.kind != cases[i].kind) fail_msg("%s: %d", cases[i].text, selector.kind);
    assert_int_equal(amct_selector_takes(&selector, amct_graph_find(graph, "ab")),
                     cases[i].takes_ab);
  }
  amct_graph_free(graph);
}

static void patterns_have_near_names(void **data) {
  (void)data;
  static const struct {
    const char *wanted, *nearest;
  } cases[] = {
      {"net/blok*/conv", "; nearest: \"net/block_1/conv\", \"net/block_20/conv\""},
      {"*/cnv", "; nearest: \"net/block_1/conv\", \"net/block_20/conv\""},
      {"net/?/fully_connected", ""},
      {"net/block_?/convs", "; nearest: \"net/block_1/conv\", \"net/block_20/conv\""},
      {"*head", "; nearest: \"headed\""},
      {"zzzzzz*", ""},
  };
  static const char *const names[] = {"net/block_1/conv", "net/block_20/conv", "headed"};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[AMCT_NEAREST_BYTES];
    amct_nearest nearest;
    amct_nearest_start_pattern(&nearest, cases[i].wanted);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
      amct_nearest_offer(&nearest, names[k]);
    assert_string_equal(amct_nearest_text(&nearest, text), cases[i].nearest);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_name_wins_over_its_reading_as_a_pattern),
      cmocka_unit_test(patterns_have_near_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
