# SPDX-License-Identifier: Apache-2.0
"""The files of the project, for its own checks; what others wrote or a build made is left out."""

import os
import re
import sys
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parent.parent
NOT_OURS = {"third_party", "build", "dist", "out", "amct_log", "__pycache__"}


def files(*suffixes: str) -> Iterator[Path]:
    """Paths relative to ROOT, sorted, of the files that end in one of `suffixes` (none: all)."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(n for n in folders if n not in NOT_OURS and n[0] != ".")
        for name in sorted(names):
            if name[0] != "." and (not suffixes or name.endswith(suffixes)):
                yield (Path(folder) / name).relative_to(ROOT)


def read(path: Path) -> str:
    """The text of a file of `files`."""
    return (ROOT / path).read_text(encoding="utf-8")


_C_TOKENS = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)


def bare(source: str) -> str:
    """C source without comments, strings and directives; offsets and lines stay."""

    def blank(match) -> str:
        return re.sub(r"[^\n]", " ", match.group())

    source = _C_TOKENS.sub(blank, source)
    return re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", blank, source, flags=re.MULTILINE)


def page_main(tool: str, path: Path, wanted: str) -> int:
    """Main program of a tool that makes a page: writes it, or with --check says whether it is old."""
    if sys.argv[1:] != ["--check"]:
        (ROOT / path).write_text(wanted, encoding="utf-8")
        return 0
    known = (ROOT / path).exists() and read(path) == wanted
    problems = [] if known else ["{} is old: tools/{}.py".format(path, tool)]
    return report(tool, problems, "{} lines".format(wanted.count("\n")))


def report(name: str, problems, checked: str) -> int:
    """Prints the problems, or what was checked. Returns the exit code."""
    for problem in problems:
        print(problem)
    if problems:
        print("{}: {} problems".format(name, len(problems)))
        return 1
    print("{}: {}".format(name, checked))
    return 0
