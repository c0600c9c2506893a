#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The checks themselves: each finds what it is for."""

import sys
import unittest
from pathlib import Path

import check_docs
import check_layers
import check_links
import check_readme
import check_sizes
import tree

C = """/* int not_a_function(void) { */
#define MACRO(x) \\
  int also_not(x) {
static const struct table k_rows[] = {
  {"{", 1},
};
/** Doc. */
static int
first(int a, int (*b)(int, int),
      const char *c) {
  if (a) {
    for (;;) {
      do {
        const int row[] = {1, 2};
      } while (a);
    }
  } else {
    return '}';
  }
  return 0;
}
amct_status second(void) { return AMCT_OK; }
int declared(int a, int b);
"""


class Sizes(unittest.TestCase):
    def test_c(self):
        self.assertEqual(
            list(check_sizes.c_functions(C)),
            [
                ("first", {"function": 14, "parameters": 3, "nesting": 3}),
                ("second", {"function": 1, "parameters": 0, "nesting": 0}),
            ],
        )

    def test_python(self):
        text = "def f(self, a, *, b):\n    if a:\n        for c in b:\n            pass\n    elif b:\n        pass\n"
        self.assertEqual(
            list(check_sizes.python_functions(text)),
            [("f", {"function": 6, "parameters": 2, "nesting": 2})],
        )


class Readme(unittest.TestCase):
    def test_rows(self):
        ops = [row[0] for row in check_readme.layer_rows()]
        self.assertIn(
            ("MatMul", "rank 2, output channels on axis 1", "per tensor"), check_readme.layer_rows()
        )
        self.assertEqual(len(ops), len(set(ops)))
        self.assertIn("| AvgPool | none | none |", check_readme.supported())

    def test_demo(self):
        printed = "x\nFashion-MNIST, TensorFlow 2\n\na  1\n\nwritten to /tmp\ngood: yes\nmore\n"
        self.assertEqual(
            check_readme.demo(printed),
            "    Fashion-MNIST, TensorFlow 2\n\n    a  1\n\n    good: yes",
        )

    def test_problems(self):
        text = tree.read(Path("README.md"))
        self.assertEqual(check_readme.check(text), [])
        self.assertEqual(len(check_readme.check(text + "\n" * 120)), 1)
        self.assertEqual(len(check_readme.check(text.replace("| per channel |", "| |"))), 1)


class Links(unittest.TestCase):
    def test_problems(self):
        def problem(link):
            return check_links.problem(Path("doc/guide.md"), link)

        self.assertEqual(problem("https://example.org/a#b"), "")
        self.assertEqual(problem("../README.md#two-commands"), "")
        self.assertEqual(problem("#the-calls"), "")
        self.assertIn("no file", problem("gone.md"))
        self.assertIn("no heading", problem("../README.md#three-commands"))


class Layers(unittest.TestCase):
    def problem(self, path, name):
        path = Path(path)
        return check_layers.check_include(path, check_layers.folder_of(path), 7, name)

    def test_arrows(self):
        self.assertIsNone(self.problem("src/graph/graph.c", "base/arena.h"))
        self.assertIsNone(self.problem("src/graph/graph.c", "amct/status.h"))
        self.assertIsNone(self.problem("src/base/alloc.c", "sys/stat.h"))
        self.assertIn("may not know", self.problem("src/base/alloc.c", "graph/graph.h"))
        self.assertIn("may not know", self.problem("tf/any.c", "graph/graph.h"))
        self.assertIn("no file", self.problem("src/graph/graph.c", "base/nothing.h"))
        self.assertIn("no header", self.problem("src/graph/graph.c", "amct/nothing.h"))
        self.assertIn("its folder", self.problem("src/graph/graph.c", "graph.h"))

    def test_table_is_no_circle(self):
        self.assertEqual(check_layers.check_table(), [])
        table = dict(check_layers.ARROWS, base="graph")
        check_layers.ARROWS, kept = table, check_layers.ARROWS
        try:
            self.assertIn("circle", check_layers.check_table()[0])
        finally:
            check_layers.ARROWS = kept


class Docs(unittest.TestCase):
    def test_undocumented(self):
        text = (
            "/** Doc. */\nAMCT_API int a(void);\n/* no doc */\nAMCT_API int b(int c,\n  int d);\n"
        )
        found = [
            (match.group(1), bool(check_docs.DOCUMENTED.search(text, 0, match.start())))
            for match in check_docs.PROTOTYPE.finditer(text)
        ]
        self.assertEqual(found, [("a", True), ("b", False)])


class Tree(unittest.TestCase):
    def test_own_files_only(self):
        found = {str(path) for path in tree.files()}
        self.assertIn("tools/check_checks.py", found)
        self.assertFalse([path for path in found if path.startswith(("third_party", "build"))])


if __name__ == "__main__":
    sys.exit(unittest.main())
