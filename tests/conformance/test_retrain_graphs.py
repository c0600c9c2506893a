# SPDX-License-Identifier: Apache-2.0
"""Retraining of graphs as people make them: tf.layers, slim, Keras in graph mode, imported meta graphs.

Of each kind: training graph and inference graph get variables of the same names, the checkpoint of the one restores
into the other, and the saved model gives what the retrained inference graph gives.
"""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
import retraining
from retraining import CLASSES, IMAGE

v1 = tf.compat.v1
F32 = np.float32
IS_1_15 = tf.__version__.startswith("1.")


def inputs():
    images = v1.placeholder(tf.float32, (None,) + IMAGE, name="input")
    return images, v1.placeholder(tf.int64, (None,), name="labels")


def of_tf_layers(training):
    """tf.layers: batch norm of its own kind, ref variables."""
    layers = v1.layers
    images, labels = inputs()
    x = layers.conv2d(images, 8, 3, padding="same", use_bias=False, name="conv")
    x = tf.nn.relu6(layers.batch_normalization(x, training=training, name="bn"))
    x = layers.separable_conv2d(x, 8, 3, padding="same", name="separable")
    x = layers.average_pooling2d(x, 2, 2, name="pool")
    return labels, layers.dense(layers.flatten(x), CLASSES, name="fc")


def of_slim(training):
    """slim: arg scopes, fused batch norm with a decay, dropout in training alone."""
    slim = tf.contrib.slim
    images, labels = inputs()
    norm = {"is_training": training, "decay": 0.9, "scale": True}
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], normalizer_fn=slim.batch_norm, normalizer_params=norm):
        x = slim.conv2d(images, 8, 3, scope="conv", activation_fn=tf.nn.relu6)
        x = slim.separable_conv2d(x, None, 3, depth_multiplier=1, scope="depthwise", activation_fn=tf.nn.relu6)
        x = slim.conv2d(x, 8, 1, scope="pointwise")
    x = slim.dropout(slim.avg_pool2d(x, 2, scope="pool"), is_training=training)
    return labels, slim.fully_connected(slim.flatten(x), CLASSES, activation_fn=None, scope="fc")


def of_keras(training):
    """Keras layers called in a graph: resource variables, batch norms of small ops or fused ones."""
    k = v1.keras.layers
    images, labels = inputs()
    x = k.Conv2D(8, 3, padding="same", name="conv")(images)
    x = k.ReLU(6.0)(k.BatchNormalization(name="bn")(x, training=training))
    x = k.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = k.Flatten()(k.AveragePooling2D(2, name="pool")(x))
    return labels, k.Dense(CLASSES, name="fc")(x)


def of_meta_graph(training, use_resource=False):
    """A network that comes out of a file."""
    with tf.Graph().as_default() as made:
        retraining.Network(use_resource=use_resource, seed=3).build(training)
        v1.train.export_meta_graph("net.meta", graph=made)
    v1.train.import_meta_graph("net.meta", clear_devices=True)
    graph = v1.get_default_graph()
    return graph.get_tensor_by_name("labels:0"), graph.get_tensor_by_name("head/BiasAdd:0")


def of_meta_graph_with_resources(training):
    return of_meta_graph(training, use_resource=True)


def has(name):
    try:
        return getattr(v1.layers, name, None) is not None
    except (AttributeError, NotImplementedError, ImportError):
        return False


only_1_15 = pytest.mark.skipif(not IS_1_15, reason="slim and Keras in graphs are TensorFlow 1.15's")
NETWORKS = [
    pytest.param(
        of_tf_layers, marks=pytest.mark.skipif(not has("conv2d"), reason="this TensorFlow has no tf.layers")
    ),
    pytest.param(of_slim, marks=only_1_15),
    pytest.param(of_keras, marks=only_1_15),
    of_meta_graph,
    of_meta_graph_with_resources,
]


def train(build, steps=6):
    """Trains, and leaves a checkpoint. Returns the layers, and names of variables with "ULQ"."""
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(1)
        labels, logits = build(True)
        amct.create_quant_retrain_config("retrain.json", graph)
        added = amct.create_quant_retrain_model(graph, "retrain.json", "record.txt")
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            step = v1.train.MomentumOptimizer(0.02, 0.9).minimize(tf.reduce_mean(losses))
        clips = [variable for variable in added[:-1] if variable.trainable]
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            before = None
            for i in range(steps):
                x, y = retraining.batch(i)
                session.run(step, {"input:0": x, "labels:0": y})
                before = before or session.run(clips)
            assert all(max_clip > 0 for max_clip in session.run(clips)[::2])
            assert session.run(clips) != before
            v1.train.Saver(v1.global_variables()).save(session, "./trained")
        assert [c for c in clips if c in v1.trainable_variables()] == clips
        return [variable.name for variable in added[:-1]]


@pytest.mark.parametrize("build", NETWORKS)
def test_a_graph_is_trained_restored_and_saved(build):
    names = train(build)
    with tf.Graph().as_default() as graph:
        _, logits = build(False)
        output = logits.op.name
        added = amct.create_quant_retrain_model(graph, "retrain.json", "record.txt")
        assert [variable.name for variable in added[:-1]] == names
        x = retraining.batch(100, 64)[0]
        with v1.Session(graph=graph) as session:
            v1.train.Saver(v1.global_variables()).restore(session, "./trained")
            session.run(added[-1].name[:-2] + ":0", {"input:0": x})
            models.freeze(session, "retrained.pb", [output])
            simulated = session.run(output + ":0", {"input:0": x})
    amct.save_quant_retrain_model("retrained.pb", [output], "record.txt", "out/model")
    deployed = models.run(models.load("out/model_quantized.pb"), [x], output + ":0")[0]
    assert np.abs(deployed - simulated).max() < 0.02 * np.abs(simulated).max()
    layers = {name.partition("/ULQ/")[0] for name in names}
    assert layers == set(models.read_record("record.txt")) and len(layers) >= 4
    types = list(models.op_types(models.load("out/model_quantized.pb")).values())
    assert types.count("AscendDequant") == len(layers) and not [t for t in types if "BatchNorm" in t]
    assert Path("out/model_quant.json").exists()
