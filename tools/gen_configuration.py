#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""doc/configuration.md, made from the tables that the configurations are read by.

gen_configuration.py          writes it
gen_configuration.py --check  checks that it is up to date
"""

import json
import re
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional

import tree

PAGE = Path("doc/configuration.md")
HEAD = """# Configuration: every key

Made by `tools/gen_configuration.py` from `src/recipe/recipe_keys.def`, `cfg_fields.def`, `retrain_keys.def` and `retrain_fields.def`, by which the files are read; change
those. How the files are used, and how several layers are named at once: [the guide](guide.md#the-configuration). What the algorithms do: [algorithms.md](algorithms.md).

Two files say the same: a JSON, which the tool writes, a person edits and the tool reads, and a simplified configuration (`.cfg`, protobuf text), from which the JSON is made.
Each key has its counterpart beside it: an example of both, which ask for the same. An example stands at the top of its file, among others.
Wherever a layer is named, a pattern (`"net/block?/*"`, `"*"`), a type (`"type:MatMul"`) or a region (`"from:net/a to:net/b"`) may stand.
"""
CALIBRATION = """## Calibration: the JSON

Globals, then one object for each layer. Layers that are not in the file are not quantized. Missing keys have their default.
"""
CALIBRATION_CFG = """## Calibration: the simplified configuration

Where a field is left out it has the default of its key. Of two messages for one layer the one in `override_layer_configs` counts, then `override_layer_types`, then `common_config`;
it takes the place of the others whole. A field that may stand once and stands twice has its later value, with a warning.
"""
RETRAIN = """## Retraining: the JSON

Globals, then one object for each layer. Layers that are not in the file are not retrained.
"""
RETRAIN_CFG = """## Retraining: the simplified configuration

An override holds the messages for data and weights themselves; one that it leaves out is that of all layers.
"""
REFUSED = """## Known, and refused

Keys of later versions of the original: a file that has one is refused with the reason, and not read as if it had none.
"""

# Values of keys whose table row does not imply one.
VALUES = {
    "max_percentile": "0.9999",
    "min_percentile": "0.9999",
    "search_step": "0.02",
    "search_range": "[0.8,1.2]",
    "search_range_start": "0.8",
    "search_range_end": "1.2",
    "clip_max": "6.0",
    "clip_min": "-1.0",
    "damping": "0.05",
    "act_algo": '"hfmg"',
    "wts_algo": '"gptq_quantize"',
    "preset": '"accurate"',
    "skip_fusion_layers": '["net/conv1/Conv2D"]',
    "tensor_quantize": '[{"layer_name":"net/pool/MaxPool","input_index":0}]',
    "layer_name": '"net/conv1/Conv2D"',
    "layer_type": '"MatMul"',
    "skip_layers": '"Fc"',
    "quant_skip_layers": '"Fc"',
    "skip_layer_types": '"MatMul"',
    "quant_skip_types": '"MatMul"',
    "skip_approximation_layers": '"Fc"',
}
# What a message needs beside a field.
BESIDE = {
    "CLIPS.clip_max": "clip_min: -1.0",
    "CLIPS.clip_min": "clip_max: 6.0",
    "TYPE.layer_type": "calibration_config { min_max_quantize { } }",
    "TYPE.calibration_config": 'layer_type: "MatMul"',
    "LAYER.layer_name": "calibration_config { min_max_quantize { } }",
    "LAYER.calibration_config": 'layer_name: "net/conv1/Conv2D"',
    "RETRAIN_LAYER.": 'layer_name: "net/conv1/Conv2D"',
    "RETRAIN_TYPE.": 'layer_type: "MatMul"',
    "TENSOR.layer_name": "input_index: 0",
    "TENSOR.input_index": 'layer_name: "net/pool/MaxPool"',
    "TENSOR.": 'layer_name: "net/pool/MaxPool" input_index: 0',
}
BODIES = {
    "FILE.override_layer_types": '{ layer_type: "MatMul" calibration_config { min_max_quantize { } } }',
    "FILE.override_layer_configs": '{ layer_name: "net/conv1/*" calibration_config { min_max_quantize { } } }',
    "FILE.tensor_quantize": '{ layer_name: "net/pool/MaxPool" input_index: 0 }',
    "RETRAIN.override_layer_types": '{ layer_type: "MatMul" retrain_data_quant_config { } }',
    "RETRAIN.override_layer_configs": '{ layer_name: "net/conv1/*" retrain_data_quant_config { } }',
    "ULQ.clip_max_min": "{ clip_max: 6.0 clip_min: -1.0 }",
}
# Counterparts that are not of the same place.
CFG = {
    "LAYER.quant_enable": 'skip_layers: "Fc"',
    "RETRAIN_LAYER.retrain_enable": 'skip_layers: "Fc"',
    "ACTIVATION.num_bits": "common_config { ifmr_quantize { dst_type: INT8 } }",
    "WEIGHT.num_bits": "common_config { arq_quantize { quant_bits: 8 } }",
    "LAYER.activation_quant_params": "common_config { ifmr_quantize { } }",
    "LAYER.weight_quant_params": "common_config { arq_quantize { } }",
    "GLOBAL.tensor_quantize": 'tensor_quantize { layer_name: "net/pool/MaxPool" input_index: 0 }',
    "TENSOR.layer_name": 'tensor_quantize { layer_name: "net/pool/MaxPool" input_index: 0 }',
    "TENSOR.input_index": 'tensor_quantize { layer_name: "net/pool/MaxPool" input_index: 0 }',
    "TENSOR.activation_quant_params": 'tensor_quantize { layer_name: "net/pool/MaxPool" input_index: 0 hfmg_quantize { } }',
    "RETRAIN_LAYER.retrain_data_config": "retrain_data_quant_config { ulq_quantize { } }",
    "RETRAIN_LAYER.retrain_weight_config": "retrain_weight_quant_config { arq_retrain { } }",
    "RETRAIN_DATA.algo": "retrain_data_quant_config { ulq_quantize { } }",
    "RETRAIN_DATA.dst_type": "retrain_data_quant_config { ulq_quantize { dst_type: INT8 } }",
    "RETRAIN_WEIGHT.algo": "retrain_weight_quant_config { arq_retrain { } }",
    "RETRAIN_WEIGHT.dst_type": "retrain_weight_quant_config { arq_retrain { dst_type: INT8 } }",
}
FROM_ELSEWHERE = {
    "asymmetric": "activation_offset",
    "channel_wise": "by layer",
    "clip_max": "from data",
    "clip_min": "from data",
}


class Key(NamedTuple):
    object: str
    name: str
    kind: str
    place: str
    fallback: str
    written: str
    low: str
    high: str
    allowed: str
    meaning: str


class Field(NamedTuple):
    message: str
    name: str
    label: str
    kind: str
    place: str
    low: str
    high: str
    allowed: str
    meaning: str


def rows(path: str, macro: str) -> Iterator[List[str]]:
    """Arguments of the rows of a table; strings without their quotes."""
    text = re.sub(r"/\*.*?\*/", "", tree.read(Path(path)), flags=re.DOTALL)
    argument = re.compile(r'\s*("(?:\\.|[^"\\])*"|[^,()]*(?:\([^)]*\))?[^,()]*)\s*(?:,|$)')
    for line in re.findall(r"^{}\((.*)\)$".format(macro), text, re.M):
        cells = [cell.strip() for cell in argument.findall(line)][: line.count(",") + 1]
        yield [json.loads(cell) if cell.startswith('"') else cell for cell in cells if cell]


def algorithms() -> Dict[str, str]:
    """First algorithm that takes a setting."""
    found: Dict[str, str] = {}
    for path in sorted((tree.ROOT / "src/numeric").glob("*_algorithms.def")):
        for row in rows(str(path.relative_to(tree.ROOT)), r"(?:WEIGHT_)?ALGORITHM"):
            for setting in row[2].split() if len(row) > 2 else []:
                found.setdefault(setting, row[1])
    return found


KEYS = [
    Key(*row)
    for name in ("recipe", "retrain")
    for row in rows("src/recipe/{}_keys.def".format(name), "KEY")
]
FIELDS = [
    Field(*row)
    for name in ("cfg", "retrain")
    for row in rows("src/recipe/{}_fields.def".format(name), "FIELD")
]
TAKEN_BY = algorithms()


# ---- values


def value_of(key, quoted: bool) -> str:
    """A value that a key takes and that is not its default, where there is one."""
    fallback = getattr(key, "fallback", "NULL")
    if key.kind == "FLAG":
        default = fallback if fallback != "NULL" else default_of(key.place) or "true"
        return "false" if default == "true" else "true"
    if key.kind == "ONLY":
        return fallback if quoted else key.allowed.split("|")[0]
    if key.kind == "COUNT":
        return "0" if key.name == "input_index" else "4"
    if key.kind == "SIZE":
        return key.high
    if key.kind == "OBJECT":
        return "{}"
    if getattr(key, "message", "") == "TENSOR":
        return '"net/pool/MaxPool"'
    if key.name not in VALUES:
        sys.exit("gen_configuration: VALUES says nothing of {}".format(key.name))
    value = VALUES[key.name]
    return value if quoted or key.kind == "TEXT" else re.sub(r'^["\[]*([^"]*)["\]]*$', r"\1", value)


def default_of(place: str) -> Optional[str]:
    for key in KEYS:
        if key.place == place and key.fallback != "NULL":
            return key.fallback
    return None


# ---- examples


def section_of(key: Key) -> str:
    return next((k.name for k in KEYS if k.place == "AMCT_RECIPE_" + key.object), "")


def json_example(key: Key) -> str:
    setting = '"{}":{}'.format(key.name, value_of(key, True))
    owner = TAKEN_BY.get(key.name) if key.object in ("ACTIVATION", "WEIGHT") else None
    if owner not in (None, "ifmr", "arq_quantize"):
        choice = "act_algo" if key.object == "ACTIVATION" else "wts_algo"
        setting = '"{}":"{}",{}'.format(choice, owner, setting)
    if key.name in ("clip_max", "clip_min"):
        setting = '"clip_max":6.0,"clip_min":-1.0'
    if key.object in ("GLOBAL", "RETRAIN"):
        return setting
    if key.object == "TENSOR":
        own = {"layer_name": "net/pool/MaxPool", "input_index": 0}
        if key.kind == "OBJECT":
            own[key.name] = {"act_algo": "hfmg"}
        return '"tensor_quantize":[{}]'.format(json.dumps(own, separators=(",", ":")))
    if key.name.endswith("_enable"):
        return '"Fc":{{{}}}'.format(setting)
    if key.object in ("LAYER", "RETRAIN_LAYER"):
        return '"*":{{{}}}'.format(setting)
    return '"*":{{"{}":{{{}}}}}'.format(section_of(key), setting)


def opener_of(message: str) -> Optional[Field]:
    """The field that opens a message; None for the files."""
    found = [f for f in FIELDS if f.place == "AMCT_CFG_IN_" + message]
    return next((f for f in found if f.message != "TENSOR"), None)


def within(message: str, body: str) -> str:
    """The body inside the messages that lead to one."""
    opener = opener_of(message)
    if opener is None:
        return body
    beside = BESIDE.get(opener.message + "." + opener.name) or BESIDE.get(opener.message + ".", "")
    return within(opener.message, "{} {} {{ {} }}".format(beside, opener.name, body).strip())


def cfg_example(field: Field) -> str:
    if field.kind == "MESSAGE":
        setting = "{} {}".format(field.name, BODIES.get(field.message + "." + field.name, "{ }"))
    else:
        value = value_of(field, field.kind == "TEXT" or field.name == "skip_fusion_layers")
        setting = "{}: {}".format(field.name, value.strip("[]"))
    beside = BESIDE.get(field.message + "." + field.name)
    if beside is None and not field.name.startswith("layer_"):
        beside = BESIDE.get(field.message + ".")
    return within(field.message, " ".join(filter(None, [beside, setting])))


def counterpart(key: Key) -> str:
    """The cfg that asks for the same as the example of a key."""
    known = CFG.get(key.object + "." + key.name)
    if known is not None:
        return known
    if key.name in ("act_algo", "wts_algo"):
        name = json.loads(value_of(key, True))
        return "common_config {{ {}{} {{ }} }}".format(
            name, "" if name.endswith("_quantize") else "_quantize"
        )
    retrain = key.object.startswith("RETRAIN")
    fields = [f for f in FIELDS if (f in FIELDS[first_retrain() :]) == retrain]
    if key.kind == "PAIR":
        ends = [f for f in fields if f.name in (key.name + "_start", key.name + "_end")]
        body = " ".join("{}: {}".format(f.name, VALUES[f.name]) for f in ends)
        return within(ends[0].message, body)
    same = [f for f in fields if f.place == key.place and f.place not in ("NOWHERE", "0")]
    same = same or [f for f in fields if f.name == key.name and f.message in ("FILE", "RETRAIN")]
    return cfg_example(same[0]) if same else ""


def first_retrain() -> int:
    return next(i for i, f in enumerate(FIELDS) if f.message == "RETRAIN")


# ---- tables


def code(text: str) -> str:
    return "`{}`".format(text) if text else ""


def table(head: str, lines: List[str]) -> str:
    columns = head.count("|") - 1
    return "\n".join([head, "|" + " --- |" * columns] + lines) + "\n"


def key_line(key: Key) -> str:
    name = ".".join(filter(None, [section_of(key), key.name]))
    default = code(key.fallback) if key.fallback != "NULL" else FROM_ELSEWHERE.get(key.name, "")
    allowed = "only that" if key.kind == "ONLY" else key.allowed
    owner = TAKEN_BY.get(key.name) if key.object in ("ACTIVATION", "WEIGHT") else None
    meaning = ("{}: {}".format(owners(key.name), key.meaning)) if owner else key.meaning
    cells = [code(name), default, allowed, meaning, code(json_example(key)), code(counterpart(key))]
    return "| {} |".format(" | ".join(cells))


def owners(setting: str) -> str:
    found = []
    for path in sorted((tree.ROOT / "src/numeric").glob("*_algorithms.def")):
        for row in rows(str(path.relative_to(tree.ROOT)), r"(?:WEIGHT_)?ALGORITHM"):
            if len(row) > 2 and setting in row[2].split():
                found.append(row[1])
    return ", ".join(found)


def key_table(objects: List[str]) -> str:
    lines = [key_line(k) for k in KEYS if k.object in objects and k.kind != "REFUSED"]
    return table("| key | default | allowed | meaning | JSON | cfg |", lines)


def opening(message: str) -> str:
    opener = opener_of(message)
    return "" if opener is None else opening(opener.message) + opener.name + "."


def field_line(field: Field) -> str:
    default = default_of(field.place) if field.place != "NOWHERE" else None
    default = code(default or "") or FROM_ELSEWHERE.get(field.name, "")
    if field.name in ("search_range_start", "search_range_end"):
        pair = json.loads(default_of("OF_LAYER(range.search_start)") or "[]")
        default = code(str(pair[field.name.endswith("_end")]))
    if field.kind == "ONLY":
        default = code(field.allowed.split("|")[0])
    allowed = "only that" if field.kind == "ONLY" else field.allowed
    label = {"OPTIONAL": "", "REQUIRED": "needed", "REPEATED": "any number"}[field.label]
    cells = [
        code(opening(field.message) + field.name),
        default,
        allowed,
        label,
        field.meaning,
        code(cfg_example(field)),
    ]
    return "| {} |".format(" | ".join(cells))


def field_table(fields: List[Field]) -> str:
    lines = [field_line(f) for f in fields if f.kind != "REFUSED"]
    return table("| field | default | allowed | how often | meaning | example |", lines)


def refused_table() -> str:
    lines = [
        "| {} | JSON | {} | {} |".format(
            code(".".join(filter(None, [section_of(k), k.name]))), k.meaning, k.allowed
        )
        for k in KEYS
        if k.kind == "REFUSED"
    ]
    lines += [
        "| {} | cfg | {} | {} |".format(code(opening(f.message) + f.name), f.meaning, f.allowed)
        for f in FIELDS
        if f.kind == "REFUSED"
    ]
    return table("| key | file | what it would be | why it is refused |", lines)


def page() -> str:
    at = first_retrain()
    parts = [HEAD, CALIBRATION, key_table(["GLOBAL"]), key_table(["LAYER", "ACTIVATION", "WEIGHT"])]
    parts += ["An element of `tensor_quantize`:\n", key_table(["TENSOR"])]
    parts += [CALIBRATION_CFG, field_table(FIELDS[:at])]
    parts += [RETRAIN, key_table(["RETRAIN", "RETRAIN_LAYER", "RETRAIN_DATA", "RETRAIN_WEIGHT"])]
    parts += [RETRAIN_CFG, field_table(FIELDS[at:]), REFUSED, refused_table()]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(tree.page_main("gen_configuration", PAGE, page()))
