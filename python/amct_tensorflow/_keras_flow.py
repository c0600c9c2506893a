# SPDX-License-Identifier: Apache-2.0
"""The steps of retraining for Keras models: configuration, edit, frozen pb and record."""

import json
import os
import tempfile
import weakref
from typing import Any, Dict, List, NamedTuple, Optional

from . import _core, _files, _freeze, _groups, _keras, _keras_output, _keras_plan, _live, errors
from ._keras_output import Traced
from ._ops import tf, v1


class _Retraining(NamedTuple):
    """What was asked of a model."""

    config: bytes
    record_file: str
    kernels: int  # their checksum before training


_retrainings: Any = weakref.WeakKeyDictionary()  # model: _Retraining


def _warn(module: str, text: str) -> None:
    _core.write_log(_core.LEVELS.index("warning"), module, text)


def is_model(value: Any) -> bool:
    """A Model of Keras 3 or of tf-keras."""
    return _freeze.keras_of(value) is not None


def create_config(config_file: str, model: Any, config_defination: Optional[str]) -> None:
    """Writes the configuration, without layers that Keras cannot retrain."""
    _refuse_retrained(model)
    traced = _keras.trace(model)
    source = traced.frozen.definition.SerializeToString()
    layers = [layer["name"] for layer in _core.inspect_model(source)["layers"]]
    strange = [name for name in layers if name not in traced.owners]
    for name in sorted({_groups.convolution_of(name) for name in strange}):
        _warn(
            "create_quant_retrain_config",
            'layer "{}" stays float: no Keras layer that can be retrained makes it'.format(name),
        )
    others = _keras_plan.not_float32(traced.owners)
    for name in others:
        _warn(
            "create_quant_retrain_config", 'layer "{}" stays float: {}'.format(name, others[name])
        )
    if (strange or others) and all(name in others or name in strange for name in layers):
        raise _nothing_to_retrain(model, others)
    _core.create_quant_retrain_config(config_file, source, config_defination)
    if strange:
        _leave_out(config_file, strange)


def _nothing_to_retrain(model: Any, others: Dict[str, str]) -> errors.ConfigError:
    if not others:
        return errors.ConfigError(
            "{}: no layer can be retrained; Keras layers that can: {}".format(
                model.name, _keras_plan.KINDS_TEXT
            )
        )
    return errors.ConfigError(
        "{}: no layer can be retrained: {}{}".format(
            model.name,
            next(iter(others.values())),
            ", and so do {} more".format(len(others) - 1) if len(others) > 1 else "",
        )
    )


def _leave_out(config_file: str, layers: List[str]) -> None:
    """Takes layers out of a configuration."""
    with open(config_file, encoding="utf-8") as file:
        config = json.load(file)
    kept = {name: value for name, value in config.items() if name not in layers}
    _files.write(config_file, json.dumps(kept, indent=4, separators=(",", ":")).encode("utf-8"))


def _refuse_retrained(model: Any) -> None:
    if _keras.is_retrained(model):
        raise errors.UnsupportedError(
            "{}: create_quant_retrain_model has edited this model already".format(model.name)
        )


def create_model(model: Any, config_file: str, record_file: str) -> List[Any]:
    """Edits the model's layers, in place. Returns the variables of the clips."""
    _refuse_retrained(model)
    traced = _keras.trace(model)
    source = traced.frozen.definition.SerializeToString()
    edits = _edits(traced, source, config_file)
    planned = _keras_plan.check_plans(_keras_plan.plans_of(edits), traced.owners)
    endings = _keras_output.endings(_keras_output.plans_of(edits), traced)
    with open(config_file, "rb") as file:
        config = file.read()
    _core.create_quant_retrain_model(source, config_file, record_file)  # begins the record
    added = _keras.apply(model, planned, endings)
    kernels = _keras.checksum(model)
    _retrainings[model] = _Retraining(config, os.path.abspath(record_file), kernels)
    if _keras.forget_compilation(model):
        _warn(
            "create_quant_retrain_model",
            "{} was compiled before: its optimizer knows nothing of the clips. Compile it "
            "again".format(model.name),
        )
    return added


def _edits(traced: Traced, source: bytes, config_file: str) -> List[_core.Edit]:
    try:
        return _core.create_quant_retrain_model(source, config_file, None)
    except errors.ConfigError as error:
        reason = _keras_plan.not_float32(traced.owners).get(error.node or "")
        if reason is None:
            raise
        text = '{}: layer "{}" cannot be retrained: {}'.format(config_file, error.node, reason)
        raise _keras_plan.config_error(error.node or "", text) from error


def freeze_retrained(model: Any, pb_model: str) -> List[str]:
    """Writes pb and record of a retrained model. Returns the names of the outputs."""
    if model not in _retrainings:
        raise errors.GraphError(
            "{}: create_quant_retrain_model has not edited this model".format(model.name)
        )
    retraining = _retrainings[model]
    _freeze.settle_replicas(model)
    if _keras.clips_are_as_found(model) and _keras.checksum(model) != retraining.kernels:
        _warn(
            "freeze_quant_retrain_model",
            "{}: weights were trained, and no clip was: give the optimizer the "
            "trainable_variables that the model has since create_quant_retrain_model, which "
            "include the clips".format(model.name),
        )
    traced = _keras.trace(model)
    with tempfile.TemporaryDirectory() as folder:
        config_file = os.path.join(folder, "retrain.json")
        with open(config_file, "wb") as file:
            file.write(retraining.config)
        edits = _core.create_quant_retrain_model(
            traced.frozen.definition.SerializeToString(), config_file, retraining.record_file
        )
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(traced.frozen.definition, name="")
    added = _live.apply(graph, [_trained(edit, traced.owners) for edit in edits])
    with v1.Session(graph=graph) as session:
        session.run(next(op for op in added.operations if op.type == "RetrainRecord"))
    definition = _freeze.only(graph.as_graph_def(), traced.frozen.outputs)
    _files.write(pb_model, definition.SerializeToString(deterministic=True))
    return traced.frozen.outputs


def _trained(edit: _core.Edit, owners: Any) -> _core.Edit:
    """The variable of a clip becomes a constant of the trained value."""
    if edit.kind != _core.EDIT_VARIABLE:
        return edit
    if edit.input_index:  # the clip of the step before, which gradients of graphs read
        return edit._replace(kind=_core.EDIT_ADD)
    layer, _, name = edit.name.rpartition("/ULQ/")
    clips = _keras.clips_of(owners, layer)
    if clips is None:
        raise errors.GraphError(
            '{}: layer "{}" was not retrained: the model was changed after '
            "create_quant_retrain_model".format(edit.name, layer)
        )
    node = v1.NodeDef.FromString(edit.nodedef)
    value = tf.convert_to_tensor(getattr(clips, name)).numpy()
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return edit._replace(kind=_core.EDIT_ADD, nodedef=node.SerializeToString())
