# SPDX-License-Identifier: Apache-2.0
"""The command calibration: configuration, observers, batches, the quantized model."""

import contextlib
import importlib.util
import json
import os
import shutil
import tempfile
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from .. import _arguments, _core, create_quant_config, quantize_model, save_model
from .._ops import tf, v1
from .._sources import frozen_model
from ..errors import ArgumentError, FileError, FormatError
from . import options, samples
from .pictures import preparation
from .progress import shown

_COMMAND = "calibration"
_MODULE = "calibration"
_INFO = _core.LEVELS.index("info")
_WARNING = _core.LEVELS.index("warning")


def tensor_names(values: Dict[str, str], command: str) -> Tuple[List[str], List[str]]:
    """Names of the output tensors, with ":0", and of their nodes."""
    tensors = []
    for name in options.texts(values, command, "outputs"):
        node, colon, port = name.rpartition(":")
        tensors.append(name if colon and port.isdigit() and node else name + ":0")
    return tensors, [name.rpartition(":")[0] for name in tensors]


def inputs_of(
    shapes: List[Tuple[str, List[int]]], data_types: Sequence[str], paths: Sequence[str]
) -> List[samples.Input]:
    """Inputs from lists in the same order; ArgumentError says what does not fit."""
    for what, given in (("data_types", data_types), ("data_dir", paths)):
        if len(given) != len(shapes):
            raise ArgumentError(
                "{} {} for {} inputs: one for each, in their order".format(
                    len(given), what, len(shapes)
                )
            )
    inputs: List[samples.Input] = []
    for (name, shape), type_name, path in zip(shapes, data_types, paths):
        if not shape or any(size <= 0 for size in shape):
            raise ArgumentError(
                "input_shape: {} of {}: sizes over 0 are wanted".format(shape, name)
            )
        node, colon, port = name.rpartition(":")
        tensor = name if colon and port.isdigit() and node else name + ":0"
        if tensor in [of.tensor for of in inputs]:
            raise ArgumentError("input_shape: {} is named twice".format(name))
        inputs.append(samples.Input(tensor, tuple(shape), _dtype(type_name), path))
    return inputs


def _dtype(name: str) -> np.dtype:
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "fiub":
        raise ArgumentError('data_types: "{}" is no type such as float32 or uint8'.format(name))
    return dtype


def _shape(text: str) -> Tuple[str, List[int]]:
    """ "x:1,2,3" taken apart."""
    name, _, sizes = text.rpartition(":")
    try:
        shape = [int(size) for size in sizes.split(",")]
    except ValueError:
        shape = []
    if not name or not shape:
        raise ArgumentError('--input_shape: "{}" is not like "x:32,224,224,3"'.format(text))
    return name, shape


def _load(path: str) -> Any:
    """The graph of a frozen pb."""
    definition = v1.GraphDef()
    try:
        with open(path, "rb") as file:
            definition.ParseFromString(file.read())
    except OSError as error:
        raise FileError("{}: {}".format(path, error.strerror)) from error
    except Exception as error:
        raise FormatError("{}: no GraphDef: {}".format(path, error)) from error
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.import_graph_def(definition, name="")
        except (ValueError, tf.errors.OpError) as error:
            raise FormatError("{}: {}".format(path, str(error).split("\n")[0])) from error
    return graph


def _tensor(graph: Any, name: str, option: str) -> Any:
    try:
        return graph.get_tensor_by_name(name)
    except (KeyError, ValueError):
        held = [op.name for op in graph.get_operations() if op.type == "Placeholder"]
        raise ArgumentError(
            '--{}: the model has no tensor "{}"{}'.format(
                option,
                name,
                "; its inputs: " + ", ".join(held[:8]) if option == "input_shape" else "",
            )
        ) from None


def _check_input(graph: Any, of: samples.Input) -> None:
    tensor = _tensor(graph, of.tensor, "input_shape")
    if tensor.dtype.base_dtype.as_numpy_dtype != of.dtype.type:
        raise ArgumentError(
            "--data_types: {} for {}, which is {}".format(of.dtype, of.tensor, tensor.dtype.name)
        )
    if not tensor.shape.is_compatible_with(of.shape):
        raise ArgumentError(
            "--input_shape: {} for {}, whose shape is {}".format(
                list(of.shape), of.tensor, tensor.shape
            )
        )


def _batch_count(values: Dict[str, str]) -> Optional[int]:
    text = values.get("batch_num")
    if text is None:
        return None
    if not text.isdigit() or not 0 < int(text) < 2**63:
        raise options.UsageError(_COMMAND, '--batch_num: "{}" is not a number over 0'.format(text))
    return int(text)


def _configure(values: Dict[str, str], graph: Any, config: str, batch_num: Optional[int]) -> int:
    """Writes the configuration; how many batches it asks for. `batch_num` outranks a file's."""
    create_quant_config(config, graph, None, batch_num or 1, True, values.get("calibration_config"))
    with open(config, encoding="utf-8") as file:
        content = json.load(file)
    if batch_num and content["batch_num"] != batch_num:
        content["batch_num"] = batch_num
        with open(config, "w", encoding="utf-8") as file:
            json.dump(content, file)
    return int(content["batch_num"])


# ---- who runs the model ----

Run = Callable[[Any, List[str], int], None]


def _of_evaluator(path: str) -> Run:
    """calibration(graph, outputs) of the instance in a Python file, the graph the default one."""
    specification = importlib.util.spec_from_file_location("amct_evaluator", path)
    if specification is None or specification.loader is None or not os.path.isfile(path):
        raise FileError("--evaluator: {}: no Python file".format(path))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    found = [
        value
        for value in vars(module).values()
        if not isinstance(value, type) and callable(getattr(type(value), "calibration", None))
    ]
    found = list({id(value): value for value in found}.values())
    if len(found) != 1:
        raise ArgumentError(
            "--evaluator: {}: {} instances with calibration(self, graph, outputs), where one is "
            "wanted".format(path, len(found) or "no")
        )

    def run(graph: Any, outputs: List[str], batch_num: int) -> None:
        with graph.as_default():
            found[0].calibration(graph, outputs)

    return run


def _of_data(values: Dict[str, str], graph: Any) -> Run:
    """Batches from files."""
    shapes = [_shape(text) for text in options.texts(values, _COMMAND, "input_shape")]
    inputs = inputs_of(
        shapes,
        options.texts(values, _COMMAND, "data_types"),
        options.texts(values, _COMMAND, "data_dir"),
    )
    how = preparation(values)
    for of in inputs:
        _check_input(graph, of)
    sources = [samples.open_source(of, how, values.get("tfrecord_key")) for of in inputs]
    for of, source in zip(inputs, sources):
        prepared = ": " + how.words() if source.kind == "picture" else ""
        _core.write_log(
            _INFO,
            _MODULE,
            "{}: {} samples in {} {} files for {}{}".format(
                of.path, source.count, source.files, source.kind, of.tensor, prepared
            ),
        )

    def run(graph: Any, outputs: List[str], batch_num: int) -> None:
        feeds = samples.batches(inputs, sources, batch_num)
        with v1.Session(graph=graph) as session:
            for feed in shown(feeds, batch_num, "calibration"):
                session.run(outputs, feed)

    return run


@contextlib.contextmanager
def frozen(values: Dict[str, str], command: str) -> Iterator[Tuple[str, List[str], List[str]]]:
    """The pb of --model, frozen now if it is none yet; its output tensors, and their nodes."""
    tensors, nodes = tensor_names(values, command)
    ports = [name.rpartition(":")[2] for name in tensors]
    with tempfile.TemporaryDirectory(prefix="amct_") as folder:
        model, nodes = frozen_model(values["model"], folder, nodes)
        yield model, ["{}:{}".format(node, port) for node, port in zip(nodes, ports)], nodes


def run(values: Dict[str, str]) -> None:
    """The whole command."""
    _arguments.path("--save_path", values["save_path"], suffix="_quantized.pb")
    if "record_file" in values:
        _arguments.path("--record_file", values["record_file"])
    asked = _batch_count(values)
    if "feature" in values:
        _core.write_log(_WARNING, _MODULE, "--feature changes nothing here")
    with frozen(values, _COMMAND) as (model, tensors, nodes):
        _quantize(values, asked, model, tensors, nodes)


def _quantize(
    values: Dict[str, str], asked: Optional[int], model: str, tensors: List[str], nodes: List[str]
) -> None:
    graph = _load(model)
    for name in tensors:
        _tensor(graph, name, "outputs")
    evaluator = values.get("evaluator")
    calibrate = _of_evaluator(evaluator) if evaluator else _of_data(values, graph)
    with tempfile.TemporaryDirectory(prefix="amct_") as folder:
        config, record = (os.path.join(folder, name) for name in ("config.json", "record.txt"))
        batch_num = _configure(values, graph, config, asked)
        quantize_model(graph, config, record, nodes)
        calibrate(graph, tensors, batch_num)
        with _kept(record, values.get("record_file")):
            save_model(model, nodes, record, values["save_path"])


@contextlib.contextmanager
def _kept(record: str, path: Optional[str]) -> Iterator[None]:
    """Copies the record to `path` (None: nowhere), whole or not at all, once the body is done."""
    if path is None:
        yield
        return
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".amct_", delete=False) as copy:
        try:
            with open(record, "rb") as file:
                shutil.copyfileobj(file, copy)
            copy.flush()
            yield
            os.replace(copy.name, path)
        except BaseException:
            os.unlink(copy.name)
            raise
