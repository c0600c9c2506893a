# SPDX-License-Identifier: Apache-2.0
"""What goes wrong when Keras models are retrained, and what is said of it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from keras_models import IMAGE, edit, fit, functional, loss_of, pictures, subclassed

if tf.__version__.startswith("1."):
    pytest.skip("Keras models are retrained in TensorFlow 2", allow_module_level=True)


@pytest.fixture(params=["keras", "tf_keras"])
def kit(request):
    found = pytest.importorskip(request.param)
    found.utils.set_random_seed(3)
    return found


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
