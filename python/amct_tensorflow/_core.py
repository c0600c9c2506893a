# SPDX-License-Identifier: Apache-2.0
"""The C core, through ctypes: the prototypes of include/amct/ and nothing more.

Text goes in and out as str, files by path, graphs as the bytes of a GraphDef. A call
that fails raises one of the exceptions of errors.py, or MemoryError.
"""

import ctypes
import json
import os
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Union

from . import errors

CORE_LIBRARY = "libamctcore.so"
LIBRARY_FOLDER_VARIABLE = "AMCT_LIB_DIR"

LEVELS = ("debug", "info", "warning", "error")  # index = amct_log_level

EDIT_ADD = 0  # AMCT_LIVE_ADD
EDIT_SET_INPUT = 1  # AMCT_LIVE_SET_INPUT
EDIT_VARIABLE = 2  # AMCT_LIVE_VARIABLE

REPORT_JSON = 1  # AMCT_REPORT_JSON


class Edit(NamedTuple):
    """One change to a live graph."""

    kind: int  # EDIT_...
    name: str  # node or variable that is added, or node that is changed
    near: str  # node whose control-flow context the new node shares, or the input
    nodedef: bytes  # a serialized NodeDef, of a Const for a variable; empty for changes
    input_index: int = 0  # of the input that is set


# A graph for the core: the path of a frozen pb, or the bytes of a GraphDef.
Graph = Union[str, bytes]


class _Error(ctypes.Structure):
    _fields_ = [
        ("status", ctypes.c_int),
        ("byte_offset", ctypes.c_uint64),
        ("node", ctypes.c_char * 256),
        ("text", ctypes.c_char * 1024),
    ]


class _Source(ctypes.Structure):
    _fields_ = [
        ("path", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
    ]


class _Strings(ctypes.Structure):
    _fields_ = [("at", ctypes.POINTER(ctypes.c_char_p)), ("count", ctypes.c_size_t)]


class _ConfigOptions(ctypes.Structure):
    _fields_ = [
        ("skip_layers", _Strings),
        ("batch_num", ctypes.c_int64),
        ("activation_offset", ctypes.c_bool),
        ("config_defination", ctypes.c_char_p),
        ("preset", ctypes.c_char_p),
    ]


_PROGRESS = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class _CalibrateOptions(ctypes.Structure):
    _fields_ = [
        ("pb_model", ctypes.c_char_p),
        ("outputs", _Strings),
        ("save_path", ctypes.c_char_p),
        ("config_file", ctypes.c_char_p),
        ("preset", ctypes.c_char_p),
        ("record_file", ctypes.c_char_p),
        ("data", _Strings),
        ("batch_size", ctypes.c_int64),
        ("batch_num", ctypes.c_int64),
        ("engine", ctypes.c_char_p),
        ("engine_folder", ctypes.c_char_p),
        ("progress", _PROGRESS),
        ("context", ctypes.c_void_p),
    ]


class _CalibrateResult(ctypes.Structure):
    _fields_ = [
        ("samples", ctypes.c_int64),
        ("batches", ctypes.c_int64),
        ("files", ctypes.c_int64),
        ("layers", ctypes.c_size_t),
        ("calibrated", ctypes.c_size_t),
        ("engine", ctypes.c_char * 256),
        ("comparison", ctypes.c_void_p),  # of the preset accurate
    ]


class _LiveEdit(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("near", ctypes.c_char_p),
        ("nodedef", ctypes.c_void_p),
        ("nodedef_size", ctypes.c_size_t),
        ("index", ctypes.c_uint32),
    ]


_ERROR = ctypes.POINTER(_Error)
_SOURCE = ctypes.POINTER(_Source)
_TEXT = ctypes.c_char_p
_REPORT = ctypes.POINTER(ctypes.c_void_p)  # text that amct_text_free frees
_SIZE = ctypes.POINTER(ctypes.c_size_t)

# name: (result, arguments)
_PROTOTYPES = {
    "amct_version": (_TEXT, []),
    "amct_status_name": (_TEXT, [ctypes.c_int]),
    "amct_status_text": (_TEXT, [ctypes.c_int]),
    "amct_log_configure": (ctypes.c_int, [ctypes.c_int, ctypes.c_int, _TEXT, _ERROR]),
    "amct_log_write": (None, [ctypes.c_int, _TEXT, _TEXT]),
    "amct_create_quant_config": (
        ctypes.c_int,
        [_SOURCE, _TEXT, ctypes.POINTER(_ConfigOptions), _ERROR],
    ),
    "amct_create_quant_retrain_config": (ctypes.c_int, [_SOURCE, _TEXT, _TEXT, _ERROR]),
    "amct_create_quant_retrain_model": (
        ctypes.c_int,
        [ctypes.POINTER(ctypes.c_void_p), _SOURCE, _TEXT, _TEXT, _ERROR],
    ),
    "amct_save_quant_retrain_model": (ctypes.c_int, [_TEXT, _Strings, _TEXT, _TEXT, _ERROR]),
    "amct_convert_qat_model": (
        ctypes.c_int,
        [_TEXT, _Strings, _TEXT, _TEXT, ctypes.c_bool, _ERROR],
    ),
    "amct_quantize_model": (
        ctypes.c_int,
        [ctypes.POINTER(ctypes.c_void_p), _SOURCE, _TEXT, _TEXT, _Strings, _ERROR],
    ),
    "amct_calibration_size": (ctypes.c_size_t, [ctypes.c_void_p]),
    "amct_calibration_edit": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(_LiveEdit), _ERROR],
    ),
    "amct_calibration_free": (None, [ctypes.c_void_p]),
    "amct_calibrate": (
        ctypes.c_int,
        [ctypes.POINTER(_CalibrateResult), ctypes.POINTER(_CalibrateOptions), _ERROR],
    ),
    "amct_flush_calibration": (ctypes.c_int, [_TEXT, _ERROR]),
    "amct_save_model": (ctypes.c_int, [_TEXT, _Strings, _TEXT, _TEXT, _ERROR]),
    "amct_convert_model": (ctypes.c_int, [_TEXT, _Strings, _TEXT, _TEXT, _ERROR]),
    "amct_export_stock": (ctypes.c_int, [_TEXT, _TEXT, _ERROR]),
    "amct_fuse_model": (ctypes.c_int, [_TEXT, _Strings, _TEXT, _ERROR]),
    "amct_describe_plan": (
        ctypes.c_int,
        [ctypes.POINTER(ctypes.c_void_p), _SOURCE, _Strings, _ERROR],
    ),
    "amct_text_free": (None, [ctypes.c_void_p]),
    "amct_inspect_model": (
        ctypes.c_int,
        [_REPORT, _SIZE, _SOURCE, _Strings, ctypes.c_int, _ERROR],
    ),
    "amct_compare_models": (ctypes.c_int, [_REPORT, _SIZE, _TEXT, _TEXT, _ERROR]),
    "amct_list_passes": (ctypes.c_int, [_REPORT, ctypes.c_bool, _ERROR]),
    "amct_check_record": (ctypes.c_int, [_SIZE, _TEXT, _Strings, _TEXT, _ERROR]),
    "amct_show_record": (ctypes.c_int, [_REPORT, _TEXT, _ERROR]),
    "amct_compare_records": (ctypes.c_int, [_REPORT, _SIZE, _TEXT, _TEXT, _ERROR]),
}

_EXCEPTIONS = {kind.status: kind for kind in errors.AmctError.__subclasses__()}


def library_path(name: str) -> str:
    """Path of a library of the package: beside it in _lib/, or where AMCT_LIB_DIR says.

    AMCT_LIB_DIR names a folder that holds the libraries, or a build folder of CMake.
    Raises ImportError if there is no such library.
    """
    folder = os.environ.get(LIBRARY_FOLDER_VARIABLE)
    if folder:
        places = [folder, os.path.join(folder, "lib")]
    else:
        places = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "_lib")]
    for place in places:
        path = os.path.join(place, name)
        if os.path.exists(path):
            return path
    raise ImportError(
        "{} is not in {}: install the amct_tensorflow wheel, or set {} to a build folder".format(
            name, places[0], LIBRARY_FOLDER_VARIABLE
        )
    )


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(library_path(CORE_LIBRARY))
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


_lib = _load()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _name(value: str) -> bytes:
    """UTF-8 without NUL: what the core takes for a name or a message."""
    data = value.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ValueError("{!r} has a NUL character".format(value))
    return data


def _path(value: str) -> bytes:
    data = os.fsencode(value)
    if b"\0" in data:
        raise ValueError("{!r} has a NUL character".format(value))
    return data


def _strings(values: Iterable[str]) -> _Strings:
    """The struct; it keeps its array alive, and the array its strings."""
    names = [_name(value) for value in values]
    return _Strings((ctypes.c_char_p * len(names))(*names), len(names))


def _source(graph: Graph) -> _Source:
    """The struct, for one call: bytes stay the caller's."""
    if isinstance(graph, bytes):
        data = ctypes.cast(ctypes.c_char_p(graph), ctypes.c_void_p)
        return _Source(b"graph", data, len(graph))
    return _Source(_path(graph), None, 0)


def _check(status: int, error: _Error) -> None:
    """Returns on success, raises what the error record says otherwise."""
    if status == 0:
        return
    name = _text(_lib.amct_status_name(status))
    text = _text(error.text) or _text(_lib.amct_status_text(status))
    if name == "OUT_OF_MEMORY":
        raise MemoryError(text)
    exception = _EXCEPTIONS.get(name, errors.AmctError)(text)
    exception.node = _text(error.node)
    exception.byte_offset = error.byte_offset
    raise exception


def version() -> str:
    """Version of the core, such as "0.1.0"."""
    return _text(_lib.amct_version())


def configure_log(print_level: int, save_level: int, path: Optional[str]) -> None:
    """Sets the lowest levels (indices of LEVELS) that are printed and saved to `path`."""
    error = _Error()
    name = None if path is None else _path(path)
    _check(_lib.amct_log_configure(print_level, save_level, name, error), error)


def write_log(level: int, module: str, message: str) -> None:
    """Writes a message of `level`, an index of LEVELS, in the name of `module`."""
    _lib.amct_log_write(level, _name(module), _name(message))


def create_quant_config(
    config_file: str,
    graph: Graph,
    skip_layers: Iterable[str],
    batch_num: int,
    activation_offset: bool,
    config_defination: Optional[str] = None,
    preset: Optional[str] = None,
) -> None:
    """Writes the default configuration of a graph, or that of a simplified one."""
    error = _Error()
    simplified = None if config_defination is None else _path(config_defination)
    options = _ConfigOptions(
        _strings(skip_layers),
        batch_num,
        activation_offset,
        simplified,
        None if preset is None else _name(preset),
    )
    status = _lib.amct_create_quant_config(_source(graph), _path(config_file), options, error)
    _check(status, error)


def create_quant_retrain_config(
    config_file: str, graph: Graph, config_defination: Optional[str]
) -> None:
    """Writes the default retraining configuration of a graph, or that of a simplified one."""
    error = _Error()
    simplified = None if config_defination is None else _path(config_defination)
    status = _lib.amct_create_quant_retrain_config(
        _source(graph), _path(config_file), simplified, error
    )
    _check(status, error)


def quantize_model(
    graph: Graph, config_file: str, record_file: str, outputs: Iterable[str]
) -> List[Edit]:
    """Begins a calibration. Returns the edits that make the graph measure itself."""
    error = _Error()
    handle = ctypes.c_void_p()
    status = _lib.amct_quantize_model(
        ctypes.byref(handle),
        _source(graph),
        _path(config_file),
        _path(record_file),
        _strings(outputs),
        error,
    )
    _check(status, error)
    return _edits(handle)


def create_quant_retrain_model(
    graph: Graph, config_file: str, record_file: Optional[str]
) -> List[Edit]:
    """Returns the edits that make a graph train its quantization. No record: a plan only."""
    error = _Error()
    handle = ctypes.c_void_p()
    record = None if record_file is None else _path(record_file)
    status = _lib.amct_create_quant_retrain_model(
        ctypes.byref(handle), _source(graph), _path(config_file), record, error
    )
    _check(status, error)
    return _edits(handle)


def _edits(handle: ctypes.c_void_p) -> List[Edit]:
    """The edits, whose handle is freed."""
    try:
        return [_edit(handle, i) for i in range(_lib.amct_calibration_size(handle))]
    finally:
        _lib.amct_calibration_free(handle)


def _edit(handle: ctypes.c_void_p, index: int) -> Edit:
    error = _Error()
    edit = _LiveEdit()
    _check(_lib.amct_calibration_edit(handle, index, ctypes.byref(edit), error), error)
    nodedef = b""
    if edit.nodedef:
        nodedef = ctypes.string_at(edit.nodedef, edit.nodedef_size)
    return Edit(edit.kind, _text(edit.name or b""), _text(edit.near or b""), nodedef, edit.index)


def calibrate(
    pb_model: str,
    outputs: Iterable[str],
    data: Iterable[str],
    save_path: str,
    batch_size: int = 0,
    engine: str = "auto",
) -> str:
    """Calibrates with data from files in an inference library; what that was."""
    error = _Error()
    result = _CalibrateResult()
    options = _CalibrateOptions(
        pb_model=_path(pb_model),
        outputs=_strings(outputs),
        save_path=_path(save_path),
        data=_strings(data),
        batch_size=batch_size,
        engine=_name(engine),
    )
    _check(_lib.amct_calibrate(result, options, error), error)
    return _text(result.engine)


def flush_calibration(record_file: Optional[str] = None) -> None:
    """Writes the factors that are complete and not yet in their record (None: in any)."""
    error = _Error()
    name = None if record_file is None else _path(record_file)
    _check(_lib.amct_flush_calibration(name, error), error)


def save_model(pb_model: str, outputs: Iterable[str], record_file: str, save_path: str) -> None:
    """Writes the quantized model of a frozen pb and a record."""
    error = _Error()
    status = _lib.amct_save_model(
        _path(pb_model), _strings(outputs), _path(record_file), _path(save_path), error
    )
    _check(status, error)


def convert_model(pb_model: str, outputs: Iterable[str], record_file: str, save_path: str) -> None:
    """Writes the quantized model of a frozen pb and a record of the user's own factors."""
    error = _Error()
    status = _lib.amct_convert_model(
        _path(pb_model), _strings(outputs), _path(record_file), _path(save_path), error
    )
    _check(status, error)


def convert_qat_model(
    pb_model: str,
    outputs: Iterable[str],
    save_path: str,
    record_file: Optional[str],
    exact: bool,
) -> None:
    """Writes the quantized model of a pb with fake quantization."""
    error = _Error()
    record = None if record_file is None else _path(record_file)
    status = _lib.amct_convert_qat_model(
        _path(pb_model), _strings(outputs), _path(save_path), record, exact, error
    )
    _check(status, error)


def export_stock(quantized_pb: str, save_path: str) -> None:
    """Writes a quantized model with stock ops only to `<save_path>_stock.pb`."""
    error = _Error()
    _check(_lib.amct_export_stock(_path(quantized_pb), _path(save_path), error), error)


def save_quant_retrain_model(
    pb_model: str, outputs: Iterable[str], record_file: str, save_path: str
) -> None:
    """Writes the quantized model of a frozen retrained pb and its record."""
    error = _Error()
    status = _lib.amct_save_quant_retrain_model(
        _path(pb_model), _strings(outputs), _path(record_file), _path(save_path), error
    )
    _check(status, error)


def fuse_model(pb_model: str, outputs: Iterable[str], save_path: str) -> None:
    """Writes the fused, still float, model of a frozen pb to `<save_path>_fused.pb`."""
    error = _Error()
    status = _lib.amct_fuse_model(_path(pb_model), _strings(outputs), _path(save_path), error)
    _check(status, error)


def describe_plan(graph: Graph, outputs: Iterable[str] = ()) -> str:
    """What would be fused and quantized, one line an item, in graph order."""
    error = _Error()
    text = ctypes.c_void_p()
    status = _lib.amct_describe_plan(ctypes.byref(text), _source(graph), _strings(outputs), error)
    _check(status, error)
    try:
        return _text(ctypes.string_at(text))
    finally:
        _lib.amct_text_free(text)


def inspect_model(graph: Graph, outputs: Iterable[str] = ()) -> Dict[str, Any]:
    """What a model holds and what would be done with it: the JSON report, read."""
    error = _Error()
    text = ctypes.c_void_p()
    status = _lib.amct_inspect_model(
        ctypes.byref(text), None, _source(graph), _strings(outputs), REPORT_JSON, error
    )
    _check(status, error)
    try:
        return json.loads(ctypes.string_at(text).decode("utf-8"))
    finally:
        _lib.amct_text_free(text)
