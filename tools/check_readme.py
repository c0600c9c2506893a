#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""README.md: at most 120 lines, and blocks that are made, not written.

check_readme.py              checks
check_readme.py --write      rewrites the table of what is supported (op/ops.def, rewrite/rules.def)
check_readme.py --demo FILE  puts in what the demo printed, from its line "Fashion-MNIST" on
"""

import argparse
import re
import sys
from pathlib import Path

import tree

LINES_MAX = 120
README = Path("README.md")
LAYER = re.compile(r"^LAYER\((.*)\)", re.M)
TENSOR = re.compile(r"^TENSOR\((\w+),", re.M)
RULE = re.compile(r'^RULE\((\w+), *"(.*)"\)', re.M)


def layer_rows():
    """One row of the table a layer of ops.def."""
    rows = []
    for match in LAYER.finditer(tree.read(Path("src/op/ops.def"))):
        op, _, weight, rank, axes, grid, vary, _ = re.split(r",\s*(?![^()]*\))", match.group(1))
        numbers = re.findall(r"\d+", re.sub(r"^AXES\d", "", axes))
        weights = "none"
        if weight != "NO_WEIGHT":
            weights = "rank {}, output channels on axis {}".format(rank, " and ".join(numbers))
        if vary == "MAY_VARY":
            weights += "; or a second data input"
        rows.append((op, weights, grid.lower().replace("_", " ")))
    return rows


def supported() -> str:
    """The block "supported"."""
    lines = ["| layer | weights | scales of the weights |", "| --- | --- | --- |"]
    for op, weights, grid in layer_rows():
        lines.append("| {} | {} | {} |".format(op, weights, "none" if weights == "none" else grid))
    for op in TENSOR.findall(tree.read(Path("src/op/ops.def"))):
        lines.append("| {} | none: input tensors, by `tensor_quantize` | none |".format(op))
    lines += ["", "| fusion | what it does |", "| --- | --- |"]
    for name, summary in RULE.findall(tree.read(Path("src/rewrite/rules.def"))):
        lines.append("| {} | {} |".format(name, summary))
    return "\n".join(lines)


def demo(printed) -> str:
    """The block "demo": the table, and the line that judges it."""
    table = re.search(r"^Fashion-MNIST, TensorFlow.*?^(good|BAD): .*?$", printed, re.M | re.S)
    if not table:
        raise SystemExit("nothing that a demo prints")
    lines = re.sub(r"^written.*\n+", "", table.group(), flags=re.M).split("\n")
    return "\n".join(("    " + line).rstrip() for line in lines)


def replace(text, block, content) -> str:
    """`text` with another content between the marks of a block."""
    marks = "<!-- {} -->".format(block), "<!-- /{} -->".format(block)
    if marks[0] not in text or marks[1] not in text:
        raise SystemExit("README.md: no block {}".format(block))
    head, rest = text.split(marks[0], 1)
    return "{}{}\n{}\n{}{}".format(head, marks[0], content, marks[1], rest.split(marks[1], 1)[1])


def check(text):
    """What is wrong with the README."""
    problems = []
    if text.count("\n") > LINES_MAX:
        problems.append("README.md: {} lines, limit {}".format(text.count("\n"), LINES_MAX))
    if replace(text, "supported", supported()) != text:
        problems.append("README.md: block supported is old: tools/check_readme.py --write")
    if "Fashion-MNIST, TensorFlow" not in text:
        problems.append("README.md: block demo is empty: tools/check_readme.py --demo FILE")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", action="store_true", help="rewrite the table of what is supported"
    )
    parser.add_argument("--demo", metavar="FILE", help="what the demo printed")
    arguments = parser.parse_args()
    text = tree.read(README)
    if arguments.write:
        text = replace(text, "supported", supported())
    if arguments.demo:
        text = replace(text, "demo", demo(Path(arguments.demo).read_text()))
    if arguments.write or arguments.demo:
        (tree.ROOT / README).write_text(text)
    return tree.report("check_readme", check(text), "{} lines".format(text.count("\n")))


if __name__ == "__main__":
    sys.exit(main())
