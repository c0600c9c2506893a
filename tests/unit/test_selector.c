/* SPDX-License-Identifier: Apache-2.0 */
/* Names, patterns and types of layers, and the names that a wrong one is near to. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "base/alloc.h"
#include "graph/textform.h"
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
  } cases[] = {{"a*", AMCT_SELECT_NAME, false},
               {"ab", AMCT_SELECT_NAME, true},
               {"abc", AMCT_SELECT_NAME, false},
               {"", AMCT_SELECT_NAME, false},
               {"a?", AMCT_SELECT_PATTERN, true},
               {"A?", AMCT_SELECT_PATTERN, false},
               {"*", AMCT_SELECT_PATTERN, true},
               {"[!b]b", AMCT_SELECT_PATTERN, true},
               {"[ab", AMCT_SELECT_PATTERN, false},
               {"type:Placeholder", AMCT_SELECT_TYPE, true},
               {"from:ab to:ab", AMCT_SELECT_REGION, false} /* not checked */,
               {"type:Pl*", AMCT_SELECT_TYPE, false},
               {"type", AMCT_SELECT_NAME, false}};
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

/* ---- regions ---- */

/* Two branches that meet, one that does not, a control edge, and a loop. */
static const char k_regions[] = "x = Placeholder()\n"
                                "one = Relu(x)\n"
                                "left = Relu(one)\n"
                                "left2 = Relu(left)\n"
                                "right = Relu(one)\n"
                                "sum = Add(left2, right)\n"
                                "aside = Relu(left)\n"
                                "lift = Relu(x, ^left)\n"
                                "enter = Enter(sum)\n"
                                "merge = Merge(enter, next)\n"
                                "switch = Switch(merge, cond)\n"
                                "cond = Less(merge, x)\n"
                                "body = Relu(switch:1)\n"
                                "next = NextIteration(body)\n"
                                "exit = Exit(switch)\n";

typedef struct regions {
  amct_graph *graph;
  amct_candidates among; /* all but x and one */
} regions;

static void make_regions(regions *r) {
  *r = (regions){0};
  assert_int_equal(amct_graph_from_text(&r->graph, amct_slice_of(k_regions), NULL),
                   AMCT_OK);
  const size_t count = amct_graph_count(r->graph);
  r->among = (amct_candidates){.graph = r->graph, .are = "can be meant"};
  r->among.at = amct_alloc_array(count, sizeof *r->among.at);
  assert_non_null(r->among.at);
  for (size_t i = 2; i < count; i++)
    r->among.at[r->among.count++] = amct_graph_at(r->graph, i);
}

static void free_regions(regions *r) {
  amct_candidates_free(&r->among);
  amct_graph_free(r->graph);
}

static void a_region_is_what_lies_between(void **data) {
  (void)data;
  static const struct {
    const char *text, *takes;
  } cases[] = {
      {"from:one to:sum", "one left left2 right sum"},
      {"from:left to:sum", "left left2 sum"},
      {"from:x to:aside", "x one left aside"},
      {"from:right to:right", "right"},
      {"from:x to:lift", "x lift"}, /* a control edge is no way */
      {"from:body to:exit", "merge switch cond body next exit"},
      {"from:cond to:cond", "merge switch cond body next"},
  };
  regions r;
  make_regions(&r);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const amct_config_place place = {"c", 3, "layers"};
    amct_selector selector = amct_selector_of(r.graph, cases[i].text);
    amct_error err = {0};
    char taken[256] = "";
    assert_int_equal(selector.kind, AMCT_SELECT_REGION);
    if (amct_selector_check(&selector, &r.among, &place, &err) != AMCT_OK)
      fail_msg("%s: %s", cases[i].text, err.text);
    for (size_t k = 0; k < amct_graph_count(r.graph); k++) {
      const amct_node *node = amct_graph_at(r.graph, k);
      if (!amct_selector_takes(&selector, node)) continue;
      if (taken[0] != '\0') strcat(taken, " ");
      strcat(taken, node->name);
    }
    if (strcmp(taken, cases[i].takes) != 0)
      fail_msg("%s takes \"%s\"", cases[i].text, taken);
  }
  free_regions(&r);
}

static void a_region_that_is_none_is_refused(void **data) {
  (void)data;
  static const struct {
    const char *text, *message;
  } cases[] = {
      {"from:left", "c: line 3: layers: \"from:left\" has one end: \"from:<node> "
                    "to:<node>\" is wanted"},
      {"from:left,to:sum", "has one end"},
      {"from: to:sum", ": \"\" is not in the graph, or was folded away"},
      {"from:leff to:sum", "\"from:leff to:sum\": \"leff\" is not in the graph, or was "
                           "folded away; nearest: \"left\", \"left2\""},
      {"from:left to:summ", "\"summ\" is not in the graph, or was folded away; nearest: "
                            "\"sum\""},
      {"from:left to:sum to:aside", "\"sum to:aside\" is a tensor: name its node"},
      {"from:left:0 to:sum", "\"left:0\" is a tensor: name its node"},
      {"from:sum to:left", "\"from:sum to:left\": no data goes from \"sum\" to \"left\", "
                           "but the other way"},
      {"from:left2 to:right", "no data goes from \"left2\" to \"right\""},
      /* of what the first reaches, the nearest names */
      {"from:left to:lift", "no data goes from \"left\" to \"lift\"; nearest: "
                            "\"left2\""},
      {"from:x to:one", "\"from:x to:one\" has no layers that can be meant; nearest "
                        "behind: \"left\""},
  };
  regions r;
  make_regions(&r);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const amct_config_place place = {"c", 3, "layers"};
    amct_selector selector = amct_selector_of(r.graph, cases[i].text);
    amct_error err = {0};
    assert_int_equal(amct_selector_check(&selector, &r.among, &place, &err),
                     AMCT_BAD_CONFIG);
    if (strstr(err.text, cases[i].message) == NULL)
      fail_msg("%s: %s", cases[i].text, err.text);
  }
  free_regions(&r);
}

static void regions_name_what_lies_around_them(void **data) {
  (void)data;
  regions r;
  make_regions(&r);
  r.among.count = 3; /* left, left2, right */
  const amct_config_place place = {NULL, 0, "skip_layers"};
  amct_selector selector = amct_selector_of(r.graph, "from:sum to:exit");
  amct_error err = {0};
  assert_int_equal(amct_selector_check(&selector, &r.among, &place, &err),
                   AMCT_BAD_CONFIG);
  assert_string_equal(err.text, "skip_layers: \"from:sum to:exit\" has no layers that "
                                "can be meant; nearest before: \"left2\"");
  free_regions(&r);
}

static void memory_may_run_out_in_a_region(void **data) {
  (void)data;
  static const char *const texts[] = {"from:one to:sum", "from:sum to:one",
                                      "from:x to:one"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    regions r;
    make_regions(&r);
    for (uint64_t n = 1;; n++) {
      const amct_config_place place = {NULL, 0, "skip_layers"};
      amct_selector selector = amct_selector_of(r.graph, texts[i]);
      amct_alloc_fail_after(n);
      const amct_status status = amct_selector_check(&selector, &r.among, &place, NULL);
      amct_alloc_fail_after(0);
      if (status != AMCT_OUT_OF_MEMORY) {
        assert_int_equal(status, i == 0 ? AMCT_OK : AMCT_BAD_CONFIG);
        assert_true(n > 4);
        break;
      }
    }
    free_regions(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_name_wins_over_its_reading_as_a_pattern),
      cmocka_unit_test(patterns_have_near_names),
      cmocka_unit_test(a_region_is_what_lies_between),
      cmocka_unit_test(a_region_that_is_none_is_refused),
      cmocka_unit_test(regions_name_what_lies_around_them),
      cmocka_unit_test(memory_may_run_out_in_a_region),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
