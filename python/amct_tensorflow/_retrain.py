# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware retraining: configuration, training graph, quantized model."""

from typing import Any, List, Optional

from . import _arguments, _core, _gradients, _keras_flow, _live, errors
from ._ops import tf

_gradients.register()


def create_quant_retrain_config(
    config_file: str, graph: Any, config_defination: Optional[str] = None
) -> None:
    """Writes the configuration for quantization-aware retraining of a graph, a JSON file.

    Args:
      config_file: str, path to write. Missing folders are made, a file there is replaced.
      graph: tf.Graph, the training graph, without gradients yet; or a Keras model (Keras 3
        or tf-keras, TensorFlow 2.21). It is only read.
      config_defination: str, path of a simplified configuration (.cfg, protobuf text) for
        retraining; None for the defaults.

    Raises:
      as create_quant_config.
    """
    config_file = _arguments.path("config_file", config_file)
    if config_defination is not None:
        config_defination = _arguments.path("config_defination", config_defination)
    if _keras_flow.is_model(graph):
        _keras_flow.create_config(config_file, graph, config_defination)
        return
    graph = _arguments.graph(graph)
    _core.create_quant_retrain_config(config_file, _live.serialize(graph), config_defination)


def create_quant_retrain_model(graph: Any, config_file: str, record_file: str) -> List[Any]:
    """Edits a graph, in place, so that training it trains its quantization.

    Call it on the training graph before the optimizer's `minimize`, and again, with the same
    configuration, on the inference graph: both get variables of the same names, so that the
    checkpoint of the one restores into the other. Data and weights of the layers of the
    configuration then go through fake quantization; the clips of the data are variables with
    "ULQ" in their names (leave them out of weight decay). Unless the configuration gives
    them, the first batch_num training steps find the clips.

    A Keras model is edited once, before it is compiled: its layers train their quantization
    from then on, and freeze_quant_retrain_model takes the place of the inference graph.

    Args:
      graph: tf.Graph, the training graph or the inference graph; or a Keras model.
      config_file: str, what create_quant_retrain_config wrote.
      record_file: str, path of the record. An empty one is written now.

    Returns:
      list of what was added: the tf.Variables of the clips, and of those of the step before,
        then a tensor. Running that, in
      a session of the inference graph with the trained variables restored, writes the
      factors into the record. Of a Keras model the variables alone.

    Raises:
      TypeError, ValueError: an argument of a wrong type, or with a value not allowed.
      ConfigError: (a ValueError and a RuntimeError) the configuration does not fit the
        graph, or enables no layer.
      GraphError: the graph is finalized or over 2 GB, or has an optimizer already, whose
        gradients would go past what is added.
      FormatError, FileError: the configuration is no JSON, or a file cannot be read or
        written.
      UnsupportedError: the graph was edited before, holds quantization ops, or is to be
        trained under a tf.distribute strategy, which takes a Keras model.
    """
    config_file = _arguments.path("config_file", config_file)
    record_file = _arguments.path("record_file", record_file)
    if _keras_flow.is_model(graph):
        return _keras_flow.create_model(graph, config_file, record_file)
    graph = _arguments.graph(graph)
    if tf.distribute.has_strategy():
        raise errors.UnsupportedError(
            "a tf.Graph is retrained on one replica: under a tf.distribute strategy take a "
            "Keras model"
        )
    _live.check_editable(graph)
    edits = _core.create_quant_retrain_model(_live.serialize(graph), config_file, record_file)
    added = _live.apply(graph, edits)
    record = next(op for op in added.operations if op.type == "RetrainRecord")
    return added.variables + [record.outputs[0]]


def freeze_quant_retrain_model(model: Any, pb_model: str) -> List[str]:
    """Writes the frozen pb of a retrained Keras model, in inference mode, and its record.

    The record is the file that create_quant_retrain_model was given. Both are what
    save_quant_retrain_model takes. May be called as often as wanted.

    Args:
      model: the Keras model that create_quant_retrain_model has edited.
      pb_model: str, path to write. Missing folders are made, a file there is replaced.

    Returns:
      list of str, names of the output ops.

    Raises:
      TypeError, ValueError: an argument of a wrong type, or with a value not allowed.
      GraphError: the model was not edited, or was changed since.
      tf.errors.FailedPreconditionError: clips are not found yet: fewer than batch_num
        batches were trained.
      FileError: a file cannot be written.
    """
    if not _keras_flow.is_model(model):
        raise TypeError("model must be a Keras model, not {}".format(type(model).__name__))
    return _keras_flow.freeze_retrained(model, _arguments.path("pb_model", pb_model))


def save_quant_retrain_model(
    pb_model: str, outputs: List[str], record_file: str, save_path: str
) -> None:
    """Writes the quantized model of a retrained, frozen inference graph and its record.

    Writes <save_path>_quantized.pb and <save_path>_quant.json. The retraining ops leave no
    trace. Missing folders are made, files there are replaced.

    Args:
      pb_model: str, path of the frozen pb of the inference graph that
        create_quant_retrain_model has edited.
      outputs: list of str, names of the output ops, without ":0". They keep their names.
      record_file: str, the record, after the last of the retrain_ops was run.
      save_path: str, where to write, with the first part of the file names.

    Raises:
      TypeError, ValueError: an argument of a wrong type, or with a value not allowed.
      RecordError: the record cannot be read, or does not fit the model.
      NotReadyError: the record is empty.
      FormatError, GraphError, FileError: the model is no pb, is no sound graph or holds no
        retraining ops, or a file cannot be read or written.
    """
    _core.save_quant_retrain_model(
        _arguments.path("pb_model", pb_model),
        _arguments.outputs("outputs", outputs),
        _arguments.path("record_file", record_file),
        _arguments.path("save_path", save_path, suffix="_quantized.pb"),
    )


def convert_qat_model(
    pb_model: str,
    outputs: List[str],
    save_path: str,
    record_file: Optional[str] = None,
    *,
    exact: bool = False,
) -> None:
    """Writes the quantized model of a frozen graph that was trained with fake quantization.

    The ranges of FakeQuantWithMinMaxVars, FakeQuantWithMinMaxVarsPerChannel and
    FakeQuantWithMinMaxArgs, 8 bits, become the factors of the layers that read them, and
    the ops go. A layer whose data or weights are not fake-quantized so stays float, with a
    warning. Writes <save_path>_quantized.pb and <save_path>_quant.json, as save_model does.

    Args:
      pb_model: str, path of the frozen pb, in inference mode.
      outputs: list of str, names of the output ops, without ":0". They keep their names.
      save_path: str, where to write, with the first part of the file names.
      record_file: str, where to write the factors too; None for nowhere.
      exact: bool, True: each layer computes what it did. Biases are added in float, behind
        the dequantization, and a layer with weights farther from zero than int8 reaches, of
        an uneven range, becomes the sum of two layers, at twice its cost. False: biases are
        rounded to steps of scale_d * scale_w, and such weights anew, with a warning.

    Raises:
      TypeError, ValueError: an argument of a wrong type, or with a value not allowed.
      UnsupportedError: the model holds no fake quantization, none that a layer can use, or
        quantization ops already.
      RecordError: a bias that is outside int32 in units of the trained scales.
      FormatError, GraphError, FileError: the model is no pb, is no sound graph, or a file
        cannot be read or written.
    """
    if record_file is not None:
        record_file = _arguments.path("record_file", record_file)
    _core.convert_qat_model(
        _arguments.path("pb_model", pb_model),
        _arguments.outputs("outputs", outputs),
        _arguments.path("save_path", save_path, suffix="_quantized.pb"),
        record_file,
        _arguments.flag("exact", exact),
    )
