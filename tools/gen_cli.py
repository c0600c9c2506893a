#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The blocks "cli" and "python-cli" of doc/commands.md, made from what the two programs say of themselves.

gen_cli.py AMCT          writes it
gen_cli.py AMCT --check  checks that it is up to date
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import tree

PAGE = Path("doc/commands.md")
OPTIONS = Path("python/amct_tensorflow/cmd_line/options.py")
COMMON = re.compile(r"\noptions of every command\n(?:  .*\n)+")


def ask(program, *arguments) -> str:
    """What the program prints."""
    return subprocess.run(
        (program,) + arguments, stdout=subprocess.PIPE, check=True, universal_newlines=True
    ).stdout


def block(program) -> str:
    """The list of commands, and the help of each that has more to say than the list."""
    listed = ask(program, "help")
    names = re.search(r"^commands\n((?:  .*\n)+)", listed, re.M).group(1)
    parts = [listed]
    for name in re.findall(r"^  (\w+)", names, re.M):
        text = COMMON.sub("", ask(program, "help", name))
        if "\noptions\n" in text or "\nfor example\n" in text:
            parts.append(text)
    return "".join("```text\n{}```\n\n".format(part) for part in parts)


def python_block() -> str:
    """The help of amct_tensorflow, from its table, which needs no TensorFlow."""
    spec = importlib.util.spec_from_file_location("options", str(tree.ROOT / OPTIONS))
    if spec is None or spec.loader is None:
        raise SystemExit("{}: not there".format(OPTIONS))
    options = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(options)
    parts = [options.help_text(command) for command in (None, *options.COMMANDS)]
    return "".join("```text\n{}```\n\n".format(part) for part in parts)


def replaced(text: str, name: str, content: str) -> str:
    """The page with another content of a block."""
    marks = "<!-- {} -->".format(name), "<!-- /{} -->".format(name)
    head, _, rest = text.partition(marks[0])
    _, mark, tail = rest.partition(marks[1])
    if not mark:
        raise SystemExit("{}: no block between {} and {}".format(PAGE, *marks))
    return "{}{}\n{}{}{}".format(head, marks[0], content, marks[1], tail)


def main() -> int:
    text = tree.read(PAGE)
    wanted = replaced(text, "cli", block(sys.argv[1]))
    wanted = replaced(wanted, "python-cli", python_block())
    if sys.argv[2:] != ["--check"]:
        (tree.ROOT / PAGE).write_text(wanted, encoding="utf-8")
        return 0
    problems = [] if wanted == text else ["{}: a block is old: tools/gen_cli.py".format(PAGE)]
    return tree.report("gen_cli", problems, "{} lines".format(wanted.count("\n")))


if __name__ == "__main__":
    sys.exit(main())
