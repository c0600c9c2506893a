# SPDX-License-Identifier: Apache-2.0
"""Edits of live graphs, with stock ops: CheckNumerics observes, and fails on a NaN.

So a run that must fail on a NaN, in a tensor that nothing fetches, proves that the observer ran.
"""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from amct_tensorflow import GraphError, _core, _live

v1 = tf.compat.v1


def node(name, op, inputs, near="", **attrs):
    """An edit that adds a node; types by tf.DType, texts by bytes."""
    definition = v1.NodeDef(name=name, op=op, input=inputs)
    for key, value in attrs.items():
        if isinstance(value, bytes):
            definition.attr[key].s = value
        else:
            definition.attr[key].type = value.as_datatype_enum
    return _core.Edit(_core.EDIT_ADD, name, near, definition.SerializeToString())


def reads(name, tensor, index=0):
    """An edit that has node `name` read `tensor` as its input."""
    return _core.Edit(_core.EDIT_SET_INPUT, name, tensor, b"", index)


def watch(layer, tensor, name="watch/CheckNumerics", index=0):
    """Edits that observe `tensor`, an input of `layer`, whenever `layer` runs: it reads it past an Identity that waits."""
    gate = name + "_gate"
    return [
        reads(layer, gate + ":0", index),
        node(gate, "Identity", [tensor, "^" + name], layer, T=tf.float32),
        node(name, "CheckNumerics", [tensor], layer, T=tf.float32, message=b"seen"),
    ]


def names(graph):
    """All node names, in order of creation."""
    return [op.name for op in graph.get_operations()]


def small_graph():
    """x -> x > 2 as `layer` -> y: a NaN in x shows nowhere in y."""
    x = v1.placeholder(tf.float32, [None, 3], name="x")
    layer = tf.greater(x, 2.0, name="layer")
    return tf.identity(layer, name="y")


@contextlib.contextmanager
def old_control_flow():
    """cond and while_loop make Switch, Merge and frames, not functions."""
    before = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        yield
    finally:
        if before:
            v1.enable_control_flow_v2()


GOOD = np.ones((2, 3), np.float32)
BAD = np.full((2, 3), np.nan, np.float32)


def check_observed(session, y, feed="x:0"):
    """The run of y goes well on numbers and fails on NaN, naming the observer."""
    assert not session.run(y, {feed: GOOD}).any()
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        session.run(y, {feed: BAD})
    assert caught.value.node_def.name.endswith("CheckNumerics")


@pytest.mark.parametrize("session_first", [False, True])
@pytest.mark.parametrize("default", [False, True])
def test_whoever_runs_the_layer_runs_the_observer(session_first, default):
    graph = v1.get_default_graph() if default else tf.Graph()
    with graph.as_default():
        y = small_graph()
    session = v1.Session(graph=graph) if session_first else None
    _live.apply(graph, watch("layer", "x"))
    session = session or v1.Session(graph=graph)
    with session:
        check_observed(session, y)
        check_observed(session, "layer:0")


def test_without_the_edit_nothing_observes():
    with tf.Graph().as_default() as graph:
        y = small_graph()
    with v1.Session(graph=graph) as session:
        assert not session.run(y, {"x:0": BAD}).any()


def test_callers_context_stays_outside():
    graph = tf.Graph()
    with graph.as_default():
        small_graph()
        barrier = tf.constant(1.0, name="barrier")
        with v1.variable_scope("vs"), graph.name_scope("ns"), graph.device("/gpu:0"):
            with graph.control_dependencies([barrier]), graph.colocate_with(barrier):
                _live.apply(graph, watch("layer", "x"))
                after = tf.constant(2.0)
    added = graph.get_operation_by_name("watch/CheckNumerics")
    assert (added.device, added.control_inputs) == ("", [])
    assert b"_class" not in added.node_def.SerializeToString()
    # and the caller's context is as it was
    assert after.op.control_inputs == [barrier.op]
    assert after.op.name.startswith("vs/ns/")


def test_order_of_edits_does_not_matter():
    edits = [
        reads("layer", "watch/CheckNumerics"),
        node("watch/CheckNumerics", "CheckNumerics", ["b", "^c"], T=tf.float32, message=b"m"),
        node("c", "Identity", ["x"], T=tf.float32),
        node("b", "Identity", ["a:0"], T=tf.float32),
        node("a", "Identity", ["x:0"], T=tf.float32),
    ]
    with tf.Graph().as_default() as graph:
        y = small_graph()
    _live.apply(graph, edits)
    assert [i.name for i in graph.get_operation_by_name("b").inputs] == ["a:0"]
    controls = graph.get_operation_by_name("watch/CheckNumerics").control_inputs
    assert [op.name for op in controls] == ["c"]
    with v1.Session(graph=graph) as session:
        check_observed(session, y)


def test_imported_graph():
    with tf.Graph().as_default() as source:
        small_graph()
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(source.as_graph_def(), name="net")
    _live.apply(graph, watch("net/layer", "net/x"))
    with v1.Session(graph=graph) as session:
        check_observed(session, "net/y:0", "net/x:0")


def test_one_branch_of_a_cond():
    with tf.Graph().as_default() as graph, old_control_flow():
        x = v1.placeholder(tf.float32, [2, 3], name="x")
        taken = v1.placeholder(tf.bool, [], name="taken")
        y = v1.cond(
            taken, lambda: tf.greater(x, 2.0, name="layer"), lambda: tf.equal(x, x, name="other")
        )
    layer = graph.get_operation_by_name("cond/layer")
    _live.apply(graph, watch("cond/layer", layer.inputs[0].name))
    with v1.Session(graph=graph) as session:
        assert not session.run(y, {"x:0": BAD, "taken:0": False}).any()
        assert not session.run(y, {"x:0": GOOD, "taken:0": True}).any()
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run(y, {"x:0": BAD, "taken:0": True})


@pytest.mark.parametrize("imported", [False, True])
def test_each_turn_of_a_loop(imported):
    graph = tf.Graph()
    with graph.as_default(), old_control_flow():
        bad_turn = v1.placeholder(tf.int32, [], name="bad_turn")

        def body(turn, seen):
            value = tf.where(tf.equal(turn, bad_turn), np.float32("nan"), np.float32(1))
            return turn + 1, tf.logical_or(seen, tf.greater(value, 2.0, name="layer"))

        v1.while_loop(lambda turn, _: turn < 5, body, [0, False], name="loop")
    if imported:  # ops that have no control-flow context in Python
        definition = graph.as_graph_def()
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(definition, name="")
    layer = graph.get_operation_by_name("loop/layer")
    exits = [op.outputs[0] for op in graph.get_operations() if op.type == "Exit"]
    _live.apply(graph, watch("loop/layer", layer.inputs[0].name))
    with v1.Session(graph=graph) as session:
        assert session.run(exits, {"bad_turn:0": 9})[0] == 5
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run(exits, {"bad_turn:0": 4})


@pytest.mark.parametrize("resource", [False, True])
def test_variables_and_a_saver_built_before(resource, tmp_path):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 3], name="x")
        with v1.variable_scope("net", use_resource=resource):
            w = v1.get_variable("w", [3], initializer=v1.ones_initializer())
        y = tf.multiply(x, w, name="layer")
        saver = v1.train.Saver()
        read = y.op.inputs[1].name
    with v1.Session(graph=graph) as session:
        session.run(w.initializer)
        saver.save(session, str(tmp_path / "model"))
    graph2 = tf.Graph()
    with graph2.as_default():
        saver = v1.train.import_meta_graph(str(tmp_path / "model.meta"))
    _live.apply(graph2, watch("layer", read, index=1))
    with v1.Session(graph=graph2) as session:
        saver.restore(session, str(tmp_path / "model"))
        assert (session.run("layer:0", {"x:0": GOOD}) == GOOD).all()
        variable = graph2.get_collection("variables")[0]
        variable.load(np.full(3, np.nan, np.float32), session)
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run("layer:0", {"x:0": GOOD})


@pytest.mark.parametrize(
    "edits, words",
    [
        ([node("a", "Identity", ["nowhere"], T=tf.float32)], "a: .*nowhere"),
        ([node("x", "Identity", ["layer"], T=tf.float32)], "x: .*has such"),
        ([node("a", "NoSuchOp", ["x"])], "a: .*NoSuchOp"),
        ([node("a", "CheckNumerics", ["x"], T=tf.float32)], "a: .*message"),
        ([node("a", "BiasAdd", ["x", "x"], T=tf.float32)], "a: .*rank"),
        ([node("a", "Identity", ["x"], "gone", T=tf.float32)], "a: .*gone"),
        ([node("a", "Identity", ["x", "^gone"], T=tf.float32)], "a: .*gone"),
        ([reads("layer", "gone")], "layer: .*gone"),
        ([reads("gone", "x")], "gone"),
        ([reads("layer", "x:0", 2)], "layer: .*no input 2"),
        ([reads("layer", "layer:0")], "layer: input 0 is .*float32.*bool"),
        ([_core.Edit(7, "layer", "x", b"")], "kind"),
        (
            [
                node("a", "Identity", ["b"], T=tf.float32),
                node("b", "Identity", ["a"], T=tf.float32),
            ],
            "cycle",
        ),
        ([node("a", "Identity", ["x"], T=tf.float32)] * 2, "same name"),
    ],
)
def test_a_failure_leaves_the_graph_as_it_was(edits, words):
    with tf.Graph().as_default() as graph:
        small_graph()
    before = graph.as_graph_def().SerializeToString(deterministic=True)
    # good edits before and after the bad one must not be applied either
    with pytest.raises(GraphError, match=words):
        _live.apply(graph, watch("layer", "x") + list(edits) + watch("layer", "x", "late"))
    assert graph.as_graph_def().SerializeToString(deterministic=True) == before


def test_a_finalized_graph_is_refused():
    with tf.Graph().as_default() as graph:
        small_graph()
    graph.finalize()
    with pytest.raises(GraphError, match="finalized"):
        _live.apply(graph, watch("layer", "x"))


def test_a_graph_too_large_to_serialize():
    class TooLarge(object):
        def as_graph_def(self):
            raise ValueError("GraphDef cannot be larger than 2GB.")

    with pytest.raises(GraphError, match="limit is 2 GB"):
        _live.serialize(TooLarge())


def test_many_edits():
    count = 2000
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [3], name="x")
        for i in range(count):
            x = tf.sin(x, name="n{}".format(i))  # not Neg: see doc/decisions/0022-an-identity-waits.md
    edits = []
    for i in range(1, count):
        edits += watch("n{}".format(i), "n{}".format(i - 1), "w{}".format(i))
    _live.apply(graph, edits)
    assert len(names(graph)) == 3 * count - 1
    expected = np.array([1, 2, 3], np.float32)
    for _ in range(count):
        expected = np.sin(expected)
    with v1.Session(graph=graph) as session:
        assert np.allclose(session.run(x, {"x:0": [1, 2, 3]}), expected, rtol=1e-4)
