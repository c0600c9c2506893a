# SPDX-License-Identifier: Apache-2.0
"""Small networks, data and files for the conformance tests; the same in every TensorFlow."""

import re
from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1

IMAGE = (8, 8, 3)
LAYERS = ["stem/Conv2D", "block/depthwise", "block/AvgPool", "head/MatMul"]
INPUT = "input:0"
OUTPUT = "softmax"


def constant(name, value):
    """A parameter as a constant."""
    return tf.constant(value, name=name)


def ref_variable(name, value):
    """A parameter as a variable of the old kind."""
    return v1.get_variable(name, initializer=value, use_resource=False)


def resource_variable(name, value):
    """A parameter as a resource variable."""
    return v1.get_variable(name, initializer=value, use_resource=True)


class Parameters(object):
    """Seeded parameters, by name; `make` turns them into tensors."""

    def __init__(self, make=constant, seed=0):
        self.make = make
        self.random = np.random.RandomState(seed)

    def weights(self, name, *shape):
        return self.make(name, self.random.normal(0, 0.5, shape).astype(np.float32))

    def batch_norm(self, name, channels):
        """scale, offset, mean, variance"""
        low_high = ((0.5, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.5, 1.5))
        return [
            self.make(
                "{}/{}".format(name, part),
                self.random.uniform(low, high, channels).astype(np.float32),
            )
            for part, (low, high) in zip(("gamma", "beta", "mean", "variance"), low_high)
        ]


def normalize(x, parameters, name):
    """FusedBatchNorm in inference mode."""
    scale, offset, mean, variance = parameters
    return v1.nn.fused_batch_norm(
        x, scale, offset, mean, variance, epsilon=1e-3, is_training=False, name=name
    )[0]


def network(make=constant, batch=None):
    """Conv+BN+ReLU6, depthwise+BN+ReLU6, AvgPool, MatMul+BiasAdd, in the default graph.

    Returns the output tensor. Needs no context but a graph.
    """
    p = Parameters(make)
    x = v1.placeholder(tf.float32, (batch,) + IMAGE, name="input")
    x = tf.nn.conv2d(x, p.weights("stem/w", 3, 3, 3, 8), strides=[1, 1, 1, 1],
                     padding="SAME", name="stem/Conv2D")  # fmt: skip
    x = tf.nn.relu6(normalize(x, p.batch_norm("stem/bn", 8), "stem/bn"), name="stem/Relu6")
    x = tf.nn.depthwise_conv2d(x, p.weights("block/w", 3, 3, 8, 1), strides=[1, 1, 1, 1],
                               padding="SAME", name="block/depthwise")  # fmt: skip
    x = tf.nn.relu6(normalize(x, p.batch_norm("block/bn", 8), "block/bn"), name="block/Relu6")
    x = tf.nn.avg_pool2d(x, 2, 2, "VALID", name="block/AvgPool")
    x = tf.reshape(x, [-1, 4 * 4 * 8], name="head/flat")
    x = tf.matmul(x, p.weights("head/w", 4 * 4 * 8, 10), name="head/MatMul")
    x = tf.nn.bias_add(x, p.weights("head/b", 10), name="head/BiasAdd")
    return tf.nn.softmax(x, name=OUTPUT)


def images(count, seed=1):
    """float32 [count, 8, 8, 3] in [-1, 1]."""
    return np.random.RandomState(seed).uniform(-1, 1, (count,) + IMAGE).astype(np.float32)


def graph_of(build=network):
    """A graph of its own."""
    graph = tf.Graph()
    with graph.as_default():
        build()
    return graph


def load(path):
    """The graph of a pb."""
    definition = v1.GraphDef()
    definition.ParseFromString(Path(str(path)).read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    return graph


def write_pb(definition, path):
    """A GraphDef into a file. Returns the path as str."""
    Path(str(path)).write_bytes(definition.SerializeToString())
    return str(path)


def float_pb(path="model.pb"):
    """The network, frozen, in a file."""
    return write_pb(graph_of().as_graph_def(), path)


def plain_session(graph, threads=0):
    """A session without the graph optimizer, which may compute constants in another order than variables."""
    config = v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return v1.Session(graph=graph, config=config)


def run(graph, batches, output=OUTPUT + ":0"):
    """Outputs of a new session, one a batch."""
    with v1.Session(graph=graph) as session:
        return [session.run(output, {INPUT: batch}) for batch in batches]


def freeze(session, path, outputs=(OUTPUT,)):
    """The session's graph, with its variables as constants, in a file."""
    definition = v1.graph_util.convert_variables_to_constants(
        session, session.graph.as_graph_def(), list(outputs)
    )
    return write_pb(definition, path)


def read_record(path):
    """{layer: {field: [numbers]}} of a record, in file order."""
    layers = {}
    for body in re.split(r"^record \{", Path(str(path)).read_text(), flags=re.M)[1:]:
        fields = layers.setdefault(re.search(r'key: "(.*)"', body).group(1), {})
        for name, value in re.findall(r"(scale_[dw]|offset_[dw]): (\S+)", body):
            fields.setdefault(name, []).append(float(value))
    return layers


def op_types(graph):
    """{node name: op type}"""
    return {op.name: op.type for op in graph.get_operations()}
