# SPDX-License-Identifier: Apache-2.0
"""Input that is wrong: a clear error that names file, node or field; files and graph as they were."""

import os
import re
import resource
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models

v1 = tf.compat.v1


def files():
    """{path: bytes} below the current folder, the log left out."""
    return {
        str(path): path.read_bytes()
        for path in sorted(Path(".").rglob("*"))
        if path.is_file() and "amct_log" not in path.parts
    }


def refused(error, words, function, *arguments, **keywords):
    """The call raises `error` with all the words in its text, and no file changes."""
    before = files()
    with pytest.raises(error) as caught:
        function(*arguments, **keywords)
    text = str(caught.value)
    for word in words:
        assert word in text, text
    assert files() == before
    return text


@pytest.fixture
def calibrated():
    """model.pb with a good record.txt, and a result that must survive."""
    graph = models.graph_of()
    models.float_pb()
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "record.txt")
    models.run(graph, [models.images(8)])
    Path("m_quantized.pb").write_bytes(b"earlier")
    Path("m_quant.json").write_bytes(b"earlier")


def save(pb="model.pb", outputs=(models.OUTPUT,), record="record.txt", path="m"):
    amct.save_model(pb, list(outputs), record, path)


# Models


def good_pb():
    return Path("model.pb").read_bytes()


BROKEN_PBS = {
    "empty": lambda pb: b"",
    "truncated": lambda pb: pb[: len(pb) // 2],
    "one byte short": lambda pb: pb[:-1],
    "random": lambda pb: np.random.RandomState(0).bytes(5000),
    "text": lambda pb: b"<html>404 not found</html>",
    "length over the file": lambda pb: b"\x0a\xff\xff\xff\xff\x07" + pb,
    "length of 2^64": lambda pb: b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + pb,
    "varint without end": lambda pb: pb + b"\x0a" + b"\xff" * 20,
}


@pytest.mark.parametrize("kind", sorted(BROKEN_PBS))
def test_files_that_are_no_models(calibrated, kind):
    Path("broken.pb").write_bytes(BROKEN_PBS[kind](good_pb()))
    refused(amct.AmctError, ["broken.pb"] if kind != "empty" else ["softmax"], save, "broken.pb")


def test_a_saved_model_is_no_frozen_graph(calibrated):
    os.mkdir("folder.pb")
    refused(OSError, ["folder.pb", "amct_tensorflow.freeze"], save, "folder.pb")


def changed(change):
    """broken.pb: the model after `change` of its GraphDef."""
    definition = v1.GraphDef.FromString(good_pb())
    nodes = {node.name: node for node in definition.node}
    change(definition, nodes)
    return models.write_pb(definition, "broken.pb")


def add_cycle(_, nodes):
    nodes["stem/Conv2D"].input[0] = "block/depthwise"


def add_twin(definition, nodes):
    definition.node.add().CopyFrom(nodes["stem/Conv2D"])


def name_nobody(_, nodes):
    nodes["block/depthwise"].input[0] = "nobody"


def quantize_once(_, nodes):
    nodes["stem/Relu6"].op = "AscendQuant"


@pytest.mark.parametrize(
    "change, words",
    [
        (add_cycle, ["broken.pb", "cycle"]),
        (add_twin, ["broken.pb", "stem/Conv2D"]),
        (name_nobody, ["broken.pb", "block/depthwise", "nobody"]),
        (quantize_once, ["broken.pb", "stem/Relu6", "AscendQuant"]),
    ],
)
def test_graphs_that_are_not_sound(calibrated, change, words):
    refused(amct.AmctError, words, save, changed(change))


def test_a_bomb_of_nested_attributes(calibrated):
    """Deeper than protobuf itself reads: bytes, made by hand."""

    def field(number, body):
        size, length = len(body), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + body

    body = b"\x18\x01"  # i: 1
    for _ in range(20000):  # AttrValue.func.attr["x"]
        body = field(10, field(2, field(1, b"x") + field(2, body)))
    node = field(1, b"bomb") + field(2, b"NoOp") + field(5, field(1, b"x") + field(2, body))
    Path("bomb.pb").write_bytes(good_pb() + field(1, node))
    refused(amct.GraphError, ["bomb.pb", "bomb", "deep"], save, "bomb.pb")


@pytest.mark.parametrize(
    "outputs, words",
    [(["nowhere"], ["nowhere", "model.pb"]), (["softmax:0"], ["softmax:0"]), (["softmax", "nowhere"], ["nowhere"])],
)
def test_outputs_that_are_not_there(calibrated, outputs, words):
    refused((amct.AmctError, ValueError), words, save, outputs=outputs)


# Records


def with_value(field, value):
    return lambda text: re.sub(r"{}: \S+".format(field), "{}: {}".format(field, value), text, count=1)


BROKEN_RECORDS = [
    (lambda text: "", ["broken.txt", "no factors"]),
    (with_value("scale_d", "nan"), ["broken.txt", "stem/Conv2D", "scale_d", "nan"]),
    (with_value("scale_d", "inf"), ["broken.txt", "stem/Conv2D", "scale_d", "inf"]),
    (with_value("scale_d", "0"), ["broken.txt", "stem/Conv2D", "scale_d", "0"]),
    (with_value("scale_d", "-0.5"), ["broken.txt", "stem/Conv2D", "scale_d", "-0.5"]),
    (with_value("scale_w", "nan"), ["broken.txt", "stem/Conv2D", "scale_w[0]", "nan"]),
    (with_value("scale_w", "0"), ["broken.txt", "stem/Conv2D", "scale_w[0]", "0"]),
    (with_value("scale_w", "-1"), ["broken.txt", "stem/Conv2D", "scale_w[0]", "-1"]),
    (with_value("scale_w", "1e-6"), ["broken.txt", "stem/Conv2D", "scale_w", "1e-06", "stem/bn"]),
    (with_value("scale_w", "x"), ["broken.txt", ":6", "scale_w"]),
    (with_value("offset_d", "200"), ["broken.txt", "stem/Conv2D", "offset_d", "200"]),
    (with_value("offset_w", "3"), ["broken.txt", "stem/Conv2D", "offset_w[0]", "3"]),
    (with_value("scale_d", "0.1 scale_w: 1"), ["broken.txt", "stem/Conv2D", "9", "8"]),
    (lambda text: text.replace("stem/Conv2D", "other/Conv2D"), ["broken.txt", "other/Conv2D"]),
    (lambda text: text.replace("scale_d", "scale_q", 1), ["broken.txt", "scale_q"]),
    (lambda text: text + text, ["broken.txt", "stem/Conv2D", "second record"]),
    (lambda text: text[: len(text) // 2], ["broken.txt"]),
]


@pytest.mark.parametrize("number", range(len(BROKEN_RECORDS)))
def test_records_that_are_wrong(calibrated, number):
    change, words = BROKEN_RECORDS[number]
    good = Path("record.txt").read_text()
    assert change(good) != good
    Path("broken.txt").write_text(change(good))
    refused(amct.AmctError, words, save, record="broken.txt")


def test_the_record_of_another_model(calibrated):
    """Weights ten times as large: the scales cannot be of them."""

    def grow(_, nodes):
        tensor = nodes["head/w"].attr["value"].tensor
        value = 10 * tf.make_ndarray(tensor)
        tensor.CopyFrom(tf.make_tensor_proto(value))

    text = refused(amct.RecordError, ["record.txt", "head/MatMul", "do not belong"], save, changed(grow))
    assert len(re.findall(r"\d\.\d+", text)) >= 2  # both values


def test_a_record_that_lacks_a_layer_leaves_it_float(calibrated):
    text = Path("record.txt").read_text()
    start = text.index("record {", text.index("block/depthwise") - 20)
    Path("record.txt").write_text(text[:start] + text[text.index("record {", start + 1) :])
    core = amct._core
    levels = core.LEVELS.index("error"), core.LEVELS.index("warning")
    core.configure_log(levels[0], levels[1], os.path.abspath("own.log"))
    try:
        save()
    finally:
        amct.set_logging_level()
    types = models.op_types(models.load("m_quantized.pb"))
    assert sum(op == "AscendDequant" for op in types.values()) == 3
    log = Path("own.log").read_text()
    assert 'WARNING - [AMCT]:[save_model]: 1 layers have no factors in record.txt and stay float: "block/depthwise"' in log


# Calibration


def observed(batch_num=1):
    """A graph that observes."""
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph, batch_num=batch_num)
    amct.quantize_model(graph, "config.json", "record.txt")
    return graph


def test_save_before_all_batches():
    graph = observed(batch_num=3)
    models.float_pb()
    models.run(graph, [models.images(8)] * 2)
    refused(amct.NotReadyError, ["record.txt", "batch_num"], save)
    models.run(graph, [models.images(8)])
    save()


@pytest.mark.parametrize("value, word", [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_activations_that_are_no_numbers(value, word):
    graph = observed(batch_num=2)
    models.run(graph, [models.images(8)])
    bad = models.images(8)
    bad[3, 2, 1, 0] = value
    with pytest.raises(tf.errors.OpError) as caught:
        models.run(graph, [bad])
    assert "stem/Conv2D" in str(caught.value) and "batch 2" in str(caught.value) and word in str(caught.value)
    models.run(graph, [models.images(8)])  # the bad batch did not count
    assert list(models.read_record("record.txt")) == models.LAYERS


def test_an_empty_batch_does_not_count():
    graph = observed()
    models.run(graph, [models.images(8)[:0]])
    assert os.path.getsize("record.txt") == 0
    models.run(graph, [models.images(8)])
    assert list(models.read_record("record.txt")) == models.LAYERS


def test_a_session_that_had_run_says_so_at_the_end():
    """TensorFlow does not look again at what a session has run: no factors, and an error that says what to do."""
    graph = models.graph_of()
    models.float_pb()
    with v1.Session(graph=graph) as session:
        session.run("softmax:0", {models.INPUT: models.images(8)})
        amct.create_quant_config("config.json", graph)
        amct.quantize_model(graph, "config.json", "record.txt")
        session.run("softmax:0", {models.INPUT: models.images(8)})
    refused(amct.NotReadyError, ["record.txt", "opened after quantize_model"], save)
    models.run(graph, [models.images(8)])
    save()


def test_two_calibrations_on_one_record():
    older, later = observed(), observed()
    with pytest.raises(tf.errors.FailedPreconditionError, match="record.txt"):
        models.run(older, [models.images(8)])
    models.run(later, [models.images(8)])
    assert list(models.read_record("record.txt")) == models.LAYERS


# Configurations


@pytest.mark.parametrize(
    "before, after, words",
    [
        ('"stem/Conv2D"', '"stem/Conv3D"', ["config.json", "stem/Conv3D", "stem/Conv2D"]),
        ('"batch_num":1', '"batch_num":"1"', ["config.json", "batch_num"]),
        ('"batch_num":1', '"batch_num":0', ["config.json", "batch_num", "0"]),
        ('"batch_num":1', '"batch_num":1,"batch_num":2', ["config.json", "batch_num"]),
        ('"batch_num":1', '"batch_nun":1', ["config.json", "batch_nun", "batch_num"]),
        ('"quant_enable":true', '"quant_enable":1', ["config.json", "quant_enable", "block/AvgPool"]),
        ('"max_percentile":0.999999', '"max_percentile":2', ["config.json", "max_percentile", "2"]),
        ('"quant_enable":true', '"quant_enable":false', ["config.json"]),
    ],
)
def test_configurations_that_are_wrong(before, after, words):
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph)
    text = Path("config.json").read_text()
    assert before in text
    count = 99 if after == '"quant_enable":false' else 1
    Path("config.json").write_text(text.replace(before, after, count))
    shape = graph.as_graph_def().SerializeToString(deterministic=True)
    refused(amct.AmctError, words, amct.quantize_model, graph, "config.json", "record.txt")
    assert graph.as_graph_def().SerializeToString(deterministic=True) == shape


# Files


def test_folders_that_cannot_be_written(calibrated):
    Path("file").write_text("in the way")
    refused(OSError, ["file/m_quant"], save, path="file/m")
    refused(OSError, ["file/config.json"], amct.create_quant_config, "file/config.json", models.graph_of())
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph)
    refused(OSError, ["file/record.txt"], amct.quantize_model, graph, "config.json", "file/record.txt")
    os.mkdir("m2_quantized.pb")
    refused(OSError, ["m2_quantized.pb"], save, path="m2")


def test_a_disk_that_is_full(calibrated):
    """A limit on the size of files stands in for it: writing fails half way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        refused(OSError, ["m_quant"], save)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    save()


# Threads and processes


def test_two_sessions_calibrate_two_graphs():
    """Each in a thread of its own, several runs at once: the records are those of one after the other."""

    def build(folder):
        os.makedirs(folder, exist_ok=True)
        graph = models.graph_of()
        amct.create_quant_config(folder + "/config.json", graph, batch_num=6)
        amct.quantize_model(graph, folder + "/config.json", folder + "/record.txt")
        return graph

    batches = [models.images(16, seed) for seed in range(6)]
    models.run(build("alone"), batches)
    graphs = [build("a"), build("b")]
    sessions = [models.plain_session(graph) for graph in graphs for _ in range(1)]
    failures = []

    def work(session, batch):
        try:
            session.run("softmax:0", {models.INPUT: batch})
        except Exception as error:  # shown by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(s, b)) for b in batches for s in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for session in sessions:
        session.close()
    assert not failures
    wanted = models.read_record("alone/record.txt")
    for folder in "ab":
        found = models.read_record(folder + "/record.txt")
        assert sorted(found) == sorted(wanted)
        for layer in wanted:
            np.testing.assert_allclose(found[layer]["scale_d"], wanted[layer]["scale_d"], rtol=1e-6)
    assert Path("a/record.txt").read_bytes() == Path("b/record.txt").read_bytes()


FORK = """
    import os, sys
    import amct_tensorflow as amct
    import models
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph, batch_num=2)
    amct.quantize_model(graph, "config.json", "record.txt")
    child = os.fork()
    if child == 0:
        amct._core.flush_calibration()
        os._exit(0 if os.path.getsize("record.txt") == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    models.run(graph, [models.images(8), models.images(8)])
    child = os.fork()
    if child == 0:
        os.remove("record.txt")
        amct._core.flush_calibration()
        os._exit(1 if os.path.exists("record.txt") else 0)
    assert os.waitpid(child, 0)[1] == 0
    print("done")
"""


def test_a_fork_after_calibration_started():
    """A child starts empty and writes nothing; the parent goes on."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([os.path.dirname(models.__file__)] + sys.path)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORK)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=120,
    )
    assert done.returncode == 0 and "done" in done.stdout, done.stderr


def test_a_constant_that_reads_something(tmp_path):
    graph_def = v1.GraphDef()
    graph_def.node.add(name="x", op="Placeholder").attr["dtype"].type = 1
    node = graph_def.node.add(name="c", op="Const", input=["x"])
    node.attr["dtype"].type = 1
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(1.0))
    with open("bad.pb", "wb") as file:
        file.write(graph_def.SerializeToString())
    with pytest.raises(amct.GraphError, match="c: a Const reads x, it takes no data inputs"):
        amct.inspect("bad.pb")
