# SPDX-License-Identifier: Apache-2.0
"""Each kind of layer in each situation: the simulated output is a NumPy quantization of the same layer."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from test_deploy import attributes, away
from test_flow_live import old_control_flow

v1 = tf.compat.v1
F32 = np.float32

KINDS = ["Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3D", "MatMul", "BatchMatMul", "BatchMatMulV2",
         "AvgPool"]  # fmt: skip
SITUATIONS = ["plain", "shared input", "shared weight", "several consumers", "model output", "loop", "cond"]
SHAPES = {"Conv3D": (2, 3, 4, 5, 4), "MatMul": (6, 4), "BatchMatMul": (6, 4), "BatchMatMulV2": (2, 3, 4, 4)}
WEIGHTS = {"Conv2D": (3, 2, 4, 4), "DepthwiseConv2dNative": (2, 3, 4, 1), "Conv2DBackpropInput": (3, 3, 4, 4),
           "Conv3D": (2, 3, 3, 4, 4)}  # fmt: skip
CHANNEL_AXES = {"Conv2D": (3,), "DepthwiseConv2dNative": (2, 3), "Conv2DBackpropInput": (2,), "Conv3D": (4,)}


def apply(kind, x, w, name=None):
    """The layer on tensors of any type; the output has the shape of the input."""
    ones = [1] * (5 if kind == "Conv3D" else 4)
    if kind == "Conv2D":
        return tf.nn.conv2d(x, w, strides=ones, padding="SAME", name=name)
    if kind == "DepthwiseConv2dNative":
        return v1.nn.depthwise_conv2d_native(x, w, ones, "SAME", name=name)
    if kind == "Conv3D":
        return tf.nn.conv3d(x, w, strides=ones, padding="SAME", name=name)
    if kind == "AvgPool":
        return tf.nn.avg_pool2d(x, 3, 1, "SAME", name=name)
    if kind == "MatMul":
        return tf.matmul(x, w, name=name)
    values = attributes(T=x.dtype)
    inputs = [x, w]
    if kind == "Conv2DBackpropInput":
        values = attributes(T=x.dtype, strides=ones, padding=b"SAME")
        inputs = [tf.constant([2, 5, 6, 4]), w, x]
    return tf.identity(x).graph.create_op(kind, inputs, [x.dtype], name=name, attrs=values).outputs[0]


class Layer:
    """Parameters and factors of one layer, and its integer arithmetic in NumPy and float64."""

    def __init__(self, kind, random, biased):
        self.kind = kind
        self.w = random.normal(0, 0.4, WEIGHTS.get(kind, (4, 4))).astype(F32)
        self.b = random.normal(0, 0.5, 4).astype(F32) if biased else None
        self.scale_d, self.offset_d = F32(random.uniform(0.01, 0.03)), int(random.randint(-100, 100))
        axes = CHANNEL_AXES.get(kind, ()) if random.randint(2) else ()
        rest = tuple(i for i in range(self.w.ndim) if i not in axes)
        self.scale_w = np.abs(self.w).max(rest, keepdims=True).astype(F32) / F32(127)

    def record(self, name):
        text = 'record {{ key: "{}" value {{ scale_d: {:.9g} offset_d: {} '.format(name, self.scale_d, self.offset_d)
        if self.kind != "AvgPool":
            text += " ".join("scale_w: {:.9g} offset_w: 0".format(s) for s in self.scale_w.reshape(-1))
        return text + " } }\n"

    def accumulate(self, x, w):
        with tf.Graph().as_default(), v1.Session() as session:
            return session.run(apply(self.kind, tf.constant(x.astype(np.float64)), tf.constant(w.astype(np.float64))))

    def __call__(self, x, join_bias):
        """What the quantized layer gives, float32; the bias in integers if `join_bias`."""
        steps = away(x * F32(F32(1) / self.scale_d)) + F32(self.offset_d)
        x = np.clip(steps, -128, 127) - F32(self.offset_d)
        if self.kind == "AvgPool":
            y = self.accumulate(x, self.w).astype(F32)
            return (y.astype(np.float64) * 9 * self.scale_d / 9).astype(F32)
        q = np.clip(away(self.w / self.scale_w), -128, 127)
        step = (self.scale_d * self.scale_w).reshape(-1)
        total = self.accumulate(x, q)
        if self.b is not None and join_bias:
            total = total + away(self.b.astype(np.float64) / step)
        assert np.abs(total).max() < 2**24
        y = total.astype(F32) * step
        return y if self.b is None or join_bias else y + self.b

    def build(self, x, name, w=None, b=None):
        """The layer and its BiasAdd in a graph; returns both outputs."""
        y = apply(self.kind, x, tf.constant(self.w) if w is None else w, name)
        if self.b is None:
            return y, y
        return y, tf.nn.bias_add(y, tf.constant(self.b) if b is None else b)


class Case:
    """A graph around one or two layers, and what it must give."""

    def __init__(self, kind, situation, biased, seed):
        random = np.random.RandomState(hash_of(kind, situation, biased, seed))
        self.situation = situation
        self.first, self.second = (Layer(kind, random, biased and kind != "AvgPool") for _ in range(2))
        self.x = random.uniform(-2, 2, SHAPES.get(kind, (2, 5, 6, 4))).astype(F32)
        self.names, self.outputs = ["layer/op"], ["y"]

    def graph(self):
        with tf.Graph().as_default() as graph, old_control_flow():
            x = v1.placeholder(tf.float32, (None,) + self.x.shape[1:], name="x")
            getattr(self, "make_" + self.situation.replace(" ", "_"))(x)
        return graph

    def make_plain(self, x):
        tf.nn.relu(self.first.build(x, "layer/op")[1], name="y")
        self.expect = lambda: np.maximum(self.first(self.x, True), 0)

    def make_shared_input(self, x):
        self.names = ["layer/op", "other/op"]
        self.second.scale_d, self.second.offset_d = self.first.scale_d, self.first.offset_d
        tf.add(self.first.build(x, "layer/op")[1], self.second.build(x, "other/op")[1], name="y")
        self.expect = lambda: self.first(self.x, True) + self.second(self.x, True)

    def make_shared_weight(self, x):
        self.names = ["layer/op", "other/op"]
        self.second.w, self.second.scale_w = self.first.w, self.first.scale_w * F32(1.5)
        w = tf.constant(self.first.w)
        a, b = self.first.build(x, "layer/op", w)[1], self.second.build(tf.nn.relu(x), "other/op", w)[1]
        tf.add(a, b, name="y")
        self.expect = lambda: self.first(self.x, True) + self.second(np.maximum(self.x, 0), True)

    def make_several_consumers(self, x):
        layer, biased = self.first.build(x, "layer/op")
        tf.add(tf.nn.relu(layer), biased, name="y")

        def expect():
            with_bias = self.first(self.x, False)
            self.first.b = None
            return np.maximum(self.first(self.x, False), 0) + with_bias

        self.expect = expect

    def make_model_output(self, x):
        self.outputs = [self.first.build(x, "layer/op")[1].op.name]
        self.expect = lambda: self.first(self.x, True)

    def make_loop(self, x):
        self.names = ["while/layer/op"]
        shapes = [tf.TensorShape([]), x.shape]
        w, b = tf.constant(self.first.w), None if self.first.b is None else tf.constant(self.first.b)
        y = v1.while_loop(
            lambda i, _: i < 2,
            lambda i, t: (i + 1, tf.tanh(tf.reshape(self.first.build(t, "layer/op", w, b)[1], tf.shape(t)))),
            [0, x],
            shape_invariants=shapes,
        )[1]
        tf.identity(y, name="y")
        self.expect = lambda: self.turn(self.turn(self.x))

    def turn(self, x):
        """tanh by TensorFlow itself, whose last bits are its own."""
        with tf.Graph().as_default(), v1.Session() as session:
            return session.run(tf.tanh(tf.constant(self.first(x, True))))

    def make_cond(self, x):
        self.names = ["cond/layer/op"]
        y = v1.cond(tf.reduce_sum(x) > -1e9, lambda: self.first.build(x, "layer/op")[1], lambda: x * 0.0)
        tf.identity(y, name="y")
        self.expect = lambda: self.first(self.x, True)


def hash_of(*what):
    """A seed that every Python makes the same."""
    seed = 7
    for character in repr(what):
        seed = (seed * 31 + ord(character)) % (2**31)
    return seed


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_layer(kind, situation, biased, seed):
    case = Case(kind, situation, biased, seed)
    graph = case.graph()
    layers = [case.first, case.second][: len(case.names)]
    Path("record.txt").write_text("".join(layer.record(name) for layer, name in zip(layers, case.names)))
    models.write_pb(graph.as_graph_def(), "model.pb")
    amct.convert_model("model.pb", case.outputs, "record.txt", "m")
    quantized = models.load("m_quantized.pb")
    types = models.op_types(quantized)
    assert sum(op == "AscendDequant" for op in types.values()) == len(case.names)
    same_data = situation == "shared input"
    assert sum(op == "AscendQuant" for op in types.values()) == (1 if same_data else len(case.names))
    with v1.Session(graph=quantized) as session:
        found = session.run(case.outputs[0] + ":0", {"x:0": case.x})
    expected = case.expect()
    np.testing.assert_allclose(found, expected, rtol=4e-7, atol=1e-6 * np.abs(expected).max())
