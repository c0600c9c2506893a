# SPDX-License-Identifier: Apache-2.0
"""The retraining ops: forward against the deployed ops bit for bit, gradients against NumPy and differences."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct  # noqa: F401  (loads the op library)
import models
from test_ops import away

v1 = tf.compat.v1
F32 = np.float32
ATTRS = {
    bool: lambda value: v1.AttrValue(b=value),
    int: lambda value: v1.AttrValue(i=value),
    str: lambda value: v1.AttrValue(s=value.encode()),
}


def attr_of(value):
    if not isinstance(value, (list, tuple)):
        return ATTRS[type(value)](value)
    content = v1.AttrValue.ListValue()
    for item in value:
        if isinstance(item, str):
            content.s.append(item.encode())
        elif isinstance(item, int):
            content.i.append(item)
        else:
            content.type.append(item.as_datatype_enum)
    return v1.AttrValue(list=content)


def node(op, inputs, **attrs):
    graph = v1.get_default_graph()
    made = {name: attr_of(value) for name, value in attrs.items()}
    tensors = [tf.convert_to_tensor(value) for value in inputs]
    return graph.create_op(op, tensors, name=op, attrs=made).outputs


def ulq(x, clip_max, clip_min, fixed_min=False, batch_num=1):
    return node(
        "Ulq", [x, clip_max, clip_min], layer_name="l", fixed_min=fixed_min, batch_num=batch_num
    )[0]


def run(build, feed=None):
    """What `build` makes in a graph of its own, evaluated; values are fed by name."""
    with tf.Graph().as_default() as graph:
        with v1.Session(graph=graph) as session:
            fetches = build()
            session.run(v1.global_variables_initializer())
            return session.run(fetches, feed)


# ---- the formulas, one float32 step at a time ----


def grid(clip_max, clip_min):
    high, low = F32(max(clip_max, 0)), F32(min(clip_min, 0))
    scale = F32((np.float64(high) - low) / 255)  # the difference may leave float32
    if high < 1e38:
        scale = F32(F32(high - low) / F32(255))
    if scale < F32(1.192092896e-7):
        return high, low, F32(1), F32(-128)
    return high, low, scale, F32(-128) - away(np.array(low / scale, F32))[()]


def forward(x, clip_max, clip_min):
    _, _, scale, offset = grid(clip_max, clip_min)
    q = away(x * (F32(1) / scale)) + offset
    return (np.clip(q, -128, 127).astype(F32) - offset) * scale


def backward(g, x, clip_max, clip_min):
    high, low, scale, _ = grid(clip_max, clip_min)
    over, under = x > high, x < low
    inside = ~(over | under)
    v = x * (F32(1) / scale)
    e = np.where(inside, (away(v) - v).astype(np.float64), 0)
    g64 = g.astype(np.float64)
    return (
        np.where(inside, g, 0).astype(F32),
        (g64 * over).sum() + (g64 * e).sum() / 255,
        (g64 * under).sum() - (g64 * e).sum() / 255,
    )


CLIPS = [(1.0, -1.0), (6.0, 0.0), (0.3, -2.5), (0.0, -1.5), (-0.5, -1.0), (2.0, 0.25), (1e-9, -1e-9)]
CLIPS += [(3e38, -3e38), (1e-3, -1e3)]


def data(seed, shape=(5, 7, 3)):
    return np.random.RandomState(seed).normal(0, 1.2, shape).astype(F32)


# ---- forward ----


@pytest.mark.parametrize("clips", CLIPS)
def test_forward_is_what_the_deployed_ops_compute(clips):
    x = data(0)
    x.flat[:4] = [0, -0.0, clips[0], clips[1]]
    _, _, scale, offset = grid(*clips)

    def build():
        deployed = v1.get_default_graph().create_op(
            "AscendQuant",
            [tf.constant(x)],
            attrs={
                "T": v1.AttrValue(type=tf.float32.as_datatype_enum),
                "scale": v1.AttrValue(f=F32(1) / scale),
                "offset": v1.AttrValue(f=offset),
            },
        )
        return ulq(tf.constant(x), F32(clips[0]), F32(clips[1])), deployed.outputs[0] * scale

    ours, deployed = run(build)
    assert ours.tobytes() == deployed.tobytes()
    assert np.array_equal(ours, forward(x, *clips))


def test_clips_that_are_not_set_take_the_range_of_the_batch():
    for x in (data(1), np.abs(data(2)), np.zeros((2, 3), F32), np.zeros((0, 3), F32)):
        ours = run(lambda x=x: ulq(tf.constant(x), F32(0), F32(0)))
        low, high = (min(x.min(), 0), max(x.max(), 0)) if x.size else (0, 0)
        assert np.array_equal(ours, forward(x, high, low))
    ours = run(lambda: ulq(tf.constant(data(1)), F32(0), F32(0), fixed_min=True))
    assert np.array_equal(ours, forward(data(1), data(1).max(), 0))


def test_fixed_min_stays_zero():
    ours = run(lambda: ulq(tf.constant(data(3)), F32(1), F32(-1), fixed_min=True))
    assert np.array_equal(ours, forward(data(3), 1, 0))


def test_clips_that_are_no_numbers_are_named():
    with pytest.raises(tf.errors.InvalidArgumentError, match='layer "l": clip_max is nan'):
        run(lambda: ulq(tf.constant(data(0)), F32("nan"), F32(0)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="clip_max has 2 values"):
        run(lambda: ulq(tf.constant(data(0)), np.ones(2, F32), F32(0)))


@pytest.mark.parametrize("channel_wise", [True, False])
@pytest.mark.parametrize("axes", [[3], [2, 3], [2]])
def test_weights_are_what_the_deployed_ops_compute(axes, channel_wise):
    w = data(4, (3, 3, 4, 6))
    w[:, :, 2] = 0
    ours = run(
        lambda: node(
            "ArqRetrain",
            [tf.constant(w)],
            layer_name="l",
            channel_axes=axes,
            channel_wise=channel_wise,
        )[0]
    )
    others = tuple(i for i in range(4) if i not in axes) if channel_wise else None
    largest = np.abs(w).max(axis=others, keepdims=True)
    scale = np.where(largest == 0, F32(1), largest / F32(127)).astype(F32)
    assert np.array_equal(ours, np.clip(away(w / scale), -128, 127).astype(F32) * scale)


# ---- gradients ----


def gradients(x, clips, g, **attrs):
    def build():
        inputs = [tf.constant(x), tf.constant(F32(clips[0])), tf.constant(F32(clips[1]))]
        made = v1.gradients(ulq(*inputs, **attrs), inputs, grad_ys=tf.constant(g))
        assert [gradient.shape.as_list() for gradient in made] == [list(x.shape), [], []]
        return made

    return run(build)


@pytest.mark.parametrize("clips", CLIPS)
def test_gradients_are_the_formulas(clips):
    x, g = data(5, (40, 33, 31)), data(6, (40, 33, 31))
    dx, d_max, d_min = gradients(x, clips, g)
    wanted = backward(g, x, *clips)
    assert np.array_equal(dx, wanted[0])
    assert np.allclose([d_max, d_min], wanted[1:], rtol=1e-5, atol=1e-5)


def test_gradients_are_differences_of_the_straight_through_function():
    """y = clip(x) + scale*e inside, with the rounding errors e held: its differences in float64."""
    x, g, clips = data(7), data(8), (1.25, -0.75)
    dx, d_max, d_min = gradients(x, clips, g)
    _, _, scale, _ = grid(*clips)
    v = x.astype(np.float64) / scale
    inside = (x <= clips[0]) & (x >= clips[1])
    e = np.where(inside, away(v) - v, 0)

    def loss(values, high, low):
        return (g * (np.clip(values, low, high) + (high - low) / 255 * e)).sum()

    h = 1e-6
    x64 = x.astype(np.float64)
    by_max = (loss(x64, clips[0] + h, clips[1]) - loss(x64, clips[0] - h, clips[1])) / (2 * h)
    by_min = (loss(x64, clips[0], clips[1] + h) - loss(x64, clips[0], clips[1] - h)) / (2 * h)
    assert np.allclose([d_max, d_min], [by_max, by_min], rtol=1e-4, atol=1e-4)
    for i in range(0, x.size, 9):
        step = np.zeros(x.size)
        step[i] = h
        step = step.reshape(x.shape)
        by_x = (loss(x64 + step, *clips) - loss(x64 - step, *clips)) / (2 * h)
        assert np.allclose(dx.flat[i], by_x, atol=1e-4)


def test_fixed_min_has_no_gradient():
    x, g = data(9), data(10)
    dx, d_max, d_min = gradients(x, (1.0, -1.0), g, fixed_min=True)
    assert d_min == 0
    assert np.array_equal(dx, backward(g, x, 1.0, 0.0)[0])
    assert np.allclose(d_max, backward(g, x, 1.0, 0.0)[1], rtol=1e-5)


def test_weights_have_a_gradient_straight_through():
    w, g = data(11, (2, 3)), data(12, (2, 3))

    def build():
        x = tf.constant(w)
        y = node("ArqRetrain", [x], layer_name="l", channel_axes=[1], channel_wise=False)[0]
        return v1.gradients(y, x, grad_ys=tf.constant(g))[0]

    assert np.array_equal(run(build), g)


# ---- initialisation ----


def clip_variables(use_resource):
    return [
        v1.get_variable(name, initializer=F32(0), use_resource=use_resource)
        for name in ("ULQ/clip_max", "ULQ/clip_min")
    ]


@pytest.mark.parametrize("use_resource", [True, False])
def test_the_first_batches_initialise_the_clips(use_resource):
    """By IFMR, after batch_num steps; a second gradient of the op does not add to it."""
    batches = [data(20 + i, (30, 40)) for i in range(3)]
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (30, 40))
        clips = clip_variables(use_resource)
        loss = tf.reduce_sum(ulq(x, clips[0], clips[1], batch_num=2) ** 2)
        train = v1.train.MomentumOptimizer(1e-6, 0.9).minimize(loss)
        second = v1.gradients(loss, clips)
        assert all(gradient is not None for gradient in second)
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            session.run([train] + second, {x: batches[0]})
            assert session.run(clips) == [0, 0]
            session.run([train] + second, {x: batches[1]})
            clip_max, clip_min = session.run(clips)
            session.run(train, {x: batches[2]})
            assert session.run(clips) != [clip_max, clip_min]

    # the same two batches, calibrated
    observed = tf.Graph()
    with observed.as_default():
        x = v1.placeholder(tf.float32, (30, 40), name="input")
        tf.matmul(x, tf.constant(data(0, (40, 5))), name="fc")
    amct.create_quant_config("c.json", observed, batch_num=2)
    amct.quantize_model(observed, "c.json", "record.txt")
    models.run(observed, batches[:2], "fc:0")
    factors = models.read_record("record.txt")["fc"]
    scale, offset = F32(factors["scale_d"][0]), factors["offset_d"][0]
    assert clip_max == F32(127 - offset) * scale
    assert clip_min == -F32(128 + offset) * scale


def test_ranges_for_those_who_keep_the_search_themselves():
    """UlqRange: what one batch adds to (batches, clip_max, clip_min); zeros when there are batch_num, or no data."""
    x = data(4, (30, 40))

    def add(state, x, batch_num=2, fixed_min=False):
        attrs = {"layer_name": "l", "fixed_min": fixed_min, "batch_num": batch_num}
        return run(lambda: node("UlqRange", [np.array(state, F32), x], **attrs)[0]).tolist()

    def found_by_training(x, fixed_min):
        with tf.Graph().as_default(), v1.Session() as session:
            clips = clip_variables(False)
            loss = tf.reduce_sum(ulq(tf.constant(x), clips[0], clips[1], fixed_min) ** 2)
            train = v1.train.GradientDescentOptimizer(0.0).minimize(loss)
            session.run(v1.global_variables_initializer())
            session.run(train)
            return session.run(clips)

    for fixed_min in (False, True):
        assert add([0, 0, 0], x, fixed_min=fixed_min) == [1] + found_by_training(x, fixed_min)
    assert add([1.5, 9, 9], x) == add([0, 0, 0], x)
    assert add([2, 9, 9], x) == [0, 0, 0] == add([0, 0, 0], x[:0])
    x[3, 4] = np.inf
    assert add([2, 9, 9], x) == [0, 0, 0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="has infinity at index 124 of its"):
        add([0, 0, 0], x)
    with pytest.raises(tf.errors.InvalidArgumentError, match="state has 2 values, not 3"):
        add([0, 0], x)
    with pytest.raises(tf.errors.InvalidArgumentError, match="batch_num is 0"):
        add([0, 0, 0], x, batch_num=0)


def test_clips_are_found_where_only_the_input_is_trained():
    """var_list without the clips: the gradient of x carries the initialisation."""
    with tf.Graph().as_default() as graph:
        w = v1.get_variable("w", initializer=data(1))
        clips = clip_variables(False)
        train = v1.train.GradientDescentOptimizer(0.0).minimize(
            tf.reduce_sum(ulq(w, *clips)), var_list=[w]
        )
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            session.run(train)
            assert session.run(clips)[0] > 1


def test_data_that_is_not_finite_is_named():
    x = data(2)
    x[1, 1, 1] = np.inf
    with tf.Graph().as_default() as graph:
        clips = clip_variables(True)
        made = v1.gradients(ulq(tf.constant(x), *clips), clips)
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            with pytest.raises(tf.errors.InvalidArgumentError, match="training batch 1 has inf"):
                session.run(made)


def stepped(values, **attrs):
    """Clips after a training step without a learning rate, one for each pair that they are set to before it."""
    found = []
    with tf.Graph().as_default() as graph:
        clips = clip_variables(False)
        for clip in clips:
            v1.Variable(F32(0), trainable=False, name=clip.op.name + "_pre")
        x = tf.constant(data(3))
        loss = tf.reduce_sum(ulq(x, clips[0], clips[1], **attrs))
        train = v1.train.GradientDescentOptimizer(0.0).minimize(loss, var_list=clips)
        places = [v1.placeholder(tf.float32, []) for _ in clips]
        put = [v1.assign(clip, place) for clip, place in zip(clips, places)]
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            for pair in values:
                session.run(put, dict(zip(places, pair)))
                session.run(train)
                found.append(tuple(session.run(clips)))
    return found


def test_a_clip_that_crossed_zero_comes_back():
    """The guards of the clips: the one on the wrong side returns to where it was a step before, or both."""
    assert stepped([(2, -1), (-0.5, -1.25), (1.5, 0.25), (1.5, -1), (0.25, 0.25), (0.5, -0.5)]) == [
        (2, -1),
        (2, -1.25),
        (1.5, -1),
        (1.5, -1),
        (1.5, -1),
        (0.5, -0.5),
    ]
    # nothing to go back to: left as it is, and counted as 0
    assert stepped([(-0.5, -1), (2, -1)]) == [(-0.5, -1), (2, -1)]
    assert stepped([(2, 0), (-1, 0), (1, 3)], fixed_min=True) == [(2, 0), (2, 0), (1, 3)]


# ---- factors ----


def factors(clips, weights, parameters=(), **attrs):
    attrs = dict(
        {
            "layer_name": "l",
            "weighted": True,
            "channel_axes": [3],
            "channel_wise": True,
            "may_split": True,
            "fixed_min": False,
            "fold": [],
        },
        **attrs
    )
    inputs = [weights] + list(parameters) if attrs["weighted"] else []
    inputs = [tf.constant(F32(value)) for value in inputs + list(clips)]
    return node("RetrainFactors", inputs, Tin=[tf.float32] * len(inputs), **attrs)[0]


@pytest.mark.parametrize("channel_wise", [True, False])
def test_factors_fit_the_folded_weights(channel_wise):
    rng = np.random.RandomState(3)
    w = data(13, (3, 3, 4, 6))
    w[..., 5] = 0
    gamma, beta, mean = rng.normal(0, 1, (3, 6)).astype(F32)
    gamma[4] = 0
    variance = rng.uniform(0.5, 2, 6).astype(F32)
    made = run(
        lambda: factors(
            (1.5, -0.5),
            w,
            (gamma, beta, mean, variance),
            fold=["batch_norm:0.001"],
            channel_wise=channel_wise,
        )
    )
    _, _, scale, offset = grid(1.5, -0.5)
    assert made[0] == scale and made[1] == offset
    k = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + F32(0.001))
    own = np.abs(w).max(axis=(0, 1, 2) if channel_wise else None) / F32(127)
    wanted = (own * np.abs(k)).astype(F32)
    wanted[4:] = 1  # a dead factor, a dead channel
    assert np.allclose(made[2:], wanted, rtol=2e-7)


def test_a_layer_without_batch_norm_keeps_one_scale():
    w, bias = data(14, (3, 3, 4, 6)), data(15, (6,))
    made = run(lambda: factors((1, -1), w, (bias,), fold=["bias"], channel_wise=False))
    assert made.size == 3 and made[2] == np.abs(w).max() / F32(127)
    made = run(lambda: factors((1, -1), None, weighted=False, channel_axes=[]))
    assert made.tolist() == [grid(1, -1)[2], grid(1, -1)[3]]


def test_a_layer_of_one_scale_has_that_of_its_folded_weights():
    w = data(16, (5, 4))
    few = F32([2, -0.5, 1, 3])
    given = {"fold": ["multiply"], "channel_axes": [1], "channel_wise": False, "may_split": False}
    made = run(lambda: factors((1, -1), w, (few,), **given))
    assert made.size == 3 and np.isclose(made[2], np.abs(w * few).max() / 127, rtol=1e-6)
    made = run(lambda: factors((1, -1), w, (F32([-3]),), **given))
    assert made.size == 3 and np.isclose(made[2], 3 * np.abs(w).max() / 127, rtol=1e-6)
    one = dict(given, channel_wise=True, may_split=True)
    made = run(lambda: factors((1, -1), w[:, :1], (F32([4]),), **one))
    assert made.size == 3 and np.isclose(made[2], 4 * np.abs(w[:, 0]).max() / 127, rtol=1e-6)


def test_clips_that_were_never_trained_have_no_factors():
    with pytest.raises(tf.errors.FailedPreconditionError, match="its clips are not initialised"):
        run(lambda: factors((0, 0), data(0, (1, 1, 2, 2))))


def test_the_record_is_written():
    def build():
        inputs = [factors((1, -1), data(0, (1, 1, 2, 2))), tf.constant(F32([0.5, -3]))]
        return node(
            "RetrainRecord",
            inputs,
            Tin=[tf.float32] * 2,
            record_file=str(Path("record.txt").resolve()),
            layer_names=["a/Conv2D", "b/AvgPool"],
        )[0]

    assert run(build) == 2
    record = models.read_record("record.txt")
    assert list(record) == ["a/Conv2D", "b/AvgPool"]
    assert record["b/AvgPool"] == {"scale_d": [0.5], "offset_d": [-3]}
    assert len(record["a/Conv2D"]["scale_w"]) == 2 and record["a/Conv2D"]["offset_w"] == [0, 0]
