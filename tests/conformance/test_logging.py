# SPDX-License-Identifier: Apache-2.0
"""What a run says, on a terminal and in its log, and how its files and folders may be read."""

import json
import os
import pty
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import amct_tensorflow as amct
import models

LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - (DEBUG|INFO|WARNING|ERROR) - "
    r"\[AMCT\]:\[(\w+)\]: (.*)"
)
LOG = "amct_log/amct_tensorflow.log"
BATCHES = 10
SCRIPT = """
import os, sys
os.umask(0)
sys.path.insert(0, {folder!r})
import tensorflow as tf
import amct_tensorflow as amct
import models
amct.set_logging_level(print_level={level!r}, save_level={level!r})
graph = models.graph_of()
models.float_pb()
for _ in range(2):
    amct.create_quant_config("made/config/c.json", graph, batch_num={batches})
amct.quantize_model(graph, "made/config/c.json", "made/record/r.txt")
with tf.compat.v1.Session(graph=graph) as session:
    for i in range({batches}):
        session.run("softmax:0", {{"input:0": models.images(8)}})
amct.save_model("model.pb", ["softmax"], "made/record/r.txt", "made/model/m")
"""


def run_on_terminal(level="info", batches=BATCHES):
    """Runs the whole flow in a process whose output is a terminal. Returns what it shows."""
    folder = os.path.dirname(os.path.abspath(models.__file__))
    Path("script.py").write_text(SCRIPT.format(folder=folder, level=level, batches=batches))
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "script.py"], stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the terminal is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait() == 0, shown.decode()
    return [line for line in shown.decode().replace("\r", "").split("\n") if "[AMCT]" in line]


def parts(lines):
    """(level, module, message) of lines, each of which must be one."""
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), [line for line, match in zip(lines, matches) if not match]
    return [match.groups() for match in matches]


def test_a_run_on_a_terminal():
    Path("amct_log").mkdir()
    Path(LOG).write_text("of an earlier run\n")
    shown = parts(run_on_terminal())
    assert shown == parts(Path(LOG).read_text().splitlines())
    said = [message for level, module, message in shown if module == "calibration"]
    batches = [m for m in said if m.startswith("batch ")]
    assert batches == ["batch {} of 10".format(i + 1) for i in range(BATCHES)]
    done = [m for m in said if " calibrated (" in m]
    assert [re.search(r"\((\d)/4\)", m).group(1) for m in done] == ["1", "2", "3", "4"]
    assert {re.match('layer "(.*)" calibrated', m).group(1) for m in done} == set(models.LAYERS)
    assert said.index(batches[-1]) < said.index(done[-1])
    closing = re.fullmatch(
        r"observing took (\d+\.\d\d) s: .*ranges (\d+\.\d\d).*weights (\d+\.\d\d).*; "
        r"sketches and samples took at most (\d+\.\d) MiB",
        said[-1],
    )
    assert closing and 0 < float(closing.group(4)) < 100
    steps = [float(number) for number in re.findall(r" (\d+\.\d\d)(?=[,;])", said[-1])]
    assert abs(sum(steps) - float(closing.group(1))) < 0.03


def test_what_the_other_steps_say():
    shown = parts(run_on_terminal(batches=1))
    success = ("INFO", "Config", "Generate config file:made/config/c.json success!")
    assert shown.count(success) == 2
    overwritten = "made/config/c.json exists and is overwritten"
    assert shown.count(("WARNING", "create_quant_config", overwritten)) == 1
    saved = [m for level, module, m in shown if (level, module) == ("INFO", "save_model")]
    assert any(re.match(r"The model is saved in .*made/model/m_quantized\.pb", m) for m in saved)
    assert not [m for _, _, m in shown if m.startswith("batch ")]  # one batch is no progress


def test_a_quiet_run_shows_nothing():
    assert run_on_terminal(level="error") == []
    assert not os.path.exists("amct_log")


def test_files_and_folders_may_be_read_by_the_group():
    run_on_terminal(batches=1)
    modes = {}
    for folder in ("made", "amct_log"):
        for path in [Path(folder)] + sorted(Path(folder).rglob("*")):
            modes[str(path)] = stat.S_IMODE(path.stat().st_mode)
    folders = {"made", "made/config", "made/record", "made/model", "amct_log"}
    assert {path for path, mode in modes.items() if mode == 0o750} == folders
    assert {path for path, mode in modes.items() if mode == 0o640} == set(modes) - folders
    assert {"made/config/c.json", "made/record/r.txt", "made/model/m_quantized.pb", LOG} <= set(
        modes
    )


# ---- data that look wrong, through TensorFlow


@pytest.fixture
def own_log(monkeypatch):
    monkeypatch.setattr(amct, "_log_file", os.path.abspath("own.log"))
    amct.set_logging_level("error", "warning")
    yield
    monkeypatch.undo()
    amct.set_logging_level()


def calibrate(images, batch_num=1, **params):
    """Calibrates on batches; returns the warnings of calibration."""
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph, batch_num=batch_num)
    config = json.loads(Path("config.json").read_text())
    config["stem/Conv2D"]["activation_quant_params"] = params
    Path("config.json").write_text(json.dumps(config))
    amct.quantize_model(graph, "config.json", "record.txt")
    models.run(graph, [images] * batch_num)
    log = Path("own.log")
    lines = parts(log.read_text().splitlines()) if log.exists() else []
    return [m for level, module, m in lines if (level, module) == ("WARNING", "calibration")]


def ramp(count=64):
    return np.linspace(-1, 1, count * 8 * 8 * 3, dtype=np.float32).reshape((count,) + models.IMAGE)


def spoilt(value):
    images = ramp()
    images[5, 4, 3, 2] = value
    return images


@pytest.mark.parametrize(
    "images, params, words",
    [
        (ramp() * 0 + 0.25, {}, ["all 12288 values of its data are 0.25"]),
        (
            spoilt(500),
            {"act_algo": "min_max"},
            ["one value sets the range of its data", "the largest is 500, the next 1;"],
        ),
        (
            spoilt(500),
            {"act_algo": "percentile", "max_percentile": 0.999, "min_percentile": 0.999},
            [],
        ),
        (
            ramp(),
            {"act_algo": "percentile", "max_percentile": 0.99999, "min_percentile": 0.99},
            ["max_percentile 0.99999 leaves none of its 12288 values out: it takes over 100000"],
        ),
        (
            np.round((ramp() + 1) * 127.5),
            {},
            ["its data are pixels from 0 to 255", "preprocessing"],
        ),
        (ramp()[:0], {}, ["an empty batch does not count"]),
        (ramp(), {}, []),
    ],
    ids=["constant", "outlier", "outlier left out", "few batches", "pixels", "empty", "fine"],
)
def test_data_that_look_wrong(own_log, images, params, words):
    said = [m for m in calibrate(images, **params) if m.startswith('layer "stem/Conv2D": ')]
    assert len(said) == (1 if words else 0), said
    for word in words:
        assert word in said[0]


@pytest.mark.parametrize("batches", [1, 4])
def test_several_batches_reach_a_percentile(own_log, batches):
    said = calibrate(ramp(32), batches, act_algo="percentile", max_percentile=0.9999)
    few = "max_percentile 0.9999 leaves none of its 6144 values out: it takes over 10000"
    assert sum(few in message for message in said) == (batches == 1)
