# SPDX-License-Identifier: Apache-2.0
"""What retrained Keras models put out in inference: the saved model's values, of the weights of now."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_models import IMAGE, apart, deploy, edit, evaluated, fit, functional, pictures, run

if tf.__version__.startswith("1."):
    pytest.skip("Keras models are retrained in TensorFlow 2", allow_module_level=True)


def chain(kit, *layers):
    """A model of layers in a row; a batch norm has values of its own."""
    k = kit.layers
    random = kit.initializers.RandomUniform(0.2, 1.5, seed=4)
    of_norm = ("beta", "gamma", "moving_mean", "moving_variance")
    x = start = k.Input(IMAGE, name="image")
    for name, keywords in layers:
        if name == "BatchNormalization":
            keywords = dict({part + "_initializer": random for part in of_norm}, **keywords)
        elif keywords.get("use_bias", True) and name not in ("Flatten", "ReLU"):
            keywords = dict({"bias_initializer": random}, **keywords)
        x = getattr(k, name)(**keywords)(x)
    return kit.Model(start, x, name="chain")


LAST = ("Conv2D", {"filters": 3, "kernel_size": 2})  # rounds what comes before it to its own grid
CHAINS = {
    "batch norm of no bias": [
        ("Conv2D", {"filters": 4, "kernel_size": 3, "use_bias": False}),
        ("BatchNormalization", {"scale": False, "epsilon": 0.02}),
    ],
    "batch norm, activation between": [
        ("DepthwiseConv2D", {"kernel_size": 3, "activation": "relu"}),
        ("BatchNormalization", {"center": False}),
    ],
    "bias behind a dilated product": [
        ("Conv2D", {"filters": 4, "kernel_size": 3, "dilation_rate": 2, "activation": "relu"}),
        ("DepthwiseConv2D", {"kernel_size": 2, "dilation_rate": 2, "activation": "tanh"}),
    ],
    "bias behind a product of pictures": [("Dense", {"units": 4, "activation": "relu"})],
    "transposed": [
        ("Conv2DTranspose", {"filters": 4, "kernel_size": 3, "strides": 2}),
        ("BatchNormalization", {}),
        ("ReLU", {}),
    ],
    "in groups": [
        ("Conv2D", {"filters": 6, "kernel_size": 3, "groups": 3, "use_bias": False}),
        ("BatchNormalization", {}),
        ("ReLU", {}),
        ("Conv2D", {"filters": 4, "kernel_size": 2, "groups": 2, "dilation_rate": 2}),
    ],
    "separable": [
        ("SeparableConv2D", {"filters": 5, "kernel_size": 3}),
        ("BatchNormalization", {}),
    ],
}


@pytest.mark.parametrize("which", sorted(CHAINS))
def test_chains(kit, which):
    model = chain(kit, *CHAINS[which], LAST)
    edit(model)
    x = np.random.RandomState(1).normal(0, 0.7, (1000,) + IMAGE).astype(np.float32)
    model(x[:64], training=True)
    deploy(model)
    assert apart(evaluated(model, x), run("out/model_quantized.pb", x)).max() < 1e-4


def test_flat_batch_norm(kit):
    """That of a Dense layer is small ops in either Keras."""
    k = kit.layers
    stack = [k.Input(IMAGE), k.Flatten(), k.Dense(6), k.BatchNormalization(), k.ReLU(), k.Dense(3)]
    model = kit.Sequential(stack)
    edit(model)
    x = pictures(1000)[0]
    model(x[:64], training=True)
    assert len(endings_of(model)) == 2
    deploy(model)
    assert apart(evaluated(model, x), run("deep/retrained.pb", x)).max() < 1e-4
    assert apart(evaluated(model, x), run("out/model_quantized.pb", x)).max() < 1e-4


def endings_of(model):
    """Names of the layers where outputs are rounded."""
    states = [layer.__dict__.get("_amct_retrained") for layer in model._flatten_layers()]
    return [output.ending.at.layer.name for s in states if s for output in s.outputs.values()]


def test_values_of_now(kit):
    """Nothing of the time of the edit, or of a trace, stays in functions."""
    model = functional(kit)
    edit(model)
    x, _ = pictures(1000, seed=5)
    infer = tf.function(lambda x: model(x, training=False))
    before = infer(x).numpy()
    assert apart(before, evaluated(model, x)).max() < 1e-4  # clips are not known yet
    fit(kit, model, epochs=2)
    model.predict(x[:32], verbose=0)
    model.set_weights([w * 1.1 if w.size > 1 else w for w in model.get_weights()])
    deploy(model)
    deployed = run("out/model_quantized.pb", x)
    assert apart(deployed, before).max() > 0.01
    assert apart(infer(x).numpy(), deployed).max() < 1e-4
    assert apart(model.predict(x, verbose=0), deployed).max() < 1e-4


def test_nothing_is_counted_twice(kit):
    """A batch norm does not hold the layer before it."""
    import h5py

    plain = functional(kit)
    count, trained = len(plain.weights), len(plain.trainable_weights)
    model = functional(kit)
    edit(model)
    layers = 8
    assert len(endings_of(model)) == layers
    assert len(model.weights) == count + 5 * layers == len({id(w) for w in model.weights})
    assert len(model.trainable_weights) == trained + 2 * layers
    model.save_weights("w.weights.h5")
    found = []
    with h5py.File("w.weights.h5", "r") as file:
        file.visititems(lambda name, item: found.append(name) if hasattr(item, "shape") else None)
    assert len(found) == len(model.weights) and not [name for name in found if "_amct" in name]
    path = tf.train.Checkpoint(model=model).write("checkpoint")
    kept = [name for name, _ in tf.train.list_variables(path) if "VARIABLE_VALUE" in name]
    assert len(kept) == len(model.weights)
    norm = next(layer for layer in model.layers if "norm" in layer.name)
    assert len(norm.weights) == 4 and not [v for v in kept if "retrain_output" in v]


def test_gradients_go_straight_through(kit):
    model = chain(kit, ("Conv2D", {"filters": 4, "kernel_size": 3}), ("BatchNormalization", {}))
    edit(model)
    x = tf.constant(pictures(8)[0])
    model(x, training=True)
    norm = model.layers[-1]
    for run_it in (lambda f: f(), lambda f: tf.function(f)()):

        def gradients():
            with tf.GradientTape() as tape:
                value = tf.reduce_sum(model(x, training=False))
            return tape.gradient(value, model.trainable_variables)

        found = run_it(gradients)
        names = [variable.name for variable in model.trainable_variables]
        assert all(gradient is not None for gradient in found), names
        by_name = {name.split("/")[-1].partition(":")[0]: g for name, g in zip(names, found)}
        positions = 8 * 6 * 6
        assert np.allclose(by_name["beta"], positions)
        slope = norm.gamma / tf.sqrt(tf.convert_to_tensor(norm.moving_variance) + norm.epsilon)
        assert np.allclose(by_name["bias"], positions * np.asarray(slope), rtol=1e-4)


# ---- where one Keras layer would need two ----


def twice(kit, name):
    k = kit.layers
    start = k.Input(IMAGE, name="image")
    a, b = k.Conv2D(4, 3, padding="same", name="a"), k.Conv2D(4, 3, padding="same", name="b")
    norm, other = k.BatchNormalization(name="norm"), k.BatchNormalization(name="other")
    x = {
        "norm of two layers": lambda: norm(b(norm(a(start)))),
        "layer with norm and without": lambda: k.Add()([norm(a(start)), a(start)]),
        "layer with two norms": lambda: k.Add()([norm(a(start)), other(a(start))]),
        "layer and norm, both twice": lambda: k.Add()([norm(a(start)), norm(a(k.ReLU()(start)))]),
        "two norms in a row": lambda: other(norm(a(start))),
    }[name]()
    return kit.Model(start, k.Dense(3, name="last")(k.Flatten()(x)), name="twice")


# where outputs are rounded
TWICE = {
    "norm of two layers": ["last"],
    "layer with norm and without": ["norm", "last"],
    "layer with two norms": ["norm", "other", "last"],
    "layer and norm, both twice": ["norm", "last"],
    "two norms in a row": ["last"],
}


@pytest.mark.parametrize("which", sorted(TWICE))
def test_layers_called_twice(kit, which):
    model = twice(kit, which)
    edit(model)
    x = pictures(1000)[0]
    model(x[:64], training=True)
    model(x[:64], training=True)
    assert sorted(endings_of(model)) == sorted(TWICE[which])
    deploy(model)
    found = apart(evaluated(model, x), run("out/model_quantized.pb", x))
    every_call = len(TWICE[which]) > 1 and "without" not in which
    assert found.max() < (1e-4 if every_call else 0.05)


def test_copies_are_as_the_float_model(kit):
    """Layers that Keras makes of the class of an edited one are not retrained, and can be."""
    model = functional(kit)
    edit(model)
    copy = kit.models.clone_model(model)
    copy.set_weights(functional(kit).get_weights())
    x = pictures(8)[0]
    infer = functional(kit)
    infer.set_weights(copy.get_weights())
    assert np.array_equal(evaluated(copy, x), evaluated(infer, x))
    edit(copy)
    copy(x, training=True)
    deploy(copy)
    assert Path("record.txt").exists() and len(endings_of(copy)) == 8
    assert apart(evaluated(copy, x), run("out/model_quantized.pb", x)).max() < 1e-4
