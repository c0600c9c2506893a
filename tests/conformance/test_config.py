# SPDX-License-Identifier: Apache-2.0
"""Configurations: simplified ones against protobuf's own parser, patterns and types through the flow."""

import fnmatch
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

import amct_tensorflow as amct
import models

v1 = tf.compat.v1
CFG = Path(__file__).resolve().parents[1] / "data" / "cfg"
FILES = sorted(path.name for path in CFG.glob("*.cfg"))
BY_CHANNEL = ("Conv2D", "DepthwiseConv2dNative")
IFMR = {
    "search_range_start": 0.7,
    "search_range_end": 1.3,
    "search_step": 0.01,
    "max_percentile": 0.999999,
    "min_percentile": 0.999999,
}

# message: {field: (type, repeated)}
SCHEMA = {
    "AMCTConfig": {
        "batch_num": ("uint32", False),
        "activation_offset": ("bool", False),
        "joint_quant": ("bool", False),
        "skip_layers": ("string", True),
        "skip_layer_types": ("string", True),
        "common_config": ("CalibrationConfig", False),
        "override_layer_types": ("OverrideLayerType", True),
        "override_layer_configs": ("OverrideLayer", True),
        "do_fusion": ("bool", False),
        "skip_fusion_layers": ("string", True),
        "conv_calibration_config": ("CalibrationConfig", False),
        "fc_calibration_config": ("CalibrationConfig", False),
    },
    "OverrideLayerType": {
        "layer_type": ("string", False),
        "calibration_config": ("CalibrationConfig", False),
    },
    "OverrideLayer": {
        "layer_name": ("string", False),
        "calibration_config": ("CalibrationConfig", False),
    },
    "CalibrationConfig": {
        "arq_quantize": ("ARQuantize", False),
        "ifmr_quantize": ("FMRQuantize", False),
    },
    "ARQuantize": {"channel_wise": ("bool", False)},
    "FMRQuantize": dict({name: ("float", False) for name in IFMR}, asymmetric=("bool", False)),
}


def config_class():
    """The message AMCTConfig, of protobuf's own making."""
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="cfg.proto", package="cfg", syntax="proto2")
    for message, fields in SCHEMA.items():
        description = file.message_type.add(name=message)
        for number, (name, (kind, repeated)) in enumerate(fields.items(), 1):
            field = description.field.add(name=name, number=number)
            field.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind in SCHEMA:
                field.type = field_type.TYPE_MESSAGE
                field.type_name = ".cfg." + kind
            else:
                field.type = getattr(field_type, "TYPE_" + kind.upper())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName("cfg.AMCTConfig")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


CONFIG = config_class()


def network():
    """The layers that tests/data/cfg names, in the default graph. Returns {name: op type}, sorted."""
    p = models.Parameters()
    x = v1.placeholder(tf.float32, (None, 4, 4, 3), name="x")
    one = [1, 1, 1, 1]
    x = tf.nn.conv2d(
        x, p.weights("w1", 3, 3, 3, 4), strides=one, padding="SAME", name="net/conv1/Conv2D"
    )
    x = models.normalize(x, p.batch_norm("bn1", 4), "net/conv1/bn")
    x = tf.nn.depthwise_conv2d(
        x, p.weights("w2", 3, 3, 4, 1), strides=one, padding="SAME", name="net/conv1/depthwise"
    )
    x = models.normalize(x, p.batch_norm("bn2", 4), "net/conv1/bn2")
    x = tf.nn.conv2d(
        x, p.weights("w3", 1, 1, 4, 6), strides=one, padding="SAME", name="net/free/Conv2D"
    )
    x = tf.nn.avg_pool2d(x, 4, 4, "VALID", name="net/pool/AvgPool")
    x = tf.nn.conv2d(
        x, p.weights("w4", 1, 1, 6, 5), strides=one, padding="VALID", name="net/logits/Conv2D"
    )
    x = tf.reshape(x, [-1, 5])
    tf.nn.softmax(tf.matmul(x, p.weights("w5", 5, 2), name="Fc"), name="softmax")
    return {
        "Fc": "MatMul",
        "net/conv1/Conv2D": "Conv2D",
        "net/conv1/depthwise": "DepthwiseConv2dNative",
        "net/free/Conv2D": "Conv2D",
        "net/logits/Conv2D": "Conv2D",
        "net/pool/AvgPool": "AvgPool",
    }  # fmt: skip


def written(text_or_path, graph=None):
    """What create_quant_config makes of a simplified configuration, as text."""
    path = text_or_path
    if not isinstance(path, Path):
        path = Path("given.cfg")
        path.write_text(text_or_path)
    amct.create_quant_config(
        "config.json", graph or models.graph_of(network), config_defination=str(path)
    )
    return Path("config.json").read_text()


def matches(name, pattern):
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def calibration_of(cfg, name, kind):
    """The message that counts for a layer; None: defaults."""
    chosen = cfg.common_config if cfg.HasField("common_config") else None
    if chosen is None and not cfg.override_layer_types:
        older = ["fc_calibration_config", "conv_calibration_config"][kind in BY_CHANNEL]
        chosen = getattr(cfg, older) if cfg.HasField(older) else None
    for item in cfg.override_layer_types:
        chosen = item.calibration_config if item.layer_type == kind else chosen
    for item in cfg.override_layer_configs:
        chosen = item.calibration_config if matches(name, item.layer_name) else chosen
    for item in cfg.override_layer_configs:
        chosen = item.calibration_config if name == item.layer_name else chosen
    return chosen


def expected_layer(cfg, name, kind):
    chosen = calibration_of(cfg, name, kind)
    ifmr = getattr(chosen, "ifmr_quantize", None)
    given = {field.name: value for field, value in ifmr.ListFields()} if ifmr else {}
    number = {
        key: float(str(np.float32(given[key]))) if key in given else IFMR[key] for key in IFMR
    }
    activation = {
        "max_percentile": number["max_percentile"],
        "min_percentile": number["min_percentile"],
        "search_range": [number["search_range_start"], number["search_range_end"]],
        "search_step": number["search_step"],
    }
    common = cfg.common_config
    if not cfg.HasField("common_config") and not cfg.override_layer_types:
        common = cfg.conv_calibration_config
    offset = cfg.activation_offset if cfg.HasField("activation_offset") else True
    asymmetric = offset
    if common.ifmr_quantize.HasField("asymmetric"):
        asymmetric = common.ifmr_quantize.asymmetric
    asymmetric = given.get("asymmetric", asymmetric)
    if asymmetric != offset:
        activation["asymmetric"] = asymmetric
    skipped = kind in cfg.skip_layer_types or any(matches(name, p) for p in cfg.skip_layers)
    layer = {"quant_enable": not skipped, "activation_quant_params": activation}
    if kind != "AvgPool":
        wise = kind in BY_CHANNEL and name != "net/logits/Conv2D"
        if chosen is not None and chosen.arq_quantize.HasField("channel_wise"):
            wise = wise and chosen.arq_quantize.channel_wise
        layer["weight_quant_params"] = {"channel_wise": wise}
    return layer


def expected(cfg, layers):
    """The JSON of create_quant_config, from protobuf's reading of the file."""
    unfused = [
        name
        for pattern in cfg.skip_fusion_layers
        for name in ("net/conv1/Conv2D", "net/conv1/depthwise", "net/free/Conv2D")
        if matches(name, pattern)
    ]
    result = {
        "version": 1,
        "batch_num": cfg.batch_num if cfg.HasField("batch_num") else 1,
        "activation_offset": cfg.activation_offset if cfg.HasField("activation_offset") else True,
        "joint_quant": cfg.joint_quant,
        "do_fusion": cfg.do_fusion if cfg.HasField("do_fusion") else True,
        "skip_fusion_layers": unfused,
        "tensor_quantize": [],
    }
    for name, kind in layers.items():
        result[name] = expected_layer(cfg, name, kind)
    return result


def test_there_are_files():
    assert len(FILES) == 4


@pytest.mark.parametrize("name", FILES)
def test_files_mean_what_protobuf_reads(name):
    layers = {}
    text = written(CFG / name, models.graph_of(lambda: layers.update(network())))
    cfg = text_format.Merge((CFG / name).read_text(), CONFIG())
    wanted = expected(cfg, layers)
    assert text == json.dumps(wanted, indent=4, separators=(",", ":"))


NUMBERS = ["0.1234567", "7e-1", "1e-5", "2.5e-6", ".33333333333", "1", "0x1", "0.70000001", "1.1754944e-38", "0.3f"]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_are_the_shortest_of_their_float(number):
    if "0x" in number:
        with pytest.raises(amct.ConfigError, match="search_range_start is 0x1"):
            written("common_config { ifmr_quantize { search_range_start: 0x1 } }")
        return
    text = (
        "common_config {{ ifmr_quantize {{ search_range_start: {} search_step: 0.05 }} }}".format(
            number
        )
    )
    value = text_format.Merge(text, CONFIG()).common_config.ifmr_quantize.search_range_start
    config = json.loads(written(text))
    start = config["Fc"]["activation_quant_params"]["search_range"][0]
    assert start == float(str(np.float32(value)))
    assert repr(start) in Path("config.json").read_text()


def test_an_empty_file_is_the_default():
    text = written("")
    amct.create_quant_config("default.json", models.graph_of(network))
    assert text == Path("default.json").read_text()


def test_other_arguments_are_ignored():
    Path("given.cfg").write_text("batch_num: 3")
    graph = models.graph_of(network)
    amct.create_quant_config("a.json", graph, ["nowhere"], 7, False, "given.cfg")
    amct.create_quant_config("b.json", graph, config_defination="given.cfg")
    assert Path("a.json").read_text() == Path("b.json").read_text()
    assert json.loads(Path("a.json").read_text())["batch_num"] == 3


@pytest.mark.parametrize(
    "text, error, words",
    [
        ("batch_num", amct.FormatError, "given.cfg: line 1"),
        ("\n\nbatch_nun: 1", amct.ConfigError, 'given.cfg: line 3: batch_nun .*"batch_num"'),
        ('skip_layers: "net/conv2/*"', ValueError, '"net/conv1/Conv2D"'),
        ('skip_layer_types: "Conv2d"', ValueError, '"Conv2D"'),
        ("common_config { hfmg_quantize { num_of_bins: 100 } }", ValueError, "num_of_bins is 100"),
        ('tensor_quantize { layer_name: "Fc" input_index: 0 }', ValueError, "MaxPool"),
    ],
)
def test_wrong_files_leave_nothing(text, error, words):
    with pytest.raises(error, match=words):
        written(text)
    assert not Path("config.json").exists()


def calibrate(config, batches=1):
    """The flow with a JSON configuration. Returns the record's layers and its text."""
    Path("config.json").write_text(json.dumps(config))
    graph = models.graph_of(network)
    amct.quantize_model(graph, "config.json", "record.txt")
    with v1.Session(graph=graph) as session:
        for i in range(batches):
            data = np.random.RandomState(i).uniform(-1, 1, (2, 4, 4, 3)).astype(np.float32)
            session.run("softmax:0", {"x:0": data})
    models.write_pb(models.graph_of(network).as_graph_def(), "model.pb")
    amct.save_model("model.pb", ["softmax"], "record.txt", "out/model")
    return models.read_record("record.txt"), Path("record.txt").read_text()


def test_a_star_is_every_layer():
    default = json.loads(written(""))
    assert calibrate({"*": {}}) == calibrate(default)


def test_patterns_and_types_choose_layers():
    layers, _ = calibrate(
        {
            "net/*": {"activation_quant_params": {"asymmetric": False}},
            "net/pool/*": {"quant_enable": False},
            "type:MatMul": {},
            "*thwise": {},
            "net/conv1/depth*": {"activation_quant_params": {"asymmetric": False}},
            "net/free/Conv2D": {"weight_quant_params": {"channel_wise": False}},
        }
    )
    names = [
        "net/conv1/Conv2D",
        "net/conv1/depthwise",
        "net/free/Conv2D",
        "net/logits/Conv2D",
        "Fc",
    ]
    assert list(layers) == names
    assert [len(layers[name]["scale_w"]) for name in names] == [4, 4, 1, 1, 1]
    assert layers["net/conv1/depthwise"]["offset_d"] == [0]
    assert layers["net/free/Conv2D"]["offset_d"] != [0]
    assert layers["Fc"]["offset_d"] != [0]


@pytest.mark.parametrize(
    "spelled", [["net/conv1/*"], ["type:DepthwiseConv2dNative", "net/conv1/Conv2D"]]
)
def test_fusion_is_skipped_by_pattern(spelled):
    _, text = calibrate({"*": {}, "skip_fusion_layers": spelled})
    skipped = re.findall(r'key: "([^"]*)"(?:(?!key:)[\s\S])*?skip_fusion: true', text)
    assert skipped == ["net/conv1/Conv2D", "net/conv1/depthwise"]


def reached(start, forward):
    """Operations that data reaches from one, or comes from to it."""
    found, todo = {start}, [start]
    for op in todo:
        if forward:
            near = [reader for output in op.outputs for reader in output.consumers()]
        else:
            near = [tensor.op for tensor in op.inputs]
        todo += [other for other in near if other not in found and not found.add(other)]
    return {op.name for op in found}


def test_regions_are_what_tensorflow_says_lies_between():
    layers = {}
    graph = models.graph_of(lambda: layers.update(network()))
    random = np.random.RandomState(3)
    ends = [op for op in graph.get_operations() if op.type not in ("Const", "Identity")]
    taken = apart = 0
    for _ in range(150):
        first, second = random.choice(len(ends), 2)
        text = "from:{} to:{}".format(ends[first].name, ends[second].name)
        between = reached(ends[first], True) & reached(ends[second], False) & set(layers)
        try:
            amct.create_quant_config("config.json", graph, [text])
        except amct.ConfigError as error:
            assert not between or between == set(layers), str(error)
            apart += "no data goes from" in str(error)
            continue
        config = json.loads(Path("config.json").read_text())
        assert {name for name in layers if not config[name]["quant_enable"]} == between, text
        taken += 1
    assert taken > 30 and apart > 30


def test_regions_choose_layers_in_both_files():
    region = "from:net/conv1/depthwise to:net/pool/AvgPool"
    layers, text = calibrate(
        {
            "from:x to:softmax": {},
            region: {"activation_quant_params": {"asymmetric": False}},
            "net/free/Conv2D": {},
            "skip_fusion_layers": ["from:x to:net/conv1/depthwise"],
        }
    )
    symmetric = [name for name in layers if layers[name]["offset_d"] == [0]]
    assert "net/conv1/depthwise" in symmetric and "net/pool/AvgPool" in symmetric
    assert "net/free/Conv2D" not in symmetric and "Fc" not in symmetric
    assert text.count("skip_fusion: true") == 2
    config = json.loads(
        written(
            'skip_layers: "{0}" skip_fusion_layers: "from:x to:net/conv1/depthwise" '
            'override_layer_configs {{ layer_name: "from:net/pool/AvgPool to:Fc" '
            "calibration_config {{ min_max_quantize {{}} }} }}".format(region)
        )
    )
    assert config["skip_fusion_layers"] == ["net/conv1/Conv2D", "net/conv1/depthwise"]
    off = [name for name in layers if not config[name]["quant_enable"]]
    assert off == ["net/conv1/depthwise", "net/free/Conv2D", "net/pool/AvgPool"]
    plain = [n for n in layers if "act_algo" in config[n]["activation_quant_params"]]
    assert plain == ["net/pool/AvgPool", "net/logits/Conv2D", "Fc"]


def test_skip_layers_takes_patterns():
    graph = models.graph_of(network)
    amct.create_quant_config("config.json", graph, ["*/Conv2D", "type:AvgPool", "Fc"])
    config = json.loads(Path("config.json").read_text())
    enabled = [name for name in config if "/" in name and config[name]["quant_enable"]]
    assert enabled == ["net/conv1/depthwise"]
