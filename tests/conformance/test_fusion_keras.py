# SPDX-License-Identifier: Apache-2.0
"""Batch norms in small ops as Keras writes them, frozen the way its TensorFlow does."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import fusion_graphs
from amct_tensorflow import _core

v1 = tf.compat.v1
keras = tf.keras
MODERN = tf.__version__.startswith("2")


def layers(center, scale, axis):
    """Convolution and batch norm, twice; the second batch norm is used twice."""
    places = "channels_first" if axis == 1 else "channels_last"
    again = norm(center, scale, axis)
    return [
        keras.layers.Conv2D(5, 3, data_format=places, use_bias=False),
        norm(center, scale, axis),
        keras.layers.Conv2D(5, 1, data_format=places),
        again,
        keras.layers.Activation("relu"),
        keras.layers.Conv2D(5, 1, data_format=places),
        again,
    ]


def norm(center, scale, axis):
    r = np.random.RandomState(3)

    def values(low, high):
        return keras.initializers.Constant(r.uniform(low, high))

    keywords = {} if MODERN else {"fused": False}
    return keras.layers.BatchNormalization(
        axis=axis,
        center=center,
        scale=scale,
        beta_initializer=values(-1, 1),
        gamma_initializer=values(0.5, 2),
        moving_mean_initializer=values(-1, 1),
        moving_variance_initializer=values(0.5, 2),
        **keywords
    )


def call(stack, x):
    for layer in stack:
        keywords = {"training": False} if isinstance(layer, keras.layers.BatchNormalization) else {}
        x = layer(x, **keywords)
    return x


def freeze_modern(stack, shape):
    """The frozen function of a Keras model: its GraphDef, input, output."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def function(x):
        return call(stack, x)

    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    return frozen.graph.as_graph_def(), frozen.inputs[0].op.name, frozen.outputs[0].op.name


def freeze_session(stack, shape):
    """The same in a session, and that the live graph has the same plan."""
    with tf.Graph().as_default() as graph:
        y = call(stack, v1.placeholder(tf.float32, shape, name="x"))
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            frozen = v1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), [y.op.name]
            )
    live = _core.describe_plan(graph.as_graph_def().SerializeToString())
    assert live == _core.describe_plan(frozen.SerializeToString())
    return frozen, "x", y.op.name


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("center,scale", itertools.product([True, False], repeat=2))
def test_keras_forms(center, scale, axis):
    shape = [None, 3, 6, 6] if axis == 1 else [None, 6, 6, 3]
    if MODERN:
        before, x, y = freeze_modern(layers(center, scale, axis), shape)
    else:
        before, x, y = freeze_session(layers(center, scale, axis), shape)
    assert fusion_graphs.count_ops(before, "Rsqrt") == 3
    after = fusion_graphs.fuse(before, [y])
    assert fusion_graphs.batch_norms(after) == 0
    assert fusion_graphs.count_ops(after, "BiasAdd") == 3
    value = np.random.RandomState(0).normal(0, 1, [16] + shape[1:]).astype(np.float32)
    fusion_graphs.check_values(before, after, {x + ":0": value}, [y])
