# SPDX-License-Identifier: Apache-2.0
"""The four deploy ops against a NumPy transcription of their contract, bit for bit."""

import threading

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow  # noqa: F401  (loads the op library)

v1 = tf.compat.v1
F32 = np.float32
TYPES = {np.float16: tf.float16, np.float32: tf.float32, np.float64: tf.float64}
CASES = 100  # a graph, and there are several graphs for each op and type


# ---- the contract, one array step at a time ----


def away(x):
    """Round half away from zero, exactly."""
    whole = np.trunc(x)
    return whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0).astype(x.dtype)


def computing(x):
    """Half computes in float32."""
    return x.astype(F32) if x.dtype == np.float16 else x


def quant(x, scale, offset, bits):
    v = computing(x)
    kind = v.dtype.type
    q = away(v * kind(F32(scale))) + kind(F32(offset))
    q = np.minimum(np.maximum(q, kind(-(2 ** (bits - 1)))), kind(2 ** (bits - 1) - 1))
    return (q - kind(F32(offset))).astype(x.dtype)


def antiquant(x, scale):
    v = computing(x)
    return (v * v.dtype.type(F32(scale))).astype(x.dtype)


def dequant(x, words, ksize, data_format):
    shape = [-1] if words.size > 1 else [1]
    if words.size > 1 and data_format == "NCHW":
        shape = [-1, 1, 1]
    deq = (words & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(F32).reshape(shape)
    n = ((words >> np.uint64(32)) & np.uint64(0xFF)).astype(np.float64).reshape(shape)
    power = 2.0**n
    v = computing(x)
    kind = v.dtype.type
    area = kind(ksize[0] * ksize[1])
    v = v * area
    shifted = np.clip(np.floor(v.astype(np.float64) / power), -32768, 32767)
    v = np.where(n > 0, shifted, v.astype(np.float64)).astype(kind)
    product = (v * deq.astype(kind)).astype(np.float64)
    return (product * power / float(ksize[0] * ksize[1])).astype(kind).astype(x.dtype)


def weight(x, offset_w, kind):
    offsets = offset_w.astype(F32)
    if offset_w.size > 1 and offset_w.shape[2] > 1:
        offsets = offsets.reshape([-1, 1])
    elif offset_w.size > 1:
        offsets = offsets.reshape([-1])
    return (x.astype(F32) - offsets).astype(kind)


# ---- cases ----


def numbers(rng, shape, kind, step=1.0):
    """Values of every size, ties of the grid, and what is not a number."""
    x = rng.normal(0, 1, shape) * 10.0 ** rng.uniform(-3, 4)
    ties = rng.rand(*shape) < 0.2
    x = np.where(ties, (rng.randint(-140, 140, shape) + 0.5) * step, x)
    flat = x.reshape(-1)
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -3e-39, 3e38, -65504, 6e-8]
    flat[rng.randint(0, flat.size, 3)] = rng.choice(special, 3)
    with np.errstate(over="ignore"):
        return x.astype(kind)


def random_shape(rng, ranks=(1, 2, 3, 4)):
    return tuple(rng.randint(1, 7, rng.choice(ranks)))


def assert_bits(ours, expected, what):
    """Equal to the sign of zero; NaN is NaN."""
    assert ours.dtype == expected.dtype and ours.shape == expected.shape, what
    bits = {2: np.uint16, 4: np.uint32, 8: np.uint64}[ours.dtype.itemsize]
    same = (ours.view(bits) == expected.view(bits)) | (np.isnan(ours) & np.isnan(expected))
    if not np.all(same):
        at = np.argwhere(~same)[0]
        raise AssertionError(
            "{}: at {} {!r}, expected {!r}".format(what, at, ours[tuple(at)], expected[tuple(at)])
        )


def node(graph, op, inputs, dtype, name=None, **attrs):
    """A node as a graph loaded from a pb has it, not through a generated wrapper."""
    values = {"T": v1.AttrValue(type=TYPES[dtype].as_datatype_enum)}
    for key, value in attrs.items():
        kind = {int: "i", float: "f", bytes: "s"}.get(type(value))
        if kind:
            values[key] = v1.AttrValue(**{kind: value})
        else:
            values[key] = v1.AttrValue(list=v1.AttrValue.ListValue(i=value))
    tensors = [tf.constant(t) if isinstance(t, np.ndarray) else t for t in inputs]
    return graph.create_op(op, tensors, [TYPES[dtype]], name=name, attrs=values).outputs[0]


def run(build, feed=None):
    """build(graph) -> tensors; their values."""
    with tf.Graph().as_default() as graph:
        tensors = build(graph)
        with v1.Session(graph=graph) as session:
            return session.run(tensors, feed)


def check(make, dtype, seed):
    """CASES random cases in one graph: make(rng) -> (op, inputs, attrs, expected)."""
    rng = np.random.RandomState(seed)
    with np.errstate(all="ignore"):
        cases = [make(rng, dtype) for _ in range(CASES)]

    def build(graph):
        return [node(graph, op, inputs, dtype, **attrs) for op, inputs, attrs, _ in cases]

    for got, (op, inputs, attrs, expected) in zip(run(build), cases):
        assert_bits(got, expected, "{} {} {}".format(op, inputs[0].shape, attrs))


def quant_case(rng, dtype):
    scale = float(F32(10.0 ** rng.uniform(-3, 3)))
    offset = float(rng.randint(-128, 128)) if rng.rand() < 0.8 else float(F32(rng.normal(0, 20)))
    bits = int(rng.choice([8, 8, 8, 4, 2, 16]))
    x = numbers(rng, random_shape(rng), dtype, 1 / scale)
    attrs = dict(scale=scale, offset=offset, quant_bits=bits)
    return "AscendQuant", [x], attrs, quant(x, scale, offset, bits)


def antiquant_case(rng, dtype):
    scale = float(F32(10.0 ** rng.uniform(-3, 3)))
    x = numbers(rng, random_shape(rng), dtype)
    return "AscendAntiQuant", [x], dict(scale=scale, offset=7.0), antiquant(x, scale)


def dequant_words(rng, count):
    scales = (10.0 ** rng.uniform(-8, 2, count)).astype(F32).view(np.uint32).astype(np.uint64)
    shift = rng.choice([0, 0, 0, 1, 4, 16, 255], count).astype(np.uint64)
    rest = rng.randint(0, 1 << 24, count).astype(np.uint64)  # offset_w and the spare bits
    return scales | (shift << np.uint64(32)) | (rest << np.uint64(40))


def dequant_case(rng, dtype):
    data_format = str(rng.choice(["NHWC", "NCHW", "anything"]))
    one = rng.rand() < 0.3
    shape = random_shape(rng, (1, 2, 3, 4) if one or data_format != "NCHW" else (4,))
    channels = 1 if one else shape[1 if data_format == "NCHW" else -1]
    words = dequant_words(rng, channels)
    ksize = [1, 1] if rng.rand() < 0.5 else [int(k) for k in rng.randint(1, 8, 2)]
    x = numbers(rng, shape, dtype)
    if rng.rand() < 0.7:
        x = np.round(x)
    attrs = dict(ksize=ksize, data_format=data_format.encode())
    return "AscendDequant", [x, words], attrs, dequant(x, words, ksize, data_format)


def weight_case(rng, dtype):
    shape = random_shape(rng, (4,))
    x = rng.randint(-128, 128, shape).astype(np.int8)
    axis = rng.choice([0, 2, 3])
    offset_shape = [shape[i] if i == axis and axis else 1 for i in range(4)]
    offset_w = rng.randint(-128, 128, offset_shape).astype(np.int8)
    return "AscendWeightQuant", [x, offset_w], {}, weight(x, offset_w, dtype)


MAKERS = [quant_case, antiquant_case, dequant_case, weight_case]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", list(TYPES), ids=lambda t: t.__name__)
@pytest.mark.parametrize("make", MAKERS, ids=lambda m: m.__name__)
def test_random_cases(make, dtype, seed):
    check(make, dtype, seed)


@pytest.mark.parametrize("dtype", list(TYPES), ids=lambda t: t.__name__)
def test_large_tensors_in_several_threads(dtype):
    rng = np.random.RandomState(5)
    with np.errstate(all="ignore"):
        x = numbers(rng, (3, 101, 7, 331), dtype, 0.25)
        per_row, per_plane = dequant_words(rng, 331), dequant_words(rng, 101)
        w = rng.randint(-128, 128, (9, 3, 61, 331)).astype(np.int8)
        offset_w = rng.randint(-9, 9, (1, 1, 61, 1)).astype(np.int8)
        expected = [
            quant(x, 4.0, -3.0, 8),
            antiquant(x, 0.3),
            dequant(x, per_row, [2, 3], "NHWC"),
            dequant(x, per_plane, [1, 1], "NCHW"),
            weight(w, offset_w, dtype),
        ]

    def build(graph):
        return [
            node(graph, "AscendQuant", [x], dtype, scale=4.0, offset=-3.0),
            node(graph, "AscendAntiQuant", [x], dtype, scale=0.3, offset=0.0),
            node(graph, "AscendDequant", [x, per_row], dtype, ksize=[2, 3]),
            node(graph, "AscendDequant", [x, per_plane], dtype, ksize=[1, 1], data_format=b"NCHW"),
            node(graph, "AscendWeightQuant", [w, offset_w], dtype),
        ]

    for got, wanted in zip(run(build), expected):
        assert_bits(got, wanted, str(dtype))


def test_four_bits_by_dst_type():
    x = np.array([-100, -8.5, 3.4, 9, np.nan, np.inf], F32)

    def build(graph):
        common = dict(scale=1.0, offset=1.0)
        return [
            node(graph, "AscendQuant", [x], F32, dst_type=b"INT4", **common),
            node(graph, "AscendQuant", [x], F32, dst_type=b"INT8", quant_bits=4, **common),
            node(graph, "AscendQuant", [x], F32, dst_type=b"INT8", **common),
        ]

    four, bits, eight = run(build)
    assert_bits(four, quant(x, 1.0, 1.0, 4), "dst_type")
    assert_bits(bits, four, "quant_bits")
    assert_bits(eight, quant(x, 1.0, 1.0, 8), "neither")


def test_one_offset_for_weights_of_any_rank():
    x = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    offset_w = np.array(5, np.int8)
    got = run(lambda graph: node(graph, "AscendWeightQuant", [x, offset_w], F32))
    assert_bits(got, x.astype(F32) - F32(5), "scalar offset")


def test_shapes_go_through():
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 5, 7])
        q = node(graph, "AscendQuant", [x], F32, scale=1.0, offset=0.0)
        y = node(graph, "AscendDequant", [q, dequant_words(np.random, 1)], F32, ksize=[1, 1])
        assert y.shape.as_list() == [None, 5, 7]
        assert q.op.op_def.is_stateful


# ---- what is refused ----


def failing(op, inputs, dtype=np.float32, **attrs):
    """The InvalidArgumentError of running such a node, which is called scope/bad."""
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        run(lambda graph: node(graph, op, inputs, dtype, name="scope/bad", **attrs))
    assert "scope/bad: " in str(caught.value)
    if caught.value.node_def is not None:
        assert caught.value.node_def.name == "scope/bad"
    return str(caught.value)


WORDS = np.array([0x3F800000] * 3, np.uint64)
SOME = np.ones((2, 3), F32)
NONE = np.ones((0, 3), F32)
INT8 = np.ones((2, 2, 3, 4), np.int8)


@pytest.mark.parametrize("dtype", list(TYPES), ids=lambda t: t.__name__)
def test_empty_input_is_refused(dtype):
    none = NONE.astype(dtype)
    words = WORDS
    assert "[0,3]" in failing("AscendQuant", [none], dtype, scale=1.0, offset=0.0)
    assert "[0,3]" in failing("AscendAntiQuant", [none], dtype, scale=1.0, offset=0.0)
    assert "[0,3]" in failing("AscendDequant", [none, words], dtype, ksize=[1, 1])
    no_words = words[:0]
    some = SOME.astype(dtype)
    assert "deq_scale" in failing("AscendDequant", [some, no_words], dtype, ksize=[1, 1])
    no_bytes = INT8[:0]
    assert "[0,2,3,4]" in failing("AscendWeightQuant", [no_bytes, INT8[:1, :1, :1, :1]], dtype)
    assert "offset_w" in failing("AscendWeightQuant", [INT8, no_bytes], dtype)


def test_channels_are_checked():
    four = np.ones((2, 3, 4, 5), F32)
    text = failing("AscendDequant", [four, WORDS], ksize=[1, 1])
    assert "3 values for the 5 channels" in text and "[2,3,4,5]" in text
    text = failing("AscendDequant", [four, WORDS[:2]], ksize=[1, 1], data_format=b"NCHW")
    assert "2 values for the 3 channels" in text
    text = failing("AscendDequant", [four[0], WORDS], ksize=[1, 1], data_format=b"NCHW")
    assert "rank 4" in text and "[3,4,5]" in text
    scalar = np.array(1, F32)
    assert "a channel axis" in failing("AscendDequant", [scalar, WORDS], ksize=[1, 1])


def test_offsets_are_checked():
    for shape in [(3,), (1, 1, 2, 1), (1, 1, 1, 3), (1, 1, 3)]:
        text = failing("AscendWeightQuant", [INT8, np.ones(shape, np.int8)])
        assert "does not fit" in text
    failing("AscendWeightQuant", [INT8[0], np.ones((1, 1, 1, 4), np.int8)])


def test_attributes_are_checked():
    for ksize in [[], [1], [0, 1], [2, -1]]:
        assert "ksize" in failing("AscendDequant", [SOME, WORDS], ksize=ksize)
    for bits in [1, 17, -8, 1 << 40]:
        text = failing("AscendQuant", [SOME], scale=1.0, offset=0.0, quant_bits=bits)
        assert str(bits) in text


# ---- sessions and threads ----


def layer(graph):
    x = v1.placeholder(tf.float32, [None, 3], name="x")
    q = node(graph, "AscendQuant", [x], F32, scale=8.0, offset=2.0)
    return x, node(graph, "AscendDequant", [q, WORDS], F32, ksize=[1, 1])


def test_several_sessions_on_one_graph():
    with tf.Graph().as_default() as graph:
        x, y = layer(graph)
        sessions = [v1.Session(graph=graph) for _ in range(3)]
        for i, session in enumerate(sessions * 2):
            value = SOME * i
            assert_bits(session.run(y, {x: value}), quant(value, 8.0, 2.0, 8), "session")
        for session in sessions:
            session.close()


def test_concurrent_runs_of_one_session():
    sizes = [1, 1000, 40000, 100000]
    wrong = []
    with tf.Graph().as_default() as graph:
        x, y = layer(graph)
        with v1.Session(graph=graph) as session:

            def work(seed):
                rng = np.random.RandomState(seed)
                for rows in sizes * 3:
                    value = rng.normal(0, 9, (rows, 3)).astype(F32)
                    got = session.run(y, {x: value})
                    if not np.array_equal(got, quant(value, 8.0, 2.0, 8)):
                        wrong.append((seed, rows))

            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert not wrong


@pytest.mark.parametrize("dtype", [tf.float32, tf.float16, tf.float64])
def test_results_lie_over_inputs_that_nobody_else_reads(dtype):
    """Memory may be used again; a value that is fed, fetched or read elsewhere is never touched."""
    kind = dtype.as_numpy_dtype
    x = np.linspace(-3, 3, 100_000).astype(kind).reshape(10, -1)
    kept = x.copy()
    with tf.Graph().as_default() as graph:
        fed = v1.placeholder(dtype, [10, None])
        constant = tf.constant(x)
        variable = v1.get_variable("v", initializer=x)
        outputs = []
        for tensor in (fed, constant, variable, tf.reshape(fed, [-1]), tf.add(fed, fed)):
            tensor = tf.identity(tensor)
            op = node(graph, "AscendQuant", [tensor], kind, quant_bits=8, scale=40.0, offset=-3.0)
            outputs += [op, tensor, tf.negative(tensor)]
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            for _ in range(3):
                found = session.run(outputs + [fed, constant, variable], {fed: x})
    assert np.array_equal(x, kept)
    for value in found[-3:] + [found[1], found[4], found[7]]:
        assert np.array_equal(value, kept)
    for i, value in enumerate((kept, kept, kept, kept.reshape(-1), kept + kept)):
        assert_bits(found[3 * i], quant(value, 40.0, -3.0, 8), "result")
        assert np.array_equal(found[3 * i + 1], value) and np.array_equal(found[3 * i + 2], -value)
