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
import zlib
from typing import Any, Dict, Iterator, List, Optional, Tuple

from . import _freeze, _keras_output, errors
from ._keras_inside import Replaced, attribute, inside
from ._keras_layer import Clips, clips_layer, fake_weight, output_layer
from ._keras_output import Ending, Owner, Traced
from ._keras_plan import KINDS, Plan
from ._ops import tf, v1

_STATE = "_amct_retrained"  # of a layer, in its __dict__: _State
_BASE = "_amct_base"  # of a class that is made here: the class of which it is a subclass
_NORM = "BatchNormalization"
_thread = threading.local()  # traced: Traced, while tracing


class _State:
    """Of a retrained layer, or of a batch norm behind one. Keras must not look into it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.clips: Dict[int, Clips] = {}  # by place
        self.outputs: Dict[int, Any] = {}  # by place: RetrainOutput layers


def _base(kind: Any) -> Any:
    """The class that Keras or the user has made."""
    return getattr(kind, _BASE, kind)


def _kind(kit: Any, layer: Any) -> Optional[str]:
    """The row of KINDS of a layer; none for one with a call of its own."""
    if _STATE in layer.__dict__:
        return layer.__dict__[_STATE].kind
    for name in KINDS:
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
    forms = [(layer, _retrained(type(layer), kind)) for layer, kind in kinds if kind in KINDS]
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
    last = Owner(layer, len(KINDS[kind]) - 1)

    def end(activation: Any, x: Any) -> Any:
        traced.ends[x.op.name] = last
        return x if activation is None else activation(x)

    with inside(layer, {"activation": lambda activation: functools.partial(end, activation)}):
        outputs = plain(layer, inputs, *arguments, **keywords)
    for op in graph.get_operations()[before:]:
        for i, place in enumerate(KINDS[kind]):
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
    for place in KINDS[name]:
        members.update((kernel, attribute(base, kernel)) for kernel in place.kernels)
    if KINDS[name][0].kernels:
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
        return outputs if KINDS[name][0].kernels else _put_out(state, 0, outputs)

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
            found.update((name, kernel) for name in KINDS[state.kind][i].kernels)
    output = state.outputs.get(len(KINDS[state.kind]) - 1)
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
        clips = clips_layer(kit)(plan, KINDS[kind][owner.place].clips)
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
    kernel = _kernel(ending.source.layer, ending.source.place)
    clips = source.clips[ending.source.place]
    inputs = functools.partial(_keras_output.inputs_of, ending, kernel, clips)
    state = source if ending.norm is None else _state_of(ending.norm, _NORM)
    state.outputs[ending.at.place] = output_layer(kit)(ending, inputs)


def _kernel(layer: Any, place: int) -> Optional[str]:
    """The attribute that holds it; none of an average."""
    kernels = KINDS[layer.__dict__[_STATE].kind][place].kernels
    return next((name for name in kernels if hasattr(layer, name)), None)


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


def _turned(model: Any) -> List[Any]:
    """The layers that were turned before, and batch norms behind them."""
    return [layer for layer in _freeze.flat_layers(model) if _STATE in layer.__dict__]


def is_retrained(model: Any) -> bool:
    """Whether a layer of the model was turned before."""
    return bool(_turned(model))


def checksum(model: Any) -> int:
    """Of the kernels that are retrained."""
    found = 0
    for layer in _turned(model):
        for place in layer.__dict__[_STATE].clips:
            kernel = _kernel(layer, place)
            if kernel is not None:
                value = tf.convert_to_tensor(getattr(layer, kernel)).numpy()
                found = zlib.crc32(value.tobytes(), found)
    return found


def clips_are_as_found(model: Any) -> bool:
    """Whether the search or the configuration has set all clips, and no optimizer any."""
    trainable = {id(variable) for variable in model.trainable_variables}
    clips = [one for layer in _turned(model) for one in layer.__dict__[_STATE].clips.values()]
    trained = [one for one in clips if id(one.clip_max) in trainable]
    return bool(trained) and all(one.are_as_found() for one in trained)
