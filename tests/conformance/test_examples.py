# SPDX-License-Identifier: Apache-2.0
"""The worked examples run, and are as good as they say."""

import os

import pytest
import tensorflow as tf

from conftest import ROOT, run_python


def run(script, *arguments):
    """Runs an example in the current folder; returns what it printed."""
    return run_python(os.path.join(ROOT, "examples", script), *arguments)


def test_factors_of_ones_own():
    printed = run("fashion/own_factors.py", "--data", "subset")
    assert "12 layers" in printed and "1,000 pictures" in printed
    assert os.path.exists("out/own/fashion_quantized.pb")


def test_retraining():
    printed = run("fashion/retrain.py", "--data", "subset", "--steps", "10", "--csv", "out.csv")
    assert "retrained per tensor" in printed
    with open("out.csv") as file:
        rows = [line.split(",") for line in file.read().splitlines()]
    assert rows[0] == ["tensorflow", "seed", "network", "test_pictures", "top1_percent"]
    top1 = {row[2]: float(row[-1]) for row in rows[1:]}
    # a standard error of 1,000 pictures is 0.8 points
    assert top1["retrained per tensor"] > top1["float"] - 1.6


def test_retraining_regains_what_was_lost():
    """The committed figures, of both TensorFlows: naive calibration loses 3 points, retraining all but 0.2 of them."""
    figures = {}
    with open(os.path.join(ROOT, "examples", "fashion", "retraining.csv")) as file:
        for version, _, network, pictures, top1 in [line.rstrip("\n").split(",") for line in file][1:]:
            assert pictures == "10000"
            figures.setdefault(version, {})[network] = float(top1)
    assert sorted(version[:4] for version in figures) == ["1.15", "2.21"]
    for top1 in figures.values():
        assert top1["naive min-max per tensor"] < top1["float"] - 3
        assert top1["retrained per tensor"] > top1["float"] - 0.2


@pytest.mark.skipif(tf.__version__.startswith("1."), reason="Keras models are retrained in TensorFlow 2")
def test_keras_from_fit_to_pb():
    printed = run("fashion/keras_fit.py", "--data", "subset", "--epochs", "1", "--csv", "out.csv")
    assert "1,000 test pictures" in printed
    for figures in ("out.csv", os.path.join(ROOT, "examples", "fashion", "keras.csv")):
        with open(figures) as file:
            found = dict(line.rsplit(",", 1) for line in file.read().replace('"', "").splitlines())
        assert float(found["difference of the two, largest"]) < 1e-4
        assert float(found["same class in both, per cent"]) == 100
    assert os.path.exists("out/keras/fashion_quantized.pb")


def test_a_detector():
    printed = run("detector/detector.py")
    assert "raw_boxes" in printed
    assert os.path.exists("out/detector/detector_quant.json")
