# SPDX-License-Identifier: Apache-2.0
"""convert_qat_model: graphs with TensorFlow's fake quantization, written by hand."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models

v1 = tf.compat.v1
F32 = np.float32
FAKE = re.compile("^FakeQuantWithMinMax")


# ---- pieces ----


def fake(x, low, high, narrow=False, kind="Vars", **more):
    """A fake quantization of one of the three kinds; of a list of ranges, by channel."""
    bits, name = more.get("bits", 8), more.get("name")
    if np.ndim(low):
        function = tf.quantization.fake_quant_with_min_max_vars_per_channel
        return function(x, tf.constant(low, tf.float32), tf.constant(high, tf.float32), bits, narrow, name=name)
    if kind == "Args":
        return tf.quantization.fake_quant_with_min_max_args(x, low, high, bits, narrow, name=name)
    low, high = (tf.identity(tf.constant(value, tf.float32)) for value in (low, high))  # as frozen variables
    return tf.quantization.fake_quant_with_min_max_vars(x, low, high, bits, narrow, name=name)


def around(weights, axes=None, narrow=True):
    """A range with zero in the middle of its steps, of all weights or by channel."""
    high = np.abs(weights).max(axes)
    return -high * (F32(1) if narrow else F32(128 / 127)), high


def whole(weights, axes=None, narrow=True):
    """From the smallest to the largest, as tf.contrib.quantize has it."""
    return weights.min(axes), weights.max(axes)


def random(seed, *shape):
    return np.random.RandomState(seed).standard_normal(shape).astype(F32)


def norm(x, seed, count):
    g, b, m = 1 + 0.3 * random(seed, count), random(seed + 1, count), 0.3 * random(seed + 2, count)
    g[0] = -g[0]
    v = 0.5 + random(seed + 3, count) ** 2
    return v1.nn.fused_batch_norm(x, *map(tf.constant, (g, b, m, v)), is_training=False)[0]


def network(narrow=True, by_channel=False, kind="Vars", uneven=False):
    """Convolution with batch norm, depthwise, a pool, a transposed convolution, a matrix product."""
    reach = whole if uneven else around

    def draw(seed, *shape):
        w = random(seed, *shape)
        return np.where(w < 0, w / 2, w) if uneven else w

    x = fake(v1.placeholder(tf.float32, [None, 8, 8, 3], name="x"), -2.5, 2.5, kind=kind, name="data")
    w = draw(1, 3, 3, 3, 8)
    w = fake(w, *reach(w, (0, 1, 2) if by_channel else None, narrow), narrow=narrow, kind="Vars" if by_channel else kind)
    y = tf.nn.relu6(norm(v1.nn.conv2d(x, w, [1, 1, 1, 1], "SAME", name="conv"), 5, 8), name="conv/relu")
    y = fake(y, 0.0, 6.0, kind=kind, name="conv/act")
    w = draw(2, 3, 3, 8, 1)
    z = v1.nn.depthwise_conv2d_native(y, fake(w, *reach(w, None, narrow), narrow=narrow), [1, 1, 1, 1], "SAME", name="depthwise")
    z = fake(tf.nn.relu(tf.nn.bias_add(z, random(3, 8)), name="depthwise/relu"), 0.0, 9.0, name="depthwise/act")
    y = fake(tf.add(y, z, name="add"), 0.0, 15.0, name="sum")
    y = v1.nn.max_pool(y, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    w = draw(4, 2, 2, 5, 8)
    y = v1.nn.conv2d_transpose(y, fake(w, *reach(w, None, narrow), narrow=narrow), tf.stack([tf.shape(y)[0], 8, 8, 5]), [1, 2, 2, 1])
    y = tf.reshape(fake(tf.identity(y, name="transposed"), -40.0, 41.0, name="transposed/act"), [-1, 320])
    w = draw(6, 320, 4) / 8
    y = tf.nn.bias_add(tf.matmul(y, fake(w, *reach(w, None, narrow), narrow=narrow), name="fc"), random(7, 4))
    return fake(tf.identity(y, name="score"), -60.0, 60.0, name="out")


# what is fake-quantized next, in order, and the step of its range
TENSORS = (("conv/relu", 6 / 255), ("depthwise/relu", 9 / 255), ("transposed", 81 / 255), ("score", 120 / 255))


def written(build, *arguments, path="qat.pb", **keywords):
    """The graph in a pb; its definition."""
    with tf.Graph().as_default() as graph:
        build(*arguments, **keywords)
    models.write_pb(graph.as_graph_def(), path)
    return graph.as_graph_def()


def values(definition, data, *tensors, **keywords):
    """Some tensors; `fed`, a dict, stands in for others."""
    feed = dict(keywords.get("fed", {}), x=data)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
        with models.plain_session(graph) as session:
            return session.run([name + ":0" for name in tensors], {name + ":0": feed[name] for name in feed})


def check_layers(before, after, data, tensors, limit, largest=3):
    """Each layer, given what the layers before it give in the trained graph, is within `limit` steps.

    But one value in a thousand, within `largest`: where a value lies halfway between two steps, AscendQuant may take the
    other one.
    """
    fed = {}
    for name, step in tensors:
        old = values(before, data, name)[0]
        new = values(after, data, name, fed=fed)[0]
        apart = np.abs(old - new) / step
        assert np.quantile(apart, 0.999) < limit and apart.max() < largest, (name, apart.max())
        fed[name] = old


def converted(outputs=("out",), path="qat.pb", **keywords):
    amct.convert_qat_model(path, list(outputs), "q", **keywords)
    return models.load("q_quantized.pb").as_graph_def()


def ops(definition):
    return [node.op for node in definition.node]


DATA = random(9, 16, 8, 8, 3)


# ---- by hand ----


@pytest.mark.parametrize("kind", ["Vars", "Args"])
@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("narrow", [True, False])
def test_network(narrow, by_channel, kind):
    """Every fake-quantized tensor stays within a step, and nothing of fake quantization stays."""
    before = written(network, narrow, by_channel, kind)
    after = converted()
    assert not any(FAKE.match(op) for op in ops(after))
    assert ops(after).count("AscendDequant") == 4
    check_layers(before, after, DATA, TENSORS, 0.05)
    old, new = values(before, DATA, "out")[0], values(after, DATA, "out")[0]
    assert np.abs(old - new).max() < 1.01 * 120 / 255
    assert np.mean(np.abs(old - new) > 60 / 255) < 0.1  # values close to a half


@pytest.mark.parametrize("by_channel", [False, True])
def test_uneven_network(by_channel, capfd):
    """Weights that reach twice as far up as down: what int8 does not hold is rounded, what it holds is exact."""
    before = written(network, True, by_channel, uneven=True)
    after = converted()
    log = "".join(capfd.readouterr())
    assert log.count("leave the steps they were trained on") == 4
    check_layers(before, after, DATA, TENSORS, 3.5, 6)
    old, new = values(before, DATA, "out")[0], values(after, DATA, "out")[0]
    assert np.abs(old - new).max() < 2.01 * 120 / 255
    assert np.mean(np.abs(old - new) > 180 / 255) < 0.05


@pytest.mark.parametrize("by_channel", [False, True])
def test_exact(by_channel, capfd):
    """The same, as sums of two layers: as near as with even ranges."""
    before = written(network, True, by_channel, uneven=True)
    after = converted(exact=True)
    log = "".join(capfd.readouterr())
    assert "leave the steps they were trained on" not in log
    assert log.count("its weights are exactly the trained ones") == ops(after).count("AscendDequant") == 8
    assert ops(after).count("AscendQuant") == ops(converted()).count("AscendQuant")  # both parts share one
    check_layers(before, after, DATA, TENSORS, 0.05)
    old, new = values(before, DATA, "out")[0], values(after, DATA, "out")[0]
    assert np.abs(old - new).max() < 1.01 * 120 / 255
    assert np.mean(np.abs(old - new) > 60 / 255) < 0.1


def test_exact_where_int8_holds_the_weights_or_no_two_do(capfd):
    """Even ranges: nothing is split, biases stay float. 255 steps above zero: nothing can be."""
    before = written(network)
    after, plain = converted(exact=True), converted()
    assert ops(after).count("AscendDequant") == ops(plain).count("AscendDequant") == 4
    biases = [{node.name: node for node in part.node if node.op == "BiasAdd"} for part in (before, after)]
    assert biases[0] and {node.input[1] for node in biases[0].values()} <= {n.input[1] for n in biases[1].values()}
    capfd.readouterr()
    weights = np.linspace(0, 1, 8, dtype=F32).reshape(4, 2)
    written(weighted, weights, F32(0), F32(1))
    assert ops(converted(exact=True)).count("AscendDequant") == 1
    assert 'layer "out": the weights of 2 of 2 channels leave' in "".join(capfd.readouterr())
    with pytest.raises(TypeError, match="exact"):
        converted(exact=1)


def test_exact_of_an_output():
    """The sum has the layer's name; the record names its parts."""
    weights = random(5, 4, 2)
    before = written(weighted, weights, weights.min(), weights.max(), True)
    after = converted(record_file="r.txt", exact=True)
    assert sorted(models.read_record("r.txt")) == ["out/held", "out/rest"]
    assert {node.name: node.op for node in after.node}["out"] == "AddV2"
    data = random(3, 64, 4)
    old, new = values(before, data, "out")[0], values(after, data, "out")[0]
    assert np.abs(old - new).max() < 1e-4


def test_ops_that_stay_between():
    """The sum reads two fake-quantized tensors: they are quantized and taken back; one AscendQuant serves both."""
    written(network)
    after = {node.name: node for node in converted().node}
    assert after["conv/act"].op == after["depthwise/act"].op == "AscendAntiQuant"
    assert after["out"].op == "AscendAntiQuant" and after["out"].input[0].endswith("AscendQuant")
    assert after["conv/act"].input[0] == "act_quant_1/AscendQuant" or "AscendQuant" in after["conv/act"].input[0]
    assert after["depthwise"].input[0] == after["conv/act"].input[0]
    assert "sum" not in after and "data" not in after  # a pool and a layer behind them: quantized once


def quantizer(low, high, narrow):
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    fake(x, low, high, narrow, name="seen")
    w = fake(random(1, 4, 2), -3.0, 3.0, True)
    return tf.matmul(fake(x, -1.0, 1.0), w, name="out")


@pytest.mark.parametrize("seed", range(12))
def test_nudging(seed):
    """Ranges that do not hold zero, or hold it between two steps: the steps of TensorFlow."""
    random_ = np.random.RandomState(seed)
    low, high = np.sort(random_.uniform(-4, 4, 2)).astype(F32)
    narrow = seed % 3 == 0
    data = np.concatenate([np.linspace(-5, 5, 4001), [low, high, 0]]).astype(F32).reshape(-1, 4)
    before = written(quantizer, low, high, narrow)
    after = converted(["seen", "out"])
    old, new = values(before, data, "seen")[0], values(after, data, "seen")[0]
    levels = np.unique(old)
    step = np.diff(levels).min()
    if narrow:  # int8 has one step more below
        below = new < levels[0] - step / 2
        assert np.all(new[below] > levels[0] - 1.5 * step)
        new = np.where(below, levels[0], new)
    assert np.abs(old - new).max() < 1.01 * step
    assert np.mean(np.abs(old - new) > step / 2) < 2e-3  # halves, where the two round differently
    assert np.any(new == 0)


def weighted(weights, low, high, narrow=False):
    x = fake(v1.placeholder(tf.float32, [None, weights.shape[0]], name="x"), -4.0, 4.0)
    return tf.matmul(x, fake(tf.constant(weights), low, high, narrow), name="out")


def test_weights_on_their_grid(capfd):
    """Uneven ranges whose steps int8 holds are exact; those that it does not are rounded anew, with a warning."""
    weights = np.linspace(-1, 1, 8, dtype=F32).reshape(4, 2)
    data = random(3, 64, 4)
    before = written(weighted, weights, F32(-1), F32(1.009))
    after = converted(record_file="r.txt")
    scale = F32(F32(1.009) + F32(1)) / F32(255)
    assert models.read_record("r.txt")["out"]["scale_w"] == [pytest.approx(scale, rel=1e-6)]
    old, new = values(before, data, "out")[0], values(after, data, "out")[0]
    assert np.abs(old - new).max() < 1e-4
    assert 'layer "out": its weights are exactly the trained ones' in "".join(capfd.readouterr())

    before = written(weighted, weights, F32(-1), F32(0.5))
    after = converted(record_file="r.txt")
    log = "".join(capfd.readouterr())
    found = re.search(
        'layer "out": the weights of 2 of 2 channels leave the steps .* by at most ([0-9.]+) steps: .* symmetric',
        log,
    )
    step = 1.5 / 255
    on_grid = np.clip(np.floor(weights / step + 0.5), -170, 85) * step
    scale = models.read_record("r.txt")["out"]["scale_w"][0]
    ints = values(after, data, "weight_quant/AscendWeightQuant")[0]
    assert step < scale
    assert np.abs(ints * scale - on_grid).max() / step == pytest.approx(float(found.group(1)), abs=0.006)
    assert float(found.group(1)) <= 0.5 * 1.01 * scale / step
    old, new = values(before, data, "out")[0], values(after, data, "out")[0]
    assert np.abs(old - new).max() < 4 * 4 * float(found.group(1)) * step


def test_record_is_that_of_the_float_graph():
    """convert_model on the float graph, weights on their grids, with the record that is written: the same model."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        w = random(1, 3, 3, 3, 8)
        scale = np.abs(w).max() / 127
        w = (np.rint(w / scale) * scale).astype(F32)
        norm(v1.nn.conv2d(x, tf.constant(w), [1, 1, 1, 1], "SAME", name="conv"), 5, 8)
        tf.identity(graph.get_operations()[-1].outputs[0], name="out")
    models.write_pb(graph.as_graph_def(), "float.pb")

    def build():
        y = fake(v1.placeholder(tf.float32, [None, 8, 8, 3], name="x"), -2.5, 2.5)
        y = v1.nn.conv2d(y, fake(tf.constant(w), *around(w), narrow=True), [1, 1, 1, 1], "SAME", name="conv")
        return tf.identity(norm(y, 5, 8), name="out")

    written(build)
    found = values(converted(record_file="deep/record.txt"), DATA, "out")[0]
    amct.convert_model("float.pb", ["out"], "deep/record.txt", "f")
    expected = values(models.load("f_quantized.pb").as_graph_def(), DATA, "out")[0]
    assert np.array_equal(found, expected)
    assert len(models.read_record("deep/record.txt")["conv"]["scale_w"]) == 8


# ---- what is declined ----


def layers_apart(change):
    """Two layers, one of which is changed."""
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    w = random(1, 4, 4)
    y = tf.matmul(fake(x, -2.0, 2.0), fake(w, *around(w), narrow=True), name="fine")
    data = fake(y, -9.0, 9.0, name="mark")
    weight = fake(w, *around(w), narrow=True)
    data, weight = change(y, data, w, weight)
    return tf.matmul(data, weight, name="out")


REFUSED = {
    "data of 4 bits": (lambda y, d, w, q: (fake(y, -9.0, 9.0, bits=4, name="odd"), q), '"odd" has 4 bits, not 8'),
    "weights of 16 bits": (lambda y, d, w, q: (d, fake(w, *around(w), narrow=True, bits=16, name="odd")), '"odd" has 16 bits, not 8'),
    "no data": (lambda y, d, w, q: (tf.sin(d), q), "its data is not fake-quantized"),
    "no weights": (lambda y, d, w, q: (d, tf.constant(w)), "its weights are not fake-quantized"),
    "data by channel": (lambda y, d, w, q: (fake(y, [-9.0] * 4, [9.0] * 4, name="odd"), q), '"odd" has 4 ranges for data'),
    "weights by channel": (
        lambda y, d, w, q: (d, fake(w, *around(w, 0), narrow=True, name="odd")),
        '"odd" has 4 ranges: MatMul takes one for all weights',
    ),
    "an empty range": (lambda y, d, w, q: (fake(y, 0.0, 0.0, name="odd"), q), 'the range of "odd" is 0..0'),
    "a range that is computed": (
        lambda y, d, w, q: (
            tf.quantization.fake_quant_with_min_max_vars(y, -9.0, tf.reduce_max(y), name="odd"),
            q,
        ),
        'the range of "odd" is not constant',
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_declined(case, capfd):
    """Such a layer stays float and computes as before; the log names it and the reason."""
    change, reason = REFUSED[case]
    before = written(layers_apart, change)
    after = converted()
    assert 'layer "out" stays float: ' + reason in "".join(capfd.readouterr())
    assert ops(after).count("AscendDequant") == 1
    data = random(4, 32, 4)
    old, new = values(before, data, "out")[0], values(after, data, "out")[0]
    assert np.abs(old - new).max() < 0.3
    assert np.mean(np.abs(old - new) > 1e-3) < 0.02


def test_errors():
    models.float_pb()
    with pytest.raises(amct.UnsupportedError, match="model.pb holds no fake quantization .*needs a record"):
        amct.convert_qat_model("model.pb", [models.OUTPUT], "q")
    written(lambda: fake(v1.placeholder(tf.float32, [None, 4], name="x"), -1.0, 1.0, name="out"))
    with pytest.raises(amct.UnsupportedError, match="qat.pb: no layer can be quantized"):
        converted()
    written(network)
    with pytest.raises(ValueError, match='has no node "nothing"'):
        converted(["nothing"])
    with pytest.raises(ValueError, match="record_file is empty"):
        converted(record_file="")
    with pytest.raises(TypeError):
        amct.convert_qat_model("qat.pb", ["out"], "q", record="r.txt")
    assert not Path("q_quantized.pb").exists()
    converted()
    with pytest.raises(amct.UnsupportedError, match="already"):
        amct.convert_qat_model("q_quantized.pb", ["out"], "q2")
