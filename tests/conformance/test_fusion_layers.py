# SPDX-License-Identifier: Apache-2.0
"""Networks of real layers, chosen by a seed: tf.keras of either TensorFlow, tf_keras, tf.layers, slim."""

import importlib

import numpy as np
import pytest
import tensorflow as tf

import fusion_graphs

v1 = tf.compat.v1
MODERN = tf.__version__.startswith("2")
KITS = ["keras", "tf_keras"] if MODERN else ["keras", "layers", "slim"]
IMAGES = 64


class Layers(object):
    """Layers of Keras by random choice, with statistics as of a trained model."""

    def __init__(self, kit, seed, first):
        self.kit = tf.keras if kit == "keras" else importlib.import_module(kit)
        self.random = np.random.RandomState(seed)
        self.fused_too = kit == "tf_keras" or not MODERN
        self.places = {"data_format": "channels_first" if first else "channels_last"}
        self.axis = 1 if first else -1
        self.norms = 0

    def pick(self, *choices):
        return choices[self.random.randint(len(choices))]

    def start(self, low, high):
        return self.kit.initializers.RandomUniform(low, high, seed=int(self.random.randint(1000)))

    def norm(self, x, axis=None):
        keywords = {}
        if self.fused_too:
            keywords["fused"] = self.pick(None, False)
        self.norms += 1
        return self.kit.layers.BatchNormalization(
            axis=axis or self.axis,
            center=self.pick(True, False),
            scale=self.pick(True, False),
            epsilon=self.pick(1e-3, 1e-5),
            beta_initializer=self.start(-1, 1),
            gamma_initializer=self.start(0.5, 2),
            moving_mean_initializer=self.start(-1, 1),
            moving_variance_initializer=self.start(0.5, 2),
            **keywords
        )(x, training=False)

    def layer(self, x):
        layers, biased = self.kit.layers, {"use_bias": self.pick(True, False), "bias_initializer": self.start(-1, 1)}
        kind = self.pick("conv", "conv", "dilated", "depthwise", "transposed", "separable")
        if self.axis == 1 and kind not in ("conv", "dilated"):
            kind = "conv"  # on CPUs Keras writes the others in NHWC between Transposes
        size, padding = self.pick(1, 2, 3, (3, 2)), self.pick("same", "valid")
        keywords = dict(self.places, **biased)
        if kind == "depthwise":
            return layers.DepthwiseConv2D(size if self.axis == -1 else 3, depth_multiplier=self.pick(1, 2, 3), **keywords)(x)
        if kind == "separable":
            return layers.SeparableConv2D(5, 3, padding="same", depth_multiplier=self.pick(1, 2), **keywords)(x)
        if kind == "transposed":
            return layers.Conv2DTranspose(self.pick(1, 4), size, strides=self.pick(1, 2), padding="same", **keywords)(x)
        if kind == "dilated":
            if self.axis == 1 and MODERN:  # Keras 3 then adds the bias along the width
                keywords["use_bias"] = False
            return layers.Conv2D(4, 3, dilation_rate=2, padding="same", **keywords)(x)
        return layers.Conv2D(self.pick(1, 5, 8), size, strides=self.pick(1, 2), padding=padding, **keywords)(x)

    def call(self, x):
        for _ in range(self.pick(2, 3)):
            x = self.kit.layers.Activation("relu")(self.norm(self.layer(x)))
        if self.axis == -1:
            x = self.kit.layers.Dense(6, use_bias=self.pick(True, False))(self.kit.layers.Flatten()(x))
            x = self.norm(x, axis=1)
        return x


def slim_network(random, x):
    from tensorflow.contrib import slim

    def starts():
        u = v1.random_uniform_initializer
        return {"beta": u(-1, 1, 1), "gamma": u(0.5, 2, 2), "moving_mean": u(-1, 1, 3), "moving_variance": u(0.5, 2, 4)}

    for _ in range(random.randint(2, 4)):
        norm = {
            "is_training": False,
            "center": random.rand() < 0.5,
            "scale": random.rand() < 0.5,
            "fused": random.rand() < 0.5,
            "param_initializers": starts(),
        }
        kind = [slim.conv2d, slim.conv2d, slim.separable_conv2d, slim.conv2d_transpose][random.randint(4)]
        keywords = {"rate": 2} if kind is slim.conv2d and random.rand() < 0.3 else {"stride": int(random.randint(1, 3))}
        if kind is slim.separable_conv2d:
            keywords = {"depth_multiplier": int(random.randint(1, 4))}
        outputs = None if kind is slim.separable_conv2d and random.rand() < 0.5 else int(random.randint(1, 8))
        x = kind(x, outputs, [3, 3], normalizer_fn=slim.batch_norm, normalizer_params=norm, **keywords)
    return x


def layers_network(random, x):
    u = v1.random_uniform_initializer
    for _ in range(random.randint(2, 4)):
        kind = [v1.layers.conv2d, v1.layers.separable_conv2d, v1.layers.conv2d_transpose][random.randint(3)]
        x = kind(x, int(random.randint(1, 8)), 3, padding="same", use_bias=bool(random.rand() < 0.5))
        x = tf.nn.relu(
            v1.layers.batch_normalization(
                x,
                center=bool(random.rand() < 0.5),
                scale=bool(random.rand() < 0.5),
                fused=bool(random.rand() < 0.5),
                beta_initializer=u(-1, 1, 1),
                gamma_initializer=u(0.5, 2, 2),
                moving_mean_initializer=u(-1, 1, 3),
                moving_variance_initializer=u(0.5, 2, 4),
            )
        )
    return x


def freeze_function(function, shape):
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    concrete = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32)]).get_concrete_function()
    frozen = convert_variables_to_constants_v2(concrete)
    return frozen.graph.as_graph_def(), frozen.inputs[0].op.name, frozen.outputs[0].op.name


def freeze_session(function, shape):
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(3)
        y = function(v1.placeholder(tf.float32, shape, name="x"))
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [y.op.name])
    return frozen, "x", y.op.name


def model(kit, seed, first, shape):
    if kit in ("slim", "layers"):
        network = slim_network if kit == "slim" else layers_network
        return freeze_session(lambda x: network(np.random.RandomState(seed), x), shape)
    if not MODERN:
        return freeze_session(Layers(kit, seed, first).call, shape)
    made = Layers(kit, seed, first)
    x = made.kit.Input(shape[1:])
    whole = made.kit.Model(x, made.call(x))
    return freeze_function(lambda image: whole(image, training=False), shape)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kit", KITS)
def test_real_layers_fold(kit, seed, first):
    if kit == "tf_keras":
        pytest.importorskip("tf_keras")
    if first and kit in ("slim", "layers"):
        pytest.skip("CPUs have no such ops; the others cover the layout")
    shape = [None, 3, 9, 9] if first else [None, 9, 9, 3]
    before, x, y = model(kit, seed, first, shape)
    assert fusion_graphs.batch_norms(before) >= 2
    after = fusion_graphs.fuse(before, [y])
    assert fusion_graphs.batch_norms(after) == 0
    value = np.random.RandomState(0).normal(0, 1, [IMAGES] + shape[1:]).astype(np.float32)
    fusion_graphs.check_values(before, after, {x + ":0": value}, [y])
