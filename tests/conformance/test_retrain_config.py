# SPDX-License-Identifier: Apache-2.0
"""create_quant_retrain_config: what it writes for a graph, and what it refuses."""

import json
from pathlib import Path

import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models


def written(**arguments):
    amct.create_quant_retrain_config("deep/retrain.json", models.graph_of(), **arguments)
    return json.loads(Path("deep/retrain.json").read_text())


def test_every_layer_is_retrained_by_default():
    config = written()
    assert config.pop("version") == 1
    assert config.pop("batch_num") == 1
    assert sorted(config) == sorted(models.LAYERS)
    for name, layer in config.items():
        assert layer["retrain_enable"] is True
        assert layer["retrain_data_config"] == {"algo": "ulq_quantize", "dst_type": "INT8"}
        by_channel = name in ("stem/Conv2D", "block/depthwise")
        weights = {"algo": "arq_retrain", "channel_wise": by_channel, "dst_type": "INT8"}
        assert layer.get("retrain_weight_config") == (None if "Pool" in name else weights)


def test_a_simplified_configuration_counts():
    Path("r.cfg").write_text(
        "batch_num: 5  # comment\n"
        "retrain_data_quant_config: {\n  ulq_quantize {\n    clip_max_min: {\n"
        "      clip_max: 6.0\n      clip_min: -6.0\n    }\n  }\n}\n"
        'skip_layers: "head/MatMul"\n'
        'override_layer_types: { layer_type: "AvgPool"\n'
        "  retrain_data_quant_config { ulq_quantize { fixed_min: True } } }"
    )
    config = written(config_defination="r.cfg")
    assert config["batch_num"] == 5
    assert config["head/MatMul"]["retrain_enable"] is False
    stem = config["stem/Conv2D"]["retrain_data_config"]
    assert (stem["clip_max"], stem["clip_min"]) == (6.0, -6.0)
    assert config["block/AvgPool"]["retrain_data_config"] == {
        "algo": "ulq_quantize",
        "fixed_min": True,
        "dst_type": "INT8",
    }


def test_wrong_calls_write_nothing():
    graph = models.graph_of()
    with pytest.raises(TypeError, match="config_defination"):
        amct.create_quant_retrain_config("c.json", graph, 3)
    with pytest.raises(TypeError):
        amct.create_quant_retrain_config("c.json", graph, skip_layers=[])
    with pytest.raises(TypeError, match="graph must be"):
        amct.create_quant_retrain_config("c.json", "graph")
    with pytest.raises(amct.FileError):
        amct.create_quant_retrain_config("c.json", graph, "missing.cfg")
    Path("bad.cfg").write_text('skip_layers: "nothing"')
    with pytest.raises(ValueError, match='line 1: skip_layers: "nothing" is not in the graph'):
        amct.create_quant_retrain_config("c.json", graph, "bad.cfg")
    with pytest.raises(ValueError, match="no layer"):
        amct.create_quant_retrain_config("c.json", tf.Graph())
    assert not Path("c.json").exists()
