# SPDX-License-Identifier: Apache-2.0
"""Scenario 3 as Keras has it: fit a model, retrain it with fit, write the int8 pb.

    python examples/fashion/keras_fit.py [--epochs 4] [--out out] [--csv keras.csv]

TensorFlow 2.21 with its Keras 3. Training needs the full data set; on `subset/` the 128
calibration pictures train, which shows the calls and no more. Seeds are fixed; the last
digits depend on the number of threads.

Writes out/keras/fashion_quantized.pb and fashion_quant.json, and prints a table: accuracy,
and how far the saved model is from what was trained.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import amct_tensorflow as amct  # noqa: E402
import data  # noqa: E402
from demo import read_graph_def, run_logits  # noqa: E402

SEED = 20
BATCH = 128
CFG = "batch_num: {batch_num}\nretrain_weight_quant_config {{ arq_retrain {{ channel_wise: false }} }}\n"


def network() -> keras.Model:
    """Convolution, two depthwise separable blocks, pool, dense."""
    layers = keras.layers
    x = start = layers.Input((data.SIDE, data.SIDE, 1), name="input")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU(6)(layers.BatchNormalization(momentum=0.97)(x))
    for channels in (32, 64):
        x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU(6)(layers.BatchNormalization(momentum=0.97)(x))
        x = layers.Conv2D(channels, 1, use_bias=False)(x)
        x = layers.ReLU(6)(layers.BatchNormalization(momentum=0.97)(x))
    x = layers.Flatten()(layers.AveragePooling2D(7)(x))
    return keras.Model(start, layers.Dense(10, name="logits")(x), name="fashion")


def fit(model: keras.Model, pictures: data.Pictures, epochs: int, rate: float) -> None:
    """An ordinary compile and fit."""
    steps = epochs * -(-len(pictures.labels) // BATCH)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    x = data.to_input(pictures.images)
    model.fit(x, pictures.labels.astype(np.int32), batch_size=BATCH, epochs=epochs, verbose=2)


def retrain(model: keras.Model, pictures: data.Pictures, work: Path) -> Path:
    """Edits the model, fits it once more, writes the quantized pb."""
    config, record = str(work / "retrain.json"), str(work / "record.txt")
    cfg = work / "retrain.cfg"
    steps = -(-len(pictures.labels) // BATCH)
    cfg.write_text(CFG.format(batch_num=min(8, steps)))
    amct.create_quant_retrain_config(config, model, str(cfg))
    amct.create_quant_retrain_model(model, config, record)
    fit(model, pictures, 1, 0.001)
    outputs = amct.freeze_quant_retrain_model(model, str(work / "retrained.pb"))
    amct.save_quant_retrain_model(
        str(work / "retrained.pb"), outputs, record, str(work / "fashion")
    )
    return work / "fashion_quantized.pb"


def measure(epochs: int, work: Path, evaluation: data.Evaluation) -> list[tuple[str, str]]:
    """What the table says."""
    pictures = data.load_training()[0] if evaluation.full else evaluation.calibration
    x, labels = data.to_input(evaluation.test.images), evaluation.test.labels

    def top1(logits: np.ndarray) -> str:
        return f"{100 * float(np.mean(logits.argmax(1) == labels)):.2f}"

    keras.utils.set_random_seed(SEED)
    model = network()
    fit(model, pictures, epochs, 0.01)
    rows = [("top-1 of the float model, per cent", top1(model.predict(x, verbose=0)))]
    deployed = run_logits(read_graph_def(retrain(model, pictures, work)), evaluation.test.images)
    trained = model.predict(x, verbose=0)
    rows.append(("top-1 retrained per tensor, in Keras", top1(trained)))
    rows.append(("top-1 retrained per tensor, saved pb", top1(deployed)))
    apart = np.abs(trained - deployed).max(1) / np.abs(trained).max()
    rows.append(("difference of the two, median, of the largest logit", f"{np.median(apart):.1e}"))
    rows.append(("difference of the two, largest", f"{apart.max():.1e}"))
    same = 100 * float(np.mean(trained.argmax(1) == deployed.argmax(1)))
    rows.append(("same class in both, per cent", f"{same:.2f}"))
    return rows


def main() -> int:
    """Fit, retrain, evaluate, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder to write")
    parser.add_argument("--epochs", type=int, default=4, help="of the float model")
    parser.add_argument("--csv", type=Path, help="file for the table")
    parser.add_argument(
        "--data", choices=("auto", "full", "subset"), default="auto", help="see data.py"
    )
    arguments = parser.parse_args()
    if tf.__version__.startswith("1."):
        parser.error("Keras models are retrained in TensorFlow 2")
    work = arguments.out.resolve() / "keras"
    work.mkdir(parents=True, exist_ok=True)
    amct.set_logging_level("warning", "info")
    try:
        evaluation = data.load(arguments.data)
    except data.DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = measure(arguments.epochs, work, evaluation)
    print(f"\nFashion-MNIST, {len(evaluation.test.labels):,} test pictures, seed {SEED}")
    for name, found in rows:
        print(f"{name:<54} {found:>8}")
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["what", "value"])
            writer.writerows([("test pictures", len(evaluation.test.labels)), ("seed", SEED)])
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
