#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a case of tests/cli: NAME.sh, in an empty folder, with `amct` and `text_to_pb` on PATH.

    run_cli.py [--accept] --tools FOLDER [--tools FOLDER] CASE.sh

Its first comment says what it shows; a line `# exit: 3` which exit code it has (0 without it). Beside it
stand NAME.stdout.exact or NAME.stdout.glob, where * is any text within a line, and the same for stderr;
what has no file is empty. net.pb is there, from data/net.txt. --accept writes NAME.stdout.exact.
"""

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

DATA = Path(__file__).resolve().parent / "data"


def run(case, tools):
    """Exit code, standard output and error of a case."""
    path = os.pathsep.join([str(folder.resolve()) for folder in tools] + [os.environ["PATH"]])
    environment = dict(os.environ, PATH=path, LC_ALL="C", DATA=str(DATA))
    with tempfile.TemporaryDirectory() as folder:
        with open(str(DATA / "net.txt"), "rb") as text, open(folder + "/net.pb", "wb") as pb:
            subprocess.run(["text_to_pb"], stdin=text, stdout=pb, env=environment, check=True)
        done = subprocess.run(
            ["bash", str(case.resolve())],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def matches(line, wanted, is_glob) -> bool:
    """True if a line is as it should be."""
    if not is_glob:
        return line == wanted
    return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), line) is not None


def compare(case, stream, text):
    """Lines that tell how a stream differs from its file; empty if it does not."""
    exact = case.with_suffix(".{}.exact".format(stream))
    glob = case.with_suffix(".{}.glob".format(stream))
    file = next((path for path in (exact, glob) if path.exists()), None)
    wanted = file.read_text().splitlines() if file else []
    given = text.splitlines()
    if len(given) == len(wanted) and all(
        matches(a, b, file == glob) for a, b in zip(given, wanted)
    ):
        return []
    return list(difflib.unified_diff(wanted, given, "wanted " + stream, "given " + stream, "", "", 3, ""))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tools", action="append", type=Path, required=True)
    parser.add_argument("--accept", action="store_true")
    parser.add_argument("case", type=Path)
    arguments = parser.parse_args()
    case = arguments.case
    expected = re.search(r"^# exit: (\d+)$", case.read_text(), re.M)
    code, stdout, stderr = run(case, arguments.tools)
    if arguments.accept and stdout:
        case.with_suffix(".stdout.exact").write_text(stdout)
    problems = compare(case, "stdout", stdout) + compare(case, "stderr", stderr)
    wanted = int(expected.group(1)) if expected else 0
    if code != wanted:
        problems.append("exit code {}, wanted {}".format(code, wanted))
    print("\n".join(problems) or "as it should be")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
