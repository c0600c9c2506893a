# SPDX-License-Identifier: Apache-2.0
"""Scenario 3: retrain a narrow network with one scale for each weight tensor.

    python examples/fashion/retrain.py [--steps 1200] [--out out] [--csv retraining.csv]

Depthwise convolutions of few channels and one scale a tensor are the hard case: the
largest channel leaves the others few steps of the grid. Calibration loses points, some
training brings them back. Training needs the full data set; on `subset/` the 128
calibration pictures train, which shows the calls and no more.

Writes out/retrain/fashion_quantized.pb and fashion_quant.json, and prints a table.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402

import amct_tensorflow as amct  # noqa: E402
import data  # noqa: E402
import naive  # noqa: E402
import train  # noqa: E402
from demo import load_graph, read_graph_def, run_logits  # noqa: E402

MODEL = Path(__file__).resolve().parent / "narrow.pb"
RATE = 0.002
BATCH_NUM = 8  # steps that initialise the clips
CFG = """\
batch_num: {batch_num}
retrain_weight_quant_config {{ arq_retrain {{ channel_wise: false }} }}
"""


def pretrained(frozen: tf.GraphDef) -> dict[str, np.ndarray]:
    """Values of the variables of train.py, out of the frozen graph."""
    constants = (node for node in frozen.node if node.op == "Const")
    return {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in constants}


def batches(evaluation: data.Evaluation) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Training batches without end."""
    random = np.random.RandomState(train.SEED)
    if evaluation.full:
        pictures = data.load_training()[0]
    else:
        pictures = evaluation.calibration
    while True:
        yield from train.augmented_batches(pictures, random)


def retrain(values: dict[str, np.ndarray], steps: int, work: Path, feed: Iterator) -> None:
    """Steps 1 to 3: edit the training graph, train, leave a checkpoint."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(train.SEED)
        images = tf.placeholder(tf.float32, [None, data.SIDE, data.SIDE, 1])
        labels = tf.placeholder(tf.int32, [None])
        network = train.Narrow(is_training=True)
        logits = network.logits(images)
        restore = train.Assigner()  # made before: knows nothing of the clips
        cfg = work / "retrain.cfg"
        cfg.write_text(CFG.format(batch_num=BATCH_NUM))
        amct.create_quant_retrain_config(str(work / "retrain.json"), graph, str(cfg))
        amct.create_quant_retrain_model(graph, str(work / "retrain.json"), str(work / "record.txt"))
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
        done = tf.train.get_or_create_global_step()
        rate = tf.train.cosine_decay(RATE, done, steps)
        with tf.control_dependencies(network.updates):
            step = tf.train.MomentumOptimizer(rate, train.MOMENTUM).minimize(loss, done)
        with tf.Session(graph=graph) as session:
            session.run(tf.global_variables_initializer())
            restore.run(session, values)
            for number, (x, y) in enumerate(itertools.islice(feed, steps), 1):
                found, _ = session.run([loss, step], {images: x, labels: y})
                if number % 100 == 0:
                    print(f"  step {number} of {steps}: loss {found:.4f}", flush=True)
            tf.train.Saver(tf.global_variables()).save(session, str(work / "trained"))


def save(work: Path) -> Path:
    """Steps 4 to 7: the inference graph, its factors, the quantized model."""
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [None, data.SIDE, data.SIDE, 1], name="input")
        train.Narrow(is_training=False).logits(images)
        retrain_ops = amct.create_quant_retrain_model(
            graph, str(work / "retrain.json"), str(work / "record.txt")
        )
        with tf.Session(graph=graph) as session:
            tf.train.Saver(tf.global_variables()).restore(session, str(work / "trained"))
            session.run(retrain_ops[-1].name[:-2] + ":0")
            frozen = tf.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), ["logits"]
            )
    (work / "retrained.pb").write_bytes(frozen.SerializeToString())
    amct.save_quant_retrain_model(
        str(work / "retrained.pb"), ["logits"], str(work / "record.txt"), str(work / "fashion")
    )
    return work / "fashion_quantized.pb"


def float_again(work: Path) -> tf.GraphDef:
    """The trained values in the float graph: what training alone has changed."""
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [None, data.SIDE, data.SIDE, 1], name="input")
        train.Narrow(is_training=False).logits(images)
        with tf.Session(graph=graph) as session:
            tf.train.Saver().restore(session, str(work / "trained"))
            return tf.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), ["logits"]
            )


def calibrate(evaluation: data.Evaluation, work: Path) -> Path:
    """The same granularity by calibration alone."""
    graph = load_graph(read_graph_def(MODEL))
    config = work / "calibrate.json"
    amct.create_quant_config(str(config), graph, batch_num=1)
    settings = json.loads(config.read_text())
    for layer in settings.values():
        if isinstance(layer, dict) and "weight_quant_params" in layer:
            layer["weight_quant_params"]["channel_wise"] = False
    config.write_text(json.dumps(settings))
    amct.quantize_model(graph, str(config), str(work / "calibrated.txt"))
    with tf.Session(graph=graph) as session:
        session.run("logits:0", {"input:0": data.to_input(evaluation.calibration.images)})
    amct.save_model(str(MODEL), ["logits"], str(work / "calibrated.txt"), str(work / "calibrated"))
    return work / "calibrated_quantized.pb"


def measure(steps: int, work: Path, evaluation: data.Evaluation) -> list[tuple[str, float]]:
    """Top-1 in per cent of the float network and of its int8 forms."""
    test = evaluation.test
    frozen = read_graph_def(MODEL)

    def top1(graph_def: tf.GraphDef) -> float:
        return 100 * float(np.mean(run_logits(graph_def, test.images).argmax(1) == test.labels))

    plain = naive.quantize(frozen, [data.to_input(evaluation.calibration.images)], False)
    rows = [
        ("float", top1(frozen)),
        ("naive min-max per tensor", top1(plain)),
        ("calibrated per tensor", top1(read_graph_def(calibrate(evaluation, work)))),
    ]
    retrain(pretrained(frozen), steps, work, batches(evaluation))
    rows.append(("retrained per tensor", top1(read_graph_def(save(work)))))
    rows.append(("the retrained values in float", top1(float_again(work))))
    return rows


FIELDS = ["tensorflow", "seed", "network", "test_pictures", "top1_percent"]


def write_csv(path: Path, rows: list[tuple[str, float]], pictures: int) -> None:
    """The table of this TensorFlow; those of others stay in the file."""
    kept: list[list[str]] = []
    if path.exists():
        with path.open(newline="") as file:
            kept = [row for row in csv.reader(file) if row[0] not in (FIELDS[0], tf.__version__)]
    common = [tf.__version__, str(train.SEED)]
    found = [common + [name, str(pictures), f"{top1:.2f}"] for name, top1 in rows]
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([FIELDS] + kept + found)


def main() -> int:
    """Retrain, evaluate, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder to write")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--csv", type=Path, help="file for the table")
    parser.add_argument(
        "--data", choices=("auto", "full", "subset"), default="auto", help="see data.py"
    )
    arguments = parser.parse_args()
    if arguments.steps < BATCH_NUM:
        parser.error(f"--steps: {arguments.steps}, expected at least {BATCH_NUM}")
    work = arguments.out.resolve() / "retrain"
    work.mkdir(parents=True, exist_ok=True)
    amct.set_logging_level("warning", "info")
    tf.disable_eager_execution()
    try:
        evaluation = data.load(arguments.data)
    except data.DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = measure(arguments.steps, work, evaluation)
    print(f"\nFashion-MNIST, {len(evaluation.test.labels):,} test pictures")
    for name, found in rows:
        print(f"{name:<36} {found:6.2f} %")
    if arguments.csv:
        write_csv(arguments.csv, rows, len(evaluation.test.labels))
    return 0


if __name__ == "__main__":
    sys.exit(main())
