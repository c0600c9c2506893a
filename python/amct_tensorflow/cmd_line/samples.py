# SPDX-License-Identifier: Apache-2.0
"""Calibration data from files: where the samples of an input lie, and batches of them."""

import os
import struct
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from .._ops import tf, v1
from ..errors import ArgumentError, FileError, FormatError
from .pictures import Decoder, Preparation, is_picture

_KINDS = ("bin", "npy", "npz", "tfrecord", "picture")
_PICTURE_KEYS = ("image/encoded", "image_raw", "image")


class Input(NamedTuple):
    """An input of the model, and where its data lies."""

    tensor: str  # "input:0"
    shape: Tuple[int, ...]  # of a batch
    dtype: np.dtype
    path: str

    @property
    def name(self) -> str:
        """Of its node."""
        return self.tensor.rpartition(":")[0]


class _Part(NamedTuple):
    """Samples of a file; read(first, count) is called in order."""

    label: str
    samples: int
    read: Callable[[int, int], np.ndarray]


class Source:
    """The samples of an input, over all its files."""

    def __init__(self, kind: str, parts: List[_Part]) -> None:
        """Of files of a kind, in order."""
        self.kind = kind
        self.files = len(parts)
        self.count = sum(part.samples for part in parts)
        self._parts = iter(parts)
        self._part: Optional[_Part] = None
        self._at = 0

    def take(self, count: int) -> np.ndarray:
        """The next samples, along a new first axis."""
        pieces = []
        while count > 0:
            if self._part is None or self._at == self._part.samples:
                self._part, self._at = next(self._parts), 0
            some = min(count, self._part.samples - self._at)
            pieces.append(self._part.read(self._at, some))
            self._at += some
            count -= some
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _kind(path: str) -> Optional[str]:
    name = os.path.basename(path).lower()
    if is_picture(name):
        return "picture"
    if ".tfrecord" in name or name.endswith(".tfrec"):
        return "tfrecord"
    suffix = name.rpartition(".")[2]
    return suffix if suffix in ("bin", "npy", "npz") else None


def _files(path: str) -> Tuple[str, List[str]]:
    """The files under a path, sorted by name, and of which kind they are."""
    if os.path.isdir(path):
        found = []
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            found += [os.path.join(folder, name) for name in names if not name.startswith(".")]
        files = sorted(name for name in found if _kind(name))
    elif os.path.exists(path):
        files = [path] if _kind(path) else []
    else:
        raise FileError("{}: no such file or folder".format(path))
    if not files:
        raise FileError(
            "{}: no calibration data: .bin, .npy, .npz, .tfrecord, or pictures ({}) are wanted".format(
                path, ", ".join([".jpg", ".jpeg", ".png", ".bmp", ".gif"])
            )
        )
    kinds: Dict[str, str] = {}
    for name in files:
        kinds.setdefault(str(_kind(name)), name)
    if len(kinds) > 1:
        first, second = list(kinds.values())[:2]
        raise ArgumentError("{}: of two kinds: {} and {}".format(path, first, second))
    return next(iter(kinds)), files


def open_source(
    of: Input, how: Optional[Preparation] = None, tfrecord_key: Optional[str] = None
) -> Source:
    """Finds the samples of an input; what cannot be them is an error that names the file."""
    kind, files = _files(of.path)
    if kind == "bin":
        return Source(kind, [_bin_part(of, path) for path in files])
    if kind in ("npy", "npz"):
        return Source(kind, [_array_part(of, path) for path in files])
    if kind == "tfrecord":
        return Source(kind, [_tfrecord_part(of, path, how, tfrecord_key) for path in files])
    decoder = Decoder(of.shape[1:], of.dtype, how or Preparation(), of.path)
    return Source(kind, [_picture_part(path, decoder) for path in files])


# ---- raw values ----


def _bin_part(of: Input, path: str) -> _Part:
    sample = int(np.prod(of.shape[1:], dtype=np.int64)) * of.dtype.itemsize
    size = os.path.getsize(path)
    if size == 0 or size % sample:
        raise FormatError(
            "{}: {} bytes are not a number of samples of {} {}, {} bytes each".format(
                path, size, of.dtype, list(of.shape[1:]), sample
            )
        )

    def read(first: int, count: int) -> np.ndarray:
        with open(path, "rb") as file:
            file.seek(first * sample)
            data = file.read(count * sample)
        if len(data) != count * sample:
            raise FileError("{}: it became shorter while it was read".format(path))
        return np.frombuffer(data, of.dtype.newbyteorder("<")).reshape((count,) + of.shape[1:])

    return _Part(path, size // sample, read)


# ---- NumPy ----


def _array_part(of: Input, path: str) -> _Part:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        array = loaded if isinstance(loaded, np.ndarray) else _member(of, path, loaded)
    except (ValueError, EOFError, OSError, KeyError) as error:
        raise FormatError("{}: {}".format(path, error)) from error
    if array.shape == of.shape[1:]:
        array = array[None]
    if array.shape[1:] != of.shape[1:] or array.ndim != len(of.shape) or array.shape[0] == 0:
        raise FormatError(
            "{}: shape {}, where samples of {} are wanted".format(
                path, list(array.shape), list(of.shape[1:])
            )
        )
    if not np.can_cast(array.dtype, of.dtype, "same_kind"):
        raise FormatError(
            "{}: {}, which --data_types {} does not hold".format(path, array.dtype, of.dtype)
        )
    return _Part(
        path, array.shape[0], lambda first, count: array[first : first + count].astype(of.dtype)
    )


def _member(of: Input, path: str, archive: Any) -> np.ndarray:
    """The array of the input's name, or the only one."""
    names = list(archive.files)
    for name in (of.tensor, of.name, of.name.rpartition("/")[2]):
        if name in names:
            return archive[name]
    if len(names) == 1:
        return archive[names[0]]
    raise FormatError(
        '{}: no array "{}" among {}'.format(path, of.name, ", ".join(sorted(names)[:8]) or "none")
    )


# ---- pictures ----


def _picture_part(path: str, decoder: Decoder) -> _Part:
    def read(first: int, count: int) -> np.ndarray:
        with open(path, "rb") as file:
            return decoder(file.read(), path)[None]

    return _Part(path, 1, read)


# ---- TFRecord ----


def _count_records(path: str) -> int:
    """Follows the lengths through the file: length, its checksum, data, checksum."""
    end = os.path.getsize(path)
    at = count = 0
    with open(path, "rb") as file:
        while at < end:
            file.seek(at)
            head = file.read(12)
            at += 16 + struct.unpack("<Q", head[:8])[0] if len(head) == 12 else end
            if at > end:
                raise FormatError(
                    "{}: no TFRecord file, or cut short: record {} ends at byte {} of {}".format(
                        path, count, at, end
                    )
                )
            count += 1
    if count == 0:
        raise FormatError("{}: no records".format(path))
    return count


def _tfrecord_part(of: Input, path: str, how: Optional[Preparation], key: Optional[str]) -> _Part:
    state: Dict[str, Any] = {}

    def sample(index: int) -> np.ndarray:
        label = "{}: record {}".format(path, index)
        try:
            example = tf.train.Example.FromString(next(state["records"]))
        except tf.errors.OpError as error:
            raise FormatError("{}: {}".format(label, error.message)) from error
        except Exception as error:
            raise FormatError("{}: no tf.train.Example: {}".format(label, error)) from error
        return _of_example(of, example.features.feature, key, how, state, label)

    def read(first: int, count: int) -> np.ndarray:
        if "records" not in state:
            state["records"] = v1.io.tf_record_iterator(path)
        return np.stack([sample(first + i) for i in range(count)])

    return _Part(path, _count_records(path), read)


def _of_example(
    of: Input, features: Any, key: Optional[str], how: Any, state: Dict[str, Any], label: str
) -> np.ndarray:
    keys = (key,) if key else (of.tensor, of.name, of.name.rpartition("/")[2]) + _PICTURE_KEYS
    found = next((name for name in keys if name in features), None)
    if found is None:
        raise FormatError(
            '{}: no feature "{}" among {}: see --tfrecord_key'.format(
                label, key or of.name, ", ".join(sorted(features)[:8]) or "none"
            )
        )
    label = '{}: feature "{}"'.format(label, found)
    feature = features[found]
    kind = feature.WhichOneof("kind")
    wanted = int(np.prod(of.shape[1:], dtype=np.int64))
    if kind != "bytes_list":
        values = np.array(getattr(feature, kind).value if kind else [])
        if values.size != wanted:
            raise FormatError("{}: {} values for {}".format(label, values.size, wanted))
        return values.astype(of.dtype).reshape(of.shape[1:])
    if len(feature.bytes_list.value) != 1:
        raise FormatError("{}: {} texts for one".format(label, len(feature.bytes_list.value)))
    data = feature.bytes_list.value[0]
    if len(data) == wanted * of.dtype.itemsize:
        return np.frombuffer(data, of.dtype.newbyteorder("<")).reshape(of.shape[1:])
    if "decoder" not in state:
        state["decoder"] = Decoder(of.shape[1:], of.dtype, how or Preparation(), label)
    return state["decoder"](data, label)


# ---- batches ----


def batches(inputs: List[Input], sources: List[Source], batch_num: int) -> Iterator[Dict[str, Any]]:
    """Feed dicts, keyed by tensor name. Whole batches only: ArgumentError if there are fewer."""
    for of, source in zip(inputs, sources):
        needed = batch_num * of.shape[0]
        if source.count < needed:
            raise ArgumentError(
                "{}: {} samples, where {} batches of {} take {}".format(
                    of.path, source.count, batch_num, of.shape[0], needed
                )
            )

    def each() -> Iterator[Dict[str, Any]]:
        for _ in range(batch_num):
            yield {of.tensor: source.take(of.shape[0]) for of, source in zip(inputs, sources)}

    return each()
