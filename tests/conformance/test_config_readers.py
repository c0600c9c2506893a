# SPDX-License-Identifier: Apache-2.0
"""Both readers of configurations on random trees and texts, and on every example of the manual.

AMCT_PROBE names libamct_probe.so of a build with AMCT_TESTS; libamct_config_probe.so lies beside it.
Never a crash; what is refused is refused in one line that begins with the file; what is taken is
written as Python's json writes it, and reads as the same again.
"""

import ctypes
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "doc" / "configuration.md"
RECIPE = ROOT / "src" / "recipe"
GRAPH = b"""x = Placeholder() {shape=[?,8,8,3]}
w = Const() {value=float[3,3,3,4](ramp)}
d = Const() {value=float[3,3,4,1](ramp)}
m = Const() {value=float[4,2](ramp)}
s = Const() {value=int32[2](-1,4)}
net/conv1/Conv2D = Conv2D(x, w) {strides=[1,1,1,1], padding="SAME"}
net/conv1/depthwise = DepthwiseConv2dNative(net/conv1/Conv2D, d) {strides=[1,1,1,1], padding="SAME"}
net/pool/MaxPool = MaxPool(net/conv1/depthwise) {T=DT_FLOAT, ksize=[1,2,2,1], strides=[1,1,1,1], padding="SAME"}
net/pool/AvgPool = AvgPool(net/pool/MaxPool) {ksize=[1,8,8,1], strides=[1,1,1,1], padding="VALID"}
flat = Reshape(net/pool/AvgPool, s)
Fc = MatMul(flat, m)
net/odd/Conv2D = Conv2D(x, net/conv1/Conv2D) {strides=[1,1,1,1], padding="SAME"}
net/products = BatchMatMulV2(x, x)
"""
OK, BAD_FORMAT, BAD_CONFIG = "OK", "BAD_FORMAT", "BAD_CONFIG"
EXAMPLES = 400


class Reader:
    """Takes files of either kind, for either purpose."""

    def __init__(self):
        path = Path(os.environ["AMCT_PROBE"]).parent / "libamct_config_probe.so"
        self.library = ctypes.CDLL(str(path))
        self.library.config_probe_open.restype = ctypes.c_void_p
        self.library.amct_status_name.restype = ctypes.c_char_p
        self.graph = self.library.config_probe_open(GRAPH)
        assert self.graph
        self.text = ctypes.create_string_buffer(1 << 20)

    def take(self, data, retraining=False, simplified=False):
        """The name of the status, and what is written or wrong."""
        Path("given").write_bytes(data)
        status = self.library.config_probe_take(
            ctypes.c_void_p(self.graph),
            b"given",
            ctypes.c_bool(retraining),
            ctypes.c_bool(simplified),
            self.text,
            ctypes.c_size_t(len(self.text)),
        )
        return self.library.amct_status_name(status).decode(), self.text.value.decode(
            errors="replace"
        )


@pytest.fixture(scope="module")
def reader():
    if "AMCT_PROBE" not in os.environ:
        pytest.skip("AMCT_PROBE is not set: the readers are not tried on random files")
    return Reader()


def check(reader, data, retraining, simplified):
    """What holds for any file. Returns the name of the status."""
    status, text = reader.take(data, retraining, simplified)
    if status != OK:
        assert status in (BAD_FORMAT, BAD_CONFIG), text
        assert text.startswith(("given: ", "skip_layers")) and "\n" not in text, text
        return status
    assert text == json.dumps(json.loads(text), indent=4, separators=(",", ":"))
    assert reader.take(text.encode(), retraining) == (OK, text)
    return status


def names(table, macro):
    """First two cells of the rows of a table: {object: names}."""
    found = {}
    text = re.sub(r"/\*.*?\*/", "", (RECIPE / table).read_text(), flags=re.DOTALL)
    for owner, name in re.findall(r"^{}\((\w+), *(\w+),".format(macro), text, re.MULTILINE):
        found.setdefault(owner, []).append(name)
    return found


KEYS = dict(names("recipe_keys.def", "KEY"), **names("retrain_keys.def", "KEY"))
FIELDS = dict(names("cfg_fields.def", "FIELD"), **names("retrain_fields.def", "FIELD"))
LAYERS = ["net/conv1/Conv2D", "net/conv1/depthwise", "net/pool/AvgPool", "Fc", "net/products"]
TAKEN = LAYERS + [
    "*", "net/*", "*/Conv2D", "type:Conv2D", "type:MatMul", "from:x to:Fc",
    "from:net/conv1/depthwise to:flat",
]  # fmt: skip
SELECTORS = TAKEN + ["from:Fc to:x", "from:x", "net/odd/Conv2D", "net/pool/MaxPool", "nowhere"]
WORDS = ["ifmr", "hfmg", "min_max", "percentile", "DEFAULT", "INT8", "arq_quantize", "gptq_quantize"]
WORDS += ["ulq_quantize", "arq_retrain", "accurate", "none", "Conv2D", "MatMul"] + SELECTORS
GOOD = [True, False, 1, 2, 8, 4096, 0.7, 0.999999, 0.01, 1e-5, [0.7, 1.3], [0.5, 1], [], {}]

# ---- JSON

scalars = st.one_of(
    st.sampled_from(GOOD + WORDS),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(sum(KEYS.values(), []) + WORDS), inner, max_size=4),
    ),
    max_leaves=8,
)
POOL = {"layer_name": "net/pool/MaxPool", "input_index": 0}
# What a key takes, mostly.
VALUES = {
    "version": st.just(1),
    "batch_num": st.integers(1, 2**63 - 1),
    "skip_fusion_layers": st.lists(st.sampled_from(LAYERS[:2] + ["net/conv1/*"]), unique=True),
    "tensor_quantize": st.sampled_from(
        [[], [POOL], [dict(POOL, activation_quant_params={"act_algo": "min_max"})], [POOL, POOL]]
    ),
    "search_range": st.tuples(st.floats(0.1, 1), st.floats(1.1, 3)).map(list),
    "search_step": st.floats(0.001, 0.1),
    "num_of_bins": st.sampled_from([1024, 2048, 4096, 8192]),
    "act_algo": st.sampled_from(WORDS[:4]),
    "max_percentile": st.floats(0.5, 1, exclude_min=True),
    "min_percentile": st.floats(0.5, 1, exclude_min=True),
    "clip_max": st.floats(1e-30, 1e30),
    "clip_min": st.floats(-1e30, -1e-30),
    "num_bits": st.just(8),
    "dst_type": st.just("INT8"),
    "wts_algo": st.sampled_from(["arq_quantize", "gptq_quantize"]),
    "preset": st.sampled_from(["none", "accurate"]),
    "damping": st.floats(0.001, 1),
    "weight_offset": st.just(False),
    "fakequant_precision_mode": st.just("DEFAULT"),
}


NOT_HANDLED = {
    "dmq_balancer_param", "num_steps", "num_of_iteration", "num_iteration", "reg_param",
    "beta_range", "warm_start", "regular_prune_enable", "regular_prune_config",
}  # fmt: skip
VALUES["algo"] = st.sampled_from(["ulq_quantize", "arq_retrain"])


def value_of(key):
    """A value of a key: one that fits, seldom anything."""
    good = VALUES.get(key, st.booleans())
    return st.integers(0, 19).flatmap(lambda n: trees if n == 0 else good)


def settings_of(owner, left_out=()):
    """An object with some of the keys of `owner`."""
    known = [key for key in KEYS[owner] if key not in left_out and key not in NOT_HANDLED]
    return st.lists(st.sampled_from(known), unique=True, max_size=4).flatmap(
        lambda chosen: st.fixed_dictionaries({key: value_of(key) for key in chosen})
    )


def layer_of(owner, sections):
    own = settings_of(owner, sections)
    parts = {name: settings_of(section) for name, section in sections.items()}
    part = st.lists(st.sampled_from(sorted(parts)), unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({name: parts[name] for name in chosen})
    )
    return st.builds(lambda a, b: dict(a, **b), own, part)


def configs(top, owner, sections):
    named = st.integers(0, 19).flatmap(lambda n: st.sampled_from(TAKEN if n else SELECTORS))
    layers = st.dictionaries(named, layer_of(owner, sections), max_size=4)
    good = st.builds(lambda a, b: dict(a, **b), settings_of(top), layers)
    return st.one_of(good, good, good, trees)


ACTIVATION = {"activation_quant_params": "ACTIVATION", "weight_quant_params": "WEIGHT"}
DATA = {"retrain_data_config": "RETRAIN_DATA", "retrain_weight_config": "RETRAIN_WEIGHT"}
RANDOM = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(
    "retraining, strategy",
    [
        (False, configs("GLOBAL", "LAYER", ACTIVATION)),
        (True, configs("RETRAIN", "RETRAIN_LAYER", DATA)),
    ],
    ids=["calibration", "retraining"],
)
def test_random_trees(reader, retraining, strategy):
    seen = {OK: 0, BAD_FORMAT: 0, BAD_CONFIG: 0}

    @RANDOM
    @given(strategy)
    def run(tree):
        seen[check(reader, json.dumps(tree).encode(), retraining, False)] += 1

    run()
    assert seen[OK] > EXAMPLES / 20 and seen[BAD_CONFIG] > EXAMPLES / 20, seen


def test_random_bytes(reader):
    """Spoilt files: bytes left out, doubled, replaced."""
    status, text = reader.take(b'{"*":{}}')
    assert status == OK

    @RANDOM
    @given(st.lists(st.tuples(st.integers(0, len(text)), st.binary(max_size=2)), max_size=3))
    def run(edits):
        data = text.encode()
        for at, what in edits:
            data = data[:at] + what + data[at + 1 :]
        check(reader, data, False, False)
        check(reader, data, True, True)

    run()


# ---- simplified

PLAIN = {
    "batch_num": ["1", "2", "4294967295", "0x10"],
    "skip_layers": ['"Fc"', '"net/conv1/*"', '"type:AvgPool"', "'from:x to:net/conv1/Conv2D'"],
    "skip_layer_types": ['"MatMul"', '"Conv3D"'],
    "skip_fusion_layers": ['"net/conv1/Conv2D"', '"net/conv1/*"', '"from:x to:Fc"'],
    "layer_name": ['"Fc"', '"net/conv1/Conv2D"', '"*"', '"from:x to:Fc"'],
    "layer_type": ['"Conv2D"', '"MatMul"', '"AvgPool"'],
    "input_index": ["0"],
    "num_of_bins": ["1024", "4096", "8192"],
    "quant_bits": ["8"],
    "dst_type": ["INT8"],
    "weight_offset": ["false"],
    "fakequant_precision_mode": ["DEFAULT"],
    "search_range_start": ["0.7", ".5", "7e-1", "0.12345678f"],
    "search_range_end": ["1.3", "2", "1.1"],
    "search_step": ["0.01", "0.02", "1e-3"],
    "clip_max": ["6", "0.1"],
    "clip_min": ["-6", "-0.1"],
    "damping": ["0.1", "1"],
    "preset": ["accurate", "none", '"accurate"'],
}
PLAIN.update(
    quant_skip_layers=PLAIN["skip_layers"],
    quant_skip_types=PLAIN["skip_layer_types"],
    skip_approximation_layers=PLAIN["skip_layers"],
    max_percentile=["0.999999", "1", "0.75"],
    min_percentile=["0.999999", "1", "0.75"],
)
# Field that opens a message: its own fields' owner.
OPENS = {
    "common_config": "CALIBRATION", "calibration_config": "CALIBRATION",
    "conv_calibration_config": "CALIBRATION", "fc_calibration_config": "CALIBRATION",
    "override_layer_types": "TYPE", "override_layer_configs": "LAYER", "tensor_quantize": "TENSOR",
    "arq_quantize": "ARQ", "gptq_quantize": "GPTQ", "ifmr_quantize": "IFMR",
    "hfmg_quantize": "HFMG", "min_max_quantize": "MIN_MAX", "percentile_quantize": "PERCENTILE",
    "retrain_data_quant_config": "RETRAIN_DATA", "retrain_weight_quant_config": "RETRAIN_WEIGHT",
    "ulq_quantize": "ULQ", "clip_max_min": "CLIPS", "arq_retrain": "ARQ_RETRAIN",
}  # fmt: skip
NEEDED = {
    "TYPE": ["layer_type", "calibration_config"], "LAYER": ["layer_name", "calibration_config"],
    "TENSOR": ["layer_name", "input_index"], "CLIPS": ["clip_max", "clip_min"],
    "RETRAIN_LAYER": ["layer_name"], "RETRAIN_TYPE": ["layer_type"],
}  # fmt: skip
REFUSED = ("prune", "nuq", "ada_", "dmq", "ulq_retrain")
BLANKS = [" ", "\n", "\t", " # a comment\n", ""]


def opened(field, retraining):
    if retraining and field.startswith("override_"):
        return "RETRAIN_TYPE" if field.endswith("types") else "RETRAIN_LAYER"
    return OPENS.get(field)


@st.composite
def messages(draw, owner, retraining, depth=0):
    """The fields of a message, as text in some spelling."""
    anything = draw(st.integers(0, 39)) == 0
    known = FIELDS[owner] if not anything else sum(FIELDS.values(), [])
    known = [name for name in known if anything or not name.startswith(REFUSED)]
    chosen = draw(st.lists(st.sampled_from(known), max_size=5, unique=not anything))
    chosen += [name for name in NEEDED.get(owner, []) if name not in chosen and not anything]
    text = ""
    for name in chosen:
        inner = opened(name, retraining)
        text += name
        if inner is not None and depth < 4:
            body = draw(messages(inner, retraining, depth + 1))
            form = draw(st.sampled_from([" {%s}", ": {%s}", "<%s>", " {\n%s\n}"]))
            text += form.replace("%s", body)
        else:
            wrong = draw(st.integers(0, 39)) == 0
            values = PLAIN.get(name, ["true", "false", "True", "f", "1"])
            values = ['"net/pool/MaxPool"'] if owner == "TENSOR" and name == "layer_name" else values
            value = draw(st.text(max_size=5) if wrong else st.sampled_from(values))
            text += draw(st.sampled_from([": ", ":", " :\n"])) + value
            text += draw(st.sampled_from([" ", "\n", ";", ", ", " # c\n"]))
        text += draw(st.sampled_from(BLANKS))
    return text


@pytest.mark.parametrize("retraining", [False, True], ids=["calibration", "retraining"])
def test_random_texts(reader, retraining):
    seen = {OK: 0, BAD_FORMAT: 0, BAD_CONFIG: 0}

    @RANDOM
    @given(messages("RETRAIN" if retraining else "FILE", retraining))
    def run(text):
        seen[check(reader, text.encode("utf-8", "replace"), retraining, True)] += 1

    run()
    assert seen[OK] > EXAMPLES / 20 and seen[BAD_CONFIG] > EXAMPLES / 20, seen


@pytest.mark.parametrize("offset", [True, False])
@pytest.mark.parametrize("own", [None, True, False])
def test_products_of_data_are_symmetric(reader, offset, own):
    """Both inputs of a product of two are, whatever the file says; other layers are as it says."""
    params = {} if own is None else {"asymmetric": own}
    config = {"activation_offset": offset, "*": {"activation_quant_params": params}}
    body = "" if own is None else "asymmetric: " + str(own)
    fields = "activation_offset: {} common_config {{ ifmr_quantize {{ {} }} }}".format(offset, body)
    wanted = offset if own is None else own
    for text, simplified in ((json.dumps(config), False), (fields, True)):
        status, text = reader.take(text.encode(), simplified=simplified)
        assert status == OK, text
        for name, layer in json.loads(text).items():
            if isinstance(layer, dict):
                asymmetric = layer["activation_quant_params"].get("asymmetric", offset)
                assert asymmetric == (wanted and name != "net/products"), name


# ---- the manual


def examples():
    """(retraining, key, JSON, cfg) of the tables of keys; JSON None: of a field."""
    retraining = False
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            retraining = "Retraining" in line
        cells = [cell.strip() for cell in line.split(" | ")]
        if not line.startswith("| `") or len(cells) < 6:
            continue
        name = cells[0].strip("| `")
        shown = [cell.strip("| ")[1:-1] for cell in cells[4:6]]
        yield (retraining, name, shown[0] if cells[4].startswith("`") else None, shown[1])


def test_the_manual_has_every_key():
    shown = [name.rpartition(".")[2] for _, name, _, _ in examples()]
    refused = PAGE.read_text().partition("## Known, and refused")[2]
    for table in (KEYS, FIELDS):
        for owner, known in table.items():
            for name in known:
                assert name in shown or "{}`".format(name) in refused, (owner, name)


@pytest.mark.parametrize(
    "retraining, name, keys, fields",
    [pytest.param(*example, id=example[1]) for example in examples()],
)
def test_examples_of_the_manual(reader, retraining, name, keys, fields):
    """A JSON and the cfg beside it ask for the same; an example of a field is taken."""
    assert keys is not None or fields
    written = []
    if keys is not None:
        text = "{%s}" % ('"*":{},' + keys if not keys.startswith('"*"') else keys)
        written.append(reader.take(text.encode(), retraining))
    if fields:
        written.append(reader.take(fields.encode(), retraining, True))
    for status, text in written:
        assert status == OK, text
    assert len(set(written)) == 1
