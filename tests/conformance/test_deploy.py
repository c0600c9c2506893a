# SPDX-License-Identifier: Apache-2.0
"""The written pb against an independent NumPy evaluation of the same layer: factors, words, weights, output."""
import re

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct

v1 = tf.compat.v1
F32 = np.float32


def away(x):
    """Round half away from zero."""
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


def read_record(path):
    """{layer: {field: [values]}} of a record file."""
    layers = {}
    for body in re.split(r"^record \{", path.read_text(), flags=re.M)[1:]:
        key = re.search(r'key: "(.*)"', body).group(1)
        fields = layers.setdefault(key, {})
        for name, value in re.findall(r"(scale_d|offset_d|scale_w|offset_w): (\S+)", body):
            fields.setdefault(name, []).append(F32(value) if "scale" in name else int(value))
    return layers


def constant(node):
    """A Const's value; uint64 is read from its bytes, which 1.15's make_ndarray rejects."""
    tensor = node.attr["value"].tensor
    shape = [d.size for d in tensor.tensor_shape.dim]
    if tensor.dtype == tf.uint64.as_datatype_enum:
        return np.frombuffer(tensor.tensor_content, np.uint64).reshape(shape)
    return tf.make_ndarray(tensor)


def attributes(**values):
    """AttrValues of a dtype, a bool, a bytes or a list of int."""
    made = {}
    for key, value in values.items():
        if isinstance(value, bool):
            made[key] = v1.AttrValue(b=value)
        elif isinstance(value, bytes):
            made[key] = v1.AttrValue(s=value)
        elif isinstance(value, list):
            made[key] = v1.AttrValue(list=v1.AttrValue.ListValue(i=value))
        else:
            made[key] = v1.AttrValue(type=value.as_datatype_enum)
    return made


class Net:
    """One layer with what may follow it, its float parameters at hand."""

    def __init__(self, kind, seed, bias=False, bn=False, relu=True, detail=1):
        """detail: the depth multiplier, or what shapes the weight."""
        rng = np.random.RandomState(seed)
        self.kind, self.bn, self.eps, self.plumbing = kind, bn, 1e-3, detail
        multiplier = 2 if isinstance(detail, str) else detail
        data = {"MatMul": (4, 5), "BatchMatMul": (4, 5), "BatchMatMulV2": (4, 3, 2, 5), "Conv3D": (4, 5, 6, 7, 5)}
        self.x = rng.uniform(-1, 2, data.get(kind, (4, 6, 7, 5))).astype(F32)
        shape = {"Conv2D": (3, 2, 5, 8), "DepthwiseConv2dNative": (3, 3, 5, multiplier),
                 "Conv2DBackpropInput": (3, 2, 8, 5), "Conv3D": (2, 3, 2, 5, 8), "AvgPool": (0,)}.get(kind, (5, 8))
        self.w = rng.normal(0, 0.4, shape).astype(F32)
        # the weight's axes of output channels, each of its scales along them
        axes = {"DepthwiseConv2dNative": (2, 3), "Conv2DBackpropInput": (2,)}.get(kind, (self.w.ndim - 1,))
        self.spread = [n if i in axes else 1 for i, n in enumerate(shape)]
        out = int(np.prod(self.spread))
        self.b = rng.normal(0, 1, out).astype(F32) if bias else None
        self.gamma, self.beta, self.mean = (rng.normal(1, 0.5, out).astype(F32) for _ in range(3))
        self.var = rng.uniform(0.1, 2, out).astype(F32)
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.build(relu)

    def apply(self, x, w):
        if self.kind == "Conv2D":
            return tf.nn.conv2d(x, w, strides=[1, 2, 1, 1], padding="SAME", name="net/layer/op")
        if self.kind == "DepthwiseConv2dNative":
            return v1.nn.depthwise_conv2d_native(x, w, [1, 1, 1, 1], "SAME", name="net/layer/op")
        if self.kind == "Conv3D":
            return tf.nn.conv3d(x, w, strides=[1, 1, 2, 1, 1], padding="SAME", name="net/layer/op")
        if self.kind == "Conv2DBackpropInput":
            op = x.graph.create_op(self.kind, [tf.constant([4, 12, 7, 8]), w, x], [x.dtype], name="net/layer/op",
                                   attrs=attributes(T=x.dtype, strides=[1, 2, 1, 1], padding=b"SAME"))
            return op.outputs[0]
        if self.kind == "MatMul":
            return tf.matmul(x, w, name="net/layer/op")
        if self.kind.startswith("BatchMatMul"):
            return x.graph.create_op(self.kind, [x, w], [x.dtype], name="net/layer/op", attrs=attributes(T=x.dtype)).outputs[0]
        return tf.nn.avg_pool2d(x, [1, 3, 2, 1], [1, 2, 2, 1], "VALID", name="net/layer/op")

    def weight(self):
        """The weight as a constant, or behind ops that shape it."""
        how, w = self.plumbing, self.w
        if how == "transpose":
            back = np.roll(np.arange(w.ndim), 1)
            return tf.transpose(tf.constant(w.transpose(np.argsort(back)), name="w"), back)
        if how == "reshape":
            return tf.reshape(tf.identity(tf.constant(w.reshape(-1), name="w")), w.shape)
        if how == "expand":
            return tf.squeeze(tf.expand_dims(tf.constant(w, name="w"), 0), [0])
        return tf.constant(w, name="w")

    def build(self, relu):
        x = v1.placeholder(tf.float32, (None,) + self.x.shape[1:], name="x")
        y = self.apply(x, None if self.kind == "AvgPool" else self.weight())
        if self.b is not None:
            y = tf.nn.bias_add(y, tf.constant(self.b, name="b"), name="net/layer/bias")
        if self.bn:
            y = v1.nn.fused_batch_norm(y, self.gamma, self.beta, self.mean, self.var,
                                       epsilon=self.eps, is_training=False, name="net/bn")[0]
        if relu:
            y = tf.nn.relu(y)
        tf.identity(y, name="y")

    def folded(self):
        w, b = self.w.astype(np.float64), None if self.b is None else self.b.astype(np.float64)
        if self.bn:
            g = self.gamma.astype(np.float64) / np.sqrt(self.var.astype(np.float64) + F32(self.eps))
            w = w * g.reshape(self.spread)
            b = ((b if b is not None else 0) - self.mean) * g + self.beta
        return w.astype(F32), None if b is None else b.astype(F32)


NETS = [(kind, seed, bias, bn, relu, m)
        for seed, (kind, bias, bn, relu, m) in enumerate(
            [("Conv2D", bias, bn, relu, 1) for bias in (0, 1) for bn in (0, 1) for relu in (0, 1)]
            + [("DepthwiseConv2dNative", bias, bn, True, m)
               for bias in (0, 1) for bn in (0, 1) for m in (1, 3)]
            + [(kind, bias, False, relu, 1) for kind in ("MatMul", "BatchMatMul", "BatchMatMulV2", "Conv3D",
                                                         "Conv2DBackpropInput")
               for bias in (0, 1) for relu in (0, 1)]
            + [("AvgPool", False, False, relu, 1) for relu in (0, 1)])]
NETS += [(kind, 90, bias, False, True, plumbing)
         for kind in ("Conv2D", "DepthwiseConv2dNative", "MatMul", "Conv3D", "Conv2DBackpropInput")
         for bias in (0, 1) for plumbing in ("transpose", "reshape", "expand")]


def quantize(net, folder):
    pb, config, record = folder / "net.pb", folder / "config.json", folder / "record.txt"
    pb.write_bytes(net.graph.as_graph_def().SerializeToString())
    (folder / "quant.cfg").write_text("bias_correction: false")  # test_stats.py has it
    amct.create_quant_config(str(config), net.graph, config_defination=str(folder / "quant.cfg"))
    amct.quantize_model(net.graph, str(config), str(record))
    with v1.Session(graph=net.graph) as session:
        session.run("y:0", {"x:0": net.x})
    amct.save_model(str(pb), ["y"], str(record), str(folder / "out"))
    graph_def = v1.GraphDef()
    graph_def.ParseFromString((folder / "out_quantized.pb").read_bytes())
    return graph_def, read_record(record)["net/layer/op"]


def run(graph_def, feed, fetch="y:0"):
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with v1.Session(graph=graph) as session:
            return session.run(fetch, feed)


def expected_weights(net, factors):
    w, b = net.folded()
    scales = np.array(factors["scale_w"], F32)
    scales = scales.reshape(net.spread if scales.size > 1 else -1)
    q = np.clip(away(w / scales), -128, 127).astype(np.int8)
    if b is None:
        return q, None
    steps = (F32(factors["scale_d"][0]) * scales.reshape(-1)).astype(F32).astype(np.float64)
    return q, away(b.astype(np.float64) / steps).astype(F32)


@pytest.mark.parametrize("arguments", NETS)
def test_layer_against_numpy(arguments, tmp_path):
    net = Net(*arguments)
    graph_def, factors = quantize(net, tmp_path)
    nodes = {node.name: node for node in graph_def.node}
    scale_d, offset_d = factors["scale_d"][0], factors["offset_d"][0]

    quant = nodes["net/layer/act_quant/AscendQuant"]
    assert quant.attr["scale"].f == F32(F32(1) / scale_d)
    assert quant.attr["offset"].f == offset_d and quant.attr["quant_bits"].i == 8
    assert "dst_type" not in quant.attr
    assert nodes["net/layer/op"].input[2 if net.kind == "Conv2DBackpropInput" else 0] == quant.name
    x = np.clip(away(net.x * F32(F32(1) / scale_d)) + offset_d, -128, 127) - offset_d

    dequant = nodes["net/layer/dequant/AscendDequant"]
    deq = constant(nodes[dequant.input[1]])
    scales = np.array(factors.get("scale_w", [1]), F32)
    np.testing.assert_array_equal((deq & 0xFFFFFFFF).astype(np.uint32).view(F32), scale_d * scales)
    assert not np.any(deq >> np.uint64(32))

    if net.kind == "AvgPool":
        assert list(dequant.attr["ksize"].list.i) == [3, 2]
        sums = run(net.graph.as_graph_def(), {"x:0": x.astype(F32)}, "net/layer/op:0")
        expected = away(sums.astype(np.float64) * 6) * scale_d.astype(np.float64) / 6
        result = run(graph_def, {"x:0": net.x}, dequant.name + ":0")
        np.testing.assert_allclose(result, expected, rtol=3e-7, atol=1e-7)
        return

    assert list(dequant.attr["ksize"].list.i) == [1, 1]
    q, b = expected_weights(net, factors)
    weight = nodes[nodes["net/layer/op"].input[1]]
    assert weight.op == "AscendWeightQuant" and weight.name == "net/layer/weight_quant/AscendWeightQuant"
    np.testing.assert_array_equal(constant(nodes[weight.input[0]]), q)
    assert not np.any(constant(nodes[weight.input[1]]))
    others = tuple(i for i, n in enumerate(net.spread) if n == 1) if scales.size > 1 else None
    largest = np.abs(net.folded()[0]).max(axis=others).reshape(-1) / F32(127)
    raised = scales > largest  # where a bias would not have fitted
    assert np.all((scales == largest) | raised) and raised.sum() <= 1

    with tf.Graph().as_default(), v1.Session() as session:
        acc = session.run(net.apply(tf.constant(x.astype(np.float64)),
                                    tf.constant(q.astype(np.float64))))
    assert np.abs(acc).max() < 2**24
    if b is not None:
        acc = acc + b
    expected = acc.astype(F32) * (scale_d * scales)
    np.testing.assert_array_equal(run(graph_def, {"x:0": net.x}, dequant.name + ":0"), expected)


@pytest.mark.parametrize("arguments", NETS[::3])
def test_close_to_float(arguments, tmp_path):
    net = Net(*arguments)
    reference = run(net.graph.as_graph_def(), {"x:0": net.x})
    graph_def, _ = quantize(net, tmp_path)
    result = run(graph_def, {"x:0": net.x})
    assert np.abs(result - reference).max() < 0.05 * np.abs(reference).max() + 1e-6


def shared_graph(max_pool, second_output):
    rng = np.random.RandomState(5)
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, (None, 8, 8, 3), name="x")
        w = tf.constant(rng.normal(size=(1, 1, 3, 4)).astype(F32), name="w")
        a = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name="a/conv")
        b = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name="b/conv")
        y = tf.add(tf.nn.relu(a), b, name="sum")
        if max_pool:
            pool = tf.nn.max_pool2d(x, 2, 2, "SAME", name="pool")
            tf.identity(pool, name="p")
        tf.nn.conv2d(b, np.ones((1, 1, 4, 2), F32), strides=[1, 1, 1, 1], padding="SAME", name="c/conv")
        tf.identity(y, name="y")
    return graph, ["y", "c/conv"] + (["p"] if max_pool else []) if second_output else ["y"]


@pytest.mark.parametrize("max_pool", [False, True])
def test_shared_input_outputs_and_pool(max_pool, tmp_path):
    graph, outputs = shared_graph(max_pool, True)
    pb, config, record = (str(tmp_path / n) for n in ("net.pb", "config.json", "record.txt"))
    with open(pb, "wb") as f:
        f.write(graph.as_graph_def().SerializeToString())
    x = np.random.RandomState(1).uniform(-1, 1, (2, 8, 8, 3)).astype(F32)
    reference = run(graph.as_graph_def(), {"x:0": x}, [o + ":0" for o in outputs])
    amct.create_quant_config(config, graph)
    amct.quantize_model(graph, config, record)
    with v1.Session(graph=graph) as session:
        session.run([o + ":0" for o in outputs], {"x:0": x})
    amct.save_model(pb, outputs, record, str(tmp_path / "out"))
    graph_def = v1.GraphDef()
    graph_def.ParseFromString((tmp_path / "out_quantized.pb").read_bytes())
    nodes = {n.name: n for n in graph_def.node}
    quants = [n for n in graph_def.node if n.op == "AscendQuant"]
    # a and b share the first one; c reads b's dequantized output
    assert [n.name for n in quants] == ["a/act_quant/AscendQuant", "c/act_quant/AscendQuant"]
    assert nodes["a/conv"].input[0] == nodes["b/conv"].input[0] == "a/act_quant/AscendQuant"
    assert nodes["c/act_quant/AscendQuant"].input[0] == "b/dequant/AscendDequant"
    assert nodes["c/conv"].op == "Identity" and nodes["c/conv"].input[0] == "c/dequant/AscendDequant"
    if max_pool:
        assert nodes["pool"].input[0] == "a/anti_quant/AscendAntiQuant"
        assert nodes["a/anti_quant/AscendAntiQuant"].input[0] == "a/act_quant/AscendQuant"
    for result, wanted in zip(run(graph_def, {"x:0": x}, [o + ":0" for o in outputs]), reference):
        assert np.abs(result - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("kind", ["constant", "ref", "resource"])
def test_convolutions_of_one_dimension(kind, tmp_path):
    """tf.nn.conv1d expands its filter; a layer of a variable and of its frozen constant are planned alike."""
    rng = np.random.RandomState(6)
    value = rng.normal(0, 0.4, (3, 4, 6)).astype(F32)
    x = rng.uniform(-1, 2, (8, 16, 4)).astype(F32)
    with tf.Graph().as_default() as graph:
        given = v1.placeholder(tf.float32, (None, 16, 4), name="x")
        w = tf.constant(value) if kind == "constant" else v1.get_variable("w", initializer=value, use_resource=kind == "resource")
        y = tf.nn.conv1d(given, w, 1, "SAME", name="conv")
        tf.nn.relu(tf.nn.bias_add(y, rng.normal(0, 1, 6).astype(F32)), name="y")
        config, record, pb = (str(tmp_path / n) for n in ("config.json", "record.txt", "net.pb"))
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["y"])
            expected = session.run("y:0", {"x:0": x})
        with open(pb, "wb") as f:
            f.write(frozen.SerializeToString())
        amct.create_quant_config(config, graph)
        amct.quantize_model(graph, config, record)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            session.run("y:0", {"x:0": x})
    amct.save_model(pb, ["y"], record, str(tmp_path / "m"))
    graph_def = v1.GraphDef.FromString((tmp_path / "m_quantized.pb").read_bytes())
    assert [n.op for n in graph_def.node].count("AscendWeightQuant") == 1
    constants = [n.attr["value"].tensor for n in graph_def.node if n.op == "Const"]
    assert not any(t.dtype == tf.float32.as_datatype_enum and tf.make_ndarray(t).size == value.size for t in constants)
    assert np.abs(run(graph_def, {"x:0": x}) - expected).max() < 0.05 * np.abs(expected).max()
