# SPDX-License-Identifier: Apache-2.0
"""convert_model: the user's own factors; the reference record on the network that it is of."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from test_deploy import away, constant, read_record
from test_hostile import BROKEN_RECORDS, refused

v1 = tf.compat.v1
F32 = np.float32


def own_record(path="record.txt", skip=()):
    """Factors for the small network, made by hand from its weights."""
    definition = v1.GraphDef.FromString(Path("model.pb").read_bytes())
    values = {n.name: tf.make_ndarray(n.attr["value"].tensor) for n in definition.node if n.op == "Const"}

    def folded(layer):
        gamma, variance = (values["{}/bn/{}".format(layer, part)].astype(float) for part in ("gamma", "variance"))
        w = values[layer + "/w"].astype(float)
        return w if layer in skip else w * (gamma / np.sqrt(variance + 1e-3)).reshape((1, 1, 1, -1) if layer == "stem" else (1, 1, -1, 1))

    largest = {
        "stem/Conv2D": np.abs(folded("stem")).max((0, 1, 2)),
        "block/depthwise": np.abs(folded("block")).max((0, 1, 3)),
        "head/MatMul": np.abs(values["head/w"]).reshape(-1).max(keepdims=True),
    }
    text = ""
    for layer in models.LAYERS:
        scales = [format(s / 127, ".9g") for s in largest.get(layer, [])]
        text += 'record {{ key: "{}" value {{ scale_d: {} offset_d: {}\n'.format(
            layer, 2 / 255 if layer == "stem/Conv2D" else 6 / 255, 0 if layer == "stem/Conv2D" else -128
        )
        text += " ".join("scale_w: " + s for s in scales) + " " + " ".join("offset_w: 0" for _ in scales)
        if layer.split("/")[0] in skip:
            text += " skip_fusion: true"
        text += " } }\n"
    Path(path).write_text(text)
    return path


def test_own_factors():
    amct.convert_model(models.float_pb(), [models.OUTPUT], own_record(), "out/model")
    types = models.op_types(models.load("out/model_quantized.pb"))
    assert sum(op == "AscendDequant" for op in types.values()) == 4
    batch = models.images(64, seed=7)
    expected = models.run(models.graph_of(), [batch])[0]
    found = models.run(models.load("out/model_quantized.pb"), [batch])[0]
    assert np.abs(found - expected).max() < 0.2
    assert os.path.getsize("out/model_quant.json") > 100


def test_the_same_as_save_model():
    graph = models.graph_of()
    models.float_pb()
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "record.txt")
    models.run(graph, [models.images(8)])
    Path("record.txt.stats").unlink()  # save_model alone corrects biases
    amct.save_model("model.pb", [models.OUTPUT], "record.txt", "saved")
    amct.convert_model("model.pb", [models.OUTPUT], "record.txt", "converted")
    for name in ("quantized.pb", "quant.json"):
        assert Path("saved_" + name).read_bytes() == Path("converted_" + name).read_bytes()


def test_skip_fusion():
    pb = models.float_pb()
    amct.convert_model(pb, [models.OUTPUT], own_record(skip=("block",)), "m")
    types = models.op_types(models.load("m_quantized.pb"))
    assert types["block/bn"].startswith("FusedBatchNorm") and types["stem/bn"] == "BiasAdd"
    Path("only.txt").write_text('record { key: "stem/Conv2D" value { skip_fusion: true } }\n')
    refused(amct.RecordError, ["only.txt", "no factors"], amct.convert_model, pb, [models.OUTPUT], "only.txt", "n")
    Path("both.txt").write_text(Path("only.txt").read_text() + Path(own_record(skip=("block",))).read_text())
    refused(amct.RecordError, ["both.txt", "stem/Conv2D", "second"], amct.convert_model, pb, [models.OUTPUT], "both.txt", "n")


def test_shift_bits_reach_the_words():
    pb = models.float_pb()
    text = Path(own_record()).read_text()
    start = text.index("head/MatMul")
    Path("record.txt").write_text(text[:start] + text[start:].replace("offset_w: 0", "offset_w: 0 shift_bit: 3", 1))
    amct.convert_model(pb, [models.OUTPUT], "record.txt", "m")
    nodes = {n.name: n for n in v1.GraphDef.FromString(Path("m_quantized.pb").read_bytes()).node}
    words = constant(nodes[nodes["head/dequant/AscendDequant"].input[1]])
    assert list(words >> np.uint64(32)) == [3]


SPELLINGS = """# comments, and every way to write it
record: {
  key: 'stem/\\103onv2D'  # an escape
  value: <
    scale_d: 0.0078125f; offset_d: 0x0,
    scale_w: [%s] offset_w: [0, 0, 0, 0, 0, 0, 0, -0]
  >
}
record { key: "head/" "MatMul" value { scale_d: 235294117e-10 offset_d: -0200 scale_w: 1e-1 offset_w: 0 } }
"""


def test_text_format_in_all_its_spellings():
    pb = models.float_pb()
    scales = re.findall(r"scale_w: (\S+)", Path(own_record()).read_text())[:8]
    Path("record.txt").write_text(SPELLINGS % ", ".join(scales))
    amct.convert_model(pb, [models.OUTPUT], "record.txt", "m")
    nodes = {n.name: n for n in v1.GraphDef.FromString(Path("m_quantized.pb").read_bytes()).node}
    assert nodes["stem/act_quant/AscendQuant"].attr["scale"].f == 128
    assert nodes["head/act_quant/AscendQuant"].attr["offset"].f == -128
    assert sum(n.op == "AscendQuant" for n in nodes.values()) == 2  # the others stay float


@pytest.mark.parametrize("number", range(1, len(BROKEN_RECORDS)))
def test_every_rule_broken_once(number):
    pb = models.float_pb()
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "record.txt")
    models.run(graph, [models.images(8)])
    change, words = BROKEN_RECORDS[number]
    Path("broken.txt").write_text(change(Path("record.txt").read_text()))
    refused(amct.AmctError, words, amct.convert_model, pb, [models.OUTPUT], "broken.txt", "m")


# The reference record


def reference():
    path = os.environ.get("AMCT_REFERENCE_RECORD")
    if not path:
        pytest.skip("AMCT_REFERENCE_RECORD is not set")
    return Path(path)


class Mobilenet:
    """MobileNetV2 1.0 under the names of the record, with weights that its factors fit."""

    STAGES = [(16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)]

    def __init__(self, record, size):
        self.record, self.random = record, np.random.RandomState(0)
        self.weights = {}  # layer -> folded float32 weight
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.build(size)

    def parameters(self, name, shape):
        """Weights, and a batch norm that makes integers in [-127, 127] of them; the odd-sized are not whole."""
        scales = np.array(self.record[name]["scale_w"], float)
        norm = self.random.uniform(0.5, 2, (4, scales.size))
        factor = norm[0] / np.sqrt(norm[3] + 1e-3)
        spread = scales.reshape((-1, 1) if "depthwise" in name else -1)
        folded = self.random.uniform(-127, 127, shape) * spread
        weight = folded / factor.reshape(spread.shape)
        norm[1:3] -= 1.25
        norm = norm.astype(F32)
        k = norm[0].astype(float) / np.sqrt(norm[3].astype(float) + F32(1e-3))
        self.weights[name] = (weight.astype(F32).astype(float) * k.reshape(spread.shape)).astype(F32)
        return weight.astype(F32), norm

    def layer(self, x, name, kind, channels=0, size=1, stride=1):
        full = "MobilenetV2/{}/{}".format(name, kind)
        deep = int(x.shape[-1])
        shape = (size, size, deep, 1) if kind == "depthwise" else (size, size, deep, channels)
        w, (gamma, beta, mean, variance) = self.parameters(full, shape)
        if kind == "depthwise":
            x = v1.nn.depthwise_conv2d_native(x, w, [1, stride, stride, 1], "SAME", name=full)
        else:
            x = tf.nn.conv2d(x, w, strides=[1, stride, stride, 1], padding="SAME", name=full)
        x = v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon=1e-3, is_training=False,
                                   name="MobilenetV2/{}/BatchNorm".format(name))[0]  # fmt: skip
        return x if name.endswith("project") else tf.nn.relu6(x)

    def build(self, size):
        x = v1.placeholder(tf.float32, (None, size, size, 3), name="input")
        x = self.layer(x, "Conv", "Conv2D", 32, 3, 2)
        number = 0
        for channels, repeats, stride in self.STAGES:
            for i in range(repeats):
                name = "expanded_conv" + ("_{}".format(number) if number else "")
                y = x
                if number:
                    y = self.layer(y, name + "/expand", "Conv2D", 6 * int(x.shape[-1]))
                y = self.layer(y, name + "/depthwise", "depthwise", size=3, stride=stride if i == 0 else 1)
                y = self.layer(y, name + "/project", "Conv2D", channels)
                x = x + y if i else y
                number += 1
        x = self.layer(x, "Conv_1", "Conv2D", 1280)
        x = tf.nn.avg_pool2d(x, int(x.shape[1]), 1, "VALID", name="MobilenetV2/Logits/AvgPool")
        name = "MobilenetV2/Logits/Conv2d_1c_1x1/Conv2D"
        w = (self.random.uniform(-127, 127, (1, 1, 1280, 1001)) * self.record[name]["scale_w"][0]).astype(F32)
        self.weights[name] = w
        x = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name=name)
        x = tf.nn.bias_add(x, np.zeros(1001, F32), name="MobilenetV2/Logits/Conv2d_1c_1x1/BiasAdd")
        tf.reshape(x, [-1, 1001], name="logits")


def test_the_reference_record_on_its_network():
    """54 layers: scales, words and int8 weights as NumPy has them."""
    record = read_record(reference())
    assert len(record) == 54
    net = Mobilenet(record, 96)
    models.write_pb(net.graph.as_graph_def(), "model.pb")
    amct.convert_model("model.pb", ["logits"], str(reference()), "m")
    nodes = {n.name: n for n in v1.GraphDef.FromString(Path("m_quantized.pb").read_bytes()).node}
    assert not any("BatchNorm" in node.op for node in nodes.values())
    quants = [n for n in nodes.values() if n.op == "AscendDequant"]
    assert len(quants) == 54
    for dequant in quants:
        layer = nodes[dequant.input[0]]
        layer = nodes[layer.input[0]] if layer.op == "BiasAdd" else layer
        factors = record[layer.name]
        quant = nodes[layer.input[0]]
        assert quant.op == "AscendQuant"
        assert F32(quant.attr["scale"].f) == F32(1) / F32(factors["scale_d"][0])
        assert quant.attr["offset"].f == factors["offset_d"][0]
        scales = np.array(factors.get("scale_w", [1]), F32)
        words = constant(nodes[dequant.input[1]])
        assert np.array_equal(words, (F32(factors["scale_d"][0]) * scales).view(np.uint32).astype(np.uint64))
        if layer.op == "AvgPool":
            continue
        spread = scales.reshape((-1, 1)) if layer.op == "DepthwiseConv2dNative" else scales
        q = np.clip(away((net.weights[layer.name] / spread).astype(F32)), -128, 127).astype(np.int8)
        stored = constant(nodes[nodes[layer.input[1]].input[0]])
        assert stored.dtype == np.int8 and np.array_equal(stored, q), layer.name
    size = os.path.getsize("m_quantized.pb") / os.path.getsize("model.pb")
    assert size < 0.28, size
    x = np.random.RandomState(1).randint(0, 256, (2, 96, 96, 3)) / F32(128) - 1
    assert np.isfinite(models.run(models.load("m_quantized.pb"), [x], "logits:0")[0]).all()
