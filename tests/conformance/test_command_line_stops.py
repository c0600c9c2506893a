# SPDX-License-Identifier: Apache-2.0
"""amct_tensorflow calibration and convert, ended from outside: by signals, and by a disk that is full."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import models
from command_lines import SHAPE, batches, hear_interrupts, model, write_bins  # noqa: F401

v1 = tf.compat.v1
COMMON = ["--model", "m.pb", "--outputs", models.OUTPUT, "--save_path", "out/m", "--record_file", "record.txt"]
DATA = ["--input_shape", SHAPE, "--data_types", "float32", "--data_dir", "data"]
WRITTEN = ["out/m_quant.json", "out/m_quantized.pb", "record.txt"]


def start(*arguments, **keywords):
    """The command, with a folder of its own for temporary files."""
    os.makedirs("temporary", exist_ok=True)
    keywords.setdefault("preexec_fn", hear_interrupts)
    return subprocess.Popen(
        (sys.executable, "-m", "amct_tensorflow") + arguments,
        env=dict(os.environ, TMPDIR=os.path.abspath("temporary"), PYTHONPATH=os.pathsep.join(sys.path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        **keywords
    )


def left():
    """All files and folders but those that were there before, and the log."""
    found = []
    for folder, folders, names in os.walk("."):
        folders[:] = [name for name in folders if name not in ("data", "amct_log")]
        found += [os.path.relpath(os.path.join(folder, name)) for name in names + folders]
    return sorted(set(found) - {"m.pb", "temporary"})


def calibrate(*more, **keywords):
    return start("calibration", *(COMMON + DATA + list(more)), **keywords)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_among_its_batches(sent):
    """Ctrl-C and SIGTERM: said, and no temporary file is left either."""
    write_bins()
    big = Path("data/0.bin").read_bytes()
    for i in range(2, 300):
        Path("data/{}.bin".format(i)).write_bytes(big)
    process = calibrate("--batch_num", "300")
    for line in process.stderr:
        if "calibration [" in line:
            break
    process.send_signal(sent)
    said = process.communicate()[1]
    if sent == signal.SIGKILL:
        assert process.returncode == -sent
        assert not [name for name in left() if not name.startswith("temporary/")]
        return
    assert process.returncode == 130
    assert said.endswith("amct_tensorflow: interrupted: nothing was written\n"), said
    assert "Traceback" not in said and left() == []


def whole(good):
    """Files under their names are as they are at the end."""
    for name in WRITTEN:
        assert not os.path.exists(name) or Path(name).read_bytes() == good[name], name


def test_killed_at_any_moment():
    write_bins()
    started = time.time()
    process = calibrate("--batch_num", "2")
    assert process.communicate() and process.returncode == 0
    took = time.time() - started
    good = {name: Path(name).read_bytes() for name in WRITTEN}
    for i in range(4):
        for name in WRITTEN:
            if os.path.exists(name):
                os.remove(name)
        process = calibrate("--batch_num", "2")
        time.sleep(took * (0.6 + 0.12 * i))
        process.kill()
        process.communicate()
        whole(good)


def limit(room):
    """A disk that is full, of which a limit on the size of files is an example."""

    def before():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    return before


@pytest.mark.parametrize("room", [10, 300, 2000, 10000])
def test_no_room(room):
    """One line that names the file; what lay there before stays as it was."""
    write_bins()
    os.makedirs("out")
    before = {name: "older " + name for name in WRITTEN}
    for name, text in before.items():
        Path(name).write_text(text)
    process = calibrate("--batch_num", "2", preexec_fn=limit(room))
    said = process.communicate()[1]
    errors = [line for line in said.splitlines() if line.startswith("amct_tensorflow: ")]
    assert process.returncode == 1 and len(errors) == 1, said
    assert errors[0].endswith("File too large") and errors[0].count(": ") >= 2, errors
    assert "Traceback" not in said
    assert {name: Path(name).read_text() for name in WRITTEN} == before
    assert [name for name in left() if name not in WRITTEN] == ["out"]


@pytest.mark.parametrize("room, file", [(100, "record.txt"), (400, "out/m_quant.json")])
def test_no_room_for_a_converted_model(room, file):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        fake = tf.quantization.fake_quant_with_min_max_args
        w = tf.constant(np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2))
        tf.matmul(fake(x, -2.0, 2.0), fake(w, -1.0, 1.0, 8, True), name="y")
    models.write_pb(graph.as_graph_def(), "m.pb")
    os.makedirs("out")
    before = {name: "older " + name for name in WRITTEN}
    for name, text in before.items():
        Path(name).write_text(text)
    options = ["--model", "m.pb", "--outputs", "y", "--save_path", "out/m", "--record_file", "record.txt"]
    process = start("convert", *options, preexec_fn=limit(room))
    said = process.communicate()[1]
    assert process.returncode == 1
    assert [line for line in said.splitlines() if line.startswith("amct_tensorflow: ")] == [said.splitlines()[-1]]
    assert said.splitlines()[-1].endswith("{}: File too large".format(file))
    assert {name: Path(name).read_text() for name in WRITTEN} == before
    assert [name for name in left() if name not in WRITTEN] == ["out"]
