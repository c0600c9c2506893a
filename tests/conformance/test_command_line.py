# SPDX-License-Identifier: Apache-2.0
"""amct_tensorflow calibration and convert: spellings, data of every kind, evaluators, errors, exit codes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from amct_tensorflow.cmd_line import options, progress
from amct_tensorflow.cmd_line.command import main
from amct_tensorflow.common.cmd_line_utils import data_handler
from command_lines import (
    SHAPE,
    batches,
    by_script,
    hear_interrupts,
    model,  # noqa: F401
    nothing_written,
    run,
    write_bins,
)

v1 = tf.compat.v1
F32 = np.float32
BATCH = (32,) + models.IMAGE


# ---- calibration ----


def test_same_as_a_script(capfd):
    """Record and model are the same bytes as those of the Python flow; the samples are counted."""
    write_bins()
    assert run(batch_num="2") == 0
    said = "".join(capfd.readouterr())
    assert "data: 64 samples in 2 bin files for input:0" in said and "2/2" in said
    assert Path("record.txt").read_bytes() == by_script(batches())
    assert Path("out/m_quantized.pb").read_bytes() == Path("own_quantized.pb").read_bytes()
    assert Path("out/m_quant.json").exists()


def test_program():
    """As a process, in the original's spelling: default names, abbreviations, a batch."""
    write_bins()
    command = [sys.executable, "-m", "amct_tensorflow", "calibration", "--model", "m.pb"]
    command += ["--outputs", models.OUTPUT + ":0", "--input_shape", SHAPE, "--data_type", "float32"]
    done = subprocess.run(command + ["data_dir=data", "--save_path", "output"], stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    assert sorted(path.name for path in Path(".").glob("output*")) == ["output_quant.json", "output_quantized.pb"]
    wrong = subprocess.run(command[:4], stderr=subprocess.PIPE)
    assert wrong.returncode == 2
    assert wrong.stderr.decode().endswith(
        "amct_tensorflow: --model M.pb is missing; see 'amct_tensorflow calibration --help'\n"
    )


def test_configuration():
    write_bins()
    Path("c.cfg").write_text('batch_num : 2\nskip_layers: "head/MatMul"')
    assert run(calibration_config="c.cfg") == 0
    assert "head/MatMul" not in models.read_record("record.txt")
    assert run(calibration_config="c.cfg", batch_num="1") == 0  # the option wins
    one = models.read_record("record.txt")
    assert one["stem/Conv2D"] == {**_parsed(by_script(batches(1))), **{}}["stem/Conv2D"]


def _parsed(text):
    Path("parsed.txt").write_bytes(text)
    return models.read_record("parsed.txt")


def two_inputs():
    a = v1.placeholder(tf.float32, [None, 6], name="in/a")
    b = v1.placeholder(tf.int32, [None], name="b")
    x = a + tf.cast(b, tf.float32)[:, None]
    tf.nn.relu(tf.matmul(x, tf.constant(models.images(1, 2).reshape(-1)[:24].reshape(6, 4)), name="fc"), name="one")
    tf.identity(x, name="two")


def test_several_inputs_and_outputs():
    models.write_pb(models.graph_of(two_inputs).as_graph_def(), "two.pb")
    a, b = models.images(8).reshape(-1)[: 8 * 6].reshape(8, 6), np.arange(8, dtype=np.int32)
    np.savez("data.npz", **{"in/a": a, "b": b})
    given = dict(model="two.pb", input_shape="in/a:4,6;b:0:4", data_types="float32;int32", data_dir="data.npz;data.npz")
    assert run(outputs="one:0;two", batch_num="2", **given) == 0
    low, high = (a + b[:, None]).min(), (a + b[:, None]).max()
    factors = models.read_record("record.txt")["fc"]
    assert 0.6 * (high - min(low, 0)) / 255 < factors["scale_d"] < 1.4 * (high - min(low, 0)) / 255
    graph = models.load("out/m_quantized.pb")
    assert graph.get_operation_by_name("one") and graph.get_operation_by_name("two")
    given["data_types"] = "float32"
    assert run(outputs="one", **given) == 2


# ---- evaluators ----

EVALUATOR = """
import amct_tensorflow.common.cmd_line_utils.data_handler as data_handler
import tensorflow as tf
v1 = tf.compat.v1


class Evaluator(object):
    def calibration(self, graph, infer_output):
        with v1.Session() as session:  # of the default graph
            session.run(v1.global_variables_initializer())
            for feed in data_handler.load_data({'input:0': [32, 8, 8, 3]}, ['./data'], ['float32'], 2):
                session.run(infer_output, feed_dict=feed)


chosen = Evaluator()
"""


def by_evaluator(text, **more):
    Path("e.py").write_text(text)
    return run(evaluator="e.py", input_shape=None, data_dir=None, data_types=None, **more)


def test_evaluator():
    write_bins()
    assert by_evaluator(EVALUATOR, batch_num="2") == 0
    assert Path("record.txt").read_bytes() == by_script(batches())
    feeds = list(data_handler.load_data({"input": list(BATCH)}, ["data"], ["float32"], 2))
    assert np.array_equal(feeds[1]["input:0"], batches()[1])


@pytest.mark.parametrize(
    "text, code, said",
    [
        ("", 2, "e.py: no instances with calibration(self, graph, outputs), where one is wanted"),
        (EVALUATOR + "other = Evaluator()", 2, "2 instances with calibration"),
        ("import nothing_of_that_name", 1, "No module named 'nothing_of_that_name'"),
        (EVALUATOR.replace("session.run(infer", "1 / 0; session.run(infer"), 1, "ZeroDivisionError"),
        (EVALUATOR.replace("['float32'], 2", "['float32'], 1"), 1, "holds no factors"),
        (EVALUATOR.replace("session.run(v1", "raise KeyboardInterrupt; session.run(v1"), 130, "interrupted: nothing was"),
    ],
)
def test_evaluators_that_do_not(text, code, said, capfd):
    write_bins()
    assert by_evaluator(text, batch_num="2") == code
    assert said in capfd.readouterr().err
    assert nothing_written()


# ---- convert ----


def test_convert(capfd):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        fake = tf.quantization.fake_quant_with_min_max_args
        w = tf.constant(np.linspace(-1, 1, 8, dtype=F32).reshape(4, 2))
        tf.matmul(fake(x, -2.0, 2.0), fake(w, -1.0, 1.0, 8, True), name="y")
    models.write_pb(graph.as_graph_def(), "qat.pb")
    assert main("convert --mod qat.pb outputs=y:0 --save_path=q --rec=r.txt".split()) == 0
    assert models.op_types(models.load("q_quantized.pb"))["y_quantized"] == "MatMul"
    assert models.read_record("r.txt")["y"]["scale_w"] == [pytest.approx(1 / 127)]
    assert main("convert --model m.pb --outputs softmax --save_path=f".split()) == 1
    assert "amct_tensorflow: m.pb holds no fake quantization" in capfd.readouterr().err
    assert not os.path.exists("f_quantized.pb")


# ---- the command line ----


def test_spellings():
    wanted = {"model": "a=b", "save_path": "p", "outputs": "x:0;y:0"}
    for text in (
        "--model a=b --save_path p --outputs x:0;y:0",
        "--model=a=b --save-path=p --outputs=x:0;y:0",
        "model=a=b save_path=p outputs=x:0;y:0",
        "--m a=b --s=p o=x:0;y:0",
    ):
        assert options.parse("convert", text.split()) == wanted
    for text in ("--help", "-h", "--h", "--m x --he"):
        assert options.parse("convert", text.split()) is None


USAGE = {
    "": "--model M.pb is missing",
    "--model": "--model: M.pb is missing",
    "--model=": "--model: the value is empty",
    "--frob 1": "--frob: no such option",
    "frob=1": "frob: no such option",
    "=1": "=: no such option",
    "frob": '"frob" is no option',
    "--model a model=b": "--model is given twice",
    "--pict 1": "--pict may mean --picture_mean and --picture_scale",
    "--picture_order RBG": '--picture_order: "RBG" is neither RGB nor BGR',
    "--model a --save p --out o": "--input_shape \"x:N,H,W,C\", or --evaluator, is missing",
    "--model a --save p --out o --eva e --data_dir d": "--evaluator stands instead of --data_dir: give one",
}


@pytest.mark.parametrize("text", sorted(USAGE))
def test_usage(text, capfd):
    assert main(["calibration"] + text.split()) == 2
    hint = "amct_tensorflow: {}; see 'amct_tensorflow calibration --help'\n"
    assert capfd.readouterr().err == hint.format(USAGE[text])


def test_help(capfd):
    """Within 80 columns and 40 lines, for both commands and the program; each option is in it."""
    assert main([]) == 2
    listed = capfd.readouterr().err
    for arguments in (["--help"], ["help"], ["-h"]):
        assert main(arguments) == 0
        assert capfd.readouterr().out == listed
    for command in options.COMMANDS:
        assert command.name in listed
        assert main([command.name, "--help"]) == main(["help", command.name]) == 0
        text, again = capfd.readouterr().out[:: 1], options.help_text(command)
        assert text == 2 * again
        assert all("--{} ".format(option.name) in again for option in options.of_command(command.name))
        assert len(again.splitlines()) <= 40 and max(map(len, again.splitlines())) <= 80
    assert main(["frobnicate"]) == 2
    assert capfd.readouterr().err == "amct_tensorflow: \"frobnicate\" is no command; see 'amct_tensorflow --help'\n"
    assert main(["--version"]) == 0
    assert capfd.readouterr().out == "amct_tensorflow {}\n".format(amct.__version__)


# ---- what fails ----


def test_nothing_beside(capfd):
    """A model that cannot be written leaves no record, and no part of one."""
    write_bins()
    os.mkdir("out")
    os.mkdir("out/m_quantized.pb")
    assert run() == 1
    assert "out/m_quantized.pb" in capfd.readouterr().err
    assert os.listdir("out") == ["m_quantized.pb"]
    assert not [name for name in os.listdir(".") if "record" in name or name.startswith(".amct")]


SLEEPER = """
import time


class Evaluator(object):
    def calibration(self, graph, infer_output):
        open("started", "w").close()
        time.sleep(60)


chosen = Evaluator()
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_stopped(sent):
    """Whatever stops it, nothing is half written; Ctrl-C says so."""
    Path("e.py").write_text(SLEEPER)
    command = "calibration --model m.pb --outputs softmax --save_path out/m --record_file record.txt --evaluator e.py"
    process = subprocess.Popen(
        [sys.executable, "-m", "amct_tensorflow"] + command.split(), stderr=subprocess.PIPE, preexec_fn=hear_interrupts
    )
    while not os.path.exists("started") and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(sent)
    said = process.communicate()[1].decode()
    assert process.returncode == (130 if sent == signal.SIGINT else -sent)
    assert said.endswith("interrupted: nothing was written\n") == (sent == signal.SIGINT)
    assert nothing_written()


# ---- progress ----


def test_bar(monkeypatch, capsys):
    assert progress.bar(0, 4, 0) == "[" + 30 * "." + "] 0/4  0:00 so far, ? left"
    assert progress.bar(1, 4, 30) == "[" + 7 * "#" + 23 * "." + "] 1/4  0:30 so far, 1:30 left"
    assert progress.bar(4, 4, 3725) == "[" + 30 * "#" + "] 4/4  1:02:05 so far, 0:00 left"
    assert list(progress.shown(range(100), 100, "work")) == list(range(100))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10 and lines[4].startswith("work [###############...............] 50/100")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    list(progress.shown(range(3), 3, "work"))
    assert capsys.readouterr().err.startswith("\r")
