# SPDX-License-Identifier: Apache-2.0
"""The simulation in float32 against integer arithmetic in C: equal while the sums stay below 2^24.

AMCT_PROBE names libamct_probe.so of a build with AMCT_TESTS; libamct_integer.so lies beside it.
"""

import ctypes
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from test_deploy import constant

v1 = tf.compat.v1
F32 = np.float32
EXACT = 2**24  # float32 holds all integers up to here

if "AMCT_PROBE" not in os.environ:
    pytest.skip("AMCT_PROBE is not set: the integer reference does not run", allow_module_level=True)


# ---- the reference ----


class Window(ctypes.Structure):
    _fields_ = [("batch", ctypes.c_int32)] + [
        (name, ctypes.c_int32 * size)
        for name, size in (("inner", 3), ("in_channels", 1), ("outer", 3), ("out_channels", 1), ("kernel", 3),
                           ("stride", 3), ("dilation", 3), ("pad", 3))
    ]  # fmt: skip


class Sums(ctypes.Structure):
    _fields_ = [("sum", ctypes.c_void_p), ("reach", ctypes.c_void_p)]


@pytest.fixture(scope="module")
def library():
    loaded = ctypes.CDLL(str(Path(os.environ["AMCT_PROBE"]).parent / "libamct_integer.so"))
    for name in ("integer_conv", "integer_depthwise", "integer_transposed", "integer_pool", "integer_add_bias",
                 "integer_product"):
        getattr(loaded, name).restype = ctypes.c_bool
    return loaded


def at(array):
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def deep(values, filler=1):
    """Three values, of depth, height and width, from two or three (or none, for a matrix)."""
    values = [int(v) for v in values]
    return [filler] * (3 - len(values)) + values


def window_of(small, large, kernel, stride, dilation, same):
    """The window of a convolution from `large` to `small`, shapes without weights."""
    pad = []
    for i in range(3):
        reach = (kernel[i] - 1) * dilation[i] + 1
        pad.append(max((small[i] - 1) * stride[i] + reach - large[i], 0) // 2 if same else 0)
    w = Window()
    for name, values in (("inner", large), ("outer", small), ("kernel", kernel), ("stride", stride),
                         ("dilation", dilation), ("pad", pad)):  # fmt: skip
        setattr(w, name, (ctypes.c_int32 * 3)(*values))
    return w


def spatial(shape):
    return deep(shape[1:-1])


class Layer:
    """A quantized layer as the pb has it, and what comes in and out of it in TensorFlow."""

    def __init__(self, nodes, dequant):
        self.dequant = dequant
        node = nodes[dequant.input[0]]
        self.bias = None
        if node.op == "BiasAdd":
            self.bias = constant(nodes[node.input[1]])
            assert np.array_equal(self.bias, np.round(self.bias))
            node = nodes[node.input[0]]
        self.node = node
        sources = [nodes[name] for name in node.input]
        (self.quant,) = [source for source in sources if source.op == "AscendQuant"]
        weights = [source for source in sources if source.op == "AscendWeightQuant"]
        self.weights = constant(nodes[weights[0].input[0]]) if weights else None
        self.scales = (constant(nodes[dequant.input[1]]) & 0xFFFFFFFF).astype(np.uint32).view(F32)

    def attribute(self, key):
        values = list(self.node.attr[key].list.i)
        return deep(values[1:-1]) if values else [1, 1, 1]

    def window(self, x, y):
        """From the shapes of data and result."""
        kind, stride, dilation = self.node.op, self.attribute("strides"), self.attribute("dilations")
        same = self.node.attr["padding"].s == b"SAME"
        if kind.endswith("MatMul") or kind == "BatchMatMulV2":
            w = window_of([1] * 3, [1] * 3, [1] * 3, [1] * 3, [1] * 3, False)
            w.batch = int(np.prod(x.shape[:-1]))
        elif kind == "Conv2DBackpropInput":
            w = window_of(spatial(x.shape), spatial(y.shape), deep(self.weights.shape[:2]), stride, dilation, same)
        elif kind == "AvgPool":
            w = window_of(spatial(y.shape), spatial(x.shape), self.attribute("ksize"), stride, [1] * 3, same)
        else:
            rank = x.ndim - 2
            w = window_of(spatial(y.shape), spatial(x.shape), deep(self.weights.shape[:rank]), stride, dilation, same)
        w.batch = w.batch or x.shape[0]
        inner, outer = (y, x) if kind == "Conv2DBackpropInput" else (x, y)
        w.in_channels[0], w.out_channels[0] = inner.shape[-1], outer.shape[-1]
        return w

    def compute(self, library, x, y_shape):
        """The result in integers, and the reach of its sums."""
        offset = int(self.quant.attr["offset"].f)
        q = np.empty(x.shape, np.int8)
        library.integer_quantize(
            at(q), at(x), ctypes.c_size_t(x.size), ctypes.c_float(self.quant.attr["scale"].f), ctypes.c_int32(offset)
        )
        y, total, reach = np.empty(y_shape, F32), np.empty(y_shape, np.int32), np.empty(y_shape, np.int64)
        sums, window = Sums(at(total), at(reach)), self.window(x, y)
        count = ctypes.c_size_t(y.size)
        if self.weights is None:
            counts = np.empty(y_shape, np.int32)
            assert library.integer_pool(ctypes.byref(sums), at(counts), at(q), offset, ctypes.byref(window))
            ksize = list(self.dequant.attr["ksize"].list.i)
            library.integer_dequantize_mean(
                at(y), at(total), at(counts), count, ctypes.c_double(ksize[0] * ksize[1]), ctypes.c_float(self.scales[0])
            )
            return y, reach
        call = {"Conv2DBackpropInput": library.integer_transposed,
                "DepthwiseConv2dNative": library.integer_depthwise}.get(self.node.op, library.integer_conv)  # fmt: skip
        assert call(ctypes.byref(sums), at(q), offset, at(self.weights), ctypes.byref(window))
        if self.bias is not None:
            bias = self.bias.astype(np.int32)
            assert library.integer_add_bias(ctypes.byref(sums), count, at(bias), ctypes.c_size_t(bias.size))
        library.integer_dequantize(at(y), at(total), count, at(self.scales), ctypes.c_size_t(self.scales.size))
        return y, reach


# ---- networks: all the forms of one kind, side by side on one input ----


def make(rng, low, high, *shape):
    return rng.uniform(low, high, shape).astype(F32)


def conv2d(x, rng, low, stride, padding, name):
    w = make(rng, low, 1, 3, 2, x.shape.as_list()[-1], 6)
    return tf.nn.conv2d(x, w, strides=[1, stride, stride, 1], padding=padding, name=name)


def dilated(x, rng, low, stride, padding, name):
    w = make(rng, low, 1, 2, 2, x.shape.as_list()[-1], 6)
    return tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], dilations=[1, stride, 1, 1], padding=padding, name=name)


def depthwise(x, rng, low, stride, padding, name):
    w = make(rng, low, 1, 3, 3, x.shape.as_list()[-1], 2)
    return v1.nn.depthwise_conv2d_native(x, w, [1, stride, stride, 1], padding, name=name)


def transposed(x, rng, low, stride, padding, name):
    _, height, width, channels = x.shape.as_list()
    grow = 0 if padding == "SAME" else 2
    shape = tf.stack([tf.shape(x)[0], height * stride + grow, width * stride + grow, 5])
    w = make(rng, low, 1, 3, 3, 5, channels)
    if padding == "VALID" and stride > 1:
        shape = tf.stack([tf.shape(x)[0], (height - 1) * stride + 3, (width - 1) * stride + 3, 5])
    return tf.nn.conv2d_transpose(x, w, output_shape=shape, strides=[1, stride, stride, 1], padding=padding, name=name)


def conv3d(x, rng, low, stride, padding, name):
    w = make(rng, low, 1, 2, 3, 2, x.shape.as_list()[-1], 4)
    return tf.nn.conv3d(x, w, strides=[1, 1, stride, stride, 1], padding=padding, name=name)


def matmul(x, rng, low, stride, padding, name):
    return tf.matmul(x, tf.constant(make(rng, low, 1, x.shape.as_list()[-1], 7)), name=name)


def avg_pool(x, rng, low, stride, padding, name):
    return tf.nn.avg_pool2d(x, [1, 3, 2, 1], [1, stride, stride, 1], padding, name=name)


IMAGE, VOLUME = (7, 8), (4, 6, 5)
# kind: layer, spatial size, channels, those that take the sums over 2^24; has strides, has weights
KINDS = {
    "Conv2D": (conv2d, IMAGE, 5, 512, True, True),
    "Conv2D dilated": (dilated, IMAGE, 5, 700, True, True),
    "DepthwiseConv2dNative": (depthwise, IMAGE, 5, None, True, True),
    "Conv2DBackpropInput": (transposed, IMAGE, 5, 512, True, True),
    "Conv3D": (conv3d, VOLUME, 4, 256, True, True),
    "MatMul": (matmul, (), 40, 3000, False, True),
    "BatchMatMulV2": (matmul, (3,), 40, 3000, False, True),
    "AvgPool": (avg_pool, IMAGE, 5, None, True, False),
}


def forms(kind):
    """(stride, padding, bias, channel_wise) of the layers of a kind."""
    _, _, _, _, strides, weights = KINDS[kind]
    return itertools.product(
        (1, 2) if strides else (1,),
        ("SAME", "VALID") if strides else ("SAME",),
        (False, True) if weights else (False,),
        (False, True) if weights else (False,),
    )


def build(kind, channels, low, bias):
    """A graph with every form of a kind; names of layers and whether each is channel-wise, outputs."""
    layer, size, _, _, _, _ = KINDS[kind]
    rng = np.random.RandomState(len(kind))
    graph, channel_wise, outputs = tf.Graph(), {}, []
    with graph.as_default():
        x = v1.placeholder(tf.float32, (None,) + size + (channels,), name="x")
        for i, (stride, padding, biased, wise) in enumerate(forms(kind)):
            name = "net/{}/op".format(i)
            y = layer(x, rng, low, stride, padding, name)
            if biased:
                y = tf.nn.bias_add(y, bias * make(rng, -1, 1, y.shape.as_list()[-1]))
            outputs.append(tf.nn.relu(y, name="out_{}".format(i)).op.name)
            owner = y.op
            while "net/" in name and owner.type not in (kind.split()[0],):
                owner = owner.inputs[0].op
            channel_wise[owner.name] = wise
    return graph, channel_wise, outputs


def quantize(kind, channels, low, bias, x):
    """The layers of the quantized graph, each with its data and its result in TensorFlow."""
    graph, channel_wise, outputs = build(kind, channels, low, bias)
    pb = models.write_pb(graph.as_graph_def(), "net.pb")
    amct.create_quant_config("config.json", graph)
    config = json.loads(Path("config.json").read_text())
    for name, wise in channel_wise.items():
        if "weight_quant_params" in config[name] and "MatMul" not in kind:
            config[name]["weight_quant_params"]["channel_wise"] = wise
    Path("config.json").write_text(json.dumps(config))
    amct.quantize_model(graph, "config.json", "record.txt")
    with v1.Session(graph=graph) as session:
        session.run([name + ":0" for name in outputs], {"x:0": x})
    amct.save_model(pb, outputs, "record.txt", "out")
    definition = v1.GraphDef.FromString(Path("out_quantized.pb").read_bytes())
    nodes = {node.name: node for node in definition.node}
    layers = [Layer(nodes, node) for node in definition.node if node.op == "AscendDequant"]
    assert len(layers) == len(channel_wise)
    with v1.Session(graph=models.load("out_quantized.pb")) as session:
        pairs = [(layer.quant.input[0] + ":0", layer.dequant.name + ":0") for layer in layers]
        values = session.run(pairs, {"x:0": x})
    return [(layer,) + tuple(pair) for layer, pair in zip(layers, values)]


def data(kind, channels, low, batch=2):
    return make(np.random.RandomState(1), low, 2, *((batch,) + KINDS[kind][1] + (channels,)))


@pytest.mark.parametrize("low", [-2.0, 0.1], ids=["signed", "positive"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_equal_below_2_to_24(kind, low, library):
    channels = KINDS[kind][2]
    found = quantize(kind, channels, -1, 1.0, data(kind, channels, low))
    per_channel = 0
    for layer, x, y in found:
        expected, reach = layer.compute(library, x, y.shape)
        assert reach.max() < EXACT
        np.testing.assert_array_equal(y, expected, err_msg=layer.node.name)
        per_channel += layer.scales.size > 1
    assert per_channel == (len(found) // 2 if "MatMul" not in kind and KINDS[kind][5] else 0)
    assert sum(layer.bias is not None for layer, _, _ in found) == (len(found) // 2 if KINDS[kind][5] else 0)


# ---- two data inputs, input tensors ----


class Matrices(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("batch", "rows", "inner", "columns")] + [("turned", ctypes.c_bool)]


def steps_of(library, x, quant):
    """int8 of what an AscendQuant reads."""
    q, offset = np.empty(x.shape, np.int8), int(quant.attr["offset"].f)
    scale = ctypes.c_float(quant.attr["scale"].f)
    library.integer_quantize(at(q), at(x), ctypes.c_size_t(x.size), scale, ctypes.c_int32(offset))
    return q, offset


def quantized(build, feeds, outputs, tensors=()):
    """Nodes of the quantized graph and its values by name, calibrated on the feeds."""
    graph = models.graph_of(build)
    pb = models.write_pb(graph.as_graph_def(), "net.pb")
    amct.create_quant_config("config.json", graph)
    config = json.loads(Path("config.json").read_text())
    config["tensor_quantize"] = [{"layer_name": name, "input_index": index} for name, index in tensors]
    Path("config.json").write_text(json.dumps(config))
    amct.quantize_model(graph, "config.json", "record.txt")
    with v1.Session(graph=graph) as session:
        session.run([name + ":0" for name in outputs], feeds)
    amct.save_model(pb, outputs, "record.txt", "out")
    nodes = {n.name: n for n in v1.GraphDef.FromString(Path("out_quantized.pb").read_bytes()).node}
    names = [n.name for n in nodes.values() if n.op not in ("Placeholder", "Const")] + [f[:-2] for f in feeds]
    with v1.Session(graph=models.load("out_quantized.pb")) as session:
        values = session.run([name + ":0" for name in names], feeds)
    return nodes, dict(zip(names, values))


@pytest.mark.parametrize("inner, exact", [(40, True), (3000, False)])
@pytest.mark.parametrize("turned", [False, True])
def test_products_of_two_data_inputs(turned, inner, exact, library):
    random = np.random.RandomState(inner)
    low = -1 if exact else 0.5
    feeds = {"a:0": make(random, low, 2, 2, 5, inner), "b:0": make(random, low, 1, 2, *((6, inner) if turned else (inner, 6)))}

    def build():
        a, b = (v1.placeholder(tf.float32, (None,) + feeds[name].shape[1:], name=name[0]) for name in ("a:0", "b:0"))
        tf.nn.relu(tf.matmul(a, b, transpose_b=turned, name="net/product"), name="y")

    nodes, values = quantized(build, feeds, ["y"])
    (layer,) = [n for n in nodes.values() if n.op.startswith("BatchMatMul")]
    (dequant,) = [n for n in nodes.values() if n.op == "AscendDequant"]
    quants = [nodes[name] for name in layer.input]
    (p, _), (q, _) = (steps_of(library, values[quant.input[0]], quant) for quant in quants)
    y = values[dequant.name]
    total, reach = np.empty(y.shape, np.int32), np.empty(y.shape, np.int64)
    size = Matrices(2, 5, inner, 6, turned)
    assert library.integer_product(ctypes.byref(Sums(at(total), at(reach))), at(p), at(q), ctypes.byref(size))
    scale = (constant(nodes[dequant.input[1]]) & 0xFFFFFFFF).astype(np.uint32).view(F32)
    record = models.read_record("record.txt")["net/product"]
    assert scale == F32(record["scale_d"][0]) * F32(record["scale_w"][0])
    expected = np.empty(y.shape, F32)
    library.integer_dequantize(at(expected), at(total), ctypes.c_size_t(y.size), at(scale), ctypes.c_size_t(1))
    assert (reach.max() < EXACT) == exact
    if exact:
        np.testing.assert_array_equal(y, expected)
    else:
        assert np.all(np.abs(y.astype(float) - expected) <= scale * reach * (inner + 2) * 2.0**-24)


@pytest.mark.parametrize("low", [-2.0, 0.1], ids=["signed", "positive"])
def test_input_tensors(low, library):
    """MaxPool of int8, and the sum of two int8 tensors in float32."""
    x = make(np.random.RandomState(5), low, 2, 2, *IMAGE, 5)

    def build():
        given = v1.placeholder(tf.float32, (None,) + x.shape[1:], name="x")
        tf.nn.max_pool2d(given, [1, 3, 2, 1], [1, 2, 2, 1], "SAME", name="net/pool")
        tf.add(tf.tanh(given), given, name="net/sum")
        tf.nn.avg_pool2d(tf.nn.relu(given), 2, 2, "SAME", name="z")

    outputs = ["net/pool", "net/sum", "z"]
    nodes, values = quantized(build, {"x:0": x}, outputs, [("net/pool", 0), ("net/sum", 0), ("net/sum", 1)])

    def source(name, index):
        anti = nodes[nodes[name].input[index]]
        assert anti.op == "AscendAntiQuant"
        quant = nodes[anti.input[0]]
        q, offset = steps_of(library, values[quant.input[0]], quant)
        return q, offset, anti.attr["scale"].f

    def real(q, offset, scale):
        y = np.empty(q.shape, F32)
        library.integer_antiquantize(at(y), at(q), ctypes.c_size_t(q.size), ctypes.c_int32(offset), ctypes.c_float(scale))
        return y

    q, offset, scale = source("net/pool", 0)
    y = values["net/pool"]
    window = window_of(spatial(y.shape), spatial(x.shape), [1, 3, 2], [1, 2, 2], [1] * 3, True)
    window.batch, window.in_channels[0] = x.shape[0], x.shape[-1]
    largest = np.empty(y.shape, np.int8)
    library.integer_max_pool(at(largest), at(q), ctypes.byref(window))
    np.testing.assert_array_equal(y, real(largest, offset, scale))
    np.testing.assert_array_equal(values["net/sum"], real(*source("net/sum", 0)) + real(*source("net/sum", 1)))


def check_above(kind, found, library):
    """Elements whose sums stay below 2^24 are equal, the others near; prints how near."""
    above = different = 0
    worst = worst_steps = 0.0
    for layer, x, y in found:
        expected, reach = layer.compute(library, x, y.shape)
        over = reach >= EXACT
        np.testing.assert_array_equal(y[~over], expected[~over], err_msg=layer.node.name)
        terms = x.shape[-1] if layer.weights is None else layer.weights[..., 0].size + 1
        step = np.broadcast_to(layer.scales, y.shape)[over].astype(np.float64)
        error = np.abs(y.astype(np.float64) - expected)[over]
        assert np.all(error <= step * reach[over] * (terms + 2) * 2.0**-24)
        above += over.sum()
        different += np.count_nonzero(error)
        if error.size:
            worst_steps = max(worst_steps, (error / step).max())
            worst = max(worst, (error / np.abs(expected[over]).max()).max())
    assert above
    print("{}: {} sums from 2^24 on, {} of them differ, by up to {:.0f} steps of the accumulator, {:.2g} of "
          "the largest".format(kind, above, different, worst_steps, worst))  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][3]])
def test_near_above_2_to_24(kind, library):
    channels = KINDS[kind][3]
    check_above(kind, quantize(kind, channels, 0.5, 1.0, data(kind, channels, 1, batch=1)), library)


@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2dNative", "MatMul"])
def test_large_bias_is_rounded_once(kind, library):
    """Small sums and a bias of 2^24 steps and more: float32 adds two exact numbers, as the conversion of the sum."""
    channels = KINDS[kind][2]
    above = 0
    for layer, x, y in quantize(kind, channels, -1, 2e4, data(kind, channels, -2)):
        expected, reach = layer.compute(library, x, y.shape)
        np.testing.assert_array_equal(y, expected, err_msg=layer.node.name)
        above += np.count_nonzero(reach >= EXACT)
    assert above


def test_the_reference_knows_its_limits(library):
    """A sum that int32 does not hold is reported."""
    q, w = np.full(2**17 + 8, 127, np.int8), np.full(2**17 + 8, 127, np.int8)
    window = window_of([1] * 3, [1] * 3, [1] * 3, [1] * 3, [1] * 3, False)
    window.batch, window.out_channels[0] = 1, 1
    total, reach = np.empty(1, np.int32), np.empty(1, np.int64)
    sums = Sums(at(total), at(reach))
    for channels, offset, fits in ((q.size, 0, True), (2**16, -128, True), (q.size, -128, False)):
        window.in_channels[0] = channels
        done = library.integer_conv(ctypes.byref(sums), at(q), offset, at(w), ctypes.byref(window))
        assert done == fits and reach[0] == channels * (127 - offset) * 127
