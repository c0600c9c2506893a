# SPDX-License-Identifier: Apache-2.0
"""Each kind of layer in each situation: the simulated output is a NumPy quantization of the same layer.

NCHW, which CPUs do not run, is converted as it is; then the test turns its ops to NHWC between transposes.
"""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from test_deploy import attributes, away, constant
from test_flow_live import old_control_flow

v1 = tf.compat.v1
F32 = np.float32

WITH_FORMAT = ["Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3D", "AvgPool", "MaxPool"]
PRODUCTS = ["MatMul", "BatchMatMul", "BatchMatMulV2"]
VARYING = ["BatchMatMul varying", "BatchMatMulV2 varying"]  # two data inputs
TENSORS = ["MaxPool", "Add", "AddV2"]  # quantized input tensors
UNBIASED = ["AvgPool"] + TENSORS
KINDS = WITH_FORMAT + PRODUCTS + VARYING + ["Add", "AddV2"]
SITUATIONS = ["plain", "shared input", "shared weight", "several consumers", "model output", "loop", "cond"]
SHAPES = {"Conv3D": (2, 3, 4, 5, 4), "MatMul": (6, 4), "BatchMatMul": (6, 4), "BatchMatMulV2": (2, 3, 4, 4),
          "BatchMatMul varying": (2, 3, 4, 4), "BatchMatMulV2 varying": (2, 3, 4, 4)}  # fmt: skip
WEIGHTS = {"Conv2D": (3, 2, 4, 4), "DepthwiseConv2dNative": (2, 3, 4, 1), "Conv2DBackpropInput": (3, 3, 4, 4),
           "Conv3D": (2, 3, 3, 4, 4)}  # fmt: skip
CHANNEL_AXES = {"Conv2D": (3,), "DepthwiseConv2dNative": (2, 3), "Conv2DBackpropInput": (2,), "Conv3D": (4,)}
CASES = [
    (kind, form, situation, biased)
    for kind in KINDS
    for form in (["NHWC", "NCHW"] if kind in WITH_FORMAT else ["NHWC"])
    for situation in SITUATIONS
    for biased in ([False] if kind in UNBIASED else [False, True])
]


def test_there_are_enough_combinations():
    assert len(CASES) * SEEDS >= 300 and len(set(CASES)) == len(CASES)


def permuted(values, form):
    """Numbers an axis, given for NHWC."""
    return list(values) if form == "NHWC" else [values[0], values[-1]] + list(values[1:-1])


def apply(kind, x, w, name=None, form="NHWC", turned=False):
    """The layer on tensors of any type; the output has the shape of the input."""
    kind = kind.split()[0]
    rank = 5 if kind == "Conv3D" else 4
    values = dict(T=x.dtype)
    if kind in WITH_FORMAT:
        values.update(strides=[1] * rank, padding=b"SAME")
        values["data_format"] = (form if rank == 4 else form.replace("HW", "DHW")).encode()
    if kind.endswith("Pool"):
        values["ksize"] = permuted([1, 3, 3, 1], form)
    if kind.startswith("BatchMatMul") and turned:
        values["adj_y"] = True
    inputs = [x] if kind.endswith("Pool") else [x, w]
    if kind == "Conv2DBackpropInput":
        inputs = [tf.constant(permuted([2, 5, 6, 4], form)), w, x]
    return tf.identity(x).graph.create_op(kind, inputs, [x.dtype], name=name, attrs=attributes(**values)).outputs[0]


def companion(x):
    """A second data input, of the first."""
    return (tf.reverse(x, [0]) if tf.is_tensor(x) else x[::-1]) * F32(0.5)


def on_grid(x, scale, offset):
    """Steps of the grid, offset taken off."""
    return np.clip(away(x * F32(F32(1) / scale)) + F32(offset), -128, 127) - F32(offset)


class Layer:
    """Parameters and factors of one layer, and its integer arithmetic in NumPy and float64."""

    def __init__(self, kind, random, biased, form):
        self.kind, self.form, self.varying = kind, form, kind in VARYING
        self.w = random.normal(0, 0.4, WEIGHTS.get(kind, (4, 4))).astype(F32)
        self.b = random.normal(0, 0.5, 4).astype(F32) if biased else None
        self.scale_d, self.offset_d = F32(random.uniform(0.01, 0.03)), int(random.randint(-100, 100))
        axes = CHANNEL_AXES.get(kind, ()) if random.randint(2) else ()
        rest = tuple(i for i in range(self.w.ndim) if i not in axes)
        self.scale_w = np.abs(self.w).max(rest, keepdims=True).astype(F32) / F32(127)
        self.turned = self.varying and bool(random.randint(2))
        self.named = [[0], [1], [0, 1]][random.randint(3)] if kind.startswith("Add") else [0]  # inputs of tensors
        if self.varying:
            self.offset_d, self.scale_w = 0, F32([random.uniform(0.005, 0.02)])

    def record(self, name):
        text = 'record {{ key: "{}" value {{ scale_d: {:.9g} offset_d: {} '.format(name, self.scale_d, self.offset_d)
        if self.kind in TENSORS:
            return "".join(text.replace(name, "{}:{}".format(name, i)) + " } }\n" for i in self.named)
        if self.kind != "AvgPool":
            text += " ".join("scale_w: {:.9g} offset_w: 0".format(s) for s in self.scale_w.reshape(-1))
        return text + " } }\n"

    def accumulate(self, x, w):
        with tf.Graph().as_default(), v1.Session() as session:
            given = [tf.constant(v.astype(np.float64)) for v in (x, w)]
            return session.run(apply(self.kind, *given, turned=self.turned))

    def tensor(self, x):
        """The op on input tensors that were on the grid."""
        inputs = [x, companion(x)]
        for i in self.named:
            inputs[i] = on_grid(inputs[i], self.scale_d, self.offset_d).astype(F32) * self.scale_d
        if self.kind == "MaxPool":
            return self.accumulate(inputs[0], self.w).astype(F32)
        return inputs[0] + inputs[1]

    def __call__(self, x, join_bias, second=None):
        """What the quantized layer gives, float32; the bias in integers if `join_bias`."""
        if self.kind in TENSORS:
            return self.tensor(x)
        join_bias = join_bias and not self.varying
        w, x = companion(x) if second is None else second, on_grid(x, self.scale_d, self.offset_d)
        if self.kind == "AvgPool":
            y = self.accumulate(x, self.w).astype(F32)
            return (y.astype(np.float64) * 9 * self.scale_d / 9).astype(F32)
        q = on_grid(w, self.scale_w[0], 0) if self.varying else np.clip(away(self.w / self.scale_w), -128, 127)
        step = (self.scale_d * self.scale_w).reshape(-1)
        total = self.accumulate(x, q)
        if self.b is not None and join_bias:
            total = total + away(self.b.astype(np.float64) / step)
        assert np.abs(total).max() < 2**24
        y = total.astype(F32) * step
        return y if self.b is None or join_bias else y + self.b

    def build(self, x, name, w=None, b=None):
        """The layer and its BiasAdd in a graph; returns both outputs."""
        if w is None:
            w = companion(x) if self.varying or self.kind in TENSORS else tf.constant(self.w)
        y = apply(self.kind, x, w, name, self.form, self.turned)
        if self.b is None:
            return y, y
        form = self.form if self.kind in WITH_FORMAT else "NHWC"
        return y, tf.nn.bias_add(y, tf.constant(self.b) if b is None else b, data_format=form)


class Case:
    """A graph around one or two layers, and what it must give."""

    def __init__(self, kind, form, situation, biased, seed):
        self.apart = F32(1.5 if seed else 1)  # factors of a shared weight
        random = np.random.RandomState(hash_of(kind, form, situation, biased, seed))
        self.situation, self.form = situation, form
        self.first, self.second = (Layer(kind, random, biased, form) for _ in range(2))
        self.x = random.uniform(-2, 2, SHAPES.get(kind, (2, 5, 6, 4))).astype(F32)
        self.names, self.outputs = ["layer/op"], ["y"]

    def given(self, values):
        """An array in the layout of the graph."""
        return values if self.form == "NHWC" else np.moveaxis(values, -1, 1)

    def graph(self):
        with tf.Graph().as_default() as graph, old_control_flow():
            x = v1.placeholder(tf.float32, (None,) + self.given(self.x).shape[1:], name="x")
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
        """Or a shared second input; each with factors of its own."""
        self.names = ["layer/op", "other/op"]
        self.second.w, self.second.scale_w = self.first.w, self.first.scale_w * self.apart
        if self.first.kind in TENSORS:
            w = None
        else:
            w = companion(x) if self.first.varying else tf.constant(self.first.w)
        a, b = self.first.build(x, "layer/op", w)[1], self.second.build(tf.nn.relu(x), "other/op", w)[1]
        tf.add(a, b, name="y")

        def expect():
            second = None if self.first.kind in TENSORS else companion(self.x)
            return self.first(self.x, True) + self.second(np.maximum(self.x, 0), True, second)

        self.expect = expect

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
        fixed = self.first.varying or self.first.kind in TENSORS
        w = None if fixed else tf.constant(self.first.w)
        b = None if self.first.b is None else tf.constant(self.first.b)
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


# ---- NCHW on a CPU ----


def transpose(definition, name, source, order):
    """Transposes; inside a loop its constant waits for the turn."""
    perm = definition.node.add(name=name + "/perm", op="Const", input=["^" + source.partition(":")[0]])
    perm.attr["dtype"].type = tf.int32.as_datatype_enum
    perm.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(order, tf.int32))
    node = definition.node.add(name=name, op="Transpose", input=[source, perm.name])
    node.attr["T"].type, node.attr["Tperm"].type = tf.float32.as_datatype_enum, tf.int32.as_datatype_enum


def channels_last(definition, rank):
    """The same graph with channels last in the ops that need it, between transposes."""
    nodes = {node.name: node for node in definition.node}
    made = v1.GraphDef(versions=definition.versions)
    for node in definition.node:
        node = type(node).FromString(node.SerializeToString())
        form = node.attr["data_format"].s if "data_format" in node.attr else b""
        if not form.startswith(b"NC") or node.op.startswith("Ascend"):
            made.node.add().CopyFrom(node)
            continue
        data = 2 if node.op == "Conv2DBackpropInput" else 0
        last = [0] + list(range(2, rank)) + [1]
        name, node.name = node.name, node.name + "/last"
        transpose(made, name + "/in", node.input[data], last)
        transpose(made, name, node.name, [0, rank - 1] + list(range(1, rank - 1)))
        node.input[data] = name + "/in"
        node.attr["data_format"].s = b"NDHWC" if node.op == "Conv3D" else b"NHWC"
        if "ksize" in node.attr:
            node.attr["ksize"].list.i[:] = [node.attr["ksize"].list.i[i] for i in last]
        if data == 2:
            sizes = made.node.add()
            sizes.CopyFrom(nodes[node.input[0]])
            sizes.name = name + "/sizes"
            sizes.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(constant(nodes[node.input[0]])[last]))
            node.input[0] = sizes.name
        made.node.add().CopyFrom(node)
    return made


def same_structure(first, last):
    """But for the layout, NCHW is converted as NHWC is: nodes, inputs, constants."""
    assert [(n.name, n.op, list(n.input)) for n in first.node] == [(n.name, n.op, list(n.input)) for n in last.node]
    for a, b in zip(first.node, last.node):
        if a.op == "Const" and a.name.rpartition("/")[2] in ("weight", "offset_w", "deq_scale", "bias_quantized"):
            assert a.attr["value"] == b.attr["value"]
        if a.op == "AscendDequant":
            assert (a.attr["data_format"].s, b.attr["data_format"].s) == (b"NCHW", b"NHWC")
            assert a.attr["ksize"] == b.attr["ksize"]


# ---- the tests ----

SEEDS = 3


def convert(case, prefix="m"):
    graph = case.graph()
    layers = [case.first, case.second][: len(case.names)]
    Path("record.txt").write_text("".join(layer.record(name) for layer, name in zip(layers, case.names)))
    models.write_pb(graph.as_graph_def(), "model.pb")
    amct.convert_model("model.pb", case.outputs, "record.txt", prefix)
    return v1.GraphDef.FromString(Path(prefix + "_quantized.pb").read_bytes())


def check_weights(definition, case, kind):
    """Weights once, as int8; twice where two layers have different factors."""
    wanted = len(case.names) if case.situation != "shared weight" or case.apart != 1 else 1
    found = [n for n in definition.node if n.op == "AscendWeightQuant"]
    assert len(found) == (0 if kind in UNBIASED + VARYING else wanted)
    values = {n.name: n.attr["value"].tensor for n in definition.node if n.op == "Const"}
    assert sum(t.dtype == tf.int8.as_datatype_enum for t in values.values()) == 2 * len(found)
    if found:
        size = case.first.w.size
        floats = [n for n, t in values.items() if t.dtype == tf.float32.as_datatype_enum and tf.make_ndarray(t).size == size]
        assert not floats, floats


def check_ops(definition, kind, names, same_data):
    """What must be there, and nothing twice."""
    ops = [node.op for node in definition.node]
    quants = [(n.input[0], n.attr["scale"].f, n.attr["offset"].f) for n in definition.node if n.op == "AscendQuant"]
    assert len(set(quants)) == len(quants)
    if kind in TENSORS:
        assert ops.count("AscendAntiQuant") == len(quants) >= 1 and "AscendDequant" not in ops
    else:
        assert ops.count("AscendDequant") == len(names)
    if kind not in VARYING + ["Add", "AddV2"]:
        assert len(quants) == (1 if same_data else len(names))


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind, form, situation, biased", CASES)
def test_layer(kind, form, situation, biased, seed):
    case = Case(kind, form, situation, biased, seed)
    definition = convert(case)
    check_ops(definition, kind, case.names, situation == "shared input")
    check_weights(definition, case, kind)
    if form == "NCHW":
        twin = Case(kind, form, situation, biased, seed)
        twin.form = twin.first.form = twin.second.form = "NHWC"
        same_structure(definition, convert(twin, "twin"))
        definition = channels_last(definition, case.x.ndim)
    quantized = tf.Graph()
    with quantized.as_default():
        tf.import_graph_def(definition, name="")
    with v1.Session(graph=quantized) as session:
        found = session.run(case.outputs[0] + ":0", {"x:0": case.given(case.x)})
    expected = case.given(case.expect())
    np.testing.assert_allclose(found, expected, rtol=4e-7, atol=1e-6 * np.abs(expected).max())
