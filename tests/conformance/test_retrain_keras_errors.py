# SPDX-License-Identifier: Apache-2.0
"""What goes wrong when Keras models are retrained, and what is said of it."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from keras_models import IMAGE, edit, fit, functional, loss_of, pictures, subclassed

if tf.__version__.startswith("1."):
    pytest.skip("Keras models are retrained in TensorFlow 2", allow_module_level=True)


# ---- errors ----


def test_a_compiled_model_must_be_compiled_again(kit):
    model = functional(kit)
    fit(kit, model, epochs=1)
    x, y = pictures(32)
    before = model.predict(x, verbose=0)
    edit(model)
    assert "was compiled before" in Path(amct._log_file).read_text()
    with pytest.raises((ValueError, RuntimeError), match="compile"):
        model.fit(x, y, verbose=0)
    assert fit(kit, model, epochs=1)
    assert np.abs(model.predict(x, verbose=0) - before).max() > 0
    assert not model.jit_compile  # "auto" of Keras 3


@pytest.fixture
def logged():
    """What the log has since the test began."""
    amct._core.write_log(amct._core.LEVELS.index("warning"), "test", "begins")  # makes the file
    start = len(Path(amct._log_file).read_text())
    return lambda: Path(amct._log_file).read_text()[start:]


UNTRAINED = "weights were trained, and no clip was"


@pytest.mark.parametrize("way", ["built", "stepped"])
@pytest.mark.parametrize("graph", [False, True])
def test_optimizers_of_before_in_a_loop(kit, logged, way, graph):
    """Keras itself names the clip; a list of variables from before is told when freezing."""
    model, optimizer, loss = functional(kit), kit.optimizers.Adam(0.01), loss_of(kit)
    x, y = pictures(16)
    before = list(model.trainable_variables)

    def step(variables):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables))

    if way == "built":
        optimizer.build(before)
    else:
        step(before)
    clips = edit(model)

    def run_it(variables):
        (tf.function(lambda: step(variables)) if graph else lambda: step(variables))()

    with pytest.raises((ValueError, KeyError), match="(?i)variable .*stem/ULQ/ULQ_clip_max"):
        run_it(model.trainable_variables)
    model(x, training=True)
    found = [float(tf.convert_to_tensor(clip)) for clip in clips]
    run_it(before)
    assert [float(tf.convert_to_tensor(clip)) for clip in clips] == found
    assert UNTRAINED not in logged()
    amct.freeze_quant_retrain_model(model, "r.pb")
    assert UNTRAINED in logged()


def test_trained_clips_are_not_told_of(kit, logged):
    """Nor those of a model that nothing has trained, or whose layers are frozen."""
    model = functional(kit)
    edit(model)
    model(pictures(16)[0], training=True)
    amct.freeze_quant_retrain_model(model, "r.pb")
    fit(kit, model, epochs=1)
    amct.freeze_quant_retrain_model(model, "r.pb")
    for layer in model.layers:
        layer.trainable = False
    model.set_weights([w * 1.1 if w.size > 3 else w for w in model.get_weights()])
    amct.freeze_quant_retrain_model(model, "r.pb")
    assert UNTRAINED not in logged()


def test_configured_clips_can_be_untrained_too(kit, logged):
    def change(config):
        for value in config.values():
            if isinstance(value, dict):
                value["retrain_data_config"].update(clip_max=2.0, clip_min=-1.5)

    model = functional(kit)
    edit(model, change=change)
    model.layers[1].kernel.assign(model.layers[1].kernel + 0.5)
    amct.freeze_quant_retrain_model(model, "r.pb")
    assert UNTRAINED in logged()


@pytest.mark.parametrize(
    "policy,computes", [("mixed_float16", "float16"), ("mixed_bfloat16", "bfloat16")]
)
def test_other_precisions(kit, logged, policy, computes):
    """Named with their policy, and what to do; whole models are refused, layers left out."""
    k = kit.layers

    def build(last, others):
        start = k.Input(IMAGE, name="image")
        x = k.Flatten()(k.Conv2D(4, 3, name="half", dtype=others)(start))
        return kit.Model(start, k.Dense(3, name="out", dtype=last)(x), name="net")

    reason = (
        'Keras layer "half" has the dtype policy "{}" and computes in {}; only float32 is '
        'retrained: make the model with the policy "float32" and load its weights'
    ).format(policy, computes)
    with pytest.raises(amct.ConfigError) as caught:
        amct.create_quant_retrain_config("c.json", build(policy, policy))
    assert str(caught.value) == (
        "net: no layer can be retrained: {}, and so do 1 more".format(reason)
    )
    assert not os.path.exists("c.json")

    plain, some = build("float32", "float32"), build("float32", policy)
    amct.create_quant_retrain_config("c.json", plain)
    with pytest.raises(amct.ConfigError, match="cannot be retrained: " + re.escape(reason)):
        amct.create_quant_retrain_model(some, "c.json", "record.txt")
    assert not os.path.exists("record.txt")
    edit(some)
    assert '" stays float: ' + reason in logged()
    assert [name for name in json.loads(Path("c.json").read_text()) if "half" in name] == []

    # as it says
    plain.set_weights(build(policy, policy).get_weights())
    edit(plain)
    fit(kit, plain, epochs=1)
    amct.freeze_quant_retrain_model(plain, "r.pb")


def test_xla_is_explained(kit):
    model = functional(kit)
    edit(model)
    x, y = pictures(8)
    for step in (lambda x: model(x, training=True), lambda x: model(x, training=False)):
        step = tf.function(step, jit_compile=True)
        with pytest.raises(Exception, match="XLA has no kernels for the retraining ops"):
            step(x)
    model.compile("sgd", loss_of(kit), jit_compile=True)
    if kit.__name__ == "keras":  # says so, and goes on without
        assert not model.jit_compile
        model.fit(x, y, verbose=0)
    else:
        with pytest.raises(Exception, match="XLA has no kernels for the retraining ops"):
            model.fit(x, y, verbose=0)


def test_edited_once(kit):
    model = functional(kit)
    edit(model)
    for call in (
        lambda: amct.create_quant_retrain_model(model, "c.json", "record.txt"),
        lambda: amct.create_quant_retrain_config("c.json", model),
        lambda: amct.create_quant_retrain_model(kit.Sequential([model]), "c.json", "record.txt"),
    ):
        with pytest.raises(amct.UnsupportedError, match="has edited this model already"):
            call()


def test_what_does_not_fit_leaves_the_model_alone(kit):
    model = subclassed(kit)
    kinds = [type(layer) for layer in model.layers]
    amct.create_quant_retrain_config("c.json", model)
    config = json.loads(Path("c.json").read_text())
    assert not [name for name in config if "strange" in name]
    assert 'net/own/strange" stays float' in Path(amct._log_file).read_text()
    twice = [name for name in config if "/b0" in name]
    assert len(twice) == 2

    def refused(error, match, **layers):
        Path("bad.json").write_text(json.dumps(dict(config, **layers)))
        with pytest.raises(error, match=match):
            amct.create_quant_retrain_model(model, "bad.json", "record.txt")

    refused(amct.ConfigError, "net/stem/Conv. is not in the graph", **{"net/stem/Conv": {}})
    strange = {"net/own/strange": {"retrain_enable": True}}
    refused(amct.ConfigError, "net/own/strange.* is not made by a Keras layer", **strange)
    other = {twice[1]: {"retrain_data_config": {"clip_max": 1.0, "clip_min": -1.0}}}
    refused(amct.ConfigError, 'one Keras layer, "b0", called twice', **other)
    assert [type(layer) for layer in model.layers] == kinds and not os.path.exists("record.txt")
    assert not [v for v in model.weights if "ULQ" in v.name]


def test_errors_of_freezing(kit):
    model = functional(kit)
    with pytest.raises(amct.GraphError, match="has not edited this model"):
        amct.freeze_quant_retrain_model(model, "r.pb")
    edit(model, "batch_num: 2")
    model(pictures(8)[0], training=True)
    with pytest.raises(tf.errors.FailedPreconditionError, match="its clips are not initialised"):
        amct.freeze_quant_retrain_model(model, "r.pb")
    assert not os.path.exists("r.pb")
    with pytest.raises(TypeError, match="model must be a Keras model, not Graph"):
        amct.freeze_quant_retrain_model(tf.Graph(), "r.pb")


def test_data_that_are_no_numbers(kit):
    model = functional(kit)
    edit(model)
    model.compile("sgd", loss_of(kit))
    x, y = pictures(8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a training batch has NaN at index 5"):
        x.flat[5] = np.nan
        model.fit(x, y, verbose=0, shuffle=False)


def test_models_that_cannot_be_retrained(kit):
    k = kit.layers

    class Net(kit.Model):
        def __init__(self):
            super().__init__(name="fresh")
            self.d = k.Dense(2)

        def call(self, x):
            return self.d(x)

    with pytest.raises(amct.GraphError, match="fresh: .* call it once, on data"):
        amct.create_quant_retrain_config("c.json", Net())

    class Mine(k.Conv2D):
        def call(self, x):
            return super().call(tf.abs(x))

    model = kit.Sequential([k.Input(IMAGE), Mine(2, 3)])
    with pytest.raises(
        amct.ConfigError, match="no layer can be retrained; Keras layers that can: Av"
    ):
        amct.create_quant_retrain_config("c.json", model)
    assert not os.path.exists("c.json")
    with pytest.raises(TypeError, match="graph must be a tf.Graph"):
        amct.create_quant_retrain_config("c.json", k.Dense(3))


def test_graphs_are_not_distributed():
    with tf.Graph().as_default() as graph, tf.distribute.OneDeviceStrategy("CPU:0").scope():
        models.network()
        with pytest.raises(
            amct.UnsupportedError, match="under a tf.distribute strategy take a Keras"
        ):
            amct.create_quant_retrain_model(graph, "c.json", "record.txt")
