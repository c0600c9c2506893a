#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Dictionaries and seeds of the fuzz targets, from the tables and the golden cases.

fuzz_inputs.py [--check] [--text-to-pb PROGRAM]

Writes tests/fuzz/fuzz_*.dict and, given the program, the seeds of tests/fuzz/corpus. What fuzzing found
stands beside the seeds, under other names. --check: compares the dictionaries, writes nothing.
"""

import argparse
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Dict, List

import tree

FUZZ = Path("tests/fuzz")
GOLDEN = Path("tests/golden")


def rows(path: str, *kinds: str) -> List[str]:
    """First cells of the rows of a .def table."""
    text = re.sub(r"/\*.*?\*/", "", tree.read(Path(path)), flags=re.DOTALL)
    return re.findall(r"^(?:{})\((?:\w+, *)?(\w+),".format("|".join(kinds)), text, re.MULTILINE)


def op_names() -> List[str]:
    text = tree.read(Path("src/op/ops.def"))
    names = re.findall(r"^(?:LAYER|TENSOR|PARAM|PLAIN)\((\w+),", text, re.MULTILINE)
    rules = "".join(tree.read(path) for path in tree.files(".c") if "rules" in path.parts)
    return sorted(set(names + re.findall(r'"((?:\w+\|)*FusedBatchNorm\w*)"', rules)))


def attribute_keys() -> List[str]:
    """Keys that the core asks nodes for."""
    found = set()
    for path in tree.files(".c"):
        if path.parts[0] == "src":
            found |= set(re.findall(r'amct_attr_\w+\([^;"]*?, "(\w+)"', tree.read(path)))
    return sorted(found)


def algorithms() -> List[str]:
    text = tree.read(Path("src/numeric/range_algorithms.def"))
    return re.findall(r'^ALGORITHM\(\w+, *"(\w+)"', text, re.MULTILINE)


def dtype_names() -> List[str]:
    return re.findall(r"X\(([A-Z]\w*), \d+, \d+\)", tree.read(Path("src/wire/graphdef.h")))


def dictionaries() -> Dict[str, List[str]]:
    ops, keys, dtypes = op_names(), attribute_keys(), dtype_names()
    fields = rows("src/factors/record_fields.def", "FIELD")
    settings = rows("src/recipe/recipe_keys.def", "KEY")
    settings = sorted(set(settings + rows("src/recipe/retrain_keys.def", "KEY")))
    text = ["{} = ".format(name) for name in "xwy"]
    text += [op + "(" for op in ops] + [key + "=" for key in keys]
    text += [dtype.lower() + "[" for dtype in dtypes] + ["DT_" + dtype for dtype in dtypes]
    text += ["(ramp)", "(fill ", "shape=[", "list[", "^", "?", "true", "false", '"SAME"', '"NHWC"']
    record = [field + ": " for field in fields] + [
        "record {",
        "layer {",
        "taps: ",
        "bias: ",
        "mean: ",
        "weights: ",
        "key: ",
        "value {",
        "true",
        "inf",
        "nan",
    ]
    layers = ["conv", "depthwise", "pool", "peak", "fc", "odd"]
    config = ['"{}":'.format(key) for key in settings] + [
        "true",
        "false",
        "null",
        "[]",
        "{}",
        "1e-300",
    ]
    config += ['"{}"'.format(name) for name in algorithms()]
    config += ['"{}":{{'.format(layer) for layer in layers] + ['"*', '"c?nv', '"[a-f]']
    config += ['"from:', '"from:x to:', " to:"]
    cfg = rows("src/recipe/cfg_fields.def", "FIELD")
    cfg += rows("src/recipe/retrain_fields.def", "FIELD")
    cfg = sorted(set(cfg)) + ['"{}"'.format(layer) for layer in layers]
    cfg += ['"Conv2D"', '"MatMul"', "true", "false", "{", "}", ": ", '"*', "DEFAULT", "INT8"]
    cfg += ['"from:', '"from:x to:', " to:"]
    return {
        "graph": ops + keys + ["SAME", "VALID", "NHWC", "NCHW", "^", ":1"],
        "text": text,
        "record": record,
        "config": config,
        "cfg": cfg,
        "deploy": text + record + ["\n---\n"],
        "qat": text + ["num_bits=", "narrow_range=", "min=", "max="],
        "arrays": ["{'descr': '", "'fortran_order': False, ", "'shape': (", ", 2)", ".npy"]
        + ["<f4", "<f2", "<i8", "|u1", "NUMPY", "PK"],
    }


def dictionary_text(words: List[str]) -> str:
    def quoted(word: str) -> str:
        word = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\x0a")
        return '"{}"\n'.format(word)

    return "# made by tools/fuzz_inputs.py\n" + "".join(quoted(word) for word in words)


def record_of(expected: str) -> str:
    """A record for the layers that a golden case lists, and for the input tensors."""
    text = ""
    found = re.findall(r"^layer: (\S+) .*?(-?\d+) channels(, second)?", expected, re.MULTILINE)
    tensors = re.findall(r"^(\S+) = (?:MaxPool|Add|AddV2)\(", expected, re.MULTILINE)
    for name, channels, second in found + [(name + ":0", "-1", "") for name in tensors]:
        per_tensor = "{} per tensor".format(name) in expected
        scales = 1 if second else 0 if int(channels) < 0 else 1 if per_tensor else int(channels)
        offset = 0 if second else -3
        text += 'record {{\n  key: "{}"\n  value {{\n    scale_d: 0.5\n    offset_d: {}\n'.format(
            name, offset
        )
        text += "    scale_w: 1\n" * scales + "    offset_w: 0\n" * scales + "  }\n}\n"
    return text


CONFIGS = [
    {"version": 1, "batch_num": 2, "fc": {}},
    {"do_fusion": False, "activation_offset": False, "conv": {"quant_enable": True}},
    {
        "skip_fusion_layers": ["conv"],
        "conv": {
            "activation_quant_params": {
                "num_bits": 8,
                "max_percentile": 0.9,
                "min_percentile": 1.0,
                "search_range": [0.5, 1.5],
                "search_step": 0.25,
                "act_algo": "ifmr",
                "asymmetric": False,
            },
            "weight_quant_params": {"wts_algo": "arq_quantize", "channel_wise": False},
        },
        "pool": {"activation_quant_params": {"asymmetric": True, "act_algo": "percentile"}},
        "fc": {"activation_quant_params": {"act_algo": "hfmg", "num_of_bins": 1024}},
        "depthwise": {"quant_enable": False},
    },
    {"skip_fusion_layers": ["from:x to:conv"], "from:depthwise to:fc": {}, "pool": {}},
    {
        "tensor_quantize": [
            {
                "layer_name": "peak",
                "input_index": 0,
                "activation_quant_params": {"act_algo": "min_max"},
            }
        ]
    },
    {
        "preset": "accurate",
        "*": {},
        "fc": {"weight_quant_params": {"wts_algo": "gptq_quantize", "damping": 0.5}},
    },
    {
        "search_n": True,
        "*": {
            "retrain_data_config": {"clip_max": 6, "clip_min": -1.5, "fixed_min": False},
            "retrain_weight_config": {"algo": "arq_retrain", "dst_type": "INT8"},
        },
    },
]
CFG = """batch_num: 2 activation_offset: f; skip_layers: ["fc"] skip_layer_types: 'AvgPool'
do_fusion: t skip_fusion_layers: "c*"
common_config { arq_quantize < channel_wise: true quant_bits: 8 > ifmr_quantize { search_range_start: 0.8
  search_range_end: 1.2f search_step: .05 max_percentile: 0.9 min_percentile: 1 asymmetric: 0 dst_type: INT8 } }
override_layer_types { layer_type: "MatMul" calibration_config { arq_quantize { channel_wise: false } } }
override_layer_configs: [{ layer_name: "depth[a-z]ise" calibration_config: { ifmr_quantize { search_step: 1e-1 } } }]
"""
RETRAIN_CFG = """batch_num: 2 search_n: true quant_skip_layers: "fc" quant_skip_types: "AvgPool"
retrain_data_quant_config: { ulq_quantize { clip_max_min { clip_max: 3.0 clip_min: -0.1 } dst_type: INT8 } }
override_layer_configs { layer_name: "conv" retrain_weight_quant_config { arq_retrain { channel_wise: false } } }
"""
TENSOR_CFG = """preset: accurate common_config { gptq_quantize { damping: 0.5 channel_wise: false } }
tensor_quantize { layer_name: "peak" input_index: 0 hfmg_quantize { num_of_bins: 1024 asymmetric: f } }
"""
OLDER_CFG = """conv_calibration_config { arq_quantize { channel_wise: false } }
fc_calibration_config { hfmg_quantize { num_of_bins: 2048 } min_max_quantize {} }  # the older pair
skip_layers: "from:pool to:fc"
override_layer_configs { layer_name: "conv" calibration_config { percentile_quantize { max_percentile: 0.99 } } }
"""
RECORD = """record { key: "a/b" value { scale_d: 1e-3, offset_d: -128 scale_w: [1, 2.5] offset_w: 0 offset_w: 0
  shift_bit: 0x10 shift_bit: 1 skip_fusion: True dst_type: INT8 op_data_type: "FLOAT" } }  # comment
record < key: 'c\\x41\\n' ; value: { skip_fusion: t } >
"""
STATS = """layer { key: "a/b" record: "0123456789abcdef" weights: "fedcba9876543210" taps: 2 mean: -1.5 mean: 3e-9 bias: 0.25 bias: -7e-3 }
layer < key: "c" taps: 1 >
"""

FAKE = """x = Placeholder() {shape=[?,8,8,3]}
w = Const() {value=float[3,3,3,4](ramp)}
k = Const() {value=float[4](4,2,1,3)}
e = Const() {value=float[](0.5)}
b = Const() {value=float[4](4,-2,1,3)}
s = Const() {value=int32[2](-1,4)}
k/sum = AddV2(k, e)
k/root = Rsqrt(k/sum)
k/flat = Reshape(k/root, s)
w/folded = Mul(w, k/flat)
high = Const() {value=float[](65)}
high/read = Identity(high)
low = Const() {value=float[](-62.5)}
lows = Const() {value=float[4](-62.5,-1,-65,-8)}
highs = Const() {value=float[4](62.5,1,65,8)}
x/fake = FakeQuantWithMinMaxVars(x, low, high/read) {num_bits=8}
w/fake = FakeQuantWithMinMaxVars(w/folded, low, high/read) {narrow_range=true}
conv = Conv2D(x/fake, w/fake) {strides=[1,1,1,1], padding="SAME"}
sum = Add(conv, k/root)
sum/fake = FakeQuantWithMinMaxArgs(sum) {min=-9.0, max=8.0}
pool = MaxPool(sum/fake) {ksize=[1,2,2,1], strides=[1,2,2,1], padding="SAME"}
v = Const() {value=float[1,1,4,4](ramp)}
v/fake = FakeQuantWithMinMaxVarsPerChannel(v, lows, highs)
last = Conv2D(pool, v/fake) {strides=[1,1,1,1], padding="SAME"}
bias = BiasAdd(last, b)
both = Add(bias, sum/fake)
prob = Softmax(both)
"""


def npy_of(shape: str, values: int, descr: str = "<f4", version: int = 1) -> bytes:
    """A .npy of float32 zeros."""
    head = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}\n".format(descr, shape)
    size = len(head).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + head.encode() + bytes(4 * values)


def npz_of(arrays: Dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive, as numpy.savez writes it, or savez_compressed."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(name + ".npy")
            entry.compress_type = method
            with archive.open(entry, "w", force_zip64=True) as file:
                file.write(array)
    return made.getvalue()


def arrays() -> Dict[str, bytes]:
    return {
        "arrays/seed_npy": npy_of("(3, 2)", 6),
        "arrays/seed_version_2": npy_of("(4,)", 4, "<i4", 2),
        "arrays/seed_none": npy_of("(0, 2)", 0),
        "arrays/seed_wide": npy_of("(4503599627370496, 0)", 0),
        "arrays/seed_short": npy_of("(9, 9)", 6),
        "arrays/seed_npz": npz_of({"x": npy_of("(3, 2)", 6)}),
        "arrays/seed_npz_two": npz_of({"y": npy_of("(2,)", 2), "x": npy_of("(3, 1, 2)", 6)}),
        "arrays/seed_npz_packed": npz_of({"x": npy_of("(30, 2)", 60)}, zipfile.ZIP_DEFLATED),
    }


def seeds(text_to_pb: str) -> Dict[str, bytes]:
    """Path under corpus/ -> content."""
    found = {
        "cfg/seed_messages": CFG.encode(),
        "cfg/seed_older": OLDER_CFG.encode(),
        "cfg/seed_retrain": RETRAIN_CFG.encode(),
        "cfg/seed_tensor": TENSOR_CFG.encode(),
        "qat/seed_fake": FAKE.encode(),
        "record/seed_fields": RECORD.encode(),
        "record/seed_stats": STATS.encode(),
        "record/seed_small": tree.read(Path("tests/data/record_small.txt")).encode(),
    }
    found.update(arrays())
    for i, config in enumerate(CONFIGS):
        found["config/seed_{}".format(i)] = json.dumps(config).encode()
    for path in tree.files(".txt"):
        if path.parts[:2] != GOLDEN.parts or path.name == "CMakeLists.txt":
            continue
        text = re.sub(r"^#.*\n", "", tree.read(path), flags=re.MULTILINE)
        graph, expected = text.split("\n---\n", 1)
        made = subprocess.run(
            [text_to_pb], input=graph.encode(), stdout=subprocess.PIPE, check=True
        )
        if len(made.stdout) < 4096:
            found["graph/pb_" + path.stem] = made.stdout
        found["deploy/with_record_" + path.stem] = (
            graph + "\n---\n" + record_of(expected)
        ).encode()
        found["text/text_" + path.stem] = graph.encode()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--text-to-pb")
    options = parser.parse_args()
    problems = []
    made = {name: dictionary_text(words) for name, words in dictionaries().items()}
    for name, text in made.items():
        path = tree.ROOT / FUZZ / "fuzz_{}.dict".format(name)
        if not options.check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            problems.append("{}: run tools/fuzz_inputs.py".format(path.relative_to(tree.ROOT)))
    if options.text_to_pb and not options.check:
        for name, content in seeds(options.text_to_pb).items():
            path = tree.ROOT / FUZZ / "corpus" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return tree.report("fuzz_inputs", problems, "{} dictionaries".format(len(made)))


if __name__ == "__main__":
    sys.exit(main())
