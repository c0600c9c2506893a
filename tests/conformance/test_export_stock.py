# SPDX-License-Identifier: Apache-2.0
"""export_stock: stock ops give the bits of the ops that they stand for."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
import random_nets
import test_deploy_situations
from test_flow_control import looping
from test_flow_live import old_control_flow
from test_ops import F32, MAKERS, assert_bits, node, numbers, quant

v1 = tf.compat.v1
OURS = ("AscendQuant", "AscendWeightQuant", "AscendDequant", "AscendAntiQuant")
CASES = 60  # a graph


def run_pb(path, fetches, feed, optimize=True):
    """Values of a pb's tensors in a new session, with TensorFlow's graph optimizer or without."""
    graph = models.load(path)
    session = v1.Session(graph=graph) if optimize else models.plain_session(graph)
    with session:
        return session.run(fetches, feed)


def ops_of(path):
    return {n.name: n.op for n in v1.GraphDef.FromString(Path(path).read_bytes()).node}


def flush(x):
    """Subnormal numbers, which TensorFlow's own kernels take for zero and ours do not, as zero."""
    with np.errstate(all="ignore"):
        return np.where(np.abs(x) < np.finfo(F32).tiny, np.copysign(F32(0), x), x)


def compare(path, fetches, feed):
    """Exports a quantized pb and runs both."""
    feed = {name: flush(x) if x.dtype == F32 else x for name, x in feed.items()}
    amct.export_stock(str(path), "out/net")
    before, after = ops_of(path), ops_of("out/net_stock.pb")
    assert set(before.values()) & set(OURS) and not set(after.values()) & set(OURS)
    wanted = run_pb(path, fetches, feed)
    for optimize in (True, False):
        for name, one, other in zip(fetches, wanted, run_pb("out/net_stock.pb", fetches, feed, optimize)):
            assert_bits(other, flush(one), name)


# ---- op by op ----


def save_cases(cases):
    """A pb whose node case_<i> is an op on a placeholder in_<i>; the feed."""
    feed = {}
    with tf.Graph().as_default() as graph:
        for i, (op, inputs, attrs) in enumerate(cases):
            first = inputs[0]
            if op != "AscendWeightQuant":
                first = v1.placeholder(tf.float32, inputs[0].shape, name="in_{}".format(i))
                feed[first.name] = inputs[0]
            node(graph, op, [first] + inputs[1:], F32, name="case_{}".format(i), **attrs)
    models.write_pb(graph.as_graph_def(), "cases.pb")
    return "cases.pb", ["case_{}:0".format(i) for i in range(len(cases))], feed


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", MAKERS, ids=lambda m: m.__name__)
def test_random_ops(make, seed):
    rng = np.random.RandomState(100 + seed)
    with np.errstate(all="ignore"):
        cases = [make(rng, F32) for _ in range(CASES)]
    compare(*save_cases([case[:3] for case in cases]))


def test_rounding_is_exact():
    """Where floor(|x| + 0.5) is wrong, and every float around; an offset brings 2^23 into the range."""
    half = np.nextafter(F32(0.5), F32(0))
    assert np.floor(half + F32(0.5)) == 1
    small = np.concatenate([np.arange(-20, 20, 0.5), [half, -half, 0, -0.0, 1e-40, -1e-40]]).astype(F32)
    neighbours = [np.nextafter(small, F32(d)) for d in (np.inf, -np.inf)]
    large = (2.0**23 + np.arange(-64, 64, 0.5)).astype(F32)
    halves = (2.0**22 + np.arange(-64, 64, 0.25)).astype(F32)
    random = np.random.RandomState(3).randint(0, 2**32, 20000, np.uint64).astype(np.uint32).view(F32)
    x = np.concatenate([small] + neighbours + [large, -large, halves, -halves, random])
    offsets = (0.0, 5.0, -(2.0**23), 2.0**23, -(2.0**22))
    path, fetches, feed = save_cases(
        [("AscendQuant", [x], dict(scale=1.0, offset=o, quant_bits=16)) for o in offsets]
    )
    compare(path, fetches, feed)
    with np.errstate(all="ignore"):
        for found, offset in zip(run_pb("out/net_stock.pb", fetches, feed), offsets):
            assert_bits(found, quant(x, 1.0, offset, 16), "offset {}".format(offset))


def test_four_bits_by_dst_type():
    x = np.linspace(-20, 20, 101).astype(F32)
    compare(*save_cases([("AscendQuant", [x], dict(scale=1.0, offset=1.0, dst_type=b"INT4"))]))
    assert run_pb("out/net_stock.pb", "case_0:0", {"in_0:0": x}).max() == 6


def test_optimizer_merges_nothing(tmp_path):
    """Products of constants that TensorFlow would merge, or move into a convolution, if it could."""
    rng = np.random.RandomState(1)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (2, 6, 6, 3), name="x")
        w = node(graph, "AscendWeightQuant", [rng.randint(-128, 128, (3, 3, 3, 4)).astype(np.int8), np.zeros((), np.int8)], F32)
        c = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME")
        words = (10.0 ** rng.uniform(-8, -1, 4)).astype(F32).view(np.uint32).astype(np.uint64)
        d = node(graph, "AscendDequant", [c, words], F32, ksize=[3, 3], name="d")
        e = node(graph, "AscendDequant", [c, words[:1]], F32, ksize=[1, 1], name="e")
        scaled = d * tf.constant(0.1) + e * tf.constant(0.1)
        q = node(graph, "AscendQuant", [scaled * tf.constant(1.7)], F32, scale=33.3, offset=-7.0, name="q")
        node(graph, "AscendAntiQuant", [q], F32, scale=0.3, offset=0.0, name="a")
    pb = models.write_pb(graph.as_graph_def(), "net.pb")
    compare(pb, ["d:0", "e:0", "q:0", "a:0"], {"x:0": np.round(rng.normal(0, 60, (2, 6, 6, 3))).astype(F32)})


# ---- whole networks ----


def tensors_of(path):
    """Every float tensor that the quantized ops of a pb give."""
    return ["y:0"] + [name + ":0" for name, op in ops_of(path).items() if op in OURS]


@pytest.mark.parametrize("seed", range(24))
def test_networks(seed, tmp_path):
    _, quantized = random_nets.quantize(seed, tmp_path / "net")
    x = random_nets.pictures(seed + 1000, 3)
    compare(quantized, tensors_of(quantized), {"x:0": x})
    with np.errstate(all="ignore"):
        broken = numbers(np.random.RandomState(seed), x.shape, F32)
    compare(quantized, tensors_of(quantized), {"x:0": broken})


def test_networks_are_of_every_kind():
    kinds = {op.type for seed in range(24) for op in random_nets.network(seed).get_operations()}
    assert {"Conv2D", "DepthwiseConv2dNative", "AvgPool", "MaxPool", "Conv2DBackpropInput", "Conv3D",
            "BatchMatMulV2", "MatMul"} <= kinds  # fmt: skip


@pytest.mark.parametrize("shift", [1, 3, 9])
def test_shifts(shift, tmp_path):
    """N of a record of the user's own."""
    pb, _ = random_nets.quantize(3, tmp_path / "net")
    record = tmp_path / "net" / "record.txt"
    text = record.read_text().replace("    scale_w:", "    shift_bit: {}\n    scale_w:".format(shift))
    own = tmp_path / "own.txt"
    own.write_text(text)
    amct.convert_model(pb, ["y"], str(own), "shifted")
    compare("shifted_quantized.pb", tensors_of("shifted_quantized.pb"), {"x:0": random_nets.pictures(5)})


@pytest.mark.parametrize("kind, form, situation, biased", test_deploy_situations.CASES)
def test_every_kind_in_every_situation(kind, form, situation, biased):
    """NCHW too, which the stock ops have to spell out; its convolutions run as NHWC."""
    case = test_deploy_situations.Case(kind, form, situation, biased, 1)
    test_deploy_situations.convert(case)
    amct.export_stock("m_quantized.pb", "m")
    for name in ("quantized", "stock"):
        definition = v1.GraphDef.FromString(Path("m_{}.pb".format(name)).read_bytes())
        if form == "NCHW":
            definition = test_deploy_situations.channels_last(definition, case.x.ndim)
        models.write_pb(definition, name + ".pb")
    feed, fetches = {"x:0": case.given(case.x)}, [case.outputs[0] + ":0"]
    (wanted,), (found,) = (run_pb(name + ".pb", fetches, feed) for name in ("quantized", "stock"))
    assert not set(ops_of("stock.pb").values()) & set(OURS)
    assert_bits(found, wanted, fetches[0])


def calibrated(graph, outputs, feed, batch_num):
    """Path of the quantized pb of a graph that one run calibrates."""
    pb = models.write_pb(graph.as_graph_def(), "model.pb")
    graph = models.load(pb)
    amct.create_quant_config("config.json", graph, batch_num=batch_num)
    amct.quantize_model(graph, "config.json", "record.txt")
    with v1.Session(graph=graph) as session:
        session.run([name + ":0" for name in outputs], feed)
    amct._core.flush_calibration("record.txt")
    amct.save_model(pb, outputs, "record.txt", "model")
    return "model_quantized.pb"


@pytest.mark.parametrize("captured", [True, False])
@pytest.mark.parametrize("depth", [0, 1])
def test_loops(depth, captured):
    feed = {models.INPUT: models.images(4)}
    pb = calibrated(looping(depth, captured), ["output"], feed, 3 * 2**depth)
    compare(pb, ["output:0"], feed)


def test_branches():
    with tf.Graph().as_default() as graph, old_control_flow():
        x = v1.placeholder(tf.float32, (None,) + models.IMAGE, name="input")
        flag = v1.placeholder_with_default(True, [], name="flag")
        w = [np.random.RandomState(i).normal(size=(1, 1, 3, 4)).astype(F32) for i in (1, 2)]
        y = [lambda i=i: tf.nn.conv2d(x, w[i], strides=[1, 1, 1, 1], padding="SAME") for i in (0, 1)]
        tf.identity(v1.cond(flag, *y), name="output")
    pb = calibrated(graph, ["output"], {models.INPUT: models.images(4)}, 1)
    assert list(ops_of(pb).values()).count("AscendDequant") == 1
    for flag in (True, False):
        compare(pb, ["output:0"], {models.INPUT: models.images(4), "flag:0": np.array(flag)})


def test_names_and_int8_weights(tmp_path):
    _, quantized = random_nets.quantize(1, tmp_path / "net")
    amct.export_stock(quantized, str(tmp_path / "made" / "net"))
    before, after = ops_of(quantized), ops_of(tmp_path / "made" / "net_stock.pb")
    assert {name for name in before if before[name] not in ("Const",)} <= set(after)
    for name in set(after) - set(before):
        parent = name.rpartition("/")[0]
        assert before[parent] in OURS, name
    weights = [n for n in v1.GraphDef.FromString((tmp_path / "made" / "net_stock.pb").read_bytes()).node
               if n.op == "Const" and n.attr["dtype"].type == tf.int8.as_datatype_enum]  # fmt: skip
    assert len(weights) == list(before.values()).count("AscendWeightQuant")
    assert all(n.name.endswith("/weight") for n in weights)


ALONE = """
import sys, numpy as np, tensorflow as tf
v1 = tf.compat.v1
graph_def = v1.GraphDef.FromString(open(sys.argv[1], "rb").read())
with tf.Graph().as_default() as graph:
    tf.import_graph_def(graph_def, name="")
    with v1.Session(graph=graph) as session:
        np.save("alone.npy", session.run("y:0", {"x:0": np.load("x.npy")}))
assert not [m for m in sys.modules if "amct" in m]
assert "libamct" not in open("/proc/self/maps").read()
"""


def test_runs_without_the_package(tmp_path):
    _, quantized = random_nets.quantize(2, tmp_path / "net")
    amct.export_stock(quantized, "net")
    np.save("x.npy", random_nets.pictures(9))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "AMCT"))}
    subprocess.check_call([sys.executable, "-c", ALONE, "net_stock.pb"], env=environment)
    assert_bits(np.load("alone.npy"), run_pb(quantized, "y:0", {"x:0": np.load("x.npy")}), "y")


ON_GPU = """
import sys, numpy as np, tensorflow as tf
v1 = tf.compat.v1
gpus = [d.name for d in tf.config.experimental.list_physical_devices("GPU")]
if not gpus:
    sys.exit("no GPU that TensorFlow " + tf.__version__ + " can use")
if hasattr(tf.config.experimental, "enable_tensor_float_32_execution"):
    tf.config.experimental.enable_tensor_float_32_execution(False)
graph_def = v1.GraphDef.FromString(open(sys.argv[1], "rb").read())
with tf.Graph().as_default() as graph:
    with tf.device("/GPU:0"):
        tf.import_graph_def(graph_def, name="")
    with v1.Session(graph=graph, config=v1.ConfigProto(allow_soft_placement=True)) as session:
        np.save("gpu.npy", session.run("y:0", {"x:0": np.load("x.npy")}))
"""


@pytest.mark.parametrize("seed", [2, 5])
def test_on_a_gpu(seed, tmp_path):
    """Where there is one; sums of integers are exact in any order, what floats lie between is not."""
    _, quantized = random_nets.quantize(seed, tmp_path / "net")
    amct.export_stock(quantized, "net")
    np.save("x.npy", random_nets.pictures(9))
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run([sys.executable, "-c", ON_GPU, "net_stock.pb"], env=environment, stderr=subprocess.PIPE,
                          universal_newlines=True)  # fmt: skip
    if "no GPU that TensorFlow" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    wanted = run_pb(quantized, "y:0", {"x:0": np.load("x.npy")})
    np.testing.assert_allclose(np.load("gpu.npy"), wanted, rtol=1e-2, atol=1e-2 * np.abs(wanted).max())


@pytest.mark.skipif(tf.__version__.startswith("1."), reason="TensorFlow 1.15 has no jit_compile")
@pytest.mark.parametrize("seed", [1, 3, 6])
def test_compiled_by_xla(seed, tmp_path):
    """All the same bits too, but for AvgPool, which XLA rounds otherwise; these networks have none."""
    _, quantized = random_nets.quantize(seed, tmp_path / "net")
    assert "AvgPool" not in ops_of(quantized).values()
    amct.export_stock(quantized, "net")
    definition = v1.GraphDef.FromString(Path("net_stock.pb").read_bytes())
    kept = [n for n in definition.node if n.op != "Placeholder"]
    del definition.node[:]
    definition.node.extend(kept)
    names, x = tensors_of(quantized), random_nets.pictures(seed + 50)
    run = tf.function(
        lambda x: tf.graph_util.import_graph_def(definition, {"x:0": x}, names, name=""), jit_compile=True
    )
    for name, one, other in zip(names, run_pb(quantized, names, {"x:0": x}), run(tf.constant(x))):
        assert_bits(other.numpy(), one, name)


# ---- what is refused ----


def refuse(exception, words, build, save_path="out/bad"):
    with tf.Graph().as_default() as graph:
        build(graph)
    pb = models.write_pb(graph.as_graph_def(), "bad.pb")
    with pytest.raises(exception) as caught:
        amct.export_stock(pb, save_path)
    for word in words:
        assert word in str(caught.value)
    assert not os.path.exists("out/bad_stock.pb")


def ones(dtype=F32):
    return np.ones((1, 2, 2, 3), dtype)


def test_refused_models():
    with pytest.raises(amct.UnsupportedError, match="no quantization ops.*save_model"):
        amct.export_stock(models.float_pb(), "out/m")
    refuse(amct.UnsupportedError, ["half/q", "HALF"],
           lambda g: node(g, "AscendQuant", [ones(np.float16)], np.float16, name="half/q", scale=1.0, offset=0.0))  # fmt: skip
    refuse(amct.UnsupportedError, ["fed/d", "input 1 is not a constant"],
           lambda g: node(g, "AscendDequant", [ones(), v1.placeholder(tf.uint64, [1])], F32, name="fed/d", ksize=[1, 1]))  # fmt: skip
    refuse(amct.GraphError, ["bits/q", "quant_bits is 17"],
           lambda g: node(g, "AscendQuant", [ones()], F32, name="bits/q", scale=1.0, offset=0.0, quant_bits=17))  # fmt: skip
    refuse(amct.GraphError, ["window/d", "ksize"],
           lambda g: node(g, "AscendDequant", [ones(), np.ones(1, np.uint64)], F32, name="window/d", ksize=[0, 3]))  # fmt: skip
    refuse(amct.GraphError, ["odd/w", "offset_w has 3 values"],
           lambda g: node(g, "AscendWeightQuant", [np.ones((1, 1, 2, 3), np.int8), np.ones(3, np.int8)], F32, name="odd/w"))  # fmt: skip


def test_refused_arguments(tmp_path):
    with pytest.raises(TypeError, match="quantized_pb must be a str"):
        amct.export_stock(3, "out/m")
    with pytest.raises(TypeError, match="save_path must be a str"):
        amct.export_stock("m.pb", None)
    with pytest.raises(amct.FileError, match="absent.pb"):
        amct.export_stock("absent.pb", "out/m")
    Path("text.pb").write_text("no graph")
    with pytest.raises(amct.FormatError, match="text.pb"):
        amct.export_stock("text.pb", "out/m")
    assert not Path("out").exists()
