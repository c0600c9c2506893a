# SPDX-License-Identifier: Apache-2.0
"""inspect: what it says of a model is what the model has and what is done with it."""

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct

v1 = tf.compat.v1
KEYS = {
    "model", "bytes", "nodes", "functions", "parameters", "quantized_by", "inputs", "outputs", "ops",
    "fusions", "declined", "layers", "float_layers", "tensors",
}  # fmt: skip


@pytest.fixture
def graph():
    """A batch norm that goes, one that stays, a pool, a MatMul that cannot."""


    def ramp(*shape):
        return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)

    ones = np.ones(4, np.float32)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        v1.placeholder(tf.bool, name="flag")
        y = tf.nn.conv2d(x, ramp(3, 3, 3, 4), [1, 1, 1, 1], "SAME", name="conv")
        y = v1.nn.fused_batch_norm(y, ones, ones, ones, ones, is_training=False, name="bn")[0]
        y = tf.nn.relu(y)
        z = v1.nn.fused_batch_norm(y, ones, ones, ones, ones, is_training=False, name="alone")[0]
        z = tf.nn.avg_pool2d(z, 8, 8, "VALID", name="pool")
        tf.matmul(tf.reshape(z, [-1, 4]), ramp(5, 4), transpose_b=True, name="fc")
    return graph


def test_report(graph):
    definition = graph.as_graph_def()
    report = amct.inspect(graph)
    assert set(report) == KEYS
    assert report["bytes"] == definition.ByteSize()
    assert report["nodes"] == len(definition.node) == sum(report["ops"].values())
    constants = [
        tf.make_ndarray(node.attr["value"].tensor) for node in definition.node if node.op == "Const"
    ]
    assert report["parameters"] == {
        "constants": len(constants),
        "values": sum(value.size for value in constants),
        "bytes": sum(value.nbytes for value in constants),
    }
    assert report["inputs"] == [
        {"name": "x", "op": "Placeholder", "dtype": tf.float32.name, "shape": [None, 8, 8, 3]},
        {"name": "flag", "op": "Placeholder", "dtype": tf.bool.name, "shape": None},
    ]
    assert report["outputs"] == [{"name": "fc", "op": "MatMul", "shape": [None, 5]}]
    assert report["quantized_by"] is None
    assert report["fusions"] == [{"rule": "fold_conv_bn", "node": "bn", "layers": ["conv"]}]
    assert [row["node"] for row in report["declined"]] == ["alone"]
    assert report["layers"] == [
        {"name": "conv", "op": "Conv2D", "granularity": "per_channel", "channels": 4},
        {"name": "pool", "op": "AvgPool", "granularity": None, "channels": None},
    ]
    assert [row["name"] for row in report["float_layers"]] == ["fc"]
    assert "transpose_b" in report["float_layers"][0]["reason"]


def test_pb_and_graph_are_one(graph, tmp_path):
    path = tmp_path / "model.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    of_path, of_graph = amct.inspect(path, ["fc"]), amct.inspect(graph, ["fc"])
    assert of_path.pop("model") == str(path)
    assert of_graph.pop("model") == "graph"
    assert of_path == of_graph
    assert dict(of_path, model=str(path)) == amct.inspect(str(path))


def test_outputs_are_not_fused_away(graph):
    conv = graph.get_tensor_by_name("conv:0")
    report = amct.inspect(graph, [conv, "fc"])
    assert [row["name"] for row in report["outputs"]] == ["conv", "fc"]
    assert "bn" in [row["node"] for row in report["declined"]]


@pytest.mark.parametrize("dtype", [tf.float16, tf.float64, tf.int8, tf.int64, tf.string, tf.uint16])
def test_dtypes(dtype):
    with tf.Graph().as_default() as graph:
        v1.placeholder(dtype, [], name="x")
    report = amct.inspect(graph)
    assert report["inputs"][0]["dtype"] == dtype.name
    assert report["inputs"][0]["shape"] == []


def test_quantized(graph, tmp_path):
    amct.create_quant_config("c.json", graph)
    amct.quantize_model(graph, "c.json", "r.txt")
    report = amct.inspect(graph)
    assert report["ops"]["QuantIfmr"] > 0
    assert "quant" in report["quantized_by"].lower()
    assert report["fusions"] == report["layers"] == []


def test_strange_names():
    """Quotes, backslashes and characters outside ASCII come through; a byte that is no UTF-8 as U+FFFD."""
    definition = v1.GraphDef()
    for name in ('a"b', "a\\b", "größe", "\u65e5\u672c"):
        node = definition.node.add()
        node.name, node.op = name, "NoOp"
    raw = definition.SerializeToString().replace("größe".encode(), b"gr\xff\xfe\xc3\x9fe")
    names = [node.name for node in definition.node]
    report = amct._core.inspect_model(raw, ())
    assert report["nodes"] == 4
    assert amct._core.inspect_model(raw, names[:2])["outputs"][1]["name"] == "a\\b"
    shown = amct._core.inspect_model(raw, ["gr\udcff\udcfe\u00dfe", names[3]])["outputs"]
    assert [row["name"] for row in shown] == ["gr\ufffd\ufffdße", names[3]]


@pytest.mark.parametrize(
    "arguments, error, says",
    [
        ((3,), TypeError, "pb_or_graph must be"),
        (("",), ValueError, "pb_or_graph is empty"),
        (("none.pb",), OSError, "none.pb"),
        (("model.pb", ["x:0"]), ValueError, "x:0"),
        (("model.pb", "x"), TypeError, "outputs must be"),
        (("model.pb", ["y"]), ValueError, "no node"),
    ],
)
def test_wrong_arguments(graph, arguments, error, says):
    with open("model.pb", "wb") as file:
        file.write(graph.as_graph_def().SerializeToString())
    with pytest.raises(error, match=says):
        amct.inspect(*arguments)
