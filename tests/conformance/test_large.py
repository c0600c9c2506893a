# SPDX-License-Identifier: Apache-2.0
"""Large graphs: files over 2 GB, 100,000 nodes, 10,000 layers, names of 64 KB."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from conftest import ROOT

sys.path.insert(0, os.path.join(ROOT, "bench"))
from networks import chain  # noqa: E402

v1 = tf.compat.v1

LAYERS = 12_500
HUGE = (2 << 30) + (100 << 20)  # bytes of the constant
FLOAT = v1.AttrValue(type=tf.float32.as_datatype_enum)


def record_of(scales):
    """A record of layers with one weight scale each."""
    return "".join(
        'record {{\n  key: "{}"\n  value {{\n    scale_d: 0.02\n    offset_d: -128\n    scale_w: {}\n'
        "    offset_w: 0\n  }}\n}}\n".format(name, scale)
        for name, scale in scales
    )


def test_ten_thousand_layers():
    """Twelve thousand, in 100,000 nodes."""
    definition, last = chain(LAYERS)
    assert len(definition.node) == 8 * LAYERS + 1
    pb = models.write_pb(definition, "model.pb")
    names = ["layer{}/conv".format(i) for i in range(LAYERS)]
    Path("record.txt").write_text(record_of((name, "0.0079") for name in names))
    amct.save_model(pb, [last], "record.txt", "m")
    quantized = v1.GraphDef.FromString(Path("m_quantized.pb").read_bytes())
    ops = {}
    for node in quantized.node:
        ops[node.op] = ops.get(node.op, 0) + 1
    for op in ("AscendQuant", "AscendWeightQuant", "AscendDequant", "BiasAdd"):
        assert ops[op] == LAYERS
    assert "FusedBatchNormV3" not in ops


def wide_network():
    """23 million weights: 90 MB in float32."""
    random = np.random.RandomState(0)
    x = v1.placeholder(tf.float32, (None, 8, 8, 256), name="x")
    for i, (size, channels) in enumerate(((3, 1024), (3, 1024), (3, 1024))):
        w = random.standard_normal((size, size, int(x.shape[-1]), channels)).astype(np.float32)
        x = tf.nn.conv2d(x, w, strides=[1, 2, 2, 1], padding="SAME", name="layer{}/conv".format(i))
        x = tf.nn.relu(tf.nn.bias_add(x, random.standard_normal(channels).astype(np.float32)))
    w = random.standard_normal((1024, 1400)).astype(np.float32)
    tf.matmul(tf.reshape(x, [-1, 1024]), w, name="fc")


def test_a_model_of_90_megabytes():
    """At most 24 MB: each weight once, as int8, and nothing else of that size."""
    graph = models.graph_of(wide_network)
    pb = models.write_pb(graph.as_graph_def(), "model.pb")
    assert 90e6 < os.path.getsize(pb) < 95e6
    names = ["layer{}/conv".format(i) for i in range(3)] + ["fc"]
    Path("record.txt").write_text(record_of((name, "0.05") for name in names))
    amct.convert_model(pb, ["fc"], "record.txt", "m")
    assert os.path.getsize("m_quantized.pb") <= 24e6
    quantized = v1.GraphDef.FromString(Path("m_quantized.pb").read_bytes())
    stored = [n.attr["value"].tensor for n in quantized.node if n.op == "Const"]
    large = [t for t in stored if len(t.tensor_content) > 1 << 16]
    assert len(large) == 4 and all(t.dtype == tf.int8.as_datatype_enum for t in large)
    assert sum(len(t.tensor_content) for t in large) * 4 <= os.path.getsize(pb)


def test_names_of_64_kilobytes():
    prefix = "scope/" + "x" * 65_000 + "/"
    definition, last = chain(2, prefix)
    pb = models.write_pb(definition, "model.pb")
    Path("record.txt").write_text(record_of([(prefix + "layer0/conv", "0.0079")]))
    amct.save_model(pb, [last], "record.txt", "m")
    quantized = v1.GraphDef.FromString(Path("m_quantized.pb").read_bytes())
    assert prefix + "layer0/conv" in {node.name for node in quantized.node}
    assert sum(node.op == "AscendDequant" for node in quantized.node) == 1
    Path("record.txt").write_text(record_of([(prefix + "other/conv", "0.0079")]))
    with pytest.raises(amct.RecordError):  # the text is cut, not the buffer run over
        amct.save_model(pb, [last], "record.txt", "m")


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, size):
    """Tag and length of a field of `size` bytes."""
    return bytes([number << 3 | 2]) + varint(size)


def huge_constant():
    """The NodeDef fields before the content of a float Const of HUGE bytes, and their sizes."""
    shape = field(2, 0)  # of TensorProto: tensor_shape
    dim = b"\x08" + varint(HUGE // 4)
    shape_body = field(2, len(dim)) + dim
    shape = field(2, len(shape_body)) + shape_body
    head = b"\x08\x01" + shape + field(4, HUGE)
    tensor = len(head) + HUGE
    value = field(8, tensor)
    key = field(1, 5) + b"value"
    entry = len(key) + len(field(2, len(value) + tensor)) + len(value) + tensor
    dtype_value = b"\x30\x01"
    dtype = field(1, 5) + b"dtype" + field(2, len(dtype_value)) + dtype_value
    name = field(1, 4) + b"huge" + field(2, 5) + b"Const" + field(5, len(dtype)) + dtype
    node = len(name) + len(field(5, entry)) + entry
    before = field(1, node) + name + field(5, entry) + key + field(2, len(value) + tensor) + value + head
    return before


def test_a_file_over_2_gb():
    """A network beside a constant of 2.1 GB: fused, quantized and saved from file to file."""
    disk = os.statvfs(".")
    if disk.f_bavail * disk.f_frsize < 3 * HUGE:
        pytest.skip("not enough disk")
    definition = models.graph_of().as_graph_def()
    node = definition.node.add(name="large", op="Identity", input=["huge"])
    node.attr["T"].CopyFrom(FLOAT)
    with open("model.pb", "wb") as file:
        file.write(huge_constant())
        file.seek(HUGE, os.SEEK_CUR)  # sparse: zeros
        file.write(definition.SerializeToString())
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "record.txt")
    expected = models.run(graph, [models.images(8)])[0]
    amct.save_model("model.pb", [models.OUTPUT, "large"], "record.txt", "m")
    size = os.path.getsize("m_quantized.pb")
    assert size > HUGE
    with open("m_quantized.pb", "rb") as file:
        assert file.read(len(huge_constant())) == huge_constant()
        file.seek(HUGE, os.SEEK_CUR)
        rest = v1.GraphDef.FromString(file.read())
    os.remove("m_quantized.pb")
    os.remove("model.pb")
    kept = [node for node in rest.node if node.name != "large"]
    quantized = v1.GraphDef(node=kept, versions=rest.versions)
    assert not any("BatchNorm" in node.op for node in quantized.node)
    models.write_pb(quantized, "small.pb")
    found = models.run(models.load("small.pb"), [models.images(8)])[0]
    assert np.abs(found - expected).max() < 0.2


def test_a_live_graph_over_2_gb():
    """TensorFlow cannot hand it over: said in one sentence, and nothing is written."""
    with open("/proc/meminfo") as file:
        available = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    if available < 14 << 20:
        pytest.skip("not enough memory")
    with tf.Graph().as_default() as graph:
        models.network()
        for i in range(2):
            tf.constant(np.zeros(280 << 20, np.float32), name="huge{}".format(i))
    with pytest.raises(amct.GraphError, match="2 GB"):
        amct.create_quant_config("config.json", graph)
    assert not os.path.exists("config.json")


