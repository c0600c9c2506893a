# SPDX-License-Identifier: Apache-2.0
"""Static shapes: what is inferred is what TensorFlow infers; nothing that it denies, little that it misses."""
import functools

import numpy as np
import pytest
import tensorflow as tf

import models
from conftest import run_probe

v1 = tf.compat.v1

BATCHES = [None, 4]
SIDES = [None, 9, 16]


def shapes_of(probe, graph_def):
    """{tensor name: [dims] or None}, -1 an unknown dimension."""
    lines, _ = run_probe(probe, "shapes", graph_def.SerializeToString())
    found = {}
    for line in lines:
        _, name, dims = line
        found[name] = None if dims == "?" else [int(d) for d in dims.split(",") if d]
    return found


def check(probe, graph, known=1.0):
    """Compares all tensors of the graph; at least the share `known` of TensorFlow's ranks and dimensions is found."""
    found = shapes_of(probe, graph.as_graph_def())
    wanted_count = found_count = 0
    missed = []
    for op in graph.get_operations():
        for tensor in op.outputs[:2]:
            ours = found[tensor.name]
            if tensor.shape.rank is None:
                assert ours is None, tensor
                continue
            wanted = [-1 if d is None else d for d in tensor.shape.as_list()]
            wanted_count += 1 + sum(d >= 0 for d in wanted)
            if ours is None:
                missed.append((tensor.name, op.type, wanted, ours))
                continue
            assert len(ours) == len(wanted), (tensor, ours)
            for a, b in zip(ours, wanted):
                assert a in (-1, b), (tensor, ours)
            found_count += 1 + sum(d >= 0 for d in ours)
            if ours != wanted:
                missed.append((tensor.name, op.type, wanted, ours))
    assert found_count >= known * wanted_count, missed


def image(batch, side, channels=6, name="x", nchw=False):
    shape = (batch, channels, side, side) if nchw else (batch, side, side, channels)
    return v1.placeholder(tf.float32, shape, name=name)


@pytest.fixture(params=[(b, s) for b in BATCHES for s in SIDES], ids=str)
def size(request):
    return request.param


def test_networks(probe):
    for batch in BATCHES:
        check(probe, models.graph_of(functools.partial(models.network, batch=batch)))
    check(probe, models.graph_of(lambda: models.network(models.ref_variable)), known=0.8)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_windows(probe, size, padding, stride):
    with tf.Graph().as_default() as graph:
        x = image(*size)
        strides = [1, stride, stride, 1]
        tf.nn.conv2d(x, np.ones((3, 5, 6, 7), np.float32), strides=strides, padding=padding)
        v1.nn.depthwise_conv2d_native(x, np.ones((3, 3, 6, 2), np.float32), strides, padding)
        tf.nn.avg_pool2d(x, [1, 3, 2, 1], strides, padding)
        tf.nn.max_pool2d(x, 3, stride, padding)
        if stride == 1:
            for dilation in (2, 3):
                v1.nn.conv2d(x, np.ones((3, 3, 6, 7), np.float32), strides=[1, 1, 1, 1], padding=padding,
                             dilations=[1, dilation, dilation, 1])  # fmt: skip
    check(probe, graph)


@pytest.mark.parametrize("stride", [1, 2])
def test_windows_of_channels_first(probe, size, stride):
    with tf.Graph().as_default() as graph:
        x = image(*size, nchw=True)
        strides = [1, 1, stride, stride]
        y = v1.nn.conv2d(x, np.ones((3, 3, 6, 7), np.float32), strides=strides, padding="SAME", data_format="NCHW")
        y = tf.nn.bias_add(y, np.ones(7, np.float32), data_format="NCHW")
        v1.nn.fused_batch_norm(y, *[np.ones(7, np.float32)] * 4, is_training=False, data_format="NCHW")
        v1.nn.avg_pool(x, [1, 1, 2, 3], strides, "VALID", data_format="NCHW")
        v1.nn.max_pool(x, [1, 1, 2, 3], strides, "SAME", data_format="NCHW")
    check(probe, graph)


def test_other_layers(probe, size):
    batch, side = size
    with tf.Graph().as_default() as graph:
        volume = v1.placeholder(tf.float32, (batch, 5, side, 9, 4), name="volume")
        for stride, padding in ((1, "SAME"), (2, "SAME"), (2, "VALID")):
            filters = np.ones((2, 3, 3, 4, 7), np.float32)
            tf.nn.conv3d(volume, filters, strides=[1, 1, stride, stride, 1], padding=padding)
        x = image(batch, side)
        filters = np.ones((3, 3, 8, 6), np.float32)
        sizes = [batch, 18, 18, 8] if batch else tf.stack([tf.shape(x)[0], 18, 18, 8])
        v1.nn.conv2d_transpose(x, filters, sizes, strides=[1, 2, 2, 1])
        a = v1.placeholder(tf.float32, (batch, 3, side, 6), name="a")
        b = tf.ones((6, 5))
        op = graph.create_op("BatchMatMulV2", [a, b], [tf.float32], name="product")
        tf.nn.relu(op.outputs[0])
        tf.matmul(a, tf.ones((1, 3, 6, 2)))
        tf.matmul(a, tf.ones((3, 7, 6)), transpose_b=True)
    check(probe, graph, known=0.9)


def test_explicit_padding(probe, size):
    with tf.Graph().as_default() as graph:
        padding = [[0, 0], [1, 2], [0, 3], [0, 0]]
        v1.nn.conv2d(image(*size), np.ones((3, 3, 6, 7), np.float32), strides=[1, 2, 2, 1], padding=padding)
    check(probe, graph)


def test_elementwise(probe, size):
    with tf.Graph().as_default() as graph:
        x = image(*size)
        for function in (tf.nn.relu, tf.nn.relu6, tf.nn.elu, tf.nn.selu, tf.nn.softplus, tf.nn.sigmoid, tf.tanh,
                         tf.abs, tf.exp, tf.nn.softmax, tf.nn.leaky_relu, tf.square, tf.math.rsqrt, tf.negative,
                         tf.identity, tf.stop_gradient, lambda t: tf.cast(t, tf.float16)):  # fmt: skip
            function(x)
        y = image(*size, name="y")
        for function in (tf.add, tf.subtract, tf.multiply, tf.divide, tf.maximum, tf.minimum, tf.math.squared_difference):
            function(x, y)
            function(x, tf.constant(2.0))
            function(tf.ones([1, 1, 1, 6]), x)
            function(x, tf.ones([6]))
        tf.add_n([x, y])
    check(probe, graph)


def test_arrays(probe, size):
    batch, side = size
    with tf.Graph().as_default() as graph:
        x = image(batch, side)
        tf.reshape(x, [-1, 6])
        tf.reshape(x, [-1, 2, 3])
        tf.reshape(x, [2, -1])
        tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]])
        tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]], mode="REFLECT")
        tf.transpose(x, [0, 3, 1, 2])
        tf.concat([x, image(batch, side, 4, "c")], axis=3)
        tf.concat([x, image(batch, side, 4, "d")], axis=-1)
        tf.split(x, 3, axis=3)
        tf.split(x, [1, 5], axis=-1)
        tf.expand_dims(x, 1)
        tf.expand_dims(x, -1)
        tf.squeeze(tf.expand_dims(x, 2), [2])
        tf.stack([x, x], axis=1)
        tf.unstack(tf.ones([3, 5]), axis=1)
        for axes in ([1, 2], [-1], [0], None):
            for keep in (False, True):
                tf.reduce_mean(x, axes, keepdims=keep)
                tf.reduce_max(x, axes, keepdims=keep)
        x[:, 1:, ::2, 3]
        x[..., 1:3]
        x[:, tf.newaxis, 0]
        tf.slice(x, [0, 0, 0, 1], [-1, -1, -1, 2])
        v1.image.resize_bilinear(x, [20, 30])
        v1.image.resize_nearest_neighbor(x, [20, 30])
        tf.fill([2, 3], 1.0)
        tf.shape(x)
        w = tf.matmul(tf.reshape(x, [-1, 6]), tf.ones([6, 3]))
        tf.matmul(w, w, transpose_a=True)
        tf.matmul(w, w, transpose_b=True)
    check(probe, graph, known=0.95)  # slices with an ellipsis or a new axis are left unknown


def test_unknown_ranks(probe):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, None, name="x")
        tf.nn.relu(x + 1.0)
        tf.reshape(x, [-1, 6])
        tf.transpose(x)
        tf.reduce_mean(x, [1])
        tf.concat([x, x], 1)
    check(probe, graph, known=0.5)


def test_empty_and_impossible(probe):
    """Shapes that no run can have are unknown, and nobody falls over them."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 2, 2, 3), name="x")
        tf.nn.relu(x, name="y")
    definition = graph.as_graph_def()
    for node in definition.node:
        if node.name == "x":
            node.attr["shape"].shape.dim[1].size = 2**62
            node.attr["shape"].shape.dim[2].size = 2**62
    shapes_of(probe, definition)
