#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the sizes: files, headers, functions, parameters, nesting.

What is over a limit needs a line in size_exceptions.txt that says why; such functions may
be 1 % of all.
"""

import ast
import re
import sys
from typing import Dict, Iterator, List, NamedTuple, Tuple

import tree

LIMITS = {"lines": 500, "header": 200, "function": 60, "parameters": 6, "nesting": 3}
NO_EXCEPTION = {"lines": 800}  # the hard limits
NAMED_FILES = {"CMakeLists.txt": 120, "README.md": 120}  # of the root
FUNCTION_KINDS = ("function", "parameters", "nesting")
EXCEPTIONS = "tools/size_exceptions.txt"
EXCEPTION_BUDGET = 0.01  # of the functions; at least one

_HEAD = re.compile(r"^(?![ \t}])[^;{}()=]*?\b(\w+)\s*\(", re.MULTILINE)
_CONTROL = re.compile(r"(?:\)|\belse|\bdo)\s*$")


class Size(NamedTuple):
    """Something measured."""

    what: str  # path, or path:function
    kind: str  # a key of LIMITS
    value: int
    limit: int


def _closing(text: str, start: int, pair: str) -> int:
    """Place of the bracket that closes the one at `start`; -1 if none does."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] == pair[0]:
            depth += 1
        elif text[i] == pair[1]:
            depth -= 1
            if depth == 0:
                return i
    return -1


def _parameters(text: str) -> int:
    """Number of parameters between the parentheses of a C function."""
    if text.strip() in ("", "void"):
        return 0
    depth = 0
    count = 1
    for character in text:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
        count += character == "," and depth == 0
    return count


def _nesting(body: str) -> int:
    """Deepest nesting of blocks that belong to if, for, while, do, switch or else."""
    open_blocks: List[bool] = []
    deepest = 0
    for i, character in enumerate(body):
        if character == "{":
            open_blocks.append(bool(_CONTROL.search(body, max(0, i - 40), i)))
            deepest = max(deepest, sum(open_blocks))
        elif character == "}" and open_blocks:
            open_blocks.pop()
    return deepest


def c_functions(text: str) -> Iterator[Tuple[str, Dict[str, int]]]:
    """Name and sizes of each function defined in C source."""
    text = tree.bare(text)
    place = 0
    while True:
        match = _HEAD.search(text, place)
        if not match:
            return
        place = match.end()
        close = _closing(text, match.end() - 1, "()")
        start = re.compile(r"\s*\{").match(text, close + 1) if close > 0 else None
        if not start:
            continue
        end = _closing(text, start.end() - 1, "{}")
        head = match.start() + len(match.group()) - len(match.group().lstrip())
        yield (
            match.group(1),
            {
                "function": text.count("\n", head, end) + 1,
                "parameters": _parameters(text[match.end() : close]),
                "nesting": _nesting(text[start.end() : end]),
            },
        )
        place = end


_BLOCKS = (ast.If, ast.For, ast.While, ast.Try)


def _python_nesting(node: ast.AST, depth: int = 0) -> int:
    deepest = depth
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.Lambda)):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        inside = depth + (isinstance(child, _BLOCKS) and not is_elif)
        deepest = max(deepest, _python_nesting(child, inside))
    return deepest


def python_functions(text: str) -> Iterator[Tuple[str, Dict[str, int]]]:
    """Name and sizes of each function of Python source."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            last = max(getattr(child, "lineno", 0) for child in ast.walk(node))
            names = [argument.arg for argument in node.args.args + node.args.kwonlyargs]
            yield (
                node.name,
                {
                    "function": last - node.lineno + 1,
                    "parameters": len([name for name in names if name not in ("self", "cls")]),
                    "nesting": _python_nesting(node),
                },
            )


def measure() -> Tuple[List[Size], int, int]:
    """Everything measured, and the numbers of files and functions."""
    sizes = []
    files = functions = 0
    for path in tree.files(".c", ".h", ".py", ".sh"):
        text = tree.read(path)
        kind = "header" if path.suffix == ".h" else "lines"
        sizes.append(Size(str(path), kind, text.count("\n"), LIMITS[kind]))
        files += 1
        finder = {".c": c_functions, ".h": c_functions, ".py": python_functions}
        for name, values in finder.get(path.suffix, lambda _: ())(text):
            functions += 1
            for kind, value in values.items():
                sizes.append(Size("{}:{}".format(path, name), kind, value, LIMITS[kind]))
    for name, limit in NAMED_FILES.items():
        if (tree.ROOT / name).exists():
            lines = (tree.ROOT / name).read_text(encoding="utf-8").count("\n")
            sizes.append(Size(name, "lines", lines, limit))
    return sizes, files, functions


def read_exceptions() -> Dict[Tuple[str, str], str]:
    """(what, kind) -> why."""
    found = {}
    for line in (tree.ROOT / EXCEPTIONS).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            what, kind, why = line.split(None, 2)
            found[what, kind] = why
    return found


def main() -> int:
    exceptions = read_exceptions()
    sizes, files, functions = measure()
    over = [size for size in sizes if size.value > size.limit]
    problems = []
    for size in over:
        hard = NO_EXCEPTION.get(size.kind)
        if (size.what, size.kind) not in exceptions or (hard and size.value > hard):
            problems.append("{0.what}: {0.kind} {0.value}, limit {0.limit}".format(size))
    known = {(size.what, size.kind) for size in over}
    for what, kind in sorted(set(exceptions) - known):
        problems.append("{}: {} {} is not over its limit".format(EXCEPTIONS, what, kind))
    excused = sum(kind in FUNCTION_KINDS for _, kind in exceptions)
    if excused > max(1, int(functions * EXCEPTION_BUDGET)):
        problems.append("{}: {} of {} functions, over 1 %".format(EXCEPTIONS, excused, functions))
    return tree.report("check_sizes", problems, "{} files, {} functions".format(files, functions))


if __name__ == "__main__":
    sys.exit(main())
