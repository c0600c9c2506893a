# SPDX-License-Identifier: Apache-2.0
"""What stands around a layer that is deployed: devices, colocation, control edges, names that are taken."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models

v1 = tf.compat.v1
F32 = np.float32
X = np.random.RandomState(1).uniform(-1, 1, (2, 5, 5, 3)).astype(F32)
W = np.random.RandomState(2).uniform(-1, 1, (3, 3, 3, 3)).astype(F32)
RECORD = 'record {{ key: "{}" value {{ scale_d: {} offset_d: 0 scale_w: 0.007874016 offset_w: 0 }} }}\n'


def place():
    return v1.placeholder(tf.float32, (None, 5, 5, 3), name="x")


def conv(x, name, w=None):
    return tf.nn.conv2d(x, tf.constant(W) if w is None else w, strides=[1, 1, 1, 1], padding="SAME", name=name)


def convert(definition, outputs, layers):
    models.write_pb(definition, "model.pb")
    Path("record.txt").write_text("".join(RECORD.format(name, 0.12 if i else 0.0078125) for i, name in enumerate(layers)))
    amct.convert_model("model.pb", outputs, "record.txt", "m")
    definition = v1.GraphDef.FromString(Path("m_quantized.pb").read_bytes())
    return {node.name: node for node in definition.node}


def run(path, fetches, optimize=True):
    graph = models.load(path)
    config = v1.ConfigProto(allow_soft_placement=True)
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimize
    with v1.Session(graph=graph, config=config) as session:
        return session.run([name + ":0" for name in fetches], {"x:0": X})


def check_values(outputs):
    for optimize in (True, False):
        for found, wanted in zip(run("m_quantized.pb", outputs, optimize), run("model.pb", outputs, optimize)):
            assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


def inserted(nodes):
    made = [n for n in nodes.values() if n.op.startswith("Ascend")]
    return made + [nodes[name] for n in made for name in n.input if name in nodes and nodes[name].op == "Const"]


def test_devices():
    """The user's ops keep theirs, what is inserted has none; a layer that moves aside for its name takes its own along."""
    with tf.Graph().as_default() as graph:
        x = place()
        with graph.device("/device:GPU:0"):
            y = conv(x, "a/conv")
            y = tf.nn.bias_add(y, tf.constant(np.ones(3, F32)), name="a/bias")
        with graph.device("/device:CPU:0"):
            y = conv(tf.nn.relu(y), "b/conv")
    nodes = convert(graph.as_graph_def(), ["b/conv"], ["a/conv", "b/conv"])
    assert nodes["a/conv"].device == nodes["a/bias"].device == "/device:GPU:0"
    assert nodes["b/conv_quantized"].device == "/device:CPU:0"
    assert len(inserted(nodes)) >= 10 and all(node.device == "" for node in inserted(nodes))
    check_values(["b/conv"])


@pytest.mark.parametrize("with_what", ["w", "read", "x", "other/conv"])
def test_colocation(with_what):
    """_class may name a weight that goes, or a layer that moves: the pb loads and runs."""
    with tf.Graph().as_default() as graph:
        x = place()
        w = tf.identity(tf.constant(W, name="w"), name="read")
        other = conv(x, "other/conv")
        y = conv(tf.nn.relu(other), "a/conv", w)
        tf.nn.relu(y, name="y")
    definition = graph.as_graph_def()
    for node in definition.node:
        if node.name in ("a/conv", "y"):
            node.attr["_class"].list.s.append(("loc:@" + with_what).encode())
    nodes = convert(definition, ["y", "other/conv"], ["other/conv", "a/conv"])
    for node in nodes.values():
        if "_class" in node.attr:
            assert node.name in ("a/conv", "y") and not node.op.startswith("Ascend")
            for place_of in node.attr["_class"].list.s:
                assert place_of.decode()[5:] in nodes
    check_values(["y", "other/conv"])




def with_edges(graph, edges):
    """The graph with control edges: (source, node)."""
    definition = graph.as_graph_def()
    nodes = {node.name: node for node in definition.node}
    for source, name in edges:
        nodes[name].input.append("^" + source)
    return definition


def controls(node):
    return [source[1:] for source in node.input if source.startswith("^")]


def test_control_edges():
    """A layer waits for what it waited for; what waited for a layer, or its bias, waits for it."""
    with tf.Graph().as_default() as graph:
        x = place()
        first = tf.reduce_sum(x, name="first")
        y = tf.nn.bias_add(conv(x, "a/conv"), tf.constant(np.ones(3, F32)), name="a/bias")
        tf.nn.relu(conv(tf.nn.relu(y), "b/conv"), name="y")
        for name in ("late", "later", "last"):
            tf.identity(first, name=name)
    edges = [("first", "a/conv"), ("first", "b/conv"), ("a/conv", "late"), ("a/bias", "later"), ("b/conv", "last")]
    outputs = ["y", "late", "later", "last", "b/conv"]
    nodes = convert(with_edges(graph, edges), outputs, ["a/conv", "b/conv"])
    assert nodes["b/conv"].op == "Identity"
    assert controls(nodes["a/conv"]) == ["first"]
    assert "first" in controls(nodes["b/conv_quantized"]) + controls(nodes["b/conv"])
    assert [controls(nodes[name]) for name in ("late", "later", "last")] == [["a/conv"], ["a/bias"], ["b/conv"]]
    check_values(outputs)


def test_control_edges_of_what_is_fused():
    """A batch norm that becomes the BiasAdd waits on, and is waited for."""
    with tf.Graph().as_default() as graph:
        x = place()
        first = tf.reduce_sum(x, name="first")
        y = v1.nn.fused_batch_norm(conv(x, "a/conv"), *[np.full(3, 0.5, F32)] * 4, is_training=False, name="a/bn")[0]
        tf.nn.relu(y, name="y")
        tf.identity(first, name="late")
    nodes = convert(with_edges(graph, [("first", "a/bn"), ("a/bn", "late")]), ["y", "late"], ["a/conv"])
    assert nodes["a/bn"].op in ("BiasAdd", "FusedBatchNormV3") and "first" in controls(nodes["a/bn"])
    assert controls(nodes["late"]) == ["a/bn"]
    check_values(["y", "late"])


def test_names_that_are_taken():
    """The scope gives way, and so does the name of a layer that moves."""
    with tf.Graph().as_default() as graph:
        x = place()
        taken = tf.identity(x, name="a/act_quant/AscendQuant") + tf.identity(x, name="a/dequant/AscendDequant")
        taken += tf.reduce_sum(tf.constant(W, name="a/weight_quant/AscendWeightQuant")) + tf.identity(x, name="a/conv_quantized")
        taken = tf.identity(taken, name="taken")
        conv(taken, "a/conv")
    nodes = convert(graph.as_graph_def(), ["a/conv"], ["a/conv"])
    for name in ("a/act_quant_1/AscendQuant", "a/dequant_1/AscendDequant", "a/weight_quant_1/AscendWeightQuant"):
        assert nodes[name].op == name.rpartition("/")[2]
    assert nodes["a/conv"].op == "Identity"
    (moved,) = [name for name, node in nodes.items() if node.op == "Conv2D"]
    assert moved.startswith("a/conv_quantized") and moved != "a/conv_quantized"


def test_no_scope():
    """A layer without a scope: act_quant/AscendQuant."""
    with tf.Graph().as_default() as graph:
        tf.nn.relu(conv(place(), "conv"), name="y")
    nodes = convert(graph.as_graph_def(), ["y"], ["conv"])
    assert {"act_quant/AscendQuant", "weight_quant/AscendWeightQuant", "dequant/AscendDequant"} <= set(nodes)
