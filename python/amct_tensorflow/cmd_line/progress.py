# SPDX-License-Identifier: Apache-2.0
"""How far a long job is, on standard error."""

import sys
import time
from typing import Iterable, Iterator, TypeVar

Item = TypeVar("Item")

_WIDTH = 30
_SECONDS = 0.1  # between two drawings


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        "{}:{:02}:{:02}".format(hours, minutes, rest) if hours else "{}:{:02}".format(minutes, rest)
    )


def bar(done: int, total: int, seconds: float) -> str:
    """A line: what is done, time so far, and time that is left if it goes on like that."""
    filled = _WIDTH * done // total
    left = _clock(seconds * (total - done) / done) if done else "?"
    return "[{}{}] {}/{}  {} so far, {} left".format(
        "#" * filled, "." * (_WIDTH - filled), done, total, _clock(seconds), left
    )


def shown(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The items; a bar grows as they are used: redrawn on a terminal, a line every tenth elsewhere."""
    live = sys.stderr.isatty()
    began = drawn = time.monotonic()
    tenths = 0
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        last = done == total
        if not (
            last or (live and now - drawn >= _SECONDS) or (not live and 10 * done // total > tenths)
        ):
            continue
        drawn, tenths = now, 10 * done // total
        line = "{} {}".format(what, bar(done, total, now - began))
        sys.stderr.write("\r{}\x1b[K{}".format(line, "\n" if last else "") if live else line + "\n")
        sys.stderr.flush()
