# SPDX-License-Identifier: Apache-2.0
"""The nodes of a GraphDef with their inputs, to be looked at and rewired."""

from typing import Any, Callable, Dict, Iterable, List, Optional, Set, Tuple

import numpy as np

from ._ops import tf, v1

VARIABLES = ("Variable", "VariableV2", "VarHandleOp")
_SWITCH = ("Switch", "RefSwitch")
_MERGE = ("Merge", "RefMerge")


def tensor_of(text: str) -> Tuple[str, int]:
    """Node and port of an input; port -1 of a control input."""
    if text[0] == "^":
        return text[1:], -1
    name, _, port = text.partition(":")
    return name, int(port or 0)


def constant_node(name: str, value: Any, dtype: Any) -> Any:
    """A Const."""
    node = v1.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = dtype.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, dtype))
    return node


class Wiring:
    """Nodes by name: `ops` and `inputs` count, in the place of what `nodes` say.

    `assumed` are values of placeholders, as if they were constants; `dead` is what never runs.
    """

    def __init__(self, definition: Any) -> None:
        """Of a GraphDef, which stays as it is."""
        self.versions = definition.versions
        self.library = definition.library
        self.nodes = {node.name: node for node in definition.node}
        self.ops = {node.name: node.op for node in definition.node}
        self.inputs = {node.name: list(node.input) for node in definition.node}
        self.assumed: Dict[str, bool] = {}
        self.dead: Set[str] = set()

    def replace(self, name: str, node: Any, inputs: Iterable[str] = ()) -> None:
        """Another node of a name, or a new one."""
        self.nodes[name] = node
        self.ops[name] = node.op
        self.inputs[name] = list(inputs)

    def redirect(self, text: str, to: str) -> None:
        """Who reads a tensor reads another one."""
        tensor = tensor_of(text)
        for inputs in self.inputs.values():
            inputs[:] = [to if tensor_of(given) == tensor else given for given in inputs]

    def definition(self, outputs: List[str]) -> Any:
        """A GraphDef of what the outputs need."""
        needed = self.needed(outputs)
        made = v1.GraphDef(versions=self.versions, library=self.library)
        for name, node in self.nodes.items():
            if name in needed:
                copy = made.node.add()
                copy.CopyFrom(node)
                copy.attr.pop("_class", None)  # beside nodes that may be gone
                del copy.input[:]
                copy.input.extend(self.inputs[name])
        return made

    # ---- looking ----

    def data(self, name: str) -> List[str]:
        """The inputs that are tensors."""
        return [text for text in self.inputs[name] if text[0] != "^"]

    def through(self, text: str, ops: Tuple[str, ...]) -> Tuple[str, int]:
        """The tensor behind ops that have one input of interest, the first."""
        name, port = tensor_of(text)
        while self.ops[name] in ops:
            name, port = tensor_of(self.inputs[name][0])
        return name, port

    def variable(self, text: str) -> Optional[str]:
        """The variable that a tensor is the value of, or whose handle it is."""
        name, _ = self.through(text, ("Identity", "ReadVariableOp", "Enter") + _SWITCH)
        return name if self.ops[name] in VARIABLES else None

    def constant(self, text: str) -> Optional[np.ndarray]:
        """The value of a constant."""
        name, _ = self.through(text, ("Identity",))
        if self.ops[name] != "Const":
            return None
        return np.asarray(tf.make_ndarray(self.nodes[name].attr["value"].tensor))

    def needed(self, outputs: Iterable[str]) -> Set[str]:
        """The nodes that the outputs need, they among them."""
        return _reached(outputs, lambda name: [tensor_of(text)[0] for text in self.inputs[name]])

    def behind(self, names: Iterable[str]) -> Set[str]:
        """The nodes that need one of these, they among them."""
        readers = self._readers()
        return _reached(names, lambda name: readers.get(name, []))

    def sources(self, text: str, ops: Tuple[str, ...]) -> Set[str]:
        """The nodes of these ops of which logic makes a predicate."""
        found: Set[str] = set()
        seen: Set[str] = set()
        waiting = [tensor_of(text)[0]]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if self.ops[name] in ops:
                found.add(name)
            elif self.ops[name] in ("Identity", "LogicalNot", "LogicalAnd", "LogicalOr") + _SWITCH:
                waiting += [tensor_of(part)[0] for part in self.data(name)]
        return found

    def _readers(self) -> Dict[str, List[str]]:
        readers: Dict[str, List[str]] = {}
        for name, inputs in self.inputs.items():
            for text in inputs:
                readers.setdefault(tensor_of(text)[0], []).append(name)
        return readers

    # ---- conds of version 1 ----

    def truth(self, text: str) -> Optional[bool]:
        """What a predicate is, if that is known."""
        name, _ = self.through(text, ("Identity",) + _SWITCH)
        if name in self.assumed:
            return self.assumed[name]
        op = self.ops[name]
        if op == "Const":
            value = self.constant(name)
            return bool(value) if value is not None and value.size == 1 else None
        if op == "LogicalNot":
            inner = self.truth(self.inputs[name][0])
            return None if inner is None else not inner
        if op not in ("LogicalAnd", "LogicalOr"):
            return None
        parts = [self.truth(part) for part in self.data(name)]
        decisive = op == "LogicalOr"
        if decisive in parts:
            return decisive
        return None if None in parts else not decisive

    def resolved(self) -> "Wiring":
        """A copy in which conds of known predicates have become what they choose."""
        copy = Wiring(v1.GraphDef(versions=self.versions, library=self.library))
        copy.nodes, copy.ops = dict(self.nodes), dict(self.ops)
        copy.inputs = {name: list(inputs) for name, inputs in self.inputs.items()}
        copy.assumed = self.assumed
        known = {
            name: value
            for name, op in self.ops.items()
            if op in _SWITCH
            for value in [self.truth(self.inputs[name][1])]
            if value is not None
        }
        dead = copy.dead = self._dead(known)
        read = {text for inputs in self.inputs.values() for text in inputs}
        for name, op in self.ops.items():
            if op in _MERGE and name not in dead:
                live = [text for text in self.data(name) if not _died(text, dead)]
                copy._choose(name, live, name + ":1" in read)
        for name in copy.ops:
            if name not in known:
                copy.inputs[name] = [copy._past(text, known) for text in copy.inputs[name]]
        return copy

    def _dead(self, known: Dict[str, bool]) -> Set[str]:
        """What never runs: nodes, and tensors of Switch as name:port."""
        readers = self._readers()
        dead = {"{}:{}".format(name, int(not value)) for name, value in known.items()}
        waiting = [name for name in known]
        while waiting:
            for reader in readers.get(waiting.pop(), []):
                if reader not in dead and self._dies(reader, dead):
                    dead.add(reader)
                    waiting.append(reader)
        return dead

    def _dies(self, name: str, dead: Set[str]) -> bool:
        inputs = self.inputs[name]
        if self.ops[name] not in _MERGE:
            return any(_died(text, dead) for text in inputs)
        entries = [t for t in self.data(name) if self.ops[tensor_of(t)[0]] != "NextIteration"]
        return all(_died(text, dead) for text in entries)

    def _choose(self, merge: str, live: List[str], indexed: bool) -> None:
        """A Merge of which one input is left passes that one."""
        data = self.data(merge)
        if len(live) != 1 or len(data) == len(live):
            return
        if indexed:
            node = constant_node(merge + "/value_index", data.index(live[0]), tf.int32)
            self.replace(node.name, node)
            self.redirect(merge + ":1", node.name)
        node = v1.NodeDef(name=merge, op="Identity")
        node.attr["T"].CopyFrom(self.nodes[merge].attr["T"])
        self.replace(merge, node, live)

    def _past(self, text: str, known: Dict[str, bool]) -> str:
        """An input, without the Switches that are decided."""
        name, port = tensor_of(text)
        while port >= 0 and name in known and port == int(known[name]):
            text = self.inputs[name][0]
            name, port = tensor_of(text)
        return text


def _reached(names: Iterable[str], steps: Callable[[str], Iterable[str]]) -> Set[str]:
    found: Set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += steps(name)
    return found


def _died(text: str, dead: Set[str]) -> bool:
    name, port = tensor_of(text)
    return name in dead or (port >= 0 and "{}:{}".format(name, port) in dead)
