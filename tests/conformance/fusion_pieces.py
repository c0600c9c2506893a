# SPDX-License-Identifier: Apache-2.0
"""Pieces of networks that fusions look for, in every form: chosen by a seed, or asked for."""

import numpy as np
import tensorflow as tf

import models

v1 = tf.compat.v1
raw = tf.raw_ops

SUMS = ("BiasAdd", "Add", "AddV2")
LARGE = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


class Pieces(object):
    """Adds pieces to the default graph; every choice left open is the random generator's."""

    def __init__(self, seed, nchw=False, make=models.constant):
        self.random = np.random.RandomState(seed)
        self.nchw = nchw
        self.format = "NCHW" if nchw else "NHWC"
        self.axis = 1 if nchw else 3
        self.make = make
        self.known = {}  # parameter sets that were made, by number of channels
        self.count = 0
        self.norms = 0
        self.layers = []

    def pick(self, *choices):
        return choices[self.random.randint(len(choices))]

    def chance(self, part=0.5):
        return self.random.rand() < part

    def name(self, what):
        self.count += 1
        return "{}_{}".format(what, self.count)

    def channels(self, x):
        return int(x.shape[self.axis])

    def spatial(self, a, b=None):
        """A list of four with these two for height and width."""
        values = [1, a, b or a, 1]
        return [1, 1, a, b or a] if self.nchw else values

    def parameter(self, what, value):
        return self.make(self.name(what), np.asarray(value, np.float32))

    def vector(self, what, value, form):
        """The parameter as it is read: [C], of rank 4, or given its rank by a Reshape."""
        shape = [1, len(value), 1, 1] if self.nchw else [1, 1, 1, len(value)]
        if form == "vector":
            return self.parameter(what, value)
        if form == "rank 4":
            return self.parameter(what, np.reshape(value, shape))
        return tf.reshape(tf.identity(self.parameter(what, value)), shape, name=self.name("reshape"))

    def swapped(self, a, b):
        return (b, a) if self.chance(0.3) else (a, b)

    def add(self, op, a, b):
        a, b = self.swapped(a, b)
        return getattr(raw, op)(x=a, y=b, name=self.name("add"))

    def multiply(self, a, b):
        a, b = self.swapped(a, b)
        return raw.Mul(x=a, y=b, name=self.name("mul"))

    def between(self, x):
        """Now and then what only training needs, and changes nothing."""
        if not self.chance(0.1):
            return x
        op = self.pick("Identity", "StopGradient", "CheckNumerics", "PreventGradient", "Snapshot")
        keywords = {"message": "here"} if op in ("CheckNumerics", "PreventGradient") else {}
        keywords["tensor" if op == "CheckNumerics" else "input"] = x
        return self.between(getattr(raw, op)(name=self.name("between"), **keywords))

    def bias(self, x, kind):
        """A bias addition behind a convolution."""
        x = self.between(x)
        value = self.random.normal(0, 1, self.channels(x))
        if kind == "BiasAdd":
            bias = self.parameter("bias", value)
            if self.chance(0.3):  # as Keras 3 has it
                bias = tf.reshape(bias, [1, 1, 1, len(value)], name=self.name("reshape"))
                bias = raw.Squeeze(input=bias, name=self.name("squeeze"), axis=[0, 1, 2])
            return raw.BiasAdd(value=x, bias=bias, data_format=self.format, name=self.name("sum"))
        form = self.pick("rank 4", "reshape") if self.nchw else self.pick("vector", "rank 4", "reshape")
        return self.add(kind, x, self.vector("bias", value, form))

    def weight(self, *shape):
        return self.parameter("weight", self.random.normal(0, 0.5, shape))

    def conv(self, x, out, size=None, depthwise=False, weight=None, padding=None):
        """A convolution: Conv2D, or depthwise with `out` as multiplier; with a padding given, without strides."""
        size = size or self.pick(1, 2, 3)
        stride = self.pick(1, 1, 2) if padding is None else 1
        dilation = self.pick(1, 2) if stride == 1 and not depthwise and padding != "VALID" else 1
        if weight is None:
            weight = self.weight(size, size, self.channels(x), out)
        fits = (int(weight.shape[0]) - 1) * dilation < int(x.shape[2])
        name = self.name("conv")
        self.layers.append(name)
        keywords = dict(
            filter=weight,
            input=x,
            strides=self.spatial(stride),
            padding=padding or (self.pick("SAME", "VALID") if fits else "SAME"),
            dilations=self.spatial(dilation),
            data_format=self.format,
            name=name,
        )
        return (raw.DepthwiseConv2dNative if depthwise else raw.Conv2D)(**keywords)

    def transposed(self, x, out):
        """A transposed convolution to the same size or about double; its sizes are computed."""
        size, stride = self.pick(1, 2, 3), self.pick(1, 1, 2)
        height, width = (int(n) * stride for n in (x.shape[2:] if self.nchw else x.shape[1:3]))
        plane = [out, height, width] if self.nchw else [height, width, out]
        batch = raw.Shape(input=x, name=self.name("shape"))[0]
        name = self.name("conv")
        self.layers.append(name)
        y = raw.Conv2DBackpropInput(
            input_sizes=tf.stack([batch] + plane, name=self.name("sizes")),
            filter=self.weight(size, size, out, self.channels(x)),
            out_backprop=x,
            strides=self.spatial(stride),
            padding="SAME",
            data_format=self.format,
            name=name,
        )
        y.set_shape([None] + plane)
        return y

    def arithmetic(self, x, op=None):
        """A product, quotient, sum or difference with a constant: one value, or one a channel."""
        op = op or self.pick("Mul", "RealDiv", "Add", "AddV2", "Sub")
        flat = x.shape.ndims == 2
        channels = int(x.shape[1]) if flat else self.channels(x)
        value = self.random.uniform(0.5, 2, channels) * self.random.choice([-1, 1], channels)
        if self.chance(0.4):
            operand = self.parameter("operand", value[0])
        elif flat:
            operand = self.parameter("operand", value)
        else:
            form = self.pick("rank 4", "reshape") if self.nchw else self.pick("vector", "rank 4", "reshape")
            operand = self.vector("operand", value, form)
        x = self.between(x)
        a, b = (x, operand) if op == "RealDiv" else self.swapped(x, operand)
        return getattr(raw, op)(x=a, y=b, name=self.name("arithmetic"))

    def atrous(self, x, out):
        """A convolution between SpaceToBatchND and BatchToSpaceND, perhaps biased there."""
        height, width = (int(n) for n in (x.shape[2:] if self.nchw else x.shape[1:3]))
        blocks, pads, crops = [2, 2], [[2, 2 + height % 2], [2, 2 + width % 2]], [[0, height % 2], [0, width % 2]]
        if self.nchw:
            blocks, pads, crops = [1] + blocks, [[0, 0]] + pads, [[0, 0]] + crops
        x = raw.SpaceToBatchND(input=x, block_shape=blocks, paddings=pads, name=self.name("to_batch"))
        x = self.biased(self.conv(x, out, padding="SAME"))
        crops = np.array(crops) + np.array([[0, 0]] * self.nchw + [[2, 2]] * 2)
        return raw.BatchToSpaceND(input=x, block_shape=blocks, crops=crops, name=self.name("to_space"))

    def flip(self):
        """NHWC from here on, if it was NCHW, or the other way round; the order that brings images there."""
        self.nchw = not self.nchw
        self.format, self.axis = ("NCHW", 1) if self.nchw else ("NHWC", 3)
        return [0, 3, 1, 2] if self.nchw else [0, 2, 3, 1]

    def in_other_layout(self, x, out):
        """A convolution between Transposes, as Keras has some for NCHW on CPUs; perhaps biased there."""
        x = raw.Transpose(x=x, perm=self.flip(), name=self.name("transpose"))
        depthwise = self.chance(0.3)
        y = self.biased(self.conv(x, min(out, 3) if depthwise else out, depthwise=depthwise))
        return raw.Transpose(x=y, perm=self.flip(), name=self.name("transpose"))

    def matmul(self, x, out):
        name = self.name("matmul")
        self.layers.append(name)
        return raw.MatMul(a=x, b=self.weight(int(x.shape[1]), out), name=name)

    def flat_bias(self, x, kind):
        """A bias addition behind a product."""
        x = self.between(x)
        value = self.random.normal(0, 1, int(x.shape[1]))
        if kind == "BiasAdd":
            return raw.BiasAdd(value=x, bias=self.parameter("bias", value), name=self.name("sum"))
        return self.add(kind, x, self.parameter("bias", value if self.chance() else value[None]))

    def flat_norm(self, x, kind):
        """A batch norm of rank 2, in small ops or between two Reshapes."""
        channels = int(x.shape[1])
        if kind == "small":
            return self.small(x, form="vector")
        plane = [channels, 1, 1] if self.nchw else [1, 1, channels]
        y = self.large(tf.reshape(x, [-1] + plane, name=self.name("reshape")))
        shape = tf.shape(x, name=self.name("shape")) if self.chance() else [-1, channels]
        y = tf.reshape(y, shape, name=self.name("reshape"))
        y.set_shape([None, channels])
        return y

    def dense(self, x, kind=None):
        """Flattened, one or two products, perhaps biased, each with a batch norm."""
        size = int(np.prod([int(n) for n in x.shape[1:]]))
        x = tf.reshape(x, [-1, size], name=self.name("flat"))
        for _ in range(self.pick(1, 2)):
            x = self.matmul(x, self.pick(2, 5, 8))
            if self.chance():
                x = self.flat_bias(x, self.pick(*SUMS))
            if self.chance(0.3):
                x = self.arithmetic(x)
            x = self.flat_norm(x, kind or self.pick("small", "reshape"))
        return x

    def norm_values(self, channels):
        r = self.random
        return {
            "scale": r.uniform(0.5, 1.5, channels) * r.choice([-1, 1], channels),
            "offset": r.normal(0, 1, channels),
            "mean": r.normal(0, 1, channels),
            "variance": r.uniform(0.1, 2, channels),
        }

    def parameters(self, channels, form):
        """A new set, or one that another batch norm has."""
        key = channels, form
        if key not in self.known or self.chance(0.7):
            values = self.norm_values(channels)
            self.known[key] = {name: self.vector(name, values[name], form) for name in sorted(values)}
        return self.known[key]

    def large(self, x):
        x = self.between(x)
        p = self.parameters(self.channels(x), "vector")
        kind = getattr(raw, self.pick(*LARGE))
        self.norms += 1
        return kind(x=x, scale=p["scale"], offset=p["offset"], mean=p["mean"], variance=p["variance"],
                    epsilon=self.pick(1e-4, 1e-3, 1e-2), is_training=False,
                    data_format=self.format, name=self.name("norm"))[0]  # fmt: skip

    def small(self, x, scale=None, offset=None, form=None):
        """A batch norm in small ops; `scale`, `offset`: whether it has them."""
        if form is None:
            form = self.pick("rank 4", "reshape") if self.nchw else self.pick("vector", "rank 4", "reshape")
        channels = self.channels(x) if x.shape.ndims == 4 else int(x.shape[-1])
        p = self.parameters(channels, form)
        add = self.pick("Add", "AddV2")
        self.norms += 1
        epsilon = tf.constant(self.pick(0.0, 1e-5, 1e-3, 0.1), tf.float32, name=self.name("epsilon"))
        inverse = raw.Rsqrt(x=self.add(add, p["variance"], epsilon), name=self.name("rsqrt"))
        if scale if scale is not None else self.chance():
            inverse = self.multiply(inverse, p["scale"])
        product = self.between(self.multiply(self.between(x), inverse))
        if offset if offset is not None else self.chance():
            shift = raw.Sub(x=p["offset"], y=self.multiply(p["mean"], inverse), name=self.name("sub"))
        else:
            shift = self.multiply(raw.Neg(x=p["mean"], name=self.name("neg")), inverse)
        return self.add(add, product, shift)

    def norm(self, x):
        return self.small(x) if self.chance() else self.large(x)

    def biased(self, x):
        return self.bias(x, self.pick(*SUMS)) if self.chance() else x

    def single(self, x):
        """A convolution, perhaps biased, and one or two batch norms."""
        kind = self.pick("plain", "plain", "depthwise", "transposed", "atrous", "in_other_layout")
        if kind in ("transposed", "atrous", "in_other_layout"):
            x = getattr(self, kind)(x, self.pick(1, 2, 5, 8))
        else:
            out = self.pick(1, 2, 3) if kind == "depthwise" else self.pick(1, 2, 5, 8)
            x = self.conv(x, out, depthwise=kind == "depthwise")
        x = self.biased(x)
        if kind not in ("atrous", "in_other_layout") and self.chance(0.3):
            x = self.arithmetic(x)
        # in small ops, NCHW is known from what stands next to them: a Transpose does not tell
        x = self.large(x) if kind == "in_other_layout" else self.norm(x)
        if kind not in ("atrous", "in_other_layout") and self.chance(0.2):
            x = self.arithmetic(x)
        return self.norm(x) if self.chance(0.2) else x

    def ahead(self, x):
        """One or two batch norms, and the convolution behind that takes them, or two."""
        x = raw.Relu(features=x, name=self.name("relu"))
        height, width = (int(n) for n in (x.shape[2:] if self.nchw else x.shape[1:3]))
        x = self.norm(x)
        x = self.between(self.norm(x) if self.chance(0.2) else x)
        size = self.pick(*range(1, min(3, height, width) + 1))
        padding = self.pick("SAME", "VALID") if size == 1 else "VALID"
        depthwise, out = self.chance(0.3), self.pick(1, 2, 3)
        branches = [
            self.biased(self.conv(x, out, size=size, depthwise=depthwise, padding=padding))
            for _ in range(self.pick(1, 1, 2))
        ]
        if len(branches) == 2:
            return self.concat([raw.Relu(features=y, name=self.name("relu")) for y in branches])
        return self.norm(branches[0]) if self.chance(0.3) else branches[0]

    def concat(self, parts):
        if len(parts) == 1:  # TensorFlow has no concat of one
            return parts[0]
        axis = self.axis - (4 if self.chance() else 0)
        if self.chance(0.3):
            return raw.Concat(concat_dim=axis, values=parts, name=self.name("concat"))
        return raw.ConcatV2(values=parts, axis=axis, name=self.name("concat"))

    def parts(self, x, groups):
        """x in groups: equal parts, unequal ones, or the whole for each."""
        channels = self.channels(x)
        if channels < groups or self.chance(0.2):
            return [x] * groups
        if channels % groups == 0 and self.chance(0.7):
            return raw.Split(axis=self.axis, value=x, num_split=groups, name=self.name("split"))
        sizes = [1] * groups
        for _ in range(channels - groups):
            sizes[self.random.randint(groups)] += 1
        parts = raw.SplitV(value=x, size_splits=sizes, axis=self.axis, num_split=groups, name=self.name("split"))
        for part, size in zip(parts, sizes):
            part.set_shape([None, size, None, None] if self.nchw else [None, None, None, size])
        return parts

    def group(self, x, groups=None):
        """Convolutions of the parts of x, concatenated, and a batch norm."""
        groups = groups or self.pick(1, 2, 3, 4, 8, 33)
        out = self.pick(1, 2, 3)
        shared = {}  # one weight for all branches that it fits
        branches = []
        sharing = self.chance(0.3)
        for part in self.parts(x, groups):
            weight = shared.get(self.channels(part)) if sharing else None
            if weight is None:
                weight = self.weight(3, 3, self.channels(part), out if sharing else self.pick(1, 2, 3))
                shared[self.channels(part)] = weight
            y = self.biased(self.conv(part, 0, weight=weight, padding="SAME"))
            branches.append(self.norm(y) if self.chance(0.1) else y)
        x = self.concat(branches)
        if groups > 1 and self.chance(0.4):  # in small ops, a sum does not tell what is NCHW
            x = self.bias(x, "BiasAdd" if self.nchw else self.pick(*SUMS))
        x = self.norm(x)
        return self.norm(x) if self.chance(0.2) else x

    def piece(self, x):
        if self.chance(0.2):
            return self.ahead(x)
        return self.group(x) if self.chance(0.4) else self.single(x)

    def image(self, channels, size=9, name="x"):
        shape = [None, channels, size, size] if self.nchw else [None, size, size, channels]
        return v1.placeholder(tf.float32, shape, name=name)
