# SPDX-License-Identifier: Apache-2.0
"""The graph code reads what TensorFlow writes, and TensorFlow reads what it writes."""


import numpy as np
import pytest
import tensorflow as tf

from conftest import run_probe as run

v1 = tf.compat.v1
REALS = [tf.float32, tf.float64, tf.float16, tf.bfloat16]
INTS = [tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64, tf.bool]


def wanted_hex(array):
    """Kind and bytes that the probe shows for an array."""
    if array.dtype.kind in "iub":
        return "i", array.astype(np.int64).tobytes().hex()
    return "f", array.astype(np.float32).tobytes().hex()


def check(probe, graph_def):
    """Nodes, inputs and constants as TensorFlow has them; the same bytes written again."""
    given = graph_def.SerializeToString()
    lines, written = run(probe, "show", given)
    assert written == given
    nodes = [line[1:] for line in lines if line[0] == "node"]
    wanted = [
        [n.name, n.op] + [i[:-2] if i.endswith(":0") else i for i in n.input]
        for n in graph_def.node
    ]
    assert nodes == wanted
    shown = {line[1]: line[2:] for line in lines if line[0] == "const"}
    for node in graph_def.node:
        if node.op != "Const" or node.attr["dtype"].type == tf.string.as_datatype_enum:
            continue
        proto = node.attr["value"].tensor
        dtype, dims, kind, values = shown[node.name]
        assert int(dtype) == proto.dtype
        assert dims == ",".join(str(d.size) for d in proto.tensor_shape.dim)
        assert (kind, values) == wanted_hex(tf.make_ndarray(proto)), node.name
    functions = [line[1] for line in lines if line[0] == "function"]
    assert functions == [f.signature.name for f in graph_def.library.function]
    return shown


def arrays(dtype):
    """Constants whose encodings differ: scalar, one element, many, equal ones, none, corners."""
    rng = np.random.RandomState(7)
    kind = dtype.as_numpy_dtype
    if dtype in REALS:
        many = rng.standard_normal((3, 1, 5)).astype(kind)
        corners = np.array([0.0, -0.0, np.inf, -np.inf, 1e-7, -6e-8, 65504.0, 1.0 / 3]).astype(kind)
    elif dtype == tf.bool:
        many = rng.rand(3, 1, 5) > 0.5
        corners = np.array([True, False])
    else:
        many = rng.randint(0, 100, (3, 1, 5)).astype(kind)
        corners = np.array([np.iinfo(kind).min, 0, np.iinfo(kind).max], kind)
    return {
        "scalar": many[0, 0, 0],
        "one": many[:1, :1, :1],
        "many": many,
        "equal": np.ones((4, 2), kind),
        "zeros": np.zeros((4, 2), kind),
        "none": np.zeros((2, 0), kind),
        "corners": corners,
    }


@pytest.mark.parametrize("dtype", REALS + INTS, ids=lambda d: d.name)
def test_constants_from_arrays(probe, dtype):
    with tf.Graph().as_default() as graph:
        for name, array in arrays(dtype).items():
            try:
                v1.constant(array, dtype, name=name)
            except TypeError:
                pytest.skip("this TensorFlow makes no constants of " + dtype.name)
    graph_def = graph.as_graph_def()
    for node in graph_def.node:
        try:
            tf.make_ndarray(node.attr["value"].tensor)
        except TypeError:
            pytest.skip("this TensorFlow reads no constants of " + dtype.name)
    assert len(check(probe, graph_def)) == 7


FIELDS = {
    tf.float32: ("float_val", [0.5, -2.25, 1e-3]),
    tf.float64: ("double_val", [0.5, -2.25, 1e-3]),
    tf.float16: ("half_val", [0x3800, 0xC080, 0x0001]),
    tf.bfloat16: ("half_val", [0x3F00, 0xC010, 0x0001]),
    tf.int32: ("int_val", [5, -7, 2**31 - 1]),
    tf.int8: ("int_val", [5, -7, 127]),
    tf.uint8: ("int_val", [5, 200, 255]),
    tf.int64: ("int64_val", [5, -7, 2**62]),
    tf.bool: ("bool_val", [True, False, True]),
}


@pytest.mark.parametrize("dtype", sorted(FIELDS, key=lambda d: d.name), ids=lambda d: d.name)
@pytest.mark.parametrize("given", [1, 2, 3])
def test_typed_values(probe, dtype, given):
    """Typed values, of which the last stands for those that are missing."""
    field, values = FIELDS[dtype]
    graph_def = v1.GraphDef()
    node = graph_def.node.add(name="c", op="Const")
    node.attr["dtype"].type = dtype.as_datatype_enum
    proto = node.attr["value"].tensor
    proto.dtype = dtype.as_datatype_enum
    proto.tensor_shape.dim.add(size=3)
    getattr(proto, field).extend(values[:given])
    if given == 2:  # NumPy's side of TensorFlow 1.15 repeats only a single value
        with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
            tf.import_graph_def(graph_def, name="")
            array = session.run("c:0")
        lines, _ = run(probe, "show", graph_def.SerializeToString())
        assert tuple(lines[1][4:]) == wanted_hex(array)
    else:
        check(probe, graph_def)


def test_control_flow_and_functions(probe):
    """v1 loops and branches, control edges, several outputs, strings, a function library."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        text = v1.constant(["a", "b"], name="text")
        with tf.control_dependencies([text]):
            parts = v1.split(x, 2, axis=1, name="parts")
        v1.disable_control_flow_v2()
        looped = v1.while_loop(lambda i, t: i < 3, lambda i, t: (i + 1, t * 2), [0, parts[1]])
        chosen = v1.cond(looped[0] > 2, lambda: looped[1] + 1, lambda: looped[1] - 1)
        tf.identity(chosen, name="y")
        tf.function(lambda t: t + 1)(x)
    graph_def = graph.as_graph_def()
    assert any(node.op == "NextIteration" for node in graph_def.node)
    assert any(i.startswith("^") for node in graph_def.node for i in node.input)
    assert len(graph_def.library.function) > 0
    check(probe, graph_def)


TEXT = b"""
x = Placeholder() {shape=[1,4,4,1]}
w = Const() {value=float[1,1,1,2](0.5,-2)}
b = Const() {value=float[2](fill 0.25)}
c = Conv2D(x, w) {strides=[1,1,1,1], padding=VALID}
y = BiasAdd(c, b, ^x) {data_format=NHWC}
h = Const() {value=half[3](0.1,65519,-1e-6)}
i = Const() {value=int32[2](7,...)}
r = Const() {value=bfloat16[2](0.1,-3.14159)}
"""


def test_text_form_runs(probe):
    """What the text form makes imports into TensorFlow and computes what it says."""
    _, written = run(probe, "text", TEXT)
    graph_def = v1.GraphDef.FromString(written)
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        y, h, i, r = session.run(["y:0", "h:0", "i:0", "r:0"], {"x:0": x})
    np.testing.assert_array_equal(y, x * np.float32([0.5, -2]) + np.float32(0.25))
    np.testing.assert_array_equal(h, np.array([0.1, 65519, -1e-6]).astype(np.float16))
    np.testing.assert_array_equal(i, [7, 7])
    wanted = np.array([0.1, -3.14159], np.float32).astype(tf.bfloat16.as_numpy_dtype)
    np.testing.assert_array_equal(r.astype(np.float32), wanted.astype(np.float32))
