# SPDX-License-Identifier: Apache-2.0
"""tensor_quantize (MaxPool, Add) and products of two data inputs, from the configuration to the pb."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from test_deploy import attributes, away, constant
from test_hostile import refused

v1 = tf.compat.v1
F32 = np.float32
RANDOM = np.random.RandomState(21)
W = RANDOM.normal(0, 0.3, (3, 3, 6, 6)).astype(F32)
OUTPUTS = ["y"]


def conv(x, name):
    return tf.nn.conv2d(x, W, strides=[1, 1, 1, 1], padding="SAME", name=name)


def network():
    """A pool and two sums: one reads what a convolution reads, one a tensor of its own."""
    x = v1.placeholder(tf.float32, (None, 8, 8, 6), name="x")
    a = conv(x, "a/conv")
    pool = tf.nn.max_pool2d(tf.nn.relu(a), 2, 2, "SAME", name="net/pool")
    b = conv(pool, "b/conv")
    total = tf.add(b, tf.tanh(pool), name="net/sum")
    v1.add_to_collection("unused", total)
    tf.identity(tf.add(total, total, name="net/twice"), name="y")


def feed(seed=1, count=4):
    return {"x:0": np.random.RandomState(seed).uniform(-1, 2, (count, 8, 8, 6)).astype(F32)}


def entry(name, index, **params):
    return {"layer_name": name, "input_index": index, "activation_quant_params": params}


ENTRIES = [entry("net/pool", 0), entry("net/sum", 1, act_algo="min_max", asymmetric=False), entry("net/sum", 0),
           entry("net/twice", 1, act_algo="hfmg", num_of_bins=1024)]  # fmt: skip
CFG = """
tensor_quantize { layer_name: "net/pool" input_index: 0 }
tensor_quantize { layer_name: "net/sum" input_index: 1 min_max_quantize { asymmetric: false } }
tensor_quantize: [{ layer_name: "net/sum" input_index: 0 ifmr_quantize {} },
                  { layer_name: "net/twice" input_index: 1 hfmg_quantize { num_of_bins: 1024 } }]
"""


def calibrate(entries=ENTRIES, build=network, feeds=None, outputs=OUTPUTS):
    graph = models.graph_of(build)
    pb = models.write_pb(graph.as_graph_def(), "model.pb")
    amct.create_quant_config("config.json", graph)
    config = json.loads(Path("config.json").read_text())
    config["tensor_quantize"] = entries
    Path("config.json").write_text(json.dumps(config))
    amct.quantize_model(graph, "config.json", "record.txt")
    with v1.Session(graph=graph) as session:
        session.run([name + ":0" for name in outputs], feed() if feeds is None else feeds)
    return pb


def fetch(path, names, feeds):
    with v1.Session(graph=models.load(path)) as session:
        return session.run([name + ":0" for name in names], feeds)


def nodes_of(path):
    return {node.name: node for node in v1.GraphDef.FromString(Path(str(path)).read_bytes()).node}


def test_configuration_in_both_forms():
    """What the cfg says is written, and what is written is read."""
    graph = models.graph_of(network)
    Path("tensors.cfg").write_text(CFG)
    amct.create_quant_config("config.json", graph, config_defination="tensors.cfg")
    config = json.loads(Path("config.json").read_text())
    found = [(e["layer_name"], e["input_index"]) for e in config["tensor_quantize"]]
    assert found == [(e["layer_name"], e["input_index"]) for e in ENTRIES]
    params = [e["activation_quant_params"] for e in config["tensor_quantize"]]
    assert params[0] == params[2] == {
        "max_percentile": 0.999999, "min_percentile": 0.999999, "search_range": [0.7, 1.3], "search_step": 0.01,
    }  # fmt: skip
    assert params[1] == {"act_algo": "min_max", "asymmetric": False}
    assert params[3] == {"act_algo": "hfmg", "num_of_bins": 1024}
    amct.quantize_model(graph, "config.json", "record.txt")
    assert sum(op.type == "QuantIfmr" for op in graph.get_operations()) == 6


def test_record_of_tensors():
    calibrate()
    record = models.read_record("record.txt")
    assert list(record) == ["a/conv", "b/conv", "net/pool:0", "net/sum:1", "net/sum:0", "net/twice:1"]
    values = fetch("model.pb", ["net/pool", "b/conv", "net/sum", "Tanh"], feed())
    for name in list(record)[2:]:
        assert set(record[name]) == {"scale_d", "offset_d"}
    tanh = values[3]
    assert record["net/sum:1"] == {"scale_d": [pytest.approx(np.abs(tanh).max() / 127, rel=1e-6)], "offset_d": [0]}
    low, high = min(values[1].min(), 0), max(values[1].max(), 0)
    assert 0.69 < record["net/sum:0"]["scale_d"][0] / ((high - low) / 255) < 1.31


def test_the_same_factors_as_a_layer_that_reads_the_tensor():
    """One observer for both, one AscendQuant, and the pool's AscendAntiQuant from it."""

    def build():
        x = v1.placeholder(tf.float32, (None, 8, 8, 6), name="x")
        pool = tf.nn.max_pool2d(x, 2, 2, "SAME", name="pool")
        tf.add(conv(x, "conv"), tf.reduce_sum(pool), name="y")

    pb = calibrate([entry("pool", 0)], build)
    record = models.read_record("record.txt")
    assert record["pool:0"]["scale_d"] == record["conv"]["scale_d"]
    amct.save_model(pb, ["y"], "record.txt", "m")
    ops = list(models.op_types(models.load("m_quantized.pb")).values())
    assert ops.count("AscendQuant") == ops.count("AscendAntiQuant") == 1
    nodes = nodes_of("m_quantized.pb")
    assert nodes["pool"].input[0] == "conv/anti_quant/AscendAntiQuant" or nodes["pool"].input[0] == "anti_quant/AscendAntiQuant"


def test_deployed_tensors():
    """Each named input, and no other, comes from int8; the values are those of NumPy."""
    pb = calibrate()
    amct.save_model(pb, OUTPUTS, "record.txt", "m")
    nodes, record = nodes_of("m_quantized.pb"), models.read_record("record.txt")
    named = [("net/pool", 0), ("net/sum", 1), ("net/sum", 0), ("net/twice", 1)]
    for name, node in nodes.items():
        for index, source in enumerate(node.input):
            anti = nodes[source.lstrip("^").partition(":")[0]]
            assert (anti.op == "AscendAntiQuant") == ((name, index) in named), (name, index)
            if anti.op != "AscendAntiQuant":
                continue
            factors = record["{}:{}".format(name, index)]
            assert anti.attr["scale"].f == F32(factors["scale_d"][0])
            assert anti.attr["offset"].f == -factors["offset_d"][0]
            quant = nodes[anti.input[0]]
            assert quant.attr["scale"].f == F32(1) / F32(factors["scale_d"][0])
            assert quant.attr["offset"].f == factors["offset_d"][0]
            raw, y = fetch("m_quantized.pb", [quant.input[0], anti.name], feed())
            step, offset = F32(factors["scale_d"][0]), F32(factors["offset_d"][0])
            scaled = raw * F32(F32(1) / step)
            q = np.clip(np.copysign(np.floor(np.abs(scaled.astype(float)) + 0.5), scaled) + offset, -128, 127) - offset
            np.testing.assert_array_equal(y, q.astype(F32) * step)
    expected, found = fetch("model.pb", OUTPUTS, feed())[0], fetch("m_quantized.pb", OUTPUTS, feed())[0]
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    scopes = [name for name, node in nodes.items() if node.op == "AscendAntiQuant"]
    assert scopes == ["net/anti_quant/AscendAntiQuant"] + ["net/anti_quant_{}/AscendAntiQuant".format(i) for i in (1, 2, 3)]


def test_convert_model_and_its_information():
    pb = calibrate()
    amct.save_model(pb, OUTPUTS, "record.txt", "saved")
    Path("record.txt.stats").exists() and Path("record.txt.stats").unlink()
    amct.convert_model(pb, OUTPUTS, "record.txt", "converted")
    assert nodes_of("saved_quantized.pb").keys() == nodes_of("converted_quantized.pb").keys()
    ops = {op["name"]: op for op in json.loads(Path("saved_quant.json").read_text())["graph"][0]["op"]}
    assert ops.keys() == nodes_of("saved_quantized.pb").keys()
    origin = {a["key"]: a["value"] for a in ops["net/anti_quant/AscendAntiQuant"]["output_desc"][0]["attr"]}
    assert origin["_datadump_origin_name"]["s"] == "Relu"
    assert ops["net/act_quant/AscendQuant"]["output_desc"] == [{"attr": []}]


def test_only_tensors():
    """No layer quantized at all."""
    graph = models.graph_of(network)
    pb = models.write_pb(graph.as_graph_def(), "model.pb")
    Path("config.json").write_text(json.dumps({"version": 1, "tensor_quantize": ENTRIES[:1]}))
    amct.quantize_model(graph, "config.json", "record.txt")
    with v1.Session(graph=graph) as session:
        session.run("y:0", feed())
    assert list(models.read_record("record.txt")) == ["net/pool:0"]
    amct.save_model(pb, OUTPUTS, "record.txt", "m")
    ops = [node.op for node in nodes_of("m_quantized.pb").values()]
    assert ops.count("AscendAntiQuant") == 1 and "AscendDequant" not in ops
    rows = amct.compare(pb, "m_quantized.pb", OUTPUTS, feed())
    assert {(row.layer, row.op) for row in rows} == {("net/pool:0", "MaxPool"), ("y", "output")}


def test_compare_and_inspect(capsys):
    pb = calibrate()
    amct.save_model(pb, OUTPUTS, "record.txt", "m")
    rows = {row.layer: row for row in amct.compare(pb, "m_quantized.pb", OUTPUTS, feed())}
    assert set(rows) == {"a/conv", "b/conv", "net/pool:0", "net/sum:1", "net/sum:0", "net/twice:1", "y"}
    assert rows["net/sum:1"].tensor == "Tanh" and rows["net/sum:1"].op.startswith("Add")
    assert rows["net/sum:1"].sqnr_db > 30 and rows["net/sum:1"].clipped == 0
    (f,), (q,) = fetch(pb, ["Tanh"], feed()), fetch("m_quantized.pb", [nodes_of("m_quantized.pb")["net/sum"].input[1]], feed())
    error = np.sum((f.astype(float) - q) ** 2)
    assert rows["net/sum:1"].sqnr_db == pytest.approx(10 * np.log10(np.sum(f.astype(float) ** 2) / error), abs=2)
    report = amct.inspect("model.pb")
    assert [(t["name"], t["op"], t["inputs"]) for t in report["tensors"]] == [
        ("net/pool", "MaxPool", 1), ("net/sum", tf.__version__ < "2" and "Add" or "AddV2", 2),
        ("net/twice", tf.__version__ < "2" and "Add" or "AddV2", 2),
    ]  # fmt: skip


def test_refused_tensors():
    graph = models.graph_of(network)
    for bad, words in (
        (entry("net/pol", 0), ["net/pol", "not in the graph", "net/pool"]),
        (entry("a/conv", 0), ["a/conv", "Conv2D", "MaxPool or an Add"]),
        (entry("net/pool", 1), ["net/pool", "has 1 inputs"]),
        (dict(entry("net/pool", 0), more=1), ["more is not a setting"]),
        (entry("net/pool", 0, search_step=3), ["search_step"]),
    ):
        Path("config.json").write_text(json.dumps({"tensor_quantize": [bad], "a/conv": {}}))
        before = graph.as_graph_def()
        refused(amct.ConfigError, ["tensor_quantize"] + words, amct.quantize_model, graph, "config.json", "record.txt")
        assert graph.as_graph_def() == before and not Path("record.txt").exists()

    def integers():
        x = v1.placeholder(tf.int32, (None, 4), name="x")
        tf.add(x, x, name="sum")
        tf.matmul(v1.placeholder(tf.float32, (None, 4)), tf.constant(W[0, 0, :4]), name="y")

    graph = models.graph_of(integers)
    Path("config.json").write_text(json.dumps({"tensor_quantize": [entry("sum", 0)], "y": {}}))
    refused(amct.ConfigError, ["sum", "INT32"], amct.quantize_model, graph, "config.json", "record.txt")


# ---- two data inputs ----


def attention(kind="BatchMatMulV2", turned=True):
    """Scores of queries and keys, scaled, and what they weigh."""

    def build():
        x = v1.placeholder(tf.float32, (None, 5, 8), name="x")
        parts = []
        for name in ("query", "key", "value"):
            w = tf.constant(RANDOM.normal(0, 0.4, (8, 8)).astype(F32))
            flat = tf.matmul(tf.reshape(x, [-1, 8]), w, name=name + "/MatMul")
            parts.append(tf.reshape(flat, [-1, 5, 8]))
        query, key, value = parts
        if not turned:
            key = tf.transpose(key, [0, 2, 1])
        scores = product(kind, query, key, "scores/product", turned)
        weights = tf.nn.softmax(scores * F32(8**-0.5))
        tf.identity(product(kind, weights, value, "mix/product"), name="y")

    return build


def product(kind, a, b, name, turned=False):
    values = attributes(T=a.dtype, adj_y=turned)
    return a.graph.create_op(kind, [a, b], [a.dtype], name=name, attrs=values).outputs[0]


def sequence(seed=3):
    return {"x:0": np.random.RandomState(seed).normal(0, 1, (6, 5, 8)).astype(F32)}


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("kind", ["BatchMatMul", "BatchMatMulV2"])
def test_two_data_inputs(kind, turned):
    """Both symmetric; scale_w is the scale of the second; the output close to float."""
    pb = calibrate([], attention(kind, turned), sequence())
    config = json.loads(Path("config.json").read_text())
    assert config["scores/product"]["activation_quant_params"]["asymmetric"] is False
    assert "weight_quant_params" not in config["scores/product"]
    record = models.read_record("record.txt")
    assert list(record) == ["query/MatMul", "key/MatMul", "value/MatMul", "scores/product", "mix/product"]
    names = ["query/MatMul", "key/MatMul", "Softmax", "value/MatMul"]
    q, k, s, v = (np.abs(t).max() for t in fetch(pb, names, sequence()))
    for layer, one, other in (("scores/product", q, k), ("mix/product", s, v)):
        factors = record[layer]
        assert factors["offset_d"] == [0] and factors["offset_w"] == [0]
        for scale, largest in ((factors["scale_d"], one), (factors["scale_w"], other)):
            assert len(scale) == 1 and 0.69 < scale[0] / (largest / 127) < 1.31
    amct.save_model(pb, ["y"], "record.txt", "m")
    nodes = nodes_of("m_quantized.pb")
    layer = nodes["scores/product"]
    assert [nodes[name].op for name in layer.input] == ["AscendQuant", "AscendQuant"]
    assert [nodes[name].attr["offset"].f for name in layer.input] == [0, 0]
    second = nodes[layer.input[1]]
    assert second.name == "scores/act_quant_1/AscendQuant"
    assert second.attr["scale"].f == F32(1) / F32(record["scores/product"]["scale_w"][0])
    (expected,), (found,) = fetch(pb, ["y"], sequence()), fetch("m_quantized.pb", ["y"], sequence())
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    rows = {row.layer for row in amct.compare(pb, "m_quantized.pb", ["y"], sequence())}
    assert rows == set(record) | {"y"}


def test_a_tensor_times_itself():
    """One observer, one AscendQuant, one range for both."""

    def build():
        x = v1.placeholder(tf.float32, (None, 5, 8), name="x")
        product("BatchMatMulV2", x, x, "gram/product", True)

    pb = calibrate([], build, sequence(), ["gram/product"])
    factors = models.read_record("record.txt")["gram/product"]
    assert factors["scale_d"] == factors["scale_w"]
    amct.save_model(pb, ["gram/product"], "record.txt", "m")
    nodes = nodes_of("m_quantized.pb")
    assert sum(node.op == "AscendQuant" for node in nodes.values()) == 1
    moved = nodes["gram/product_quantized"]
    assert moved.input[0] == moved.input[1] == "gram/act_quant/AscendQuant"


def test_asymmetric_is_not_for_two_data_inputs():
    graph = models.graph_of(attention())
    Path("a.cfg").write_text(
        'override_layer_configs { layer_name: "mix/product" calibration_config { ifmr_quantize { asymmetric: true } } }'
    )
    amct.create_quant_config("config.json", graph, config_defination="a.cfg")
    config = json.loads(Path("config.json").read_text())
    assert config["mix/product"]["activation_quant_params"]["asymmetric"] is False
    pb = models.write_pb(graph.as_graph_def(), "model.pb")
    text = 'record { key: "mix/product" value { scale_d: 0.01 offset_d: 3 scale_w: 0.01 offset_w: 0 } }'
    Path("record.txt").write_text(text)
    words = ['record.txt:1: "mix/product": offset_d is 3', "symmetric"]
    refused(amct.RecordError, words, amct.convert_model, pb, ["y"], "record.txt", "m")
    Path("record.txt").write_text(text.replace("offset_d: 3", "offset_d: 0").replace("scale_w: 0.01", "scale_w: 1e-39"))
    refused(amct.RecordError, ["scale_w[0]", "1/scale_w"], amct.convert_model, pb, ["y"], "record.txt", "m")
    Path("record.txt").write_text(text.replace("offset_d: 3 scale_w: 0.01 offset_w: 0", "offset_d: 0"))
    refused(amct.RecordError, ["scale_w is missing"], amct.convert_model, pb, ["y"], "record.txt", "m")


def test_two_data_inputs_are_not_retrained():
    graph = models.graph_of(attention())
    amct.create_quant_retrain_config("config.json", graph)
    assert "mix/product" not in json.loads(Path("config.json").read_text())
    Path("config.json").write_text(json.dumps({"version": 1, "batch_num": 1, "mix/product": {}}))
    refused(amct.ConfigError, ["mix/product", "two data inputs"],
            amct.create_quant_retrain_model, graph, "config.json", "record.txt")  # fmt: skip


# ---- weights stored in few bits ----


def stored_weights(dtype, mode, narrow, low, high):
    """A quantized constant behind Dequantize, as older tools shrink models."""
    random = np.random.RandomState(len(mode))
    bits = 8 * np.dtype(dtype.as_numpy_dtype).itemsize
    least = -(2 ** (bits - 1)) if dtype.name.startswith("qint") else 0
    q = random.randint(least, least + 2**bits, (3, 3, 2, 4))
    tensor = tf.make_tensor_proto(q.astype({8: np.uint8, 16: np.uint16}[bits] if least == 0 else {8: np.int8, 16: np.int16}[bits]))
    tensor.dtype = dtype.as_datatype_enum
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, (None, 5, 5, 2), name="x")
        stored = graph.create_op("Const", [], [dtype], name="w", attrs={
            "value": v1.AttrValue(tensor=tensor), "dtype": v1.AttrValue(type=dtype.as_datatype_enum)}).outputs[0]  # fmt: skip
        attrs = attributes(T=dtype, mode=mode.encode())
        if narrow:
            attrs["narrow_range"] = v1.AttrValue(b=True)
        w = graph.create_op("Dequantize", [stored, tf.constant(F32(low)), tf.constant(F32(high))], [tf.float32], name="floats",
                            attrs=attrs).outputs[0]  # fmt: skip
        tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name="conv")
        tf.identity(graph.get_tensor_by_name("conv:0"), name="y")
    return graph


@pytest.mark.parametrize("low, high", [(-0.7, 1.1), (-1.3, 0.2), (0.1, 0.9)])
@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("mode", ["MIN_COMBINED", "MIN_FIRST", "SCALED"])
@pytest.mark.parametrize("dtype", [tf.quint8, tf.qint8, tf.quint16, tf.qint16], ids=lambda d: d.name)
def test_weights_behind_dequantize(dtype, mode, narrow, low, high):
    """What TensorFlow reads is what is quantized, in the live graph and in the pb."""
    if narrow and tf.__version__ < "2":
        pytest.skip("TensorFlow 1.15 has no narrow_range")
    graph = stored_weights(dtype, mode, narrow, low, high)
    pb = models.write_pb(graph.as_graph_def(), "model.pb")
    feeds = {"x:0": np.random.RandomState(2).normal(0, 1, (3, 5, 5, 2)).astype(F32)}
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "record.txt")
    with v1.Session(graph=graph) as session:
        session.run("y:0", feeds)
    with models.plain_session(models.load(pb)) as session:
        weights = session.run("floats:0")
    scales = np.array(models.read_record("record.txt")["conv"]["scale_w"], F32)
    largest = np.abs(weights).max((0, 1, 2)) / F32(127)
    assert np.array_equal(scales, np.where(largest > 0, largest, 1))
    amct.save_model(pb, ["y"], "record.txt", "m")
    nodes = nodes_of("m_quantized.pb")
    assert not any(node.op == "Dequantize" for node in nodes.values())
    stored = nodes[nodes[nodes["conv"].input[1]].input[0]]
    scaled = (weights / scales).astype(F32)
    assert np.array_equal(constant(stored), np.clip(away(scaled), -128, 127))


def test_an_op_that_fusion_takes_away_has_no_input_tensor():
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 4, 4, 3], name="x")
        w = tf.constant(np.linspace(-1, 1, 6).reshape(1, 1, 3, 2), tf.float32)
        conv = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name="conv")
        two = tf.constant([1.0, 2.0])
        inverse = tf.math.rsqrt(tf.add(two, 0.25, name="sum"))
        tf.nn.relu(tf.add(conv * inverse, two - two * inverse), name="y")
    Path("norm.pb").write_bytes(graph.as_graph_def().SerializeToString())
    Path("norm.txt").write_text(
        'record { key: "conv" value { scale_d: 0.5 offset_d: 0 scale_w: 1 offset_w: 0 } }\n'
        'record { key: "sum:0" value { scale_d: 0.5 offset_d: 0 } }\n'
    )
    with pytest.raises(amct.RecordError, match='norm.txt: layer "sum:0": this op is fused into another'):
        amct.convert_model("norm.pb", ["y"], "norm.txt", "norm")
    assert not Path("norm_quantized.pb").exists()
