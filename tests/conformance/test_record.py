# SPDX-License-Identifier: Apache-2.0
"""The record depends on the values that were observed, and on nothing else: not on the order of batches, their
split, constants or variables, the session, or the version of TensorFlow."""
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct

v1 = tf.compat.v1
F32 = np.float32
GOLDEN = pathlib.Path(__file__).parents[1] / "data" / "record_golden.txt"
LAYERS = ("relu6", "image", "tails", "fc")
SAMPLES = 24


def arrays():
    """What each layer sees: the same bits under every NumPy (the legacy generator is frozen)."""
    rng = np.random.RandomState(20)
    return {
        "relu6": np.clip(rng.standard_normal((SAMPLES, 9, 9, 4)) * 4, 0, 6).astype(F32),
        "image": (rng.randint(0, 256, (SAMPLES, 16, 16, 3)) / 128.0 - 1).astype(F32),
        "tails": (rng.standard_normal((SAMPLES, 12, 12, 6)) ** 5).astype(F32),
        "fc": rng.uniform(-3, 1, (SAMPLES, 40)).astype(F32),
    }


def build(variables=None):
    """Layers that read placeholders, so that what they see does not depend on TensorFlow's arithmetic."""
    rng = np.random.RandomState(7)
    graph, fetches = tf.Graph(), []

    def parameter(name, value):
        value = np.asarray(value, F32)
        if variables is None:
            return tf.constant(value, name=name)
        return v1.get_variable(name, initializer=value, use_resource=variables == "resource")

    with graph.as_default():
        for name in LAYERS:
            x = v1.placeholder(tf.float32, (None,) + arrays()[name].shape[1:], name="in_" + name)
            channels = int(x.shape[-1])
            if name == "fc":
                y = tf.matmul(x, parameter("fc_w", rng.standard_normal((channels, 5))), name="fc/op")
                y = tf.nn.bias_add(y, parameter("fc_b", rng.standard_normal(5) * 3), name="fc/bias")
            else:
                w = parameter(name + "_w", rng.standard_normal((3, 3, channels, 7)))
                y = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name=name + "/op")
                values = [rng.uniform(0.5, 2, 7) for _ in range(4)]
                values = [parameter("%s_bn%d" % (name, i), v) for i, v in enumerate(values)]
                y = v1.nn.fused_batch_norm(y, *values, is_training=False, name=name + "/bn")[0]
            fetches.append(y.name)
    return graph, fetches


def calibrate(folder, sizes, order=None, variables=None, sessions=1):
    graph, fetches = build(variables)
    config, record = str(folder / "config.json"), folder / "record.txt"
    amct.create_quant_config(config, graph, batch_num=len(sizes))
    amct.quantize_model(graph, config, str(record))
    data = {k: v if order is None else v[order] for k, v in arrays().items()}
    starts = np.cumsum([0] + list(sizes))
    assert starts[-1] == SAMPLES
    batches = np.array_split(np.arange(len(sizes)), sessions)
    for part in batches:
        with v1.Session(graph=graph) as session:
            if variables:
                with graph.as_default():
                    session.run(v1.global_variables_initializer())
            for i in part:
                feed = {"in_%s:0" % k: v[starts[i]:starts[i + 1]] for k, v in data.items()}
                session.run(fetches, feed)
    return record.read_bytes()


def test_same_bytes_as_the_golden_record(tmp_path):
    assert calibrate(tmp_path, [SAMPLES]) == GOLDEN.read_bytes()


@pytest.mark.parametrize("sizes", [[12, 12], [1, 23], [5, 7, 11, 1], [1] * SAMPLES])
def test_split_into_batches(sizes, tmp_path):
    assert calibrate(tmp_path, sizes) == GOLDEN.read_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_shuffled(seed, tmp_path):
    order = np.random.RandomState(seed).permutation(SAMPLES)
    assert calibrate(tmp_path, [8, 8, 8], order) == GOLDEN.read_bytes()


@pytest.mark.parametrize("variables", ["ref", "resource"])
def test_variables(variables, tmp_path):
    assert calibrate(tmp_path, [12, 12], variables=variables) == GOLDEN.read_bytes()


def test_new_session_between_batches(tmp_path):
    assert calibrate(tmp_path, [6, 6, 6, 6], sessions=3) == GOLDEN.read_bytes()


def test_golden_record_makes_sense():
    text = GOLDEN.read_text()
    assert text.count("record {") == len(LAYERS)
    image = text[text.index('key: "image/op"'):]
    assert "scale_d: 0.0078125" in image and "offset_d: 0" in image
    relu6 = text[text.index('key: "relu6/op"'):]
    assert "offset_d: -128" in relu6.split("scale_w")[0]
