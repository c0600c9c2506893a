# SPDX-License-Identifier: Apache-2.0
"""Bias correction: what calibration writes beside the record, and what save_model makes of it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct

v1 = tf.compat.v1
F32 = np.float32


def weights(rng, *shape):
    """Heavy-tailed: the few large ones make a coarse grid for the others."""
    return (rng.standard_t(2, shape) * 0.2).astype(F32)


def network():
    """Convolution, depthwise convolution with a batch norm, product of matrices; a branch without bias."""
    rng = np.random.default_rng(3)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 40, 36, 3), name="input")
        y = v1.nn.conv2d(x, weights(rng, 3, 3, 3, 16), [1, 2, 2, 1], "SAME", name="conv")
        y = tf.nn.relu(tf.nn.bias_add(y, weights(rng, 16)))
        y = v1.nn.depthwise_conv2d_native(y, weights(rng, 3, 3, 16, 2), [1, 1, 1, 1], "VALID", name="filter")
        scale, offset, mean, variance = (rng.uniform(0.5, 1.5, 32).astype(F32) for _ in range(4))
        y = v1.nn.fused_batch_norm(y, scale, offset, mean, variance, is_training=False, name="norm")[0]
        y = tf.nn.relu(y)
        bare = rng.integers(-127, 128, (1, 1, 32, 8)) / 127  # on its grid
        y = v1.nn.conv2d(y, bare.astype(F32), [1, 1, 1, 1], "SAME", name="bare")
        y = tf.reshape(tf.reduce_mean(tf.nn.relu(y), (1, 2)), (-1, 8))
        y = tf.nn.bias_add(tf.matmul(y, weights(rng, 8, 5), name="dense"), weights(rng, 5), name="logits")
    return graph.as_graph_def()


def pictures(count=24):
    return np.random.default_rng(4).uniform(0, 1, (count, 40, 36, 3)).astype(F32)


def load(definition):
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    return graph


def run(definition, x):
    with v1.Session(graph=load(definition)) as session:
        return session.run("logits:0", {"input:0": x})


def calibrate(batches, record="record.txt", weights=None, **changes):
    """Calibrates the network; returns its definition. weights: settings of all layers that have some."""
    definition = network()
    graph = load(definition)
    with open("float.pb", "wb") as file:
        file.write(definition.SerializeToString())
    amct.create_quant_config("config.json", graph, batch_num=len(batches))
    with open("config.json") as file:
        config = json.load(file)
    config.update(changes)
    for layer in config.values():
        if isinstance(layer, dict) and "weight_quant_params" in layer:
            layer["weight_quant_params"].update(weights or {})
    with open("config.json", "w") as file:
        json.dump(config, file)
    amct.quantize_model(graph, "config.json", record)
    with v1.Session(graph=graph) as session:
        for batch in batches:
            session.run("logits:0", {"input:0": batch})
    return definition


def save(record="record.txt"):
    amct.save_model("float.pb", ["logits"], record, "out")
    with open("out_quantized.pb", "rb") as file:
        return v1.GraphDef.FromString(file.read())


def biases(definition):
    return {n.name: tf.make_ndarray(n.attr["value"].tensor) for n in definition.node if "bias_quantized" in n.name}


def read(path):
    with open(path, "rb") as file:
        return file.read()


def log_of(capfd):
    return capfd.readouterr().err


def test_biases_are_corrected():
    x = pictures()
    definition = calibrate(np.split(x, 3))
    wanted = run(definition, x)
    corrected = save()
    os.remove("record.txt.stats")
    plain = save()
    missed = [np.abs((run(d, x) - wanted).mean(axis=0)).mean() for d in (plain, corrected)]
    assert missed[1] < 0.5 * missed[0]
    assert run(corrected, x).shape == wanted.shape
    # biases alone differ, those of the three layers that have one
    for definition in (plain, corrected):
        for node in definition.node:
            if "bias_quantized" in node.name:
                node.ClearField("attr")
    assert plain == corrected


def test_the_shift_is_that_of_the_means():
    """The product of matrices: weights less their grid, times the mean of the input."""
    x = pictures(12)
    definition = calibrate([x])
    corrected = save()
    os.remove("record.txt.stats")
    plain = save()
    dense = next(n for n in definition.node if n.name == "dense")
    with v1.Session(graph=load(definition)) as session:
        inputs, w = session.run([name + ":0" for name in dense.input], {"input:0": x})
    factors = read("record.txt").split(b'"dense"')[1].split()
    scale_d, scale_w = (F32(factors[factors.index(key) + 1].decode()) for key in (b"scale_d:", b"scale_w:"))
    nodes = {n.name: n for n in plain.node}
    q = tf.make_ndarray(nodes[nodes[nodes["dense"].input[1]].input[0]].attr["value"].tensor)
    shift = inputs.mean(axis=0, dtype=np.float64) @ (w.astype(np.float64) - float(scale_w) * q)
    before, after = ({n: b for n, b in biases(d).items() if n.startswith("logits")} for d in (plain, corrected))
    moved = after.popitem()[1] - before.popitem()[1]
    assert np.abs(moved - shift / (scale_d * scale_w)).max() <= 1.01  # rounded twice


def test_order_and_split_of_the_pictures_do_not_matter():
    x = pictures()
    kept = []
    for seed, parts in ((0, 1), (1, 3), (2, 5)):
        mixed = np.random.default_rng(seed).permutation(x)
        calibrate(np.array_split(mixed, parts))
        kept.append((read("record.txt"), read("record.txt.stats")))
    # float32 layers may differ in the last bits between batch sizes: inputs of the first layer do not
    first = [stats.split(b"layer {")[1] for _, stats in kept]
    assert first[0] == first[1] == first[2]


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_threads_do_not_matter(threads):
    x = pictures()
    calibrate([x])
    wanted = read("record.txt.stats")
    code = "import sys; sys.path.insert(0, {!r}); import test_stats as t; t.calibrate([t.pictures()], 'other.txt')"
    code = code.format(os.path.dirname(os.path.abspath(__file__)))
    subprocess.run([sys.executable, "-c", code], env=dict(os.environ, AMCT_THREADS=threads), check=True)
    assert read("other.txt.stats") == wanted


# rounding by samples

GPTQ = {"wts_algo": "gptq_quantize", "damping": 0.1}


def weights_of(definition):
    """int8, by layer."""
    nodes = {n.name: n for n in definition.node}
    weighted = [n for n in definition.node if len(n.input) > 1 and nodes[n.input[1]].op == "AscendWeightQuant"]
    constants = {n.name: nodes[nodes[n.input[1]].input[0]] for n in weighted}
    return {name: tf.make_ndarray(n.attr["value"].tensor).astype(int) for name, n in constants.items()}


@pytest.mark.parametrize("correct", [True, False])
def test_rounding_by_samples_loses_less(correct):
    x = pictures()
    definition = calibrate(np.split(x, 3), bias_correction=correct)
    wanted = run(definition, x)
    plain = save()
    calibrate(np.split(x, 3), weights=GPTQ, bias_correction=correct)
    rounded = save()
    missed = [np.square(run(d, x) - wanted).mean() for d in (plain, rounded)]
    assert missed[1] < 0.8 * missed[0]
    before, after = weights_of(plain), weights_of(rounded)
    assert len(before) == 4 and before.keys() == after.keys()
    for name in before:
        assert 0 < np.abs(before[name] - after[name]).max() < 20, name
    # the file lost, the nearest steps are left
    os.remove("record.txt.stats")
    lost = weights_of(save())
    assert all((before[name] == lost[name]).all() for name in before)


def test_rounding_is_the_same_for_any_order_of_batches():
    batches = np.split(pictures(), 4)
    kept = []
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        calibrate([batches[i] for i in order], weights=GPTQ)
        kept.append((read("record.txt"), read("record.txt.stats")))
    assert kept[0] == kept[1]
    assert kept[0][1].count(b"rounded:") == 4


def test_the_dense_layer_is_rounded_as_the_paper_has_it():
    """GPTQ in NumPy on all rows, which are the sample: they are few."""
    x = pictures(12)
    definition = calibrate([x], weights=GPTQ, bias_correction=False)
    nodes = {n.name: n for n in definition.node}
    with v1.Session(graph=load(definition)) as session:
        inputs, w = session.run([name + ":0" for name in nodes["dense"].input], {"input:0": x})
    factors = read("record.txt").split(b'"dense"')[1].split()
    value = {key: factors[factors.index(key) + 1].decode() for key in (b"scale_d:", b"offset_d:", b"scale_w:")}
    scale, offset, scale_w = F32(value[b"scale_d:"]), int(value[b"offset_d:"]), F32(value[b"scale_w:"])
    seen = np.clip(np.floor(inputs * (F32(1) / scale) + 0.5) + offset, -128, 127).astype(np.float64) - offset
    h = seen.T @ seen / len(seen)
    order = np.argsort(np.diag(h), kind="stable")[::-1]
    h = (h + 0.1 * np.trace(h) / len(h) * np.eye(len(h)))[np.ix_(order, order)]
    left = (w.astype(np.float64) / float(scale_w))[order]
    upper = np.linalg.cholesky(np.linalg.inv(h)).T
    wanted = np.zeros_like(left)
    for k in range(len(left)):
        wanted[order[k]] = np.round(left[k])
        left[k:] -= np.outer(upper[k, k:], (left[k] - np.round(left[k])) / upper[k, k])
    assert (weights_of(save())["dense"] == wanted).all()


def test_weights_that_changed_go_to_their_nearest_steps(capfd):
    calibrate([pictures()], weights=GPTQ)
    rounded = weights_of(save())
    text = read("record.txt")
    at = text.index(b"scale_d", text.index(b'"bare"'))
    with open("record.txt", "wb") as file:
        file.write(text[:at] + b"scale_d: 0.5" + text[text.index(b"\n", at) :])
    log_of(capfd)
    changed = weights_of(save())
    assert '1 layers keep their biases, and their weights go to nearest steps' in log_of(capfd)
    assert all((rounded[n] == changed[n]).all() for n in rounded if not n.startswith("bare"))


def test_the_preset_is_one_name_wherever_it_stands():
    graph = load(network())
    amct.create_quant_config("config.json", graph, preset="accurate")
    with open("config.json") as file:
        config = json.load(file)
    assert config["preset"] == "accurate"
    assert config["conv"]["activation_quant_params"]["act_algo"] == "ifmr"
    assert config["conv"]["weight_quant_params"] == {"channel_wise": True, "wts_algo": "gptq_quantize", "damping": 0.1}
    with open("quant.cfg", "w") as file:
        file.write("preset: accurate\n")
    amct.create_quant_config("other.json", graph, config_defination="quant.cfg")
    assert read("other.json") == read("config.json")
    with open("quant.cfg", "w") as file:
        file.write("batch_num: 1\n")
    amct.create_quant_config("other.json", graph, config_defination="quant.cfg", preset="accurate")
    assert read("other.json") == read("config.json")
    # the default configuration with one name more
    amct.create_quant_config("plain.json", graph)
    with open("plain.json") as file:
        plain = json.load(file)
    assert "preset" not in plain and "act_algo" not in plain["conv"]["activation_quant_params"]
    with open("config.json") as file:
        accurate = json.load(file)
    stats = []
    for contents in (accurate, dict(plain, preset="accurate")):
        with open("config.json", "w") as file:
            json.dump(contents, file)
        graph = load(network())
        amct.quantize_model(graph, "config.json", "record.txt")
        with v1.Session(graph=graph) as session:
            session.run("logits:0", {"input:0": pictures(4)})
        stats.append((read("record.txt"), read("record.txt.stats")))
    assert stats[0] == stats[1]


@pytest.mark.parametrize("preset, error", [("fast", ValueError), ("", ValueError), (1, TypeError)])
def test_wrong_presets(preset, error):
    with pytest.raises(error, match="preset"):
        amct.create_quant_config("config.json", load(network()), preset=preset)


def test_switched_off():
    calibrate([pictures()])
    assert os.path.exists("record.txt.stats")
    calibrate([pictures()], bias_correction=False)
    assert read("record.txt.stats") == b""


def test_switched_off_in_the_simplified_configuration():
    with open("quant.cfg", "w") as file:
        file.write("bias_correction: false\n")
    amct.create_quant_config("config.json", load(network()), config_defination="quant.cfg")
    with open("config.json") as file:
        assert json.load(file)["bias_correction"] is False
    amct.create_quant_config("config.json", load(network()))
    with open("config.json") as file:
        assert "bias_correction" not in json.load(file)


def test_stats_that_are_gone_are_missed(capfd):
    calibrate([pictures()])
    corrected = biases(save())
    os.remove("record.txt.stats")
    log_of(capfd)
    kept = biases(save())
    log = log_of(capfd)
    assert log.count("WARNING") - log.count("exists and is overwritten") == 1
    assert "biases are not corrected, and weights go to their nearest steps: " in log
    assert "record.txt.stats" in log
    assert any(not np.array_equal(kept[name], corrected[name]) for name in corrected)


def test_a_changed_layer_keeps_its_bias(capfd):
    calibrate([pictures()])
    whole = biases(save())
    log_of(capfd)
    text = read("record.txt")
    at = text.index(b"scale_d", text.index(b'"filter"'))
    end = text.index(b"\n", at)
    with open("record.txt", "wb") as file:
        file.write(text[:at] + b"scale_d: 0.5" + text[end:])
    changed = biases(save())
    log = log_of(capfd)
    assert log.count("WARNING") - log.count("exists and is overwritten") == 1
    assert "1 layers keep their biases, and their weights go to nearest steps" in log
    assert 'record.txt.stats has nothing of these factors and weights: "filter"' in log
    same = [name for name in whole if np.array_equal(whole[name], changed[name])]
    assert len(same) == 2


@pytest.mark.parametrize(
    "text, message",
    [
        (b"layer { key: 3 }", "record.txt.stats:1: key: a name in quotes is wanted"),
        (b'layer { key: "a" taps: 0 }', "taps: a whole number over 0"),
        (b'layer { key: "a"\ntaps: 2 mean: 1 }', "record.txt.stats:2: a layer whose means"),
        (b'layer { key: "a" record: "12" }', "a digest of 16 hexadecimal digits"),
        (b'layer { key: "a" record: "123456789012345x" }', "a digest of 16 hexadecimal digits"),
        (b'layer { key: "a" taps: 1 mean: inf }', "mean: a finite number is wanted"),
        (b'layer { key: "a" taps: 1 mean: "1" }', "mean: a finite number is wanted"),
        (b'layer { key: "a" taps: 1 bias: nan }', "bias: a finite number is wanted"),
        (b'layer { key: "a" weight: 1 }', "not a field of a layer"),
        (b'layer { key: "a" value { } }', "not a field of a layer"),
        (b"record { }", '"layer {" is wanted'),
        (b"layer { ", "record.txt.stats"),
        (b"\xff\x00", "record.txt.stats"),
    ],
)
def test_stats_that_cannot_be_read_correct_nothing(capfd, text, message):
    calibrate([pictures()])
    os.remove("record.txt.stats")
    plain = biases(save())
    with open("record.txt.stats", "wb") as file:
        file.write(text)
    log_of(capfd)
    found = biases(save())
    log = log_of(capfd)
    assert "biases are not corrected, and weights" in log and message in log
    assert all(np.array_equal(found[name], plain[name]) for name in plain)


def test_stats_of_other_layers_correct_nothing(capfd):
    calibrate([pictures()])
    none = b"0000000000000000"
    with open("record.txt.stats", "wb") as file:
        file.write(b'layer { key: "conv" taps: 1 record: "%s" weights: "%s" mean: 1 }' % (none, none))
    log_of(capfd)
    save()
    log = log_of(capfd)
    assert "3 layers keep their biases" in log and '"conv", "filter", "dense"' in log
    assert "are corrected" not in log


def test_nothing_is_missed_that_was_switched_off(capfd):
    calibrate([pictures()], bias_correction=False)
    log_of(capfd)
    save()
    log = log_of(capfd)
    assert "corrected" not in log and "biases" not in log


def test_convert_model_corrects_nothing(capfd):
    calibrate([pictures()])
    log_of(capfd)
    amct.convert_model("float.pb", ["logits"], "record.txt", "converted")
    assert "corrected" not in log_of(capfd)
