# SPDX-License-Identifier: Apache-2.0
"""Random small networks of all kinds of layers, and their quantized models."""

import numpy as np
import tensorflow as tf

import amct_tensorflow as amct
import models

v1 = tf.compat.v1
F32 = np.float32
INPUT = "x:0"


class Builder:
    """Layers on the default graph, with seeded parameters."""

    def __init__(self, rng):
        self.rng = rng
        self.count = 0

    def name(self, kind):
        self.count += 1
        return "net/{}_{}/{}".format(kind.lower(), self.count, kind)

    def weights(self, *shape):
        return tf.constant(self.rng.normal(0, 0.4, shape).astype(F32))

    def vector(self, low, high, size):
        return self.rng.uniform(low, high, size).astype(F32)

    def finish(self, y, norm=True):
        """Bias, batch norm and activation, or none of them."""
        channels = y.shape.as_list()[-1]
        if self.rng.rand() < 0.5:
            y = tf.nn.bias_add(y, tf.constant(self.vector(-1, 1, channels)))
        if norm and self.rng.rand() < 0.5:
            parts = [self.vector(*bounds, size=channels) for bounds in ((0.5, 1.5), (-1, 1), (-1, 1), (0.3, 2))]
            y = v1.nn.fused_batch_norm(y, *parts, epsilon=1e-3, is_training=False)[0]
        activation = self.rng.choice(["relu", "relu6", "tanh", "none"])
        return y if activation == "none" else getattr(tf.nn, activation)(y)

    def conv(self, x):
        k, stride = self.rng.randint(1, 4), int(self.rng.randint(1, 3))
        w = self.weights(k, self.rng.randint(1, 4), x.shape.as_list()[-1], self.rng.randint(2, 9))
        y = tf.nn.conv2d(x, w, strides=[1, stride, stride, 1], padding="SAME", name=self.name("Conv2D"))
        return self.finish(y)

    def depthwise(self, x):
        w = self.weights(3, 3, x.shape.as_list()[-1], self.rng.randint(1, 3))
        return self.finish(v1.nn.depthwise_conv2d_native(x, w, [1, 1, 1, 1], "SAME", name=self.name("Depthwise")))

    def avg_pool(self, x):
        size = [1, int(self.rng.randint(1, 4)), int(self.rng.randint(1, 4)), 1]
        return tf.nn.avg_pool2d(x, size, [1, 1, 1, 1], str(self.rng.choice(["SAME", "VALID"])), name=self.name("AvgPool"))

    def max_pool_beside(self, x):
        """A MaxPool and a convolution of the same tensor: one AscendAntiQuant."""
        w = self.weights(1, 1, x.shape.as_list()[-1], x.shape.as_list()[-1])
        y = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name=self.name("Conv2D"))
        return tf.add(y, tf.nn.max_pool2d(x, 3, 1, "SAME", name=self.name("MaxPool")))

    def twice(self, x):
        """Two convolutions of the same tensor, added."""
        ws = [self.weights(1, 1, x.shape.as_list()[-1], 4) for _ in range(2)]
        a, b = (tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name=self.name("Conv2D")) for w in ws)
        return tf.nn.relu(a + b)


    def transposed(self, x):
        batch, (height, width, channels) = tf.shape(x)[0], x.shape.as_list()[1:]
        w = self.weights(3, 3, 4, channels)
        shape = tf.stack([batch, height, width, 4])
        y = tf.nn.conv2d_transpose(x, w, output_shape=shape, strides=[1, 1, 1, 1], padding="SAME", name=self.name("Deconv"))
        y.set_shape([None, height, width, 4])
        return self.finish(y, norm=False)

    def conv3d(self, x):
        """Rows become depth for a while."""
        height, width, channels = x.shape.as_list()[1:]
        w = self.weights(2, 1, 2, channels, 3)
        deep = tf.reshape(x, [-1, height, 1, width, channels])
        y = tf.nn.conv3d(deep, w, strides=[1, 1, 1, 1, 1], padding="SAME", name=self.name("Conv3D"))
        return tf.reshape(self.finish(y, norm=False), [-1, height, width, 3])

    def batch_matmul(self, x):
        return self.finish(tf.matmul(x, self.weights(x.shape.as_list()[-1], 6), name=self.name("MatMul")), norm=False)


def network(seed):
    """A graph from `x` [n, 9, 9, 3] to `y` [n, 5]."""
    rng = np.random.RandomState(seed)
    graph = tf.Graph()
    with graph.as_default():
        b = Builder(rng)
        x = b.conv(v1.placeholder(tf.float32, (None, 9, 9, 3), name="x"))
        steps = [b.conv, b.depthwise, b.avg_pool, b.max_pool_beside, b.twice, b.transposed, b.conv3d, b.batch_matmul]
        for step in rng.choice(len(steps), rng.randint(1, 5)):
            x = steps[step](x)
        flat = int(np.prod(x.shape.as_list()[1:]))
        x = tf.reshape(x, [-1, flat])
        y = b.finish(tf.matmul(x, b.weights(flat, 5), name=b.name("MatMul")), norm=False)
        tf.identity(y, name="y")
    return graph


def pictures(seed, count=4):
    return np.random.RandomState(seed).normal(0.3, 1, (count, 9, 9, 3)).astype(F32)


def quantize(seed, folder):
    """Paths of the float and of the quantized pb of a calibrated network."""
    graph = network(seed)
    folder.mkdir(exist_ok=True)
    pb = models.write_pb(graph.as_graph_def(), folder / "net.pb")
    amct.create_quant_config(str(folder / "config.json"), graph)
    amct.quantize_model(graph, str(folder / "config.json"), str(folder / "record.txt"))
    with v1.Session(graph=graph) as session:
        session.run("y:0", {INPUT: pictures(seed)})
    amct.save_model(pb, ["y"], str(folder / "record.txt"), str(folder / "net"))
    return pb, str(folder / "net_quantized.pb")
