# SPDX-License-Identifier: Apache-2.0
"""How far a quantized model is from the float one, layer by layer.

Both models are imported into one graph, under float/ and quantized/, and run on the same
feeds; sums over the tensors are taken there, so that no tensor leaves TensorFlow.
"""

import json
import math
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Union

import numpy as np

from . import _arguments, _compare_report, _core, errors
from ._compare_report import Comparison
from ._ops import tf, v1

_PB_SUFFIX = "quantized.pb"
_JSON_SUFFIX = "quant.json"
_FLOAT = "float/"
_QUANTIZED = "quantized/"
_ENTERS = ("Enter", "RefEnter")
_EXITS = ("Exit", "RefExit")


def compare(
    float_pb: str,
    quantized_pb: str,
    outputs: List[str],
    feeds: Union[Dict[str, Any], List[Dict[str, Any]]],
    html: Optional[str] = None,
) -> List[Comparison]:
    """Runs a model and its quantized form on the same data, and says where they part.

    Prints a line a quantized layer and output, worst first.

    Args:
      float_pb: str, path of the frozen float pb that was quantized.
      quantized_pb: str, the <prefix>_quantized.pb that save_model wrote; the file
        <prefix>_quant.json must stand beside it.
      outputs: list of str, names of the output ops, without ":0".
      feeds: dict of inputs, names such as "input:0" to arrays; or a list of such dicts, one
        a batch.
      html: str, path of a report to write, one file without external resources; None: none.

    Returns:
      list of Comparison, worst first: layer and op (the user's names; "pool:0" is an input
      tensor that goes to int8 and back; op is "output" for outputs), tensor (the tensor of
      the float model that is compared), sqnr_db (signal to quantization noise in dB), cosine
      (similarity), clipped (share of the layer's input that AscendQuant clips; None for
      outputs).

    Raises:
      TypeError, ValueError: an argument of a wrong type, outputs that are not in the
        models, feeds that do not fit their inputs.
      FileError, FormatError: a file is missing or not what it should be.
      GraphError: the two models do not belong together.
      UnsupportedError: the quantized model has no quantized layers.
    """
    float_pb = _arguments.path("float_pb", float_pb)
    quantized_pb = _arguments.path("quantized_pb", quantized_pb)
    outputs = _arguments.outputs("outputs", outputs)
    batches = _batches(feeds)
    if html is not None:
        html = _arguments.path("html", html)
    origins = _Origins(quantized_pb)
    with tf.Graph().as_default() as graph:
        _import(float_pb, _FLOAT)
        definition = _import(quantized_pb, _QUANTIZED)
        pairs = _layer_pairs(definition, origins, quantized_pb)
        pairs += [_Pair(name, "output", name, name, []) for name in outputs]
        _check_pairs(graph, pairs, outputs, float_pb, quantized_pb)
        pairs = _outside_loops(graph, pairs)
        fetches = [_sums(graph, pair) for pair in pairs]
        feed_dicts = [_feed_dict(graph, batch, pairs) for batch in batches]
        rows = sorted(_run(graph, pairs, fetches, feed_dicts), key=_quality)
    print(_compare_report.table(rows))
    if html is not None:
        _compare_report.write_html(html, rows, float_pb, quantized_pb)
    return rows


# ---- files ----


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise errors.FileError("{}: {}".format(path, error.strerror)) from error


def _import(path: str, prefix: str) -> Any:
    """Imports a pb under a prefix; returns its GraphDef."""
    data = _read(path)
    definition = v1.GraphDef()
    try:
        definition.ParseFromString(data)
    except Exception as error:  # DecodeError of whichever protobuf TensorFlow brings
        raise errors.FormatError("{} is no frozen model: {}".format(path, error)) from error
    for node in definition.node:
        if node.op in _ENTERS:  # loops of one name would be one loop
            node.attr["frame_name"].s = prefix.encode() + node.attr["frame_name"].s
    try:
        tf.import_graph_def(definition, name=prefix[:-1])
    except ValueError as error:
        raise errors.GraphError(
            "{}: TensorFlow refuses this graph: {}".format(path, error)
        ) from error
    return definition


class _Origins:
    """What <prefix>_quant.json says: nodes of the quantized model and the user's nodes."""

    def __init__(self, quantized_pb: str) -> None:
        if not quantized_pb.endswith(_PB_SUFFIX):
            raise ValueError(
                "quantized_pb: {!r} does not end in {}, as save_model writes it".format(
                    quantized_pb, _PB_SUFFIX
                )
            )
        self.path = quantized_pb[: -len(_PB_SUFFIX)] + _JSON_SUFFIX
        if not os.path.exists(self.path):
            raise errors.FileError(
                "{} is missing: save_model writes it beside {}, and it says which node of "
                "the quantized model stands for which of yours".format(self.path, quantized_pb)
            )
        try:
            ops = json.loads(_read(self.path).decode("utf-8"))["graph"][0]["op"]
            self._ops = {op["name"]: op for op in ops}
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise errors.FormatError(
                "{} is no quantization information of save_model: {}: {}".format(
                    self.path, type(error).__name__, error
                )
            ) from error

    def _attributes(self, name: str, part: Any) -> Dict[str, Any]:
        try:
            return {a["key"]: a["value"] for a in part(self._ops[name])["attr"]}
        except (KeyError, IndexError, TypeError):
            raise errors.FormatError(
                "{} does not describe node {!r}: it belongs to another model".format(
                    self.path, name
                )
            ) from None

    def tensor(self, name: str) -> str:
        """The user's node whose output a node's output stands for."""
        attributes = self._attributes(name, lambda op: op["output_desc"][0])
        try:
            return attributes["_datadump_origin_name"]["s"]
        except (KeyError, TypeError):
            raise errors.FormatError(
                "{} does not say what {!r} stands for".format(self.path, name)
            ) from None

    def layer(self, name: str) -> str:
        """The user's name of a layer."""
        attributes = self._attributes(name, lambda op: op)
        try:
            names = attributes["_datadump_original_op_names"]["list"]["s"]
        except (KeyError, TypeError):
            names = []
        return name if name in names or not names else names[-1]


# ---- what is compared ----


class _Pair(NamedTuple):
    """A tensor of the float model, that of the quantized model, and the layer's input."""

    layer: str
    op: str
    tensor: str  # node of the float model
    node: str  # node of the quantized model
    quants: List[Any]  # NodeDefs of the AscendQuants that feed the layer


def _source(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _layer_of(nodes: Dict[str, Any], dequant: Any) -> Optional[Any]:
    """The node behind a dequantization that reads an AscendQuant."""
    node = dequant
    for _ in range(3):  # AscendDequant, BiasAdd, layer
        if not node.input:
            return None
        node = nodes[_source(node.input[0])]
        if any(nodes[_source(name)].op == "AscendQuant" for name in node.input):
            return node
    return None


def _tensor_pairs(nodes: Dict[str, Any], origins: _Origins) -> Iterator[_Pair]:
    """Input tensors that go to int8 and back, each under the first of its readers."""
    seen = set()
    for node in nodes.values():
        for index, name in enumerate(node.input):
            source = nodes[_source(name)]
            if source.op != "AscendAntiQuant" or source.name in seen or name.startswith("^"):
                continue
            seen.add(source.name)
            label = "{}:{}".format(origins.layer(node.name), index)
            quant = nodes[_source(source.input[0])]
            yield _Pair(label, node.op, origins.tensor(source.name), source.name, [quant])


def _layer_pairs(definition: Any, origins: _Origins, path: str) -> List[_Pair]:
    nodes = {node.name: node for node in definition.node}
    pairs = list(_tensor_pairs(nodes, origins))
    for node in definition.node:
        if node.op != "AscendDequant":
            continue
        layer = _layer_of(nodes, node)
        if layer is None:
            continue
        sources = [nodes[_source(name)] for name in layer.input]
        quants = [source for source in sources if source.op == "AscendQuant"]
        pairs.append(
            _Pair(origins.layer(layer.name), layer.op, origins.tensor(node.name), node.name, quants)
        )
    if not pairs:
        raise errors.UnsupportedError("{} has no quantized layers".format(path))
    return pairs


def _has(graph: Any, name: str) -> bool:
    try:
        graph.get_operation_by_name(name)
    except (KeyError, ValueError):
        return False
    return True


def _check_pairs(
    graph: Any, pairs: Sequence[_Pair], outputs: Sequence[str], float_pb: str, quantized_pb: str
) -> None:
    """The float model has what the quantized one was made of."""
    for name in outputs:
        for prefix, path in ((_FLOAT, float_pb), (_QUANTIZED, quantized_pb)):
            if not _has(graph, prefix + name):
                raise ValueError("outputs: {} has no node {!r}".format(path, name))
    for pair in pairs:
        if not _has(graph, _FLOAT + pair.tensor):
            raise errors.GraphError(
                "{} has no node {!r}, which {!r} of {} stands for: the models do not belong "
                "together".format(float_pb, pair.tensor, pair.node, quantized_pb)
            )
        one, other = (
            graph.get_tensor_by_name(name + ":0")
            for name in (_FLOAT + pair.tensor, _QUANTIZED + pair.node)
        )
        if not one.shape.is_compatible_with(other.shape):
            raise errors.GraphError(
                "{!r} has shape {} in {}, but {} in {}: the models do not belong together".format(
                    pair.tensor, one.shape, float_pb, other.shape, quantized_pb
                )
            )


def _looped(graph: Any) -> Set[Any]:
    """Ops inside v1 while loops."""
    waiting = [(op, 1) for op in graph.get_operations() if op.type in _ENTERS]
    seen = set(waiting)
    for op, depth in waiting:  # grows
        readers = {reader for tensor in op.outputs for reader in tensor.consumers()}
        for reader in readers:
            state = (reader, depth + (reader.type in _ENTERS) - (reader.type in _EXITS))
            if state[1] > 0 and state not in seen:
                seen.add(state)
                waiting.append(state)
    return {op for op, _ in seen}


def _outside_loops(graph: Any, pairs: List[_Pair]) -> List[_Pair]:
    """Those that can be looked at; a tensor of a loop has a value each turn."""
    looped = _looped(graph)
    outside = []
    for pair in pairs:
        if graph.get_operation_by_name(_QUANTIZED + pair.node) in looped:
            _leave_out(pair, "inside a while loop")
        else:
            outside.append(pair)
    return outside


def _leave_out(pair: _Pair, reason: str) -> None:
    _core.write_log(
        _core.LEVELS.index("warning"), "compare", "{} is left out: {}".format(pair.layer, reason)
    )


# ---- the sums ----


def _clipped(graph: Any, quant: Any) -> List[Any]:
    """How many values an AscendQuant clips, and of how many."""
    source = graph.get_operation_by_name(_QUANTIZED + quant.name).inputs[0]
    bits = 4 if quant.attr["dst_type"].s == b"INT4" else quant.attr["quant_bits"].i or 8
    product = tf.cast(source, tf.float64) * quant.attr["scale"].f
    product = tf.cast(tf.cast(product, tf.float32), tf.float64)
    steps = tf.sign(product) * tf.floor(tf.abs(product) + 0.5) + quant.attr["offset"].f
    outside = tf.logical_or(steps > 2 ** (bits - 1) - 1, steps < -(2 ** (bits - 1)))
    return [
        tf.reduce_sum(tf.cast(outside, tf.float64)),
        tf.cast(tf.size(source, out_type=tf.int64), tf.float64),
    ]


def _sums(graph: Any, pair: _Pair) -> Any:
    """[sum f^2, sum q^2, sum f*q, sum (f-q)^2, clipped, of how many], as one tensor."""
    f, q = (
        tf.cast(graph.get_tensor_by_name(name + ":0"), tf.float64)
        for name in (_FLOAT + pair.tensor, _QUANTIZED + pair.node)
    )
    sums = [tf.reduce_sum(value) for value in (f * f, q * q, f * q, tf.square(f - q))]
    zero = tf.constant(0, tf.float64)
    counts = [_clipped(graph, quant) for quant in pair.quants] or [[zero, zero]]
    return tf.stack(sums + [tf.add_n(list(column)) for column in zip(*counts)])


def _try_each(session: Any, fetches: List[Any], feed: Dict[Any, Any]) -> List[Any]:
    """The values; None for those of a branch not taken."""
    try:
        return session.run(fetches, feed)
    except tf.errors.InvalidArgumentError as error:
        values: List[Any] = []
        for fetch in fetches:
            try:
                values.append(session.run(fetch, feed))
            except tf.errors.InvalidArgumentError:
                values.append(None)
        if all(value is None for value in values):
            raise ValueError(
                "the models do not run on these feeds: {}".format(error.message)
            ) from error
        return values


def _run(
    graph: Any, pairs: List[_Pair], fetches: List[Any], feed_dicts: List[Dict[Any, Any]]
) -> List[Comparison]:
    totals: List[Any] = [None] * len(fetches)
    with v1.Session(graph=graph) as session:
        for feed in feed_dicts:
            for i, sums in enumerate(_try_each(session, fetches, feed)):
                if sums is not None:
                    totals[i] = sums if totals[i] is None else totals[i] + sums
    for pair, total in zip(pairs, totals):
        if total is None:
            _leave_out(pair, "in a branch never taken")
    return [
        _measure(pair, *map(float, total))
        for pair, total in zip(pairs, totals)
        if total is not None
    ]


def _measure(pair: _Pair, *sums: float) -> Comparison:
    f2, q2, fq, d2, clipped, count = sums
    if math.isnan(d2) or math.isinf(d2):
        sqnr = cosine = math.nan
    else:
        sqnr = math.inf if d2 == 0 else -math.inf if f2 == 0 else 10 * math.log10(f2 / d2)
        cosine = fq / math.sqrt(f2) / math.sqrt(q2) if f2 and q2 else float(f2 == q2)
    share = clipped / count if count else None
    return Comparison(pair.layer, pair.op, pair.tensor, sqnr, cosine, share)


def _quality(row: Comparison) -> float:
    return -math.inf if math.isnan(row.sqnr_db) else row.sqnr_db


# ---- feeds ----


def _batches(feeds: Any) -> List[Dict[str, Any]]:
    batches = [feeds] if isinstance(feeds, dict) else feeds
    if not isinstance(batches, (list, tuple)) or not all(isinstance(b, dict) for b in batches):
        raise TypeError(
            "feeds must be a dict of arrays, or a list of such dicts, not {}".format(
                type(feeds).__name__
            )
        )
    if not batches:
        raise ValueError("feeds is empty: give a dict of arrays for each batch")
    return [
        {_arguments.text("feeds key", getattr(key, "name", key)): value for key, value in b.items()}
        for b in batches
    ]


def _placeholders(graph: Any, pairs: Sequence[_Pair]) -> Iterator[str]:
    """Names of the placeholders that the float tensors need."""
    waiting = [graph.get_operation_by_name(_FLOAT + pair.tensor) for pair in pairs]
    seen = set(waiting)
    for op in waiting:  # grows
        if op.type in ("Placeholder", "PlaceholderV2"):
            yield op.name[len(_FLOAT) :]
        for source in [t.op for t in op.inputs] + list(op.control_inputs):
            if source not in seen:
                seen.add(source)
                waiting.append(source)


def _feed_dict(graph: Any, batch: Dict[str, Any], pairs: Sequence[_Pair]) -> Dict[Any, Any]:
    needed = list(_placeholders(graph, pairs))
    result = {}
    for key, value in batch.items():
        name = key if ":" in key else key + ":0"
        for prefix in (_FLOAT, _QUANTIZED):
            try:
                tensor = graph.get_tensor_by_name(prefix + name)
            except (KeyError, ValueError):
                raise ValueError(
                    "feeds: the {} model has no tensor {!r}; its inputs are {}".format(
                        prefix[:-1], key, ", ".join(map(repr, needed)) or "none"
                    )
                ) from None
            result[tensor] = _fitting(key, value, tensor)
    fed = {_source(key) for key in batch}
    for name in needed:
        if name not in fed:
            raise ValueError("feeds lacks the input {!r}".format(name))
    return result


def _fitting(key: str, value: Any, tensor: Any) -> Any:
    try:
        array = np.asarray(value, tensor.dtype.base_dtype.as_numpy_dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "feeds[{!r}] is no array of {}: {}".format(key, tensor.dtype.name, error)
        ) from error
    if not tensor.shape.is_compatible_with(array.shape):
        raise ValueError(
            "feeds[{!r}] has shape {}, the model takes {}".format(key, array.shape, tensor.shape)
        )
    return array
