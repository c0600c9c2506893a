# SPDX-License-Identifier: Apache-2.0
"""Fused graphs compute what they did, in TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import fusion_graphs
import models
from amct_tensorflow import ArgumentError, _core
from fusion_pieces import SUMS, Pieces
from test_flow_live import old_control_flow

v1 = tf.compat.v1

CHANNELS = 6
IMAGES = 96  # so that the largest error is no accident of a few values, in either graph


def test_a_network_keeps_its_values():
    before = models.graph_of().as_graph_def()
    after = fusion_graphs.fuse(before, [models.OUTPUT])
    assert fusion_graphs.batch_norms(before) == 2
    assert fusion_graphs.batch_norms(after) == 0
    feeds = {models.INPUT: models.images(32)}
    fusion_graphs.check_values(before, after, feeds, [models.OUTPUT])


def test_what_fuse_model_refuses(tmp_path):
    path = models.float_pb()
    with pytest.raises(ArgumentError, match="outputs is empty"):
        _core.fuse_model(path, [], "out/model")
    with pytest.raises(ArgumentError, match="no node"):
        _core.fuse_model(path, ["nothing"], "out/model")
    with pytest.raises(OSError, match="nowhere.pb"):
        _core.fuse_model("nowhere.pb", [models.OUTPUT], "out/model")
    assert not (tmp_path / "out").exists()


def feed(seed, nchw, images=IMAGES):
    shape = (images, CHANNELS, 9, 9) if nchw else (images, 9, 9, CHANNELS)
    return {"x:0": np.random.RandomState(seed).normal(0, 1, shape).astype(np.float32)}


@pytest.mark.parametrize("nchw", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_every_form_folds_and_keeps_its_values(seed, nchw):
    """Eight networks of one to three pieces, every batch norm behind a convolution."""
    graph = tf.Graph()
    outputs = []
    with graph.as_default():
        pieces = Pieces(seed, nchw)
        x = pieces.image(CHANNELS)
        for i in range(8):
            y = x
            for _ in range(pieces.pick(1, 2, 3)):
                y = pieces.piece(y)
            if pieces.chance(0.3):
                y = pieces.dense(y)
            outputs.append("y_{}".format(i))
            tf.nn.relu(y, name=outputs[-1])
    before = graph.as_graph_def()
    assert fusion_graphs.batch_norms(before) == pieces.norms
    after = fusion_graphs.fuse(before, outputs)
    assert fusion_graphs.batch_norms(after) == 0
    assert fusion_graphs.count_ops(after, "Mul", "RealDiv", "Add", "AddV2", "Sub") == 0
    assert fusion_graphs.count_ops(after, "Split", "SplitV") == fusion_graphs.count_ops(before, "Split", "SplitV")
    for op in ("Conv2D", "Conv2DBackpropInput", "MatMul", "BatchToSpaceND"):
        assert fusion_graphs.count_ops(after, op) == fusion_graphs.count_ops(before, op)
    fusion_graphs.check_values(before, after, feed(seed, nchw), outputs)


@pytest.mark.parametrize("groups", range(1, 34))
def test_any_number_of_groups(groups):
    graph = tf.Graph()
    with graph.as_default():
        pieces = Pieces(groups)
        tf.nn.relu(pieces.group(pieces.image(CHANNELS), groups), name="y")
    before = graph.as_graph_def()
    after = fusion_graphs.fuse(before, ["y"])
    assert fusion_graphs.batch_norms(after) == 0
    fusion_graphs.check_values(before, after, feed(groups, False), ["y"])


# ---- from the live graph to the quantized pb ----


def single(p, x):
    return p.norm(p.bias(p.conv(x, 8), "AddV2"))


def biased(p, x):
    """No batch norm, and biases of every kind."""
    for _ in range(4):
        x = tf.nn.relu(p.bias(p.conv(x, 4), "BiasAdd"))
    return x


def transposed(p, x):
    x = tf.nn.relu(p.large(p.transposed(x, 8)))
    return p.small(p.bias(p.transposed(x, 4), "BiasAdd"), scale=True, offset=True)


def atrous(p, x):
    x = tf.nn.relu(p.large(p.bias(p.atrous(x, 8), "BiasAdd")))
    return p.small(p.atrous(x, 4), scale=True, offset=True)


def arithmetic(p, x):
    x = tf.nn.relu(p.arithmetic(p.conv(x, 8), "AddV2"))
    x = tf.nn.relu(p.arithmetic(p.arithmetic(p.bias(p.transposed(x, 8), "BiasAdd"), "Mul"), "Sub"))
    x = tf.nn.relu(p.arithmetic(p.norm(p.arithmetic(p.conv(x, 2, depthwise=True), "RealDiv")), "Add"))
    size = int(np.prod([int(n) for n in x.shape[1:]]))
    return p.arithmetic(p.arithmetic(p.matmul(tf.reshape(x, [-1, size]), 8), "AddV2"), "RealDiv")


def dense_small(p, x):
    return p.dense(x, "small")


def dense_reshape(p, x):
    return p.dense(x, "reshape")


def small(p, x):
    x = tf.nn.relu(p.small(p.conv(x, 8), scale=True, offset=True))
    x = tf.nn.relu(p.small(p.conv(x, 4), scale=False, offset=True))
    return p.small(p.small(p.conv(x, 4), scale=False, offset=False), scale=True, offset=False)


def group(p, x):
    x = tf.nn.relu(p.large(p.concat([p.biased(p.conv(part, 2, padding="SAME")) for part in p.parts(x, 3)])))
    parts = [p.conv(part, 3, padding="SAME") for part in p.parts(x, 2)]
    x = p.large(p.small(p.concat(parts), scale=False, offset=False))
    parts = [p.biased(p.conv(part, 2, padding="SAME")) for part in p.parts(x, 2)]
    return p.large(p.bias(p.concat(parts), p.pick(*SUMS)))


# of the weight, without those of the output channels
AXES = {
    "Conv2D": (0, 1, 2),
    "DepthwiseConv2dNative": (0, 1),
    "Conv2DBackpropInput": (0, 1, 3),
    "MatMul": (0, 1),
}


def folded_scales(definition, layers):
    """scale_w that the folded weights ask for, by layer."""
    nodes = {node.name: node for node in definition.node}
    scales = {}
    for node in definition.node:
        if node.name in layers:
            source = nodes[node.input[1]]
            while source.op == "Identity":
                source = nodes[source.input[0]]
            weight = tf.make_ndarray(source.attr["value"].tensor)
            axes = AXES[node.op]
            scales[node.name] = np.abs(weight).max(axes).ravel() / np.float32(127)
    return scales


MAKES = {"constant": models.constant, "ref": models.ref_variable, "resource": models.resource_variable}


@pytest.mark.parametrize("make", sorted(MAKES))
@pytest.mark.parametrize("network", [single, biased, transposed, atrous, arithmetic, dense_small, dense_reshape, small, group])
@pytest.mark.parametrize("seed", range(3))
def test_calibration_sees_the_weights_that_save_model_folds(network, make, seed):
    graph = tf.Graph()
    feeds = feed(seed, False, images=2)
    with graph.as_default():
        pieces = Pieces(seed, make=MAKES[make])
        tf.nn.relu(network(pieces, pieces.image(CHANNELS)), name="y")
        with models.plain_session(graph) as session:
            session.run(v1.global_variables_initializer())
            values = session.run(v1.global_variables())
            frozen = models.freeze(session, "frozen.pb", ["y"])
            wanted = session.run("y:0", feeds)
        live = _core.describe_plan(graph.as_graph_def().SerializeToString())
        assert live == _core.describe_plan(frozen)
        assert "keep" not in live
        amct.create_quant_config("config.json", graph)
        amct.quantize_model(graph, "config.json", "record.txt")
        with models.plain_session(graph) as session:
            for variable, value in zip(v1.global_variables(), values):
                variable.load(value, session)
            np.testing.assert_array_equal(session.run("y:0", feeds), wanted)
            calibrated = models.freeze(session, "calibrated.pb", ["y"])
    with open(frozen, "rb") as file:
        fused = fusion_graphs.fuse(v1.GraphDef.FromString(file.read()), ["y"])
    assert fusion_graphs.batch_norms(fused) == 0
    record = models.read_record("record.txt")
    scales = folded_scales(fused, pieces.layers)
    assert sorted(record) == sorted(scales)
    for layer, scale in scales.items():
        np.testing.assert_array_equal(np.array(record[layer]["scale_w"], np.float32).ravel(), scale)
    for pb in (frozen, calibrated):
        amct.save_model(pb, ["y"], "record.txt", "out/model")
        quantized = models.load("out/model_quantized.pb")
        with v1.Session(graph=quantized) as session:
            found = session.run("y:0", feeds)
        assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()
        if network is biased:  # integers are added
            assert sum(name.endswith("bias_quantized") for name in models.op_types(quantized)) == 4
        kinds = set(models.op_types(quantized).values())
        assert not kinds & {"FusedBatchNormV3", "QuantArq", "Rsqrt", "Neg"}


@pytest.mark.parametrize("make", sorted(MAKES))
def test_a_batch_norm_ahead_goes_in_before_quantization(make):
    """quantize_model and save_model leave it, and say what to do: that does it."""
    graph = tf.Graph()
    feeds = feed(7, False, images=4)
    with graph.as_default():
        pieces = Pieces(7, make=MAKES[make])
        y = pieces.image(CHANNELS)
        for _ in range(3):
            y = pieces.ahead(y)
        tf.nn.relu(y, name="y")
        with models.plain_session(graph) as session:
            session.run(v1.global_variables_initializer())
            frozen = models.freeze(session, "frozen.pb", ["y"])
            wanted = session.run("y:0", feeds)
    plan = _core.describe_plan(graph.as_graph_def().SerializeToString())
    assert plan == _core.describe_plan(frozen)
    assert plan.count("run `amct fuse`") >= 3
    _core.fuse_model(frozen, ["y"], "out/model")
    graph = models.load("out/model_fused.pb")
    assert fusion_graphs.batch_norms(graph.as_graph_def()) == 0
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "record.txt")
    with models.plain_session(graph) as session:
        session.run("y:0", feeds)
    amct.save_model("out/model_fused.pb", ["y"], "record.txt", "out/model")
    quantized = models.load("out/model_quantized.pb")
    assert set(models.read_record("record.txt")) == set(pieces.layers)
    with v1.Session(graph=quantized) as session:
        found = session.run("y:0", feeds)
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


def test_six_hundred_batch_norms_in_a_row():
    """All of them go into one convolution, rounded once."""
    graph = tf.Graph()
    with graph.as_default():
        pieces = Pieces(1)
        x = pieces.conv(pieces.image(CHANNELS), 4)
        values = [pieces.parameter("p", np.full(4, v)) for v in (1.0, 0.01, 0.02, 1.0)]
        for _ in range(600):
            x = v1.nn.fused_batch_norm(x, *values, epsilon=1e-3, is_training=False)[0]
        tf.nn.relu(x, name="y")
    before = graph.as_graph_def()
    assert fusion_graphs.batch_norms(before) == 600
    after = fusion_graphs.fuse(before, ["y"])
    assert fusion_graphs.batch_norms(after) == 0
    fusion_graphs.check_values(before, after, feed(1, False), ["y"])


def test_more_batch_norms_in_a_row_than_one_run_takes():
    """It says so, and another run goes on."""
    graph = tf.Graph()
    with graph.as_default():
        pieces = Pieces(1)
        x = pieces.conv(pieces.image(CHANNELS), 4)
        values = [pieces.parameter("p", np.full(4, v)) for v in (1.0, 0.001, 0.002, 1.0)]
        for _ in range(2000):
            x = v1.nn.fused_batch_norm(x, *values, epsilon=1e-3, is_training=False)[0]
        tf.nn.relu(x, name="y")
    definition = graph.as_graph_def()
    counts = [2000]
    while counts[-1] > 0:
        plan = _core.describe_plan(definition.SerializeToString(), ["y"])
        path = models.write_pb(definition, "float.pb")
        _core.fuse_model(path, ["y"], "out/model")
        definition = models.load("out/model_fused.pb").as_graph_def()
        counts.append(fusion_graphs.batch_norms(definition))
        assert ("fuse what it wrote again" in plan) == (counts[-1] > 0)
        assert counts[-1] < counts[-2]


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_branches_of_a_cond_that_is_decided_at_run_time(seed, outside):
    """Convolution and batch norm in the same branch; `outside`: its parameters are read from before the cond."""
    with tf.Graph().as_default() as graph, old_control_flow():
        pieces = Pieces(seed)
        x = pieces.image(CHANNELS)
        flag = v1.placeholder(tf.bool, [], name="flag")
        known = pieces.norm_values(4)
        values = [pieces.parameter(name, known[name]) for name in ("scale", "offset", "mean", "variance")]

        def branch():
            pieces.known = {}  # constants of the other branch are none here
            y = pieces.conv(x, 4, size=3, padding="SAME")
            if outside:
                return v1.nn.fused_batch_norm(y, *values, is_training=False)[0]
            return pieces.large(pieces.biased(y))

        tf.nn.relu(v1.cond(flag, branch, branch), name="y")
    before = graph.as_graph_def()
    after = fusion_graphs.fuse(before, ["y"])
    assert fusion_graphs.batch_norms(before) == 2 and fusion_graphs.batch_norms(after) == 0
    for taken in (False, True):
        old, new = (fusion_graphs.run(d, dict(feed(seed, False), **{"flag:0": taken}), ["y"])[0] for d in (before, after))
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-4)


def test_the_order_of_nodes_does_not_matter():
    graph = tf.Graph()
    with graph.as_default():
        pieces = Pieces(5)
        x = pieces.image(CHANNELS)
        for i in range(20):
            tf.nn.relu(pieces.piece(pieces.piece(x)), name="y_{}".format(i))
    outputs = ["y_{}".format(i) for i in range(20)]
    before = graph.as_graph_def()
    fused = fusion_graphs.fuse(before, outputs)
    random = np.random.RandomState(3)
    for _ in range(5):
        shuffled = v1.GraphDef(versions=before.versions)
        shuffled.node.extend(before.node[i] for i in random.permutation(len(before.node)))
        again = fusion_graphs.fuse(shuffled, outputs)
        assert sorted(map(str, fused.node)) == sorted(map(str, again.node))
