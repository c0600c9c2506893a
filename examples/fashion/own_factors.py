# SPDX-License-Identifier: Apache-2.0
"""Scenario 2: factors of your own, no calibration by the tool.

    python examples/fashion/own_factors.py [--out out/own]

Computes min-max factors of the Fashion-MNIST network with plain TensorFlow and NumPy
(naive.py), writes them as a record, and hands that to convert_model. Any other way to
find factors does as well: the record is all that convert_model needs.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402

import amct_tensorflow as amct  # noqa: E402
import data  # noqa: E402
import naive  # noqa: E402

MODEL = Path(__file__).resolve().parent / "fashion.pb"


def data_factors(low: float, high: float) -> tuple[np.float32, int]:
    """scale_d, and the integer in -128..127 that means zero."""
    scale = np.float32((high - low) / 255) if high > low else np.float32(1)
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def weight_scales(node: tf.NodeDef, weights: np.ndarray) -> np.ndarray:
    """One scale for each output channel; one in all for a MatMul."""
    axes = {"Conv2D": (0, 1, 2), "DepthwiseConv2dNative": (0, 1), "MatMul": (0, 1)}[node.op]
    scale = np.abs(weights).max(axis=axes).reshape(-1) / 127
    return np.where(scale == 0, 1, scale).astype(np.float32)


def write_record(path: Path, frozen: tf.GraphDef, batches: list[np.ndarray]) -> int:
    """The factors of each layer, of its weights after folding. Returns how many layers."""
    folded = naive.fold_batch_norms(frozen)
    ranges = naive.data_ranges(folded, batches)
    by_name = {node.name: node for node in folded.node}
    lines = []
    for node in folded.node:
        if node.name not in ranges:
            continue
        scale, offset = data_factors(*ranges[node.name])
        lines += ['record {\n  key: "%s"\n  value {' % node.name]
        lines += ["    scale_d: %.9g\n    offset_d: %d" % (scale, offset)]
        if node.op in naive.WEIGHTED:
            weights = naive.value_of(by_name, node.input[1])
            scales = weight_scales(node, weights)
            lines += ["    scale_w: %.9g" % s for s in scales] + ["    offset_w: 0"] * len(scales)
        lines += ["  }\n}"]
    path.write_text("\n".join(lines) + "\n")
    return len(ranges)


def logits(path: Path, images: np.ndarray) -> np.ndarray:
    """What a frozen network answers."""
    graph_def = tf.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with tf.Session(graph=graph) as session:
            parts = np.array_split(data.to_input(images), max(1, len(images) // 500))
            return np.concatenate([session.run("logits:0", {"input:0": part}) for part in parts])


def main() -> int:
    """Write a record, convert, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/own"), help="folder to write")
    parser.add_argument("--data", choices=("auto", "full", "subset"), default="auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    evaluation = data.load(arguments.data)
    batches = np.array_split(data.to_input(evaluation.calibration.images), 4)
    frozen = tf.GraphDef.FromString(MODEL.read_bytes())

    record = arguments.out / "record.txt"
    count = write_record(record, frozen, batches)
    amct.convert_model(str(MODEL), ["logits"], str(record), str(arguments.out / "fashion"))

    test = evaluation.test
    reference = logits(MODEL, test.images).argmax(axis=1)
    answers = logits(arguments.out / "fashion_quantized.pb", test.images).argmax(axis=1)
    print("%d layers with factors of our own, %s pictures" % (count, format(len(answers), ",")))
    for name, found in (("float", reference), ("int8", answers)):
        print("%-6s top-1 %.2f %%" % (name, 100 * np.mean(found == test.labels)))
    agreement = 100 * float(np.mean(answers == reference))
    print("agreement %.2f %%" % agreement)
    return 0 if agreement > 98 else 1


if __name__ == "__main__":
    sys.exit(main())
