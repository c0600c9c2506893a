# SPDX-License-Identifier: Apache-2.0
"""Graphs that were frozen with their is_training flag: conds of version 1, written by the layers of TensorFlow 1."""

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import fusion_graphs
import models
from amct_tensorflow import _core
from test_flow_live import old_control_flow

v1 = tf.compat.v1
raw = tf.raw_ops
MODERN = tf.__version__.startswith("2")
SHAPE = (8, 8, 3)


def initial(low, high, seed):
    return v1.random_uniform_initializer(low, high, seed=seed)


def statistics():
    return {
        "beta": initial(-1, 1, 2),
        "gamma": initial(0.5, 2, 3),
        "moving_mean": initial(-1, 1, 4),
        "moving_variance": initial(0.5, 2, 5),
    }


def convolution(x, name="conv"):
    weight = v1.get_variable(name, (3, 3, int(x.shape[3]), 5), initializer=initial(-0.5, 0.5, 1))
    return tf.nn.conv2d(x, weight, strides=[1, 1, 1, 1], padding="SAME")


# ---- batch norms, each with a flag that is a tensor or a Python bool ----


def layers_norm(x, flag):
    start = {"moving_" * (key[0] == "m") + key.replace("moving_", "") + "_initializer": value for key, value in statistics().items()}
    return v1.layers.batch_normalization(x, training=flag, **start)


def slim_norm(x, flag, fused=True):
    from tensorflow.contrib import slim

    return slim.batch_norm(x, is_training=flag, fused=fused, scale=True, param_initializers=statistics())


def slim_small_norm(x, flag):
    return slim_norm(x, flag, fused=False)


def keras_small_norm(x, flag):
    start = {"moving_" * (key[0] == "m") + key.replace("moving_", "") + "_initializer": value for key, value in statistics().items()}
    return tf.keras.layers.BatchNormalization(fused=False, **start)(x, training=flag)


def raw_norm(x, flag):
    """What those write, by hand: in TensorFlow 2 they are gone."""
    p = {key: v1.get_variable(key, [5], initializer=value) for key, value in sorted(statistics().items())}

    def norm(training, mean, variance):
        return raw.FusedBatchNormV3(
            x=x, scale=p["gamma"], offset=p["beta"], mean=mean, variance=variance, is_training=training, epsilon=1e-3
        )[0]

    def infer():
        return norm(False, p["moving_mean"], p["moving_variance"])

    if isinstance(flag, bool):
        return infer()
    return v1.cond(flag, lambda: norm(True, tf.zeros([0]), tf.zeros([0])), infer)


NORMS = [raw_norm] if MODERN else [raw_norm, layers_norm, slim_norm, slim_small_norm, keras_small_norm]


def dropped(x, flag):
    """Dropout as tf.layers writes it."""
    if isinstance(flag, bool):
        return x
    return v1.cond(flag, lambda: tf.nn.dropout(x, rate=0.5), lambda: tf.identity(x))


def network(norm, flag):
    """Two convolutions with batch norms, between the first dropout. Returns the graph."""
    with tf.Graph().as_default() as graph, old_control_flow():
        v1.set_random_seed(7)
        x = v1.placeholder(tf.float32, (None,) + SHAPE, name="x")
        if flag == "default":
            flag = v1.placeholder_with_default(False, [], name="is_training")
        elif flag == "fed":
            flag = v1.placeholder(tf.bool, [], name="is_training")
        elif flag == "constant":
            flag = tf.constant(False, name="is_training")
        for name in ("one", "two"):
            with v1.variable_scope(name):
                x = tf.nn.relu(norm(dropped(convolution(x), flag), flag))
        tf.identity(x, name="y")
    return graph


def frozen(graph):
    """The GraphDef and the values of its variables, which the seed gives."""
    with models.plain_session(graph) as session:
        with graph.as_default():
            session.run(v1.global_variables_initializer())
        with old_control_flow():
            return v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["y"])


def feeds(images=64):
    return {"x:0": np.random.RandomState(0).normal(0, 1, (images,) + SHAPE).astype(np.float32)}


@pytest.mark.parametrize("flag", ["default", "constant"])
@pytest.mark.parametrize("norm", NORMS)
def test_a_flag_that_is_off_folds_like_inference(norm, flag):
    before = frozen(network(norm, flag))
    plain = frozen(network(norm, False))
    assert fusion_graphs.count_ops(before, "Merge") >= 2
    after = fusion_graphs.fuse(before, ["y"])
    assert fusion_graphs.batch_norms(after) == 0
    gone = ("Merge", "Switch", "SquaredDifference", "RandomUniform", "Mean")
    assert fusion_graphs.count_ops(after, *gone) == 0
    wanted, found = (fusion_graphs.run(graph, feeds(), ["y"])[0] for graph in (before, after))
    assert np.abs(wanted - found).max() <= 2e-6 * np.abs(wanted).max()
    fusion_graphs.check_values(plain, after, feeds(), ["y"])


@pytest.mark.parametrize("norm", NORMS)
def test_a_flag_that_must_be_fed_is_declined(norm):
    before = frozen(network(norm, "fed"))
    path = models.write_pb(before, "float.pb")
    _core.fuse_model(path, ["y"], "fed")
    with open("fed_fused.pb", "rb") as file:
        after = v1.GraphDef.FromString(file.read())
    assert fusion_graphs.batch_norms(after) == fusion_graphs.batch_norms(before)
    plan = _core.describe_plan(before.SerializeToString(), ["y"])
    assert 'by Placeholder "is_training": export the graph with a constant in its place' in plan


@pytest.mark.parametrize("norm", NORMS)
def test_the_live_graph_is_calibrated_with_its_flag(norm):
    graph = network(norm, "default")
    live = _core.describe_plan(graph.as_graph_def().SerializeToString(), ["y"])
    pb = models.write_pb(frozen(graph), "frozen.pb")
    assert [line for line in live.splitlines() if line.startswith("layer")] == [
        line for line in _core.describe_plan(pb, ["y"]).splitlines() if line.startswith("layer")
    ]
    amct.create_quant_config("config.json", graph)
    with graph.as_default():
        amct.quantize_model(graph, "config.json", "record.txt", calib_outputs=["y"])
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            wanted = session.run("y:0", feeds(8))
    amct.save_model(pb, ["y"], "record.txt", "out/model")
    quantized = models.load("out/model_quantized.pb")
    ops = set(models.op_types(quantized).values())
    assert "AscendDequant" in ops and not ops & {"Merge", "FusedBatchNormV3", "FusedBatchNorm", "Rsqrt"}
    with v1.Session(graph=quantized) as session:
        found = session.run("y:0", feeds(8))
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()
