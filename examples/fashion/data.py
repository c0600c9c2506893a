# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST for the example: the full data set, or the subset shipped here.

Where the pictures come from, in this order:

1. the folder named by the environment variable AMCT_FASHION_DIR,
2. /usr/share/datasets/fashion-mnist (Debian package dataset-fashion-mnist),
3. examples/fashion/subset/, 128 calibration and 1,000 test pictures.

Splits. Of the 60,000 training pictures the first 55,000 train the network and the
last 5,000 (the validation split) choose its epoch. The 128 calibration pictures are
every 39th of the validation split. The 10,000 test pictures are only ever tested on.
The subset holds the same calibration pictures, and every 10th test picture.

Pictures are uint8 [n, 28, 28], labels uint8 [n] in 0..9.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

DEBIAN_DIR = Path("/usr/share/datasets/fashion-mnist")
SUBSET_DIR = Path(__file__).resolve().parent / "subset"
ENVIRONMENT = "AMCT_FASHION_DIR"

SIDE = 28
CLASSES = 10
TRAINING = 55000
VALIDATION = 5000
CALIBRATION = 128
CALIBRATION_STEP = VALIDATION // CALIBRATION  # every 39th
TEST = 10000
TEST_STEP = 10

IMAGES_MAGIC = 0x00000803  # uint8, three dimensions
LABELS_MAGIC = 0x00000801  # uint8, one dimension


class DataError(Exception):
    """A file of the data set is missing or is not what it should be."""


class Pictures(NamedTuple):
    """Pictures with their labels."""

    images: np.ndarray  # uint8 [n, 28, 28]
    labels: np.ndarray  # uint8 [n], 0..9


class Evaluation(NamedTuple):
    """What a calibration needs: pictures to calibrate on and others to test on."""

    calibration: Pictures
    test: Pictures
    source: str  # one line for people
    full: bool  # all 10,000 test pictures?


def to_input(images: np.ndarray) -> np.ndarray:
    """Network input: float32 [n, 28, 28, 1] = pixel / 128 - 1, in [-1, 0.9921875]."""
    return images.astype(np.float32)[..., np.newaxis] / np.float32(128) - np.float32(1)


def read_idx(path: Path, magic: int, count: int, item: tuple[int, ...]) -> np.ndarray:
    """One gzipped IDX file of uint8.

    Header: big-endian uint32 magic, uint32 count, then one uint32 per dimension of an
    item. Whatever differs from the expected magic, count, item shape or length is a
    DataError that names the file and both values. Reads no more than it expects.
    """
    header = struct.Struct(f">{2 + len(item)}I")
    size = count * int(np.prod(item, dtype=np.int64))
    expected = (magic, count) + item
    try:
        with gzip.open(str(path), "rb") as stream:
            raw = stream.read(header.size)
            if len(raw) != header.size:
                raise DataError(f"{path}: ends within its header")
            found = header.unpack(raw)
            if found[0] != magic:
                raise DataError(f"{path}: magic number 0x{found[0]:08x}, expected 0x{magic:08x}")
            if found != expected:
                shapes = f"{_shape(found[1:])}, expected {_shape(expected[1:])}"
                raise DataError(f"{path}: holds {shapes}")
            body = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: {reason}") from error
    if len(body) != size:
        found_size = f"more than {size}" if len(body) > size else f"{len(body)}"
        raise DataError(f"{path}: {found_size} bytes after the header, expected {size}")
    return np.frombuffer(body, np.uint8).reshape((count,) + item)


def _shape(dims: tuple[int, ...]) -> str:
    return "x".join(str(dim) for dim in dims)


def read_pictures(folder: Path, prefix: str, count: int) -> Pictures:
    """Pictures and labels, <prefix>-{images-idx3,labels-idx1}-ubyte.gz."""
    images = read_idx(
        folder / (prefix + "-images-idx3-ubyte.gz"), IMAGES_MAGIC, count, (SIDE, SIDE)
    )
    path = folder / (prefix + "-labels-idx1-ubyte.gz")
    labels = read_idx(path, LABELS_MAGIC, count, ())
    if labels.max() >= CLASSES:
        raise DataError(f"{path}: label {labels.max()}, expected 0..9")
    return Pictures(images, labels)


def full_dir() -> Path | None:
    """Folder of the full data set, None if there is none."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        if not Path(named).is_dir():
            raise DataError(f"{ENVIRONMENT}: {named} is not a folder")
        return Path(named)
    return DEBIAN_DIR if DEBIAN_DIR.is_dir() else None


def _require_full_dir() -> Path:
    folder = full_dir()
    if folder is None:
        raise DataError(
            "no full data set: install the Debian package dataset-fashion-mnist, or "
            f"name a folder with its four .gz files in {ENVIRONMENT}"
        )
    return folder


def load_training() -> tuple[Pictures, Pictures]:
    """Training and validation split, 55,000 and 5,000; needs the full data set."""
    both = read_pictures(_require_full_dir(), "train", TRAINING + VALIDATION)
    return (
        Pictures(both.images[:TRAINING], both.labels[:TRAINING]),
        Pictures(both.images[TRAINING:], both.labels[TRAINING:]),
    )


def load_full() -> Evaluation:
    """128 calibration pictures and all 10,000 test pictures of the full data set."""
    folder = _require_full_dir()
    _, validation = load_training()
    chosen = slice(0, CALIBRATION * CALIBRATION_STEP, CALIBRATION_STEP)
    calibration = Pictures(validation.images[chosen], validation.labels[chosen])
    test = read_pictures(folder, "t10k", TEST)
    return Evaluation(calibration, test, f"full data set, {folder}", True)


def load_subset() -> Evaluation:
    """128 calibration pictures and 1,000 test pictures shipped with the example."""
    return Evaluation(
        read_pictures(SUBSET_DIR, "calibration", CALIBRATION),
        read_pictures(SUBSET_DIR, "test", TEST // TEST_STEP),
        f"shipped subset, {SUBSET_DIR}",
        False,
    )


def load(which: str = "auto") -> Evaluation:
    """`full`, `subset`, or `auto`: the full data set where there is one."""
    if which == "full" or (which == "auto" and full_dir() is not None):
        return load_full()
    if which not in ("auto", "subset"):
        raise DataError(f"data set {which!r}, expected auto, full or subset")
    return load_subset()
