# SPDX-License-Identifier: Apache-2.0
"""Every rule of the record, broken once: convert_model names record key, field, value and line, and writes nothing."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from test_hostile import refused

v1 = tf.compat.v1
F32 = np.float32
SCALE = "0.0078740157"  # 1/127: of weights up to 1
OUTPUTS = ["relu", "fc", "moving"]


def build():
    """A convolution of 3 channels, a pool, a product, one whose weights are fed, a dilated one."""
    x = v1.placeholder(tf.float32, (None, 4, 4, 2), name="x")
    w = np.ones((1, 1, 2, 3), F32)
    y = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name="conv")
    y = tf.nn.bias_add(y, tf.constant(np.full(3, 1e3, F32)), name="bias")
    y = tf.nn.relu(tf.nn.avg_pool2d(y, 2, 2, "SAME", name="pool"), name="relu")
    y = tf.nn.max_pool2d(y, 2, 2, "SAME", name="max")
    tf.matmul(tf.reshape(y, [-1, 3]), tf.constant(np.ones((3, 2), F32)), name="fc")
    fed = v1.placeholder(tf.float32, (1, 1, 2, 3), name="fed")
    tf.nn.conv2d(x, fed, strides=[1, 1, 1, 1], padding="SAME", name="moving")


DATA = "scale_d: 0.5 offset_d: -3 "
ONE = "scale_w: {} offset_w: 0".format(SCALE)
THREE = " ".join([ONE] * 3)

# the record's second line on; `#` stands for the key; what the message says behind "broken.txt:2: "
RULES = {
    "key exists": ("convv", DATA + THREE, '"convv": the layer is not in the graph; nearest: "conv"'),
    "can be quantized": ("relu", DATA, '"relu": the layer does not support quantization: Relu is not'),
    "weights of a placeholder": ("moving", DATA + ONE, '"moving": the layer does not support quantization: weight is '
                                 'computed by Placeholder "fed"'),
    "scale_d over 0": ("conv", "scale_d: 0 offset_d: 0 " + ONE, '"conv": scale_d is 0: a finite'),
    "scale_d not negative": ("conv", "scale_d: -1 offset_d: 0 " + ONE, '"conv": scale_d is -1: a finite'),
    "scale_d finite": ("conv", "scale_d: inf offset_d: 0 " + ONE, '"conv": scale_d is inf: a finite'),
    "scale_d a number": ("conv", "scale_d: nan offset_d: 0 " + ONE, '"conv": scale_d is nan: a finite'),
    "scale_d can be inverted": ("conv", "scale_d: 1e-39 offset_d: 0 " + ONE, '"conv": scale_d is 1e-39: 1/scale_d is over'),
    "scale_w over 0": ("conv", DATA + " scale_w: 0 offset_w: 0", '"conv": scale_w[0] is 0: a finite'),
    "scale_w not negative": ("conv", DATA + " scale_w: -2 offset_w: 0", '"conv": scale_w[0] is -2: a finite'),
    "scale_w finite": ("conv", DATA + " scale_w: [1, inf, 1] offset_w: [0, 0, 0]", '"conv": scale_w[1] is inf: a finite'),
    "scale_w a number": ("conv", DATA + " scale_w: [1, 1, nan] offset_w: [0, 0, 0]", '"conv": scale_w[2] is nan: a finite'),
    "product of the scales": ("conv", "scale_d: 1e30 offset_d: 0 scale_w: 1e30 offset_w: 0",
                              '"conv": scale_w[0] is 1e+30: its product with scale_d, 1e+30, is infinite'),
    "offset_d at least": ("conv", "scale_d: 1 offset_d: -129 " + ONE, '"conv": offset_d is -129: -128..127 is wanted'),
    "offset_d at most": ("conv", "scale_d: 1 offset_d: 128 " + ONE, '"conv": offset_d is 128: -128..127 is wanted'),
    "offset_d is there": ("conv", "scale_d: 1 " + ONE, '"conv": scale_d without offset_d'),
    "scale_d is there": ("conv", "offset_d: 1 " + ONE, '"conv": offset_d without scale_d'),
    "data factors are there": ("conv", ONE, '"conv": factors of weights without scale_d'),
    "weight factors are there": ("conv", DATA, '"conv": scale_w is missing: Conv2D has weights'),
    "offset_w is 0": ("conv", DATA + " scale_w: [1, 1, 1] offset_w: [0, 5, 0]", '"conv": offset_w[1] is 5: 0 is wanted'),
    "shift_bit at most": ("conv", DATA + ONE + " shift_bit: 17", '"conv": shift_bit[0] is 17: all are 0, or each is in 1..16'),
    "shift_bit all or none": ("conv", DATA + THREE + " shift_bit: [2, 0, 3]", '"conv": shift_bit[1] is 0: all are 0, or each'),
    "shift_bit not negative": ("conv", DATA + ONE + " shift_bit: -1", '"conv": shift_bit is -1: a whole number'),
    "as many offset_w": ("conv", DATA + " scale_w: [1, 1, 1] offset_w: [0, 0]", '"conv": 2 offset_w for 3 scale_w'),
    "as many shift_bit": ("conv", DATA + THREE + " shift_bit: [1, 1]", '"conv": 2 shift_bit for 3 scale_w'),
    "one or all channels": ("conv", DATA + ONE + " " + ONE, '"conv": 2 scale_w for 3 output channels'),
    "one for products": ("fc", DATA + ONE + " " + ONE, '"fc": 2 scale_w: MatMul has one for all its weights'),
    "pools have no scale_w": ("pool", DATA + " scale_w: 1", '"pool": scale_w is given: AvgPool has no weights'),
    "pools have no offset_w": ("pool", DATA + " offset_w: 0", '"pool": offset_w is given: AvgPool has no weights'),
    "pools have no shift": ("pool", DATA + " shift_bit: 2", '"pool": shift_bit[0] is 2: AvgPool has no shift'),
    "inputs of pools alone": ("conv:0", DATA, '"conv:0": "conv" is a Conv2D: a MaxPool or an Add is wanted'),
    "inputs that are there": ("max:1", DATA, '"max:1": "max" has 1 inputs: there is no input 1'),
    "inputs have no weights": ("max:0", DATA + ONE, '"max:0": scale_w is given: MaxPool has no weights'),
    "fields are known": ("conv", DATA + ONE + " scale: 1", '"conv": scale is not a field'),
    "clusters": ("conv", DATA + ONE + " cluster: 1", '"conv": cluster (weights quantized to clusters) is not handled'),
    "one value of one field": ("conv", DATA + " scale_d: 1 " + ONE, '"conv": scale_d stands twice'),
    "numbers are numbers": ("conv", "scale_d: x offset_d: 0 " + ONE, '"conv": scale_d is x: a number is wanted'),
    "whole numbers": ("conv", "scale_d: 1 offset_d: 0.5 " + ONE, '"conv": offset_d is 0.5: a whole number'),
    "truth": ("conv", DATA + ONE + " skip_fusion: 2", '"conv": skip_fusion is 2: true or false'),
}  # fmt: skip

TEXTS = {
    "it parses": ('# one\nrecord { key: "conv" value { scale_d 1 } }\n', amct.FormatError, "broken.txt: line 2: "),
    "it ends": ('# one\nrecord { key: "conv" value {\n', amct.FormatError, "broken.txt: line 3: "),
    "key is there": ("# one\nrecord { value { %s } }\n" % DATA, amct.RecordError, "broken.txt:2: record of line 2 has no key"),
    "value is there": ('# one\nrecord { key: "conv" }\n', amct.RecordError, 'broken.txt:2: "conv": record of line 2 has no value'),
    "one record a key": ('record { key: "conv" value { skip_fusion: true } }\n' * 2, amct.RecordError,
                         'broken.txt:2: "conv": a second record of this key, the first is in line 1'),
    "some factors": ('record { key: "conv" value { skip_fusion: true } }\n', amct.RecordError, "broken.txt holds no factors"),
    "the file": (None, amct.FileError, "broken.txt"),
}  # fmt: skip


def convert(error, words):
    pb = models.write_pb(models.graph_of(build).as_graph_def(), "model.pb")
    return refused(error, words, amct.convert_model, pb, OUTPUTS, "broken.txt", "out")


@pytest.mark.parametrize("rule", list(RULES))
def test_rule_of_a_layer(rule):
    key, value, words = RULES[rule]
    other = "fc" if key != "fc" else "conv"
    record = 'record {{ key: "{}" value {{ {} }} }}\n'
    good = record.format(other, "scale_d: 1 offset_d: 0 " + ONE)
    Path("broken.txt").write_text("# one\n" + record.format(key, value) + good)
    text = convert(amct.RecordError, ["broken.txt:2: " + words])
    assert text.index("broken.txt:2: ") == 0


@pytest.mark.parametrize("rule", list(TEXTS))
def test_rule_of_the_file(rule):
    text, error, words = TEXTS[rule]
    if text is not None:
        Path("broken.txt").write_text(text)
    convert(error, [words])


def test_a_bias_that_does_not_fit():
    """1000 in steps of 1e-7: the layer, both values, and what to do."""
    text = 'record { key: "conv" value { scale_d: 1e-5 offset_d: 0 %s } }\n'
    Path("broken.txt").write_text(text % " ".join(["scale_w: 0.02 offset_w: 0"] * 3))
    convert(amct.RecordError, ['layer "conv"', "bias 1000 of channel 0", "outside int32", "use a scale_w of at least",
                               "or leave the layer float"])  # fmt: skip


def test_factors_of_other_weights():
    Path("broken.txt").write_text('record { key: "fc" value { %s scale_w: 1e-4 offset_w: 0 } }\n' % DATA)
    convert(amct.RecordError, ['layer "fc"', "scale_w 0.0001", "largest is 1"])


def test_what_the_rules_allow():
    """skip_fusion alone, on any op; all shift_bit 0; one scale for all channels; an input tensor."""
    pb = models.write_pb(models.graph_of(build).as_graph_def(), "model.pb")
    Path("record.txt").write_text(
        'record {{ key: "fc" value {{ skip_fusion: true }} }} record {{ key: "relu" value {{ skip_fusion: true }} }}'
        'record {{ key: "conv" value {{ scale_d: 1 offset_d: 127 {} shift_bit: 0 }} }}'
        'record {{ key: "max:0" value {{ scale_d: 1 offset_d: -128 }} }}'
        'record {{ key: "pool" value {{ scale_d: 1 offset_d: 0 skip_fusion: true }} }}'.format(ONE)
    )
    amct.convert_model(pb, OUTPUTS, "record.txt", "m")
    ops = list(models.op_types(models.load("m_quantized.pb")).values())
    assert ops.count("AscendDequant") == 2 and ops.count("AscendAntiQuant") == 1
