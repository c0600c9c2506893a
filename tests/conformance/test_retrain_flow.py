# SPDX-License-Identifier: Apache-2.0
"""Retraining from end to end on a small network: training, checkpoints, record, the saved model."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
import retraining
from retraining import LAYERS, OUTPUT, Network
from test_ops import away

v1 = tf.compat.v1
F32 = np.float32


def parsed(path):
    """The GraphDef: maps are serialized in any order."""
    definition = v1.GraphDef()
    definition.ParseFromString(Path(path).read_bytes())
    return definition


@pytest.mark.parametrize("use_resource", [False, True])
def test_the_whole_flow(use_resource):
    names, losses = retraining.train(steps=60, use_resource=use_resource)
    assert losses[-1] < 0.6 * losses[0]
    clips = ["{}/ULQ/{}:0".format(layer, clip) for layer in LAYERS for clip in ("clip_max", "clip_min")]
    assert set(clips) == {name for name in names if "ULQ" in name}

    simulated = retraining.infer(use_resource)
    record = models.read_record("record.txt")
    assert list(record) == LAYERS
    assert [len(record[layer].get("scale_w", [])) for layer in LAYERS] == [8, 8, 0, 1]

    amct.save_quant_retrain_model("retrained.pb", [OUTPUT], "record.txt", "out/model")
    deployed = models.load("out/model_quantized.pb")
    assert np.abs(models.run(deployed, [retraining.batch(100)[0]])[0] - simulated).max() < 2e-3
    types = models.op_types(deployed)
    assert not {"Ulq", "ArqRetrain", "RetrainFactors", "RetrainRecord"} & set(types.values())
    assert not [name for name in types if "ULQ" in name or "ARQ" in name]
    assert list(types.values()).count("AscendDequant") == 4

    # without a trace: what save_model makes of the same values in a graph that never had the ops
    amct.save_model(retraining.float_pb(use_resource), [OUTPUT], "record.txt", "plain/model")
    ours, plain = (parsed(folder + "/model_quantized.pb") for folder in ("out", "plain"))
    assert ours == plain
    ours, plain = (Path(folder, "model_quant.json").read_text() for folder in ("out", "plain"))
    assert ours == plain


def test_deployed_weights_are_those_of_training():
    retraining.train()
    retraining.infer()
    amct.save_quant_retrain_model("retrained.pb", [OUTPUT], "record.txt", "out/model")
    trained = {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in models.load(retraining.float_pb()).as_graph_def().node
        if node.name in ("stem/w", "block/w", "head/w")
    }
    deployed = {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in models.load("out/model_quantized.pb").as_graph_def().node
        if node.name.endswith("weight_quant/weight") or "weight_quant" in node.name and node.op == "Const"
    }
    for layer, axes in (("stem", (0, 1, 2)), ("block", (0, 1, 3)), ("head", None)):
        w = trained[layer + "/w"]
        scale = np.abs(w).max(axis=axes, keepdims=True) / F32(127)
        q = np.clip(away((w / scale).astype(F32)), -128, 127)
        ours = deployed[layer + "/weight_quant/weight"].astype(F32)
        sign = np.sign((ours * q).sum(axis=axes, keepdims=True))  # a negative gamma
        assert np.abs(ours - sign * q).max() <= 1 and (ours == sign * q).mean() > 0.99


def test_a_pretrained_checkpoint_restores_with_a_saver_made_before():
    with tf.Graph().as_default() as graph:
        Network(seed=5).build(True)
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(session, "./pretrained")
    _, losses = retraining.train(steps=1)
    Path("pretrained.index").unlink()
    _, others = retraining.train(steps=1)
    assert losses != others


def test_clips_start_where_the_configuration_says():
    with tf.Graph().as_default() as graph:
        Network().build(True)
        amct.create_quant_retrain_config("c.json", graph)
        config = json.loads(Path("c.json").read_text())
        stem, head = config["stem/Conv2D"], config["head/MatMul"]
        stem["retrain_data_config"].update(clip_max=2.0, clip_min=-1.5)
        head["retrain_data_config"].update(clip_max=4.0, clip_min=-1.5, fixed_min=True)
        config["block/AvgPool"]["retrain_enable"] = False
        Path("c.json").write_text(json.dumps(config))
        added = amct.create_quant_retrain_model(graph, "c.json", "record.txt")
        assert len(added) == 3 * 4 + 1 and Path("record.txt").read_text() == ""
        types = models.op_types(graph)
        assert "block/AvgPool/ULQ/Ulq" not in types
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            values = dict(zip([v.name for v in added[:-1]], session.run(added[:-1])))
    assert values["stem/Conv2D/ULQ/clip_max:0"] == 2.0
    assert values["stem/Conv2D/ULQ/clip_min:0"] == -1.5
    assert values["head/MatMul/ULQ/clip_max:0"] == 4.0
    assert values["head/MatMul/ULQ/clip_min:0"] == 0.0
    assert values["block/depthwise/ULQ/clip_max:0"] == 0.0


def test_the_frozen_graph_has_no_assignments():
    retraining.train(steps=2)
    retraining.infer()
    types = set(models.op_types(models.load("retrained.pb")).values())
    assert not [name for name in types if "Assign" in name or "Grad" in name]


def test_adam_and_few_steps():
    Path("r.cfg").write_text("batch_num: 3")
    with tf.Graph().as_default() as graph:
        Network().build(True)
        amct.create_quant_retrain_config("retrain.json", graph, "r.cfg")
    with tf.Graph().as_default():
        retraining.train(steps=2, optimizer=v1.train.AdamOptimizer(0.001))
    with pytest.raises(tf.errors.FailedPreconditionError, match="its clips are not initialised"):
        retraining.infer()
    with tf.Graph().as_default():
        retraining.train(steps=3, optimizer=v1.train.AdamOptimizer(0.001))
    retraining.infer()
    assert list(models.read_record("record.txt")) == LAYERS


# ---- errors ----


def edited(config="c.json"):
    graph = tf.Graph()
    with graph.as_default():
        Network().build(True)
        amct.create_quant_retrain_config(config, graph)
        amct.create_quant_retrain_model(graph, config, "record.txt")
    return graph


def test_a_graph_is_edited_once():
    graph = edited()
    before = graph.as_graph_def()
    with pytest.raises(amct.UnsupportedError, match="quantization op Ulq .* already"):
        amct.create_quant_retrain_model(graph, "c.json", "record.txt")
    with pytest.raises(amct.UnsupportedError):
        amct.create_quant_retrain_config("other.json", graph)
    with pytest.raises(amct.UnsupportedError):
        amct.quantize_model(graph, "c.json", "record.txt")
    assert graph.as_graph_def() == before


def test_unknown_layers_leave_the_graph_alone():
    with tf.Graph().as_default() as graph:
        Network().build(True)
        Path("c.json").write_text('{"stem/Conv":{"retrain_enable":true}}')
        before = graph.as_graph_def()
        with pytest.raises(amct.ConfigError, match='layer "stem/Conv" is not in the graph; nearest'):
            amct.create_quant_retrain_model(graph, "c.json", "record.txt")
        Path("c.json").write_text('{"stem/Conv2D":{"retrain_enable":false}}')
        with pytest.raises(ValueError, match="no retrain enable layer"):
            amct.create_quant_retrain_model(graph, "c.json", "record.txt")
        assert graph.as_graph_def() == before
        assert not Path("record.txt").exists()
        graph.finalize()
        with pytest.raises(amct.GraphError, match="finalized"):
            amct.create_quant_retrain_model(graph, "c.json", "record.txt")


@pytest.mark.parametrize(
    "optimizer",
    [v1.train.GradientDescentOptimizer, v1.train.AdamOptimizer, v1.train.FtrlOptimizer],
)
@pytest.mark.parametrize("use_resource", [False, True])
def test_an_optimizer_that_is_there_before_is_refused(optimizer, use_resource):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 4))
        w = v1.get_variable("w", initializer=np.ones((4, 2), F32), use_resource=use_resource)
        loss = tf.reduce_sum(tf.matmul(x, w, name="fc"))
        amct.create_quant_retrain_config("c.json", graph)
        optimizer(0.1).minimize(loss)
        before = graph.as_graph_def()
        with pytest.raises(amct.GraphError, match="optimizer .* already .*Apply.* before the optimizer's minimize"):
            amct.create_quant_retrain_model(graph, "c.json", "record.txt")
        assert graph.as_graph_def() == before and not Path("record.txt").exists()


def test_gradients_that_are_there_before_are_refused():
    with tf.Graph().as_default() as graph:
        _, _, logits = Network().build(True)
        amct.create_quant_retrain_config("c.json", graph)
        v1.gradients(logits, v1.trainable_variables())
        with pytest.raises(amct.GraphError, match="BackpropFilter.* go past the retraining ops"):
            amct.create_quant_retrain_model(graph, "c.json", "record.txt")


def under_xla(x, w):
    """A layer inside a function, compiled by XLA where TensorFlow has a way to ask for it."""
    if not tf.__version__.startswith("1."):
        return tf.function(lambda x: tf.matmul(x, w), jit_compile=True)(x)
    from tensorflow.python.framework import function

    @function.Defun(tf.float32, tf.float32)
    def matmul(x, w):
        return tf.matmul(x, w)

    return matmul(x, w)


def test_layers_inside_compiled_functions_are_explained():
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 4), name="x")
        under_xla(x, v1.get_variable("w", initializer=np.ones((4, 2), F32), use_resource=True))
        with pytest.raises(ValueError, match=r"no layer .* functions \(of tf.function, compiled by XLA"):
            amct.create_quant_retrain_config("c.json", graph)


def test_a_name_that_is_taken_is_refused():
    with tf.Graph().as_default() as graph:
        Network().build(True)
        amct.create_quant_retrain_config("c.json", graph)
        tf.constant(1.0, name="stem/Conv2D/ULQ/clip_max")
        with pytest.raises(amct.GraphError, match="stem/Conv2D/ULQ/clip_max"):
            amct.create_quant_retrain_model(graph, "c.json", "record.txt")


def test_saving_needs_a_record_and_a_retrained_graph():
    retraining.train(steps=2)
    retraining.infer()
    Path("empty.txt").write_text("")
    with pytest.raises(amct.NotReadyError, match="run the last of the retrain_ops"):
        amct.save_quant_retrain_model("retrained.pb", [OUTPUT], "empty.txt", "out/model")
    with pytest.raises(amct.GraphError, match="holds no retraining ops"):
        amct.save_quant_retrain_model(retraining.float_pb(), [OUTPUT], "record.txt", "out/model")
    text = Path("record.txt").read_text()
    Path("other.txt").write_text(text.replace("offset_d: -128", "offset_d: -127"))
    with pytest.raises(amct.RecordError, match="offset_d -127, where the clips of retrained.pb"):
        amct.save_quant_retrain_model("retrained.pb", [OUTPUT], "other.txt", "out/model")
    with pytest.raises(amct.UnsupportedError, match="quantization op RetrainOutput"):
        amct.save_model("retrained.pb", [OUTPUT], "record.txt", "out/model")
    with pytest.raises(ValueError, match="is a retraining op"):
        amct.save_quant_retrain_model(
            "retrained.pb", ["stem/Conv2D/ULQ/Ulq"], "record.txt", "out/model"
        )
    assert not Path("out").exists()


def test_one_scale_keeps_its_steps():
    """A MatMul whose channels are multiplied by constants of their own: nothing is folded in."""
    few = F32([2, -0.5, 1, 3])
    x = np.random.RandomState(1).normal(0, 0.5, (20, 6)).astype(F32)
    with tf.Graph().as_default() as graph:
        y = v1.placeholder(tf.float32, (None, 6), name="input")
        w = v1.get_variable("w", initializer=np.random.RandomState(2).normal(0, 1, (6, 4)).astype(F32))
        tf.identity(tf.matmul(y, w, name="fc") * few, name="out")
        config = {"fc": {"retrain_data_config": {"clip_max": 1.5, "clip_min": -1.5}}}
        Path("c.json").write_text(json.dumps(config))
        added = amct.create_quant_retrain_model(graph, "c.json", "record.txt")
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            session.run(added[-1])
            simulated = session.run("out:0", {"input:0": x})
            models.freeze(session, "retrained.pb", ["out"])
    assert len(models.read_record("record.txt")["fc"]["scale_w"]) == 1
    amct.save_quant_retrain_model("retrained.pb", ["out"], "record.txt", "model")
    deployed = models.run(models.load("model_quantized.pb"), [x], "out:0")[0]
    assert np.abs(deployed - simulated).max() < 1e-6 and np.abs(simulated).max() > 3
    assert "Mul" in models.op_types(models.load("model_quantized.pb")).values()
