#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every prototype of include/ has a doc comment right before it, every header says what it is for."""

import re
import sys

import tree

PROTOTYPE = re.compile(r"^AMCT_API\b[^;{]*?\b(\w+)\s*\([^;]*;", re.MULTILINE)
DOCUMENTED = re.compile(r"/\*\*(?:[^*]|\*(?!/))*\*/[ \t]*\n[ \t]*$")
FIRST_LINE = "/* SPDX-License-Identifier: Apache-2.0 */"


def check(path):
    """Problems of a header, and how many prototypes it has."""
    text = tree.read(path)
    problems = []
    lines = text.split("\n")
    if lines[0] != FIRST_LINE:
        problems.append("{}:1: no SPDX line".format(path))
    if not lines[1].startswith("/*"):
        problems.append("{}:2: no comment that says what the header is for".format(path))
    count = 0
    for match in PROTOTYPE.finditer(text):
        count += 1
        if not DOCUMENTED.search(text, 0, match.start()):
            line = text.count("\n", 0, match.start()) + 1
            problems.append("{}:{}: {} has no doc comment".format(path, line, match.group(1)))
    return problems, count


def main() -> int:
    problems = []
    total = 0
    for path in tree.files(".h"):
        if path.parts[0] == "include":
            found, count = check(path)
            problems += found
            total += count
    if not total:
        problems.append("include/: no prototypes found")
    return tree.report("check_docs", problems, "{} prototypes, all documented".format(total))


if __name__ == "__main__":
    sys.exit(main())
