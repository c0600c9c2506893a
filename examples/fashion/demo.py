# SPDX-License-Identifier: Apache-2.0
"""Quantize a trained Fashion-MNIST network to int8, and measure what it costs.

    python examples/fashion/demo.py [--out out] [--data auto|full|subset]

`quantize` is the whole use of the tool, and what a script of your own would hold. The
rest measures: the float network, its int8 form, and, for contrast, int8 with plain
min-max ranges (naive.py).

Leaves fashion_quantized.pb, fashion_quant.json, config.json and record.txt in --out.
Exit status: 0 when int8 is as good as asked (see `Bounds`), 1 otherwise.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, NamedTuple, TypeVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402

import amct_tensorflow as amct  # noqa: E402
import data  # noqa: E402
import naive  # noqa: E402

amct.set_logging_level(print_level="info", save_level="info")

MODEL = Path(__file__).resolve().parent / "fashion.pb"
BATCH = 32
TEST_BATCH = 500

T = TypeVar("T")


def read_graph_def(path: Path) -> tf.GraphDef:
    """A frozen graph from its file."""
    graph_def = tf.GraphDef()
    graph_def.ParseFromString(path.read_bytes())
    return graph_def


def load_graph(graph_def: tf.GraphDef) -> tf.Graph:
    """A graph of its own for a frozen graph."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    return graph


class Cost(NamedTuple):
    """What a step took."""

    seconds: float
    peak_mib: float  # greatest resident memory of the process until its end


class Clock:
    """Runs steps and keeps what each took."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}

    def run(self, step: str, function: Callable[[], T]) -> T:
        """Run a step under its name."""
        print(f"{step} ...", flush=True)
        started = time.perf_counter()
        result = function()
        seconds = time.perf_counter() - started
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.costs[step] = Cost(seconds, peak_kib / 1024)
        return result


def quantize(out: Path, batches: list[np.ndarray], clock: Clock) -> Path:
    """Calibrate MODEL on `batches` and save it as int8. Returns the file."""
    config_file = str(out / "config.json")
    record_file = str(out / "record.txt")
    prefix = str(out / "fashion")

    graph = load_graph(read_graph_def(MODEL))
    images = graph.get_tensor_by_name("input:0")
    logits = graph.get_tensor_by_name("logits:0")

    clock.run(
        "create_quant_config",
        lambda: amct.create_quant_config(config_file, graph, batch_num=len(batches)),
    )
    clock.run(
        "quantize_model",
        lambda: amct.quantize_model(graph, config_file, record_file),
    )

    def calibrate() -> None:
        with tf.Session(graph=graph) as session:
            with graph.as_default():
                session.run(tf.global_variables_initializer())
            for batch in batches:
                session.run(logits, feed_dict={images: batch})

    clock.run("calibration", calibrate)
    clock.run(
        "save_model",
        lambda: amct.save_model(str(MODEL), ["logits"], record_file, prefix),
    )
    return Path(prefix + "_quantized.pb")


def progress(total: int) -> Iterator[int]:
    """0, 1, ... total - 1, with a line for each second that it takes."""
    shown = time.perf_counter()
    for number in range(total):
        yield number
        if time.perf_counter() - shown > 1 and number + 1 < total:
            shown = time.perf_counter()
            print(f"  {100 * (number + 1) // total:3d} %", flush=True)


def run_logits(graph_def: tf.GraphDef, images: np.ndarray) -> np.ndarray:
    """Logits float32 [n, 10] of uint8 pictures."""
    graph = load_graph(graph_def)
    found = []
    with tf.Session(graph=graph) as session:
        for number in progress(-(-len(images) // TEST_BATCH)):
            batch = images[number * TEST_BATCH : (number + 1) * TEST_BATCH]
            found.append(session.run("logits:0", {"input:0": data.to_input(batch)}))
    return np.concatenate(found)


class Score(NamedTuple):
    """How good a network's answers are, each in per cent of the pictures."""

    top1: float  # answers that are the label
    agreement: float  # answers that are the float network's


def score(answers: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> Score:
    """Compare answers (class numbers) with the float network's and the labels."""
    return Score(
        100 * float(np.mean(answers == labels)),
        100 * float(np.mean(answers == reference)),
    )


class Bounds(NamedTuple):
    """What int8 must reach.

    On all 10,000 test pictures: top-1 at most 0.3 points below float, agreement at
    least 99 %. A smaller test set measures less exactly, so it gets two standard
    errors of slack, those of a network that errs on 1 % of the pictures: on 1,000
    pictures 0.93 points and 98.37 %.
    """

    drop: float
    agreement: float

    @staticmethod
    def of(evaluation: data.Evaluation) -> Bounds:
        """Bounds for this test set."""
        if evaluation.full:
            return Bounds(0.3, 99.0)
        slack = 2 * 100 * math.sqrt(0.01 * 0.99 / len(evaluation.test.labels))
        return Bounds(0.3 + slack, 99.0 - slack)


def evaluate(
    evaluation: data.Evaluation, batches: list[np.ndarray], saved: Path, clock: Clock
) -> dict[str, Score]:
    """Scores of float, int8 and the two naive forms on the test pictures."""
    frozen = read_graph_def(MODEL)
    test = evaluation.test

    def answers(graph_def: tf.GraphDef) -> np.ndarray:
        return run_logits(graph_def, test.images).argmax(axis=1)

    reference = clock.run("evaluate float", lambda: answers(frozen))
    int8 = clock.run("evaluate int8", lambda: answers(read_graph_def(saved)))

    def contrast(per_channel: bool) -> np.ndarray:
        return answers(naive.quantize(frozen, batches, per_channel))

    by_channel = clock.run("naive per channel", lambda: contrast(True))
    by_tensor = clock.run("naive per tensor", lambda: contrast(False))
    rows = {
        "float": reference,
        "int8": int8,
        "naive min-max per channel": by_channel,
        "naive min-max per tensor": by_tensor,
    }
    return {name: score(row, reference, test.labels) for name, row in rows.items()}


def print_table(
    evaluation: data.Evaluation, scores: dict[str, Score], saved: Path, clock: Clock
) -> None:
    """Everything measured, for people."""
    sizes = {"float": MODEL.stat().st_size, "int8": saved.stat().st_size}
    print(f"\nFashion-MNIST, TensorFlow {tf.__version__}")
    print(f"data      {evaluation.source}")
    calibrated, tested = evaluation.calibration.labels, evaluation.test.labels
    print(f"pictures  {len(calibrated)} to calibrate, {len(tested):,} to test\n")
    print(f"{'network':<26} {'top-1':>9} {'agreement':>11} {'file':>14}")
    for name, found in scores.items():
        size = f"{sizes[name]:,} bytes" if name in sizes else "(simulated)"
        percent = f"{found.top1:7.2f} % {found.agreement:9.2f} %"
        print(f"{name:<26} {percent} {size:>14}")
    print(f"\n{'step':<26} {'time':>9} {'peak memory until then':>25}")
    for step, cost in clock.costs.items():
        print(f"{step:<26} {cost.seconds:7.2f} s {cost.peak_mib:21.0f} MiB")
    print(f"\nwritten to {saved.parent}")


def judge(evaluation: data.Evaluation, scores: dict[str, Score]) -> bool:
    """Is int8 as good as asked? Says so."""
    bounds = Bounds.of(evaluation)
    drop = scores["float"].top1 - scores["int8"].top1
    agreement = scores["int8"].agreement
    good = drop <= bounds.drop + 1e-9 and agreement >= bounds.agreement - 1e-9
    print(
        f"{'good' if good else 'BAD'}: int8 loses {drop:.2f} points of top-1 "
        f"(at most {bounds.drop:.2f}) and agrees with float on {agreement:.2f} % "
        f"(at least {bounds.agreement:.2f} %)"
    )
    if not evaluation.full:
        print("These bounds allow for the small test set; on all 10,000 pictures")
        print("they are 0.30 points and 99.00 %.")
    return good


def main() -> int:
    """Quantize, evaluate, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder to write")
    parser.add_argument(
        "--data", choices=("auto", "full", "subset"), default="auto", help="see data.py"
    )
    arguments = parser.parse_args()
    clock = Clock()
    try:
        evaluation = clock.run("load data", lambda: data.load(arguments.data))
    except data.DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"data: {evaluation.source}")
    inputs = data.to_input(evaluation.calibration.images)
    batches = [inputs[i : i + BATCH] for i in range(0, len(inputs), BATCH)]

    saved = quantize(arguments.out, batches, clock)
    scores = evaluate(evaluation, batches, saved, clock)
    print_table(evaluation, scores, saved, clock)
    return 0 if judge(evaluation, scores) else 1


if __name__ == "__main__":
    sys.exit(main())
