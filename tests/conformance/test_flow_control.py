# SPDX-License-Identifier: Apache-2.0
"""Layers inside the old control flow, and graphs that come from elsewhere."""

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from test_flow_live import old_control_flow

v1 = tf.compat.v1

WEIGHTS = np.random.RandomState(3).normal(0, 1, (1, 1, 3, 3)).astype(np.float32)


def conv(x, name):
    """A 1x1 convolution."""
    return tf.nn.conv2d(x, tf.constant(WEIGHTS), strides=[1, 1, 1, 1], padding="SAME", name=name)


def quantize(graph, batch_num=1):
    amct.create_quant_config("config.json", graph, batch_num=batch_num)
    amct.quantize_model(graph, "config.json", "record.txt")


def test_a_branch_never_taken_leaves_its_layer_out():
    with tf.Graph().as_default() as graph, old_control_flow():
        x = v1.placeholder(tf.float32, (None,) + models.IMAGE, name="input")
        flag = v1.placeholder(tf.bool, [], name="flag")
        y = v1.cond(flag, lambda: conv(x, "yes"), lambda: conv(x, "no"))
    quantize(graph)
    with v1.Session(graph=graph) as session:
        session.run(y, {x: models.images(8), flag: True})
    amct.save_model(
        models.write_pb(models_definition(), "model.pb"),
        ["output"],
        flushed("record.txt"),
        "model",
    )
    types = models.op_types(models.load("model_quantized.pb"))
    assert sum(op == "AscendDequant" for op in types.values()) == 1
    assert list(models.read_record("record.txt")) == ["cond/yes"]


def models_definition():
    """The same cond, as it would be frozen."""
    with tf.Graph().as_default() as graph, old_control_flow():
        x = v1.placeholder(tf.float32, (None,) + models.IMAGE, name="input")
        flag = v1.placeholder(tf.bool, [], name="flag")
        y = v1.cond(flag, lambda: conv(x, "yes"), lambda: conv(x, "no"))
        tf.identity(y, name="output")
    return graph.as_graph_def()


def flushed(record):
    """The record, with what is complete written."""
    amct._core.flush_calibration(record)
    return record


@pytest.mark.parametrize("imported", [False, True])
def test_layers_in_a_loop_stay_float(imported):
    with tf.Graph().as_default() as graph, old_control_flow():
        x = v1.placeholder(tf.float32, (None,) + models.IMAGE, name="input")
        y = v1.while_loop(
            lambda i, _: i < 3,
            lambda i, value: (i + 1, tf.nn.relu(conv(value, "body"))),
            [0, conv(x, "before")],
            shape_invariants=[tf.TensorShape([]), tf.TensorShape((None,) + models.IMAGE)],
            name="loop",
        )[1]
        tf.identity(y, name="output")
    definition = graph.as_graph_def()
    if imported:
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(definition, name="")
    quantize(graph)
    batch = models.images(4)
    expected = models.run(graph, [batch], "output:0")[0]
    assert list(models.read_record("record.txt")) == ["before"]
    amct.save_model(models.write_pb(definition, "model.pb"), ["output"], "record.txt", "model")
    quantized = models.load("model_quantized.pb")
    types = models.op_types(quantized)
    assert sum(op == "AscendQuant" for op in types.values()) == 1
    found = models.run(quantized, [batch], "output:0")[0]
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_a_graph_imported_under_a_prefix():
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, (None,) + models.IMAGE, name="mine")
        tf.import_graph_def(
            models.graph_of().as_graph_def(), name="net", input_map={models.INPUT: x}
        )
    quantize(graph)
    with v1.Session(graph=graph) as session:
        session.run("net/softmax:0", {x: models.images(8)})
    assert list(models.read_record("record.txt")) == ["net/" + name for name in models.LAYERS]


def test_a_graph_inside_the_users_scopes():
    with tf.Graph().as_default() as graph:
        models.network()
        with graph.name_scope("scope"), graph.device("/device:GPU:0"):
            with graph.control_dependencies([graph.get_operation_by_name("softmax")]):
                quantize(graph)
    observers = [op for op in graph.get_operations() if op.type in ("QuantIfmr", "QuantArq")]
    assert len(observers) == 7
    for op in observers:
        assert op.device == "" and not op.name.startswith("scope/")
    models.run(graph, [models.images(8)])
    assert list(models.read_record("record.txt")) == models.LAYERS


def test_loops_made_of_functions_are_left_alone():
    """tf.while_loop of TensorFlow 2 keeps its body in the function library: nothing to see."""
    if not hasattr(v1, "enable_control_flow_v2") or tf.__version__ < "2":
        pytest.skip("TensorFlow 1.15 has no such loops by default")
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None,) + models.IMAGE, name="input")
        y = conv(x, "outside")
        y = v1.while_loop(
            lambda i, _: i < 3,
            lambda i, value: (i + 1, conv(value, "inside")),
            [0, y],
            shape_invariants=[tf.TensorShape([]), tf.TensorShape((None,) + models.IMAGE)],
        )[1]
        tf.identity(y, name="output")
    quantize(graph)
    models.run(graph, [models.images(4)], "output:0")
    assert list(models.read_record("record.txt")) == ["outside"]
