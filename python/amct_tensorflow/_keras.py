# SPDX-License-Identifier: Apache-2.0
"""Retraining of Keras models: Keras 3 and tf-keras, functional, sequential and subclassed.

The frozen inference graph of the model tells what its layers are, and the core plans the
retraining on it as on any graph. Here that plan is applied to the Keras layers which made
the nodes: each becomes an object of a subclass of its own class whose data go through Ulq
and whose kernel, inside call, reads as ArqRetrain of it. In inference what it puts out
goes through RetrainOutput (_keras_output.py). Saving applies the same plan to the frozen
graph, with the trained values; so what was trained is what is saved.
"""

import contextlib
import functools
import inspect
import threading
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import _core, _freeze, _keras_output, errors
from ._keras_inside import Replaced, attribute, inside
from ._keras_layer import Clips, clips_layer, fake_weight, output_layer
from ._keras_output import Ending, Owner, Traced
from ._ops import tf, v1

_STATE = "_amct_retrained"  # of a layer, in its __dict__: _State
_BASE = "_amct_base"  # of a class that is made here: the class of which it is a subclass
_NORM = "BatchNormalization"
_thread = threading.local()  # traced: Traced, while tracing


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


class _State:
    """Of a retrained layer, or of a batch norm behind one. Keras must not look into it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.clips: Dict[int, Clips] = {}  # by place
        self.outputs: Dict[int, Any] = {}  # by place: RetrainOutput layers


class Plan(NamedTuple):
    """What the core wants of one node."""

    name: str
    data: Dict[str, Any]  # attributes of its Ulq
    weight: Optional[Dict[str, Any]]  # of its ArqRetrain
    clip_max: float
    clip_min: float


def _base(kind: Any) -> Any:
    """The class that Keras or the user has made."""
    return getattr(kind, _BASE, kind)


def _kind(kit: Any, layer: Any) -> Optional[str]:
    """The row of _KINDS of a layer; none for one with a call of its own."""
    if _STATE in layer.__dict__:
        return layer.__dict__[_STATE].kind
    for name in _KINDS:
        known = getattr(kit.layers, name)
        if isinstance(layer, known) and _base(type(layer)).call is known.call:
            return name
    return None


# ---- the frozen graph, and who made its nodes ----


def trace(model: Any) -> Traced:
    """The frozen float graph of a model, and the owners of nodes that can be retrained."""
    kit = _freeze.keras_of(model)
    if kit.__name__ == "keras" and kit.backend.backend() != "tensorflow":
        raise errors.UnsupportedError(
            "Keras runs on {}, not on TensorFlow".format(kit.backend.backend())
        )
    layers = _freeze.flat_layers(model)
    kinds = [(layer, _kind(kit, layer)) for layer in layers]
    forms = [(layer, _retrained(type(layer), kind)) for layer, kind in kinds if kind in _KINDS]
    norm = kit.layers.BatchNormalization
    forms += [
        (layer, _noted(_base(type(layer))))
        for layer in layers
        if isinstance(layer, norm) and _base(type(layer)).call is norm.call
    ]
    traced = Traced(None, {}, {})
    _thread.traced = traced
    try:
        with _freeze.swapped(forms):
            return traced._replace(frozen=_freeze.freeze_keras(model))
    finally:
        _thread.traced = None


def _note(layer: Any, kind: str, inputs: Any, arguments: Any, keywords: Any, plain: Any) -> Any:
    traced = _thread.traced
    graph = v1.get_default_graph()
    before = len(graph.get_operations())
    last = Owner(layer, len(_KINDS[kind]) - 1)

    def end(activation: Any, x: Any) -> Any:
        traced.ends[x.op.name] = last
        return x if activation is None else activation(x)

    with inside(layer, {"activation": lambda activation: functools.partial(end, activation)}):
        outputs = plain(layer, inputs, *arguments, **keywords)
    for op in graph.get_operations()[before:]:
        for i, place in enumerate(_KINDS[kind]):
            if op.type in place.ops:
                traced.owners[op.name] = Owner(layer, i)
    return outputs


# ---- layers whose data and kernels are fake-quantized ----

_classes: Dict[Tuple[type, str], type] = {}


def _subclass(kind: type, name: str, members: Dict[str, Any]) -> type:
    """Made once. Keras takes it for the class itself."""
    if (kind, name) not in _classes:
        members = dict(members, __module__=kind.__module__, **{_BASE: kind})
        _classes[kind, name] = type(kind.__name__, (kind,), members)
    return _classes[kind, name]


def _retrained(kind: type, name: str) -> type:
    """A subclass of a Keras layer's class. Objects without state act as the class does."""
    base = _base(kind)
    if name == _NORM:
        return _subclass(base, name, {"call": _call_of_norm(base)})
    members = {"call": _call_of(base, name)}
    for place in _KINDS[name]:
        members.update((kernel, attribute(base, kernel)) for kernel in place.kernels)
    if _KINDS[name][0].kernels:
        others = ("activation", "use_bias", "bias")
        members.update((other, attribute(base, other)) for other in others)
    return _subclass(base, name, members)


def _noted(kind: type) -> type:
    """A batch norm whose outputs are noted while tracing."""

    def __call__(self: Any, *arguments: Any, **keywords: Any) -> Any:
        outputs = kind.__call__(self, *arguments, **keywords)
        _thread.traced.ends[outputs.op.name] = Owner(self, 0)
        return outputs

    return _subclass(kind, "noted", {"__call__": __call__})


def _signed_as(call: Any, original: Any) -> Any:
    """Keras looks at signatures."""
    plain: Any = tf.autograph.experimental.do_not_convert(call)
    plain.__signature__ = inspect.signature(original)
    return plain


def _call_of(kind: Any, name: str) -> Any:
    def call(self: Any, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        if getattr(_thread, "traced", None) is not None:
            return _note(self, name, inputs, arguments, keywords, kind.call)
        state = self.__dict__.get(_STATE)
        if not state:
            return kind.call(self, inputs, *arguments, **keywords)
        with inside(self, _replaced(state)):
            if name == "SeparableConv2D":
                return _separable(self, state, inputs)
            outputs = kind.call(self, state.clips[0](inputs), *arguments, **keywords)
        return outputs if _KINDS[name][0].kernels else _put_out(state, 0, outputs)

    return _signed_as(call, kind.call)


def _call_of_norm(kind: Any) -> Any:
    def call(self: Any, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        outputs = kind.call(self, inputs, *arguments, **keywords)
        state = self.__dict__.get(_STATE)
        return _put_out(state, 0, outputs) if state else outputs

    return _signed_as(call, kind.call)


def _put_out(state: _State, place: int, x: Any) -> Any:
    return state.outputs[place](x) if place in state.outputs else x


def _replaced(state: _State) -> Replaced:
    """What attributes are inside a layer's call."""
    found: Replaced = {}
    for i, clips in state.clips.items():
        if clips.plan.weight is not None:
            kernel = functools.partial(_fake_kernel, clips.plan.weight)
            found.update((name, kernel) for name in _KINDS[state.kind][i].kernels)
    output = state.outputs.get(len(_KINDS[state.kind]) - 1)
    if output is not None:
        found.update(_keras_output.replaced_by(output))
    return found


def _fake_kernel(attributes: Dict[str, Any], value: Any) -> Any:
    return fake_weight(tf.convert_to_tensor(value), attributes)


def _separable(layer: Any, state: _State, x: Any) -> Any:
    """SeparableConv2D as its two convolutions: what lies between is quantized as well."""
    first = layer.data_format == "channels_first"
    data_format = "NCHW" if first else "NHWC"
    strides = (1, 1) + tuple(layer.strides) if first else (1,) + tuple(layer.strides) + (1,)
    if 0 in state.clips:
        x = state.clips[0](x)
    x = tf.nn.depthwise_conv2d(
        x,
        tf.convert_to_tensor(layer.depthwise_kernel),
        strides,
        layer.padding.upper(),
        data_format,
        layer.dilation_rate,
    )
    x = _put_out(state, 0, x)
    if 1 in state.clips:
        x = state.clips[1](x)
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


def apply(model: Any, planned: List[Tuple[Owner, Plan]], endings: List[Ending]) -> List[Any]:
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
        _state_of(layer, kind).clips[owner.place] = clips
        added += [clips.clip_max, clips.clip_min]
    for ending in endings:
        _put_ending(kit, ending)
    return added


def _state_of(layer: Any, kind: str) -> _State:
    """Of a layer, which is turned with it."""
    if _STATE not in layer.__dict__:
        layer.__dict__[_STATE] = _State(kind)
        layer.__class__ = _retrained(type(layer), kind)
    state: _State = layer.__dict__[_STATE]
    return state


def _put_ending(kit: Any, ending: Ending) -> None:
    source: _State = ending.source.layer.__dict__[_STATE]
    kernels = _KINDS[source.kind][ending.source.place].kernels
    kernel = next((name for name in kernels if hasattr(ending.source.layer, name)), None)
    clips = source.clips[ending.source.place]
    inputs = functools.partial(_keras_output.inputs_of, ending, kernel, clips)
    state = source if ending.norm is None else _state_of(ending.norm, _NORM)
    state.outputs[ending.at.place] = output_layer(kit)(ending, inputs)


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
