# SPDX-License-Identifier: Apache-2.0
"""Frozen pbs from what people have: SavedModels, Keras models, checkpoints with a meta graph."""

import contextlib
import importlib
import json
import os
import zipfile
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import _arguments, _core, _files, _freeze, _keras, _outputs, errors
from ._inference import Inference, infer
from ._ops import tf, v1

SERVING = "serving_default"
_KERAS_FILES = (".keras", ".h5", ".hdf5")
_META = ".meta"
_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")
_OLD = tf.__version__.startswith("1.")
_KINDS = (
    "the folder of a SavedModel, a Keras model or its file (.keras, .h5), or a checkpoint with its "
    "meta graph (.meta)"
)


class _Model(NamedTuple):
    """A graph with the values of its variables, in a session; `session` None: of constants."""

    definition: Any  # GraphDef
    session: Any
    named: Dict[str, str]  # nodes of the outputs by the names that the model gives them
    inputs: bool = False  # placeholders stay that no output needs


def freeze(
    source: Any,
    save_path: str,
    outputs: Optional[List[str]] = None,
    *,
    signature: str = SERVING,
) -> List[str]:
    """Writes the frozen pb of a trained model, as the other calls take it.

    Variables become constants, batch norms stay what they are. The graph is set to inference:
    placeholders and constants that switch training on are set to off, and what they switch
    goes; batch norms in training mode read the variables of their moving averages; dropouts
    go; so does all that the outputs do not need. The log says what was done. TensorFlow and
    Keras load the model, and run what it says: freeze only what you trust.

    Args:
      source: str, the folder of a SavedModel (TensorFlow 1 or 2), a file of Keras (.keras,
        .h5), or a checkpoint (its prefix, or the path of its .meta file); or a Keras model
        (Keras 3, tf-keras, tf.keras of TensorFlow 1.15).
      save_path: str, path of the pb to write. Missing folders are made, a file there is
        replaced.
      outputs: list of str, output ops without ":0", or names that the model gives its
        outputs; None for all of the signature or the Keras model, and, of a meta graph, the one
        node that nobody reads and that is no part of training.
      signature: str, which signature of a SavedModel.

    Returns:
      list of str, names of the output ops in the pb, in the order of `outputs`.

    Raises:
      TypeError, ValueError: an argument of a wrong type, or with a value not allowed: such as
        outputs that the model does not have, or none given where they are not clear.
      FileError: a file is not there, or cannot be read or written.
      FormatError: a source of none of these kinds, or a damaged one.
      GraphError: variables without values, or a batch norm in training mode that has no
        moving averages.
      UnsupportedError: a model that holds what no frozen graph can, such as tables or
        iterators, or that this TensorFlow cannot load.
    """
    save_path = _arguments.path("save_path", save_path)
    wanted = None if outputs is None else _arguments.outputs("outputs", outputs)
    label = _label(source)
    with _opened(source, label, _arguments.text("signature", signature)) as model:
        names = _outputs.choose(model.definition, model.named, wanted, label)
        frozen = infer(model.definition, names, label)
        definition = _constants(model, frozen, names, label)
    check(definition, label)
    try:
        data = definition.SerializeToString(deterministic=True)
    except Exception as error:  # of another class in each version of protobuf
        raise errors.UnsupportedError("{}: the pb is over 2 GB".format(label)) from error
    _files.write(save_path, data)
    before, after = len(model.definition.node), len(definition.node)
    changes = ["{} of {} nodes".format(after, before), "outputs " + ", ".join(names)]
    text = "{} is in {}: {}".format(label, save_path, "; ".join(changes + frozen.changes))
    _core.write_log(_core.LEVELS.index("info"), "freeze", text)
    return names


def frozen_model(model: str, folder: str, outputs: List[str]) -> Tuple[str, List[str]]:
    """For command lines: a pb, `model` itself or one in `folder`, and the names of its outputs."""
    named = model.endswith(_KERAS_FILES + (_META,)) or os.path.basename(model) in _SAVED_MODEL
    if not (named or os.path.isdir(model) or is_checkpoint(model)):
        return model, outputs
    path = os.path.join(folder, "frozen.pb")
    return path, freeze(model, path, outputs)


def is_checkpoint(path: str) -> bool:
    """A prefix, with its meta graph."""
    return os.path.isfile(path + _META)


def _label(source: Any) -> str:
    return source if isinstance(source, str) else str(getattr(source, "name", "model"))


def _constants(model: _Model, frozen: Inference, names: List[str], label: str) -> Any:
    """The GraphDef with the variables' values."""
    definition = frozen.definition
    if model.session is not None:
        try:
            with v1.Graph().as_default(), _quiet():
                definition = v1.graph_util.convert_variables_to_constants(
                    model.session, definition, names
                )
        except (tf.errors.OpError, ValueError, KeyError) as error:
            raise errors.GraphError("{}: {}".format(label, _first_line(error))) from error
    return _freeze.only(definition, names, model.inputs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without TensorFlow's own lines on what it converts."""
    level = v1.logging.get_verbosity()
    v1.logging.set_verbosity(v1.logging.ERROR)
    try:
        yield
    finally:
        v1.logging.set_verbosity(level)


def _first_line(error: BaseException) -> str:
    """What TensorFlow says, without where in Python the node was made."""
    text = str(getattr(error, "message", None) or error).strip() or type(error).__name__
    lines = text.split("\n")
    nodes = [i for i, line in enumerate(lines[:-1]) if line.startswith("Node: ")]
    return lines[nodes[-1] + 1 if nodes else 0]


def check(definition: Any, label: str) -> None:
    """A frozen graph holds nothing that lives in a process, and TensorFlow takes it."""
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.graph_util.import_graph_def(definition, name="")
        except (ValueError, tf.errors.OpError) as error:
            raise errors.GraphError("{}: {}".format(label, _first_line(error))) from error
    for op in graph.get_operations():
        if op.type in ("PyFunc", "PyFuncStateless", "EagerPyFunc") or any(
            tensor.dtype == tf.resource or tensor.dtype._is_ref_dtype for tensor in op.outputs
        ):
            refused = errors.UnsupportedError(
                '{}: {} "{}" lives in a process, as tables, iterators and variables do that are '
                "assigned to, and no frozen graph can hold it: name outputs that do not need it, "
                "or export the model without it".format(label, op.type, op.name)
            )
            refused.node = op.name
            raise refused


_CALLS = ("If", "StatelessIf", "PartitionedCall", "StatefulPartitionedCall")


def _definition(graph: Any, label: str) -> Any:
    """The GraphDef of a graph, with the functions that it calls, and conds of version 2, inlined."""
    definition = graph.as_graph_def()
    if not any(node.op in _CALLS for node in definition.node):
        return definition
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    config = v1.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1
    config.graph_options.rewrite_options.optimizers.append("function")
    whole = meta_graph_pb2.MetaGraphDef(graph_def=definition)
    kept = whole.collection_def["train_op"].node_list.value
    kept.extend(node.name for node in definition.node if node.op not in _CALLS)
    with _formed(label):
        return tf_optimizer.OptimizeGraph(config, whole)


# ---- the kinds ----


def _opened(source: Any, label: str, signature: str) -> Any:
    """A context of a _Model."""
    if _freeze.keras_of(source) is not None or (_OLD and isinstance(source, tf.keras.Model)):
        return _of_keras(source, label)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError("source must be a path or a Keras model, not " + type(source).__name__)
    path = os.path.normpath(_arguments.text("source", os.fspath(source)))
    if os.path.basename(path) in _SAVED_MODEL:
        path = os.path.dirname(path) or "."
    if path.endswith(_META):
        return _of_checkpoint(path[: -len(_META)], label)
    if is_checkpoint(path):
        return _of_checkpoint(path, label)
    if os.path.isdir(path):
        return _of_folder(path, label, signature)
    if not os.path.exists(path):
        if v1.train.checkpoint_exists(path):
            raise errors.FileError("{0}: a checkpoint without {0}.meta, its graph".format(label))
        raise errors.FileError("{}: No such file or directory".format(label))
    if path.endswith(_KERAS_FILES):
        return _of_keras_file(path, label)
    raise errors.FormatError("{}: wanted is {}".format(label, _KINDS))


@contextlib.contextmanager
def _of_keras(model: Any, label: str) -> Iterator[_Model]:
    if _OLD:
        if tf.executing_eagerly() or not getattr(model, "outputs", None):
            raise errors.UnsupportedError(
                "{}: in TensorFlow 1.15 a Keras model is frozen if it has inputs and outputs, and "
                "was not made eagerly: save it, and freeze the file".format(label)
            )
        with model.outputs[0].graph.as_default() as graph:
            session = tf.keras.backend.get_session()
        named = {name: of.op.name for name, of in zip(model.output_names, model.outputs)}
        yield _Model(_definition(graph, label), session, named)
        return
    if _keras.is_retrained(model):
        raise errors.UnsupportedError(
            "{}: create_quant_retrain_model has edited it: freeze_quant_retrain_model makes its "
            "pb".format(label)
        )
    with _eager():
        frozen = _freeze.freeze_keras(model)
    yield _Model(frozen.definition, None, {name: name for name in frozen.outputs}, True)


@contextlib.contextmanager
def _eager() -> Iterator[None]:
    """Functions run eagerly, wherever they are called, even where that is switched off."""
    from tensorflow.python.eager import context

    with context.eager_mode():
        yield


@contextlib.contextmanager
def _of_keras_file(path: str, label: str) -> Iterator[_Model]:
    with contextlib.ExitStack() as stack:
        if _OLD:
            if path.endswith(".keras"):
                raise errors.UnsupportedError(
                    "{}: TensorFlow 1.15 reads .h5 alone: freeze it in TensorFlow 2".format(label)
                )
            stack.enter_context(v1.Session(graph=stack.enter_context(tf.Graph().as_default())))
            kit = tf.keras
        else:
            stack.enter_context(_eager())
            kit = _kit_of_file(path, label)
        try:
            model = kit.models.load_model(path, compile=False)
        except Exception as error:  # whatever a damaged file or a layer's own code raises
            raise errors.FormatError(
                "{}: {} cannot load it: {}. A model with layers of your own: load it, and give "
                "the model".format(label, kit.__name__.rpartition(".")[2], _first_line(error))
            ) from error
        yield stack.enter_context(_of_keras(model, label))


def _kit_of_file(path: str, label: str) -> Any:
    """The Keras that wrote a file: 3, or the 2 of the package tf_keras."""
    try:
        if path.endswith(".keras"):
            with zipfile.ZipFile(path) as archive:
                version = json.loads(archive.read("metadata.json").decode("utf-8"))["keras_version"]
        else:
            import h5py

            with h5py.File(path, "r") as file:
                version = file.attrs["keras_version"]
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise errors.FormatError("{}: no Keras model: {}".format(label, error)) from error
    name = "keras" if str(version).startswith("3") else "tf_keras"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise errors.UnsupportedError(
            "{}: of Keras {}, which the package {} reads: it is not installed".format(
                label, version, name
            )
        ) from error


@contextlib.contextmanager
def _of_checkpoint(prefix: str, label: str) -> Iterator[_Model]:
    if not os.path.isfile(prefix + _META):
        raise errors.FileError("{}: No such file or directory".format(prefix + _META))
    if not v1.train.checkpoint_exists(prefix):
        raise errors.FileError("{0}: no checkpoint beside it: {0}.index".format(prefix))
    with tf.Graph().as_default() as graph, v1.Session(config=_CPU) as session:
        with _formed(label), _quiet():
            saver = v1.train.import_meta_graph(prefix + _META, clear_devices=True)
            if saver is None and v1.global_variables():
                saver = v1.train.Saver()
            if saver is not None:
                saver.restore(session, prefix)
        yield _Model(_definition(graph, label), session, {})


_CPU = v1.ConfigProto(device_count={"GPU": 0}, allow_soft_placement=True)


@contextlib.contextmanager
def _formed(label: str) -> Iterator[None]:
    """What TensorFlow says of a damaged file, as a FormatError."""
    try:
        yield
    except errors.AmctError:
        raise
    except Exception as error:  # of protobuf, of op registries: of many classes
        raise errors.FormatError("{}: {}".format(label, _first_line(error))) from error


def _of_folder(path: str, label: str, signature: str) -> Any:
    if not any(os.path.isfile(os.path.join(path, name)) for name in _SAVED_MODEL):
        latest = v1.train.latest_checkpoint(path)
        hint = "; its latest checkpoint is " + latest if latest else ""
        raise errors.FormatError(
            "{}: a folder without saved_model.pb is no SavedModel{}".format(label, hint)
        )
    from tensorflow.python.saved_model import loader_impl

    with _formed(label):
        graphs = loader_impl.parse_saved_model(path).meta_graphs
    serving = [graph for graph in graphs if "serve" in graph.meta_info_def.tags]
    if not serving:
        tags = ["+".join(graph.meta_info_def.tags) for graph in graphs]
        raise errors.FormatError(
            '{}: no graph for "serve", but for {}'.format(label, ", ".join(tags) or "nothing")
        )
    known = sorted(key for key in serving[0].signature_def if not key.startswith("__"))
    if signature not in known:
        raise errors.ArgumentError(
            '{}: no signature "{}", but {}'.format(label, signature, ", ".join(known) or "none")
        )
    kind = _of_functions if serving[0].object_graph_def.nodes else _of_saved_session
    return kind(path, label, signature)


@contextlib.contextmanager
def _of_functions(path: str, label: str, signature: str) -> Iterator[_Model]:
    """A SavedModel of TensorFlow 2."""
    with _eager(), _formed(label):
        frozen = _freeze.freeze_saved_model(path, signature)
    yield _Model(frozen.definition, None, {name: name for name in frozen.outputs}, True)


@contextlib.contextmanager
def _of_saved_session(path: str, label: str, signature: str) -> Iterator[_Model]:
    """A SavedModel of TensorFlow 1."""
    with tf.Graph().as_default() as graph, v1.Session(config=_CPU) as session:
        with _formed(label), _quiet():
            loaded = v1.saved_model.loader.load(session, ["serve"], path, clear_devices=True)
        named = {
            key: tensor.name.partition(":")[0]
            for key, tensor in sorted(loaded.signature_def[signature].outputs.items())
        }
        yield _Model(_definition(graph, label), session, named)
