# SPDX-License-Identifier: Apache-2.0
"""Retraining on several replicas: MirroredStrategy, and MultiWorkerMirroredStrategy in two processes.

Each run is a process of its own (keras_worker.py), since devices are set up once, and is killed after LIMIT seconds.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from conftest import ROOT

if tf.__version__.startswith("1."):
    pytest.skip("Keras models are retrained in TensorFlow 2", allow_module_level=True)

LIMIT = 240
WORKER = os.path.join(ROOT, "tests", "conformance", "keras_worker.py")


def start(kit, mode, out, *arguments, cluster=None):
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    if cluster is not None:
        environment["TF_CONFIG"] = json.dumps(cluster)
    return subprocess.Popen(
        [sys.executable, WORKER, kit, mode, out] + list(arguments),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )


def results(processes, folders):
    """What the processes have written; all end, or are killed."""
    try:
        printed = [process.communicate(timeout=LIMIT)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, text in zip(processes, printed):
        assert process.returncode == 0, text[-4000:]
    return [json.loads(Path(folder, "result.json").read_text()) for folder in folders]


def files(folder):
    names = ("retrained.pb", "record.txt", "model_quantized.pb", "model_quant.json")
    return [Path(folder, name).read_bytes() for name in names]


def check_agreement(found):
    """All replicas, in any process, have the same clips and state of calibration."""
    assert len(found[0]["clips"]) == 8 and len(found[0]["calibration"]) == 4
    for name in ("clips", "calibration"):
        for copies in zip(*[one[name] for one in found]):
            values = sum(copies, [])
            assert len(values) == 2 and values[0] == values[1], (name, copies)
    assert all(copies[0] > 0 for copies in found[0]["clips"][::2])


@pytest.mark.parametrize("kit", ["keras", "tf_keras"])
def test_two_replicas(kit):
    pytest.importorskip(kit)
    (whole,) = results([start(kit, "mirrored", "whole")], ["whole"])
    assert whole["replicas"] == 2
    check_agreement([whole])
    assert whole["apart"] < 1e-4  # predict on the replicas, and the saved pb
    assert whole["calibration"][0][0][0] == 3
    if kit == "tf_keras":
        return
    # stopped while the clips are searched for, and resumed
    (half,) = results([start(kit, "mirrored", "half", "--steps", "2")], ["half"])
    assert half["calibration"][0][0][0] == 2 and half["clips"][0] == [0, 0]
    rest = ["--first", "2", "--steps", "4", "--resume", half["checkpoint"]]
    (resumed,) = results([start(kit, "mirrored", "rest", *rest)], ["rest"])
    assert resumed["clips"] == whole["clips"]
    for ours, other in zip(resumed["weights"], whole["weights"]):
        assert np.array_equal(ours, other)
    assert files("rest")[0] == files("whole")[0] and files("rest")[2:] == files("whole")[2:]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.mark.parametrize("kit,loop", [("keras", True), ("tf_keras", False)])
def test_two_workers(kit, loop):
    """fit() of Keras 3 takes no second worker, so it gets a loop of its own."""
    pytest.importorskip(kit)
    workers = ["127.0.0.1:{}".format(port) for port in free_ports(2)]
    folders = ["worker0", "worker1"]
    processes = []
    for i, folder in enumerate(folders):
        cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": i}}
        keywords = ["--loop"] if loop else []
        processes.append(start(kit, "workers", folder, *keywords, cluster=cluster))
    found = results(processes, folders)
    assert [one["replicas"] for one in found] == [2, 2]
    check_agreement(found)
    assert files("worker0") == files("worker1")
    for ours, other in zip(*[one["weights"] for one in found]):
        assert np.array_equal(ours, other)
