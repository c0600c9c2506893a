# SPDX-License-Identifier: Apache-2.0
"""The wheel in dist/, as users meet it: each environment has TensorFlow and the installed wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHEELS = sorted((ROOT / "dist").glob("*.whl"))
pytestmark = pytest.mark.skipif(not WHEELS, reason="no wheel in dist/: run tools/setup.sh test")


def environments():
    """The Pythons that tools/setup.sh test installed the wheel into."""
    return [
        str(ROOT / name / "bin/python") for name in (".venv", ".venv-tf1") if (ROOT / name).exists()
    ]


def run(python, code, folder, **variables):
    """What a fresh process prints; it sees the installed package only."""
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", PYTHONDONTWRITEBYTECODE="1")
    for name in ("PYTHONPATH", "AMCT_LIB_DIR"):
        environment.pop(name, None)
    environment.update(variables)
    return subprocess.run(
        [python, "-c", code],
        cwd=str(folder),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=300,
        universal_newlines=True,
    )


# A net of one layer, calibrated and saved; prints the parts of the result.
FLOW = """
import numpy as np
def flow(name):
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 4, 4, 3], name="x")
        w = tf.constant(np.linspace(-1, 1, 108).reshape(3, 3, 3, 4), tf.float32)
        y = tf.identity(tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME"), name="y")
    with open(name + ".pb", "wb") as pb:
        pb.write(graph.as_graph_def().SerializeToString())
    amct.create_quant_config(name + ".json", graph)
    amct.quantize_model(graph, name + ".json", name + ".txt")
    with tf.compat.v1.Session(graph=graph) as session:
        session.run("y:0", {"x:0": np.linspace(-1, 1, 960).reshape(20, 4, 4, 3)})
    amct.save_model(name + ".pb", ["y"], name + ".txt", name)
    read = tf.compat.v1.GraphDef.FromString(open(name + "_quantized.pb", "rb").read())
    return sorted({node.op for node in read.node if node.op.startswith("Ascend")})
"""
OPS = "['AscendDequant', 'AscendQuant', 'AscendWeightQuant']"
ORDERS = (
    "import tensorflow as tf\nimport amct_tensorflow as amct\n",
    "import amct_tensorflow as amct\nimport tensorflow as tf\n",
)


def test_the_wheel_asks_for_no_more_than_glibc_2_17():
    audit = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", str(WHEELS[0])],
        stdout=subprocess.PIPE,
        universal_newlines=True,
    )
    words = " ".join(audit.stdout.split())
    assert "manylinux_2_17_x86_64" in words, words
    assert "manylinux2014_x86_64" in WHEELS[0].name


def test_the_wheel_needs_nothing_that_a_bare_system_lacks(tmp_path):
    with zipfile.ZipFile(str(WHEELS[0])) as archive:
        archive.extractall(str(tmp_path))
    bare = {"libm.so.6", "libc.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-x86-64.so.2"}
    found = 0
    for path in tmp_path.rglob("*"):
        if not path.is_file() or path.read_bytes()[:4] != b"\x7fELF":
            continue
        found += 1
        listing = subprocess.run(
            ["readelf", "-d", str(path)], stdout=subprocess.PIPE, universal_newlines=True, check=True
        ).stdout
        needed = {line.split("[")[1][:-1] for line in listing.splitlines() if "(NEEDED)" in line}
        assert needed <= bare | {"libamctcore.so"}, (path.name, needed)
    assert found == 3


@pytest.mark.parametrize("python", environments())
@pytest.mark.parametrize("order", [0, 1], ids=["tensorflow first", "amct first"])
def test_imported_before_or_after_tensorflow(python, order, tmp_path):
    done = run(python, ORDERS[order] + FLOW + "print(flow('net'))", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == OPS


def test_environments_side_by_side_write_the_same_files(tmp_path):
    written = []
    for index, python in enumerate(environments()):
        folder = tmp_path / str(index)
        folder.mkdir()
        done = run(python, ORDERS[0] + FLOW + "flow('net')", folder)
        assert done.returncode == 0, done.stderr
        written.append([(folder / name).read_bytes() for name in ("net.txt", "net_quant.json")])
    assert all(files == written[0] for files in written)


@pytest.mark.parametrize("python", environments())
def test_command_line(python):
    """As the program that the wheel installs, and as a module."""
    program = [os.path.join(os.path.dirname(python), "amct_tensorflow")]
    for command in (program, [python, "-m", "amct_tensorflow"]):
        said = subprocess.run(command + ["convert", "--help"], stdout=subprocess.PIPE, check=True).stdout
        assert said.startswith(b"usage: amct_tensorflow convert [options]")


@pytest.mark.parametrize("python", environments())
def test_forked_workers_have_their_own_calibrations(python, tmp_path):
    code = ORDERS[0] + FLOW
    code += """
import multiprocessing
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(flow, ["one", "two"], chunksize=1))
    print(open("one.txt").read() == open("two.txt").read())
"""
    done = run(python, code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["[%s, %s]" % (OPS, OPS), "True"]


def test_without_tensorflow_one_sentence_and_uninstalling_leaves_nothing(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "bare")], check=True)
    python = str(tmp_path / "bare/bin/python")
    before = {path for path in (tmp_path / "bare").rglob("*") if "__pycache__" not in path.parts}
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-index", str(WHEELS[0])], check=True)

    done = run(python, "import amct_tensorflow", tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: amct_tensorflow needs TensorFlow, which is not installed")
    version = subprocess.run([str(tmp_path / "bare/bin/amct"), "version"], stdout=subprocess.PIPE)
    assert version.stdout.startswith(b"amct ")

    subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "amct_tensorflow"], check=True)
    after = {path for path in (tmp_path / "bare").rglob("*") if "__pycache__" not in path.parts}
    assert after == before
