# SPDX-License-Identifier: Apache-2.0
"""Networks of a real size for the benchmarks, with random parameters."""

import numpy as np
import tensorflow.compat.v1 as tf

# expansion, channels, repeats, stride of MobileNetV2's stages
STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]
INPUT, OUTPUT = "input:0", "logits"


class Builder:
    """Layers with seeded parameters, in the default graph."""

    def __init__(self, seed=0, heavy=False):
        self.random = np.random.default_rng(seed)
        self.heavy = heavy
        self.norms = 0

    def draw(self, *shape):
        """Of variance 1: normal, or heavy-tailed as trained weights are."""
        if self.heavy:
            return self.random.standard_t(3, shape) / np.sqrt(3)
        return self.random.standard_normal(shape)

    def weights(self, *shape):
        """Of He's variance, float32."""
        fan_in = np.prod(shape[:-1])
        return (self.draw(*shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    def norm(self, x, name):
        """A batch norm in inference mode."""
        channels = int(x.shape[-1])
        draw = self.random.uniform
        scale, variance = draw(0.5, 1.5, channels), draw(0.5, 1.5, channels)
        offset, mean = draw(-0.3, 0.3, channels), draw(-0.3, 0.3, channels)
        values = [v.astype(np.float32) for v in (scale, offset, mean, variance)]
        self.norms += 1
        return tf.nn.fused_batch_norm(x, *values, epsilon=1e-3, is_training=False, name=name)[0]

    def conv(self, x, channels, size, stride, name):
        """Conv2D and its batch norm."""
        w = self.weights(size, size, int(x.shape[-1]), channels)
        x = tf.nn.conv2d(x, w, strides=[1, stride, stride, 1], padding="SAME", name=name + "/Conv2D")
        return self.norm(x, name + "/bn")

    def depthwise(self, x, stride, name):
        """A 3x3 depthwise convolution and its batch norm."""
        channels = int(x.shape[-1])
        w = (self.draw(3, 3, channels, 1) * np.sqrt(2 / 9)).astype(np.float32)
        strides = [1, stride, stride, 1]
        x = tf.nn.depthwise_conv2d_native(x, w, strides, "SAME", name=name + "/depthwise")
        return self.norm(x, name + "/bn")

    def bottleneck(self, x, expansion, channels, stride, name):
        """Expand, filter, project; added to the input where the shapes agree."""
        y = x
        if expansion > 1:
            y = tf.nn.relu6(self.conv(y, expansion * int(x.shape[-1]), 1, 1, name + "/expand"))
        y = tf.nn.relu6(self.depthwise(y, stride, name + "/filter"))
        y = self.conv(y, channels, 1, 1, name + "/project")
        return x + y if stride == 1 and int(x.shape[-1]) == channels else y


class Trainer(Builder):
    """The same layers with variables, batch norms in training mode and, if asked, fake_quant ops."""

    def __init__(self, fake_quant=False):
        super().__init__()
        self.fake_quant = fake_quant

    def variable(self, name, value):
        return tf.get_variable(name, initializer=value, use_resource=False)

    def norm(self, x, name):
        channels = int(x.shape[-1])
        scale = self.variable(name + "/scale", np.ones(channels, np.float32))
        offset = self.variable(name + "/offset", np.zeros(channels, np.float32))
        self.norms += 1
        return tf.nn.fused_batch_norm(x, scale, offset, epsilon=1e-3, is_training=True, name=name)[0]

    def quantized(self, x, w, name):
        """Data with trained ends; weights with one range for each channel, as TensorFlow's ops have it."""
        if not self.fake_quant:
            return x, w
        ends = [self.variable(name + end, np.float32(v)) for end, v in (("/low", -4), ("/high", 6))]
        x = tf.quantization.fake_quant_with_min_max_vars(x, ends[0], ends[1])
        shape = w.shape.as_list()
        rows = tf.reshape(w, [-1, shape[2] if name.endswith("filter") else shape[-1]])
        largest = tf.stop_gradient(tf.reduce_max(tf.abs(rows), axis=0))
        rows = tf.quantization.fake_quant_with_min_max_vars_per_channel(rows, -largest, largest, narrow_range=True)
        return x, tf.reshape(rows, shape)

    def conv(self, x, channels, size, stride, name):
        w = self.variable(name + "/w", self.weights(size, size, int(x.shape[-1]), channels))
        x, w = self.quantized(x, w, name)
        return self.norm(tf.nn.conv2d(x, w, strides=[1, stride, stride, 1], padding="SAME", name=name), name + "/bn")

    def depthwise(self, x, stride, name):
        w = (self.draw(3, 3, int(x.shape[-1]), 1) * np.sqrt(2 / 9)).astype(np.float32)
        x, w = self.quantized(x, self.variable(name + "/w", w), name)
        x = tf.nn.depthwise_conv2d_native(x, w, [1, stride, stride, 1], "SAME", name=name)
        return self.norm(x, name + "/bn")

    def logits(self, x, classes):
        """The classifier, on the means of the planes."""
        x = tf.reduce_mean(x, [1, 2])
        x, w = self.quantized(x, self.variable("classifier/w", self.weights(int(x.shape[-1]), classes)), "classifier")
        return tf.matmul(x, w, name="classifier")


def features(b, x, width=1.0):
    """MobileNetV2 up to its head: 52 batch norms, 17 depthwise convolutions."""

    def scaled(channels):
        return max(8, int(channels * width + 4) // 8 * 8)

    x = tf.nn.relu6(b.conv(x, scaled(32), 3, 2, "stem"))
    for stage, (expansion, channels, repeats, stride) in enumerate(STAGES):
        for i in range(repeats):
            name = "stage{}/block{}".format(stage, i)
            x = b.bottleneck(x, expansion, scaled(channels), stride if i == 0 else 1, name)
    x = tf.nn.relu6(b.conv(x, max(1280, scaled(1280)), 1, 1, "head"))
    assert b.norms == 52
    return x


def mobilenet_v2(width=1.0, size=224, classes=1001, heavy=False):
    """GraphDef of MobileNetV2's shape, with AvgPool and logits."""
    b = Builder(heavy=heavy)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, (None, size, size, 3), name=INPUT[:-2])
        x = features(b, x, width)
        side = int(x.shape[1])
        x = tf.nn.avg_pool2d(x, side, 1, "VALID", name="pool")
        w = b.weights(1, 1, int(x.shape[-1]), classes)
        x = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name="classifier/Conv2D")
        x = tf.nn.bias_add(x, np.zeros(classes, np.float32), name="classifier/BiasAdd")
        tf.reshape(x, [-1, classes], name=OUTPUT)
    return graph.as_graph_def()


def training(batch, size, edit=None, fake_quant=False):
    """The graph of MobileNetV2 in training, with the ops of a step; `edit` sees the graph before the gradients."""
    b = Trainer(fake_quant)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, (batch, size, size, 3), name=INPUT[:-2])
        logits = b.logits(features(b, x), 100)
        if edit:
            edit(graph)
        labels = tf.constant(np.arange(batch) % 100, tf.int32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tf.reduce_mean(losses)
        step = tf.train.MomentumOptimizer(0.001, 0.9).minimize(loss)
        return graph, [loss, step], tf.global_variables_initializer()


def pictures(count, size=224, seed=1):
    """float32 [count, size, size, 3] in [-1, 1): smooth, as pictures are."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 256, (count, size // 16 + 1, size // 16 + 1, 3))
    x = np.repeat(np.repeat(coarse, 16, 1), 16, 2)[:, :size, :size]
    x = np.clip(x + random.normal(0, 12, x.shape), 0, 255)
    return (np.floor(x) / 128 - 1).astype(np.float32)


FLOAT = tf.AttrValue(type=tf.float32.as_datatype_enum)


def constant(definition, name, values):
    node = definition.node.add(name=name, op="Const")
    node.attr["dtype"].CopyFrom(FLOAT)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.asarray(values, np.float32)))
    return name


def chain(layers, prefix=""):
    """A chain of 1x1 convolutions with batch norm and Relu, eight nodes each, made node by node."""
    definition = tf.GraphDef()
    last = "input"
    node = definition.node.add(name=last, op="Placeholder")
    node.attr["dtype"].CopyFrom(FLOAT)
    node.attr["shape"].CopyFrom(tf.AttrValue(shape=tf.TensorShape((None, 1, 1, 1)).as_proto()))
    for i in range(layers):
        name = "{}layer{}".format(prefix, i)
        conv = definition.node.add(name=name + "/conv", op="Conv2D")
        conv.input.extend([last, constant(definition, name + "/w", np.full((1, 1, 1, 1), 0.5))])
        conv.attr["T"].CopyFrom(FLOAT)
        conv.attr["strides"].list.i.extend([1, 1, 1, 1])
        conv.attr["padding"].s = b"SAME"
        norm = definition.node.add(name=name + "/bn", op="FusedBatchNormV3")
        norm.input.append(conv.name)
        norm.input.extend(constant(definition, "{}/{}".format(name, p), [v]) for p, v in zip("gbmv", (2, 0, 0, 1)))
        norm.attr["T"].CopyFrom(FLOAT)
        norm.attr["U"].CopyFrom(FLOAT)
        norm.attr["is_training"].b = False
        norm.attr["epsilon"].f = 1e-3
        relu = definition.node.add(name=name + "/relu", op="Relu", input=[norm.name])
        relu.attr["T"].CopyFrom(FLOAT)
        last = relu.name
    return definition, last
