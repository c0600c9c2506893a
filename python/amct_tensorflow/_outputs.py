# SPDX-License-Identifier: Apache-2.0
"""Which nodes of a graph are its outputs."""

from typing import Any, Dict, List, Optional

from . import errors
from ._ops import tf
from ._wiring import Wiring, tensor_of

_SHOWN = 8
_LOSSES = (
    "SoftmaxCrossEntropyWithLogits",
    "SparseSoftmaxCrossEntropyWithLogits",
    "L2Loss",
    "CTCLoss",
    "LogUniformCandidateSampler",
    "InTopK",
    "InTopKV2",
)
# say nothing of the data's values
_FORMS = ("Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "ReadVariableOp")
_DATA = (
    "Placeholder",
    "PlaceholderWithDefault",
    "IteratorGetNext",
    "OneShotIterator",
    "QueueDequeueV2",
    "QueueDequeueManyV2",
    "QueueDequeueUpToV2",
)


def choose(
    definition: Any, named: Dict[str, str], wanted: Optional[List[str]], label: str
) -> List[str]:
    """Nodes: those that are wanted, by their names or by the model's, else the model's own."""
    if wanted is None:
        return list(dict.fromkeys(named.values())) or [_clear(definition, label)]
    nodes = {node.name for node in definition.node}
    found = []
    for name in wanted:
        node = named.get(name, name)
        if node not in nodes:
            known = ", ".join(list(named)[:_SHOWN])
            raise errors.ArgumentError(
                'outputs: {} has no node "{}"{}'.format(
                    label, name, known and "; its outputs: " + known
                )
            )
        found.append(node)
    return found


def _clear(definition: Any, label: str) -> str:
    """The node that can be nothing but the output."""
    found = candidates(definition)
    if len(found) == 1:
        return found[0]
    shown = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
    raise errors.ArgumentError(
        "{}: outputs are wanted: {}".format(
            label,
            "nobody reads any of " + shown if found else "no node looks like one",
        )
    )


def candidates(definition: Any) -> List[str]:
    """Nodes that come from the data, that nobody reads, and that are no part of training."""
    wiring = Wiring(definition)
    data = wiring.behind([name for name, op in wiring.ops.items() if op in _DATA])
    losses = wiring.behind([name for name, op in wiring.ops.items() if _is_of_loss(op)])
    read = {tensor_of(text)[0] for inputs in wiring.inputs.values() for text in inputs}
    found = [n for n in data - losses - read if wiring.ops[n] not in _DATA + _FORMS]
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(definition, name="")
    return sorted(name for name in found if _is_result(graph.get_operation_by_name(name)))


def _is_of_loss(op: str) -> bool:
    """A loss or a gradient."""
    return op in _LOSSES or op.endswith(("Grad", "GradV2", "GradV3", "BackpropFilter"))


def _is_result(op: Any) -> bool:
    """A tensor of numbers, one for each picture at least."""
    if len(op.outputs) == 0:
        return False
    tensor = op.outputs[0]
    numbers = tensor.dtype.is_floating or tensor.dtype.is_integer
    return numbers and not tensor.dtype._is_ref_dtype and tensor.shape.ndims != 0
