# SPDX-License-Identifier: Apache-2.0
"""Fusing a GraphDef, and what its values should be: the same graph in float64, and without NCHW.

TensorFlow has no batch norm in float64 and, on CPUs, no convolutions in NCHW everywhere. So graphs
are rewritten before they run: a batch norm in float64 is its formula, NCHW is NHWC between transposes.
"""

import numpy as np
import tensorflow as tf

import models
from amct_tensorflow import _core

v1 = tf.compat.v1
BATCH_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
LAYOUT_OPS = BATCH_NORMS + ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "BiasAdd")


def fuse(definition, outputs, folder="."):
    """The GraphDef after fusion; fusing that again must change nothing."""
    path = models.write_pb(definition, "{}/float.pb".format(folder))
    _core.fuse_model(path, outputs, folder + "/once")
    _core.fuse_model(folder + "/once_fused.pb", outputs, folder + "/twice")
    with open(folder + "/once_fused.pb", "rb") as once, open(folder + "/twice_fused.pb", "rb") as twice:
        data = once.read()
        assert data == twice.read()
    return v1.GraphDef.FromString(data)


def count_ops(definition, *ops):
    """Nodes of these ops."""
    return sum(node.op in ops for node in definition.node)


def batch_norms(definition):
    """Large batch norms and small ones (each small one has its own last addition, and some Rsqrt)."""
    return count_ops(definition, *BATCH_NORMS) + count_ops(definition, "Rsqrt")


def _data_input(node):
    return 2 if node.op == "Conv2DBackpropInput" else 0


class _Rewriter(object):
    """Writes a GraphDef anew, in another float type and in NHWC."""

    def __init__(self, dtype):
        self.out = v1.GraphDef()
        self.dtype = tf.as_dtype(dtype)

    def node(self, name, op, inputs, **attrs):
        node = self.out.node.add(name=name, op=op, input=inputs)
        for key, value in attrs.items():
            if isinstance(value, tf.DType):
                node.attr[key].type = value.as_datatype_enum
            else:
                node.attr[key].CopyFrom(value)
        return name

    def constant(self, name, value):
        proto = v1.AttrValue(tensor=tf.make_tensor_proto(value))
        return self.node(name, "Const", [], value=proto, dtype=tf.as_dtype(np.asarray(value).dtype))

    def transpose(self, name, tensor, axes):
        axes = self.constant(name + "/axes", np.array(axes, np.int32))
        return self.node(name, "Transpose", [tensor, axes], T=self.dtype, Tperm=tf.int32)

    def gather(self, name, numbers, order):
        order = self.constant(name + "/order", np.array(order, np.int32))
        return self.node(name, "Gather", [numbers, order], Tparams=tf.int32, Tindices=tf.int32)

    def binary(self, name, op, a, b):
        return self.node(name, op, [a, b], T=self.dtype)

    def formula(self, node, x):
        """scale * (x - mean) / sqrt(variance + epsilon) + offset, in NHWC."""
        scale, offset, mean, variance = node.input[1:5]
        at = node.name + "/formula/"
        epsilon = node.attr["epsilon"].f if "epsilon" in node.attr else np.float32(1e-4)
        epsilon = self.constant(at + "epsilon", np.array(epsilon, self.dtype.as_numpy_dtype))
        spread = self.node(at + "sqrt", "Sqrt", [self.binary(at + "spread", "Add", variance, epsilon)], T=self.dtype)
        x = self.binary(at + "centred", "Sub", x, mean)
        x = self.binary(at + "scaled", "Mul", x, self.binary(at + "factor", "RealDiv", scale, spread))
        return x, offset

    def copy(self, node, name=None, data=None):
        new = self.out.node.add()
        new.CopyFrom(node)
        new.name = name or node.name
        if data is not None:
            new.input[_data_input(node)] = data
            new.attr["data_format"].s = b"NHWC"
            for key in ("strides", "dilations"):
                if key in new.attr:
                    values = new.attr[key].list.i
                    values[:] = [values[0], values[2], values[3], values[1]]
        for value in new.attr.values():
            if value.WhichOneof("value") == "type" and value.type == tf.float32.as_datatype_enum:
                value.type = self.dtype.as_datatype_enum
        if node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum:
            value = tf.make_ndarray(node.attr["value"].tensor).astype(self.dtype.as_numpy_dtype)
            new.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        return new.name

    def take(self, node):
        nchw = node.op in LAYOUT_OPS and node.attr["data_format"].s == b"NCHW"
        large = node.op in BATCH_NORMS and self.dtype == tf.float64
        if not nchw and not large:
            self.copy(node)
            return
        x = node.input[_data_input(node)]
        if nchw:
            x = self.transpose(node.name + "/nhwc", x, [0, 2, 3, 1])
        last = node.name + "/in_nhwc" if nchw else node.name
        if large:
            x, offset = self.formula(node, x)
            self.binary(last, "Add", x, offset)
        else:
            self.copy(node, last, x)
            copied = self.out.node[-1]
            if node.op == "Conv2DBackpropInput":
                copied.input[0] = self.gather(node.name + "/sizes", node.input[0], [0, 2, 3, 1])
        if nchw:
            self.transpose(node.name, last, [0, 3, 1, 2])


def portable(definition, dtype=np.float32):
    """The graph in another float type, with all convolutions in NHWC."""
    rewriter = _Rewriter(dtype)
    for node in definition.node:
        rewriter.take(node)
    return rewriter.out


def run(definition, feeds, outputs):
    """Output 0 of the named nodes, without TensorFlow's optimizer; in one thread, so always the same."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    with models.plain_session(graph, threads=1) as session:
        return session.run([name + ":0" for name in outputs], feeds)


def check_values(before, after, feeds, outputs):
    """The fused graph is as near the truth as the graph was: twice its error, 5e-7 of the largest value.

    Feeds of many images, please: the largest error of ten values is luck, in either graph.
    """
    double = {name: value.astype(np.float64) for name, value in feeds.items()}
    truth = run(portable(before, np.float64), double, outputs)
    unfused = run(portable(before), feeds, outputs)
    fused = run(portable(after), feeds, outputs)
    for name, true, old, new in zip(outputs, truth, unfused, fused):
        assert np.isfinite(true).all() and true.shape == new.shape
        allowed = 2 * np.abs(old - true).max() + 5e-7 * np.abs(true).max()
        assert np.abs(new - true).max() <= allowed, name
