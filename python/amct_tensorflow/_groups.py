# SPDX-License-Identifier: Apache-2.0
"""Convolutions in groups, as Keras makes them, in ops that every TensorFlow runs.

Keras has them compiled by XLA: in a frozen graph each is a call of a function that TensorFlow
does not open, where nobody finds the convolution. The kernels of the CPU take one whose filter
has the channels of a group only while nothing is merged with it. So it is written out: as a
depthwise convolution where each channel is a group, else as Split, a convolution a group, and
ConcatV2, which is what the core fuses and the converter knows as a convolution in groups.
"""

import re
from typing import Any, List, Set

import numpy as np

from ._ops import tf, v1
from ._wiring import Wiring, constant_node

_COMPILED = "_XlaMustCompile"
_AROUND = frozenset(
    "BatchToSpaceND BiasAdd Const ExpandDims Identity NoOp Reshape SpaceToBatchND Squeeze".split()
)


def written_out(frozen: Any) -> Any:
    """The GraphDef of a frozen function, without compiled convolutions and groups inside ops."""
    graph = _opened(frozen).graph
    definition = graph.as_graph_def()
    convolutions = {
        op.name: op for op in graph.get_operations() if op.type == "Conv2D" and _groups(op) > 1
    }
    if not convolutions:
        return definition
    parts = _Parts(definition)
    for node in definition.node:
        if node.name in convolutions:
            parts.write_out(node, convolutions[node.name])
        parts.new.node.append(node)
    return parts.new


def convolution_of(name: str) -> str:
    """The convolution of which a node is a group; other names as they are."""
    return re.sub(r"/group_[0-9]+_*$", "", name)


# ---- functions that XLA compiles ----


def _opened(frozen: Any) -> Any:
    """The function without calls of compiled ones that hold a convolution and no more.

    Others stay: XLA knows convolutions that TensorFlow has no kernel for.
    """
    definition = frozen.graph.as_graph_def()
    names = {
        function.signature.name
        for function in definition.library.function
        if _is_compiled(function) and _is_convolution(function)
    }
    if not names:
        return frozen
    for function in definition.library.function:
        _call_plain(function.node_def, names)
        if function.signature.name in names:
            function.signature.name = _plain(function.signature.name)
            for key in (_COMPILED, "_noinline"):
                function.attr.pop(key, None)
    _call_plain(definition.node, names)
    return _frozen_again(definition, frozen)


def _is_compiled(function: Any) -> bool:
    return _COMPILED in function.attr and function.attr[_COMPILED].b


def _is_convolution(function: Any) -> bool:
    layers = [node for node in function.node_def if node.op not in _AROUND]
    return len(layers) == 1 and layers[0].op == "Conv2D" and _channels_last(layers[0])


def _channels_last(node: Any) -> bool:
    return "data_format" not in node.attr or node.attr["data_format"].s == b"NHWC"


def _plain(name: str) -> str:
    """The process knows the compiled function by the old name."""
    return name + "_plain"


def _call_plain(nodes: Any, names: Set[str]) -> None:
    for node in nodes:
        if "f" in node.attr and node.attr["f"].func.name in names:
            node.attr["f"].func.name = _plain(node.attr["f"].func.name)
            node.attr.pop(_COMPILED, None)


def _frozen_again(definition: Any, frozen: Any) -> Any:
    """The graph as a function with the inputs and outputs of `frozen`."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    def load() -> None:
        tf.graph_util.import_graph_def(definition, name="")

    whole = v1.wrap_function(load, [])

    def same(tensors: List[Any]) -> List[Any]:
        return [whole.graph.get_tensor_by_name(tensor.name) for tensor in tensors]

    return convert_variables_to_constants_v2(whole.prune(same(frozen.inputs), same(frozen.outputs)))


# ---- a convolution, group by group ----


def _groups(op: Any) -> int:
    """Of a convolution; 1 also where that is not known, or channels do not come last."""
    data, filters = (tensor.shape for tensor in op.inputs)
    if data.rank != 4 or data[3] is None or not filters.is_fully_defined():
        return 1
    return 1 if op.get_attr("data_format") != b"NHWC" else int(data[3]) // int(filters[2])


class _Parts:
    """A GraphDef, and a new one, to which nodes come before their readers."""

    def __init__(self, old: Any) -> None:
        self.old = old
        self.new = v1.GraphDef(versions=old.versions, library=old.library)
        self._wiring = Wiring(old)
        self._names = {node.name for node in old.node}

    def write_out(self, node: Any, op: Any) -> None:
        """What the convolution becomes, if its weights are constant: that has its name."""
        weights = self._constant(node.input[1])
        if weights is None:
            return
        weights = weights.reshape(op.inputs[1].shape)
        height, width, channels, _ = weights.shape
        steps, dilations = op.get_attr("strides"), op.get_attr("dilations")
        if channels == 1 and steps[1] == steps[2] and set(dilations) == {1}:
            self._make_depthwise(node, weights.reshape((height, width, _groups(op), -1)))
        else:
            self._make_groups(node, np.split(weights, _groups(op), 3))

    def _constant(self, tensor: str) -> Any:
        """The value of a constant, of whatever shape."""
        name, _ = self._wiring.through(tensor, ("ExpandDims", "Identity", "Reshape"))
        return self._wiring.constant(name)

    def _make_depthwise(self, node: Any, weights: Any) -> None:
        node.op = "DepthwiseConv2dNative"
        node.input[1] = self._add_constant(node.name + "/filter", weights)
        node.attr.pop("use_cudnn_on_gpu", None)

    def _make_groups(self, node: Any, weights: List[Any]) -> None:
        axis = self._add_constant(node.name + "/axis", np.array(3, np.int32))
        split = self._add(node.name + "/split", "Split", [axis] + list(node.input[:1]))
        split.input.extend(node.input[2:])  # control edges
        split.attr["num_split"].i = len(weights)
        split.attr["T"].CopyFrom(node.attr["T"])
        groups = []
        for i, part in enumerate(weights):
            name = "{}/group_{}".format(node.name, i)
            weight = self._add_constant(name + "/filter", part)
            groups.append(self._add(name, "Conv2D", ["{}:{}".format(split.name, i), weight]))
            for key in node.attr:
                groups[-1].attr[key].CopyFrom(node.attr[key])
        node.op = "ConcatV2"
        node.input[:] = [group.name for group in groups] + [axis]
        for key in list(node.attr):
            if key != "T":
                node.attr.pop(key)
        node.attr["N"].i = len(weights)
        node.attr["Tidx"].type = tf.int32.as_datatype_enum

    def _free(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def _add(self, name: str, op: str, inputs: List[str]) -> Any:
        return self.new.node.add(name=self._free(name), op=op, input=inputs)

    def _add_constant(self, name: str, value: Any) -> str:
        node = constant_node(self._free(name), value, tf.as_dtype(value.dtype))
        self.new.node.append(node)
        return str(node.name)
