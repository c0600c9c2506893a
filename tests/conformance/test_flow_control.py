# SPDX-License-Identifier: Apache-2.0
"""Layers inside the old control flow, and graphs that come from elsewhere."""

import json
from pathlib import Path

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


RANDOM = np.random.RandomState(4)
PARAMETERS = {
    "conv": RANDOM.normal(0, 0.4, (3, 3, 3, 3)).astype(np.float32),
    "depthwise": RANDOM.normal(0, 0.4, (3, 3, 3, 1)).astype(np.float32),
    "bias": RANDOM.normal(0, 0.3, 3).astype(np.float32),
    "product": RANDOM.normal(0, 0.4, (3, 3)).astype(np.float32),
}


def turn(value, given):
    """What a loop does in a turn; `given` makes a parameter of a name."""
    value = tf.nn.conv2d(value, given("conv"), strides=[1, 1, 1, 1], padding="SAME", name="conv")
    value = tf.nn.relu(tf.nn.bias_add(value, given("bias"), name="bias"))
    value = v1.nn.depthwise_conv2d_native(value, given("depthwise"), [1, 1, 1, 1], "SAME", name="depthwise")
    value = tf.nn.avg_pool2d(value, 3, 1, "SAME", name="pool")
    flat = tf.matmul(tf.reshape(value, [-1, 3]), given("product"), name="product")
    return tf.nn.relu6(tf.nn.bias_add(tf.reshape(flat, [-1] + list(models.IMAGE)), given("bias")))


def looping(depth, captured):
    """A graph with a loop of three turns, in `depth` loops of two around it."""
    with tf.Graph().as_default() as graph, old_control_flow():
        outer = {name: tf.constant(value, name=name) for name, value in PARAMETERS.items()}

        def given(name):
            return outer[name] if captured else tf.constant(PARAMETERS[name])

        def loop(turns, body, value):
            shapes = [tf.TensorShape([]), tf.TensorShape((None,) + models.IMAGE)]
            return v1.while_loop(
                lambda i, _: i < turns, lambda i, x: (i + 1, body(x)), [0, value], shape_invariants=shapes
            )[1]

        def nest(level, value):
            if level == 0:
                return loop(3, lambda x: turn(x, given), value)
            return loop(2, lambda x: nest(level - 1, x), value)

        x = v1.placeholder(tf.float32, (None,) + models.IMAGE, name="input")
        tf.identity(nest(depth, x), name="output")
    return graph


@pytest.mark.parametrize("optimized", [True, False])
@pytest.mark.parametrize("captured", [True, False])
@pytest.mark.parametrize("depth", [0, 1])
def test_layers_in_loops(depth, captured, optimized):
    """Every turn is a batch; quantized weights and words live where the loop's own constants do."""
    graph = looping(depth, captured)
    definition = graph.as_graph_def()
    batch = models.images(4)
    session_of = v1.Session if optimized else models.plain_session
    with session_of(graph=graph) as session:
        expected = session.run("output:0", {models.INPUT: batch})
    graph = models.load(models.write_pb(definition, "model.pb"))
    quantize(graph, batch_num=3 * 2**depth)
    with session_of(graph=graph) as session:
        observed = session.run("output:0", {models.INPUT: batch})
    np.testing.assert_allclose(observed, expected, rtol=1e-5, atol=1e-5)
    record = models.read_record("record.txt")
    assert [name.split("/")[-1] for name in record] == ["conv", "depthwise", "pool", "product"]
    amct.save_model("model.pb", ["output"], "record.txt", "model")
    quantized = models.load("model_quantized.pb")
    types = models.op_types(quantized)
    assert sum(op == "AscendDequant" for op in types.values()) == 4
    if captured:  # int8 weights are widened once, outside
        weights = [op for op in quantized.get_operations() if op.type == "AscendWeightQuant"]
        assert all(reader.type == "Enter" for op in weights for reader in op.outputs[0].consumers())
    with session_of(graph=quantized) as session:
        found = session.run("output:0", {models.INPUT: batch})
    assert np.abs(found - expected).max() < 0.08 * np.abs(expected).max()


@pytest.mark.parametrize("rounding", ["arq_quantize", "gptq_quantize"])
def test_a_state_that_begins_with_zeros(rounding):
    """Its range is that of many turns, not of the first: a recurrent network keeps its values with one batch."""
    turns, size = 20, 16
    random = np.random.RandomState(0)
    weights = [random.normal(0, 0.25, shape).astype(np.float32) for shape in [(8, size), (size, size), (size, 4)]]
    with tf.Graph().as_default() as graph, old_control_flow():
        x = v1.placeholder(tf.float32, [None, turns, 8], name="input")
        steps = tf.TensorArray(tf.float32, turns).unstack(tf.transpose(x, [1, 0, 2]))

        def body(turn, state):
            return turn + 1, tf.tanh(tf.matmul(steps.read(turn), weights[0]) + tf.matmul(state, weights[1]))

        state = v1.while_loop(lambda turn, _: turn < turns, body, [0, tf.zeros([tf.shape(x)[0], size])])[1]
        tf.matmul(state, weights[2], name="output")
    pb = models.write_pb(graph.as_graph_def(), "model.pb")
    amct.create_quant_config("config.json", graph)
    config = json.loads(Path("config.json").read_text())
    for layer in config.values():
        if isinstance(layer, dict):
            layer["weight_quant_params"]["wts_algo"] = rounding
    Path("config.json").write_text(json.dumps(config))
    amct.quantize_model(graph, "config.json", "record.txt")
    batch = random.normal(0, 1, (64, turns, 8)).astype(np.float32)
    with v1.Session(graph=graph) as session:
        expected = session.run("output:0", {models.INPUT: batch})
    amct.save_model(pb, ["output"], "record.txt", "model")
    with v1.Session(graph=models.load("model_quantized.pb")) as session:
        found = session.run("output:0", {models.INPUT: batch})
    assert 10 * np.log10(np.square(expected).mean() / np.square(found - expected).mean()) > 30


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("captured", [True, False])
def test_layers_in_branches(flag, captured):
    with tf.Graph().as_default() as graph, old_control_flow():
        outer = {name: tf.constant(value, name=name) for name, value in PARAMETERS.items() if captured}
        x = v1.placeholder(tf.float32, (None,) + models.IMAGE, name="input")
        choice = v1.placeholder(tf.bool, [], name="flag")

        def branch():
            return turn(x, lambda name: outer[name] if captured else tf.constant(PARAMETERS[name]))

        tf.identity(v1.cond(choice, branch, lambda: x * 2.0), name="output")
    feed = {models.INPUT: models.images(4), "flag:0": True}
    definition = graph.as_graph_def()
    models.write_pb(definition, "model.pb")
    quantize(graph)
    with v1.Session(graph=graph) as session:
        expected = session.run("output:0", dict(feed, **{"flag:0": flag}))
        session.run("output:0", feed)
    amct.save_model("model.pb", ["output"], "record.txt", "model")
    quantized = models.load("model_quantized.pb")
    assert not any(op.name in ("conv", "product") for op in quantized.get_operations() if op.type == "Const")
    assert sum(op == "AscendDequant" for op in models.op_types(quantized).values()) == 4
    with v1.Session(graph=quantized) as session:
        found = session.run("output:0", dict(feed, **{"flag:0": flag}))
    assert np.abs(found - expected).max() < 0.08 * np.abs(expected).max()


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


def test_a_layer_waits_where_it_runs():
    """What it reads through does not send its data to another device."""
    with tf.Graph().as_default() as graph, tf.device("/device:CPU:0"):
        models.network()
    quantize(graph)
    layers = [graph.get_operation_by_name(name) for name in models.LAYERS]
    waiting = [layer.inputs[0].op for layer in layers]
    assert all(op.type == "Identity" and op.control_inputs for op in waiting)
    assert {op.device for op in waiting} == {"/device:CPU:0"}
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
