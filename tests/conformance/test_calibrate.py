# SPDX-License-Identifier: Apache-2.0
"""`amct calibrate`: the record of the Python flow, from a program that holds no Python."""

import glob
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
from models import OUTPUT, freeze, images, load, network, read_record
from test_stats import network as heavy_network
from test_stats import pictures

v1 = tf.compat.v1
PACKAGES = os.environ.get("AMCT_ENGINE_DIR") or os.path.dirname(os.path.dirname(tf.__file__))
IS_1_15 = tf.__version__.startswith("1.")


def find_program():
    """amct of the build folder, else of the wheel."""
    folder = os.environ.get("AMCT_LIB_DIR")
    for place in ([folder, os.path.dirname(folder)] if folder else []):
        program = os.path.join(place, "cli", "amct")
        if os.path.exists(program):
            return program
    return shutil.which("amct", path=os.path.dirname(sys.executable))


PROGRAM = find_program()
HAS_OPENVINO = any(glob.glob(p + "/openvino/libs/libopenvino_c.so*") for p in PACKAGES.split(":"))
with_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason="OpenVINO is not installed beside TensorFlow")
with_tensorflow = pytest.mark.skipif(IS_1_15, reason="the engine is TensorFlow from 2.12 on")
ENGINES = [
    pytest.param("tensorflow", marks=with_tensorflow),
    pytest.param("openvino", marks=with_openvino),
]


def start(*arguments, **keywords):
    environment = dict(os.environ, AMCT_ENGINE_DIR=PACKAGES)
    environment.pop("PYTHONPATH", None)
    return subprocess.Popen(
        (PROGRAM, "calibrate") + arguments,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        **keywords
    )


def calibrate(*arguments, **keywords):
    """Exit code, standard output and the errors of a run."""
    process = start(*arguments, **keywords)
    out, err = process.communicate()
    return process.returncode, out, "".join(line for line in err.splitlines(True) if line.startswith("amct: "))


def done(*arguments):
    code, out, err = calibrate(*arguments)
    assert code == 0, err
    return out


def write_models():
    """net.pb, of models.py."""
    with tf.Graph().as_default() as graph:
        network()
        with v1.Session(graph=graph) as session:
            freeze(session, "net.pb")


def python_flow(pb, output, batches, name="py", preset="none"):
    graph = load(pb)
    with open(name + ".cfg", "w") as file:
        file.write("batch_num: {}\npreset: {}\n".format(len(batches), preset))
    amct.create_quant_config(name + ".json", graph, config_defination=name + ".cfg")
    amct.quantize_model(graph, name + ".json", name + "_record.txt")
    with v1.Session(graph=graph) as session:
        for batch in batches:
            session.run(output + ":0", {"input:0": batch})
    amct.save_model(pb, [output], name + "_record.txt", name)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def same_files(a, b, names):
    for name in names:
        assert read(a + name) == read(b + name), name


WRITTEN = ["_record.txt", "_record.txt.stats", "_quantized.pb", "_quant.json"]


@with_tensorflow
@pytest.mark.parametrize("batch, preset", [(4, "none"), (6, "accurate")])
def test_tensorflow_is_the_python_flow(batch, preset):
    with open("net.pb", "wb") as file:
        file.write(heavy_network().SerializeToString())
    x = pictures(12)
    np.save("x.npy", x)
    python_flow("net.pb", "logits", [x[i : i + batch] for i in range(0, 12, batch)], preset=preset)
    out = done(
        "--model", "net.pb", "--outputs", "logits", "--data", "x.npy", "--batch_size", str(batch),
        "--save_path", "c", "--engine", "tensorflow", "--preset", preset,
    )  # fmt: skip
    same_files("c", "py", WRITTEN)
    assert out.startswith("12 samples found in 1 files, {} batches used\n".format(12 // batch))
    assert "run by TensorFlow " + tf.__version__ in out


@with_openvino
@pytest.mark.parametrize("preset", ["none", "accurate"])
def test_openvino_is_close(preset):
    with open("net.pb", "wb") as file:
        file.write(heavy_network().SerializeToString())
    x = pictures(12)
    np.save("x.npy", x)
    python_flow("net.pb", "logits", [x[:8], x[8:]], preset=preset)
    out = done(
        "--model", "net.pb", "--outputs", "logits", "--data", "x.npy", "--batch_size", "8",
        "--save_path", "c", "--engine", "openvino", "--preset", preset,
    )  # fmt: skip
    assert "run by OpenVINO" in out
    ours, theirs = read_record("c_record.txt"), read_record("py_record.txt")
    assert list(ours) == list(theirs)
    for layer, factors in theirs.items():
        for key, wanted in factors.items():
            if key == "scale_w":
                assert ours[layer][key] == wanted, layer
            else:
                np.testing.assert_allclose(ours[layer][key], wanted, rtol=1e-4, err_msg=layer)


@pytest.mark.parametrize("engine", ENGINES)
def test_formats_are_one(engine):
    write_models()
    x = images(10)
    common = ("--model", "net.pb", "--outputs", OUTPUT, "--engine", engine)
    os.mkdir("folder")
    np.save("x.npy", x)
    np.savez("named.npz", **{"input": x})
    np.savez("single.npz", x)
    x.tofile("x.bin")
    for i, part in enumerate(np.split(x, [4, 9])):
        np.save("folder/{}.npy".format(i * 5), part)  # 0, 5, 10
    np.save("one.npy", x[0])
    done(*common + ("--data", "x.npy", "--save_path", "npy", "--batch_size", "5"))
    for source in ("named.npz", "single.npz", "x.bin", "folder", "input=x.npy"):
        out = done(*common + ("--data", source, "--save_path", "other", "--batch_size", "5"))
        assert "10 samples found" in out and "2 batches used" in out
        same_files("npy", "other", WRITTEN[:2])
    out = done(*common + ("--data", "one.npy;folder", "--save_path", "other"))
    assert out.startswith("11 samples found in 4 files, 4 batches used\n")


@pytest.mark.parametrize("engine", ENGINES)
def test_configuration(engine):
    """batch_num, layers that stay float, and an older record that is replaced."""
    write_models()
    np.save("x.npy", images(10))
    amct.create_quant_config("c.json", load("net.pb"), skip_layers=["block/depthwise"], batch_num=2)
    out = done(
        "--model", "net.pb", "--outputs", OUTPUT, "--data", "x.npy", "--batch_size", "4", "--config", "c.json",
        "--record", "own.txt", "--save_path", "deep/er/", "--engine", engine,
    )  # fmt: skip
    assert "2 batches used" in out and "3 of 3 layers are calibrated" in out
    assert sorted(os.listdir("deep/er")) == ["quant.json", "quantized.pb"]
    assert "block/depthwise" not in read_record("own.txt")


@pytest.mark.parametrize("engine", ENGINES)
def test_not_finite(engine):
    write_models()
    x = images(10)
    x[7].flat[5] = np.nan
    np.save("x.npy", x)
    code, _, err = calibrate(
        "--model", "net.pb", "--outputs", OUTPUT, "--data", "x.npy", "--batch_size", "4", "--save_path", "c", "--engine", engine,
    )  # fmt: skip
    assert code == 1
    assert err == 'amct: x.npy: sample 8 has NaN at index 5 of its data, for input "input"\n'
    assert not os.path.exists("c_quantized.pb")


@pytest.mark.parametrize("engine", ENGINES)
def test_not_finite_inside(engine):
    """Data that are finite, and overflow in the graph."""
    write_models()
    np.save("x.npy", np.full((4, 8, 8, 3), 3e38, np.float32))
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 8, 8, 3), name="input")
        w = np.ones((3, 3, 3, 4), np.float32)
        y = v1.nn.conv2d(x * 8.0, w, [1, 1, 1, 1], "SAME", name="conv")
        tf.identity(y, name=OUTPUT)
    with open("net.pb", "wb") as file:
        file.write(graph.as_graph_def().SerializeToString())
    code, _, err = calibrate("--model", "net.pb", "--outputs", OUTPUT, "--data", "x.npy", "--save_path", "c", "--engine", engine)
    assert code == 1
    assert re.search('layer "conv": batch 1 has infinity at index 0 of its data', err)


@pytest.mark.parametrize("engine", ENGINES)
def test_several_inputs(engine):
    """Of which one does not vary with the batch, and a branch that the outputs do not need."""
    with tf.Graph().as_default() as graph:
        a = v1.placeholder(tf.float32, (None, 6), name="a")
        b = v1.placeholder(tf.float32, (None, 6), name="b")
        p = v1.placeholder_with_default(np.float32(2), (), name="p")
        w = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
        tf.matmul(a * p, w, name="first") + tf.matmul(b, w, name="second", transpose_b=False)
        tf.add(graph.get_tensor_by_name("first:0"), graph.get_tensor_by_name("second:0"), name="sum")
        c = v1.placeholder(tf.float32, (None, 6), name="c")
        tf.matmul(c, w, name="unused")
    with open("net.pb", "wb") as file:
        file.write(graph.as_graph_def().SerializeToString())
    x = np.random.default_rng(2).uniform(0, 1, (6, 6)).astype(np.float32)
    os.mkdir("a")
    for i in range(3):
        np.save("a/{}.npy".format(i), x[2 * i : 2 * i + 2])
    (3 * x).tofile("b.bin")
    out = done(
        "--model", "net.pb", "--outputs", "sum", "--data", "a=a;b=b.bin", "--batch_size", "3", "--save_path", "c", "--engine", engine,
    )  # fmt: skip
    assert "6 samples found in 4 files, 2 batches used" in out
    record = read_record("c_record.txt")
    np.testing.assert_allclose(float(record["first"]["scale_d"][0]) * 1.5, float(record["second"]["scale_d"][0]), rtol=1e-5)


@with_openvino
@pytest.mark.parametrize("batch", [1, 3])
def test_openvino_batches_that_stay_whole(batch):
    """A graph that fixes its batch, and one that takes a mean over the batch: not cut into samples."""
    x = images(6)
    np.save("x.npy", x)
    for fixed in (True, False):
        with tf.Graph().as_default() as graph:
            p = v1.placeholder(tf.float32, (batch if fixed else None, 8, 8, 3), name="input")
            y = p if fixed else p - tf.reduce_mean(p, 0, keepdims=True)
            w = np.random.default_rng(1).normal(size=(3, 3, 3, 4)).astype(np.float32)
            mean = tf.reduce_mean(p, 0, keepdims=True)
            y = v1.nn.conv2d(y, w, [1, 1, 1, 1], "SAME", name="conv")
            z = v1.nn.conv2d(mean, w, [1, 1, 1, 1], "SAME", name="of_mean")
            tf.add(y, z, name=OUTPUT)
        with open("net.pb", "wb") as file:
            file.write(graph.as_graph_def().SerializeToString())
        python_flow("net.pb", OUTPUT, [x[i : i + batch] for i in range(0, 6, batch)])
        done(
            "--model", "net.pb", "--outputs", OUTPUT, "--data", "x.npy", "--batch_size", str(batch), "--save_path", "c", "--engine", "openvino",
        )  # fmt: skip
        ours, theirs = read_record("c_record.txt"), read_record("py_record.txt")
        for layer in ("conv", "of_mean"):
            np.testing.assert_allclose(ours[layer]["scale_d"], theirs[layer]["scale_d"], rtol=1e-4)


@pytest.mark.skipif(not IS_1_15, reason="of the TensorFlow that is too old")
def test_tensorflow_too_old():
    write_models()
    np.save("x.npy", images(4))
    code, _, err = calibrate(
        "--model", "net.pb", "--outputs", OUTPUT, "--data", "x.npy", "--save_path", "c", "--engine", "tensorflow",
        "--engine_dir", os.path.dirname(os.path.dirname(tf.__file__)),
    )  # fmt: skip
    assert code == 1
    assert "is too old for this command: TensorFlow from 2.12 on is wanted" in err
    assert not glob.glob("c*")


def slow_arguments(engine, samples=3000):
    """A run of a few tenths of a second, or longer with more samples."""
    with open("net.pb", "wb") as file:
        file.write(heavy_network().SerializeToString())
    np.save("x.npy", np.tile(pictures(50), (samples // 50, 1, 1, 1)))
    return (
        "--model", "net.pb", "--outputs", "logits", "--data", "x.npy", "--batch_size", "20", "--save_path", "c",
        "--engine", engine, "--verbose",
    )  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
def test_interrupted(engine):
    process = start(*slow_arguments(engine, samples=20000))
    for line in process.stderr:
        if "the model runs in" in line:
            break
    process.send_signal(signal.SIGINT)
    err = process.communicate()[1]
    assert process.returncode == 130
    message = re.search(r"amct: stopped after (\d+) of 20000 samples: c_record.txt holds the factors of (\d+) of 4 layers, no model was written", err)
    assert message and int(message.group(1)) < 20000, err[-500:]
    assert sorted(glob.glob("c*")) == ["c_record.txt"]


@pytest.mark.parametrize("engine", ENGINES)
def test_killed_at_any_moment(engine):
    """Whatever is there under its name is whole."""
    arguments = slow_arguments(engine)[:-1]
    np.save("x.npy", pictures(40))
    started = time.time()
    done(*arguments)
    whole = time.time() - started
    good = {name: read(name) for name in glob.glob("c*")}
    for i in range(10):
        for name in glob.glob("c*"):
            os.remove(name)
        process = start(*arguments)
        time.sleep(whole * (0.5 + 0.06 * i))
        process.kill()
        process.communicate()
        for name in good:
            if not os.path.exists(name):
                continue
            if name == "c_record.txt":  # of the layers that were done by then
                assert good[name].startswith(read(name).rstrip(b"\n"))
            else:
                assert read(name) == good[name] or name.endswith(".stats"), name


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("room", [1, 3000])
def test_no_room(engine, room):
    """A disk that is full, of which a limit on the size of files is an example."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    write_models()
    np.save("x.npy", images(4))
    code, _, err = calibrate(
        "--model", "net.pb", "--outputs", OUTPUT, "--data", "x.npy", "--save_path", "c", "--engine", engine, preexec_fn=limit,
    )  # fmt: skip
    assert code == 1
    assert "File too large" in err
    assert not glob.glob("c*.pb")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_that_shrinks(engine):
    """While it is in use: an error, not a crash."""
    process = start(*slow_arguments(engine))
    for line in process.stderr:
        if "samples found" in line:
            break
    os.truncate("x.npy", 4096)
    err = process.communicate()[1]
    assert process.returncode == 1
    assert "x.npy: has become shorter while it was in use" in err


@with_openvino
@with_tensorflow
def test_auto_falls_back():
    """A graph that OpenVINO does not read."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 8), name="input")
        y = tf.raw_ops.Betainc(a=tf.abs(x) + 1.0, b=tf.ones_like(x), x=tf.clip_by_value(x, 0.0, 1.0))
        tf.matmul(y, np.ones((8, 4), np.float32), name="fc")
    with open("net.pb", "wb") as file:
        file.write(graph.as_graph_def().SerializeToString())
    np.save("x.npy", np.random.default_rng(1).uniform(0, 1, (4, 8)).astype(np.float32))
    common = ("--model", "net.pb", "--outputs", "fc", "--data", "x.npy", "--save_path", "c")
    code, _, err = calibrate(*common + ("--engine", "openvino"))
    assert code == 1 and "OpenVINO cannot" in err
    assert not os.path.exists("c_record.txt")
    assert "run by TensorFlow" in done(*common)


@with_tensorflow
def test_from_python():
    """The same call in a process that holds TensorFlow already."""
    write_models()
    np.save("x.npy", images(6))
    environment = dict(os.environ, AMCT_ENGINE_DIR=PACKAGES)
    program = (
        "import tensorflow, amct_tensorflow._core as core;"
        "print(core.calibrate('net.pb', ['{}'], ['x.npy'], 'here', engine='tensorflow'))".format(OUTPUT)
    )
    assert b"TensorFlow" in subprocess.check_output([sys.executable, "-c", program], env=environment)
    done("--model", "net.pb", "--outputs", OUTPUT, "--data", "x.npy", "--save_path", "there", "--engine", "tensorflow")
    same_files("here", "there", WRITTEN)


def terminal_of(*more):
    """What a run writes to a terminal that is its standard error."""
    ours, its = pty.openpty()
    environment = dict(os.environ, AMCT_ENGINE_DIR=PACKAGES)
    process = subprocess.Popen(
        (PROGRAM, "calibrate", "--model", "net.pb", "--outputs", "logits", "--data", "x.npy", "--batch_size", "20",
         "--save_path", "c") + more,
        env=environment, stdout=subprocess.DEVNULL, stderr=its,
    )  # fmt: skip
    os.close(its)
    text = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        text += part
    os.close(ours)
    assert process.wait() == 0, text
    return text.decode()


@pytest.mark.parametrize("engine", ENGINES)
def test_progress_on_a_terminal(engine):
    """A bar that grows from nothing to all, with the time left; none with --quiet. test_bar.c has its pace."""
    with open("net.pb", "wb") as file:
        file.write(heavy_network().SerializeToString())
    for preset, samples, total in (("none", 10000, 10000), ("accurate", 2000, 1500 * 2 + 500 * 3)):
        np.save("x.npy", np.tile(pictures(50), (samples // 50, 1, 1, 1)))
        text = terminal_of("--engine", engine, "--preset", preset)
        bars = re.findall(r"\rcalibrating \[(#*)(\.*)\] (\d+)/(\d+) samples(, \d+ s left)?", text)
        assert len(bars) > 2
        assert all(len(full) + len(rest) == 30 and int(of) == total for full, rest, _, of, _ in bars)
        done = [int(bar[2]) for bar in bars]
        assert done[0] == 0 and done[-1] == total and done == sorted(done)
        assert [bool(bar[4]) for bar in bars] == [0 < n < total for n in done]
        assert all(len(bar[0]) == 30 * int(bar[2]) // total for bar in bars)
        assert text.count("\n", text.index("{}/{} samples".format(total, total))) >= 1
    assert "calibrating" not in terminal_of("--engine", engine, "--quiet")
