# SPDX-License-Identifier: Apache-2.0
"""amct_tensorflow.freeze of checkpoints and SavedModels: the same outputs, batch norms that fold."""

import pytest
import tensorflow as tf

import amct_tensorflow as amct
import freezing
import fusion_graphs
from freezing import FLAGS, OWN, images, write_checkpoint

v1 = tf.compat.v1
FEEDS = {"x:0": images()}


# ---- checkpoints with a meta graph ----


@pytest.mark.parametrize("flag", sorted(FLAGS))
@pytest.mark.parametrize("norm", sorted(OWN))
def test_checkpoint(norm, flag):
    wanted = write_checkpoint(OWN[norm], flag)
    assert amct.freeze("ckpt/model.meta", "deep/model.pb", ["y"]) == ["y"]
    small = norm == "slim small"
    definition = freezing.read("deep/model.pb")
    if small:
        assert fusion_graphs.count_ops(definition, "Rsqrt") == 2
    placeholders = [node.name for node in definition.node if node.op.startswith("Placeholder")]
    assert placeholders == ["x"]
    freezing.check("deep/model.pb", ["y"], FEEDS, [wanted], 0 if small else 2)


def test_conds_of_version_2():
    wanted = write_checkpoint(OWN["raw resource"], "placeholder", conds=2)
    amct.freeze("ckpt/model", "model.pb", ["y"])
    assert fusion_graphs.count_ops(freezing.read("model.pb"), "If", "StatelessIf") == 0
    freezing.check("model.pb", ["y"], FEEDS, [wanted])


def test_outputs_of_a_meta_graph():
    """The node that nobody reads, past a loss, summaries and an optimizer."""

    def train(y):
        logits = y.graph.get_tensor_by_name("MatMul:0")
        labels = v1.placeholder(tf.int64, [None], name="labels")
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tf.reduce_mean(losses, name="loss")
        v1.summary.scalar("loss", loss)
        v1.summary.merge_all()
        updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
        with tf.control_dependencies(updates):
            v1.train.AdamOptimizer().minimize(loss)

    norm = OWN["raw resource"]
    wanted = write_checkpoint(norm, "placeholder", more=train)
    assert amct.freeze("ckpt/model", "model.pb") == ["y"]
    freezing.check("model.pb", ["y"], FEEDS, [wanted])
    assert not {"labels", "loss"} & {node.name for node in freezing.read("model.pb").node}


def test_two_outputs_are_not_clear():
    write_checkpoint(OWN["raw resource"], "false", more=lambda y: [tf.identity(y * 2, name="z"), tf.sqrt(y, name="root")])
    with pytest.raises(ValueError, match="ckpt/model: outputs are wanted: nobody reads any of root, z"):
        amct.freeze("ckpt/model", "model.pb")
    assert amct.freeze("ckpt/model", "model.pb", ["z", "y"]) == ["z", "y"]
