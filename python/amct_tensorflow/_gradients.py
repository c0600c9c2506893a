# SPDX-License-Identifier: Apache-2.0
"""Gradients of the retraining ops.

Ulq has a gradient op in C. The training graph's first gradient of it also assigns: it
initialises the clips, and takes them back where a step has led them astray. That hangs on
the backward pass alone, so that no graph frozen for inference has it.
"""

from typing import Any, List, Tuple

from ._ops import tf, v1

_ASSIGNED = "amct_assigned_clips"  # a graph collection of op names


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


def _scalars(op: Any, first: int) -> List[Any]:
    """Outputs of an op from `first` on; 1.15 infers the shape of output 0 only."""
    for scalar in op.outputs[first:]:
        scalar.set_shape([])
    return list(op.outputs[first:])


def _guard(op: Any, clips: List[Any]) -> List[Tuple[Any, Any]]:
    """Variables and what to add: brings back clips on the wrong side of 0, keeps those in order."""
    graph = op.graph
    known = {variable.op.name: variable for variable in v1.global_variables()}
    copies = [known[name] for name in (clip.name + "_pre" for clip in clips) if name in known]
    if len(copies) < len(clips):
        return []
    attrs = {name: op.node_def.attr[name] for name in ("layer_name", "fixed_min")}
    tensors = [op.inputs[1], op.inputs[2]] + [tf.convert_to_tensor(copy) for copy in copies]
    guard = graph.create_op("UlqGuard", tensors, name="UlqGuard", attrs=attrs)
    return list(zip(clips + [copy.op for copy in copies], _scalars(guard, 0)))


def _assignments(op: Any, additions: List[Any]) -> List[Any]:
    """What sets the clips: nothing for a second gradient of the same op."""
    graph = op.graph
    variables = [_variable_behind(tensor) for tensor in op.inputs[1:]]
    if op.name in graph.get_collection_ref(_ASSIGNED) or None in variables:
        return []
    graph.add_to_collection(_ASSIGNED, op.name)
    pairs = list(zip(variables, additions)) + _guard(op, variables)
    with tf.control_dependencies([value for _, value in pairs]):  # who reads a clip reads it before
        return [_add_to(variable, value) for variable, value in pairs]


def _ulq(op: Any, dy: Any) -> List[Any]:
    gradient = op.graph.create_op(
        "UlqGrad",
        [op.inputs[0], dy, op.inputs[1], op.inputs[2]],
        name="UlqGrad",
        attrs=dict(op.node_def.attr),
    )
    additions = _scalars(gradient, 1)[2:]
    with tf.control_dependencies(_assignments(op, additions)):
        return [tf.identity(output) for output in gradient.outputs[:3]]


def _arq_retrain(unused_op: Any, dy: Any) -> Any:
    """Straight through."""
    return dy


def _retrain_output(op: Any, dy: Any) -> List[Any]:
    """Straight through; and in a graph that trains x goes through as it is, too."""
    if isinstance(op, tf.Operation) and not op.graph.building_function:
        op._set_attr("trains", v1.AttrValue(b=True))  # pylint: disable=protected-access
    return [dy] + [None] * (len(op.inputs) - 1)


def register() -> None:
    """Registers the gradients, once a process."""
    gradients = (("Ulq", _ulq), ("ArqRetrain", _arq_retrain), ("RetrainOutput", _retrain_output))
    for op, gradient in gradients:
        try:
            tf.RegisterGradient(op)(gradient)
        except KeyError:  # by an earlier copy of this module
            pass
