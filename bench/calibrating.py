# SPDX-License-Identifier: Apache-2.0
"""The native program beside plain inference, in C and as a user's script, and beside the peers (peers.py).

AMCT_BENCH_CLI and AMCT_BENCH_INFER name the programs amct and bench_infer, AMCT_ENGINE_DIR folders of packages. The Python that
runs this has both engines.
"""

import os
import statistics
import sys
from pathlib import Path

import networks
import peers

HERE = Path(__file__).resolve().parent
ENGINES = ("openvino", "tensorflow")
TURNS = 7


def program(variable):
    return os.path.abspath(os.environ[variable])


def calibrate(data, engine, *options):
    command = [program("AMCT_BENCH_CLI"), "calibrate", "--model", "model.pb", "--outputs", "logits"]
    return command + ["--data", data, "--save_path", "cli", "--engine", engine] + list(options)


def in_turn(measure, folder, commands):
    """Of each: median seconds and processor time, greatest memory; of runs in turn, since the machine's speed drifts."""
    runs = [[measure(command, folder, 1) for command in commands] for _ in range(TURNS)]
    columns = [list(zip(*of_one)) for of_one in zip(*runs)]
    return [(statistics.median(took), statistics.median(busy), max(peak)) for took, busy, peak in columns]


def engine_rows(measure, folder, what, label, limit):
    """`what` are the arguments of plain inference. The first row is of amct calibrate."""
    engine, data, batch_size = what[0], what[-2], what[-1]
    commands = [calibrate(data, engine, "--batch_size", batch_size), [program("AMCT_BENCH_INFER")] + what]
    whole, plain = in_turn(measure, folder, commands)
    name = engine + label
    yield "amct calibrate, " + name, whole[0], "s", limit
    yield "plain inference, " + name, plain[0], "s", None
    yield "amct calibrate / plain, " + name, whole[0] / plain[0], "x", 1.3
    yield "processor time of calibrate / plain, " + name, whole[1] / plain[1], "x", None
    yield "peak memory of plain inference, " + name, plain[2], "MiB", None
    yield "peak memory of amct calibrate, " + name, whole[2], "MiB", 160 if engine == "openvino" else None


def rows(measure, folder, pictures, batch_size):
    data, label = "pictures{}.npy".format(pictures), ", {} pictures".format(pictures)
    others, seconds = [], {}
    yield from peers.rows(measure, folder, data, label, others)
    what = {e: [e, "model.pb", networks.INPUT.split(":")[0], "logits", data, str(batch_size)] for e in ENGINES}
    for engine in ENGINES:
        limit = min(others) / 3 if others and engine == "openvino" else None
        found = list(engine_rows(measure, folder, what[engine], label, limit))
        seconds[engine] = found[0][1]
        yield from found
    for engine in ENGINES:
        script = measure([sys.executable, str(HERE / "plain_inference.py")] + what[engine], folder)
        yield "plain inference as a Python script, " + engine + label, script[0], "s", None
        yield "amct calibrate / that script, " + engine + label, seconds[engine] / script[0], "x", None


def accurate_rows(measure, folder):
    whole = measure(calibrate("pictures32.npy", "openvino", "--preset", "accurate"), folder)
    yield "amct calibrate --preset accurate, openvino, 32 pictures", whole[0], "s", None
    yield "processor time of calibrate --preset accurate, openvino, 32 pictures", whole[1], "s", None
    yield "peak memory of calibrate --preset accurate, openvino, 32 pictures", whole[2], "MiB", None
