# SPDX-License-Identifier: Apache-2.0
"""A small network to be trained, and the steps of retraining, for the tests of the flow."""

from pathlib import Path

import numpy as np
import tensorflow as tf

import amct_tensorflow as amct
import models

v1 = tf.compat.v1
LAYERS = ["stem/Conv2D", "block/depthwise", "block/AvgPool", "head/MatMul"]
OUTPUT = "softmax"
CLASSES = 4
IMAGE = (8, 8, 3)


class Network(object):
    """Conv+BN+ReLU, depthwise+BN+ReLU6, AvgPool, MatMul+BiasAdd; with variables."""

    def __init__(self, use_resource=False, seed=0):
        self.use_resource = use_resource
        self.random = np.random.RandomState(seed)

    def variable(self, name, value, trainable=True):
        value = np.asarray(value, np.float32)
        return v1.get_variable(
            name, initializer=value, trainable=trainable, use_resource=self.use_resource
        )

    def batch_norm(self, x, name, channels, training):
        gamma = self.variable(name + "/gamma", self.random.uniform(0.5, 1.5, channels))
        beta = self.variable(name + "/beta", self.random.normal(0, 0.2, channels))
        mean = self.variable(name + "/mean", np.zeros(channels), trainable=False)
        variance = self.variable(name + "/variance", np.ones(channels), trainable=False)
        if not training:
            return v1.nn.fused_batch_norm(
                x, gamma, beta, mean, variance, epsilon=1e-3, is_training=False, name=name
            )[0]
        y, now_mean, now_variance = v1.nn.fused_batch_norm(
            x, gamma, beta, epsilon=1e-3, is_training=True, name=name
        )
        for old, now in ((mean, now_mean), (variance, now_variance)):
            update = v1.assign_sub(old, 0.1 * (old - now))
            v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
        return y

    def build(self, training):
        """Returns images, labels, logits."""
        weights = self.random.normal
        x = images = v1.placeholder(tf.float32, (None,) + IMAGE, name="input")
        labels = v1.placeholder(tf.int64, (None,), name="labels")
        w = self.variable("stem/w", weights(0, 0.3, (3, 3, 3, 8)))
        x = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name="stem/Conv2D")
        x = tf.nn.relu(self.batch_norm(x, "stem/bn", 8, training))
        w = self.variable("block/w", weights(0, 0.3, (3, 3, 8, 1)))
        x = tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME", name="block/depthwise")
        x = tf.nn.relu6(self.batch_norm(x, "block/bn", 8, training))
        x = tf.nn.avg_pool2d(x, 2, 2, "VALID", name="block/AvgPool")
        x = tf.reshape(x, [-1, 4 * 4 * 8])
        x = tf.matmul(x, self.variable("head/w", weights(0, 0.1, (128, CLASSES))), name="head/MatMul")
        logits = tf.nn.bias_add(x, self.variable("head/b", np.zeros(CLASSES)), name="head/BiasAdd")
        tf.nn.softmax(logits, name=OUTPUT)
        return images, labels, logits


def batch(seed, size=16):
    """Pictures whose class is the quadrant that is brighter."""
    random = np.random.RandomState(seed)
    labels = random.randint(0, CLASSES, size)
    images = random.uniform(-1, 1, (size,) + IMAGE).astype(np.float32)
    for image, label in zip(images, labels):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[row : row + 4, column : column + 4] += 0.8
    return images, labels


def train(steps=12, use_resource=False, optimizer=None, config="retrain.json"):
    """Steps 1 to 3 of retraining: the config, the edit, training; a checkpoint. Returns variable names, losses."""
    with tf.Graph().as_default() as graph:
        images, labels, logits = Network(use_resource).build(True)
        pretrained = v1.train.Saver()
        if not Path(config).exists():
            amct.create_quant_retrain_config(config, graph)
        amct.create_quant_retrain_model(graph, config, "record.txt")
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
        optimizer = optimizer or v1.train.MomentumOptimizer(0.02, 0.9)
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            step = optimizer.minimize(loss)
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            if Path("pretrained.index").exists():
                pretrained.restore(session, "./pretrained")
            losses = []
            for i in range(steps):
                x, y = batch(i)
                losses.append(session.run([loss, step], {images: x, labels: y})[0])
            v1.train.Saver(v1.global_variables()).save(session, "./trained")
        return [variable.name for variable in v1.trainable_variables()], losses


def infer(use_resource=False, config="retrain.json", record="record.txt", checkpoint="./trained"):
    """Steps 4 to 6: the inference graph, the factors, the frozen pb. Returns the outputs for batch 100."""
    with tf.Graph().as_default() as graph:
        Network(use_resource, seed=9).build(False)
        retrain_ops = amct.create_quant_retrain_model(graph, config, record)
        with v1.Session(graph=graph) as session:
            v1.train.Saver(v1.global_variables()).restore(session, checkpoint)
            feed = {"input:0": batch(99)[0]}
            session.run(retrain_ops[-1].name[:-2] + ":0", feed)
            models.freeze(session, "retrained.pb")
            return session.run(OUTPUT + ":0", {"input:0": batch(100)[0]})


def float_pb(use_resource=False, checkpoint="./trained"):
    """The same trained values in the graph without retraining ops, frozen."""
    with tf.Graph().as_default() as graph:
        Network(use_resource, seed=9).build(False)
        with v1.Session(graph=graph) as session:
            v1.train.Saver().restore(session, checkpoint)
            return models.freeze(session, "float.pb")
