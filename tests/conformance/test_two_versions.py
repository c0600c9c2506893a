# SPDX-License-Identifier: Apache-2.0
"""TensorFlow 1.15 and 2.x run the same pb with our ops, and give the same.

The other TensorFlow is a subprocess: AMCT_TF1_PYTHON, or .venv-tf1 of this checkout.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import models
import random_nets
import test_deploy_situations as situations
from conftest import ROOT

v1 = tf.compat.v1

RUN = """
import sys
import numpy as np
import tensorflow as tf
import amct_tensorflow
v1 = tf.compat.v1
assert tf.__version__.startswith("1.15")
for job in sys.argv[1:]:
    with open(job + ".pb", "rb") as file:
        definition = v1.GraphDef.FromString(file.read())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
        with v1.Session(graph=graph) as session:
            names = open(job + ".txt").read().split()
            values = session.run(names, {"x:0": np.load(job + ".npy")})
            np.savez(job + ".npz", *values)
"""


def other_python():
    """The Python with TensorFlow 1.15."""
    found = os.environ.get("AMCT_TF1_PYTHON", os.path.join(ROOT, ".venv-tf1", "bin", "python"))
    if tf.__version__ < "2":
        pytest.skip("the test runs from TensorFlow 2")
    if not os.path.exists(found):
        pytest.skip("no Python with TensorFlow 1.15: neither AMCT_TF1_PYTHON nor .venv-tf1")
    return found


def without_defaults(path):
    """A pb that says nothing that TensorFlow takes for granted: 1.15 does not know the newer attributes."""
    graph = models.load(path)
    definition = v1.GraphDef.FromString(Path(path).read_bytes())
    for node in definition.node:
        for attr in graph.get_operation_by_name(node.name).op_def.attr:
            if attr.HasField("default_value") and attr.name in node.attr and node.attr[attr.name] == attr.default_value:
                del node.attr[attr.name]
    return definition.SerializeToString()


def compare(jobs):
    """`jobs`: name -> (path of a pb, tensors, x). Runs them here and there."""
    python = other_python()
    for name, (path, tensors, x) in jobs.items():
        Path(name + ".pb").write_bytes(without_defaults(path))
        Path(name + ".txt").write_text("\n".join(tensors))
        np.save(name + ".npy", x)
    done = subprocess.run([python, "-c", RUN] + list(jobs), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True)  # fmt: skip
    assert done.returncode == 0, done.stdout
    checked = 0
    for name, (path, tensors, x) in jobs.items():
        with v1.Session(graph=models.load(path)) as session:
            here = session.run(tensors, {"x:0": x})
        with np.load(name + ".npz") as there:
            for i, (tensor, value) in enumerate(zip(tensors, here)):
                largest = np.abs(value).max()
                error = np.abs(there["arr_{}".format(i)].astype(float) - value).max()
                assert error <= 1e-6 * largest, (name, tensor, error, largest)
                checked += 1
    return checked


def test_layers_of_every_kind():
    """Every deploy op of every kind of layer, in a graph of one layer, where nothing before it can differ."""
    jobs = {}
    for i, (kind, form, situation, biased) in enumerate(situations.CASES):
        if form == "NCHW" or situation not in ("plain", "loop", "cond"):
            continue
        case = situations.Case(kind, form, situation, biased, 2)
        definition = situations.convert(case, "case{}".format(i))
        inside = situation == "loop"
        tensors = [n.name + ":0" for n in definition.node if n.op.startswith("Ascend") and not inside]
        jobs["job{}".format(i)] = ("case{}_quantized.pb".format(i), tensors + ["y:0"], case.x)
    assert compare(jobs) > 100


@pytest.mark.parametrize("seed", [3, 8])
def test_networks(seed, tmp_path):
    """A pb of many layers loads and runs in both; compared is what no arithmetic of TensorFlow's own stands before:
    that differs in the last place between versions, which a rounding makes a step of."""
    _, quantized = random_nets.quantize(seed, tmp_path / "net")
    nodes = v1.GraphDef.FromString(Path(quantized).read_bytes()).node
    first = [n.name + ":0" for n in nodes if n.op == "AscendQuant" and n.input[0] == "x"]
    assert compare({"net": (quantized, first, random_nets.pictures(seed))}) >= 1
