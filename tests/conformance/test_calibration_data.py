# SPDX-License-Identifier: Apache-2.0
"""Calibration data of every kind gives the same samples; how pictures are prepared."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from amct_tensorflow.cmd_line import samples
from amct_tensorflow.cmd_line.pictures import Preparation
from command_lines import batches, by_script, model, run, write_tfrecord, write_uneven_bins  # noqa: F401

v1 = tf.compat.v1
F32 = np.float32


def write_npy(data):
    os.mkdir("data")
    np.save("data/a.npy", data[:40])
    np.save("data/b.npy", data[40:41][0])  # a sample alone
    np.save("data/c.npy", data[41:].astype(np.float64))


def write_npz(data):
    np.savez("data.npz", input=data, other=np.zeros(3))


def write_floats(data):
    os.mkdir("data")
    write_tfrecord("data/x-00000.tfrecord", data[:30])
    write_tfrecord("data/x-00001.tfrecord", data[30:])


def write_raw(data):
    os.makedirs("data/deep")
    write_tfrecord("data/deep/x.tfrecord", [value.tobytes() for value in data], "raw")


KINDS = {
    "npy": (write_npy, {}),
    "npz": (write_npz, {"data_dir": "data.npz"}),
    "floats": (write_floats, {}),
    "raw": (write_raw, {"tfrecord_key": "raw"}),
    "bins": (write_uneven_bins, {}),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_kinds(kind, capfd):
    """Each kind of file gives the same samples."""
    write, more = KINDS[kind]
    write(np.concatenate(batches()))
    assert run(batch_num="2", **more) == 0
    assert " 64 samples in " in "".join(capfd.readouterr())
    assert Path("record.txt").read_bytes() == by_script(batches())


def encode(picture, form="png"):
    with tf.Graph().as_default(), v1.Session() as session:
        return session.run(getattr(v1.image, "encode_" + form)(picture))


def bytes_of(count, height=8, width=8, channels=3):
    return np.random.RandomState(3).randint(0, 256, (count, height, width, channels)).astype(np.uint8)


def taken(shape, path, how=None, dtype=F32, count=None):
    of = samples.Input("x:0", (1,) + shape, np.dtype(dtype), path)
    source = samples.open_source(of, how)
    return source.take(count or source.count)


def test_pictures(capfd):
    """A folder of pictures, prepared as stated; the same from TFRecords."""
    pictures = bytes_of(32)
    os.mkdir("data")
    for i, picture in enumerate(pictures):
        Path("data/{:02}.png".format(i)).write_bytes(encode(picture))
    assert run(picture_mean="127.5", picture_scale="0.0078431", picture_order="BGR") == 0
    assert "data: 32 samples in 32 picture files for input:0: stretched to the shape, BGR, (byte - 127.5) * 0.0078431" in (
        "".join(capfd.readouterr())
    )
    prepared = (pictures[..., ::-1].astype(F32) - F32(127.5)) * F32(0.0078431)
    assert Path("record.txt").read_bytes() == by_script([prepared])
    write_tfrecord("p.tfrecord", [encode(picture) for picture in pictures], "image/encoded")
    assert np.array_equal(taken((8, 8, 3), "p.tfrecord"), pictures.astype(F32))


def bilinear(picture, height, width):
    """Half-pixel centres, in double."""
    def weights(to, have):
        at = np.clip((np.arange(to) + 0.5) * have / to - 0.5, 0, None)
        low = np.minimum(at.astype(int), have - 1)
        matrix = np.zeros((to, have))
        np.add.at(matrix, (np.arange(to), low), 1 - (at - low))
        np.add.at(matrix, (np.arange(to), np.minimum(low + 1, have - 1)), at - low)
        return matrix

    rows, columns = weights(height, picture.shape[0]), weights(width, picture.shape[1])
    return np.einsum("ab,bdc,ed->aec", rows, picture.astype(float), columns)


def test_preparation_of_pictures():
    picture = bytes_of(1, 20, 31)[0]
    Path("p.png").write_bytes(encode(picture))
    stretched = taken((9, 7, 3), "p.png")[0]
    assert np.abs(stretched - bilinear(picture, 9, 7)).max() < 1e-3
    # 9 x 7 covers 20 x 16 of 20 x 31
    crop = taken((9, 7, 3), "p.png", Preparation(resize="crop"))[0]
    assert np.abs(crop - bilinear(picture[:, 7:23], 9, 7)).max() < 1e-3
    first = taken((3, 20, 31), "p.png", Preparation(mean=(1, 2, 3), scale=(2.0, 1.0, 0.5)))[0]
    assert np.array_equal(first, ((picture - F32([1, 2, 3])) * F32([2, 1, 0.5])).transpose(2, 0, 1))
    assert np.array_equal(taken((20, 31, 3), "p.png", dtype=np.uint8)[0], picture)
    gray = bytes_of(1, 6, 6, 1)[0]
    Path("g.png").write_bytes(encode(gray))
    assert np.array_equal(taken((6, 6, 1), "g.png")[0], gray)
    Path("p.jpg").write_bytes(encode(picture, "jpeg"))
    assert taken((20, 31, 3), "p.jpg").shape == (1, 20, 31, 3)
