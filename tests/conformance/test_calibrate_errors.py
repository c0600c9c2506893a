# SPDX-License-Identifier: Apache-2.0
"""`amct calibrate`: errors that the inference library itself has; and of the C API, which the command line does not let through."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
from models import OUTPUT, images, load, write_pb
from test_calibrate import PROGRAM, calibrate, with_openvino, with_tensorflow, write_models
from test_flow_live import old_control_flow

v1 = tf.compat.v1
COMMON = ("--model", "net.pb", "--outputs", OUTPUT, "--data", "x.npy", "--save_path", "c")
TENSORFLOW = COMMON + ("--engine", "tensorflow")
NOTHING = ["net.pb", "x.npy"]


@pytest.fixture(autouse=True)
def model():
    write_models()
    np.save("x.npy", images(4))


def written():
    return sorted(name for name in os.listdir(".") if name not in NOTHING + ["lib", "bin", "packages"])


def fails(*arguments):
    """What it says, in one line."""
    code, _, err = calibrate(*arguments)
    assert code == 1 and err.count("\n") == 1, err
    return err


@with_openvino
@with_tensorflow
def test_layers_in_loops():
    """Nobody can fetch what they read: TensorFlow runs observers there, and `auto` takes it."""
    with tf.Graph().as_default() as graph, old_control_flow():
        x = v1.placeholder(tf.float32, [None, 4], name="input")
        weight = np.eye(4, dtype=np.float32)
        turns = v1.while_loop(
            lambda turn, _: turn < 3, lambda turn, y: (turn + 1, tf.matmul(y, weight, name="product")), [0, x]
        )
        tf.identity(turns[1], name="y")
    write_pb(graph.as_graph_def(), "net.pb")
    np.save("x.npy", np.ones((8, 4), np.float32))
    looping = ("--model", "net.pb", "--outputs", "y", "--data", "x.npy", "--save_path", "c", "--engine")
    said = fails(*looping, "openvino")
    assert said == 'amct: layer "while/product" is inside a while loop, where no engine but tensorflow looks: take that, or leave the layer float\n'
    code, out, _ = calibrate(*looping, "auto")
    assert code == 0 and "run by TensorFlow" in out and "1 of 1 layers are calibrated" in out


@with_tensorflow
def test_no_ops_library(monkeypatch):
    """Not beside the program, which is alone in its folder, nor in the package, which is not beside TensorFlow."""
    for folder in ("bin", "lib", "packages"):
        os.makedirs(folder)
    os.symlink(os.path.dirname(tf.__file__), "packages/tensorflow")
    monkeypatch.setattr("test_calibrate.PACKAGES", os.path.abspath("packages"))
    alone = shutil.copy(PROGRAM, "bin/amct")
    monkeypatch.setattr("test_calibrate.PROGRAM", os.path.abspath(alone))
    monkeypatch.setenv("AMCT_LIB_DIR", os.path.abspath("lib"))
    said = fails(*TENSORFLOW)
    assert said.startswith("amct: libamct_tf_ops.so, which TensorFlow needs to run the observers, is not beside this program and not in ")
    assert said.endswith(": name its folder in AMCT_LIB_DIR\n")
    assert written() == []


@with_tensorflow
def test_an_ops_library_that_is_none(monkeypatch):
    os.makedirs("lib")
    with open("lib/libamct_tf_ops.so", "w") as file:
        file.write("no library")
    monkeypatch.setenv("AMCT_LIB_DIR", os.path.abspath("lib"))
    said = fails(*TENSORFLOW)
    assert said.startswith("amct: TensorFlow cannot load the ops: ") and "file too short" in said
    assert written() == []


@with_tensorflow
def test_a_graph_that_tensorflow_does_not_read():
    """An op that it does not know, which the outputs need."""
    definition = load("net.pb").as_graph_def()
    for node in definition.node:
        if node.op == "Softmax":
            node.op = "NoSuchOp"
    write_pb(definition, "net.pb")
    assert fails(*TENSORFLOW).startswith("amct: TensorFlow cannot read the graph: Op type not registered 'NoSuchOp'")
    assert written() == []


@with_tensorflow
def test_a_graph_that_does_not_run():
    """It says so once the first batch is there; the record holds nothing."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, None, name="input")
        tf.matmul(tf.reshape(x, (7, 5)), np.ones((5, 2), np.float32), name=OUTPUT)
    write_pb(graph.as_graph_def(), "net.pb")
    said = fails(*TENSORFLOW)
    assert "Input to reshape is a tensor with 768 values, but the requested shape has 35" in said
    assert written() == ["c_record.txt"] and os.path.getsize("c_record.txt") == 0


@with_openvino
def test_an_input_that_openvino_does_not_have():
    """A default, which it takes for a constant."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 4), name="x")
        scale = v1.placeholder_with_default(np.ones((1, 4), np.float32), (None, 4), name="scale")
        tf.matmul(x * scale, np.ones((4, 2), np.float32), name=OUTPUT)
    write_pb(graph.as_graph_def(), "net.pb")
    np.save("x.npy", np.ones((2, 4), np.float32))
    code, _, err = calibrate(
        "--model", "net.pb", "--outputs", OUTPUT, "--data", "x=x.npy;scale=x.npy", "--save_path", "c", "--engine", "openvino",
    )  # fmt: skip
    assert (code, err) == (1, 'amct: OpenVINO has no input "scale": it takes its default\n')
    assert "c_record.txt" not in os.listdir(".")


def test_what_a_program_may_say():
    """Of the C API."""
    for arguments, more, said in (
        ((["none"], ["x.npy"], "c"), {}, 'outputs: net.pb has no node "none"'),
        (([], ["x.npy"], "c"), {}, "outputs is empty: name the output nodes"),
        (([OUTPUT], [], "c"), {}, "data is empty: name files"),
        (([OUTPUT], ["x.npy"], "c"), {"batch_size": -1}, "batch_size or batch_num is below 0"),
        (([OUTPUT], ["x.npy"], "c"), {"engine": "onnx"}, 'engine "onnx": there are auto, openvino, tensorflow'),
    ):
        with pytest.raises(amct.errors.ArgumentError) as caught:
            amct._core.calibrate("net.pb", *arguments, **more)
        assert str(caught.value) == said
    assert written() == []
