# SPDX-License-Identifier: Apache-2.0
"""Networks of TensorFlow 1 to be frozen, as training scripts write them, and what frozen pbs must hold."""

import os

import numpy as np
import tensorflow as tf

import amct_tensorflow as amct
import fusion_graphs
import models

v1 = tf.compat.v1
MODERN = tf.__version__.startswith("2")
SHAPE = (8, 8, 3)
NORMS = 2


def initial(low, high, seed):
    return v1.random_uniform_initializer(low, high, seed=seed)


def convolution(x, name, channels=5):
    weight = v1.get_variable(name, (3, 3, int(x.shape[3]), channels), initializer=initial(-0.5, 0.5, 1))
    return tf.nn.conv2d(x, weight, strides=[1, 1, 1, 1], padding="SAME")


STATISTICS = {
    "beta": initial(-1, 1, 2),
    "gamma": initial(0.5, 2, 3),
    "moving_mean": initial(-1, 1, 4),
    "moving_variance": initial(0.5, 2, 5),
}

# ---- batch norms, each with a flag that is a tensor or a Python bool ----


def layers_norm(x, flag):
    start = {key + "_initializer": value for key, value in STATISTICS.items()}
    return v1.layers.batch_normalization(x, training=flag, **start)


def slim_norm(x, flag, **keywords):
    from tensorflow.contrib import slim

    return slim.batch_norm(x, is_training=flag, scale=True, param_initializers=STATISTICS, **keywords)


def slim_small_norm(x, flag):
    return slim_norm(x, flag, fused=False)


def slim_in_place_norm(x, flag):
    """The updates run whenever the batch norm does."""
    return slim_norm(x, flag, updates_collections=None)


def raw_norm(x, flag, resource=False):
    """What those write, by hand: in TensorFlow 2 they are gone."""
    p = {
        key: v1.get_variable(key, [int(x.shape[3])], initializer=value, use_resource=resource, trainable=key in ("beta", "gamma"))
        for key, value in sorted(STATISTICS.items())
    }

    def train():
        return list(v1.nn.fused_batch_norm(x, p["gamma"], p["beta"], epsilon=1e-3, is_training=True))

    def infer():
        y = v1.nn.fused_batch_norm(x, p["gamma"], p["beta"], p["moving_mean"], p["moving_variance"], 1e-3, is_training=False)
        return [y[0], tf.identity(p["moving_mean"]), tf.identity(p["moving_variance"])]

    known = flag if isinstance(flag, bool) else tf.get_static_value(flag) if MODERN else tf.contrib.util.constant_value(flag)
    if known is None:
        y, mean, variance = v1.cond(flag, train, infer)
    else:
        y, mean, variance = train() if known else infer()
    if known is not False:
        for moving, value in (("moving_mean", mean), ("moving_variance", variance)):
            step = v1.assign_sub(p[moving], (p[moving] - value) * (1 - 0.9))
            v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, step)
    return y


def raw_resource_norm(x, flag):
    return raw_norm(x, flag, resource=True)


RAW = {"raw": raw_norm, "raw resource": raw_resource_norm}
OWN = RAW if MODERN else {
    "tf.layers": layers_norm,
    "slim": slim_norm,
    "slim small": slim_small_norm,
    "slim in place": slim_in_place_norm,
    "raw resource": raw_resource_norm,
}  # fmt: skip

FLAGS = {
    "false": lambda: tf.constant(False, name="is_training"),
    "true": lambda: tf.constant(True, name="is_training"),
    "placeholder": lambda: v1.placeholder(tf.bool, [], name="is_training"),
    "default on": lambda: v1.placeholder_with_default(True, [], name="is_training"),
    "default off": lambda: v1.placeholder_with_default(False, [], name="is_training"),
    "negated": lambda: tf.logical_not(v1.placeholder(tf.bool, [], name="is_test")),
}


def dropped(x, flag):
    """Dropout as tf.layers writes it: a rate in a cond, or always on."""
    if flag is False:
        return x
    known = tf.get_static_value(flag) if MODERN else tf.contrib.util.constant_value(flag)
    if known is None:
        return v1.cond(flag, lambda: tf.nn.dropout(x, rate=0.4), lambda: tf.identity(x))
    return tf.nn.dropout(x, rate=0.4) if known else x


def network(norm, flag):
    """Two convolutions with batch norms, a classifier; output "y". Under the flag's name in FLAGS, or False."""
    x = v1.placeholder(tf.float32, (None,) + SHAPE, name="x")
    flag = FLAGS[flag]() if flag else False
    for name in ("one", "two"):
        with v1.variable_scope(name):
            x = tf.nn.relu(norm(convolution(dropped(x, flag), "conv"), flag))
    x = tf.reshape(tf.reduce_mean(dropped(x, flag), [1, 2]), [-1, 5])
    x = tf.matmul(x, v1.get_variable("dense", (5, 3), initializer=initial(-1, 1, 9)))
    return tf.nn.softmax(x, name="y")


def images(count=16, seed=0):
    return np.random.RandomState(seed).normal(0, 1, (count,) + SHAPE).astype(np.float32)


class ControlFlow(object):
    """Conds of version 1, as TensorFlow 1 writes them, or 2."""

    def __init__(self, version=1):
        self.new = version == 2

    def __enter__(self):
        self.before = v1.control_flow_v2_enabled()
        self._set(self.new)

    def __exit__(self, *_):
        self._set(self.before)

    def _set(self, new):
        (v1.enable_control_flow_v2 if new else v1.disable_control_flow_v2)()


def write_checkpoint(norm, flag, prefix="ckpt/model", more=None, conds=1):
    """A training script's checkpoint; what the network in inference mode gives for images()."""
    os.makedirs(os.path.dirname(prefix), exist_ok=True)
    with tf.Graph().as_default(), ControlFlow(conds), v1.Session() as session:
        y = network(norm, flag)
        if more:
            more(y)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, prefix)
    return inference_of(norm, prefix)


def inference_of(norm, prefix):
    with tf.Graph().as_default(), v1.Session() as session:
        network(norm, False)
        v1.train.Saver().restore(session, prefix)
        return session.run("y:0", {"x:0": images()})


def read(path):
    with open(path, "rb") as file:
        return v1.GraphDef.FromString(file.read())


def check(path, outputs, feeds, wanted, norms=NORMS, layers=None):
    """The pb gives what is wanted, has batch norms and nothing of training, and save_model folds them all."""
    definition = read(path)
    found = fusion_graphs.run(definition, feeds, outputs)
    for got, want in zip(found, wanted):
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= 1e-5 * max(1, np.abs(want).max())
    if norms is not None:
        assert fusion_graphs.count_ops(definition, *fusion_graphs.BATCH_NORMS) == norms
    gone = ("Switch", "Merge", "RandomUniform", "Assign", "AssignSub", "VariableV2", "VarHandleOp", "ReadVariableOp", "SaveV2")
    assert fusion_graphs.count_ops(definition, *gone) == 0
    quantize(path, outputs, feeds)


def quantize(path, outputs, feeds):
    """The pb through the whole flow: no batch norm is left."""
    graph = models.load(path)
    amct.create_quant_config("quant.json", graph)
    amct.quantize_model(graph, "quant.json", "quant.txt", outputs)
    with v1.Session(graph=graph) as session:
        wanted = session.run([name + ":0" for name in outputs], feeds)
    amct.save_model(path, outputs, "quant.txt", "quant/model")
    quantized = read("quant/model_quantized.pb")
    assert fusion_graphs.batch_norms(quantized) == 0
    assert fusion_graphs.count_ops(quantized, "AscendDequant") > 0
    for got, want in zip(fusion_graphs.run(quantized, feeds, outputs), wanted):
        assert np.abs(got - want).max() < 0.2 * np.abs(want).max()
