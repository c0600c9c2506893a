#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws doc/picture.svg: one layer of a graph before and after. `--check` compares instead of writing."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "doc" / "picture.svg"

FLOAT, INTEGER, OURS, TEXT = "#dbe9f6", "#d9f0d3", "#fde3c4", "#1b1f24"
WIDTH, HEIGHT, BOX = 830, 266, 34

# x, y, width, label, colour; arrows are pairs of boxes
BEFORE = {
    "x": (20, 42, 70, "data", FLOAT),
    "w": (20, 100, 70, "weights", FLOAT),
    "conv": (116, 42, 90, "Conv2D", FLOAT),
    "bn": (232, 42, 164, "FusedBatchNormV3", FLOAT),
    "relu": (422, 42, 70, "Relu6", FLOAT),
}
BEFORE_ARROWS = [("x", "conv"), ("w", "conv"), ("conv", "bn"), ("bn", "relu")]
AFTER = {
    "x": (20, 172, 70, "data", FLOAT),
    "w": (20, 224, 112, "int8 weights", INTEGER),
    "q": (116, 172, 110, "AscendQuant", OURS),
    "wq": (158, 224, 150, "AscendWeightQuant", OURS),
    "conv": (334, 172, 80, "Conv2D", INTEGER),
    "bias": (440, 172, 118, "BiasAdd int32", INTEGER),
    "dq": (584, 172, 126, "AscendDequant", OURS),
    "relu": (736, 172, 70, "Relu6", FLOAT),
}
AFTER_ARROWS = [
    ("x", "q"),
    ("w", "wq"),
    ("q", "conv"),
    ("wq", "conv"),
    ("conv", "bias"),
    ("bias", "dq"),
    ("dq", "relu"),
]


def box(x, y, width, label, colour):
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{BOX}" rx="5" fill="{colour}" stroke="#57606a"/>'
        f'<text x="{x + width / 2:g}" y="{y + 22}" text-anchor="middle">{label}</text>'
    )


def arrow(start, end):
    x1, y1 = start[0] + start[2], start[1] + BOX / 2
    x2, y2 = end[0], end[1] + BOX / 2
    if start[1] != end[1]:
        x2, y2 = end[0] + end[2] / 2, end[1] + BOX
        return f'<path d="M{x1:g} {y1:g} H{x2:g} V{y2 + 2:g}" class="edge"/>'
    return f'<path d="M{x1:g} {y1:g} H{x2 - 2:g}" class="edge"/>'


def draw():
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="13" fill="{TEXT}">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#57606a"/></marker></defs>',
        "<style>.edge{fill:none;stroke:#57606a;marker-end:url(#tip)}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        '<text x="20" y="26" font-size="15" font-weight="bold">Before: float32, the batch norm apart</text>',
        '<text x="20" y="158" font-size="15" font-weight="bold">After: batch norm folded, int8 data and '
        "weights, integer bias, one factor a channel out</text>",
    ]
    for nodes, arrows in ((BEFORE, BEFORE_ARROWS), (AFTER, AFTER_ARROWS)):
        parts += [arrow(nodes[a], nodes[b]) for a, b in arrows]
        parts += [box(*node) for node in nodes.values()]
    return "\n".join(parts) + "\n</svg>\n"


def main():
    if "--check" in sys.argv[1:]:
        if TARGET.read_text() != draw():
            sys.exit(f"{TARGET} is not what {sys.argv[0]} draws: run it again")
        return
    TARGET.write_text(draw())


if __name__ == "__main__":
    main()
