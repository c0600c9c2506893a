# SPDX-License-Identifier: Apache-2.0
"""Retraining of Keras models: Keras 3 and tf-keras, functional, sequential and subclassed.

The frozen inference graph of the model tells what its layers are, and the core plans the
retraining on it as on any graph. Here that plan is applied to the Keras layers which made
the nodes: each becomes an object of a subclass of its own class whose data go through Ulq
and whose kernel, inside call, reads as ArqRetrain of it. Saving applies the same plan to
the frozen graph, with the trained values; so what was trained is what is saved.
"""

import contextlib
import inspect
import threading
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import _core, _freeze, errors
from ._keras_layer import Clips, clips_layer, fake_weight
from ._ops import tf, v1

_STATE = "_amct_retrained"  # of a layer, in its __dict__: _State
_thread = threading.local()  # owners: of nodes, while tracing; layer: the one that is called


class _Place(NamedTuple):
    """Where a Keras layer makes an op that can be retrained."""

    ops: Tuple[str, ...]
    kernels: Tuple[str, ...] = ()  # attributes that may hold the kernel
    clips: str = "ULQ"


_KINDS = {
    "AveragePooling2D": (_Place(("AvgPool",)),),
    "Conv2D": (_Place(("Conv2D",), ("kernel",)),),
    "Conv2DTranspose": (_Place(("Conv2DBackpropInput",), ("kernel",)),),
    "Conv3D": (_Place(("Conv3D",), ("kernel",)),),
    "Dense": (_Place(("MatMul", "BatchMatMul", "BatchMatMulV2"), ("kernel",)),),
    "DepthwiseConv2D": (_Place(("DepthwiseConv2dNative",), ("depthwise_kernel", "kernel")),),
    "SeparableConv2D": (
        _Place(("DepthwiseConv2dNative",), ("depthwise_kernel",), "ULQ_depthwise"),
        _Place(("Conv2D",), ("pointwise_kernel",), "ULQ_pointwise"),
    ),
}


KINDS_TEXT = ", ".join(sorted(_KINDS))


class _State(NamedTuple):
    """Of a retrained layer."""

    kind: str
    clips: Dict[int, Clips]  # by place


class Owner(NamedTuple):
    """Whose call has made a node."""

    layer: Any
    place: int


class Plan(NamedTuple):
    """What the core wants of one node."""

    name: str
    data: Dict[str, Any]  # attributes of its Ulq
    weight: Optional[Dict[str, Any]]  # of its ArqRetrain
    clip_max: float
    clip_min: float


def _kind(kit: Any, layer: Any) -> Optional[str]:
    """The row of _KINDS of a layer; none for one with a call of its own."""
    if _STATE in layer.__dict__:
        return layer.__dict__[_STATE].kind
    for name in _KINDS:
        known = getattr(kit.layers, name)
        if isinstance(layer, known) and type(layer).call is known.call:
            return name
    return None


# ---- the frozen graph, and who made its nodes ----


def trace(model: Any) -> Tuple[_freeze.Frozen, Dict[str, Owner]]:
    """The frozen float graph of a model, and the owners of nodes that can be retrained."""
    kit = _freeze.keras_of(model)
    if kit.__name__ == "keras" and kit.backend.backend() != "tensorflow":
        raise errors.UnsupportedError(
            "Keras runs on {}, not on TensorFlow".format(kit.backend.backend())
        )
    kinds = [(layer, _kind(kit, layer)) for layer in _freeze.flat_layers(model)]
    plain = [(layer, kind) for layer, kind in kinds if kind and _STATE not in layer.__dict__]
    owners: Dict[str, Owner] = {}
    _thread.owners = owners
    try:
        with _freeze.swapped((layer, _retrained(type(layer), kind)) for layer, kind in plain):
            frozen = _freeze.freeze_keras(model)
    finally:
        _thread.owners = None
    return frozen, owners


def _note(layer: Any, kind: str, inputs: Any, arguments: Any, keywords: Any, plain: Any) -> Any:
    graph = v1.get_default_graph()
    before = len(graph.get_operations())
    outputs = plain(layer, inputs, *arguments, **keywords)
    for op in graph.get_operations()[before:]:
        for i, place in enumerate(_KINDS[kind]):
            if op.type in place.ops:
                _thread.owners[op.name] = Owner(layer, i)
    return outputs


# ---- layers whose data and kernels are fake-quantized ----

_classes: Dict[Tuple[type, str], type] = {}


def _retrained(kind: type, name: str) -> type:
    """A subclass of a Keras layer's class. Objects without state act as the class does."""
    if (kind, name) not in _classes:
        members = {"call": _call_of(kind, name), "__module__": kind.__module__}
        for i, place in enumerate(_KINDS[name]):
            for attribute in place.kernels:
                members[attribute] = _kernel(kind, attribute, i)
        _classes[kind, name] = type(kind.__name__, (kind,), members)
    return _classes[kind, name]


def _call_of(kind: Any, name: str) -> Any:
    def call(self: Any, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        if getattr(_thread, "owners", None) is not None:
            return _note(self, name, inputs, arguments, keywords, kind.call)
        state = self.__dict__.get(_STATE)
        if not state:
            return kind.call(self, inputs, *arguments, **keywords)
        with _kernels_of(self):
            if name == "SeparableConv2D":
                return _separable(self, state.clips, inputs)
            return kind.call(self, state.clips[0](inputs), *arguments, **keywords)

    plain: Any = tf.autograph.experimental.do_not_convert(call)
    plain.__signature__ = inspect.signature(kind.call)  # Keras looks at it
    return plain


@contextlib.contextmanager
def _kernels_of(layer: Any) -> Iterator[None]:
    before = getattr(_thread, "layer", None)
    _thread.layer = layer
    try:
        yield
    finally:
        _thread.layer = before


def _kernel(kind: type, attribute: str, place: int) -> property:
    """Reads as fake-quantized inside the layer's own call, as the variable elsewhere."""
    inherited = getattr(kind, attribute, None)

    def read(self: Any) -> Any:
        if isinstance(inherited, property):
            value = inherited.fget(self)  # type: ignore[misc]
        elif attribute in self.__dict__:
            value = self.__dict__[attribute]
        else:
            raise AttributeError(attribute)
        state = self.__dict__.get(_STATE)
        if getattr(_thread, "layer", None) is not self or place not in state.clips:
            return value
        weight = state.clips[place].plan.weight
        return value if weight is None else fake_weight(tf.convert_to_tensor(value), weight)

    def write(self: Any, value: Any) -> None:
        if isinstance(inherited, property) and inherited.fset is not None:
            inherited.fset(self, value)
        else:
            self.__dict__[attribute] = value

    return property(read, write)


def _separable(layer: Any, clips: Dict[int, Clips], x: Any) -> Any:
    """SeparableConv2D as its two convolutions: what lies between is quantized as well."""
    first = layer.data_format == "channels_first"
    data_format = "NCHW" if first else "NHWC"
    strides = (1, 1) + tuple(layer.strides) if first else (1,) + tuple(layer.strides) + (1,)
    if 0 in clips:
        x = clips[0](x)
    x = tf.nn.depthwise_conv2d(
        x,
        tf.convert_to_tensor(layer.depthwise_kernel),
        strides,
        layer.padding.upper(),
        data_format,
        layer.dilation_rate,
    )
    if 1 in clips:
        x = clips[1](x)
    kernel = tf.convert_to_tensor(layer.pointwise_kernel)
    x = tf.nn.conv2d(x, kernel, 1, "VALID", data_format)
    if layer.use_bias:
        x = tf.nn.bias_add(x, tf.convert_to_tensor(layer.bias), data_format)
    return x if layer.activation is None else layer.activation(x)


# ---- the core's plan, applied to layers ----


def plans_of(edits: List[_core.Edit]) -> List[Plan]:
    """What retraining edits say, by layer."""
    nodes = [v1.NodeDef.FromString(edit.nodedef) for edit in edits if edit.nodedef]
    consts = {node.name: node for node in nodes if node.op == "Const"}
    weights = {node.attr["layer_name"].s: node for node in nodes if node.op == "ArqRetrain"}
    plans = []
    for node in nodes:
        if node.op != "Ulq":
            continue
        clips = [
            float(tf.make_ndarray(consts[name.partition(":")[0]].attr["value"].tensor))
            for name in node.input[1:]
        ]
        layer = node.attr["layer_name"].s
        weight = None
        if layer in weights:
            attributes = weights[layer].attr
            weight = {
                "layer_name": layer,
                "channel_axes": list(attributes["channel_axes"].list.i),
                "channel_wise": attributes["channel_wise"].b,
            }
        data = {"layer_name": layer, "fixed_min": node.attr["fixed_min"].b}
        data["batch_num"] = node.attr["batch_num"].i
        plans.append(Plan(layer.decode("utf-8", "replace"), data, weight, clips[0], clips[1]))
    return plans


def check_plans(plans: List[Plan], owners: Dict[str, Owner]) -> List[Tuple[Owner, Plan]]:
    """One plan a place of a layer. ConfigError where there is none, or no layer for it."""
    found: Dict[Tuple[int, int], Tuple[Owner, Plan]] = {}
    for plan in plans:
        owner = owners.get(plan.name)
        if owner is None:
            raise _config_error(
                plan.name,
                'layer "{}" is not made by a Keras layer that can be retrained ({}): set '
                "its retrain_enable to false".format(plan.name, KINDS_TEXT),
            )
        key = (id(owner.layer), owner.place)
        if key not in found:
            found[key] = (owner, plan)
            continue
        _, other = found[key]
        if not _agree(plan, other):
            raise _config_error(
                plan.name,
                'layers "{}" and "{}" are one Keras layer, "{}", called twice: the '
                "configuration must say the same of both".format(
                    other.name, plan.name, owner.layer.name
                ),
            )
        other.data["calls"] = other.data.get("calls", 1) + 1
    return list(found.values())


def _config_error(layer: str, text: str) -> errors.ConfigError:
    error = errors.ConfigError(text)
    error.node = layer
    return error


def _agree(one: Plan, other: Plan) -> bool:
    weights = [dict(plan.weight or {}, layer_name=b"") for plan in (one, other)]
    data = [(plan.data["fixed_min"], plan.data["batch_num"]) for plan in (one, other)]
    clips = [(plan.clip_max, plan.clip_min) for plan in (one, other)]
    return weights[0] == weights[1] and data[0] == data[1] and clips[0] == clips[1]


def apply(model: Any, planned: List[Tuple[Owner, Plan]]) -> List[Any]:
    """Turns the layers into their retrained forms. Returns the variables of their clips."""
    kit = _freeze.keras_of(model)
    first = next(iter(model.variables), None)
    strategy = getattr(_freeze.plain_variable(first), "distribute_strategy", None)
    added = []
    for owner, plan in planned:
        layer = owner.layer
        kind = _kind(kit, layer)
        assert kind is not None  # what check_plans has let through
        clips = clips_layer(kit)(plan, _KINDS[kind][owner.place].clips)
        with strategy.scope() if strategy is not None else contextlib.nullcontext():
            with _scope_of(kit, layer, clips):
                clips.make_variables()
        _attach(layer, clips)
        if _STATE not in layer.__dict__:
            layer.__dict__[_STATE] = _State(kind, {})
            layer.__class__ = _retrained(type(layer), kind)
        layer.__dict__[_STATE].clips[owner.place] = clips
        added += [clips.clip_max, clips.clip_min]
    return added


@contextlib.contextmanager
def _scope_of(kit: Any, layer: Any, clips: Any) -> Iterator[None]:
    """Variables made inside are called <layer>/<clips>/<variable>."""
    keras3 = kit.__name__ == "keras"
    names = (getattr(layer, "path", None) or layer.name).split("/")
    with contextlib.ExitStack() as stack:
        for name in names if keras3 else names + [clips.name]:
            stack.enter_context(kit.name_scope(name) if keras3 else tf.name_scope(name))
        yield


def _attach(layer: Any, clips: Any) -> None:
    """As a layer inside the layer, so that Keras finds, counts and saves its variables."""
    tracker: Any = getattr(layer, "_tracker", None)  # Keras 3 locks a layer that is built
    locked = tracker is not None and tracker.locked
    if locked:
        tracker.unlock()
    try:
        setattr(layer, "amct_" + clips.name.lower(), clips)
    finally:
        if locked:
            tracker.lock()


def forget_compilation(model: Any) -> bool:
    """Functions that Keras has made of the float model are made anew. True if compiled."""
    compiled = getattr(model, "optimizer", None) is not None
    for name in ("train_function", "test_function", "predict_function"):
        if getattr(model, name, None) is not None:
            setattr(model, name, None)
    if compiled:
        setattr(model, "compiled" if hasattr(model, "_tracker") else "_is_compiled", False)
    return compiled


def clips_of(owners: Dict[str, Owner], name: str) -> Optional[Clips]:
    """The trained clips of a node; None if its layer is not retrained."""
    owner = owners.get(name)
    state = owner.layer.__dict__.get(_STATE) if owner else None
    return state.clips.get(owner.place) if owner and state else None


def is_retrained(model: Any) -> bool:
    """Whether a layer of the model was turned before."""
    return any(_STATE in layer.__dict__ for layer in _freeze.flat_layers(model))
