#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""doc/fusions.md, made from rules.def, the comments of the rules and their golden cases.

gen_fusions.py          writes it
gen_fusions.py --check  checks that it is up to date
"""

import re
import sys
from pathlib import Path

import tree

PAGE = Path("doc/fusions.md")
RULE = re.compile(r'^RULE\((\w+), *"(.*)"\)', re.M)
COMMENT = re.compile(r"/\*\n(.*?)\n \*/", re.S)
HEAD = """# Fusions

Made by `tools/gen_fusions.py` from `src/rewrite/rules.def`, the rules and their golden cases; change those.

Rules run in this order, each until it finds nothing more. A rule that may not touch a place declines: the log says where and why, the graph
stays as it is there. Whatever is left of the graph keeps its name and its value. `skip_fusion_layers` and `do_fusion` of the configuration
switch fusions off. Each case is a graph, the decisions, and the graph after them.
"""


def header(rule: str) -> str:
    """What the rule says of itself."""
    text = COMMENT.search(tree.read(Path("src/rewrite/rules/{}.c".format(rule)))).group(1)
    return "\n".join(re.sub(r"^ \* ?", "", line) for line in text.split("\n"))


def cases(rule: str):
    """A line a golden case: its name, what it shows."""
    folder = Path("tests/golden") / rule
    for path in sorted(path for path in tree.files(".txt") if path.parent == folder):
        shows = tree.read(path).split("\n", 1)[0].lstrip("# ")
        yield "- [{}](../{}): {}".format(
            re.sub("^({}_)?(declined_)?".format(rule), "", path.stem), path, shows
        )


def page() -> str:
    parts = [HEAD]
    for rule, summary in RULE.findall(tree.read(Path("src/rewrite/rules.def"))):
        lines = list(cases(rule))
        done = [line for line in lines if "declined_" not in line]
        parts.append("## {}: {}\n\n```text\n{}\n```\n".format(rule, summary, header(rule)))
        parts.append("Done:\n\n{}\n".format("\n".join(done)))
        parts.append("Declined:\n\n{}\n".format("\n".join(x for x in lines if x not in done)))
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(tree.page_main("gen_fusions", PAGE, page()))
