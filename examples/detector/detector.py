# SPDX-License-Identifier: Apache-2.0
"""A detector-like graph: a network, then decoding and suppression with control flow.

    python examples/detector/detector.py [--out out/detector]

What detectors have behind their network (a cond, a while loop, non-maximum suppression)
passes through as it is; the network is quantized. Random weights: the point is the graph,
not what it sees. Calibrate on pictures of your own where this feeds random ones.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402

import amct_tensorflow as amct  # noqa: E402

SIDE, ANCHORS, CLASSES = 64, 3, 4
OUTPUTS = ["raw_boxes", "raw_scores", "boxes", "scores", "count"]


def block(x, channels, stride, random, name):
    """Conv2D, batch norm, Relu6."""
    fan_in = 9 * int(x.shape[-1])
    shape = (3, 3, int(x.shape[-1]), channels)
    w = (random.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)
    x = tf.nn.conv2d(x, w, strides=[1, stride, stride, 1], padding="SAME", name=name + "/Conv2D")
    values = [random.uniform(0.5, 1.5, channels).astype(np.float32) for _ in range(4)]
    x = tf.nn.fused_batch_norm(x, *values, is_training=False, name=name + "/bn")[0]
    return tf.nn.relu6(x, name=name + "/Relu6")


def head(x, channels, random, name):
    """A 1x1 convolution with a bias."""
    w = random.normal(0, 0.2, (1, 1, int(x.shape[-1]), channels)).astype(np.float32)
    y = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name=name + "/Conv2D")
    return tf.nn.bias_add(y, random.normal(0, 0.1, channels).astype(np.float32), name=name + "/bias")


def decode(boxes, scores):
    """The best boxes: a threshold that depends on the picture, then suppression."""
    best = tf.reduce_max(scores, axis=1)
    limit = tf.cond(tf.reduce_max(best) > 0.7, lambda: tf.constant(0.6), lambda: tf.constant(0.4))
    counted = tf.while_loop(
        lambda i, _: i < tf.shape(best)[0],
        lambda i, n: (i + 1, n + tf.cast(best[i] > limit, tf.int32)),
        [tf.constant(0), tf.constant(0)],
    )[1]
    kept = tf.image.non_max_suppression(boxes, best, 10, score_threshold=0.0)
    tf.gather(boxes, kept, name="boxes")
    tf.gather(best, kept, name="scores")
    tf.identity(counted, name="count")


def build():
    """The graph, with control flow of TensorFlow 1."""
    random = np.random.RandomState(0)
    tf.disable_control_flow_v2()
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.uint8, (1, None, None, 3), name="picture")
        x = tf.image.resize_bilinear(tf.cast(x, tf.float32), [SIDE, SIDE])
        x = x * (1 / 127.5) - 1.0
        for i, channels in enumerate((8, 16, 24)):
            x = block(x, channels, 2, random, "layer{}".format(i))
        boxes = tf.reshape(head(x, 4 * ANCHORS, random, "box"), [-1, 4], name="raw_boxes")
        scores = tf.reshape(head(x, CLASSES * ANCHORS, random, "class"), [-1, CLASSES])
        decode(boxes, tf.sigmoid(scores, name="raw_scores"))
    return graph


def main():
    """Quantize, run both, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/detector"), help="folder to write")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    graph = build()
    model, prefix = out / "detector.pb", str(out / "detector")
    model.write_bytes(graph.as_graph_def().SerializeToString())

    pictures = np.random.RandomState(1).randint(0, 256, (8, 1, 48, 80, 3)).astype(np.uint8)
    fetches = [name + ":0" for name in OUTPUTS]
    amct.create_quant_config(str(out / "config.json"), graph, batch_num=len(pictures))
    amct.quantize_model(graph, str(out / "config.json"), str(out / "record.txt"))
    with tf.Session(graph=graph) as session:
        wanted = [session.run(fetches, {"picture:0": picture}) for picture in pictures]
    amct.save_model(str(model), OUTPUTS, str(out / "record.txt"), prefix)

    with tf.Graph().as_default() as quantized:
        tf.import_graph_def(tf.GraphDef.FromString(Path(prefix + "_quantized.pb").read_bytes()), name="")
    with tf.Session(graph=quantized) as session:
        found = [session.run(fetches, {"picture:0": picture}) for picture in pictures]
    worst = 0.0
    for i, name in enumerate(OUTPUTS[:2]):
        error = max(np.abs(a[i] - b[i]).max() / np.abs(b[i]).max() for a, b in zip(found, wanted))
        worst = max(worst, error)
        print("{:<11} differs by {:.1%} of its largest value at most".format(name, error))
    print("boxes kept  float {}, int8 {}".format([len(w[2]) for w in wanted], [len(f[2]) for f in found]))
    return 0 if worst < 0.1 else 1


if __name__ == "__main__":
    sys.exit(main())
