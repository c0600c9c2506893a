# SPDX-License-Identifier: Apache-2.0
"""Whatever surrounds the pieces of a graph: nodes that survive fusion keep their value.

2,000 small graphs with random extra readers, model outputs, control edges and shared constants, a
hundred in one GraphDef. A layer that something is folded into is the exception: its own output is
scaled; that nothing else reads it is what the other nodes prove.
"""

import numpy as np
import pytest
import tensorflow as tf

import fusion_graphs
import models
from amct_tensorflow import _core
from fusion_pieces import Pieces

v1 = tf.compat.v1
raw = tf.raw_ops

BATCHES = 20
GRAPHS = 100  # in a batch
CHANNELS = 3
LAYERS = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul")  # weights are input 1
NOT_WATCHED = ("Placeholder", "Const", "NoOp")


class Surrounded(Pieces):
    """Pieces with an activation in between, now and then, and things around them."""

    def conv(self, x, out, **keywords):
        keywords.setdefault("size", self.pick(1, 2))
        y = super(Surrounded, self).conv(x, out, **keywords)
        return raw.Relu(features=y, name=self.name("relu")) if self.chance(0.05) else y

    def group(self, x, groups=None):
        return super(Surrounded, self).group(x, groups or self.pick(2, 3))

    def known_parameter(self, channels):
        """A parameter of some batch norm with as many channels, or a new one."""
        sets = [p for (c, form), p in self.known.items() if c == channels and form == "vector"]
        if sets and self.chance():
            return self.pick(*sets)["mean"]
        return self.parameter("other", self.random.normal(0, 1, channels))

    def surround(self, operations):
        """Extra readers, control edges, outputs. Returns the outputs."""
        last = operations[-1]
        watched = [op for op in operations if op.outputs and op.outputs[0].dtype == tf.float32]
        outputs = [last.name]
        for _ in range(self.pick(0, 0, 1, 2)):
            op = self.pick(*watched)
            outputs.append(raw.Relu(features=op.outputs[0], name=self.name("reader")).op.name)
        for _ in range(self.pick(0, 0, 1)):
            outputs.append(self.pick(*watched).name)
        for _ in range(self.pick(0, 0, 1, 2)):
            first, second = sorted(self.random.choice(len(operations), 2, replace=False))
            operations[second]._add_control_input(operations[first])  # pylint: disable=protected-access
        return outputs

    def network(self, x):
        """One or two pieces, perhaps with a residual sum. Returns the model outputs."""
        graph = x.graph
        start = len(graph.get_operations())
        y = x
        for _ in range(self.pick(1, 1, 2)):
            z = self.piece(y)
            if self.chance(0.1):
                z = raw.AddV2(x=z, y=self.known_parameter(self.channels(z)), name=self.name("sum"))
            y = z
        if self.chance(0.2):
            y = self.dense(y)
        raw.Relu(features=y, name=self.name("end"))
        return self.surround(graph.get_operations()[start:])


def build(seed):
    """A GraphDef of a hundred graphs, and their outputs."""
    graph = tf.Graph()
    outputs = []
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 3, 3, CHANNELS], name="x")
        for i in range(GRAPHS):
            pieces = Surrounded(seed * GRAPHS + i)
            pieces.count = 1000 * i  # names of its own
            outputs += pieces.network(x)
    return graph.as_graph_def(), outputs


def evaluate(definition, names):
    graph = tf.Graph()
    x = np.random.RandomState(0).normal(0, 1, (1, 3, 3, CHANNELS)).astype(np.float32)
    with graph.as_default():
        tf.import_graph_def(fusion_graphs.portable(definition), name="")
    with models.plain_session(graph) as session:
        return session.run([name + ":0" for name in names], {"x:0": x})


def survivors(before, after, plan):
    """Nodes of both graphs, but for the layers that something is folded into: from behind, or,
    which the plan of a quantization does not do, from before."""
    folded = set()
    for line in plan.splitlines():
        if line.startswith("fold "):
            folded.update(line.split()[2].split(","))
    names = {node.name for node in after.node}
    folded.update(name[: -len("/bias_add")] for name in names if name.endswith("/bias_add"))
    layers = {node.name: node for node in before.node if node.op in LAYERS}
    folded.update(n.name for n in after.node if n.name in layers and n.input[1] != layers[n.name].input[1])
    return [
        node.name
        for node in before.node
        if node.name in names and node.name not in folded and node.op not in NOT_WATCHED
    ]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_survivors_keep_their_value(batch):
    before, outputs = build(batch)
    after = fusion_graphs.fuse(before, outputs)
    plan = _core.describe_plan(before.SerializeToString(), outputs)
    assert plan.count("fold ") > GRAPHS / 2 and plan.count("keep ") > GRAPHS / 10
    names = survivors(before, after, plan)
    assert len(names) > 2 * GRAPHS and set(outputs) <= {node.name for node in after.node}
    for name, old, new in zip(names, evaluate(before, names), evaluate(after, names)):
        assert old.shape == new.shape, name
        assert np.abs(old - new).max() <= 1e-4 * np.abs(old).max() + 1e-6, name
