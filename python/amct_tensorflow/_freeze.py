# SPDX-License-Identifier: Apache-2.0
"""Frozen GraphDefs of what TensorFlow 2 trains: functions, Keras models, SavedModels.

Batch norms are not folded: FusedBatchNormV3 where the layers write it (tf-keras, and Keras 3
as frozen here), the small ops of Keras 3 in a SavedModel, which the core knows as well.
"""

import contextlib
import importlib
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Tuple

from . import _groups, errors
from ._ops import tf, v1
from ._wiring import Wiring

_KERAS = ("keras", "tf_keras")


class Frozen(NamedTuple):
    """A graph of constants."""

    definition: Any  # GraphDef
    inputs: List[str]  # names of the placeholders
    outputs: List[str]  # names of the output ops


def keras_of(model: Any) -> Any:
    """The module, keras or tf_keras, of which `model` is a Model; None if it is none."""
    for base in type(model).__mro__:
        name = base.__module__.partition(".")[0]
        if name in _KERAS:
            kit = importlib.import_module(name)
            return kit if isinstance(model, kit.Model) else None
    return None


def freeze_function(function: Any, outputs: List[str]) -> Frozen:
    """Of a concrete function; `outputs` names ops inside it, of which nothing else is kept."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    frozen = convert_variables_to_constants_v2(function)
    definition = only(_groups.written_out(frozen), outputs)
    return Frozen(definition, [tensor.op.name for tensor in frozen.inputs], outputs)


def only(definition: Any, outputs: List[str], placeholders: bool = True) -> Any:
    """What the outputs need, and the placeholders if asked to; no devices."""
    wanted = list(outputs)
    if placeholders:
        wanted += [node.name for node in definition.node if node.op == "Placeholder"]
    needed = Wiring(definition).needed(wanted)
    kept = v1.GraphDef(versions=definition.versions, library=definition.library)
    kept.node.extend(node for node in definition.node if node.name in needed)
    for node in kept.node:
        node.device = ""  # of the machines that trained
    return kept


def freeze_keras(model: Any) -> Frozen:
    """Of a Keras model in inference mode."""
    kit = keras_of(model)
    specs, keywords = _signature(model)
    names = getattr(model, "output_names", None) or []
    outputs: List[str] = []

    def infer(*arguments: Any) -> List[Any]:
        found = tf.nest.flatten(model(*arguments, training=False, **keywords))
        named = names if len(names) == len(found) else ["output"] * len(found)
        found = [tf.identity(tensor, name=name) for tensor, name in zip(found, named)]
        outputs[:] = [tensor.op.name for tensor in found]
        return found

    infer = tf.autograph.experimental.do_not_convert(infer)
    with swapped(_fused_norms(kit, model)), _plain_scopes(kit, model), _one_replica():
        function = tf.function(infer).get_concrete_function(*specs)
    return freeze_function(function, list(outputs))


def freeze_saved_model(folder: str, signature: str = "serving_default") -> Frozen:
    """Of one signature of a SavedModel."""
    loaded = tf.compat.v2.saved_model.load(folder)
    if signature not in loaded.signatures:
        raise errors.GraphError(
            "{}: it has no signature {!r}, but {}".format(
                folder, signature, ", ".join(sorted(loaded.signatures)) or "none"
            )
        )
    structure = loaded.signatures[signature].structured_outputs
    names = sorted(structure)

    def infer(**arguments: Any) -> List[Any]:
        found = loaded.signatures[signature](**arguments)
        return [tf.identity(found[name], name=name) for name in names]

    specs = {
        name: tf.TensorSpec(spec.shape, spec.dtype, name)
        for name, spec in loaded.signatures[signature].structured_input_signature[1].items()
    }
    infer = tf.autograph.experimental.do_not_convert(infer)
    function = tf.function(infer).get_concrete_function(**specs)
    return freeze_function(function, [tensor.op.inputs[0].op.name for tensor in function.outputs])


@contextlib.contextmanager
def _one_replica() -> Iterator[None]:
    """Variables of a tf.distribute strategy read as the first copy, not as a reduction."""
    from tensorflow.python.saved_model import save_context

    policy = tf.saved_model.experimental.VariablePolicy.NONE
    options = tf.saved_model.SaveOptions(experimental_variable_policy=policy)
    with save_context.save_context(options):
        yield


def settle_replicas(model: Any) -> None:
    """What replicas have gathered apart, such as statistics of batch norms, agrees after it.

    Variables that are said to be means become that, as in tf-keras; others, as in Keras 3,
    what the first replica has, which is what checkpoints hold. Every worker must call this.
    """
    variables = [plain_variable(variable) for variable in model.non_trainable_variables]
    apart = [
        variable
        for variable in variables
        if getattr(variable, "distribute_strategy", None) is not None and variable.dtype.is_floating
    ]
    if not apart or apart[0].distribute_strategy.num_replicas_in_sync == 1:
        return
    strategy = apart[0].distribute_strategy

    def share(variable: Any) -> Any:
        value = variable.read_value()
        if variable.aggregation == tf.VariableAggregation.MEAN:
            return value / strategy.num_replicas_in_sync
        first = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.where(tf.equal(first, 0), value, tf.zeros_like(value))

    @tf.autograph.experimental.do_not_convert
    def shares() -> List[Any]:
        return [share(variable) for variable in apart]

    for variable, parts in zip(apart, tf.function(strategy.run)(shares)):
        variable.assign(strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None))


def plain_variable(variable: Any) -> Any:
    """The TensorFlow variable of a Keras variable."""
    return variable.value if type(variable).__module__.partition(".")[0] == "keras" else variable


# ---- what the model takes ----


def _signature(model: Any) -> Tuple[List[Any], Dict[str, Any]]:
    """What to call the model with: positional arguments, keywords."""
    if getattr(model, "inputs", None):
        sequential = isinstance(model, keras_of(model).Sequential)
        structure = model.inputs[0] if sequential else model.input
        return [tf.nest.map_structure(_spec, _plain(structure))], {}
    save_spec = getattr(model, "save_spec", None)  # tf-keras
    if save_spec is not None and save_spec() is not None:
        arguments, keywords = save_spec()
        return list(arguments), {key: value for key, value in keywords.items() if key != "training"}
    shapes = getattr(model, "_build_shapes_dict", None)  # Keras 3
    if not shapes or not getattr(model, "_called", True):
        raise errors.GraphError(
            "{}: what this model takes is not known yet: call it once, on data".format(model.name)
        )
    return [_spec_of_shape(shape, model.input_dtype) for shape in shapes.values()], {}


def _plain(structure: Any) -> Any:
    """Without the list and dict classes of Keras, which track what they hold."""
    if isinstance(structure, dict):
        return {key: _plain(value) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return [_plain(value) for value in structure]
    return structure


def _spec(tensor: Any) -> Any:
    name = tensor.name.partition(":")[0] or None
    shape = [None] + list(tensor.shape)[1:]
    return tf.TensorSpec(shape, tf.as_dtype(tensor.dtype), name)


def _spec_of_shape(shape: Any, dtype: Any) -> Any:
    if isinstance(shape, dict):
        return {key: _spec_of_shape(value, dtype) for key, value in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return tf.TensorSpec([None] + list(shape)[1:], tf.as_dtype(dtype))
    return [_spec_of_shape(value, dtype) for value in shape]


# ---- layers that act otherwise for a while ----


@contextlib.contextmanager
def swapped(layers: Iterable[Tuple[Any, type]]) -> Iterator[None]:
    """Objects have other classes inside: subclasses of their own."""
    before = []
    try:
        for layer, kind in layers:
            before.append((layer, layer.__class__))
            layer.__class__ = kind
        yield
    finally:
        for layer, kind in reversed(before):
            layer.__class__ = kind


@contextlib.contextmanager
def _plain_scopes(kit: Any, model: Any) -> Iterator[None]:
    """Layers of Keras 3 have scopes of their own names inside.

    A call opens its scope twice, to build and to compute, so that TensorFlow would call the
    second one <name>_1, which may be the name of another layer.
    """
    layers = [model] + flat_layers(model) if kit.__name__ == "keras" else []
    for layer in layers:
        layer.__dict__["_open_name_scope"] = _every_second(layer._open_name_scope)
    try:
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("_open_name_scope", None)


def _every_second(open_scope: Callable[[], Any]) -> Callable[[], Any]:
    opened: List[bool] = []

    def open_second() -> Any:
        if opened:
            opened.clear()
            return open_scope()
        opened.append(True)
        return contextlib.nullcontext()

    return open_second


def flat_layers(model: Any) -> List[Any]:
    """Every layer inside a model, at any depth, once."""
    layers = model._flatten_layers(recursive=True, include_self=False)  # in both Keras
    return list({id(layer): layer for layer in layers}.values())


def _fused_norms(kit: Any, model: Any) -> List[Tuple[Any, type]]:
    """The batch norms of Keras 3, which writes small ops, as ones that write one op."""
    if kit.__name__ != "keras":
        return []
    norm = kit.layers.BatchNormalization
    plain = [layer for layer in flat_layers(model) if type(layer).call is norm.call]
    return [(layer, _fused(type(layer))) for layer in plain if layer.axis in (-1, 1, 3)]


def _fused(kind: Any) -> type:
    def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        first = self.axis == 1
        if training or inputs.shape.rank != 4 or inputs.dtype != tf.float32:
            return kind.call(self, inputs, training=training, mask=mask)
        mean, variance = (
            tf.convert_to_tensor(value) for value in (self.moving_mean, self.moving_variance)
        )
        scale = tf.convert_to_tensor(self.gamma) if self.scale else tf.ones_like(mean)
        offset = tf.convert_to_tensor(self.beta) if self.center else tf.zeros_like(mean)
        return v1.nn.fused_batch_norm(
            inputs,
            scale,
            offset,
            mean,
            variance,
            epsilon=self.epsilon,
            data_format="NCHW" if first else "NHWC",
            is_training=False,
        )[0]

    return type(kind.__name__, (kind,), {"call": call})
