# SPDX-License-Identifier: Apache-2.0
"""Keras models to be retrained, of Keras 3 and of tf-keras, and the steps of retraining."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

import amct_tensorflow as amct
import models

v1 = tf.compat.v1
IMAGE = (8, 8, 3)


def pictures(count, seed=0):
    """Pictures whose class is the channel that is brighter."""
    random = np.random.RandomState(seed)
    x = random.uniform(-1, 1, (count,) + IMAGE).astype(np.float32)
    y = random.randint(0, 3, count)
    for i, label in enumerate(y):
        x[i, :, :, label] += 0.5
    return x, y


def loss_of(kit):
    return kit.losses.SparseCategoricalCrossentropy(from_logits=True)


def functional(kit):
    """Every kind of layer that can be retrained."""
    k = kit.layers
    x = start = k.Input(IMAGE, name="image")
    x = k.ReLU()(k.BatchNormalization()(k.Conv2D(4, 3, padding="same", name="stem")(x)))
    x = k.SeparableConv2D(8, 3, activation="relu", name="separable")(x)
    x = k.ReLU(6)(k.BatchNormalization()(k.DepthwiseConv2D(3, padding="same", name="depth")(x)))
    x = k.Conv2DTranspose(4, 2, strides=2, activation="relu", name="up")(x)
    x = k.Flatten()(
        k.AveragePooling2D(2, name="pool")(k.Dense(5, activation="relu", name="mix")(x))
    )
    return kit.Model(start, k.Dense(3, name="logits")(x), name="net")


def subclassed(kit):
    """Layers in a list, one called twice, a batch norm, one layer of the user's own."""
    k = kit.layers

    class Own(k.Layer):
        def build(self, shape):
            self.w = self.add_weight(name="w", shape=(3, 3, 4, 4))

        def call(self, x):
            return tf.nn.conv2d(x, tf.convert_to_tensor(self.w), 1, "SAME", name="strange")

    class Net(kit.Model):
        def __init__(self):
            super().__init__(name="net")
            self.stem = k.Conv2D(4, 3, padding="same", name="stem")
            self.norm = k.BatchNormalization()
            self.blocks = [k.Conv2D(4, 3, padding="same", name="b%d" % i) for i in range(2)]
            self.own = Own(name="own")
            self.head = kit.Sequential([k.Flatten(), k.Dense(3, name="logits")], name="head")

        def call(self, x, training=None):
            x = tf.nn.relu(self.norm(self.stem(x), training=training))
            for block in self.blocks + self.blocks[:1]:
                x = tf.nn.relu(block(x))
            return self.head(self.own(x))

    model = Net()
    model(np.zeros((2,) + IMAGE, np.float32))
    return model


def edit(model, cfg=None, change=None):
    if cfg is not None:
        Path("r.cfg").write_text(cfg)
    amct.create_quant_retrain_config("c.json", model, None if cfg is None else "r.cfg")
    if change is not None:
        config = json.loads(Path("c.json").read_text())
        change(config)
        Path("c.json").write_text(json.dumps(config))
    return amct.create_quant_retrain_model(model, "c.json", "record.txt")


def fit(kit, model, epochs=3, **keywords):
    model.compile(kit.optimizers.Adam(0.01), loss_of(kit), **keywords)
    x, y = pictures(192)
    return model.fit(x, y, batch_size=32, epochs=epochs, verbose=0).history["loss"]


def deploy(model):
    outputs = amct.freeze_quant_retrain_model(model, "deep/retrained.pb")
    amct.save_quant_retrain_model("deep/retrained.pb", outputs, "record.txt", "out/model")
    return outputs


def run(pb, x):
    """The output of a pb that has one placeholder."""
    graph = models.load(pb)
    types = models.op_types(graph)
    start = next(name for name, op in types.items() if op == "Placeholder")
    end = [op for op in graph.get_operations() if op.outputs and not op.outputs[0].consumers()][-1]
    with v1.Session(graph=graph) as session:
        return session.run(end.outputs[0], {start + ":0": x})


def apart(a, b):
    """The largest difference of each picture, in parts of the largest magnitude."""
    return np.abs(a - b).reshape(len(a), -1).max(1) / np.abs(a).max()


def evaluated(model, x):
    return np.asarray(model(tf.constant(x), training=False))
