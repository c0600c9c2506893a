# SPDX-License-Identifier: Apache-2.0
"""Training with retraining ops: the same in every TensorFlow and across a break; and what it ends in."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
import retraining
from retraining import LAYERS, Network
from test_retrain_ops import data, node, ulq

v1 = tf.compat.v1
F32 = np.float32
LOGITS = "head/BiasAdd"

# Losses of 20 steps with TensorFlow 2.21, from the weights and on the batches of the seeds of `retraining`.
LOSSES = [
    1.389954, 1.320622, 1.121364, 1.204191, 1.003302, 0.903318, 0.852084, 0.612738, 0.387168, 0.313635,
    0.143526, 0.098937, 0.071645, 0.084737, 0.054626, 0.034688, 0.018188, 0.033092, 0.008707, 0.010396,
]  # fmt: skip
# Of what the retraining ops give for arrays of fixed seeds: the bits.
DIGEST = "22e2edaa202d9b0de6e07ac4059ba4de5e6ed7e3c42f960ff852ebed589bdb19"


class Session(object):
    """A training graph, in a session of its own."""

    def __init__(self, seed=0, batch_num=2):
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.images, self.labels, logits = Network(seed=seed).build(True)
            self.pretrained = v1.train.Saver()
            Path("r.cfg").write_text("batch_num: {}".format(batch_num))
            amct.create_quant_retrain_config("retrain.json", self.graph, "r.cfg")
            amct.create_quant_retrain_model(self.graph, "retrain.json", "record.txt")
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=self.labels, logits=logits)
            self.loss = tf.reduce_mean(losses)
            with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
                self.step = v1.train.MomentumOptimizer(0.02, 0.9).minimize(self.loss)
            self.saver = v1.train.Saver(v1.global_variables())
            initialise = v1.global_variables_initializer()
        self.session = v1.Session(graph=self.graph)
        self.session.run(initialise)

    def save(self, path):
        """A checkpoint of all variables."""
        with self.graph.as_default():
            self.saver.save(self.session, path)

    def restore(self, path, saver=None):
        """What a checkpoint holds."""
        with self.graph.as_default():
            (saver or self.saver).restore(self.session, path)

    def run(self, steps):
        """Losses of steps, each on the batch of its number."""
        losses = []
        for i in steps:
            x, y = retraining.batch(i)
            losses.append(self.session.run([self.loss, self.step], {self.images: x, self.labels: y})[0])
        return losses

    def values(self):
        """All variables' bytes."""
        with self.graph.as_default():
            return {v.name: self.session.run(v).tobytes() for v in v1.global_variables()}


def test_a_pretrained_checkpoint_restores_into_the_edited_graph():
    """With the Saver built before the edit: all that it knows, and nothing of the clips."""
    with tf.Graph().as_default() as graph:
        Network(seed=5).build(True)
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(session, "./pretrained")
            wanted = {v.name: session.run(v).tobytes() for v in v1.global_variables()}
    training = Session()
    before = training.values()
    training.restore("./pretrained", training.pretrained)
    after = training.values()
    assert {name: after[name] for name in wanted} == wanted
    changed = {name for name in after if after[name] != before[name]}
    assert changed and changed < set(wanted) and not [name for name in wanted if "ULQ" in name]


@pytest.mark.parametrize("stop", [3, 9])
def test_a_break_changes_nothing(stop):
    """Saved, and resumed in a graph and a session of their own: the same bits as without the break."""
    whole = Session()
    losses = whole.run(range(12))
    first = Session()
    some = first.run(range(stop))
    first.save("./middle")
    second = Session(seed=7)
    second.restore("./middle")
    assert some + second.run(range(stop, 12)) == losses
    assert second.values() == whole.values()


def test_a_break_before_the_clips_are_found_starts_their_search_again():
    first = Session(batch_num=3)
    first.run(range(2))
    first.save("./early")
    second = Session(batch_num=3)
    second.restore("./early")
    clips = [name for name in second.values() if name.endswith(("clip_max:0", "clip_min:0"))]
    assert len(clips) == 2 * len(LAYERS)
    second.run(range(2, 4))
    assert not any(any(second.values()[name]) for name in clips)
    second.run([4])
    assert all(any(second.values()[name]) for name in clips if "clip_max" in name)


def test_twenty_steps_have_the_same_losses_in_every_tensorflow():
    losses = Session().run(range(20))
    assert np.abs(np.array(losses) - LOSSES).max() < 1e-4
    assert losses[-1] < 0.1 * losses[0]


def test_the_ops_give_the_same_bits_in_every_tensorflow():
    x, g, w = data(0, (9, 40, 33, 7)), data(1, (9, 40, 33, 7)), data(2, (3, 3, 7, 12))
    with tf.Graph().as_default() as graph:
        clips = [tf.constant(F32(1.5)), tf.constant(F32(-0.75))]
        inputs = [tf.constant(x)] + clips
        y = ulq(*inputs)
        made = [y] + v1.gradients(y, inputs, grad_ys=tf.constant(g))
        for channel_wise in (True, False):
            attrs = {"layer_name": "l", "channel_axes": [3], "channel_wise": channel_wise}
            made.append(node("ArqRetrain", [w], **attrs)[0])
            attrs.update(weighted=True, may_split=True, fixed_min=False, fold=["batch_norm:0.001"])
            values = [tf.constant(value) for value in (w,) + tuple(np.abs(data(3, (4, 12))))] + clips
            made.append(node("RetrainFactors", values, Tin=[tf.float32] * 7, **attrs)[0])
        with v1.Session(graph=graph) as session:
            found = session.run(made)
    assert [value.shape for value in found[1:4]] == [x.shape, (), ()]
    assert hashlib.sha256(b"".join(value.tobytes() for value in found)).hexdigest() == DIGEST


@pytest.fixture
def both():
    """The training graph in evaluation mode with its session, and the graph of the saved model; of one training."""
    retraining.train(steps=30)
    with tf.Graph().as_default() as graph:
        Network(seed=9).build(False)
        last = amct.create_quant_retrain_model(graph, "retrain.json", "record.txt")[-1]
        with v1.Session(graph=graph) as session:
            v1.train.Saver(v1.global_variables()).restore(session, "./trained")
            session.run(last)
            models.freeze(session, "retrained.pb", [LOGITS])
            amct.save_quant_retrain_model("retrained.pb", [LOGITS], "record.txt", "model")
            yield session, models.load("model_quantized.pb")


def saved_grids(graph):
    """Of each layer: the tensor of whole numbers that it reads in the saved model, and their scale."""
    tensors = [graph.get_operation_by_name(layer).inputs[0] for layer in LAYERS]
    assert {tensor.op.type for tensor in tensors} == {"AscendQuant"}
    scales = [F32(factors["scale_d"][0]) for factors in models.read_record("record.txt").values()]
    return list(zip(tensors, scales))


def test_each_saved_layer_computes_what_the_trained_one_computes(both):
    """On 1,000 pictures and the same inputs: to 1e-4 of the largest output."""
    session, saved = both
    pictures = retraining.batch(100, 1000)[0]
    outputs = ["stem/bn", "block/bn", "block/AvgPool", LOGITS]
    grids = saved_grids(saved)
    outputs_of = {op.inputs[0].op.name: op.outputs[0] for op in saved.get_operations() if op.type == "AscendDequant"}
    outputs_of[LOGITS] = saved.get_tensor_by_name(LOGITS + ":0")  # an output keeps its name
    fetches = [[tensor, outputs_of[output]] for (tensor, _), output in zip(grids, outputs)]
    with v1.Session(graph=saved) as deployed:
        found = deployed.run(fetches, {"input:0": pictures})
    for layer, output, (whole, theirs), (_, scale) in zip(LAYERS, outputs, found, grids):
        ours = session.run(output + ":0", {layer + "/ULQ/Ulq:0": whole * scale})
        assert len(ours) == 1000 and np.abs(ours - theirs).max() < 1e-4 * np.abs(ours).max(), layer


def test_the_saved_model_computes_what_the_training_graph_computes(both):
    """On 1,000 pictures: every value on the same step of its grid, outputs to float rounding."""
    session, saved = both
    pictures = retraining.batch(100, 1000)[0]
    simulated = session.run(
        [LOGITS + ":0"] + [layer + "/ULQ/Ulq:0" for layer in LAYERS], {"input:0": pictures}
    )
    grids = saved_grids(saved)
    with v1.Session(graph=saved) as deployed:
        found = deployed.run([LOGITS + ":0"] + [tensor for tensor, _ in grids], {"input:0": pictures})
    for (_, scale), ours, theirs in zip(grids, simulated[1:], found[1:]):
        assert len(ours) == 1000 and np.array_equal(np.rint(ours / scale), theirs)
    assert np.abs(simulated[0] - found[0]).max() < 1e-4 * np.abs(simulated[0]).max()


# ---- what goes wrong in training ----


def test_data_that_are_no_numbers_name_the_layer():
    training = Session()
    x, y = retraining.batch(0)
    x[3, 2, 1, 0] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match='layer ".*": training batch 1 has NaN at index'):
        training.session.run(training.step, {training.images: x, training.labels: y})


def test_training_that_diverges_names_the_layer():
    training = Session()
    training.run(range(4))
    x, y = retraining.batch(4)
    feed = {training.images: x * F32(np.nan), training.labels: y}
    with pytest.raises(tf.errors.InvalidArgumentError, match='layer ".*": .* is nan'):
        for _ in range(3):
            training.session.run(training.step, feed)
