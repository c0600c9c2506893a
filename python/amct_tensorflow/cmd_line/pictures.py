# SPDX-License-Identifier: Apache-2.0
"""Pictures as samples: decoded and resized by TensorFlow, then (byte - mean) * scale."""

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from .._ops import error_line, tf, v1
from ..errors import ArgumentError, FormatError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


class Preparation(NamedTuple):
    """What is done with a picture; the defaults leave its bytes as they are."""

    mean: Tuple[float, ...] = (0.0,)
    scale: Tuple[float, ...] = (1.0,)
    order: str = "RGB"
    resize: str = "stretch"

    def words(self) -> str:
        """For people."""
        return "{} to the shape, {}, (byte - {}) * {}".format(
            {"stretch": "stretched", "crop": "cut from the middle"}[self.resize],
            self.order,
            ",".join("{:g}".format(value) for value in self.mean),
            ",".join("{:g}".format(value) for value in self.scale),
        )


def preparation(values: Dict[str, str]) -> Preparation:
    """From the options of a command line; ArgumentError names the option."""
    numbers = {}
    for name in ("mean", "scale"):
        text = values.get("picture_" + name)
        if text is None:
            continue
        try:
            numbers[name] = tuple(float(part) for part in text.split(","))
        except ValueError:
            numbers[name] = ()
        if len(numbers[name]) not in (1, 3) or not np.all(np.isfinite(numbers[name])):
            raise ArgumentError(
                '--picture_{}: "{}" is neither one finite number nor three'.format(name, text)
            )
    return Preparation(
        order=values.get("picture_order", "RGB"),
        resize=values.get("picture_resize", "stretch"),
        **numbers,
    )


class Decoder:
    """Turns encoded pictures into samples of a shape, [H, W, C] or [C, H, W]."""

    def __init__(self, shape: Tuple[int, ...], dtype: Any, how: Preparation, what: str) -> None:
        """ArgumentError, naming `what`, if the shape is not that of a picture."""
        if len(shape) != 3 or not ({shape[0], shape[2]} & {1, 3}):
            raise ArgumentError(
                "{}: pictures do not fit a sample of shape {}: [H, W, C] or [C, H, W] with C 1 "
                "or 3 is wanted".format(what, list(shape))
            )
        self._first = shape[2] not in (1, 3)
        height, width, channels = (shape[1], shape[2], shape[0]) if self._first else shape
        if 3 in (len(how.mean), len(how.scale)) and channels == 1:
            raise ArgumentError("{}: three means or scales for one channel".format(what))
        self._how = how
        self._channels = channels
        self._dtype = np.dtype(dtype)
        self._build(height, width)

    def _build(self, height: int, width: int) -> None:
        with tf.Graph().as_default() as graph:
            self._encoded = v1.placeholder(tf.string, [])
            decoded = v1.image.decode_image(
                self._encoded, channels=self._channels, expand_animations=False
            )
            decoded = tf.reshape(decoded, tf.concat([tf.shape(decoded)[:2], [self._channels]], 0))
            size = tf.constant([height, width])
            real = tf.cast(decoded, tf.float32)
            if self._how.resize == "crop":
                real = _covering(real, size)
            picture = v1.image.resize_bilinear(real[None], size, half_pixel_centers=True)
            self._picture = picture[0]
            self._session = v1.Session(graph=graph, config=v1.ConfigProto(device_count={"GPU": 0}))

    def __call__(self, encoded: bytes, label: str) -> np.ndarray:
        """A sample; FormatError names `label`."""
        try:
            picture = self._session.run(self._picture, {self._encoded: encoded})
        except tf.errors.OpError as error:
            raise FormatError(
                "{}: no picture that can be read: {}".format(label, error_line(error))
            ) from error
        if self._how.order == "BGR":
            picture = picture[..., ::-1]
        picture = (picture - np.asarray(self._how.mean, np.float32)) * np.asarray(
            self._how.scale, np.float32
        )
        if self._dtype.kind in "iu":
            limits = np.iinfo(self._dtype)
            picture = np.clip(np.rint(picture), limits.min, limits.max)
        if self._first:
            picture = picture.transpose(2, 0, 1)
        return picture.astype(self._dtype)


def _covering(picture: Any, size: Any) -> Any:
    """The middle of a picture, in the proportions of `size`."""
    have = tf.cast(tf.shape(picture)[:2], tf.float32)
    want = tf.cast(size, tf.float32)
    cut = tf.cast(tf.round(want * tf.reduce_min(have / want)), tf.int32)
    cut = tf.maximum(tf.minimum(cut, tf.shape(picture)[:2]), 1)
    first = (tf.shape(picture)[:2] - cut) // 2
    return picture[first[0] : first[0] + cut[0], first[1] : first[1] + cut[1]]


def is_picture(name: str) -> bool:
    """By its suffix."""
    return name.lower().endswith(SUFFIXES)


def sorted_pictures(names: List[str]) -> List[str]:
    """Those of the names that are pictures, in order."""
    return sorted(name for name in names if is_picture(name))
