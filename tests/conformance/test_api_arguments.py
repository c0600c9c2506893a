# SPDX-License-Identifier: Apache-2.0
"""Signatures, argument checks and exceptions of the package."""

import inspect
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from amct_tensorflow import _core

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "function, signature",
    [
        (amct.set_logging_level, "print_level='info', save_level='info'"),
        (
            amct.create_quant_config,
            "config_file, graph, skip_layers=None, batch_num=1, activation_offset=True, "
            "config_defination=None",
        ),
        (amct.quantize_model, "graph, config_file, record_file, calib_outputs=None"),
        (amct.save_model, "pb_model, outputs, record_file, save_path"),
        (amct.convert_model, "pb_model, outputs, record_file, save_path"),
        (amct.create_quant_retrain_config, "config_file, graph, config_defination=None"),
        (amct.create_quant_retrain_model, "graph, config_file, record_file"),
        (amct.save_quant_retrain_model, "pb_model, outputs, record_file, save_path"),
    ],
)
def test_signatures_are_the_originals(function, signature):
    parameters = [
        parameter.replace(annotation=parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind != parameter.KEYWORD_ONLY  # what is ours goes by keyword alone
    ]
    assert ", ".join(map(str, parameters)) == signature


def test_version_is_the_projects():
    text = (ROOT / "CMakeLists.txt").read_text()
    assert amct.__version__ == re.search(r"project\(amct VERSION ([0-9.]+)", text).group(1)


def test_every_function_of_the_headers_is_bound():
    text = "".join(path.read_text() for path in (ROOT / "include" / "amct").glob("*.h"))
    assert set(re.findall(r"^AMCT_API[^;]*?\b(amct_\w+)\(", text, re.M)) == set(_core._PROTOTYPES)


def test_every_status_has_an_exception():
    text = (ROOT / "include" / "amct" / "status.h").read_text()
    statuses = re.findall(r"X\((\w+), (\d+),", text)
    assert len(statuses) > 5
    for name, number in statuses:
        assert _core._lib.amct_status_name(int(number)).decode() == name
        assert name in _core._EXCEPTIONS or name in ("OK", "OUT_OF_MEMORY")


BAD_PATHS = [
    ("", ValueError, "is empty"),
    ("folder/", ValueError, "names a folder"),
    ("f" * 255, ValueError, "254"),
    ("a\0b", ValueError, "NUL"),
    (3, TypeError, "must be a str, not int"),
    (None, TypeError, "must be a str"),
    (b"bytes", TypeError, "must be a str"),
]


@pytest.mark.parametrize("path, error, words", BAD_PATHS)
def test_bad_paths(path, error, words):
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph)
    before = graph.as_graph_def().SerializeToString(deterministic=True)
    with pytest.raises(error, match=words):
        amct.create_quant_config(path, graph)
    with pytest.raises(error, match=words):
        amct.quantize_model(graph, path, "record.txt")
    with pytest.raises(error, match=words):
        amct.quantize_model(graph, "config.json", path)
    with pytest.raises(error, match=words):
        amct.save_model("model.pb", ["softmax"], path, "out/model")
    assert graph.as_graph_def().SerializeToString(deterministic=True) == before
    assert sorted(os.listdir(".")) == ["config.json"]


def test_a_name_of_254_characters_is_fine():
    amct.create_quant_config("c" * 254, models.graph_of())
    assert os.path.getsize("c" * 254) > 0


@pytest.mark.parametrize("graph", [None, "graph", tf, 1])
def test_graph_must_be_a_graph(graph):
    with pytest.raises(TypeError, match="graph must be a tf.Graph"):
        amct.create_quant_config("config.json", graph)
    with pytest.raises(TypeError, match="graph must be a tf.Graph"):
        amct.quantize_model(graph, "config.json", "record.txt")


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ({"batch_num": True}, TypeError, "batch_num must be an int, not bool"),
        ({"batch_num": 1.0}, TypeError, "batch_num must be an int"),
        ({"batch_num": "1"}, TypeError, "batch_num must be an int"),
        ({"batch_num": 0}, ValueError, "batch_num must be greater than 0, not 0"),
        ({"batch_num": -1}, ValueError, "batch_num"),
        ({"batch_num": 2**63}, ValueError, "batch_num"),
        ({"activation_offset": 1}, TypeError, "activation_offset must be a bool"),
        ({"activation_offset": None}, TypeError, "activation_offset must be a bool"),
        ({"skip_layers": "head/MatMul"}, TypeError, "skip_layers must be a list of str"),
        ({"skip_layers": [1]}, TypeError, r"skip_layers\[0\] must be a str"),
        ({"skip_layers": [""]}, ValueError, r"skip_layers\[0\] is empty"),
        ({"skip_layers": ["nowhere"]}, ValueError, "nowhere"),
        ({"skip_layers": ["head/MatMul"] * 2}, ValueError, "head/MatMul"),
        ({"skip_layers": models.LAYERS}, ValueError, "layer"),
        ({"config_defination": 3}, TypeError, "config_defination"),
        ({"config_defination": ""}, ValueError, "config_defination is empty"),
        ({"config_defination": "nowhere.cfg"}, OSError, "nowhere.cfg"),
        ({"config_definition": "quant.cfg"}, TypeError, "config_definition"),
    ],
)
def test_bad_arguments_of_create_quant_config(arguments, error, words):
    with pytest.raises(error, match=words):
        amct.create_quant_config("config.json", models.graph_of(), **arguments)
    assert os.listdir(".") == []


def test_arguments_reach_the_configuration():
    amct.create_quant_config(
        "config.json", models.graph_of(), ["head/MatMul"], np.int64(7), activation_offset=False
    )
    config = json.loads(Path("config.json").read_text())
    assert config["batch_num"] == 7
    assert config["activation_offset"] is False
    enabled = {name: config[name]["quant_enable"] for name in models.LAYERS if name in config}
    assert enabled.pop("head/MatMul", False) is False
    assert enabled == {name: True for name in models.LAYERS if name != "head/MatMul"}


@pytest.mark.parametrize(
    "outputs, error, words",
    [
        ("softmax", TypeError, "outputs must be a list of str"),
        ([], ValueError, "outputs is empty"),
        ([None], TypeError, r"outputs\[0\] must be a str"),
        (["softmax:0"], ValueError, "'softmax' instead of 'softmax:0'"),
        (["nowhere"], ValueError, "nowhere"),
    ],
)
def test_bad_outputs_of_save_model(outputs, error, words):
    models.float_pb()
    Path("record.txt").write_text("")
    with pytest.raises(error, match=words):
        amct.save_model("model.pb", outputs, "record.txt", "out/model")
    assert not os.path.exists("out")


@pytest.mark.parametrize("name", ["print_level", "save_level"])
@pytest.mark.parametrize("value, error", [("loud", ValueError), ("", ValueError), (1, TypeError)])
def test_bad_levels(name, value, error):
    with pytest.raises(error, match=name):
        amct.set_logging_level(**{name: value})


def test_bad_levels_list_the_good_ones():
    with pytest.raises(ValueError, match="debug, info, warning, error"):
        amct.set_logging_level("loud")


def test_levels_in_any_case():
    for level in ("debug", "INFO", "Warning", "eRRor"):
        amct.set_logging_level(level, level)
    amct.set_logging_level()


def quantize(graph, config=None, record="record.txt", **arguments):
    """Writes a configuration (changed by `config`) and calls quantize_model."""
    amct.create_quant_config("config.json", graph)
    if config:
        values = json.loads(Path("config.json").read_text())
        config(values)
        Path("config.json").write_text(json.dumps(values))
    return amct.quantize_model(graph, "config.json", record, **arguments)


def disable_all(config):
    for name in models.LAYERS:
        config[name]["quant_enable"] = False


@pytest.mark.parametrize(
    "change, error, words",
    [
        (disable_all, RuntimeError, "[Nn]o quant enable layer"),
        (lambda c: c.update({"nowhere": {"quant_enable": True}}), ValueError, "nowhere"),
        (lambda c: c.update({"batch_num": "x"}), ValueError, "batch_num"),
        (lambda c: c.update({"version": 2}), ValueError, "version"),
        (lambda c: c["head/MatMul"].update({"loudness": 1}), ValueError, "head/MatMul.*loudness"),
    ],
)
def test_configurations_that_do_not_fit(change, error, words):
    graph = models.graph_of()
    before = graph.as_graph_def().SerializeToString(deterministic=True)
    with pytest.raises(error, match=words) as caught:
        quantize(graph, change)
    assert isinstance(caught.value, amct.ConfigError)
    assert graph.as_graph_def().SerializeToString(deterministic=True) == before
    assert not os.path.exists("record.txt")


def test_a_configuration_that_is_no_json():
    Path("config.json").write_text("{nonsense")
    with pytest.raises(amct.FormatError, match="config.json"):
        amct.quantize_model(models.graph_of(), "config.json", "record.txt")


def test_files_that_are_not_there():
    with pytest.raises(OSError, match="nowhere.json"):
        amct.quantize_model(models.graph_of(), "nowhere.json", "record.txt")
    Path("record.txt").write_text("")
    with pytest.raises(OSError, match="nowhere.pb"):
        amct.save_model("nowhere.pb", ["softmax"], "record.txt", "model")
    models.float_pb()
    with pytest.raises(OSError, match="nowhere.txt"):
        amct.save_model("model.pb", ["softmax"], "nowhere.txt", "model")


def test_a_record_that_cannot_be_read():
    models.float_pb()
    Path("record.txt").write_text("record { key: 3 }")
    with pytest.raises(RuntimeError, match="record.txt") as caught:
        amct.save_model("model.pb", ["softmax"], "record.txt", "model")
    assert isinstance(caught.value, (amct.RecordError, amct.FormatError))


def test_save_model_before_calibration():
    models.float_pb()
    quantize(models.graph_of())
    assert os.path.getsize("record.txt") == 0
    with pytest.raises(amct.NotReadyError, match="record.txt"):
        amct.save_model("model.pb", ["softmax"], "record.txt", "model")


def test_a_finalized_graph():
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph)
    graph.finalize()
    with pytest.raises(amct.GraphError, match="finalized"):
        amct.quantize_model(graph, "config.json", "record.txt")
    assert not os.path.exists("record.txt")


def test_twice_on_one_graph():
    graph = models.graph_of()
    quantize(graph)
    with pytest.raises(amct.UnsupportedError, match="already"):
        amct.quantize_model(graph, "config.json", "record.txt")
    with pytest.raises(amct.UnsupportedError, match="already"):
        amct.create_quant_config("config.json", graph)


@pytest.mark.parametrize("kind", ["name", "tensor name", "op", "tensor"])
def test_calib_outputs_stay_as_given(kind):
    graph = models.graph_of()
    op = graph.get_operation_by_name(models.OUTPUT)
    given = {"name": op.name, "tensor name": op.name + ":0", "op": op, "tensor": op.outputs[0]}
    outputs = [given[kind]]
    assert quantize(graph, calib_outputs=outputs) == []
    assert len(outputs) == 1 and outputs[0] is given[kind]


@pytest.mark.parametrize(
    "outputs, error", [("softmax", TypeError), ([3], TypeError), (["nowhere"], ValueError)]
)
def test_bad_calib_outputs(outputs, error):
    with pytest.raises(error, match="calib_outputs"):
        quantize(models.graph_of(), calib_outputs=outputs)
