#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the arrows between the folders (doc/design.md), and that basenames are unique."""

import re
import sys
from collections import defaultdict

import tree

# A folder may include itself, include/ and what stands here, nothing else. Each line is
# complete: arrows are not followed further.
ARROWS = {
    "base": "",
    "wire": "base",
    "numeric": "base",
    "graph": "base wire",
    "op": "base wire graph",
    "rewrite": "base wire numeric graph op",
    "recipe": "base wire numeric graph op",
    "factors": "base wire graph op",
    "insert": "base wire numeric graph op rewrite recipe factors",
    "calib": "base wire numeric graph op factors",
    "data": "base wire numeric graph",
    "engine": "base wire graph data",
    "api": "base wire numeric graph op rewrite recipe factors insert calib data engine",
    "tf": "base wire numeric calib",
    "cli": "",
}
OWN_ROOT = ("tf", "cli")  # include their own headers without a folder
LIBRARIES = {"recipe": {"jansson.h"}}  # "x.h" that is nobody's of ours, by folder
REPEATED_NAMES = {"CMakeLists.txt", "LICENSE", "README.md", "__init__.py", "results.csv"}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">]+)[">]', re.MULTILINE)


def folder_of(path) -> str:
    """The station that a file belongs to; "" for files outside the arrows."""
    parts = path.parts
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return parts[0] if parts[0] in OWN_ROOT else ""


def check_table():
    """No two folders know each other, not even around a corner."""
    state = {}

    def visit(folder, way):
        if state.get(folder) == "done":
            return []
        if folder in way:
            return ["arrows in a circle: " + " -> ".join(way + [folder])]
        found = []
        for target in ARROWS[folder].split():
            found += visit(target, way + [folder])
        state[folder] = "done"
        return found

    return [problem for folder in ARROWS for problem in visit(folder, [])]


def check_include(path, folder, line, name):
    """What is wrong with one include; None if nothing is."""
    where = "{}:{}: ".format(path, line)
    if name.startswith("amct/"):
        if (tree.ROOT / "include" / name).exists():
            return None
        return where + "no header include/" + name
    target, slash, _ = name.partition("/")
    if not slash:
        same = (tree.ROOT / path).parent / name
        if same.exists() and (target.endswith(".def") or folder in OWN_ROOT):
            return None
        if name in LIBRARIES.get(folder, ()) or not same.exists():
            return None  # a system header, or a library's
        return where + '"{}": write it with its folder'.format(name)
    if target not in ARROWS:
        return None  # <sys/stat.h>
    base = tree.ROOT if target in OWN_ROOT else tree.ROOT / "src"
    if not (base / name).exists():
        return where + "no file " + name
    if target != folder and target not in ARROWS[folder].split():
        return where + "{} may not know {}: {}".format(folder, target, name)
    return None


def main() -> int:
    problems = check_table()
    includes = 0
    for path in tree.files(".c", ".h", ".def"):
        folder = folder_of(path)
        if path.parts[0] == "src" and folder and folder not in ARROWS:
            problems.append("{}: folder {} has no arrows".format(path, folder))
        elif folder:
            text = tree.read(path)
            for match in INCLUDE.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                problem = check_include(path, folder, line, match.group(1))
                includes += 1
                problems += [problem] if problem else []
    by_name = defaultdict(list)
    for path in tree.files():
        by_name[path.name].append(str(path))
    for name, paths in sorted(by_name.items()):
        if len(paths) > 1 and name not in REPEATED_NAMES:
            problems.append(
                "basename {} is taken more than once: {}".format(name, ", ".join(paths))
            )
    return tree.report(
        "check_layers", problems, "{} includes, {} names".format(includes, len(by_name))
    )


if __name__ == "__main__":
    sys.exit(main())
