#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""doc/python.md, made from the docstrings of what the package's __all__ names.

gen_python_api.py          writes it
gen_python_api.py --check  checks that it is up to date, and that nothing public lacks a docstring
"""

import ast
import sys
from pathlib import Path
from typing import Dict, List

import tree

PAGE = Path("doc/python.md")
PACKAGE = Path("python/amct_tensorflow")
HEAD = """# The Python API

Made by `tools/gen_python_api.py` from the docstrings; change those. `import amct_tensorflow as amct` gives:

"""
Definitions = (ast.FunctionDef, ast.ClassDef)


def definitions() -> Dict[str, ast.AST]:
    """Functions and classes of the package's files, by name; those of __init__.py count first, _core.py last."""
    found: Dict[str, ast.AST] = {}
    order = {"__init__.py": 0, "_core.py": 2}  # the core has plain functions of the same names
    paths = sorted(tree.files(".py"), key=lambda path: (order.get(path.name, 1), path.name))
    for path in paths:
        body = ast.parse(tree.read(path)).body if path.parent == PACKAGE else []
        for node in (node for node in body if isinstance(node, Definitions)):
            found.setdefault(node.name, node)
    return found


def public() -> List[str]:
    """The names of __all__."""
    for node in ast.parse(tree.read(PACKAGE / "__init__.py")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    raise SystemExit("{}: no __all__".format(PACKAGE))


def defaults(arguments: ast.arguments) -> List[str]:
    """The arguments as they are written in a call."""
    named = arguments.posonlyargs + arguments.args
    values: list = [None] * (len(named) - len(arguments.defaults)) + list(arguments.defaults)
    words = [
        argument.arg + ("" if value is None else "=" + ast.unparse(value))
        for argument, value in zip(named, values)
    ]
    if arguments.kwonlyargs:
        words.append("*")
    for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults):
        words.append(argument.arg + ("" if value is None else "=" + ast.unparse(value)))
    return words


def section(name: str, node: ast.AST) -> str:
    """Title, docstring and, of a class, its public methods."""
    if isinstance(node, ast.FunctionDef):
        title = "{}({})".format(name, ", ".join(defaults(node.args)))
    else:
        bases = ", ".join(ast.unparse(base) for base in getattr(node, "bases", []))
        title = "class {}{}".format(name, "({})".format(bases) if bases else "")
    text = ast.get_docstring(node)  # type: ignore[arg-type]
    if not text:
        raise SystemExit("{} has no docstring".format(name))
    parts = ["## {}\n\n```text\n{}\n\n{}\n```\n".format(name, title, text)]
    for part in getattr(node, "body", []):
        if isinstance(part, ast.FunctionDef) and part.name[0] != "_":
            parts.append(section("{}.{}".format(name, part.name), part))
    return "\n".join(parts)


def page() -> str:
    known = definitions()
    names = public()
    missing = [name for name in names if name not in known]
    if missing:
        raise SystemExit("named in __all__, but nowhere defined: {}".format(", ".join(missing)))
    functions = [name for name in names if isinstance(known[name], ast.FunctionDef)]
    classes = [name for name in names if name not in functions]
    links = ["- [{0}](#{1})".format(name, name.lower()) for name in functions + classes]
    sections = [section(name, known[name]) for name in functions + classes]
    return HEAD + "\n".join(links) + "\n\n" + "\n".join(sections)


if __name__ == "__main__":
    sys.exit(tree.page_main("gen_python_api", PAGE, page()))
