# SPDX-License-Identifier: Apache-2.0
"""Edits on the user's live tf.Graph: new nodes and variables, edges to them.

All or nothing. TensorFlow cannot take a node back, so whatever may go wrong is tried
before the first edit: names and inputs are looked up, then the new nodes are built in a
scratch graph, which runs their shape functions and checks their attributes.
"""

import contextlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Set

from . import _core, errors
from ._ops import tf, v1


class Added(NamedTuple):
    """What edits have added to a graph."""

    variables: List[Any]  # tf.Variables, in the order of the edits
    operations: List[Any]


class _Node(NamedTuple):
    """A node to be, or a variable, parsed."""

    definition: Any  # NodeDef
    near: str
    inputs: List[str]  # tensors, "name:0"
    controls: List[str]  # node names
    trainable: bool = True


def serialize(graph: Any) -> bytes:
    """The bytes of the graph's GraphDef. GraphError if the graph is over 2 GB."""
    try:
        return graph.as_graph_def().SerializeToString()
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise errors.GraphError(
            "TensorFlow cannot serialize this graph; its limit is 2 GB, constants included: "
            "keep weights in variables, or freeze to a pb and work on that ({}: {})".format(
                type(error).__name__, str(error)[:200]
            )
        ) from error


def check_editable(graph: Any) -> None:
    """GraphError if nodes cannot be added to the graph."""
    if graph.finalized:
        raise errors.GraphError(
            "the graph is finalized: edit it (quantize_model, create_quant_retrain_model) "
            "before graph.finalize(), a Supervisor or a MonitoredSession"
        )


def apply(graph: Any, edits: Sequence[_core.Edit]) -> Added:
    """Applies the edits to a tf.Graph; on an error the graph is as it was.

    Raises GraphError when an edit does not fit the graph, or TensorFlow refuses a node.
    """
    check_editable(graph)
    nodes = [_parse(edit) for edit in edits if edit.kind == _core.EDIT_ADD]
    variables = [_parse(edit) for edit in edits if edit.kind == _core.EDIT_VARIABLE]
    changes = [edit for edit in edits if edit.kind == _core.EDIT_SET_INPUT]
    if len(nodes) + len(variables) + len(changes) != len(edits):
        raise errors.GraphError("an edit of a kind that this package does not know")
    names = {node.definition.name for node in nodes + variables}
    for name in names:
        if _has(graph, name):
            raise errors.GraphError("{}: the graph has such a node".format(name))
    for edit in changes:
        _require(graph, edit.name, names, edit.name)
        _require(graph, edit.near.partition(":")[0], names, edit.name)
    nodes = _sorted(graph, nodes, {variable.definition.name for variable in variables})
    _rehearse(graph, nodes, variables, changes)
    return _commit(graph, nodes, variables, changes)


def _parse(edit: _core.Edit) -> _Node:
    definition = v1.NodeDef.FromString(edit.nodedef)
    inputs = []
    controls = []
    for text in definition.input:
        if text.startswith("^"):
            controls.append(text[1:])
        else:
            inputs.append(_tensor_name(text))
    return _Node(definition, edit.near, inputs, controls, edit.input_index == 0)


def _tensor_name(text: str) -> str:
    return text if ":" in text else text + ":0"


def _has(graph: Any, name: str) -> bool:
    try:
        graph.get_operation_by_name(name)
    except KeyError:
        return False
    return True


def _require(graph: Any, name: str, added: Any, where: str) -> None:
    if name not in added and not _has(graph, name):
        raise errors.GraphError("{}: the graph has no node {}".format(where, name))


def _sources(node: _Node) -> List[str]:
    return [tensor.rpartition(":")[0] for tensor in node.inputs] + node.controls


def _sorted(graph: Any, nodes: List[_Node], variables: Set[str]) -> List[_Node]:
    """The nodes, each after the new nodes it reads; the variables are there before."""
    waiting = {node.definition.name: node for node in nodes}
    if len(waiting) != len(nodes):
        raise errors.GraphError("two new nodes have the same name")
    for node in nodes:
        _require(graph, node.near or node.definition.name, waiting, node.definition.name)
        for source in _sources(node):
            if source not in variables:
                _require(graph, source, waiting, node.definition.name)
    readers: Dict[str, List[str]] = {}
    missing: Dict[str, int] = {}
    for name, node in waiting.items():
        sources = {source for source in _sources(node) if source in waiting}
        missing[name] = len(sources)
        for source in sources:
            readers.setdefault(source, []).append(name)
    ready = [name for name in waiting if not missing[name]]
    for name in ready:  # grows
        for reader in readers.get(name, []):
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
    if len(ready) != len(nodes):
        left = next(name for name in waiting if missing[name])
        raise errors.GraphError("{}: new nodes in a cycle".format(left))
    return [waiting[name] for name in ready]


@contextlib.contextmanager
def _neutral(graph: Any) -> Iterator[None]:
    """Nothing of the caller's context reaches the nodes made inside.

    Name scopes, devices, colocation, control dependencies, control-flow contexts.
    control_dependencies(None) takes the control-flow context away and brings it back.
    """
    with graph.as_default(), graph.name_scope(None), graph.control_dependencies(None):
        with graph.colocate_with(None, ignore_existing=True), graph.device(None):
            yield


def _create(graph: Any, node: _Node, tensor: Callable[[str], Any]) -> Any:
    definition = node.definition
    with graph.device(definition.device or None):
        # a name that ends in '/' is absolute: neither scoped nor made unique
        return graph.create_op(
            definition.op,
            [tensor(name) for name in node.inputs],
            name=definition.name + "/",
            attrs=dict(definition.attr),
        )


def _variable(node: _Node) -> Any:
    """A variable with the value of a Const."""
    definition = node.definition
    return v1.Variable(
        tf.make_ndarray(definition.attr["value"].tensor),
        trainable=node.trainable,
        name=definition.name,
    )


def _rehearse(
    graph: Any, nodes: List[_Node], variables: List[_Node], changes: Sequence[_core.Edit]
) -> None:
    """Builds the nodes in a scratch graph, on placeholders for what they read."""
    scratch = tf.Graph()
    tensors: Dict[str, Any] = {}

    def tensor(name: str) -> Any:
        if name not in tensors:
            real = graph.get_tensor_by_name(name)
            tensors[name] = v1.placeholder(
                real.dtype.base_dtype, real.shape, name="amct_rehearsal/input"
            )
        return tensors[name]

    with _neutral(scratch):
        for node in variables:
            name = _tensor_name(node.definition.name)
            tensors[name] = tf.convert_to_tensor(_variable(node))
        for node in nodes:
            try:
                op = _create(scratch, node, tensor)
            except Exception as error:
                raise errors.GraphError(
                    "{}: TensorFlow refuses this node: {}".format(
                        node.definition.name, str(error).split("\n")[0]
                    )
                ) from error
            tensors.update((output.name, output) for output in op.outputs)
        for edit in changes:
            _check_input(graph, edit, tensor(_tensor_name(edit.near)))


def _check_input(graph: Any, edit: _core.Edit, new: Any) -> None:
    """GraphError if TensorFlow would refuse the tensor as that input."""
    inputs = graph.get_operation_by_name(edit.name).inputs
    if edit.input_index >= len(inputs):
        raise errors.GraphError("{}: it has no input {}".format(edit.name, edit.input_index))
    old = inputs[edit.input_index]
    if old.dtype.base_dtype != new.dtype.base_dtype or not old.shape.is_compatible_with(new.shape):
        raise errors.GraphError(
            "{}: input {} is {} {}, {} is {} {}".format(
                edit.name, edit.input_index, old.dtype, old.shape, edit.near, new.dtype, new.shape
            )
        )


def _commit(
    graph: Any, nodes: List[_Node], variables: List[_Node], changes: Sequence[_core.Edit]
) -> Added:
    # pylint: disable=protected-access
    operation = graph.get_operation_by_name
    added = Added([], [])
    made: Dict[str, Any] = {}

    def tensor(name: str) -> Any:
        return made[name] if name in made else graph.get_tensor_by_name(name)

    with _neutral(graph):
        for node in variables:
            name = node.definition.name
            added.variables.append(_variable(node))
            with graph.name_scope(name + "/"):
                made[_tensor_name(name)] = tf.convert_to_tensor(added.variables[-1])
        for node in nodes:
            near = operation(node.near) if node.near and _has(graph, node.near) else None
            context = near._get_control_flow_context() if near is not None else None
            graph._set_control_flow_context(context)
            try:
                op = _create(graph, node, tensor)
            finally:
                graph._set_control_flow_context(None)
            for control in node.controls:
                op._add_control_input(operation(control))
            added.operations.append(op)
    for edit in changes:
        operation(edit.name)._update_input(edit.input_index, tensor(_tensor_name(edit.near)))
    return added
