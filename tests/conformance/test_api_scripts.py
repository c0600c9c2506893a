# SPDX-License-Identifier: Apache-2.0
"""What scripts written for the original rely on."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models

v1 = tf.compat.v1


def complete(record):
    """True if every layer of the network has all its factors."""
    layers = models.read_record(record)
    if list(layers) != models.LAYERS:
        return False
    return all(
        len(fields["scale_d"]) == 1 and ("scale_w" in fields) == ("AvgPool" not in name)
        for name, fields in layers.items()
    )


def test_output_fetched_before_and_run_after():
    with tf.Graph().as_default() as graph:
        output = models.network()
    x = graph.get_tensor_by_name(models.INPUT)
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "record.txt")
    with v1.Session(graph=graph) as session:
        session.run(output, {x: models.images(32)})
    assert complete("record.txt")


def test_observers_change_no_value():
    graph = models.graph_of()
    batch = models.images(16)
    before = models.run(graph, [batch])[0]
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "record.txt")
    np.testing.assert_allclose(models.run(graph, [batch])[0], before, rtol=1e-5, atol=1e-6)


def test_missing_folders_are_made():
    graph = models.graph_of()
    pb = models.float_pb()
    amct.create_quant_config("a/b/config.json", graph)
    amct.quantize_model(graph, "a/b/config.json", "c/d/record.txt")
    models.run(graph, [models.images(8)])
    amct.save_model(pb, [models.OUTPUT], "c/d/record.txt", "e/f/model")
    assert sorted(os.listdir("e/f")) == ["model_quant.json", "model_quantized.pb"]


def test_a_save_path_that_ends_in_a_slash():
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "record.txt")
    models.run(graph, [models.images(8)])
    amct.save_model(models.float_pb(), [models.OUTPUT], "record.txt", "out/")
    assert sorted(os.listdir("out")) == ["quant.json", "quantized.pb"]


@pytest.mark.parametrize(
    "name", ["record,txt", "record", "a record with blanks.txt", "r\u00e9cord"]
)
def test_any_name_of_a_record(name):
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", name)
    assert os.path.getsize(name) == 0
    models.run(graph, [models.images(8)])
    assert complete(name)
    amct.save_model(models.float_pb(), [models.OUTPUT], name, "model")


def test_the_default_graph():
    output = None
    with v1.get_default_graph().as_default() as graph:
        output = models.network()
    amct.create_quant_config("config.json", v1.get_default_graph())
    assert amct.quantize_model(graph, "config.json", "record.txt") == []
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        session.run(output, {models.INPUT: models.images(8)})
    assert complete("record.txt")


@pytest.mark.parametrize("when", ["before", "after"])
def test_sessions_opened_before_or_after(when):
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph)
    session = v1.Session(graph=graph) if when == "before" else None
    amct.quantize_model(graph, "config.json", "record.txt")
    with session or v1.Session(graph=graph) as session:
        session.run(models.OUTPUT + ":0", {models.INPUT: models.images(8)})
    assert complete("record.txt")


def test_a_new_session_for_every_batch():
    one, many = models.graph_of(), models.graph_of()
    batches = [models.images(8, seed) for seed in range(4)]
    for graph, record in ((one, "one.txt"), (many, "many.txt")):
        amct.create_quant_config("config.json", graph, batch_num=4)
        amct.quantize_model(graph, "config.json", record)
    models.run(one, batches)
    for batch in batches[:3]:
        models.run(many, [batch])
    assert not complete("many.txt")
    models.run(many, batches[3:])
    assert complete("one.txt")
    assert Path("one.txt").read_bytes() == Path("many.txt").read_bytes()


def test_batches_of_other_sizes_and_too_many():
    data = models.images(80)
    records = []
    # the same data in two splits; what comes after batch_num is ignored
    for splits in ([32, 64], [79]):
        graph = models.graph_of()
        batches = np.split(data, splits)
        amct.create_quant_config("config.json", graph, batch_num=len(batches))
        amct.quantize_model(graph, "config.json", "record.txt")
        models.run(graph, batches + [100 * models.images(3)])
        records.append(Path("record.txt").read_bytes())
    assert complete("record.txt")
    assert records[0] == records[1]


def test_a_calibration_batch_that_is_not_the_inference_batch():
    calibration = models.graph_of(lambda: models.network(batch=32))
    amct.create_quant_config("config.json", calibration)
    amct.quantize_model(calibration, "config.json", "record.txt")
    models.run(calibration, [models.images(32)])
    definition = models.graph_of(lambda: models.network(batch=1)).as_graph_def()
    amct.save_model(models.write_pb(definition, "one.pb"), [models.OUTPUT], "record.txt", "out/one")
    batch = models.images(1, seed=9)
    quantized = models.run(models.load("out/one_quantized.pb"), [batch])[0]
    plain = models.run(models.load("one.pb"), [batch])[0]
    assert np.abs(quantized - plain).max() < 0.1


def test_wrong_keywords():
    graph = models.graph_of()
    with pytest.raises(TypeError, match="config_path"):
        amct.quantize_model(graph=graph, config_path="c.json", record_path="r.txt")
    with pytest.raises(TypeError, match="record_path"):
        amct.save_model("m.pb", ["softmax"], record_path="r.txt", save_path="model")


def test_keywords():
    graph = models.graph_of()
    amct.create_quant_config(
        config_file="config.json",
        graph=graph,
        skip_layers=None,
        batch_num=1,
        activation_offset=True,
        config_defination=None,
    )
    amct.quantize_model(
        graph=graph, config_file="config.json", record_file="record.txt", calib_outputs=None
    )
    models.run(graph, [models.images(8)])
    amct.save_model(
        pb_model=models.float_pb(), outputs=["softmax"], record_file="record.txt", save_path="m"
    )
    assert os.path.exists("m_quantized.pb")


def test_the_quantized_pb_is_an_int8_network():
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "record.txt")
    models.run(graph, [models.images(64)])
    amct.save_model(models.float_pb(), ["softmax"], "record.txt", "model")
    quantized = models.load("model_quantized.pb")
    types = models.op_types(quantized)
    assert {types[scope + "/act_quant/AscendQuant"] for scope in ("stem", "block", "head")} == {
        "AscendQuant"
    }
    assert sum(op == "AscendDequant" for op in types.values()) == len(models.LAYERS)
    assert not [op for op in types.values() if op.startswith("FusedBatchNorm")]
    batch = models.images(64, seed=5)
    expected, found = models.run(models.graph_of(), [batch])[0], models.run(quantized, [batch])[0]
    assert np.mean(expected.argmax(1) == found.argmax(1)) > 0.9
    assert "graph" in json.loads(Path("model_quant.json").read_text())


def test_another_model_in_one_process():
    for name in ("first", "second"):
        graph = models.graph_of()
        amct.create_quant_config("config.json", graph)
        amct.quantize_model(graph, "config.json", name + ".txt")
        models.run(graph, [models.images(8)])
    assert Path("first.txt").read_bytes() == Path("second.txt").read_bytes()


SCRIPT = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
{imports}
import amct_tensorflow as amct
amct.set_logging_level(print_level='info', save_level='info')
assert not os.path.exists("amct_log")
import sys
sys.path.insert(0, {folder!r})
import models

with tf.Graph().as_default() as graph:
    output = models.network()
models.write_pb(graph.as_graph_def(), "model.pb")
amct.create_quant_config("config.json", graph)
variables = amct.quantize_model(graph, "config.json", "record.txt")
with tf.compat.v1.Session(graph=graph) as session:
    with graph.as_default():
        session.run(tf.compat.v1.global_variables_initializer())
    session.run(output, {{"input:0": models.images(8)}})
amct.save_model("model.pb", ["softmax"], "record.txt", "out/model")
"""

IMPORTS = {
    "plain": "import tensorflow as tf",
    "v1": "import tensorflow.compat.v1 as tf\ntf.compat = type('c', (), {'v1': tf})\n"
    "tf.disable_v2_behavior()",
    "no eager": "import tensorflow as tf\ntf.compat.v1.disable_eager_execution()",
    "eager": "import tensorflow as tf\ntf.compat.v1.enable_eager_execution()",
    "package first": "import amct_tensorflow\nimport tensorflow as tf",
}


def run_script(text, **environment):
    """Runs a script in a process of its own. Returns what it printed, both streams."""
    Path("script.py").write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(os.environ, **environment),
        timeout=300,
    )
    printed = done.stdout.decode()
    assert done.returncode == 0, printed
    return printed


def folder():
    return os.path.dirname(os.path.abspath(models.__file__))


@pytest.mark.parametrize("imports", sorted(IMPORTS))
def test_whole_scripts(imports):
    printed = run_script(SCRIPT.format(imports=IMPORTS[imports], folder=folder()))
    line = r"INFO - \[AMCT\]:\[save_model\]: The model is saved in .*out/model_quantized\.pb"
    assert re.search(line, printed)
    log = Path("amct_log/amct_tensorflow.log").read_text()
    assert re.search(line, log)
    assert complete("record.txt")
    assert os.path.getsize("out/model_quantized.pb") > 0


def test_levels_choose_what_is_printed_and_saved():
    script = SCRIPT.replace("print_level='info', save_level='info'", "'ERROR', save_level='debug'")
    printed = run_script(script.format(imports=IMPORTS["plain"], folder=folder()))
    assert "[AMCT]" not in printed
    assert "[AMCT]:[save_model]" in Path("amct_log/amct_tensorflow.log").read_text()


def test_no_log_without_a_line():
    run_script("import amct_tensorflow as amct\namct.set_logging_level('error', 'error')")
    assert os.listdir(".") == ["script.py"]


def test_the_log_stays_where_the_script_started():
    script = SCRIPT.replace("import models", "import models\nos.makedirs('x'); os.chdir('x')")
    run_script(script.format(imports=IMPORTS["plain"], folder=folder()))
    assert os.path.exists("amct_log/amct_tensorflow.log")
    assert not os.path.exists("x/amct_log")


PIP = """: for Python 3.10 to 3.13 'pip install tensorflow-cpu==2.21.0', for Python 3.7 'pip install tensorflow==1.15.5 "protobuf<3.21"'"""
NEEDED = "amct_tensorflow needs TensorFlow 1.15, or 2.12 or later; {} is installed" + PIP


@pytest.mark.parametrize(
    "module, said",
    [
        ("raise ModuleNotFoundError('none', name='tensorflow')", "amct_tensorflow needs TensorFlow, which is not installed" + PIP),
        ("raise ImportError('libcuda.so.9 is missing')", "libcuda.so.9 is missing"),
        ("raise ModuleNotFoundError('no protobuf', name='google')", "no protobuf"),
        ("__version__ = '1.14.0'", NEEDED.format("1.14.0")),
        ("__version__ = '2.11.1'", NEEDED.format("2.11.1")),
        ("", NEEDED.format("?")),
    ],
)
def test_a_tensorflow_that_does_not_do(tmp_path, module, said):
    """Missing, broken or too old: one sentence, in scripts and at the end of what the command prints."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(module)
    printed = run_script(
        """
        try:
            import amct_tensorflow
        except ImportError as error:
            print("said:", error)
        """
    )
    assert printed == "said: {}\n".format(said)
    path = os.pathsep.join([str(tmp_path)] + sys.path)
    done = subprocess.run(
        [sys.executable, "-m", "amct_tensorflow", "--version"],
        env=dict(os.environ, PYTHONPATH=path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == b""
    assert done.stderr.decode().splitlines()[-1].endswith("Error: " + said)


def test_gradients_are_those_of_the_float_graph():
    """Of the biases and weights; observers stand beside the path of the gradient."""

    def gradients_of(graph):
        output = graph.get_tensor_by_name(models.OUTPUT + ":0")
        variables = v1.trainable_variables()
        with graph.as_default():
            found = tf.gradients(output, variables)
        return [gradient is not None for gradient in found]

    with tf.Graph().as_default() as graph:
        models.network(models.ref_variable)
        before = gradients_of(graph)
        amct.create_quant_config("config.json", graph)
        amct.quantize_model(graph, "config.json", "record.txt")
        assert gradients_of(graph) == before and any(before)
