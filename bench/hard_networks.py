# SPDX-License-Identifier: Apache-2.0
"""Two networks that eight bits are hard on, trained on Fashion-MNIST as examples/fashion/train.py does.

    python bench/hard_networks.py [--out build/algorithms]

`inverted`: MobileNetV2's blocks with ReLU6, whose channels differ in size by factors of hundreds: batch norms start
with scales drawn from a wide distribution, as those of long-trained networks end. `silu`: blocks with SiLU, whose
negative tails need an offset. A minute or two each on two cores; seeds are fixed.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples" / "fashion"))

import data  # noqa: E402
import train  # noqa: E402

EPOCHS = 4
SPREAD = 1.2  # standard deviation of the logarithm of a batch norm's first scales


class Blocks(train.Network):
    """Expand, filter, project; added to the input where the shapes agree."""

    expansion, kernel = 4, 3
    # channels, stride
    stages = [(16, 1), (24, 2), (24, 1), (40, 1), (40, 1), (64, 2), (64, 1)]

    def activate(self, x):
        raise NotImplementedError

    def filter(self, x, name, stride):
        with tf.variable_scope(name):
            weights = self._weights((self.kernel, self.kernel, int(x.shape[-1]), 1), self.kernel**2)
            x = tf.nn.depthwise_conv2d_native(x, weights, [1, stride, stride, 1], "SAME", name="depthwise")
            return self._batch_norm(x)

    def block(self, x, name, channels, stride):
        inputs = int(x.shape[-1])
        y = self.activate(self.conv(x, name + "/expand", 1, self.expansion * inputs))
        y = self.activate(self.filter(y, name + "/filter", stride))
        y = self.conv(y, name + "/project", 1, channels)
        return x + y if stride == 1 and inputs == channels else y

    def logits(self, x):
        x = self.activate(self.conv(x, "stem", 3, 16))
        x = tf.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
        for i, (channels, stride) in enumerate(self.stages):
            x = self.block(x, "block{}".format(i), channels, stride)
        x = self.activate(self.conv(x, "head", 1, 192))
        side = int(x.shape[1])
        x = tf.reshape(tf.nn.avg_pool(x, [1, side, side, 1], [1, 1, 1, 1], "VALID"), [-1, 192])
        with tf.variable_scope("classifier"):
            weights = self._weights((192, data.CLASSES), 192)
            zeros = tf.zeros_initializer()
            bias = tf.get_variable("bias", [data.CLASSES], initializer=zeros, use_resource=True)
            x = tf.matmul(x, weights, name="MatMul")
        return tf.nn.bias_add(x, bias, name="logits")


class Inverted(Blocks):
    """ReLU6 and channels of very different sizes."""

    def __init__(self, is_training):
        super().__init__(is_training)
        self.random = np.random.default_rng(train.SEED)

    def activate(self, x):
        return tf.nn.relu6(x)

    def first_scales(self, channels):
        drawn = np.exp(self.random.normal(0, SPREAD, channels)).astype(np.float32)
        return tf.constant_initializer(drawn)


class Silu(Blocks):
    """x * sigmoid(x), and larger filters."""

    kernel = 5

    def activate(self, x):
        return x * tf.sigmoid(x)


NETWORKS = {"inverted": Inverted, "silu": Silu}


def trained(name, folder):
    """The frozen network; trained where the folder has none yet."""
    path = Path(folder) / (name + ".pb")
    if not path.exists():
        print("training " + name, flush=True)
        path.write_bytes(train.train(EPOCHS, NETWORKS[name]).SerializeToString())
    return tf.GraphDef.FromString(path.read_bytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/algorithms"), help="folder for the networks")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    test = data.load_full().test
    for name in NETWORKS:
        print("{}: test {:.2f} %".format(name, 100 * train.evaluate(trained(name, folder), test)))


if __name__ == "__main__":
    main()
