# SPDX-License-Identifier: Apache-2.0
"""Make examples/fashion/subset/ from the full data set, or check that it matches.

    python examples/fashion/make_subset.py           # write the four files
    python examples/fashion/make_subset.py --check   # compare, write nothing

The choice is fixed (see data.py) and the files carry no date, so that the same zlib
writes the same bytes; --check compares the pictures, whatever zlib wrote them.
"""

from __future__ import annotations

import argparse
import gzip
import struct
import sys
from pathlib import Path

import numpy as np

import data


def choose() -> dict[str, data.Pictures]:
    """The pictures of the subset, by the prefix of their files."""
    full = data.load_full()
    every = slice(None, None, data.TEST_STEP)
    test = data.Pictures(full.test.images[every], full.test.labels[every])
    return {"calibration": full.calibration, "test": test}


def write_idx(path: Path, magic: int, array: np.ndarray) -> None:
    """Write uint8 data as a gzipped IDX file, without name or date in its header."""
    header = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
    with path.open("wb") as raw:
        with gzip.GzipFile("", "wb", 9, raw, mtime=0) as stream:
            stream.write(header + array.tobytes())
    print(f"{path}: {path.stat().st_size} bytes")


def write(subset: dict[str, data.Pictures]) -> None:
    """Write the four files."""
    data.SUBSET_DIR.mkdir(exist_ok=True)
    for prefix, pictures in subset.items():
        stem = str(data.SUBSET_DIR / prefix)
        write_idx(Path(stem + "-images-idx3-ubyte.gz"), data.IMAGES_MAGIC, pictures.images)
        write_idx(Path(stem + "-labels-idx1-ubyte.gz"), data.LABELS_MAGIC, pictures.labels)


def check(subset: dict[str, data.Pictures]) -> bool:
    """Do the files hold these pictures?"""
    same = True
    for prefix, pictures in subset.items():
        found = data.read_pictures(data.SUBSET_DIR, prefix, len(pictures.labels))
        equal = np.array_equal(found.images, pictures.images) and np.array_equal(
            found.labels, pictures.labels
        )
        verdict = "as in the full data set" if equal else "DIFFERS"
        print(f"{prefix}: {verdict}")
        same = same and equal
    return same


def main() -> int:
    """Write or check; 1 when the data are missing or differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args()
    try:
        subset = choose()
        if arguments.check:
            return 0 if check(subset) else 1
        write(subset)
    except data.DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
