# SPDX-License-Identifier: Apache-2.0
"""Train the networks of the examples and freeze them into examples/fashion/.

    python examples/fashion/train.py [--network fashion] [--epochs 16] [--out fashion.pb]
    python examples/fashion/train.py --network narrow --epochs 12

An ordinary TensorFlow script in graph mode; it knows nothing about quantization. It
runs with TensorFlow 1.15 and 2.x, for a few minutes on two CPU cores, and needs the
full data set (see data.py). The epoch that is kept is the best one on the validation
split; the test pictures are looked at once, at the end.

Seeds are fixed, but TensorFlow sums in another order with other thread counts, so
another machine gets another network of the same quality.

Frozen graph: `input` float32 [None, 28, 28, 1], pixel / 128 - 1; `logits` float32
[None, 10], a BiasAdd. Batch norms are FusedBatchNormV3, not folded.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Iterator, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402

import data  # noqa: E402

SEED = 20
BATCH = 128
PEAK_RATE = 0.15
WARM_UP_STEPS = 200
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
BN_DECAY = 0.98
# Smaller than usual on purpose: a channel that dies early in training is then folded
# into weights far above the others', as happens in large networks, and 8 bits with one
# scale per tensor suffer from it.
BN_EPSILON = 5e-5
SHIFT = 1  # augmentation: up to one pixel each way

# Attributes younger than TensorFlow 1.15 whose default means "as before": without
# them the frozen graph loads everywhere.
YOUNGER_ATTRIBUTES = {
    "Conv2D": ("explicit_paddings",),
    "DepthwiseConv2dNative": ("explicit_paddings",),
    "FusedBatchNormV3": ("exponential_avg_factor",),
    "MatMul": ("grad_a", "grad_b"),
}


class Network:
    """The layers, with the moving averages that training has to update.

    Args:
        is_training: batch norms use the statistics of the batch, and update them.
    """

    epsilon = BN_EPSILON

    def __init__(self, is_training: bool) -> None:
        self.is_training = is_training
        self.updates: list[tf.Operation] = []
        self.decayed: list[tf.Tensor] = []

    def _weights(self, shape: tuple[int, ...], fan: int) -> tf.Tensor:
        """A variable with He's initial values, subject to weight decay."""
        spread = float(np.sqrt(2.0 / fan))
        initial = tf.truncated_normal_initializer(stddev=spread, seed=SEED)
        weights = tf.get_variable("weights", shape, initializer=initial, use_resource=True)
        self.decayed.append(weights)
        return weights

    def first_scales(self, channels: int) -> object:
        """Initial values of a batch norm's scales."""
        return tf.ones_initializer()

    def _batch_norm(self, x: tf.Tensor) -> tf.Tensor:
        channels = int(x.shape[-1])
        zeros = tf.zeros_initializer()

        def variable(name: str, initial: object, trainable: bool) -> tf.Variable:
            return tf.get_variable(
                name,
                [channels],
                initializer=initial,
                trainable=trainable,
                use_resource=True,
            )

        gamma = variable("gamma", self.first_scales(channels), True)
        beta = variable("beta", zeros, True)
        mean = variable("moving_mean", zeros, False)
        variance = variable("moving_variance", tf.ones_initializer(), False)
        if not self.is_training:
            return tf.nn.fused_batch_norm(
                x, gamma, beta, mean, variance, self.epsilon, is_training=False, name="bn"
            )[0]
        y, batch_mean, batch_variance = tf.nn.fused_batch_norm(
            x, gamma, beta, epsilon=self.epsilon, is_training=True, name="bn"
        )
        for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
            step = (moving - batch) * (1 - BN_DECAY)
            self.updates.append(moving.assign_sub(step).op)
        return y

    def conv(self, x: tf.Tensor, name: str, size: int, channels: int) -> tf.Tensor:
        """Convolution, batch norm."""
        with tf.variable_scope(name):
            inputs = int(x.shape[-1])
            weights = self._weights((size, size, inputs, channels), size * size * inputs)
            x = tf.nn.conv2d(x, filter=weights, strides=[1, 1, 1, 1], padding="SAME", name="Conv2D")
            return self._batch_norm(x)

    def depthwise(self, x: tf.Tensor, name: str, stride: int) -> tf.Tensor:
        """Depthwise 3x3 convolution, batch norm, ReLU6."""
        with tf.variable_scope(name):
            weights = self._weights((3, 3, int(x.shape[-1]), 1), 9)
            x = tf.nn.depthwise_conv2d_native(
                x, weights, [1, stride, stride, 1], "SAME", name="depthwise"
            )
            return tf.nn.relu6(self._batch_norm(x))

    def logits(self, x: tf.Tensor) -> tf.Tensor:
        """images float32 [n, 28, 28, 1] -> logits float32 [n, 10], named `logits`."""
        x = tf.nn.relu6(self.conv(x, "stem", 3, 16))
        x = self.depthwise(x, "down1/depthwise", 2)  # 14x14
        x = tf.nn.relu6(self.conv(x, "down1/pointwise", 1, 32))

        shortcut = x
        x = self.depthwise(x, "residual1/depthwise", 1)
        x = self.conv(x, "residual1/pointwise", 1, 32)
        x = tf.nn.relu6(tf.add(x, shortcut, name="residual1/add"))

        x = self.depthwise(x, "down2/depthwise", 2)  # 7x7
        x = tf.nn.relu6(self.conv(x, "down2/pointwise", 1, 64))

        shortcut = x
        x = tf.nn.relu6(self.conv(x, "residual2/conv", 3, 64))
        x = self.depthwise(x, "residual2/depthwise", 1)
        x = self.conv(x, "residual2/pointwise", 1, 64)
        x = tf.nn.relu6(tf.add(x, shortcut, name="residual2/add"))

        return self._classify(x)

    def _classify(self, x: tf.Tensor) -> tf.Tensor:
        side, channels = int(x.shape[1]), int(x.shape[3])
        x = tf.nn.avg_pool(x, [1, side, side, 1], [1, 1, 1, 1], "VALID", name="pool")
        x = tf.reshape(x, [-1, channels], name="flatten")
        with tf.variable_scope("classifier"):
            weights = self._weights((channels, data.CLASSES), channels)
            bias = tf.get_variable(
                "bias",
                [data.CLASSES],
                initializer=tf.zeros_initializer(),
                use_resource=True,
            )
            x = tf.matmul(x, weights, name="MatMul")
        return tf.nn.bias_add(x, bias, name="logits")


class Narrow(Network):
    """Six convolutions of 8 to 32 channels, all but the first separable: MobileNet, narrow."""

    epsilon = 3e-4

    def logits(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.nn.relu6(self.conv(x, "stem", 3, 8))
        blocks = ((16, 2), (16, 1), (24, 2), (24, 1), (32, 1))
        for number, (channels, stride) in enumerate(blocks, 1):
            x = self.depthwise(x, f"block{number}/depthwise", stride)
            x = tf.nn.relu6(self.conv(x, f"block{number}/pointwise", 1, channels))
        return self._classify(x)


NETWORKS = {"fashion": Network, "narrow": Narrow}


class Training(NamedTuple):
    """What a training step is fed and what it runs."""

    images: tf.Tensor
    labels: tf.Tensor
    step: tf.Operation
    loss: tf.Tensor


def build_training(steps: int, layers: type[Network]) -> Training:
    """Training graph: cross entropy, weight decay, momentum, cosine learning rate."""
    images = tf.placeholder(tf.float32, [None, data.SIDE, data.SIDE, 1])
    labels = tf.placeholder(tf.int32, [None])
    network = layers(is_training=True)
    logits = network.logits(images)
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    decay = tf.add_n([tf.nn.l2_loss(weights) for weights in network.decayed])

    step = tf.train.get_or_create_global_step()
    warm_up = tf.minimum(1.0, tf.cast(step + 1, tf.float32) / WARM_UP_STEPS)
    rate = tf.train.cosine_decay(PEAK_RATE, step, steps) * warm_up
    optimizer = tf.train.MomentumOptimizer(rate, MOMENTUM, use_nesterov=True)
    with tf.control_dependencies(network.updates):
        train = optimizer.minimize(loss + WEIGHT_DECAY * decay, global_step=step)
    return Training(images, labels, train, loss)


def augmented_batches(
    pictures: data.Pictures, random: np.random.RandomState
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One epoch: shuffled batches, flipped at random and shifted; the rest is left."""
    count = len(pictures.labels)
    order = random.permutation(count)
    edge = ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT))
    line = np.arange(data.SIDE)
    for start in range(0, count - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        padded = np.pad(pictures.images[chosen], edge, mode="constant")
        top, left = random.randint(0, 2 * SHIFT + 1, (2, BATCH, 1))
        columns = np.where(random.rand(BATCH, 1) < 0.5, line, line[::-1]) + left
        rows = line + top
        moved = padded[np.arange(BATCH)[:, None, None], rows[:, :, None], columns[:, None, :]]
        yield data.to_input(moved), pictures.labels[chosen]


def accuracy(session: tf.Session, logits: tf.Tensor, pictures: data.Pictures) -> float:
    """Part of the pictures whose largest logit is their label."""
    images = logits.graph.get_tensor_by_name("input:0")
    right = 0
    for start in range(0, len(pictures.labels), 500):
        batch = slice(start, start + 500)
        feed = {images: data.to_input(pictures.images[batch])}
        found = session.run(logits, feed).argmax(axis=1)
        right += int((found == pictures.labels[batch]).sum())
    return right / len(pictures.labels)


class Inference:
    """The graph that is frozen: no dropout, no loss, batch norms in inference mode."""

    def __init__(self, layers: type[Network]) -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            images = tf.placeholder(tf.float32, [None, data.SIDE, data.SIDE, 1], name="input")
            self.logits = layers(is_training=False).logits(images)
            self.saver = Assigner()
        self.session = tf.Session(graph=self.graph)

    def frozen(self) -> tf.GraphDef:
        """The graph with its variables turned into constants, loadable in 1.15."""
        graph = tf.graph_util.convert_variables_to_constants(
            self.session, self.graph.as_graph_def(), ["logits"]
        )
        for node in graph.node:
            for name in YOUNGER_ATTRIBUTES.get(node.op, ()):
                if name in node.attr:
                    del node.attr[name]
        return graph


class Assigner:
    """Gives every variable of the current graph a value by its name."""

    def __init__(self) -> None:
        self._feeds = {}
        assigns = []
        for variable in tf.global_variables():
            value = tf.placeholder(variable.dtype.base_dtype, variable.shape)
            self._feeds[variable.op.name] = value
            assigns.append(variable.assign(value).op)
        self._assign = tf.group(*assigns)

    def run(self, session: tf.Session, values: dict[str, np.ndarray]) -> None:
        """Assign `values`; those of other variables are ignored."""
        session.run(self._assign, {feed: values[name] for name, feed in self._feeds.items()})


def train(
    epochs: int, layers: type[Network] = Network, seconds_between_lines: float = 5.0
) -> tf.GraphDef:
    """Train, keep the epoch that is best on the validation split, and freeze it."""
    training_split, validation_split = data.load_training()
    tf.disable_eager_execution()
    tf.reset_default_graph()
    tf.set_random_seed(SEED)
    random = np.random.RandomState(SEED)
    steps = len(training_split.labels) // BATCH
    graph = build_training(epochs * steps, layers)
    inference = Inference(layers)

    best, best_graph = -1.0, None
    with tf.Session() as session:
        variables = {v.op.name: v for v in tf.global_variables()}
        session.run(tf.global_variables_initializer())
        for epoch in range(1, epochs + 1):
            started = shown = time.time()
            total = 0.0
            for number, (images, labels) in enumerate(augmented_batches(training_split, random), 1):
                feed = {graph.images: images, graph.labels: labels}
                loss, _ = session.run([graph.loss, graph.step], feed)
                total += float(loss)
                if time.time() - shown > seconds_between_lines:
                    shown = time.time()
                    print(f"  step {number} of {steps}", flush=True)
            inference.saver.run(inference.session, session.run(variables))
            right = accuracy(inference.session, inference.logits, validation_split)
            print(
                f"epoch {epoch} of {epochs}: loss {total / steps:.4f}, "
                f"validation {100 * right:.2f} %, {time.time() - started:.0f} s",
                flush=True,
            )
            if right > best:
                best, best_graph = right, inference.frozen()
    assert best_graph is not None
    return best_graph


def evaluate(frozen: tf.GraphDef, pictures: data.Pictures) -> float:
    """Accuracy of a frozen graph."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen, name="")
        with tf.Session(graph=graph) as session:
            logits = graph.get_tensor_by_name("logits:0")
            return accuracy(session, logits, pictures)


def main() -> int:
    """Train and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="fashion")
    parser.add_argument("--out", type=Path, help="file to write; beside this one without it")
    parser.add_argument("--epochs", type=int, default=16)
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"--epochs: {arguments.epochs}, expected at least 1")
    try:
        frozen = train(arguments.epochs, NETWORKS[arguments.network])
        test = data.load_full().test
    except data.DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    out = arguments.out or Path(__file__).resolve().parent / f"{arguments.network}.pb"
    out.write_bytes(frozen.SerializeToString())
    size, right = frozen.ByteSize(), evaluate(frozen, test)
    print(f"{out}: {size} bytes, test {100 * right:.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
