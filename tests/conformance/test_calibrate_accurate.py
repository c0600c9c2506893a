# SPDX-License-Identifier: Apache-2.0
"""`amct calibrate --preset accurate`: the better of two calibrations, by samples that are kept apart."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
from models import load
from test_calibrate import ENGINES, WRITTEN, calibrate, done, read, same_files, with_tensorflow
from test_stats import network as heavy_network
from test_stats import pictures

v1 = tf.compat.v1
F32 = np.float32
LINE = r"(\d+) samples kept apart: outputs at (\S+) dB with ifmr, (\S+) dB with min_max: (\S+) is taken\n"


def outliers():
    """Samples of which few values are far out: IFMR cuts them off."""
    x = pictures(40)
    x[::9, 3, 5] *= 30
    return x


def spread():
    """Outputs that are made of the largest values: min_max keeps them."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 64), name="input")
        w = np.random.default_rng(5).normal(size=(64, 6)).astype(F32)
        b = np.random.default_rng(6).normal(size=6).astype(F32)
        y = tf.nn.bias_add(tf.matmul(x, w, name="dense"), b, name="added")
        tf.nn.softmax(tf.reshape(y, (-1, 2, 3)), name="logits")
    return graph.as_graph_def()


def large():
    x = np.random.default_rng(7).uniform(-1, 1, (40, 64)).astype(F32)
    return np.sign(x) * np.abs(x) ** 0.2


CASES = [(heavy_network, lambda: pictures(40)), (heavy_network, outliers), (spread, large)]


def write(build, x):
    with open("net.pb", "wb") as file:
        file.write(build().SerializeToString())
    np.save("x.npy", x)


def run(path, x, tensor="logits:0"):
    with v1.Session(graph=load(path)) as session:
        return session.run(tensor, {"input:0": x})


def sqnr(wanted, got):
    wanted, got = wanted.astype(float), got.astype(float)
    return 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum())


def python_flow(algorithm, batches):
    """The preset with another algorithm for all ranges."""
    graph = load("net.pb")
    with open(algorithm + ".cfg", "w") as file:
        file.write("batch_num: {}\npreset: accurate\n".format(len(batches)))
    amct.create_quant_config(algorithm + ".json", graph, config_defination=algorithm + ".cfg")
    with open(algorithm + ".json") as file:
        config = json.load(file)
    for layer in config.values():
        if isinstance(layer, dict) and "activation_quant_params" in layer:
            old = layer["activation_quant_params"]
            layer["activation_quant_params"] = dict(act_algo=algorithm, asymmetric=old.get("asymmetric"))
            if old.get("asymmetric") is None:
                del layer["activation_quant_params"]["asymmetric"]
    with open(algorithm + ".json", "w") as file:
        json.dump(config, file)
    amct.quantize_model(graph, algorithm + ".json", algorithm + "_record.txt")
    with v1.Session(graph=graph) as session:
        for batch in batches:
            session.run("logits:0", {"input:0": batch})
    amct.save_model("net.pb", ["logits"], algorithm + "_record.txt", algorithm)


def arguments(engine, *more):
    return (
        "--model", "net.pb", "--outputs", "logits", "--data", "x.npy", "--save_path", "c", "--engine", engine, "--preset", "accurate",
    ) + more  # fmt: skip


@with_tensorflow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_better_one_is_taken(engine):
    taken = set()
    for build, data in CASES:
        x = data()
        write(build, x)
        out = done(*arguments(engine, "--batch_size", "8"))
        kept, ifmr, min_max, chosen = re.search(LINE, out).groups()
        assert int(kept) == 10
        wanted = run("net.pb", x[30:])
        measured = {}
        for algorithm, said in (("ifmr", ifmr), ("min_max", min_max)):
            python_flow(algorithm, [x[:8], x[8:16], x[16:24], x[24:30]])
            measured[algorithm] = sqnr(wanted, run(algorithm + "_quantized.pb", x[30:]))
            assert abs(measured[algorithm] - float(said)) < 0.3
        assert chosen == max(measured, key=measured.get)
        taken.add(chosen)
        if engine == "tensorflow":
            same_files("c", chosen, WRITTEN[:1])
        final = sqnr(wanted, run("c_quantized.pb", x[30:]))
        assert final > measured[chosen] - 0.1
        after, before = map(float, re.search(r"last bias corrected: (\S+) dB instead of (\S+) dB", out).groups())
        if "not kept" not in out:
            assert after > before and abs(final - after) < 0.3
    assert taken == {"ifmr", "min_max"}


@with_tensorflow
@pytest.mark.parametrize("engine", ENGINES)
def test_last_bias(engine):
    """No mean error of the outputs is left but for half a step; the record gives the same model again."""
    x = pictures(40)
    write(heavy_network, x)
    out = done(*arguments(engine))
    assert "last bias corrected" in out and "not kept" not in out
    python_flow("ifmr", [x[:30]])
    wanted = run("net.pb", x[30:])
    off = {name: np.abs((wanted - run(name + "_quantized.pb", x[30:])).mean(axis=0)).max() for name in ("c", "ifmr")}
    assert off["c"] < 0.2 * off["ifmr"]
    amct.save_model("net.pb", ["logits"], "c_record.txt", "again")
    same_files("c", "again", ["_quantized.pb", "_quant.json"])
    stats = read("c_record.txt.stats").decode()
    assert [len(re.findall("  bias: ", layer)) for layer in stats.split("layer {")[1:]].count(5) == 1
    assert stats.count("  bias: ") == 5


def layer_of(dequant):
    """The name of the layer that is dequantized, behind a BiasAdd or not."""
    op = dequant.inputs[0].op
    return (op.inputs[0].op if op.type == "BiasAdd" else op).name


@with_tensorflow
@pytest.mark.parametrize("engine", ENGINES)
def test_layers_are_listed(engine):
    """Worst first, by the SQNR that TensorFlow has for the same tensors."""
    x = pictures(40)
    write(heavy_network, x)
    out = done(*arguments(engine))
    listed = re.findall(r"^ +(\S+) dB  (\S+)$", out, re.M)
    assert sorted(name for _, name in listed) == ["bare", "conv", "dense", "filter"]
    assert [float(db) for db, _ in listed] == sorted(float(db) for db, _ in listed)
    wanted = {"conv": "BiasAdd:0", "filter": "norm:0", "bare": "bare:0"}
    graph = load("c_quantized.pb")
    for db, name in listed:
        if name not in wanted:
            continue
        tensor = [op for op in graph.get_operations() if op.type == "AscendDequant" and layer_of(op) == name]
        assert len(tensor) == 1
        measured = sqnr(run("net.pb", x[30:], wanted[name]), run("c_quantized.pb", x[30:], tensor[0].name + ":0"))
        assert abs(measured - float(db)) < 0.2, name
    quiet = done(*arguments(engine, "--quiet"))
    assert " dB" not in quiet and "4 of 4 layers are calibrated" in quiet


@pytest.mark.parametrize("engine", ENGINES)
def test_too_few_samples(engine):
    write(heavy_network, pictures(15))
    out = done(*arguments(engine))
    assert "ifmr is taken, nothing is measured: 15 samples are too few to keep a quarter apart, at least 4 of them\n" in out
    assert " dB" not in out


@pytest.mark.parametrize("engine", ENGINES)
def test_no_last_bias_and_a_fixed_batch(engine):
    """Whole batches are kept apart where the graph fixes them; a sum at the end has no bias."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (3, 16), name="input")
        w = np.random.default_rng(5).normal(size=(16, 6)).astype(F32)
        a = tf.matmul(x, w, name="first")
        tf.add(a, tf.matmul(tf.nn.relu(x), w[::-1], name="second"), name="logits")
    with open("net.pb", "wb") as file:
        file.write(graph.as_graph_def().SerializeToString())
    np.save("x.npy", np.random.default_rng(7).normal(size=(21, 16)).astype(F32))
    out = done(*arguments(engine, "--batch_size", "3"))
    assert re.search(LINE, out).group(1) == "6"
    assert "no layer with a bias ends the model: none is corrected\n" in out
    assert "bias: " not in read("c_record.txt.stats").decode()


@pytest.mark.parametrize("engine", ENGINES)
def test_not_finite_among_those_kept_apart(engine):
    x = pictures(40)
    x[35].flat[7] = np.inf
    write(heavy_network, x)
    code, _, err = calibrate(*arguments(engine))
    assert code == 1
    assert err == 'amct: x.npy: sample 36 has infinity at index 7 of its data, for input "input"\n'


@with_tensorflow
def test_outputs_that_are_no_floats():
    """Nothing can be measured: said, and calibrated all the same."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 16), name="input")
        w = np.random.default_rng(5).normal(size=(16, 6)).astype(F32)
        tf.argmax(tf.matmul(x, w, name="dense"), axis=1, name="logits")
    with open("net.pb", "wb") as file:
        file.write(graph.as_graph_def().SerializeToString())
    np.save("x.npy", np.random.default_rng(7).normal(size=(20, 16)).astype(F32))
    out = done(*arguments("tensorflow"))
    assert 'ifmr is taken, nothing is measured, since the quantized model cannot be run: "logits" is not float32\n' in out
    assert "1 of 1 layers are calibrated" in out
