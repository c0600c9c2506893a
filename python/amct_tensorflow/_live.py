# SPDX-License-Identifier: Apache-2.0
"""Edits on the user's live tf.Graph: new nodes, and control edges to them.

All or nothing. TensorFlow cannot take a node back, so whatever may go wrong is tried
before the first edit: names and inputs are looked up, then the new nodes are built in a
scratch graph, which runs their shape functions and checks their attributes.
"""

import contextlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence

from . import _core, errors
from ._ops import tf, v1


class _Node(NamedTuple):
    """A node to be, parsed."""

    definition: Any  # NodeDef
    near: str
    inputs: List[str]  # tensors, "name:0"
    controls: List[str]  # node names


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
            "the graph is finalized: call quantize_model before graph.finalize(), a "
            "Supervisor or a MonitoredSession"
        )


def apply(graph: Any, edits: Sequence[_core.Edit]) -> None:
    """Applies the edits to a tf.Graph; on an error the graph is as it was.

    Raises GraphError when an edit does not fit the graph, or TensorFlow refuses a node.
    """
    check_editable(graph)
    nodes = [_parse(edit) for edit in edits if edit.kind == _core.EDIT_ADD]
    controls = [edit for edit in edits if edit.kind == _core.EDIT_CONTROL]
    if len(nodes) + len(controls) != len(edits):
        raise errors.GraphError("an edit of a kind that this package does not know")
    names = {node.definition.name for node in nodes}
    for node in nodes:
        if _has(graph, node.definition.name):
            raise errors.GraphError("{}: the graph has such a node".format(node.definition.name))
    for edit in controls:
        _require(graph, edit.name, names, edit.name)
        _require(graph, edit.near, names, edit.name)
    nodes = _sorted(graph, nodes)
    _rehearse(graph, nodes)
    _commit(graph, nodes, controls)


def _parse(edit: _core.Edit) -> _Node:
    definition = v1.NodeDef.FromString(edit.nodedef)
    inputs = []
    controls = []
    for text in definition.input:
        if text.startswith("^"):
            controls.append(text[1:])
        else:
            inputs.append(text if ":" in text else text + ":0")
    return _Node(definition, edit.near, inputs, controls)


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


def _sorted(graph: Any, nodes: List[_Node]) -> List[_Node]:
    """The nodes, each after the new nodes it reads."""
    waiting = {node.definition.name: node for node in nodes}
    if len(waiting) != len(nodes):
        raise errors.GraphError("two new nodes have the same name")
    for node in nodes:
        _require(graph, node.near or node.definition.name, waiting, node.definition.name)
        for source in _sources(node):
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


def _rehearse(graph: Any, nodes: List[_Node]) -> None:
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


def _commit(graph: Any, nodes: List[_Node], controls: Sequence[_core.Edit]) -> None:
    # pylint: disable=protected-access
    operation = graph.get_operation_by_name
    with _neutral(graph):
        for node in nodes:
            near = operation(node.near) if node.near and _has(graph, node.near) else None
            context = near._get_control_flow_context() if near is not None else None
            graph._set_control_flow_context(context)
            try:
                op = _create(graph, node, graph.get_tensor_by_name)
            finally:
                graph._set_control_flow_context(None)
            for control in node.controls:
                op._add_control_input(operation(control))
    for edit in controls:
        operation(edit.name)._add_control_input(operation(edit.near))
