# SPDX-License-Identifier: Apache-2.0
"""`amct calibrate` is stopped while it runs: what it says, what it leaves."""

import os
import re
import signal
import subprocess
import time

import pytest

from test_calibrate import ENGINES, PROGRAM, calibrate, done, read, slow_arguments, start

STOPPED = r"amct: stopped after (\d+) of (\d+) samples: c_record.txt holds the factors of (\d+) of 4 layers, no model was written\n"
KEPT = ["c_record.txt", "c_record.txt.stats"]
INPUTS = {"net.pb", "x.npy"}


def wait_for(process, text, times=1):
    """Reads what it says up to a line; the error that it ends with is none yet."""
    for line in process.stderr:
        times -= text in line
        if times == 0:
            return
    raise AssertionError("it ended before it said: " + text)


def stopped(process, sent):
    """Samples done and wanted, and layers with factors, as its last line says."""
    process.send_signal(sent)
    err = process.communicate()[1]
    assert process.returncode == 130, err[-500:]
    message = re.search(STOPPED, err)
    assert message and err.endswith(message.group(0)), err[-500:]
    return [int(number) for number in message.groups()]


def written():
    return sorted(set(os.listdir(".")) - INPUTS)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("engine", ENGINES)
def test_accurate_in_its_first_pass(engine, sent):
    process = start(*slow_arguments(engine, samples=20000) + ("--preset", "accurate"))
    wait_for(process, "the model runs in")
    time.sleep(0.3)  # of several seconds
    samples, total, layers = stopped(process, sent)
    assert samples < 15000 and total == 2 * 15000 + 3 * 5000 and layers < 4
    assert written() == KEPT[:1]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("engine", ENGINES)
def test_accurate_behind_its_first_pass(engine, sent):
    """In the second pass, or while it is measured: what the first has found stays."""
    for times, least in ((1, 6000), (2, 8000)):
        process = start(*slow_arguments(engine, samples=8000) + ("--preset", "accurate"))
        wait_for(process, "the weights of 4 layers are rounded")  # of the model that is measured
        first = [read(name) for name in KEPT]
        if times == 2:
            wait_for(process, "the model runs in")
            while read(KEPT[0]) == first[0] and process.poll() is None:
                time.sleep(0.01)
        samples, total, layers = stopped(process, sent)
        assert least <= samples < total == 2 * 6000 + 3 * 2000 and layers == 4
        assert written() == KEPT
        assert [read(name) for name in KEPT] == first
        command = [PROGRAM, "convert", "--model", "net.pb", "--outputs", "logits", "--record", KEPT[0], "--save_path", "kept"]
        assert subprocess.call(command, stderr=subprocess.DEVNULL) == 0
        for name in written():
            os.remove(name)


@pytest.mark.parametrize("engine", ENGINES)
def test_accurate_killed_at_any_moment(engine):
    """Whatever is there under its name is whole."""
    arguments = slow_arguments(engine, samples=400)[:-1] + ("--preset", "accurate")
    started = time.time()
    done(*arguments)
    whole = time.time() - started
    good = {name: read(name) for name in written()}
    for i in range(12):
        for name in written():
            os.remove(name)
        process = start(*arguments)
        time.sleep(whole * (0.2 + 0.07 * i))
        process.kill()
        process.communicate()
        for name in written():
            if name.startswith("c_record.txt"):
                continue
            assert re.search(r"\.tmp[a-z0-9]{6}$", name) or read(name) == good[name], name
        if os.path.exists(KEPT[0]):
            assert subprocess.call([PROGRAM, "record", "--print", KEPT[0]], stdout=subprocess.DEVNULL) == 0


def test_no_engine_in_accurate():
    """Said before anything is written."""
    arguments = slow_arguments("openvino", samples=50)[:-1] + ("--preset", "accurate", "--engine_dir", "none")
    code, _, err = calibrate(*arguments)
    assert code == 1 and err == "amct: OpenVINO is not installed (looked in none): pip install openvino\n"
    assert written() == []
