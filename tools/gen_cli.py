#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The block "cli" of doc/guide.md, made from what the program amct says of itself.

gen_cli.py AMCT          writes it
gen_cli.py AMCT --check  checks that it is up to date
"""

import re
import subprocess
import sys
from pathlib import Path

import tree

PAGE = Path("doc/guide.md")
MARKS = "<!-- cli -->", "<!-- /cli -->"
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


def main() -> int:
    text = tree.read(PAGE)
    head, _, rest = text.partition(MARKS[0])
    _, mark, tail = rest.partition(MARKS[1])
    if not mark:
        raise SystemExit("{}: no block between {} and {}".format(PAGE, *MARKS))
    wanted = "{}{}\n{}{}{}".format(head, MARKS[0], block(sys.argv[1]), MARKS[1], tail)
    if sys.argv[2:] != ["--check"]:
        (tree.ROOT / PAGE).write_text(wanted, encoding="utf-8")
        return 0
    problems = [] if wanted == text else ["{}: block cli is old: tools/gen_cli.py".format(PAGE)]
    return tree.report("gen_cli", problems, "{} lines".format(wanted.count("\n")))


if __name__ == "__main__":
    sys.exit(main())
