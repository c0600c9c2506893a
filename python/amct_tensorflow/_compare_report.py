# SPDX-License-Identifier: Apache-2.0
"""What compare found, as text and as one HTML file."""

import html
import math
import os
import tempfile
from typing import List, NamedTuple, Optional, Sequence

from . import errors


class Comparison(NamedTuple):
    """How far a tensor of the quantized model is from that of the float model."""

    layer: str  # the user's name of the layer, or of the output
    op: str  # "Conv2D", ...; "output"
    tensor: str  # node of the float model whose output is compared
    sqnr_db: float  # 10 log10(sum f^2 / sum (f-q)^2); nan where values are not finite
    cosine: float  # of the angle between the two
    clipped: Optional[float]  # share of the layer's input that AscendQuant clips


_HEADS = ("layer", "op", "SQNR dB", "cosine", "clipped")
_FULL_BAR_DB = 60.0


def _cells(row: Comparison) -> List[str]:
    return [
        row.layer,
        row.op,
        "{:.1f}".format(row.sqnr_db),
        "{:.6f}".format(row.cosine),
        "" if row.clipped is None else "{:.4%}".format(row.clipped),
    ]


def table(rows: Sequence[Comparison]) -> str:
    """A line a row, in columns."""
    lines = [list(_HEADS)] + [_cells(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Float and quantized: {title}</title>
<style>
body {{ font: 14px sans-serif; margin: 2em; color: #222; background: #fff; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: 3px 10px; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
td.bar {{ width: 240px; }}
td.bar div {{ height: 12px; min-width: 1px; }}
p {{ max-width: 60em; }}
</style>
</head>
<body>
<h1>Float and quantized</h1>
<p>{models}</p>
<p>Worst first. SQNR: energy of the float tensor over that of the difference; the bar is full at {full:g} dB.
Clipped: share of the values at the layer's AscendQuant that lie outside its range.</p>
<table>
<tr>{heads}</tr>
{rows}
</table>
</body>
</html>
"""


def _bar(share: float, color: str) -> str:
    return '<td class="bar"><div style="width:{:.1f}%;background:{}"></div></td>'.format(
        100 * min(max(share, 0.0), 1.0), color
    )


def _quality_bar(sqnr_db: float) -> str:
    share = 0.0 if math.isnan(sqnr_db) else min(max(sqnr_db / _FULL_BAR_DB, 0.0), 1.0)
    return _bar(share, "hsl({:.0f},70%,45%)".format(120 * share))  # red to green


def _html_row(row: Comparison) -> str:
    layer, op, *numbers = map(html.escape, _cells(row))
    sqnr, cosine, clipped = ('<td class="number">{}</td>'.format(number) for number in numbers)
    return '<tr><td title="{}">{}</td><td>{}</td>{}{}{}{}{}</tr>'.format(
        html.escape("compared: " + row.tensor),
        layer,
        op,
        sqnr,
        _quality_bar(row.sqnr_db),
        cosine,
        clipped,
        _bar(row.clipped or 0.0, "#c60"),
    )


def page(rows: Sequence[Comparison], float_pb: str, quantized_pb: str) -> str:
    """The HTML file, complete in itself."""
    heads = list(_HEADS[:3]) + [""] + list(_HEADS[3:]) + [""]
    return _PAGE.format(
        title=html.escape(os.path.basename(quantized_pb)),
        models="{} against {}".format(html.escape(quantized_pb), html.escape(float_pb)),
        full=_FULL_BAR_DB,
        heads="".join("<th>{}</th>".format(head) for head in heads),
        rows="\n".join(map(_html_row, rows)),
    )


def write_html(path: str, rows: Sequence[Comparison], float_pb: str, quantized_pb: str) -> None:
    """Writes the page, whole or not at all; missing folders are made."""
    folder = os.path.dirname(os.path.abspath(path))
    made = None
    try:
        os.makedirs(folder, exist_ok=True)
        handle, made = tempfile.mkstemp(dir=folder)
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(page(rows, float_pb, quantized_pb))
        os.chmod(made, 0o644)
        os.replace(made, path)
    except OSError as error:
        if made is not None and os.path.exists(made):
            os.remove(made)
        raise errors.FileError("{}: {}".format(path, error.strerror)) from error
