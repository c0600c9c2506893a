#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every relative link of a Markdown file leads to a file, and its #anchor to a heading of it."""

import re
import sys
from pathlib import Path

import tree

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.M)
FENCED = re.compile(r"^```.*?^```", re.M | re.S)


def anchors(path: Path) -> set:
    """Anchors that headings give, as GitHub makes them."""
    text = FENCED.sub("", tree.read(path))
    titles = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", title) for title in HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def problem(page: Path, link: str) -> str:
    """What is wrong with a link; "" for nothing."""
    if re.match(r"[a-z]+:", link):
        return ""
    name, _, anchor = link.partition("#")
    target = (tree.ROOT / page.parent / name).resolve() if name else (tree.ROOT / page)
    if not target.exists():
        return "no file {}".format(name)
    if anchor and anchor not in anchors(target.relative_to(tree.ROOT)):
        return "no heading #{} in {}".format(anchor, target.relative_to(tree.ROOT))
    return ""


def main() -> int:
    problems, links = [], 0
    for page in tree.files(".md"):
        text = FENCED.sub(lambda block: "\n" * block.group().count("\n"), tree.read(page))
        for match in LINK.finditer(text):
            links += 1
            what = problem(page, match.group(1))
            if what:
                line = text.count("\n", 0, match.start()) + 1
                problems.append("{}:{}: {}".format(page, line, what))
    return tree.report("check_links", problems, "{} links".format(links))


if __name__ == "__main__":
    sys.exit(main())
