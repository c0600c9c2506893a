# SPDX-License-Identifier: Apache-2.0
"""What every conformance test gets: a folder of its own, quiet TensorFlow."""

import functools
import glob
import inspect
import os
import shutil
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import pytest
import tensorflow as tf

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def pytest_report_header(config):
    """Which TensorFlow, which package."""
    import amct_tensorflow as amct

    return "TensorFlow {}, Python {}, amct_tensorflow {} in {}".format(
        tf.__version__,
        sys.version.split()[0],
        amct.__version__,
        os.path.dirname(amct.__file__),
    )


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Each test runs in an empty folder, on an empty default graph."""
    monkeypatch.chdir(tmp_path)
    tf.compat.v1.reset_default_graph()
    return tmp_path


def edges_of(graph):
    """By node: the names of what it reads, and what it waits for."""
    return {
        op.name: ([tensor.name for tensor in op.inputs], [waited.name for waited in op.control_inputs])
        for op in graph.get_operations()
    }


def check_gates(graph, before):
    """Nodes that were there read what they read, some through an Identity that waits for observers."""
    now = edges_of(graph)
    for name, (inputs, controls) in before.items():
        assert now[name][1] == controls
        assert len(now[name][0]) == len(inputs)
        for old, new in zip(inputs, now[name][0]):
            if new != old:
                gate = graph.get_tensor_by_name(new).op
                assert gate.name not in before and gate.type == "Identity" and gate.inputs[0].name == old
                assert {op.type for op in gate.control_inputs} <= {"QuantIfmr", "QuantArq"}
                assert gate.control_inputs
                assert gate.device == graph.get_operation_by_name(name).device


@pytest.fixture(autouse=True)
def one_plan(monkeypatch):
    """In every test: the plan of the graph that was calibrated is the plan of the pb that was saved, and calibrating
    changes nothing but what layers wait for."""
    import amct_tensorflow as amct

    core = amct._core
    quantize_model, save_model = amct.quantize_model, amct.save_model
    plans = {}

    @functools.wraps(quantize_model)
    def quantize(*arguments, **keywords):
        graph = keywords.get("graph", arguments[0] if arguments else None)
        before = graph.as_graph_def() if isinstance(graph, tf.Graph) else None
        edges = edges_of(graph) if isinstance(graph, tf.Graph) else None
        added = quantize_model(*arguments, **keywords)
        check_gates(graph, edges)
        given = inspect.signature(quantize_model).bind(*arguments, **keywords).arguments
        plans[os.path.abspath(given["record_file"])] = core.describe_plan(before.SerializeToString())
        return added

    @functools.wraps(save_model)
    def save(*arguments, **keywords):
        save_model(*arguments, **keywords)
        given = inspect.signature(save_model).bind(*arguments, **keywords).arguments
        plan = plans.get(os.path.abspath(given["record_file"]))
        with open(given["pb_model"], "rb") as file:
            frozen = file.read()
        if plan is not None and b"QuantIfmr" not in frozen:
            assert core.describe_plan(frozen) == plan

    monkeypatch.setattr(amct, "quantize_model", quantize)
    monkeypatch.setattr(amct, "save_model", save)


@pytest.fixture(params=["keras", "tf_keras"])
def kit(request):
    """Keras 3, then tf-keras."""
    found = pytest.importorskip(request.param)
    found.utils.set_random_seed(3)
    return found


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    """graph_probe.c with the C sources, compiled by the system's compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    program = str(tmp_path_factory.mktemp("probe") / "graph_probe")
    sources = [os.path.join(ROOT, "tests", "conformance", "graph_probe.c")]
    for folder in ("base", "wire", "graph", "op"):
        sources += sorted(glob.glob(os.path.join(ROOT, "src", folder, "*.c")))
    command = [compiler, "-std=gnu11", "-O1", "-D_GNU_SOURCE", "-DAMCT_BUILDING"]
    command += ["-I" + os.path.join(ROOT, name) for name in ("src", "include")]
    subprocess.check_call(command + sources + ["-o", program, "-lpthread", "-lm"])
    return program


def run_probe(probe, mode, given):
    """Runs the probe; returns its lines and the bytes that it wrote."""
    with open("given", "wb") as file:
        file.write(given)
    done = subprocess.run(
        [probe, mode, "given", "written"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert done.returncode == 0, done.stderr
    with open("written", "rb") as file:
        return [line.split("\t") for line in done.stdout.splitlines()], file.read()


def run_python(*arguments, **variables):
    """Runs Python with the modules of this process, in the current folder; returns what it printed."""
    done = subprocess.run(
        [sys.executable] + list(arguments),
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
