# SPDX-License-Identifier: Apache-2.0
"""AMCT for TensorFlow: from a trained float graph to an accurate int8 one.

    import amct_tensorflow as amct

    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "record.txt")
    ...                     # run the output tensor on batch_num batches of real data
    amct.save_model("model.pb", ["softmax"], "record.txt", "out/model")

writes out/model_quantized.pb, which runs in TensorFlow wherever this package is imported,
and out/model_quant.json. Works on TensorFlow 1.15 and on 2.x through tf.compat.v1.

A scale is real units per integer step, an offset the integer that means zero. Problems are
raised as TypeError, ValueError or a subclass of AmctError; then files and graph are as they
were. The log goes to the console and to amct_log/amct_tensorflow.log under the folder that
was current at import.
"""

import atexit
import os
from typing import Any, Dict, List, Optional

from . import _arguments, _core, _live
from ._compare import Comparison, compare
from ._export import export_stock
from ._retrain import (
    convert_qat_model,
    create_quant_retrain_config,
    create_quant_retrain_model,
    freeze_quant_retrain_model,
    save_quant_retrain_model,
)
from ._sources import freeze
from .errors import (
    AmctError,
    ArgumentError,
    ConfigError,
    FileError,
    FormatError,
    GraphError,
    NotReadyError,
    RecordError,
    UnsupportedError,
)

__all__ = [
    "AmctError",
    "ArgumentError",
    "Comparison",
    "ConfigError",
    "FileError",
    "FormatError",
    "GraphError",
    "NotReadyError",
    "RecordError",
    "UnsupportedError",
    "compare",
    "convert_model",
    "convert_qat_model",
    "create_quant_config",
    "create_quant_retrain_config",
    "create_quant_retrain_model",
    "export_stock",
    "freeze",
    "freeze_quant_retrain_model",
    "inspect",
    "quantize_model",
    "save_model",
    "save_quant_retrain_model",
    "set_logging_level",
]

__version__ = _core.version()

_LOG_FILE = os.path.join("amct_log", "amct_tensorflow.log")


def _log_path() -> str:
    try:
        return os.path.join(os.getcwd(), _LOG_FILE)
    except FileNotFoundError:  # the current folder was removed
        return os.path.join(".", _LOG_FILE)


_log_file = _log_path()


def set_logging_level(print_level: str = "info", save_level: str = "info") -> None:
    """Sets what is printed and what is saved in amct_log/amct_tensorflow.log.

    Args:
      print_level: str, lowest level that is printed on the console: "debug", "info",
        "warning" or "error", in any case.
      save_level: str, lowest level that is saved; the same names.

    Raises:
      TypeError: a level that is not a str.
      ValueError: a level of another name.
    """
    _core.configure_log(
        _arguments.level("print_level", print_level),
        _arguments.level("save_level", save_level),
        _log_file,
    )


def create_quant_config(
    config_file: str,
    graph: Any,
    skip_layers: Optional[List[str]] = None,
    batch_num: int = 1,
    activation_offset: bool = True,
    config_defination: Optional[str] = None,
    *,
    preset: Optional[str] = None,
) -> None:
    """Writes the quantization configuration of a graph, a JSON file to look at and edit.

    Args:
      config_file: str, path to write. Missing folders are made, a file there is replaced.
      graph: tf.Graph, the inference graph. It is only read.
      skip_layers: list of str, ops that stay float: names, patterns such as "net/block[12]/*",
        types such as "type:AvgPool", regions such as "from:net/a to:net/b"; None for none.
      batch_num: int > 0, calibration batches that quantize_model's observers wait for.
      activation_offset: bool, True for asymmetric activations (with an offset), False for
        symmetric ones.
      config_defination: str, path of a simplified configuration (.cfg, protobuf text), which
        stands in for the three arguments before it; None for none.
      preset: str, "accurate" for the algorithms that lose least, in all layers that a simplified
        configuration names no others for; None for the original's.

    Raises:
      TypeError, ValueError: an argument of a wrong type, or with a value not allowed.
      ConfigError: (a ValueError) a skipped layer that the graph does not have, a simplified
        configuration that does not fit, or nothing left to quantize.
      UnsupportedError: the graph holds quantization ops already.
      GraphError: the graph is over 2 GB.
      FormatError, FileError: the simplified configuration is no protobuf text, or a file
        cannot be read or written.
    """
    config_file = _arguments.path("config_file", config_file)
    graph = _arguments.graph(graph)
    skipped = [] if skip_layers is None else _arguments.names("skip_layers", skip_layers)
    batch_num = _arguments.positive("batch_num", batch_num)
    activation_offset = _arguments.flag("activation_offset", activation_offset)
    if config_defination is not None:
        config_defination = _arguments.path("config_defination", config_defination)
    if preset is not None:
        preset = _arguments.text("preset", preset)
    _core.create_quant_config(
        config_file,
        _live.serialize(graph),
        skipped,
        batch_num,
        activation_offset,
        config_defination,
        preset,
    )


def quantize_model(
    graph: Any, config_file: str, record_file: str, calib_outputs: Optional[List[Any]] = None
) -> List[Any]:
    """Adds observers to a graph, in place, that find the quantization factors.

    Nothing that the graph has is changed: tensors keep names and values. Whoever runs a
    layer runs its observers, so run the model's own outputs, batch_num times, on real data;
    the last of these runs completes the record. Open the session afterwards, or at least
    do not run it before: TensorFlow never looks again at an op that a session has run.

    Args:
      graph: tf.Graph, the inference graph. Weights may be constants or variables.
      config_file: str, what create_quant_config wrote.
      record_file: str, path of the record. An empty one is written now.
      calib_outputs: list of the graph's output ops (names, tensors or ops) that must keep
        their meaning; stays as given. None if that does not matter.

    Returns:
      list of the tf.Variables that were added, for the caller to leave out of checkpoint
      restores. The observers need none, so it is empty.

    Raises:
      TypeError, ValueError: an argument of a wrong type, or with a value not allowed.
      ConfigError: (a ValueError and a RuntimeError) the configuration does not fit the
        graph, or enables no layer.
      GraphError: the graph is finalized or over 2 GB.
      FormatError, FileError: the configuration is no JSON, or a file cannot be read or
        written.
      UnsupportedError: the graph holds quantization ops already.
    """
    graph = _arguments.graph(graph)
    config_file = _arguments.path("config_file", config_file)
    record_file = _arguments.path("record_file", record_file)
    outputs = _arguments.graph_outputs("calib_outputs", calib_outputs, graph)
    _live.check_editable(graph)
    edits = _core.quantize_model(_live.serialize(graph), config_file, record_file, outputs)
    _live.apply(graph, edits)
    return []


def save_model(pb_model: str, outputs: List[str], record_file: str, save_path: str) -> None:
    """Writes the quantized model of a frozen float model and its record.

    Writes <save_path>_quantized.pb and <save_path>_quant.json. Missing folders are made,
    files there are replaced.

    Args:
      pb_model: str, path of the frozen float pb.
      outputs: list of str, names of the output ops, without ":0". They keep their names.
      record_file: str, the record, after batch_num batches were run.
      save_path: str, where to write, with the first part of the file names.

    Raises:
      TypeError, ValueError: an argument of a wrong type, or with a value not allowed.
      RecordError: the record cannot be read, or does not fit the model.
      NotReadyError: the record is empty: calibration has not run.
      FormatError, GraphError, FileError: the model is no pb, is no sound graph, or a file
        cannot be read or written.
      UnsupportedError: the model holds quantization ops already.
    """
    _core.save_model(
        _arguments.path("pb_model", pb_model),
        _arguments.outputs("outputs", outputs),
        _arguments.path("record_file", record_file),
        _arguments.path("save_path", save_path, suffix="_quantized.pb"),
    )


def convert_model(pb_model: str, outputs: List[str], record_file: str, save_path: str) -> None:
    """Writes the quantized model of a frozen float model and factors of your own.

    Writes <save_path>_quantized.pb and <save_path>_quant.json, as save_model does. Layers
    that the record does not name stay float; one that says `skip_fusion: true` has nothing
    folded into it.

    Args:
      pb_model: str, path of the frozen float pb, as it was trained.
      outputs: list of str, names of the output ops, without ":0". They keep their names.
      record_file: str, the factors: scale_d, offset_d, and, for layers with weights,
        scale_w and offset_w (one value or one a channel, of the weights after fusion);
        shift_bit is optional.
      save_path: str, where to write, with the first part of the file names.

    Raises:
      TypeError, ValueError: an argument of a wrong type, or with a value not allowed.
      RecordError: the record cannot be read, has no factors, or does not fit the model;
        the text names key, field, value and line.
      FormatError, GraphError, FileError: the model is no pb, is no sound graph, or a file
        cannot be read or written.
      UnsupportedError: the model holds quantization ops already.
    """
    _core.convert_model(
        _arguments.path("pb_model", pb_model),
        _arguments.outputs("outputs", outputs),
        _arguments.path("record_file", record_file),
        _arguments.path("save_path", save_path, suffix="_quantized.pb"),
    )


def inspect(pb_or_graph: Any, outputs: Optional[List[Any]] = None) -> Dict[str, Any]:
    """What a model holds, and what would be done with it. Nothing is written.

    Args:
      pb_or_graph: str, path of a frozen pb; or tf.Graph. It is only read.
      outputs: list of the model's output ops (names; of a tf.Graph also tensors or ops),
        which are not fused away; None for those that nobody reads.

    Returns:
      dict:
        model, bytes, nodes, functions: name, and sizes of the GraphDef.
        parameters: dict of constants, values, bytes: how many, and what they hold.
        inputs: list of dict of name, op, dtype, shape: the placeholders. A dtype is
          TensorFlow's name of it; a shape is a list with None for unknown sizes, or None.
        outputs: list of dict of name, op, shape.
        ops: dict, how many nodes of each op.
        quantized_by: str, the first quantization op, or None. A model that has one is not
          looked at for fusions and layers.
        fusions: list of dict of rule, node, layers: done when the model is quantized.
        declined: list of dict of rule, node, reason: fusions that are not.
        layers: list of dict of name, op, granularity, channels: that can be quantized.
          Layers without weights have None for the last two.
        float_layers: list of dict of name, op, reason: that cannot.
        tensors: list of dict of name, op, inputs: ops whose input tensors may be quantized
          one by one, by tensor_quantize.

    Raises:
      TypeError, ValueError: an argument of a wrong type, or with a value not allowed.
      FormatError, GraphError, FileError: the model is no pb, is no sound graph, or cannot
        be read.
    """
    if isinstance(pb_or_graph, (str, os.PathLike)):
        names = [] if outputs is None else _arguments.outputs("outputs", outputs)
        return _core.inspect_model(_arguments.path("pb_or_graph", pb_or_graph), names)
    if not isinstance(pb_or_graph, _live.tf.Graph):
        raise TypeError(
            "pb_or_graph must be a path or a tf.Graph, not {}".format(type(pb_or_graph).__name__)
        )
    names = _arguments.graph_outputs("outputs", outputs, pb_or_graph)
    return _core.inspect_model(_live.serialize(pb_or_graph), names)


def _finish() -> None:
    """What a calibration has complete is in its record before the process ends."""
    try:
        _core.flush_calibration()
    except (AmctError, MemoryError) as error:
        _core.write_log(_core.LEVELS.index("error"), "calibration", str(error))


set_logging_level()
atexit.register(_finish)
