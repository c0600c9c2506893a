# SPDX-License-Identifier: Apache-2.0
"""Whole graphs as people have them: quantized, run, close to float."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from test_flow_live import old_control_flow

v1 = tf.compat.v1
F32 = np.float32
RANDOM = np.random.RandomState(11)


def conv(x, channels, name, size=3, stride=1, bias=True):
    """Conv2D, BiasAdd."""
    fan_in = size * size * int(x.shape[-1])
    w = (RANDOM.standard_normal((size, size, int(x.shape[-1]), channels)) / np.sqrt(fan_in)).astype(F32)
    x = tf.nn.conv2d(x, w, strides=[1, stride, stride, 1], padding="SAME", name=name)
    return tf.nn.bias_add(x, RANDOM.normal(0, 0.2, channels).astype(F32), name=name + "/bias") if bias else x


def normalized(x, name):
    values = [RANDOM.uniform(0.5, 1.5, int(x.shape[-1])).astype(F32) for _ in range(4)]
    return v1.nn.fused_batch_norm(x, *values, is_training=False, name=name)[0]


def unknown_sizes():
    x = v1.placeholder(tf.float32, (None, None, None, 3), name="x")
    y = tf.nn.relu6(normalized(conv(x, 8, "a", bias=False), "a/bn"))
    y = tf.nn.avg_pool2d(y, 2, 2, "SAME", name="pool")
    y = tf.reduce_mean(conv(y, 16, "b"), [1, 2])
    tf.matmul(y, tf.constant(RANDOM.normal(0, 0.3, (16, 5)).astype(F32)), name="logits")
    return {"x:0": RANDOM.uniform(-1, 1, (3, 17, 23, 3)).astype(F32)}, ["logits"], 4


def several_inputs_and_outputs():
    x = v1.placeholder(tf.float32, (None, 12, 12, 3), name="x")
    z = v1.placeholder(tf.float32, (None, 7), name="z")
    a = tf.nn.relu(conv(x, 8, "a"))
    b = conv(a, 8, "b")  # an output, and read on
    c = tf.nn.relu(b) + a
    d = conv(c, 4, "head/classes", size=1)
    e = conv(c, 6, "head/boxes", size=1, bias=False)
    f = tf.matmul(z, tf.constant(RANDOM.normal(0, 0.3, (7, 4)).astype(F32)), name="side")
    tf.add(tf.reduce_mean(d, [1, 2]), f, name="sum")
    assert e.op.name == "head/boxes"
    feeds = {"x:0": RANDOM.uniform(-1, 1, (3, 12, 12, 3)).astype(F32), "z:0": RANDOM.normal(0, 1, (3, 7)).astype(F32)}
    return feeds, ["b/bias", "head/classes/bias", "head/boxes", "sum"], 5


def uint8_pictures():
    x = v1.placeholder(tf.uint8, (None, None, None, 3), name="x")
    y = v1.image.resize_bilinear(tf.cast(x, tf.float32), [24, 24])
    y = tf.subtract(tf.multiply(y, 1 / 127.5), 1.0)
    y = tf.nn.relu6(normalized(conv(y, 8, "a", stride=2), "a/bn"))
    tf.argmax(tf.reduce_mean(conv(y, 10, "b"), [1, 2]), 1, name="class")
    tf.nn.softmax(tf.reduce_mean(y, [1, 2]), name="probability")
    return {"x:0": RANDOM.randint(0, 256, (4, 30, 40, 3)).astype(np.uint8)}, ["probability"], 1


def detector():
    """A network, then decoding, scores above a threshold and suppression, with control flow of the old kind."""
    x = v1.placeholder(tf.float32, (1, 16, 16, 3), name="x")
    y = tf.nn.relu6(normalized(conv(x, 12, "base", stride=2), "base/bn"))
    boxes = tf.reshape(conv(y, 4, "boxes"), [-1, 4], name="raw_boxes")
    scores = tf.reshape(tf.sigmoid(conv(y, 1, "scores")), [-1], name="raw_scores")
    with old_control_flow():
        limit = v1.cond(tf.reduce_max(scores) > 0.5, lambda: tf.constant(0.4), lambda: tf.constant(0.1))
        count = v1.while_loop(
            lambda i, _: i < 64,
            lambda i, n: (i + 1, n + tf.cast(tf.gather(scores, i) > limit, tf.int32)),
            [tf.constant(0), tf.constant(0)],
        )[1]
    kept = tf.image.non_max_suppression(boxes, scores, 10)
    tf.gather(boxes, kept, name="kept_boxes")
    tf.identity(count, name="count")
    return {"x:0": RANDOM.uniform(-1, 1, (1, 16, 16, 3)).astype(F32)}, ["raw_boxes", "raw_scores"], 3


def shared():
    """One weight in two layers, one input in three, a residual, a chain of layers without anything between."""
    x = v1.placeholder(tf.float32, (None, 10, 10, 8), name="x")
    w = tf.constant(RANDOM.normal(0, 0.12, (3, 3, 8, 8)).astype(F32), name="w")
    a, b = (tf.nn.conv2d(t, w, strides=[1, 1, 1, 1], padding="SAME") for t in (x, tf.nn.relu(x)))
    c = normalized(tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME"), "bn")
    pooled = tf.nn.max_pool2d(x, 3, 1, "SAME")
    d = conv(conv(conv(a + b + c + pooled, 8, "d", bias=False), 8, "e"), 8, "f", bias=False)
    tf.identity(d, name="y")
    return {"x:0": RANDOM.uniform(-2, 2, (4, 10, 10, 8)).astype(F32)}, ["y"], 6


GRAPHS = [unknown_sizes, several_inputs_and_outputs, uint8_pictures, detector, shared]


@pytest.mark.parametrize("build", GRAPHS, ids=lambda f: f.__name__)
def test_close_to_float(build):
    with tf.Graph().as_default() as graph:
        feeds, outputs, layers = build()
        extra = [n for n in ("kept_boxes", "count", "class") if n in [op.name for op in graph.get_operations()]]
    pb = models.write_pb(graph.as_graph_def(), "model.pb")
    fetches = [name + ":0" for name in outputs + extra]
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "record.txt")
    with v1.Session(graph=graph) as session:
        expected = session.run(fetches, feeds)
    amct.save_model(pb, outputs + extra, "record.txt", "m")
    quantized = models.load("m_quantized.pb")
    types = models.op_types(quantized)
    assert sum(op == "AscendDequant" for op in types.values()) >= layers
    assert not any("BatchNorm" in op for op in types.values())
    with v1.Session(graph=quantized) as session:
        found = session.run(fetches, feeds)
    for name, a, b in zip(outputs, found, expected):
        assert a.shape == b.shape
        assert np.abs(a - b).max() < 0.1 * np.abs(b).max(), name
    for a, b in zip(found[len(outputs) :], expected[len(outputs) :]):
        assert a.dtype == b.dtype


def test_a_function_library_is_kept(capfd):
    """Functions and who calls them pass through; the layers outside are quantized."""
    if tf.__version__ < "2":
        pytest.skip("TensorFlow 1.15 inlines its functions")
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 8, 8, 3), name="x")

        @tf.function(autograph=False)
        def inside(t):
            return conv(tf.nn.relu(t), 4, "inside")

        tf.identity(inside(conv(x, 6, "outside")), name="y")
    definition = graph.as_graph_def()
    assert len(definition.library.function) >= 1
    pb = models.write_pb(definition, "model.pb")
    batch = RANDOM.uniform(-1, 1, (4, 8, 8, 3)).astype(F32)
    amct.create_quant_config("config.json", graph)
    assert "1 more layers stay float: they are in functions" in capfd.readouterr().err
    amct.quantize_model(graph, "config.json", "record.txt")
    with v1.Session(graph=graph) as session:
        expected = session.run("y:0", {"x:0": batch})
    amct.save_model(pb, ["y"], "record.txt", "m")
    saved = v1.GraphDef.FromString(Path("m_quantized.pb").read_bytes())
    assert saved.library == definition.library
    with v1.Session(graph=models.load("m_quantized.pb")) as session:
        found = session.run("y:0", {"x:0": batch})
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def channels_first(x, name, layer, weight):
    op = x.graph.create_op(
        layer,
        [x, tf.constant(weight)],
        [tf.float32],
        name=name,
        attrs={
            "T": v1.AttrValue(type=tf.float32.as_datatype_enum),
            "strides": v1.AttrValue(list=v1.AttrValue.ListValue(i=[1, 1, 1, 1])),
            "padding": v1.AttrValue(s=b"SAME"),
            "data_format": v1.AttrValue(s=b"NCHW"),
        },
    )
    return op.outputs[0]


@pytest.mark.parametrize("layer", ["Conv2D", "DepthwiseConv2dNative"])
@pytest.mark.parametrize("norm", [True, False])
def test_channels_first_by_structure(layer, norm):
    """NCHW, which CPUs do not run: nodes, attributes and constants are those of the NHWC twin."""
    weight = RANDOM.normal(0, 0.4, (3, 3, 4, 2)).astype(F32)
    count = 8 if layer.startswith("Depth") else 2
    scales = np.abs(weight).max((0, 1) if count == 8 else (0, 1, 2)).reshape(-1) / 127 * 2

    def build(nchw):
        with tf.Graph().as_default() as graph:
            shape = (None, 4, 8, 8) if nchw else (None, 8, 8, 4)
            x = v1.placeholder(tf.float32, shape, name="x")
            if nchw:
                y = channels_first(x, "layer", layer, weight)
            elif count == 8:
                y = v1.nn.depthwise_conv2d_native(x, weight, [1, 1, 1, 1], "SAME", name="layer")
            else:
                y = tf.nn.conv2d(x, weight, strides=[1, 1, 1, 1], padding="SAME", name="layer")
            form = "NCHW" if nchw else "NHWC"
            if norm:
                y = v1.nn.fused_batch_norm(y, *[np.ones(count, F32)] * 4, is_training=False, data_format=form)[0]
            else:
                y = tf.nn.bias_add(y, np.ones(count, F32), data_format=form)
            tf.nn.relu(y, name="y")
        models.write_pb(graph.as_graph_def(), form + ".pb")
        amct.convert_model(form + ".pb", ["y"], "record.txt", form)
        return v1.GraphDef.FromString(Path(form + "_quantized.pb").read_bytes())

    text = 'record { key: "layer" value { scale_d: 0.1 offset_d: 3 '
    text += " ".join("scale_w: {:.9g} offset_w: 0".format(s) for s in scales) + " } }"
    Path("record.txt").write_text(text)
    first, last = build(True), build(False)
    assert [n.op for n in first.node] == [n.op for n in last.node]
    for a, b in zip(first.node, last.node):
        assert list(a.input) == list(b.input) and a.attr["value"] == b.attr["value"]
        if a.op in ("AscendDequant", "BiasAdd", layer):
            assert a.attr["data_format"].s == b"NCHW" and b.attr["data_format"].s in (b"NHWC", b"")
