# SPDX-License-Identifier: Apache-2.0
"""amct_tensorflow: what is wrong with a command line or its files; each exit code, one line, nothing written."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import models
from amct_tensorflow.cmd_line import samples
from amct_tensorflow.cmd_line.command import main
from amct_tensorflow.errors import FileError
from command_lines import (
    SHAPE,
    batches,
    model,  # noqa: F401
    nothing_written,
    run,
    write_bins,
    write_tfrecord,
    write_uneven_bins,
)
from test_calibration_data import bytes_of, encode

v1 = tf.compat.v1
F32 = np.float32


def unknown_op(data):
    definition = models.graph_of().as_graph_def()
    definition.node.add(name="odd", op="NoSuchOp")
    models.write_pb(definition, "odd.pb")


def records(*values):
    """A TFRecord file with these records."""
    with v1.python_io.TFRecordWriter("x.tfrecord") as writer:
        for value in values:
            writer.write(value)


def example(*texts):
    made = tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
    return tf.train.Example(features=tf.train.Features(feature={"input": made})).SerializeToString()


def picture(name="data/x.png"):
    os.makedirs("data")
    Path(name).write_bytes(encode(bytes_of(1)[0]))


def cut_picture(data):
    picture()
    Path("data/x.png").write_bytes(Path("data/x.png").read_bytes()[:60])


def one_of_many(data):
    """A picture that cannot be read behind one that can."""
    picture("data/a.png")
    Path("data/b.png").write_bytes(b"no picture")


def shapes_differ(data):
    os.mkdir("data")
    np.save("data/1.npy", data[:32])
    np.save("data/2.npy", data[:32, :7])


def flat_input(data):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6], name="flat")
        tf.matmul(x, tf.ones([6, 2]), name="y")
    models.write_pb(graph.as_graph_def(), "flat.pb")
    picture()


def gray_input(data):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 1], name="gray")
        tf.matmul(tf.reshape(x, [-1, 64]), tf.ones([64, 2]), name="y")
    models.write_pb(graph.as_graph_def(), "gray.pb")
    picture()


def cut_short(data):
    write_tfrecord("x.tfrecord", data)
    Path("x.tfrecord").write_bytes(Path("x.tfrecord").read_bytes()[:-5])


def spoilt(data):
    write_tfrecord("x.tfrecord", data)
    text = bytearray(Path("x.tfrecord").read_bytes())
    text[2000] ^= 1
    Path("x.tfrecord").write_bytes(bytes(text))


def png(path, data=b"no picture"):
    os.mkdir("data")
    Path(path).write_bytes(data)


def mixed(data):
    write_uneven_bins(data)
    np.save("data/x.npy", data)


ONE = {"data_dir": "x.tfrecord", "input_shape": "input:1,8,8,3"}
PICTURE = {"input_shape": "input:1,8,8,3"}
FLAT = {"model": "flat.pb", "outputs": "y", "input_shape": "flat:1,6"}
GRAY = {"model": "gray.pb", "outputs": "y", "input_shape": "gray:1,8,8,1", "picture_mean": "1,2,3"}
BY_EVALUATOR = {"evaluator": "none.py", "input_shape": None, "data_dir": None, "data_types": None}

# what is written, changed options, exit code, how the line begins
FAILURES = {
    "no model": (None, {"model": "none.pb"}, 1, "none.pb: No such file"),
    "no pb": (lambda d: Path("bad.pb").write_bytes(b"no graph"), {"model": "bad.pb"}, 1, "bad.pb: no GraphDef"),
    "output": (None, {"outputs": "nothing:0"}, 2, '--outputs: the model has no tensor "nothing:0"'),
    "port": (None, {"outputs": "softmax:3"}, 2, '--outputs: the model has no tensor "softmax:3"'),
    "names": (None, {"outputs": "softmax;"}, 2, "--outputs: an empty name"),
    "input": (None, {"input_shape": "in:32,8,8,3"}, 2, '--input_shape: the model has no tensor "in:0"; its inputs: input'),
    "shape": (None, {"input_shape": "input:32,8,8,4"}, 2, "--input_shape: [32, 8, 8, 4] for input:0, whose shape is"),
    "no shape": (None, {"input_shape": "input"}, 2, '--input_shape: "input" is not like'),
    "sizes": (None, {"input_shape": "input:0,8,8,3"}, 2, "input_shape: [0, 8, 8, 3] of input: sizes over 0 are wanted"),
    "twice": (None, {"input_shape": SHAPE + ";" + SHAPE, "data_types": "float32;float32", "data_dir": "a;b"}, 2, "input_shape: input is named twice"),
    "type": (None, {"data_types": "float33"}, 2, 'data_types: "float33" is no type'),
    "other type": (None, {"data_types": "float64"}, 2, "--data_types: float64 for input:0, which is float32"),
    "lists": (None, {"data_dir": "data;data"}, 2, "2 data_dir for 1 inputs"),
    "batch_num": (None, {"batch_num": "0"}, 2, '--batch_num: "0" is not a number over 0'),
    "config": (write_uneven_bins, {"calibration_config": "none.cfg"}, 1, "none.cfg"),
    "save_path": (None, {"save_path": "p" * 300}, 1, "--save_path: the file name is longer"),
    "no folder": (None, {"data_dir": "none"}, 1, "none: no such file or folder"),
    "empty folder": (lambda d: os.mkdir("data"), {}, 1, "data: no calibration data"),
    "mixed": (mixed, {}, 2, "data: of two kinds"),
    "few": (lambda d: write_uneven_bins(d[:40]), {"batch_num": "2"}, 2, "data: 40 samples, where 2 batches of 32 take 64"),
    "bytes": (lambda d: png("data/x.bin", b"12345"), {}, 1, "data/x.bin: 5 bytes are not a number of samples of float32"),
    "npy": (lambda d: png("data/x.npy"), {}, 1, "data/x.npy: "),
    "npy shape": (lambda d: np.save("x.npy", d[:, :7]), {"data_dir": "x.npy"}, 1, "x.npy: shape [64, 7, 8, 3], where samples of [8, 8, 3]"),
    "npy type": (lambda d: np.save("x.npy", d.astype(complex)), {"data_dir": "x.npy"}, 1, "x.npy: complex128"),
    "pickle": (lambda d: np.save("x.npy", np.array([{}]), allow_pickle=True), {"data_dir": "x.npy"}, 1, "x.npy: "),
    "npz names": (lambda d: np.savez("x.npz", a=d, b=d), {"data_dir": "x.npz"}, 1, 'x.npz: no array "input" among a, b'),
    "picture": (lambda d: png("data/x.png"), {"input_shape": "input:1,8,8,3"}, 1, "data/x.png: no picture that can be read"),
    "mean": (None, {"picture_mean": "1,2"}, 2, '--picture_mean: "1,2" is neither one finite number nor three'),
    "cut short": (cut_short, {"data_dir": "x.tfrecord"}, 1, "x.tfrecord: no TFRecord file, or cut short: record 63 ends"),
    "spoilt": (spoilt, {"data_dir": "x.tfrecord"}, 1, "x.tfrecord: record 2: corrupted record"),
    "key": (lambda d: write_tfrecord("x.tfrecord", d, "other"), {"data_dir": "x.tfrecord"}, 1, 'x.tfrecord: record 0: no feature "input" among other'),
    "values": (lambda d: write_tfrecord("x.tfrecord", d[:, 0]), {"data_dir": "x.tfrecord"}, 1, 'x.tfrecord: record 0: feature "input": 24 values for 192'),
    "no records": (lambda d: png("data/x.tfrecord", b""), {}, 1, "data/x.tfrecord: no records"),
    "infinite": (lambda d: write_uneven_bins(d * F32(np.inf)), {}, 1, "TensorFlow: "),
    "unknown op": (unknown_op, {"model": "odd.pb"}, 1, "odd.pb: "),
    "no evaluator": (None, BY_EVALUATOR, 1, "--evaluator: none.py: no Python file"),
    "counts": (None, {"data_types": "float32;float32"}, 2, "2 data_types for 1 inputs: one for each, in their order"),
    "several": (None, {"input_shape": "input:32,8,8,3;input:1:32"}, 2, "1 data_types for 2 inputs"),
    "shapes differ": (shapes_differ, {"batch_num": "2"}, 1, "data/2.npy: shape [32, 7, 8, 3], where samples of [8, 8, 3] are wanted"),
    "cut picture": (cut_picture, PICTURE, 1, "data/x.png: no picture that can be read: "),
    "second picture": (one_of_many, dict(PICTURE, batch_num="2"), 1, "data/b.png: no picture that can be read: "),
    "no shape of a picture": (flat_input, FLAT, 2, "data: pictures do not fit a sample of shape [6]: [H, W, C] or [C, H, W] with C 1 or 3 is wanted"),
    "one channel": (gray_input, GRAY, 2, "data: three means or scales for one channel"),
    "scale": (None, {"picture_scale": "one"}, 2, '--picture_scale: "one" is neither one finite number nor three'),
    "order": (None, {"picture_resize": "tile"}, 2, '--picture_resize: "tile" is neither stretch nor crop'),
    "no example": (lambda d: records(b"\xff\xff"), ONE, 1, "x.tfrecord: record 0: no tf.train.Example: "),
    "two texts": (lambda d: records(example(b"a", b"b")), ONE, 1, 'x.tfrecord: record 0: feature "input": 2 texts for one'),
    "text of a picture": (lambda d: records(example(b"no picture")), ONE, 1, 'x.tfrecord: record 0: feature "input": no picture that can be read: '),
    "empty feature": (lambda d: records(example()), ONE, 1, 'x.tfrecord: record 0: feature "input": 0 texts for one'),
    "not a kind": (lambda d: Path("x.txt").write_text("1"), {"data_dir": "x.txt"}, 1, "x.txt: no calibration data: .bin, .npy, .npz, .tfrecord, or pictures"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(FAILURES))
def test_failures(case, capfd):
    """The exit code, one line that names what is wrong, and nothing written."""
    write, more, code, said = FAILURES[case]
    if write:
        write(np.concatenate(batches()))
    assert run(**more) == code
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("amct_tensorflow: ")]
    assert len(errors) == 1 and errors[0].startswith("amct_tensorflow: " + said), errors
    assert "Graph execution error" not in errors[0]
    assert nothing_written()


def test_a_file_that_shrinks():
    """While it is in use."""
    write_bins(count=1)
    source = samples.open_source(samples.Input("x:0", (32, 8, 8, 3), np.dtype(F32), "data"))
    source.take(4)
    os.truncate("data/0.bin", 5000)
    with pytest.raises(FileError, match="^data/0.bin: it became shorter while it was read$"):
        source.take(4)


def test_option_without_effect(capfd):
    write_bins(count=1)
    assert run(feature="3") == 0
    assert "--feature changes nothing here" in "".join(capfd.readouterr())


def test_evaluator_that_fails_in_a_way_of_its_own(capfd):
    """Its traceback, and a line that says that it is the reason."""
    text = "class Evaluator(object):\n    def calibration(self, graph, outputs):\n        raise {}('of mine')\n\n\nchosen = Evaluator()\n"
    for kind, last in (("RuntimeError", "the error above ended it"), ("ValueError", "of mine")):
        Path("e.py").write_text(text.format(kind))
        assert run(evaluator="e.py", input_shape=None, data_dir=None, data_types=None) == 1
        error = capfd.readouterr().err
        assert kind + ": of mine" in error and error.endswith("amct_tensorflow: {}\n".format(last))
    assert nothing_written()


CONVERT = {
    "--model none.pb --outputs y --save_path q": (1, "none.pb: No such file or directory"),
    "--model m.pb --outputs none --save_path q": (2, 'outputs: m.pb has no node "none"'),
    "--model m.pb --outputs softmax; --save_path q": (2, "--outputs: an empty name; see 'amct_tensorflow convert --help'"),
    "--model m.pb --outputs softmax": (2, "--save_path P is missing; see 'amct_tensorflow convert --help'"),
    "--model m.pb --outputs softmax --save_path q --data_dir d": (2, "--data_dir: no such option; see 'amct_tensorflow convert --help'"),
}


@pytest.mark.parametrize("text", sorted(CONVERT))
def test_convert(text, capfd):
    code, said = CONVERT[text]
    assert main(["convert"] + text.split()) == code
    assert capfd.readouterr().err.splitlines()[-1] == "amct_tensorflow: " + said
    assert not [name for name in os.listdir(".") if name.startswith("q")]
