# SPDX-License-Identifier: Apache-2.0
"""What int8 costs without calibration: plain min-max ranges, for contrast.

Simulated with stock TensorFlow. Batch norms are folded into their convolutions; then
the weights of Conv2D, DepthwiseConv2dNative and MatMul, and the data that these and
AvgPool read, are rounded to 8 bits and back:

    weights   scale = max |w| / 127, over the tensor or over each output channel
    data      256 steps from min to max over the calibration pictures, zero included

Biases and everything else stay float. This file knows nothing of amct_tensorflow.
"""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

WEIGHTED = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
QUANTIZED = WEIGHTED + ("AvgPool",)


def fold_batch_norms(frozen: tf.GraphDef) -> tf.GraphDef:
    """Fold each batch norm that reads a convolution; a BiasAdd of its name stays.

    w' = w * gamma / sqrt(variance + epsilon) on the output channels,
    b' = beta - mean * gamma / sqrt(variance + epsilon).
    """
    graph = tf.GraphDef()
    graph.CopyFrom(frozen)
    by_name = {node.name: node for node in graph.node}
    for node in list(graph.node):
        source = by_name.get(node.input[0]) if node.input else None
        if node.op != "FusedBatchNormV3" or source is None:
            continue
        if source.op not in ("Conv2D", "DepthwiseConv2dNative"):
            continue
        gamma, beta, mean, variance = (value_of(by_name, name) for name in node.input[1:])
        factor = gamma / np.sqrt(variance + node.attr["epsilon"].f)
        weights = value_of(by_name, source.input[1])
        if source.op == "DepthwiseConv2dNative":  # channels: both last axes
            folded = weights * factor.reshape(weights.shape[2:])
        else:
            folded = weights * factor
        source.input[1] = _add_const(graph, source.name + "/folded_weights", folded)
        bias = _add_const(graph, node.name + "/folded_bias", beta - mean * factor)
        _replace(node, "BiasAdd", [node.input[0], bias])
    return graph


def quantize_weights(folded: tf.GraphDef, per_channel: bool) -> tf.GraphDef:
    """Round the weights to 8 bits and back."""
    graph = tf.GraphDef()
    graph.CopyFrom(folded)
    by_name = {node.name: node for node in graph.node}
    for node in list(graph.node):
        if node.op in WEIGHTED:
            weights = value_of(by_name, node.input[1])
            axes = {"Conv2D": (0, 1, 2), "DepthwiseConv2dNative": (0, 1), "MatMul": 0}
            axis = axes[node.op] if per_channel else None
            scale = np.abs(weights).max(axis=axis, keepdims=True) / 127
            scale = np.where(scale == 0, 1, scale)
            rounded = np.rint(weights / scale) * scale
            node.input[1] = _add_const(graph, node.name + "/rounded_weights", rounded)
    return graph


def data_ranges(folded: tf.GraphDef, batches: list[np.ndarray]) -> dict[str, tuple[float, float]]:
    """Least and greatest value of the data that each quantized layer reads."""
    layers = [node for node in folded.node if node.op in QUANTIZED]
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(folded, name="")
        reads = [graph.get_operation_by_name(node.name).inputs[0] for node in layers]
        ends = [(tf.reduce_min(read), tf.reduce_max(read)) for read in reads]
        with tf.Session(graph=graph) as session:
            found = np.array([session.run(ends, {"input:0": b}) for b in batches])
    low, high = found[..., 0].min(axis=0), found[..., 1].max(axis=0)
    return {
        node.name: (min(float(low[i]), 0.0), max(float(high[i]), 0.0))
        for i, node in enumerate(layers)
    }


def quantize_data(graph_def: tf.GraphDef, ranges: dict[str, tuple[float, float]]) -> tf.GraphDef:
    """Put a FakeQuantWithMinMaxArgs before each layer in `ranges`."""
    graph = tf.GraphDef()
    graph.CopyFrom(graph_def)
    for node in list(graph.node):
        if node.name not in ranges:
            continue
        fake = graph.node.add()
        fake.name = node.name + "/rounded_data"
        fake.op = "FakeQuantWithMinMaxArgs"
        fake.input.append(node.input[0])
        fake.attr["min"].f, fake.attr["max"].f = ranges[node.name]
        node.input[0] = fake.name
    return graph


def quantize(frozen: tf.GraphDef, batches: list[np.ndarray], per_channel: bool) -> tf.GraphDef:
    """The whole of it: fold, round weights, round data over the batches' ranges."""
    folded = fold_batch_norms(frozen)
    ranges = data_ranges(folded, batches)
    return quantize_data(quantize_weights(folded, per_channel), ranges)


def value_of(by_name: dict[str, tf.NodeDef], name: str) -> np.ndarray:
    """A constant, directly or behind Identity, in double."""
    node = by_name[name.split(":")[0]]
    while node.op == "Identity":
        node = by_name[node.input[0].split(":")[0]]
    if node.op != "Const":
        raise ValueError(f"{name}: {node.op}, expected a constant")
    return tf.make_ndarray(node.attr["value"].tensor).astype(np.float64)


def _add_const(graph: tf.GraphDef, name: str, value: np.ndarray) -> str:
    node = graph.node.add()
    node.name, node.op = name, "Const"
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    proto = tf.make_tensor_proto(value.astype(np.float32))
    node.attr["value"].tensor.CopyFrom(proto)
    return name


def _replace(node: tf.NodeDef, op: str, inputs: list[str]) -> None:
    """Turn a node into another that reads `inputs`, its name and type kept."""
    dtype = node.attr["T"].type
    node.op = op
    del node.input[:]
    node.input.extend(inputs)
    node.attr.clear()
    node.attr["T"].type = dtype
