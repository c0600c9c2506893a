# SPDX-License-Identifier: Apache-2.0
"""amct_tensorflow.freeze of Keras models, their files, and SavedModels of TensorFlow 1 and 2."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import freezing
import fusion_graphs
import models
from amct_tensorflow import _core
from conftest import ROOT
from freezing import MODERN, OWN, images

v1 = tf.compat.v1
X = images()
NORM = OWN["raw resource"]
KITS = ["keras", "tf_keras"] if MODERN else ["tf.keras"]


@pytest.fixture(params=KITS)
def kit(request):
    found = tf.keras if request.param == "tf.keras" else pytest.importorskip(request.param)
    if MODERN:
        found.utils.set_random_seed(3)
    else:
        found.backend.clear_session()
        v1.set_random_seed(3)
    return found


def norm(k, seed, **keywords):
    random = tf.keras.initializers if not MODERN else sys.modules[k.__name__.partition(".")[0]].initializers
    names = ("beta", "gamma", "moving_mean", "moving_variance")
    starts = {name + "_initializer": random.RandomUniform(0.3, 1.5, seed=seed + i) for i, name in enumerate(names)}
    return k.BatchNormalization(**dict(starts, **keywords))


def layers_of(kit):
    k = kit.layers
    return [
        k.Conv2D(5, 3, padding="same", name="conv"),
        norm(k, 11),
        k.ReLU(),
        k.Dropout(0.4),
        k.DepthwiseConv2D(3, name="depth"),
        norm(k, 21),
        k.ReLU(6.0),
        k.GlobalAveragePooling2D(),
        k.Dense(3, activation="softmax", name="classes"),
    ]


def functional(kit):
    x = start = kit.layers.Input(freezing.SHAPE, name="image")
    for layer in layers_of(kit):
        x = layer(x)
    return kit.Model(start, x, name="net")


def sequential(kit):
    return kit.Sequential([kit.layers.InputLayer(freezing.SHAPE)] + layers_of(kit), name="net")


def subclassed(kit):
    class Net(kit.Model):
        def __init__(self):
            super(Net, self).__init__(name="net")
            self.stack = layers_of(kit)

        def call(self, x, training=None):
            for layer in self.stack:
                takes = any(word in type(layer).__name__ for word in ("Norm", "Drop"))
                x = layer(x, training=training) if takes else layer(x)
            return x

    model = Net()
    model(X[:2])
    return model


def two_outputs(kit):
    model = functional(kit)
    inner = model.get_layer("depth").output
    extra = kit.layers.Activation("tanh", name="inner")(inner)
    return kit.Model(model.inputs, {"classes": model.outputs[0], "inner": extra} if MODERN else [model.outputs[0], extra])


def evaluated(model):
    if not MODERN:
        return model.predict(X)
    return np.asarray(model(tf.constant(X), training=False))


def check(outputs, wanted, norms=2, path="model.pb"):
    (start,) = [node.name for node in freezing.read(path).node if node.op == "Placeholder"]
    freezing.check(path, outputs, {start + ":0": X}, wanted, norms)


# ---- Keras ----


@pytest.mark.parametrize("build", [functional, sequential] + ([subclassed] if MODERN else []))
def test_keras_model(kit, build):
    model = build(kit)
    wanted = evaluated(model)
    check(amct.freeze(model, "model.pb"), [wanted])


@pytest.mark.parametrize("suffix", [".keras", ".h5"] if MODERN else [".h5"])
def test_keras_file(kit, suffix):
    model = functional(kit)
    wanted = evaluated(model)
    model.save("trained" + suffix)
    kit.backend.clear_session()
    check(amct.freeze("trained" + suffix, "model.pb"), [wanted])


def test_keras_trained(kit):
    """Statistics as training leaves them, a compiled model, a graph that is not the default one."""
    model = functional(kit)
    model.compile("sgd", "mse")
    model.fit(X, np.zeros((len(X), 3), np.float32), epochs=2, verbose=0)
    wanted = evaluated(model)
    with tf.Graph().as_default():
        outputs = amct.freeze(model, "model.pb")
    check(outputs, [wanted])


def test_some_outputs_of_a_keras_model(kit):
    model = two_outputs(kit)
    both = amct.freeze(model, "model.pb")
    assert len(both) == 2
    (name,) = amct.freeze(model, "one.pb", ["inner"])
    assert name in both
    nodes = [node.name for node in freezing.read("one.pb").node]
    assert name in nodes and len(nodes) < len(freezing.read("model.pb").node)
    with pytest.raises(ValueError, match='has no node "nowhere"; its outputs: classes, inner'):
        amct.freeze(model, "two.pb", ["nowhere"])
    assert not os.path.exists("two.pb")


@pytest.mark.parametrize("static", [False, True])
def test_layer_normalization(kit, static):
    """tf-keras makes it of a batch norm in training mode, over a batch of one: nothing of training."""
    k = kit.layers
    start = k.Input(freezing.SHAPE, **({"batch_size": len(X)} if static else {}), name="image")
    x = k.LayerNormalization()(k.Conv2D(6, 3, name="conv")(start))
    x = k.LayerNormalization(center=False)(k.Dense(5, activation="relu", name="dense")(x))
    model = kit.Model(start, k.Dense(3, name="classes")(k.Flatten()(x)), name="net")
    wanted = evaluated(model)
    outputs = amct.freeze(model, "model.pb")
    (found,) = fusion_graphs.run(freezing.read("model.pb"), {"image:0": X}, outputs)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    graph = models.load("model.pb")
    amct.create_quant_config("quant.json", graph)
    amct.quantize_model(graph, "quant.json", "quant.txt", outputs)
    with v1.Session(graph=graph) as session:
        session.run(outputs[0] + ":0", {"image:0": X})
    amct.save_model("model.pb", outputs, "quant.txt", "quant/model")
    (found,) = fusion_graphs.run(freezing.read("quant/model_quantized.pb"), {"image:0": X}, outputs)
    assert np.abs(found - wanted).max() <= 0.1 * np.abs(wanted).max()
    assert fusion_graphs.count_ops(freezing.read("quant/model_quantized.pb"), "AscendDequant") == 3


# ---- SavedModels ----


def old_saved_model(folder, flag, strip=False):
    """What a script of TensorFlow 1 exports. Returns what it gives in inference mode."""
    wanted = freezing.write_checkpoint(NORM, flag)
    with tf.Graph().as_default(), freezing.ControlFlow(), v1.Session() as session:
        y = freezing.network(NORM, flag)
        x = y.graph.get_tensor_by_name("x:0")
        v1.train.Saver().restore(session, "ckpt/model")
        signature = v1.saved_model.build_signature_def(
            {"image": v1.saved_model.build_tensor_info(x)}, {"classes": v1.saved_model.build_tensor_info(y)}
        )
        builder = v1.saved_model.Builder(folder)
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature, "other": signature}, strip_default_attrs=strip
        )
        builder.save()
    return wanted


@pytest.mark.parametrize("flag", ["placeholder", "default off", "true", "false"])
def test_saved_model_of_sessions(flag):
    wanted = old_saved_model("export", flag, strip=flag == "true")
    assert amct.freeze("export", "model.pb") == ["y"]
    check(["y"], [wanted])
    for outputs, keywords in ((["classes"], {}), (["y"], {"signature": "other"})):
        assert amct.freeze("export/saved_model.pb", "again.pb", outputs, **keywords) == ["y"]
        with open("model.pb", "rb") as one, open("again.pb", "rb") as two:
            assert one.read() == two.read()


OTHER = os.environ.get("AMCT_TF1_PYTHON", os.path.join(ROOT, ".venv-tf1", "bin", "python"))
WRITE = """
import numpy as np, sys
import tensorflow as tf
sys.path.insert(0, {path!r})
import freezing, test_freeze_models
freezing.MODERN = False
np.save("wanted.npy", test_freeze_models.old_saved_model("export", "placeholder"))
model = test_freeze_models.functional(tf.keras)
model.save("keras", save_format="tf")
model.save("keras.h5")
np.save("keras.npy", model.predict(test_freeze_models.X))
"""


@pytest.mark.skipif(not MODERN, reason="reads in TensorFlow 2 what TensorFlow 1 wrote")
def test_what_tensorflow_1_wrote():
    """slim's and Keras's of TensorFlow 1.15 in TensorFlow 2."""
    if not os.path.exists(OTHER):
        pytest.skip("TensorFlow 1.15 is not there: nothing that it wrote is read ({})".format(OTHER))
    program = WRITE.format(path=os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run([OTHER, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()[-2000:]
    assert amct.freeze("export", "model.pb") == ["y"]
    check(["y"], [np.load("wanted.npy")])
    check(amct.freeze("ckpt/model", "model.pb", ["y"]), [np.load("wanted.npy")])
    check(amct.freeze("keras", "model.pb"), [np.load("keras.npy")])
    pytest.importorskip("tf_keras")
    check(amct.freeze("keras.h5", "model.pb"), [np.load("keras.npy")])


def test_saved_model_of_keras(kit):
    """Keras 3 writes batch norms in small ops there, which fold as well."""
    model = functional(kit)
    wanted = evaluated(model)
    if kit.__name__ == "keras":
        model.export("export", verbose=False)
    else:
        model.save("export", save_format="tf")
    kit.backend.clear_session()
    outputs = amct.freeze("export", "model.pb")
    check(outputs, [wanted], 0 if kit.__name__ == "keras" else 2)
    if kit.__name__ == "keras":
        assert fusion_graphs.count_ops(freezing.read("model.pb"), "Rsqrt") == 2


class Flagged(tf.Module):
    """A function whose caller says whether it trains: a cond inside."""

    def __init__(self):
        super().__init__()
        r = np.random.RandomState(2)
        self.w = tf.Variable(r.normal(0, 0.5, (3, 3, 3, 5)).astype("f"))
        self.p = [tf.Variable(r.uniform(0.3, 1.5, 5).astype("f")) for _ in range(4)]

    def call(self, x, training):
        x = tf.nn.conv2d(tf.cast(x, tf.float32) / 255.0, self.w, 1, "SAME")
        g, b, mean, variance = [tf.convert_to_tensor(p) for p in self.p]
        return tf.cond(
            training,
            lambda: v1.nn.fused_batch_norm(x, g, b, is_training=True)[0],
            lambda: v1.nn.fused_batch_norm(x, g, b, mean, variance, is_training=False)[0],
        )


@pytest.mark.skipif(not MODERN, reason="tf.function with signatures, TensorFlow 2")
def test_saved_model_with_a_flag_among_its_inputs():
    module = Flagged()
    specs = [tf.TensorSpec((None,) + freezing.SHAPE, tf.uint8, "pixels"), tf.TensorSpec([], tf.bool, "training")]

    def serve(pixels, training):
        return {"features": module.call(pixels, training)}

    function = tf.function(serve, input_signature=specs)
    tf.saved_model.save(module, "export", {"serving_default": function})
    (name,) = amct.freeze("export", "model.pb")
    pixels = np.random.RandomState(0).randint(0, 256, (8,) + freezing.SHAPE).astype(np.uint8)
    wanted = function(pixels, tf.constant(False))["features"].numpy()
    (start,) = [node.name for node in freezing.read("model.pb").node if node.op == "Placeholder"]
    freezing.check("model.pb", [name], {start + ":0": pixels}, [wanted], 1)


# ---- what XLA compiles ----


def in_groups(kit):
    """Convolutions that Keras has compiled: in groups; dilated, along a line and with a bias as well."""
    k = kit.layers
    x = start = k.Input(freezing.SHAPE, name="image")
    x = k.ReLU()(norm(k, 11)(k.Conv2D(6, 3, groups=3, padding="same", use_bias=False, name="plain")(x)))
    x = k.Conv2D(8, 3, groups=2, dilation_rate=2, padding="same", activation="relu", name="dilated")(x)
    x = k.ReLU()(norm(k, 21)(k.Conv2D(8, 2, groups=4, strides=2, name="strided")(x)))
    x = k.Reshape((-1, 8))(x)
    x = k.Conv1D(4, 3, groups=2, activation="relu", name="line")(x)
    return kit.Model(start, k.Dense(3, name="classes")(k.GlobalAveragePooling1D()(x)), name="net")


@pytest.mark.skipif(not MODERN, reason="groups in Keras, TensorFlow 2")
@pytest.mark.parametrize("exported", [False, True])
def test_convolutions_in_groups(kit, exported):
    """They are in sight, with their batch norms, and the graph runs without a compiler, on the CPU."""
    model = in_groups(kit)
    wanted = evaluated(model)
    if exported:
        tf.saved_model.save(model, "export")
        kit.backend.clear_session()
    outputs = amct.freeze("export" if exported else model, "model.pb")
    check(outputs, [wanted], 0 if exported and kit.__name__ == "keras" else 2)
    frozen = freezing.read("model.pb")
    assert not frozen.library.function
    ops = {"Conv2D": 2 + 4 + 2, "DepthwiseConv2dNative": 1, "Split": 3, "MatMul": 1}
    assert {op: fusion_graphs.count_ops(frozen, op) for op in ops} == ops
    report = _core.inspect_model(frozen.SerializeToString())
    assert len(report["layers"]) == 10 and len(report["fusions"]) >= 2 and not report["declined"], report


@pytest.mark.skipif(not MODERN, reason="tf.function with jit_compile, TensorFlow 2")
@pytest.mark.parametrize("what", ["3-D", "other ops"])
def test_what_needs_the_compiler_stays(what):
    """TensorFlow has no kernel for the one on the CPU; the other is no layer alone."""
    w = np.random.RandomState(3).normal(0, 0.5, (1, 3, 3, 1, 6) if what == "3-D" else (3, 3, 1, 6)).astype("f")

    @tf.function(jit_compile=True)
    def layer(x):
        if what == "3-D":
            return tf.nn.conv3d(x[:, None], w, [1] * 5, "SAME")[:, 0]
        return tf.sin(tf.nn.conv2d(x, w, 1, "SAME"))

    module = tf.Module()
    spec = tf.TensorSpec((None,) + freezing.SHAPE, tf.float32, "image")
    last = np.ones((6, 2), np.float32)
    function = tf.function(lambda image: {"y": tf.tensordot(layer(image), last, 1)}, input_signature=[spec])
    tf.saved_model.save(module, "export", {"serving_default": function})
    outputs = amct.freeze("export", "model.pb")
    assert len(freezing.read("model.pb").library.function) == 1
    check(outputs, [function(tf.constant(X))["y"].numpy()], 0)
