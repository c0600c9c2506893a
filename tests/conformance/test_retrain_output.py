# SPDX-License-Identifier: Apache-2.0
"""RetrainOutput: a trained graph in evaluation mode puts out what the saved model does."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from test_retrain_ops import node, run

v1 = tf.compat.v1
F32 = np.float32
PICTURES = 1000
SIDE = 8

# ---- networks, in evaluation mode ----


class Maker(object):
    """Values of parameters, as variables."""

    def __init__(self):
        self.random = np.random.RandomState(4)

    def variable(self, value):
        value = np.asarray(value, F32)
        return v1.get_variable("v%d" % len(v1.global_variables()), initializer=value)

    def weights(self, *shape):
        return self.variable(self.random.normal(0, 1.5 / np.sqrt(np.prod(shape[:-1])), shape))

    def bias(self, x, channels):
        return tf.nn.bias_add(x, self.variable(self.random.normal(0, 0.5, channels)))

    def norm(self, x, channels):
        uniform = self.random.uniform
        gamma = uniform(0.3, 1.5, channels) * self.random.choice([-1, 1], channels)
        values = [gamma, uniform(-1, 1, channels), uniform(-1, 1, channels), uniform(0.2, 2, channels)]
        values = [self.variable(value) for value in values]
        return v1.nn.fused_batch_norm(x, *values, epsilon=1e-3, is_training=False)[0]

    def conv(self, x, size, inputs, channels, **keywords):
        return tf.nn.conv2d(
            x, self.weights(size, size, inputs, channels), strides=[1] * 4, padding="SAME", **keywords
        )


def bottleneck(m, x):
    """Layers that read a batch norm without a nonlinearity, and a sum of two."""
    x = tf.nn.relu6(m.norm(m.conv(x, 3, 3, 8), 8))
    y = m.norm(m.conv(x, 1, 8, 6), 6)
    z = tf.nn.relu6(m.norm(m.conv(y, 1, 6, 24), 24))
    return m.norm(m.conv(z, 1, 24, 6), 6) + y


def depthwise(m, x):
    x = tf.nn.depthwise_conv2d(x, m.weights(3, 3, 3, 2), [1, 1, 1, 1], "SAME")
    return tf.nn.relu(m.norm(x, 6))


def group(m, x):
    """The batch norm stands behind a concat; the parts are not of one size."""
    x = tf.nn.relu(m.bias(m.conv(x, 3, 3, 8), 8))
    parts = tf.split(x, [4, 4], axis=3)
    parts = [m.conv(parts[0], 3, 4, 5), m.bias(m.conv(parts[1], 3, 4, 3), 3)]
    x = tf.nn.relu(m.norm(tf.concat(parts, 3), 8))
    return m.conv(x, 1, 8, 4)


def transposed(m, x):
    shape = tf.stack([tf.shape(x)[0], 2 * SIDE, 2 * SIDE, 5])
    x = tf.nn.conv2d_transpose(x, m.weights(3, 3, 5, 3), shape, strides=[1, 2, 2, 1])
    return tf.nn.relu(m.norm(m.bias(x, 5), 5))


def volume(m, x):
    x = tf.reshape(x, [-1, 4, 4, 4, 3])
    x = tf.nn.conv3d(x, m.weights(2, 2, 2, 3, 5), strides=[1] * 5, padding="VALID")
    return tf.nn.relu(m.bias(x, 5))


def products(m, x):
    x = tf.nn.relu(m.bias(tf.matmul(tf.reshape(x, [-1, 192]), m.weights(192, 32)), 32))
    return m.bias(tf.matmul(x, m.weights(32, 5)), 5)


def arithmetic(m, x):
    """A batch norm in small ops, of constants: multiplied, then added."""
    x = m.conv(x, 3, 3, 6) * m.random.uniform(0.5, 2, 6).astype(F32) + F32(0.3)
    return tf.nn.relu(x)


def pooled(m, x):
    """Windows of which some are cut off at the edge."""
    x = tf.nn.relu(m.norm(m.conv(x, 3, 3, 6), 6))
    x = tf.nn.avg_pool2d(x, 3, 2, "SAME")
    x = tf.nn.avg_pool2d(m.conv(x, 3, 6, 6), 4, 1, "VALID")
    return m.conv(x, 1, 6, 4)


KINDS = (bottleneck, depthwise, group, transposed, volume, products, arithmetic, pooled)


def deploy(build, channel_wise):
    """Graph and session of the trained network with its output, and the graph of the saved model."""
    graph = tf.Graph()
    with graph.as_default():
        maker = Maker()
        x = v1.placeholder(tf.float32, (None, SIDE, SIDE, 3), name="input")
        x = build(maker, x)
        x = maker.bias(tf.matmul(tf.reshape(x, [-1, int(np.prod(x.shape[1:]))]), small(maker, x)), 3)
        tf.tanh(x, name="out")
        amct.create_quant_retrain_config("c.json", graph)
        config = json.loads(Path("c.json").read_text())
        for layer in config.values():
            if isinstance(layer, dict):
                layer["retrain_data_config"].update(clip_max=3.0, clip_min=-1.5)
                if "retrain_weight_config" in layer and channel_wise is False:
                    layer["retrain_weight_config"]["channel_wise"] = False
        Path("c.json").write_text(json.dumps(config))
        last = amct.create_quant_retrain_model(graph, "c.json", "r.txt")[-1]
        session = v1.Session(graph=graph)
        session.run(v1.global_variables_initializer())
        session.run(last)
        models.freeze(session, "trained.pb", ["out"])
    amct.save_quant_retrain_model("trained.pb", ["out"], "r.txt", "m")
    return session, models.load("m_quantized.pb")


def small(maker, x):
    count = int(np.prod(x.shape[1:]))
    return maker.variable(maker.random.normal(0, 0.3 / np.sqrt(count), (count, 3)))


@pytest.mark.parametrize("channel_wise", [True, False])
@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_the_saved_model_computes_what_the_trained_graph_computes(build, channel_wise):
    """On every one of 1,000 pictures, to 1e-5 of the largest output."""
    pictures = np.random.RandomState(9).normal(0, 1, (PICTURES, SIDE, SIDE, 3)).astype(F32)
    session, saved = deploy(build, channel_wise)
    ours = session.run("out:0", {"input:0": pictures})
    session.close()
    with v1.Session(graph=saved) as deployed:
        theirs = deployed.run("out:0", {"input:0": pictures})
    assert len(ours) == PICTURES and ours.std() > 0.1
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(ours).max()


def test_a_saved_model_has_none_of_it():
    _, saved = deploy(group, True)
    assert "RetrainOutput" not in models.op_types(saved).values()


def test_training_graphs_have_none():
    """What a batch norm of batch statistics puts out is not on the grid of the moving ones."""
    with tf.Graph().as_default() as graph:
        maker = Maker()
        x = maker.conv(v1.placeholder(tf.float32, (None, SIDE, SIDE, 3)), 3, 3, 4)
        one, zero = np.ones(4, F32), np.zeros(4, F32)
        x = tf.nn.relu(v1.nn.fused_batch_norm(x, one, zero, is_training=True)[0])
        tf.nn.relu(maker.bias(maker.conv(x, 1, 4, 4), 4))
        amct.create_quant_retrain_config("c.json", graph)
        amct.create_quant_retrain_model(graph, "c.json", "r.txt")
        assert "RetrainOutput" not in [op.type for op in graph.get_operations()]


# ---- the op ----

ATTRS = {
    "layer_name": "l", "weighted": True, "channel_axes": [3], "channel_wise": True, "may_split": True,
    "fixed_min": False, "fold": ["batch_norm:0.001"], "data_format": "NHWC", "first": 0, "total": 0, "ksize": [1, 1],
}  # fmt: skip
CHANNELS = 5


def put_out(x, values, **attrs):
    made = dict(ATTRS, Tin=[tf.float32] * len(values), **attrs)
    return run(lambda: node("RetrainOutput", [x] + [tf.constant(value) for value in values], **made)[0])


def layer():
    """Weights, scale, offset, mean, variance; clips."""
    random = np.random.RandomState(2)
    w = random.normal(0, 0.3, (3, 3, 2, CHANNELS)).astype(F32)
    norm = [random.uniform(0.2, 1.5, CHANNELS).astype(F32) for _ in range(4)]
    norm[0][1] *= -1
    w[..., 3] = 0  # a dead channel
    return [w] + norm + [F32(2), F32(-1)]


def expected(x, values):
    """The same in NumPy; the channels are the last axis."""
    w, gamma, beta, mean, variance, high, low = values
    scale_d = F32((high - low) / F32(255))
    k = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + 1e-3)
    shift = beta - mean * k
    largest = np.abs(w.reshape(-1, CHANNELS)).max(0)
    trained = np.where(largest == 0, 1, largest / F32(127)).astype(F32)
    scale_w = np.where(largest == 0, 1, F32(trained * np.abs(k))).astype(F32)
    step = scale_d * scale_w
    bias = np.rint(shift.astype(F32).astype(np.float64) / step.astype(np.float64))
    whole = np.rint((x - shift) / (np.float64(scale_d) * trained * np.abs(k)))
    return ((np.where(largest == 0, 0, whole) + bias).astype(F32) * step).astype(F32)


def outputs(shape, values):
    """Float outputs of such a layer: whole steps and what is folded in, with some noise."""
    w, gamma, beta, mean, variance, high, low = values
    k = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + 1e-3)
    random = np.random.RandomState(3)
    step = (high - low) / 255 * np.abs(w.reshape(-1, CHANNELS)).max(0) / 127 * np.abs(k)
    exact = random.randint(-9000, 9000, shape) * step + beta - mean * k
    return (exact * (1 + random.uniform(-1, 1, shape) * 1e-7)).astype(F32)


def test_rows_of_channels():
    values = layer()
    x = outputs((7, 4, 4, CHANNELS), values)
    found = put_out(x, values)
    assert np.array_equal(found, expected(x, values))
    assert np.abs(found - x).max() > 0 and np.array_equal(put_out(found, values), found)


def test_channels_first():
    values = layer()
    x = outputs((7, 4, 4, CHANNELS), values)
    found = put_out(x.transpose(0, 3, 1, 2).copy(), values, data_format="NCHW")
    assert np.array_equal(found.transpose(0, 2, 3, 1), expected(x, values))


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_a_part_of_the_channels(data_format):
    """Others are left as they are."""
    values = layer()
    x = outputs((40, 4, CHANNELS), values)
    wide = np.random.RandomState(5).normal(0, 1, (40, 4, CHANNELS + 4)).astype(F32)
    wide[..., 3 : 3 + CHANNELS] = x
    given = wide if data_format == "NHWC" else wide.transpose(0, 2, 1).copy()
    found = put_out(given, values, data_format=data_format, first=3, total=CHANNELS + 4)
    found = found if data_format == "NHWC" else found.transpose(0, 2, 1)
    wide[..., 3 : 3 + CHANNELS] = expected(x, values)
    assert np.array_equal(found, wide)


def test_clips_that_are_not_set_leave_all_as_it_is():
    values = layer()
    x = outputs((3, 2, 2, CHANNELS), values)
    assert np.array_equal(put_out(x, values[:-2] + [F32(0), F32(0)]), x)


def test_one_scale_for_channels_that_are_multiplied_differently_leaves_all_as_it_is():
    """Their weights are rounded anew when they are saved: there is no whole number of trained steps."""
    values = layer()
    x = outputs((3, 2, 2, CHANNELS), values)
    assert np.array_equal(put_out(x, values, channel_wise=False, may_split=False), x)


@pytest.mark.parametrize("count", [9, 6, 4, 3, 1])
def test_averages(count):
    """Of whole numbers of steps, in a window of nine that may be cut off; with a bit of noise."""
    sums = np.random.RandomState(6).randint(-128 * count, 128 * count, (50, 3, 3, 2))
    scale = F32(F32(3) / F32(255))
    x = np.nextafter((sums * np.float64(scale) / count).astype(F32), F32(9))
    found = put_out(x, [F32(2), F32(-1)], weighted=False, fold=[], channel_axes=[], ksize=[3, 3])
    average = (sums / np.float64(count)).astype(F32)
    assert np.array_equal(found, (average * F32(9) * scale / np.float64(9)).astype(F32))


def test_what_is_no_average_stays_near():
    x = np.random.RandomState(8).normal(0, 1, (5, 6)).astype(F32)
    found = put_out(x, [F32(2), F32(-1)], weighted=False, fold=[], channel_axes=[], ksize=[3, 3])
    assert np.allclose(found, x, rtol=1e-6, atol=0)


def test_in_a_graph_with_gradients_all_goes_straight_through():
    values = layer()
    x = outputs((2, 3, 3, CHANNELS), values)
    dy = np.random.RandomState(7).normal(0, 1, x.shape).astype(F32)

    def build():
        tensors = [tf.constant(value) for value in [x] + values]
        y = node("RetrainOutput", tensors, Tin=[tf.float32] * len(values), **ATTRS)[0]
        gradients = v1.gradients(y, tensors, grad_ys=tf.constant(dy))
        assert gradients[1:] == [None] * len(values)
        return gradients[0], y

    dx, y = run(build)
    assert np.array_equal(dx, dy) and np.array_equal(y, x)


@pytest.mark.parametrize(
    "attrs, message",
    [
        ({"first": 1}, 'layer "l": channels 1 to 6 of 5'),
        ({"total": 7}, r'layer "l": its output of shape \[2,3,3,5\] has not 7 channels'),
        ({"data_format": "NCHW"}, r"shape \[2,3,3,5\] has not 5 channels"),
        ({"first": -1}, "first is -1, total 0"),
        ({"ksize": [2]}, "ksize has 1 values; it takes two"),
        ({"fold": ["bias"]}, 'layer "l": 8 inputs where its fold takes 5'),
        ({"fold": ["twist"]}, "step 0 of fold is neither bias nor batch_norm"),
    ],
)
def test_what_does_not_fit_is_refused(attrs, message):
    values = layer()
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        put_out(outputs((2, 3, 3, CHANNELS), values), values, **attrs)
