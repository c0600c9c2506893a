# SPDX-License-Identifier: Apache-2.0
"""QuantIfmr and QuantArq as nodes that hang at the side of a graph by control edges."""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct

v1 = tf.compat.v1
F32 = np.float32
TYPES = {np.float16: tf.float16, np.float32: tf.float32, np.float64: tf.float64}
IDS = ("{:016x}-test".format(n) for n in itertools.count(1))  # each later than the one before


def attr(value):
    """An AttrValue of a Python value."""
    if isinstance(value, bool):
        return v1.AttrValue(b=value)
    if isinstance(value, int):
        return v1.AttrValue(i=value)
    if isinstance(value, str):
        return v1.AttrValue(s=value.encode())
    if isinstance(value, tf.DType):
        return v1.AttrValue(type=value.as_datatype_enum)
    values = v1.AttrValue.ListValue()
    for item in value:
        if isinstance(item, tf.DType):
            values.type.append(item.as_datatype_enum)
        elif isinstance(item, str):
            values.s.append(item.encode())
        else:
            values.i.append(item)
    return v1.AttrValue(list=values)


class Calibration:
    """Observers of one calibration, as the core plans them."""

    def __init__(self, total, batch_num=1, record="record.txt"):
        self.id = next(IDS)
        self.record = os.path.abspath(record)
        self.total, self.batch_num = total, batch_num

    def node(self, op, inputs, name, attrs):
        attrs.update(calibration_id=self.id, record_file=self.record, layer_total=self.total)
        attrs = {key: attr(value) for key, value in attrs.items()}
        return tf.identity(inputs[0]).graph.create_op(op, inputs, [], name=name, attrs=attrs)

    def ifmr(self, x, names, indices, weighted=None, **changes):
        attrs = dict(
            T=x.dtype.base_dtype,
            batch_num=self.batch_num,
            layer_names=names,
            layer_indices=indices,
            layer_weighted=weighted or [0] * len(names),
            asymmetric=True,
            ifmr=["0.999999", "0.999999", "0.7", "1.3", "0.01"],
        )
        attrs.update(changes)
        return self.node("QuantIfmr", [x], names[0] + "/act_quant/QuantIfmr", attrs)

    def arq(self, inputs, layer, index, axes=(3,), fold=(), **changes):
        attrs = dict(
            Tin=[t.dtype.base_dtype for t in inputs],
            layer_name=layer,
            layer_index=index,
            channel_axes=list(axes),
            channel_wise=True,
            fold=list(fold),
        )
        attrs.update(changes)
        return self.node("QuantArq", inputs, layer + "/weight_quant/QuantArq", attrs)

    def text(self):
        with open(self.record) as file:
            return file.read()


def values_of(text, field):
    """All values of a field, in order."""
    found = (line.split(": ") for line in text.splitlines() if field + ": " in line)
    return np.array([value for _, value in found], F32)


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


RELU6 = np.array([0, 6, 6, 0], F32)  # whose best range is exactly 0 .. 6
SCALE6 = F32(6) / F32(255)


def is_relu6(calibration):
    return os.path.exists(calibration.record) and np.array_equal(
        values_of(calibration.text(), "scale_d"), [SCALE6]
    )


# ---- when observers run ----


@pytest.mark.parametrize("dtype", list(TYPES), ids=lambda t: t.__name__)
def test_runs_by_control_edge(dtype):
    calibration = Calibration(1)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(TYPES[dtype], [None])
        layer = tf.abs(x, name="layer")
        y = tf.negative(layer)
        session = v1.Session(graph=graph)
        layer.op._add_control_input(calibration.ifmr(x, ["layer"], [0]))
        session.run(y, {x: RELU6.astype(dtype)})
    assert is_relu6(calibration)
    assert calibration.text().count("offset_d: -128") == 1


@pytest.mark.parametrize("algorithm", ["hfmg", "min_max", "percentile"])
def test_algorithms(algorithm):
    """A million values between 0 and 1 and one far out, in three batches."""
    calibration = Calibration(1, batch_num=3)
    values = np.random.default_rng(1).permutation(np.append(np.linspace(0, 1, 1_000_000), 3)).astype(F32)
    numbers = ["0.9999", "0.999999", "0.7", "1.3", "0.01"]
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None])
        layer = tf.abs(x, name="layer")
        layer.op._add_control_input(calibration.ifmr(x, ["layer"], [0], act_algo=algorithm, ifmr=numbers))
        with v1.Session(graph=graph) as session:
            for part in np.array_split(values, 3):
                session.run(layer, {x: part})
    found = float(values_of(calibration.text(), "scale_d")[0]) * 255
    if algorithm == "hfmg":  # one value does not outweigh the finer grid of a million
        assert 0.9 < found < 1.1
    else:
        wanted = 3 if algorithm == "min_max" else np.sort(values)[-101]
        assert abs(found - wanted) < 1e-6


def test_unknown_algorithms_are_refused():
    calibration = Calibration(1)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None])
        observer = calibration.ifmr(x, ["layer"], [0], act_algo="kl")
        with v1.Session(graph=graph) as session:
            with pytest.raises(tf.errors.OpError, match='act_algo is "kl"'):
                session.run(observer, {x: RELU6})


def test_nobody_else_runs_it():
    calibration = Calibration(1)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None])
        layer = tf.abs(x)
        layer.op._add_control_input(calibration.ifmr(x, ["layer"], [0]))
        other = tf.negative(x)
        with v1.Session(graph=graph) as session:
            session.run(other, {x: RELU6})
            assert not os.path.exists(calibration.record)
            session.run(layer, {x: RELU6})
    assert is_relu6(calibration)


@pytest.mark.parametrize("taken", [True, False])
def test_inside_cond(taken):
    calibration = Calibration(1)
    with tf.Graph().as_default() as graph, old_control_flow():
        x = v1.placeholder(tf.float32, [None])
        flag = v1.placeholder(tf.bool, [])

        def branch():
            layer = tf.abs(x)
            layer.op._add_control_input(calibration.ifmr(layer.op.inputs[0], ["cond/layer"], [0]))
            return layer

        y = v1.cond(flag, branch, lambda: tf.negative(x))
        with v1.Session(graph=graph) as session:
            session.run(y, {x: RELU6, flag: taken})
    assert is_relu6(calibration) == taken


def test_each_turn_of_a_loop_is_a_batch():
    calibration = Calibration(1, batch_num=3)
    with tf.Graph().as_default() as graph, old_control_flow():
        x = v1.placeholder(tf.float32, [None])
        turns = v1.placeholder(tf.int32, [])

        def body(i, value):
            layer = tf.abs(value)
            layer.op._add_control_input(calibration.ifmr(layer.op.inputs[0], ["layer"], [0]))
            return i + 1, layer

        y = v1.while_loop(lambda i, value: i < turns, body, [0, x])[1]
        with v1.Session(graph=graph) as session:
            session.run(y, {x: RELU6, turns: 2})
            assert not os.path.exists(calibration.record)
            session.run(y, {x: RELU6, turns: 1})
            assert is_relu6(calibration)
            session.run(y, {x: RELU6 * 100, turns: 5})
    assert is_relu6(calibration)


def test_a_new_session_loses_nothing():
    calibration = Calibration(1, batch_num=2)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None])
        layer = tf.abs(x)
        layer.op._add_control_input(calibration.ifmr(x, ["layer"], [0]))
        for _ in range(2):
            assert not os.path.exists(calibration.record)
            with v1.Session(graph=graph) as session:
                session.run(layer, {x: RELU6})
    assert is_relu6(calibration)


def test_an_imported_graph_calibrates_on():
    calibration = Calibration(1, batch_num=2)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None], name="x")
        layer = tf.abs(x, name="layer")
        layer.op._add_control_input(calibration.ifmr(x, ["layer"], [0]))
        with v1.Session(graph=graph) as session:
            session.run(layer, {x: RELU6})
    with tf.Graph().as_default() as again:
        tf.import_graph_def(graph.as_graph_def(), name="")
        with v1.Session(graph=again) as session:
            session.run("layer:0", {"x:0": RELU6})
    assert is_relu6(calibration)


# ---- weights ----


def folded(w, parameters, epsilon):
    """scale_w of [h, w, in, out] weights with bias and batch norm folded, per channel."""
    _, scale, _, _, variance = parameters
    g = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + float(F32(epsilon)))
    return np.abs((w * g).astype(F32)).max(axis=(0, 1, 2)) / F32(127)


@pytest.mark.parametrize("variables", ["constants", "ref", "resource"])
def test_weights_and_what_is_folded(variables):
    rng = np.random.RandomState(1)
    w = rng.normal(0, 1, (3, 2, 4, 5)).astype(F32)
    parameters = [rng.uniform(0.5, 2, 5).astype(F32) for _ in range(5)]
    calibration = Calibration(1)
    with tf.Graph().as_default() as graph:
        if variables == "constants":
            tensors = [tf.constant(value) for value in [w] + parameters]
        else:
            tensors = [
                v1.get_variable(
                    "v{}".format(i), initializer=value, use_resource=variables == "resource"
                )
                for i, value in enumerate([w] + parameters)
            ]
            if variables == "resource":
                tensors = [variable.value() for variable in tensors]
            else:
                tensors = [variable._variable for variable in tensors]
        x = v1.placeholder(tf.float32, [None])
        layer = tf.abs(x)
        layer.op._add_control_input(calibration.ifmr(x, ["layer"], [0], [1]))
        layer.op._add_control_input(
            calibration.arq(tensors, "layer", 0, fold=["bias", "batch_norm:0.001"])
        )
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            session.run(layer, {x: RELU6})
    np.testing.assert_array_equal(
        values_of(calibration.text(), "scale_w"), folded(w, parameters, 0.001)
    )
    assert calibration.text().count("offset_w: 0") == 5


@pytest.mark.parametrize("dtype", list(TYPES), ids=lambda t: t.__name__)
def test_depthwise_and_per_tensor(dtype):
    w = np.random.RandomState(2).normal(0, 1, (3, 3, 4, 2)).astype(dtype)
    calibration = Calibration(2)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None])
        layer = tf.abs(x)
        weight = tf.constant(w)
        for observer in [
            calibration.ifmr(x, ["b", "a"], [1, 0], [1, 1]),
            calibration.arq([weight], "a", 0, axes=(2, 3)),
            calibration.arq([weight], "b", 1, channel_wise=False),
        ]:
            layer.op._add_control_input(observer)
        with v1.Session(graph=graph) as session:
            session.run(layer, {x: RELU6})
    text = calibration.text()
    assert text.index('key: "a"') < text.index('key: "b"')
    largest = np.abs(w.astype(F32)).max(axis=(0, 1)).reshape(-1)
    expected = np.append(largest, largest.max()) / F32(127)
    np.testing.assert_array_equal(values_of(text, "scale_w"), expected)


# ---- what is refused ----


def error_of(build, feed=RELU6, error=tf.errors.InvalidArgumentError):
    """The text of the error of running a layer with the observer that build(x) makes."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None])
        layer = tf.abs(x)
        observer = build(x)
        layer.op._add_control_input(observer)
        with v1.Session(graph=graph) as session:
            with pytest.raises(error) as caught:
                session.run(layer, {x: feed})
    assert observer.name + ": " in str(caught.value)
    return str(caught.value)


def test_values_that_are_no_numbers():
    bad = np.array([1, np.nan, np.inf], F32)
    calibration = Calibration(1)
    text = error_of(lambda x: calibration.ifmr(x, ["scope/layer"], [0]), bad)
    assert 'layer "scope/layer": batch 1 has NaN at index 1' in text
    assert "infinity at index 0" in error_of(
        lambda x: calibration.ifmr(x, ["scope/layer"], [0]), bad[2:]
    )


def test_attributes_are_checked():
    def ifmr(**changes):
        return error_of(lambda x: Calibration(2).ifmr(x, ["a", "b"], [0, 1], **changes))

    assert "2, 1 and 2" in ifmr(layer_indices=[0])
    assert "2, 2 and 3" in ifmr(layer_weighted=[0, 0, 0])
    assert "0, 2 and 2" in ifmr(layer_names=[])
    assert "ifmr" in ifmr(ifmr=["0.9", "0.9", "0.7", "1.3"])
    assert "ifmr" in ifmr(ifmr=["0.9", "0.9", "0.7", "1.3", "a lot"])
    ifmr(ifmr=["0.9", "0.9", "0.7", "1.3", "0"])
    ifmr(ifmr=["0.9", "0.9", "0.7", "nan", "0.01"])
    assert "batch_num" in ifmr(batch_num=0)
    assert "number 2 of 2" in ifmr(layer_indices=[0, 2])
    assert "number -1" in ifmr(layer_indices=[-1, 0])


W = np.ones((1, 1, 2, 3), F32)
FIVE = [np.ones(3, F32)] * 5


def test_weight_inputs_are_checked():
    def arq(*inputs, **changes):
        return error_of(
            lambda x: Calibration(1).arq([tf.constant(i) for i in inputs], "fc", 0, **changes)
        )

    assert '"fc": 2 inputs where its fold takes 1' in arq(W, FIVE[0])
    assert "takes 6" in arq(W, *FIVE[:3], fold=["bias", "batch_norm:0.1"])
    assert "[2] for 3 channels" in arq(W, np.ones(2, F32), fold=["bias"])
    assert "[3,3]" in arq(W, np.ones((3, 3), F32), fold=["bias"])
    assert "[]" in arq(W[..., :1], np.array(1, F32), fold=["bias"])
    assert "axis 4" in arq(W, axes=[3, 4])
    assert "[0,1,2,3]" in arq(W[:0])
    for axes in [[], [-1], [3, 2], [1, 3], [2, 2]]:
        assert "channel_axes" in arq(W, axes=axes)
    for step in ["Bias", "bias:", "bias:0.5:3", "bias:0:0", "batch_norm", "batch_norm:", "batch_norm:-1", "batch_norm:nan", ""]:
        assert "fold" in arq(W, *FIVE, fold=["bias", step])
    for part in ["0", "0:0", "-1:3", "0.5:3", "0:3:1", "0:x", ":", "0:9999999999"]:
        assert "fold" in arq(W, *FIVE, fold=["bias", "batch_norm:0.1:" + part])
    for part in ["1:3", "0:2", "5:3"]:  # [3] has no such part for three channels
        assert "[3] for 3 channels" in arq(W, *FIVE, fold=["bias", "batch_norm:0.1:" + part])
        assert "[3] for 3 channels" in arq(W, FIVE[0], fold=["bias:" + part])
    assert 'layer "fc": weight of channel 1' in arq(np.array([[1, np.inf, 1]], F32), axes=[1])


def test_a_retired_calibration_fails():
    older, later = Calibration(1), Calibration(1)

    def build(x):
        return later.ifmr(x, ["layer"], [0])

    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None])
        layer = tf.abs(x)
        layer.op._add_control_input(build(x))
        with v1.Session(graph=graph) as session:
            session.run(layer, {x: RELU6})
    error = tf.errors.FailedPreconditionError
    text = error_of(lambda x: older.ifmr(x, ["layer"], [0]), error=error)
    assert later.record in text
    assert is_relu6(later)


# ---- the same bytes ----


def record_of(order, threads):
    """A net of several observed tensors fed batches in some order, in so many threads."""
    rng = np.random.RandomState(7)
    batches = [rng.normal(0, 3, (32, 32, 16, 3)).astype(F32) for _ in range(6)]
    calibration = Calibration(4, batch_num=len(batches))
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 32, 16, 3])
        y = x
        for i, function in enumerate([tf.identity, tf.nn.relu, tf.nn.relu6, tf.sigmoid]):
            y = function(y)
            observer = calibration.ifmr(y, ["layer{}".format(i)], [i])
            y = tf.add(y, 0.125)
            y.op._add_control_input(observer)
        with v1.Session(graph=graph) as session:
            lock, queue = threading.Lock(), [batches[i] for i in order]

            def work():
                while True:
                    with lock:
                        if not queue:
                            return
                        batch = queue.pop()
                    session.run(y, {x: batch})

            workers = [threading.Thread(target=work) for _ in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
    return calibration.text()


def test_record_is_the_same_for_any_order_and_threads():
    expected = record_of(range(6), 1)
    assert expected.count("key:") == 4
    assert record_of([3, 1, 5, 0, 4, 2], 1) == expected
    for _ in range(3):
        assert record_of(range(6), 4) == expected


# ---- loading ----

OPS = "libamct_tf_ops.so"


def python(script, *arguments):
    """Output of a script in a Python of its own."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script] + list(arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        check=False,
    )


def test_a_second_copy_does_no_harm(tmp_path):
    path = amct._core.library_path(OPS)
    for name in [OPS, "libamctcore.so"]:
        shutil.copy(os.path.join(os.path.dirname(path), name), str(tmp_path))
    script = """if True:
        import sys, tensorflow as tf
        for path in sys.argv[1:]:
            tf.load_op_library(path)
        v1 = tf.compat.v1
        with tf.Graph().as_default() as graph:
            attrs = {key: v1.AttrValue(f=2) for key in ("scale", "offset")}
            q = graph.create_op("AscendQuant", [tf.constant([3.])], [tf.float32], attrs=attrs)
            print("value", v1.Session(graph=graph).run(q.outputs[0]))
    """
    done = python(script, path, str(tmp_path / OPS))
    assert done.returncode == 0 and "value [6.]" in done.stdout, done.stdout


def test_loaded_before_tensorflow_it_says_so():
    script = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print('alive')"
    done = python(script, amct._core.library_path(OPS))
    assert done.returncode == 0 and "alive" in done.stdout
    assert "no ops were registered" in done.stdout
