# SPDX-License-Identifier: Apache-2.0
"""What calibrates beside us, each as a process of its own, in a Python that has it."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The Python is named by AMCT_BENCH_<NAME>, the script is peer_<name>.py; versions in doc/performance.md.
PEERS = {"nncf": "NNCF", "inc": "Neural Compressor", "tflite": "TFLite converter", "mnn": "MNN"}


def rows(measure, folder, data, label, seconds):
    """Rows of each peer that is there; adds to `seconds`, of whole processes."""
    for name, title in PEERS.items():
        variable = "AMCT_BENCH_" + name.upper()
        python = os.environ.get(variable)
        if not python:
            print("{}: NOT measured: {} names no Python that has it".format(title, variable), flush=True)
            continue
        took, busy, peak = measure([python, str(HERE / "peer_{}.py".format(name)), "model.pb", data], folder)
        seconds.append(took)
        yield title + ", whole process" + label, took, "s", None
        yield title + ", processor time" + label, busy, "s", None
        yield title + ", peak memory" + label, peak, "MiB", None
