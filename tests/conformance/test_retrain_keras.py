# SPDX-License-Identifier: Apache-2.0
"""Retraining of Keras models in TensorFlow 2.21: Keras 3 and tf-keras."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from keras_models import (
    IMAGE,
    apart,
    deploy,
    edit,
    evaluated,
    fit,
    functional,
    loss_of,
    pictures,
    run,
    subclassed,
)

if tf.__version__.startswith("1."):
    pytest.skip("Keras models are retrained in TensorFlow 2", allow_module_level=True)

v1 = tf.compat.v1


# ---- from model to pb ----


@pytest.mark.parametrize("build", [functional, subclassed])
def test_fit_and_deploy(kit, build):
    model = build(kit)
    count = len(model.trainable_variables)
    added = edit(model)
    assert len(model.trainable_variables) == count + len(added)
    names = [getattr(variable, "path", variable.name) for variable in added]
    assert all("ULQ_clip_" in name for name in names) and len(set(names)) == len(names)
    losses = fit(kit, model, epochs=5)
    assert losses[-1] < 0.8 * losses[0]
    assert all(float(tf.convert_to_tensor(clip)) > 0 for clip in added[::2])

    assert len(deploy(model)) == 1
    x, y = pictures(1000, seed=5)
    deployed = run("out/model_quantized.pb", x)
    assert apart(evaluated(model, x), deployed).max() < 1e-4  # on every picture
    assert apart(run("deep/retrained.pb", x), deployed).max() < 1e-4
    assert apart(model.predict(x, verbose=0), deployed).max() < 1e-4
    loss = model.evaluate(x, y, verbose=0)
    assert abs(loss - float(loss_of(kit)(y, deployed))) < 1e-4
    types = models.op_types(models.load("out/model_quantized.pb"))
    layers = len(models.read_record("record.txt"))
    assert layers == (8 if build is functional else 5)
    assert list(types.values()).count("AscendDequant") == layers
    assert not {"Ulq", "ArqRetrain", "VarHandleOp"} & set(types.values())


def single(name, layer, shape=IMAGE, norm=False):
    def build(kit):
        k = kit.layers
        start = k.Input(shape, name="image")
        x = getattr(k, name)(**dict(layer))(start)
        if norm:
            random = kit.initializers.RandomUniform(0.2, 1.5, seed=4)
            x = k.BatchNormalization(
                beta_initializer=random,
                gamma_initializer=random,
                moving_variance_initializer=random,
            )(x)
        return kit.Model(start, x, name="one")

    build.shape = shape
    return build


SINGLE = {
    "conv": single("Conv2D", {"filters": 6, "kernel_size": 3}, norm=True),
    "strided": single("Conv2D", {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same"}),
    "dilated": single("Conv2D", {"filters": 6, "kernel_size": 3, "dilation_rate": 2}, norm=True),
    "conv3d": single("Conv3D", {"filters": 4, "kernel_size": 2}, (4, 4, 4, 3)),
    "depthwise": single("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2}, norm=True),
    "transpose": single("Conv2DTranspose", {"filters": 4, "kernel_size": 3, "strides": 2}),
    "dense": single("Dense", {"units": 5, "activation": "relu"}, (12,)),
    "dense of pictures": single("Dense", {"units": 5}),
    "pool": single("AveragePooling2D", {"pool_size": 2, "padding": "same"}),
}


@pytest.mark.parametrize("which", sorted(SINGLE))
def test_one_layer_is_deployed_as_trained(kit, which):
    build = SINGLE[which]
    model = build(kit)
    edit(model)
    x = np.random.RandomState(1).normal(0, 0.7, (1000,) + build.shape).astype(np.float32)
    model(x[:64], training=True)
    deploy(model)
    assert apart(evaluated(model, x), run("deep/retrained.pb", x)).max() < 1e-5
    assert apart(evaluated(model, x), run("out/model_quantized.pb", x)).max() < 1e-4


def steps_of_graph(values, count):
    """Losses and clips of the same network as a graph, trained from the same values."""
    x, y = pictures(16 * count)
    with tf.Graph().as_default() as graph:
        images = v1.placeholder(tf.float32, (None,) + IMAGE)
        labels = v1.placeholder(tf.int64, (None,))
        w, b, head, bias = [v1.Variable(value) for value in values]
        z = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(images, w, 1, "VALID", name="conv"), b))
        z = tf.matmul(tf.reshape(z, [-1, 144]), head, name="head")
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=z + bias)
        loss = tf.reduce_mean(losses)
        amct.create_quant_retrain_config("g.json", graph)
        added = amct.create_quant_retrain_model(graph, "g.json", "g.txt")
        step = v1.train.GradientDescentOptimizer(0.1).minimize(loss)
        found = []
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            for i in range(count):
                part = slice(16 * i, 16 * i + 16)
                found.append(session.run([loss, step], {images: x[part], labels: y[part]})[0])
            return found, session.run([clip for clip in added[:-1] if clip.trainable])


def test_steps_are_those_of_a_graph(kit):
    k = kit.layers
    stack = [k.Input(IMAGE), k.Conv2D(4, 3, activation="relu"), k.Flatten(), k.Dense(3)]
    model = kit.Sequential(stack)
    losses, clips = steps_of_graph(model.get_weights(), 8)
    added = edit(model)
    optimizer, loss = kit.optimizers.SGD(0.1), loss_of(kit)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables))
        return value

    x, y = pictures(16 * 8)
    ours = [float(step(x[i : i + 16], y[i : i + 16])) for i in range(0, len(x), 16)]
    assert np.allclose(ours, losses, rtol=0, atol=1e-5)
    assert np.allclose([float(tf.convert_to_tensor(clip)) for clip in added], clips, atol=1e-5)
    assert losses[-1] < losses[0]


def test_eager_steps_too(kit):
    model = subclassed(kit)
    edit(model)
    losses = fit(kit, model, epochs=2, run_eagerly=True)
    assert losses[-1] < losses[0]
    deploy(model)


def test_batches_before_clips(kit):
    """Clips are the mean of the first batch_num batches' ranges, and 0 before."""
    model = kit.Sequential([kit.layers.Input((6,)), kit.layers.Dense(3)])
    top, bottom = edit(model, "batch_num: 3")
    x = np.random.RandomState(2).normal(0, 1, (4, 50, 6)).astype(np.float32)
    ranges = []
    for batch in x[:3]:
        assert float(tf.convert_to_tensor(top)) == 0
        model(batch, training=True)
        with tf.Graph().as_default() as graph:  # what calibration of that batch alone finds
            data = v1.placeholder(tf.float32, (None, 6), name="input")
            tf.matmul(data, np.ones((6, 3), np.float32), name="fc")
            amct.create_quant_config("q.json", graph)
            amct.quantize_model(graph, "q.json", "q.txt")
            with v1.Session(graph=graph) as session:
                session.run("fc:0", {data: batch})
        record = models.read_record("q.txt")["fc"]
        scale, offset = np.float32(record["scale_d"][0]), int(record["offset_d"][0])
        ranges.append(((127 - offset) * scale, -(128 + offset) * scale))
    expected = np.mean(ranges, axis=0)
    found = [float(tf.convert_to_tensor(clip)) for clip in (top, bottom)]
    assert np.allclose(found, expected, rtol=1e-6)
    model(x[3], training=True)
    assert found == [float(tf.convert_to_tensor(clip)) for clip in (top, bottom)]


def test_a_configuration_counts(kit):
    def change(config):
        stem = config["net/stem/" + ("convolution" if kit.__name__ == "keras" else "Conv2D")]
        stem["retrain_data_config"].update(clip_max=2.0, clip_min=-1.5)
        stem["retrain_weight_config"]["channel_wise"] = False
        logits = config["net/logits/MatMul"]
        logits["retrain_data_config"].update(clip_max=3.0, clip_min=-1.0, fixed_min=True)
        config["net/pool/AvgPool"]["retrain_enable"] = False

    model = functional(kit)
    added = edit(model, change=change)
    assert len(added) == 14
    model(pictures(8)[0], training=True)
    values = {
        getattr(v, "path", v.name).partition(":")[0]: float(tf.convert_to_tensor(v)) for v in added
    }
    assert values["stem/ULQ/ULQ_clip_max"] == 2.0
    assert values["stem/ULQ/ULQ_clip_min"] == -1.5
    assert values["logits/ULQ/ULQ_clip_max"] == 3.0 and values["logits/ULQ/ULQ_clip_min"] == 0.0
    deploy(model)
    record = models.read_record("record.txt")
    assert not [name for name in record if "pool" in name]
    x = pictures(500, seed=6)[0]
    assert apart(evaluated(model, x), run("out/model_quantized.pb", x)).max() < 1e-4


# ---- saving and going on ----


def test_weights_restore_into_an_edited_model(kit):
    model = functional(kit)
    edit(model)
    fit(kit, model, epochs=1)
    model.save_weights("w.weights.h5")
    deploy(model)
    record = Path("record.txt").read_text()
    again = functional(kit)
    edit(again)
    again.load_weights("w.weights.h5")
    deploy(again)
    assert Path("record.txt").read_text() == record
    x = pictures(16)[0]
    assert np.array_equal(evaluated(model, x), evaluated(again, x))


@pytest.mark.parametrize("stop", [2, 5])
def test_a_resumed_training_is_the_same(kit, stop):
    """Also where it stops while the clips are searched for: after 2 of 4 batches."""
    x, y = pictures(16 * 8)

    def start():
        kit.utils.set_random_seed(3)
        model = functional(kit)
        edit(model, "batch_num: 4")
        optimizer = kit.optimizers.Adam(0.01)
        model.compile(optimizer, loss_of(kit))
        return model, tf.train.Checkpoint(model=model, optimizer=optimizer)

    def train(model, first, last):
        part = slice(16 * first, 16 * last)
        model.fit(x[part], y[part], batch_size=16, shuffle=False, verbose=0)

    whole, _ = start()
    train(whole, 0, 8)
    half, checkpoint = start()
    train(half, 0, stop)
    path = checkpoint.write("half")
    rest, checkpoint = start()
    if hasattr(rest.optimizer, "build"):
        rest.optimizer.build(rest.trainable_variables)
    checkpoint.read(path).assert_existing_objects_matched()
    train(rest, stop, 8)
    for ours, other in zip(rest.get_weights(), whole.get_weights()):
        assert np.array_equal(ours, other)


def test_a_saved_model_is_the_float_one(kit):
    model = functional(kit)
    before = evaluated(model, pictures(4)[0])
    edit(model)
    model(pictures(8)[0], training=True)
    model.save("m.keras")
    loaded = kit.models.load_model("m.keras", compile=False)
    assert len(loaded.weights) == len(functional(kit).weights)
    moved = [v for v in loaded.non_trainable_variables]
    assert moved and np.abs(evaluated(loaded, pictures(4)[0]) - before).max() > 0  # batch norms
    assert len(kit.models.clone_model(model).weights) == len(loaded.weights)


# ---- the pieces ----


def test_frozen_models_keep_their_batch_norms(kit):
    from amct_tensorflow import _freeze

    model = functional(kit)
    x = pictures(8)[0]
    frozen = _freeze.freeze_keras(model)
    assert [node.op for node in frozen.definition.node].count("FusedBatchNormV3") == 2
    assert (frozen.inputs, frozen.outputs) == (["image"], ["logits"])
    models.write_pb(frozen.definition, "k.pb")
    assert np.abs(run("k.pb", x) - evaluated(model, x)).max() < 1e-5
    model.export("saved")
    frozen = _freeze.freeze_saved_model("saved")
    models.write_pb(frozen.definition, "s.pb")
    assert np.abs(run("s.pb", x) - evaluated(model, x)).max() < 1e-5
    plan = amct._core.describe_plan(frozen.definition.SerializeToString())
    assert plan.count("fold fold_conv_bn") == 2
    with pytest.raises(amct.GraphError, match="it has no signature 'other', but .*serving_default"):
        _freeze.freeze_saved_model("saved", "other")


def test_several_inputs_and_outputs(kit):
    k = kit.layers
    a, b = k.Input((4,), name="a"), k.Input((4,), name="b")
    y = k.Concatenate()([k.Dense(3, name="p")(a), k.Dense(3, name="q")(b)])
    model = kit.Model({"a": a, "b": b}, [k.Dense(2, name="one")(y), k.Dense(1, name="two")(y)])
    edit(model)
    data = {
        name: np.random.RandomState(i).normal(0, 1, (9, 4)).astype("f")
        for i, name in enumerate("ab")
    }
    model(data, training=True)
    outputs = deploy(model)
    expected = model(data, training=False)
    graph = models.load("out/model_quantized.pb")
    with v1.Session(graph=graph) as session:
        feed = {name + ":0": value for name, value in data.items()}
        found = session.run([name + ":0" for name in outputs], feed)
    for one, other in zip(found, expected):
        assert np.abs(one - np.asarray(other)).max() < 0.05
    assert sorted(outputs) == ["one", "two"]
