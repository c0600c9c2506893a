# SPDX-License-Identifier: Apache-2.0
"""What each algorithm loses: networks, quantized with each, beside their float form.

    python bench/algorithms.py [--csv tests/accuracy/results.csv] [--out build/algorithms]

Networks: the trained one of examples/fashion, on the test pictures that its data.py finds; two that are trained when
the folder has none yet (hard_networks.py: minutes each, from the full data set); MobileNetV2's shape with random
parameters, normal and heavy-tailed, which have no labels. SQNR and the error are those of the logits; seconds are
those from the configuration to the last batch. `plain` is the original's recipe, `activations alone` the default with
float weights: what no treatment of weights gets beyond.
"""

import argparse
import csv
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow.compat.v1 as tf

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples" / "fashion"
sys.path[:0] = [str(HERE), str(EXAMPLE)]

import hard_networks  # noqa: E402
import networks  # noqa: E402

import amct_tensorflow as amct  # noqa: E402
import data  # noqa: E402

FIELDS = ["network", "algorithm", "float_top1", "int8_top1", "agreement", "mean_error", "sqnr_db", "seconds"]
BATCH, TEST_BATCH = 32, 200
GPTQ = {"wts_algo": "gptq_quantize"}
# name: settings of activations, of weights, globals
ALGORITHMS = {
    "plain": ({"act_algo": "ifmr"}, {}, {"bias_correction": False}),
    "default": ({"act_algo": "ifmr"}, {}, {}),
    "min_max": ({"act_algo": "min_max"}, {}, {}),
    "hfmg": ({"act_algo": "hfmg"}, {}, {}),
    "percentile 0.9999": ({"act_algo": "percentile", "max_percentile": 0.9999, "min_percentile": 0.9999}, {}, {}),
    "gptq alone": ({"act_algo": "ifmr"}, GPTQ, {"bias_correction": False}),
    "min_max and gptq": ({"act_algo": "min_max"}, GPTQ, {}),
    "accurate": ({}, {}, {"preset": "accurate"}),
}


def load(definition):
    """A graph of its own."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    return graph


def logits_of(definition, x):
    """float32 [n, classes]."""
    with tf.Session(graph=load(definition)) as session:
        parts = range(0, len(x), TEST_BATCH)
        return np.concatenate([session.run("logits:0", {"input:0": x[i : i + TEST_BATCH]}) for i in parts])


def write_config(graph, batches, algorithm):
    """The default configuration with these settings for every layer."""
    activations, weights, changes = ALGORITHMS[algorithm]
    amct.create_quant_config("config.json", graph, batch_num=batches)
    config = json.loads(Path("config.json").read_text())
    config.update(changes)
    for layer in config.values():
        if not isinstance(layer, dict):
            continue
        layer["activation_quant_params"] = activations
        if "weight_quant_params" in layer:
            layer["weight_quant_params"].update(weights)
    Path("config.json").write_text(json.dumps(config))


def quantize(definition, x, algorithm):
    """The quantized network, and the seconds from configuration to the last batch."""
    batches = [x[i : i + BATCH] for i in range(0, len(x), BATCH)]
    Path("float.pb").write_bytes(definition.SerializeToString())
    graph = load(definition)
    started = time.perf_counter()
    write_config(graph, len(batches), algorithm)
    amct.quantize_model(graph, "config.json", "record.txt")
    with tf.Session(graph=graph) as session:
        for batch in batches:
            session.run("logits:0", {"input:0": batch})
    seconds = time.perf_counter() - started
    amct.save_model("float.pb", ["logits"], "record.txt", "int8")
    return tf.GraphDef.FromString(Path("int8_quantized.pb").read_bytes()), seconds


def activations_alone(definition):
    """The float network whose layers read their input on the grid that the record gives them."""
    result = tf.GraphDef()
    result.CopyFrom(definition)
    nodes = {node.name: node for node in result.node}
    for entry in Path("record.txt").read_text().split("record {")[1:]:
        words = entry.split()
        layer = nodes[words[words.index("key:") + 1].strip('"')]
        scale, offset = (float(words[words.index(key) + 1]) for key in ("scale_d:", "offset_d:"))
        name = layer.name + "/on_grid"
        ends = [networks.constant(result, name + "/%d" % q, (q - offset) * scale) for q in (-128, 127)]
        result.node.add(name=name, op="FakeQuantWithMinMaxVars", input=[layer.input[0]] + ends)
        layer.input[0] = name
    return result


def sqnr(wanted, found):
    """Signal to quantization noise, dB."""
    wanted, found = wanted.astype(np.float64), found.astype(np.float64)
    return 10 * np.log10(np.sum(wanted**2) / np.sum((wanted - found) ** 2))


def per_cent(hits):
    return "{:.2f}".format(100 * float(np.mean(hits)))


def cases():
    """(name, definition, calibration pictures, test pictures, labels or None)."""
    found = data.load("auto")
    fashion = tf.GraphDef.FromString((EXAMPLE / "fashion.pb").read_bytes())
    yield "fashion", fashion, data.to_input(found.calibration.images), data.to_input(found.test.images), found.test.labels
    if found.full:
        for name in hard_networks.NETWORKS:
            trained = hard_networks.trained(name, ".")
            yield name, trained, data.to_input(found.calibration.images), data.to_input(found.test.images), found.test.labels
    calibration, test = networks.pictures(64, 96, seed=1), networks.pictures(128, 96, seed=7)
    for heavy in (False, True):
        name = "mobilenet_v2 random " + ("heavy-tailed" if heavy else "normal")
        yield name, networks.mobilenet_v2(size=96, heavy=heavy), calibration, test, None


def rows():
    for name, definition, calibration, test, labels in cases():
        wanted = logits_of(definition, test)
        reference = wanted.argmax(axis=1)
        for algorithm in list(ALGORITHMS) + ["activations alone"]:
            if algorithm in ALGORITHMS:
                quantized, seconds = quantize(definition, calibration, algorithm)
            else:
                quantize(definition, calibration, "default")
                quantized, seconds = activations_alone(definition), 0.0
            found = logits_of(quantized, test)
            answers = found.argmax(axis=1)
            tops = ["", ""] if labels is None else [per_cent(reference == labels), per_cent(answers == labels)]
            error = np.abs(found - wanted).mean()
            numbers = [per_cent(answers == reference), "{:.4f}".format(error), "{:.2f}".format(sqnr(wanted, found))]
            yield [name, algorithm] + tops + numbers + ["{:.1f}".format(seconds)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path, default=HERE.parent / "tests" / "accuracy" / "results.csv")
    parser.add_argument("--out", type=Path, default=Path("build/algorithms"), help="folder for the models")
    arguments = parser.parse_args()
    target = arguments.csv.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.out)
    amct.set_logging_level("error", "error")
    with target.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for row in rows():
            writer.writerow(row)
            print(",".join(row), flush=True)


if __name__ == "__main__":
    main()
