# SPDX-License-Identifier: Apache-2.0
"""amct_tensorflow.freeze of what cannot be frozen: errors that name file and value, nothing written."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import freezing
import fusion_graphs
import models
from amct_tensorflow.cmd_line.command import main
from freezing import MODERN, OWN, images, write_checkpoint

v1 = tf.compat.v1
NORM = OWN["raw resource"]


def refused(kind, text, source, *outputs, **keywords):
    """The call raises, its message holds the text, and there is no new file."""
    before = sorted(str(path) for path in Path(".").rglob("*"))
    with pytest.raises(kind) as caught:
        amct.freeze(source, "new/model.pb", *outputs, **keywords)
    assert text in str(caught.value), str(caught.value)
    assert before == sorted(str(path) for path in Path(".").rglob("*"))
    return caught.value


# ---- files ----


def test_missing():
    refused(OSError, "nowhere: No such file", "nowhere")
    refused(OSError, "nowhere.meta: No such file", "nowhere.meta")
    refused(OSError, "no.h5: No such file", "no.h5")


def test_wrong_kinds():
    models.float_pb("model.pb")
    refused(amct.FormatError, "model.pb: wanted is the folder of a SavedModel", "model.pb")
    refused(TypeError, "source must be a path or a Keras model, not int", 3)
    refused(TypeError, "source must be a path or a Keras model, not Graph", tf.Graph())
    refused(ValueError, "source is empty", "")
    Path("text.keras").write_text("no zip")
    refused(amct.FormatError if MODERN else amct.UnsupportedError, "text.keras: ", "text.keras")
    Path("text.h5").write_text("no hdf5")
    refused(amct.FormatError, "text.h5: ", "text.h5")


def test_wrong_arguments():
    write_checkpoint(NORM, "false")
    refused(ValueError, "outputs is empty", "ckpt/model", [])
    refused(TypeError, "outputs must be a list of str", "ckpt/model", "y")
    refused(ValueError, "without ':0'", "ckpt/model", ["y:0"])
    error = refused(ValueError, 'ckpt/model has no node "nowhere"', "ckpt/model", ["nowhere"])
    assert isinstance(error, amct.ArgumentError)


def test_folders():
    os.mkdir("empty")
    refused(amct.FormatError, "empty: a folder without saved_model.pb is no SavedModel", "empty")
    write_checkpoint(NORM, "false")
    refused(amct.FormatError, "; its latest checkpoint is ckpt/model", "ckpt")
    os.mkdir("broken")
    Path("broken/saved_model.pb").write_bytes(b"\xff\xfe no SavedModel")
    refused(amct.FormatError, "broken: ", "broken")
    Path("broken/saved_model.pb").write_bytes(b"")
    refused(amct.FormatError, 'broken: no graph for "serve", but for nothing', "broken")


def test_damaged_checkpoints():
    write_checkpoint(NORM, "false")
    data = "ckpt/model.data-00000-of-00001"
    for name in ("ckpt/model.meta", "ckpt/model.index", data):
        with open(name, "rb") as file:
            whole = file.read()
        for part in (b"", whole[: len(whole) // 2], whole[:40] + b"\xff" * 40 + whole[80:]):
            Path(name).write_bytes(part)
            if name == data and len(part) == len(whole):
                continue  # other numbers, which no checksum of TensorFlow's notices when short
            refused((amct.AmctError,), "ckpt/model", "ckpt/model", ["y"])
        Path(name).write_bytes(whole)
    assert amct.freeze("ckpt/model", "good.pb", ["y"]) == ["y"]
    os.remove(data)
    refused(amct.FormatError, "ckpt/model: ", "ckpt/model", ["y"])
    os.remove("ckpt/model.index")
    refused(OSError, "ckpt/model: no checkpoint beside it: ckpt/model.index", "ckpt/model.meta")


def test_a_checkpoint_without_its_graph():
    write_checkpoint(NORM, "false")
    os.remove("ckpt/model.meta")
    refused(OSError, "ckpt/model: a checkpoint without ckpt/model.meta, its graph", "ckpt/model")


def test_where_nothing_can_be_written():
    write_checkpoint(NORM, "false")
    Path("file").write_text("kept")
    with pytest.raises(amct.FileError, match="file/model.pb: "):
        amct.freeze("ckpt/model", "file/model.pb", ["y"])
    assert Path("file").read_text() == "kept"


# ---- graphs ----


def other_checkpoint(build, saved=None):
    """A checkpoint of what build() makes, of the variables `saved`."""
    os.makedirs("ckpt")
    with tf.Graph().as_default(), v1.Session() as session:
        build()
        session.run(v1.global_variables_initializer())
        session.run(v1.tables_initializer())
        v1.train.Saver(saved() if saved else None).save(session, "ckpt/model")


def test_a_variable_without_a_value():
    def build():
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        w, b = (v1.get_variable(name, shape, use_resource=True) for name, shape in (("w", [4, 3]), ("lost", [3])))
        tf.add(tf.matmul(x, w), b, name="y")

    other_checkpoint(build, lambda: [v for v in v1.global_variables() if v.op.name == "w"])
    refused(amct.GraphError, "lost", "ckpt/model", ["y"])


def test_training_mode_without_moving_averages():
    """Statistics of the batch, in one op and in small ones: no inference graph is in there."""

    def build():
        x = v1.placeholder(tf.float32, (None,) + freezing.SHAPE, name="x")
        y = freezing.convolution(x, "w")
        one = tf.ones([5])
        v1.nn.fused_batch_norm(y, one, one, is_training=True, name="large")
        mean, variance = tf.nn.moments(y, [0, 1, 2])
        tf.nn.batch_normalization(y, mean, variance, one, one, 1e-3, name="small")

    other_checkpoint(build)
    error = refused(amct.GraphError, '"large" normalizes with the statistics of the batch', "ckpt/model", ["large"])
    assert error.node == "large" and "export the graph with is_training False" in str(error)
    refused(amct.GraphError, 'Rsqrt "small/Rsqrt" normalizes', "ckpt/model", ["small/add_1"])


def test_two_moving_averages_of_one_tensor():
    def build():
        x = v1.placeholder(tf.float32, (None,) + freezing.SHAPE, name="x")
        one = tf.ones([3])
        _, mean, variance = v1.nn.fused_batch_norm(x, one, one, is_training=True, name="bn")
        for name, value in (("a", mean), ("b", mean), ("c", variance)):
            moving = v1.get_variable(name, [3])
            v1.assign_sub(moving, (moving - value) * 0.1)

    other_checkpoint(build)
    refused(amct.GraphError, 'both "a" and "b" are moving averages of "bn:1"', "ckpt/model", ["bn"])


@pytest.mark.parametrize("what", ["a difference of decays", "no decay", "an offset"])
def test_what_is_no_moving_average(what):
    """Updates that are something else are not taken for one."""

    def build():
        x = v1.placeholder(tf.float32, (None,) + freezing.SHAPE, name="x")
        one = tf.ones([3])
        _, mean, variance = v1.nn.fused_batch_norm(x, one, one, is_training=True, name="bn")
        for name, value in (("a", mean), ("b", variance)):
            moving = v1.get_variable(name, [3])
            steps = {
                "a difference of decays": 0.9 * moving + 0.2 * value,
                "no decay": value + 0 * moving,
                "an offset": 0.9 * moving + 0.1 * value + 0.1,
            }
            v1.assign(moving, steps[what])

    other_checkpoint(build)
    refused(amct.GraphError, '"bn" normalizes with the statistics of the batch', "ckpt/model", ["bn"])


def test_moving_averages_as_they_may_be_written():
    def build():
        x = v1.placeholder(tf.float32, (None,) + freezing.SHAPE, name="x")
        one = tf.ones([3])
        _, mean, variance = v1.nn.fused_batch_norm(x, one, one, is_training=True, name="bn")
        random = v1.random_uniform_initializer(0.5, 2)
        a, b = (v1.get_variable(name, [3], initializer=random) for name in ("a", "b"))
        v1.assign(a, tf.constant(0.9) * a + mean * (1 - tf.constant(0.9)))
        v1.assign_add(b, -(b - variance) / 10.0)

    other_checkpoint(build)
    assert amct.freeze("ckpt/model", "model.pb", ["bn"]) == ["bn"]
    reader = v1.train.NewCheckpointReader("ckpt/model")
    a, b = reader.get_tensor("a"), reader.get_tensor("b")
    (found,) = fusion_graphs.run(freezing.read("model.pb"), {"x:0": images()}, ["bn"])
    assert np.abs(found - ((images() - a) / np.sqrt(b + 1e-3) + 1)).max() < 1e-5


@pytest.mark.parametrize("keep", ["a rate", "keep_prob"])
def test_dropout_that_is_always_on_goes(keep):
    def build():
        x = v1.placeholder(tf.float32, (None, 4), name="x")
        probability = v1.placeholder(tf.float32, [], name="keep_prob")
        options = {"rate": 0.25} if keep == "a rate" else {"rate": 1 - probability}
        tf.identity(tf.nn.dropout(x, **options), name="y")
        mask = tf.floor(probability + v1.random_uniform([4]))
        tf.multiply(tf.divide(x, probability), mask, name="old")
        tf.multiply(x, v1.random_uniform([4]), name="noise")
        v1.get_variable("w", [1])

    other_checkpoint(build)
    amct.freeze("ckpt/model", "model.pb", ["y", "old"])
    x = images().reshape(-1, 4)
    for found in fusion_graphs.run(freezing.read("model.pb"), {"x:0": x}, ["y", "old"]):
        assert np.array_equal(found, x)
    amct.freeze("ckpt/model", "noise.pb", ["noise"])
    assert fusion_graphs.count_ops(freezing.read("noise.pb"), "RandomUniform") == 1


def test_an_output_of_training():
    write_checkpoint(NORM, "placeholder")
    with tf.Graph().as_default() as graph:
        v1.train.import_meta_graph("ckpt/model.meta")
        norms = [op for op in graph.get_operations() if op.type.startswith("FusedBatchNorm")]
    training = next(op.name for op in norms if op.get_attr("is_training"))
    # taken for what is wanted, it decides the flag
    refused(amct.GraphError, training, "ckpt/model", [training])


def test_tables_and_iterators():
    def table():
        keys = v1.placeholder(tf.string, [None], name="words")
        init = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2], tf.string, tf.int64)
        found = tf.lookup.StaticHashTable(init, 0).lookup(keys)
        w = v1.get_variable("w", [3, 2])
        tf.identity(tf.gather(w, found), name="y")
        data = v1.data.make_one_shot_iterator(tf.data.Dataset.from_tensors(np.ones([2, 3], "f")))
        tf.matmul(data.get_next(), w, name="z")

    other_checkpoint(table)
    error = refused(amct.UnsupportedError, "lives in a process", "ckpt/model", ["y"])
    assert "HashTable" in str(error) and error.node
    error = refused(amct.UnsupportedError, "lives in a process", "ckpt/model", ["z"])
    assert "Iterator" in str(error)


# ---- SavedModels ----


def saved_model():
    import test_freeze_models

    test_freeze_models.old_saved_model("export", "false")


def test_signatures():
    saved_model()
    refused(ValueError, 'export: no signature "nowhere", but other, serving_default', "export", signature="nowhere")
    refused(ValueError, 'has no node "nowhere"; its outputs: classes', "export", ["nowhere"])
    refused(ValueError, "signature is empty", "export", signature="")


def test_a_saved_model_without_its_variables():
    saved_model()
    shutil.rmtree("export/variables")
    refused(amct.AmctError, "export: ", "export")


# ---- command lines ----


def test_command_line(capfd):
    """A SavedModel, a checkpoint: the same files as with the pb that freeze makes."""
    saved_model()
    np.save("data.npy", images())
    amct.freeze("export", "m.pb")
    options = ["--input_shape", "x:16,8,8,3", "--data_dir", "data.npy", "--data_types", "float32"]

    def run(model, output, prefix):
        given = ["calibration", "--model", model, "--outputs", output, "--save_path", prefix, "--record_file", prefix + ".txt"]
        return main(given + options)

    for model, output in (("m.pb", "y:0"), ("export", "classes"), ("export/", "y"), ("ckpt/model.meta", "y"), ("ckpt/model", "y:0")):
        assert run(model, output, "out/" + str(len(os.listdir("out") if os.path.exists("out") else []))) == 0
    written = {Path("out", name).read_bytes() for name in os.listdir("out") if name.endswith(".pb")}
    assert len(written) == 1
    assert run("export", "nowhere", "new/m") == 2
    assert run("nowhere.h5", "y", "new/m") == 1
    assert run("ckpt", "y", "new/m") == 1
    said = capfd.readouterr().err
    assert 'export has no node "nowhere"' in said and "nowhere.h5: No such file" in said and "is no SavedModel" in said
    assert not os.path.exists("new")


def test_command_line_convert(capfd):
    def build():
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        w = v1.get_variable("w", [4, 3])
        x = tf.quantization.fake_quant_with_min_max_args(x, -1, 1)
        w = tf.quantization.fake_quant_with_min_max_args(w, -1, 1)
        tf.nn.relu(tf.matmul(x, w), name="y")

    other_checkpoint(build)
    assert main(["convert", "--model", "ckpt/model", "--outputs", "y", "--save_path", "out/m"]) == 0
    assert fusion_graphs.count_ops(freezing.read("out/m_quantized.pb"), "AscendDequant") == 1


def test_other_calls_say_what_to_do():
    saved_model()
    for source, kind in (("export", "a folder"), ("export/saved_model.pb", "a SavedModel"), ("ckpt/model.meta", "meta graph")):
        with pytest.raises((amct.FileError, amct.FormatError)) as caught:
            amct.save_model(source, ["y"], "record.txt", "out/m")
        assert source in str(caught.value) and kind in str(caught.value) and "amct_tensorflow.freeze" in str(caught.value)
