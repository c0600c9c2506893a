# SPDX-License-Identifier: Apache-2.0
"""convert_qat_model: networks that tf.contrib.quantize has trained."""

import re

import numpy as np
import pytest
import tensorflow as tf

import models
from test_qat import FAKE, check_layers, converted, ops, random, values

v1 = tf.compat.v1
pytestmark = pytest.mark.skipif(not hasattr(tf, "contrib"), reason="tf.contrib.quantize is in TensorFlow 1 only")


def skewed(shape, dtype=tf.float32, partition_info=None):
    """Weights whose smallest is twice as far from zero as their largest."""
    fan_in = np.prod(shape[:-1] if shape[-1] > 1 else shape[:2])
    return (1 + tf.math.log(tf.random.uniform(shape, 1e-3, 1))) * np.sqrt(1.5 / fan_in)


def contrib_network(x, training, norm="fused", weights=None):
    from tensorflow.contrib import slim

    weights = weights or slim.initializers.xavier_initializer()
    normal = dict(is_training=training, decay=0.9, fused=norm == "fused", scale=True)
    normalizer = dict(normalizer_fn=slim.batch_norm, normalizer_params=normal) if norm else {}
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d, slim.fully_connected], weights_initializer=weights):
        with slim.arg_scope([slim.conv2d, slim.separable_conv2d], activation_fn=tf.nn.relu6, **normalizer):
            y = slim.conv2d(x, 32, 3, scope="first")
            y = slim.separable_conv2d(y, None, 3, depth_multiplier=1, scope="depthwise")
            y = y + slim.conv2d(y, 32, 1, scope="pointwise")
            y = slim.conv2d(y, 32, 3, stride=2, scope="strided")
            y = slim.conv2d(y, 32, 1, scope="plain", activation_fn=tf.nn.relu, normalizer_fn=None)
        y = slim.fully_connected(slim.flatten(y), 5, activation_fn=None, scope="fc")
    return tf.identity(y, name="out")


def deep_network(x, training):
    """Thirteen layers and a dense one, every third with what came before added."""
    from tensorflow.contrib import slim

    normal = dict(is_training=training, decay=0.9, scale=True)
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], activation_fn=tf.nn.relu6):
        with slim.arg_scope(
            [slim.conv2d, slim.separable_conv2d], normalizer_fn=slim.batch_norm, normalizer_params=normal
        ):
            y = slim.conv2d(x, 24, 3, scope="first")
            for i in range(4):
                z = slim.conv2d(y, 48, 1, scope="wide%d" % i)
                z = slim.separable_conv2d(z, None, 3, depth_multiplier=1, scope="depthwise%d" % i)
                y = y + slim.conv2d(z, 24, 1, scope="narrow%d" % i)
    y = slim.fully_connected(slim.flatten(y), 5, activation_fn=None, scope="fc")
    return tf.identity(y, name="out")


def layers_network(x, training):
    """Batch norms of tf.layers, not fused: tf.contrib.quantize leaves them, and what stands before them, alone."""
    y = x
    for name in ("one", "two"):
        y = tf.layers.conv2d(y, 16, 3, padding="same", use_bias=False, name=name)
        y = tf.layers.batch_normalization(y, training=training, momentum=0.9, fused=False, name=name + "/norm")
        y = tf.nn.relu6(y, name=name + "/relu6")
    y = tf.layers.conv2d(y, 16, 3, activation=tf.nn.relu6, name="three")
    y = tf.layers.conv2d(y, 16, 3, activation=tf.nn.relu6, name="four")
    return tf.identity(tf.layers.dense(tf.layers.flatten(y), 5, name="fc"), name="out")


def trained(build, symmetric=False, delay=0):
    """Trains for some steps, and freezes the evaluation graph."""
    from tensorflow.contrib import quantize

    if symmetric:
        create_training = lambda graph: quantize.experimental_create_training_graph(graph, symmetric=True)  # noqa: E731
        create_eval = lambda graph: quantize.experimental_create_eval_graph(graph, symmetric=True)  # noqa: E731
    else:
        create_training = lambda graph: quantize.create_training_graph(graph, quant_delay=delay)  # noqa: E731
        create_eval = quantize.create_eval_graph
    labels = np.arange(160) % 5
    data = random(1, 5, 8, 8, 3)[labels] + random(2, 160, 8, 8, 3) / 2  # pictures of five kinds
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(1)
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        loss = v1.losses.sparse_softmax_cross_entropy(tf.constant(labels), build(x, True))
        create_training(graph)
        train = [v1.train.AdamOptimizer(0.003).minimize(loss)] + v1.get_collection(v1.GraphKeys.UPDATE_OPS)
        with models.plain_session(graph) as session:
            session.run(v1.global_variables_initializer())
            for _ in range(60):
                session.run(train, {x: data})
            v1.train.Saver().save(session, "./model.ckpt")
    with tf.Graph().as_default() as graph:
        build(v1.placeholder(tf.float32, [None, 8, 8, 3], name="x"), False)
        create_eval(graph)
        with models.plain_session(graph) as session:
            v1.train.Saver().restore(session, "./model.ckpt")
            models.freeze(session, "qat.pb", ["out"])
    return models.load("qat.pb").as_graph_def(), data


CONTRIB_TENSORS = (
    "first/Relu6",
    "depthwise/Relu6",
    "pointwise/Relu6",
    "add",
    "strided/Relu6",
    "plain/Relu",
    "out",
)
CONTRIB = {  # how it is built, how it is trained; how far a layer, and the whole network, may be away, in steps
    "symmetric": (dict(), dict(symmetric=True), (0.1, 3), 1),
    "default": (dict(), dict(), (0.6, 3), 1),
    "late": (dict(), dict(delay=40), (0.6, 3), 1),
    "not fused": (dict(norm="small"), dict(), (0.6, 3), 1),
    "no norm": (dict(norm=None), dict(), (0.6, 3), 1),
    "skewed": (dict(weights=skewed), dict(), (2, 4), 2),
    "skewed, no norm": (dict(weights=skewed, norm=None), dict(), (2, 4), 2),
}


@pytest.mark.parametrize("case", sorted(CONTRIB))
def test_contrib(case, capfd):
    """All but the layer that reads the input, which tf.contrib.quantize leaves alone.

    The outputs have no fake quantization: a step is 1/255 of what the trained graph gives.
    """
    how, training, limits, steps = CONTRIB[case]
    before, data = trained(lambda x, is_training: contrib_network(x, is_training, **how), **training)
    after = converted()
    log = "".join(capfd.readouterr())
    assert re.search('layer "first/Conv2D(_Fold)?" stays float: its data is not fake-quantized', log)
    assert not any(FAKE.match(op) for op in ops(after))
    assert ops(after).count("AscendDequant") == 5
    assert ("leave the steps they were trained on" in log) == (case != "symmetric")
    spans = [(name, np.ptp(values(before, data, name)[0]) / 255) for name in CONTRIB_TENSORS]
    check_layers(before, after, data, spans, *limits)
    old, new = values(before, data, "out")[0], values(after, data, "out")[0]
    apart = np.abs(old - new).max(1) / (np.ptp(old) / 255)
    assert apart.max() < steps
    assert np.mean(apart > 1) < 0.35
    assert np.mean(old.argmax(1) == new.argmax(1)) > 0.99


@pytest.mark.parametrize("case", ["default", "skewed"])
def test_contrib_exact(case):
    """Every picture within a step, every layer as from symmetric ranges."""
    how, training, _, _ = CONTRIB[case]
    before, data = trained(lambda x, is_training: contrib_network(x, is_training, **how), **training)
    after = converted(exact=True)
    spans = [(name, np.ptp(values(before, data, name)[0]) / 255) for name in CONTRIB_TENSORS]
    check_layers(before, after, data, spans, 0.1)
    old, new = values(before, data, "out")[0], values(after, data, "out")[0]
    assert np.abs(old - new).max() < np.ptp(old) / 255


@pytest.mark.parametrize("symmetric", [True, False])
def test_contrib_exact_and_deep(symmetric):
    """Whatever the ranges and the number of layers: what is exact does not add up."""
    before, data = trained(deep_network, symmetric=symmetric)
    after = converted(exact=True)
    assert ops(after).count("AscendDequant") >= 13
    old, new = values(before, data, "out")[0], values(after, data, "out")[0]
    assert np.abs(old - new).max() < np.ptp(old) / 255


def test_contrib_leaves_norms_alone(capfd):
    """Layers before such batch norms stay float, and compute what they did; the others are quantized."""
    before, data = trained(layers_network)
    after = converted()
    log = "".join(capfd.readouterr())
    for name in ("one", "two", "three"):
        assert 'layer "%s/Conv2D" stays float: its data is not fake-quantized' % name in log
    assert ops(after).count("AscendDequant") == 2
    old, new = values(before, data, "out")[0], values(after, data, "out")[0]
    assert np.abs(old - new).max() < np.ptp(old) / 255
