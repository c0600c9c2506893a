# SPDX-License-Identifier: Apache-2.0
"""Gradients of the retraining ops.

Ulq has a gradient op in C. The training graph's first gradient of it also initialises the
clips: that assignment hangs on the backward pass alone, so that no graph frozen for
inference has it.
"""

from typing import Any, List

from ._ops import tf, v1

_INITIALISED = "amct_initialised_clips"  # a graph collection of op names


def _variable_behind(tensor: Any) -> Any:
    """The op of the variable that a tensor reads; None if it reads none."""
    op = tensor.op
    while op.type in ("Identity", "ReadVariableOp", "Switch"):
        op = op.inputs[0].op
    return op if op.type in ("VariableV2", "Variable", "VarHandleOp") else None


def _add_to(variable: Any, value: Any) -> Any:
    if variable.type == "VarHandleOp":
        return tf.raw_ops.AssignAddVariableOp(resource=variable.outputs[0], value=value)
    return v1.assign_add(variable.outputs[0], value).op


def _initialisation(op: Any, additions: List[Any]) -> List[Any]:
    """What sets the clips, once: nothing for a second gradient of the same op."""
    graph = op.graph
    variables = [_variable_behind(tensor) for tensor in op.inputs[1:]]
    if op.name in graph.get_collection_ref(_INITIALISED) or None in variables:
        return []
    graph.add_to_collection(_INITIALISED, op.name)
    return [_add_to(variable, value) for variable, value in zip(variables, additions)]


def _ulq(op: Any, dy: Any) -> List[Any]:
    gradient = op.graph.create_op(
        "UlqGrad",
        [op.inputs[0], dy, op.inputs[1], op.inputs[2]],
        name="UlqGrad",
        attrs=dict(op.node_def.attr),
    )
    for scalar in gradient.outputs[1:]:  # 1.15 infers the shape of a first output only
        scalar.set_shape([])
    with tf.control_dependencies(_initialisation(op, list(gradient.outputs[3:]))):
        return [tf.identity(output) for output in gradient.outputs[:3]]


def _arq_retrain(unused_op: Any, dy: Any) -> Any:
    """Straight through."""
    return dy


def register() -> None:
    """Registers the gradients, once a process."""
    for op, gradient in (("Ulq", _ulq), ("ArqRetrain", _arq_retrain)):
        try:
            tf.RegisterGradient(op)(gradient)
        except KeyError:  # by an earlier copy of this module
            pass
