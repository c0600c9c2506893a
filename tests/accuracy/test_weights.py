# SPDX-License-Identifier: Apache-2.0
"""Folding, weight scales, biases, packed words and half precision against NumPy."""

import ctypes
import os
from ctypes import byref, c_bool, c_float, c_size_t

import numpy as np
import pytest

if "AMCT_PROBE" not in os.environ:
    pytest.skip("AMCT_PROBE is not set: the numeric oracles do not run", allow_module_level=True)

from numeric_probe import FoldStep, Layout, address, load

f32 = np.float32
f64 = np.float64
BIAS_LIMIT = f32(2147483520)
LAYOUTS = [(9, 8, 1), (1, 5, 1), (3, 4, 7), (1, 1, 1), (64, 33, 2), (2, 1, 5)]
BIAS, BATCH_NORM, MULTIPLY, DIVIDE, ADD, SUBTRACT, SUBTRACT_FROM = range(7)
FOLDABLE, NOT_FINITE, VARIANCE, OVERFLOWS = range(4)


@pytest.fixture(scope="module")
def library():
    return load()


def away(x):
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


# Folding


def bias_step(bias):
    return FoldStep(BIAS, bias=address(bias))


def norm_step(scale, offset, mean, variance, epsilon):
    return FoldStep(BATCH_NORM, None, *(address(a) for a in (scale, offset, mean, variance)), epsilon)


def run_fold(library, steps, channels):
    factor, shift = np.zeros(channels), np.zeros(channels)
    where = c_size_t(0)
    array = (FoldStep * len(steps))(*steps)
    result = library.amct_fold_run(
        array, c_size_t(len(steps)), c_size_t(channels), address(factor), address(shift), byref(where)
    )
    return result, factor, shift, where.value


@pytest.mark.parametrize("seed", range(20))
def test_fold_of_a_chain(library, seed):
    """y = factor*x + shift is what the chain computes, in double."""
    rng = np.random.default_rng(seed)
    channels, x = int(rng.integers(1, 40)), rng.standard_normal(40)
    keep, steps, y = [], [], x[:channels].copy()
    for _ in range(rng.integers(1, 5)):
        if rng.random() < 0.4:
            keep.append([rng.standard_normal(channels).astype(f32)])
            steps.append(bias_step(*keep[-1]))
            y = y + keep[-1][0].astype(f64)
        else:
            arrays = [rng.standard_normal(channels).astype(f32) for _ in range(3)]
            arrays.append(rng.uniform(0, 3, channels).astype(f32))
            keep.append(arrays)
            steps.append(norm_step(*arrays, 1e-3))
            scale, offset, mean, variance = (a.astype(f64) for a in arrays)
            y = (y - mean) * (scale / np.sqrt(variance + f64(f32(1e-3)))) + offset
    result, factor, shift, _ = run_fold(library, steps, channels)
    assert result == FOLDABLE
    np.testing.assert_allclose(factor * x[:channels] + shift, y, rtol=1e-12, atol=1e-12)


ARITHMETIC = {
    MULTIPLY: lambda y, o: y * o,
    DIVIDE: lambda y, o: y / o,
    ADD: lambda y, o: y + o,
    SUBTRACT: lambda y, o: y - o,
    SUBTRACT_FROM: lambda y, o: o - y,
}


def operand_step(kind, operand, single=False):
    return FoldStep(kind, bias=address(operand), single=single)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("kind", sorted(ARITHMETIC))
def test_fold_of_arithmetic(library, kind, single):
    """An operand for each channel, or one for all, with a batch norm before and a bias behind."""
    rng = np.random.default_rng(kind)
    channels = 37
    x = rng.standard_normal(channels)
    norm = [rng.standard_normal(channels).astype(f32) for _ in range(3)] + [rng.uniform(0, 3, channels).astype(f32)]
    operand = rng.uniform(0.5, 2, 1 if single else channels).astype(f32)
    bias = rng.standard_normal(channels).astype(f32)
    scale, offset, mean, variance = (a.astype(f64) for a in norm)
    y = (x - mean) * (scale / np.sqrt(variance + f64(f32(1e-3)))) + offset
    y = ARITHMETIC[kind](y, operand.astype(f64)) + bias.astype(f64)
    steps = [norm_step(*norm, 1e-3), operand_step(kind, operand, single), bias_step(bias)]
    result, factor, shift, _ = run_fold(library, steps, channels)
    assert result == FOLDABLE
    np.testing.assert_allclose(factor * x + shift, y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [BIAS] + sorted(ARITHMETIC))
def test_arithmetic_refuses(library, kind):
    for value in (np.nan, np.inf, -np.inf):
        operand = np.ones(6, f32)
        operand[3] = value
        assert run_fold(library, [operand_step(kind, operand)], 6)[::3] == (NOT_FINITE, 3)
    small = np.ones(6, f32)
    small[2] = 0 if kind == DIVIDE else 3e38
    steps = [operand_step(kind, small)] * (1 if kind == DIVIDE else 2)
    if kind == SUBTRACT_FROM:  # o - (o - y) is y
        steps = [operand_step(SUBTRACT, small), operand_step(SUBTRACT_FROM, small)]
    assert run_fold(library, steps, 6)[::3] == (OVERFLOWS, 2)


def test_only_what_scales_needs_other_weights(library):
    library.amct_fold_scales.restype = c_bool
    scaling = [kind for kind in range(7) if library.amct_fold_scales(kind)]
    assert scaling == [BATCH_NORM, MULTIPLY, DIVIDE, SUBTRACT_FROM]


@pytest.mark.parametrize(
    "part, value, wanted",
    [(0, np.nan, NOT_FINITE), (1, np.inf, NOT_FINITE), (2, -np.inf, NOT_FINITE), (3, np.nan, NOT_FINITE),
     (3, -1e-3, VARIANCE), (3, -2.0, VARIANCE), (0, 3.4e38, OVERFLOWS)],
)  # fmt: skip
def test_fold_refuses(library, part, value, wanted):
    arrays = [np.ones(6, f32), np.zeros(6, f32), np.zeros(6, f32), np.full(6, 1e-3, f32)]
    arrays[part][4] = value
    epsilon = 1e-3
    result, _, _, where = run_fold(library, [norm_step(*arrays, epsilon)], 6)
    assert (result, where) == (wanted, 4)


@pytest.mark.parametrize("shape", LAYOUTS)
def test_fold_weights(library, shape):
    rng = np.random.default_rng(1)
    w = rng.standard_normal(shape).astype(f32)
    factor = rng.standard_normal(shape[1])
    wanted = (w.astype(f64) * factor[:, None]).astype(f32)
    out = np.zeros_like(w)
    where = c_size_t(0)
    assert library.amct_fold_weights(address(out), address(w), Layout(*shape), address(factor), byref(where)) == 0
    assert out.tobytes() == wanted.tobytes()
    assert library.amct_fold_weights(address(w), address(w), Layout(*shape), address(factor), byref(where)) == 0
    assert w.tobytes() == wanted.tobytes()
    factor[-1] = 1e45
    assert library.amct_fold_weights(address(out), address(w), Layout(*shape), address(factor), byref(where)) == OVERFLOWS
    assert where.value == shape[1] - 1


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("size, inputs, outputs", [(1, 1, 1), (1, 5, 3), (3, 4, 2), (2, 1, 7), (2, 300, 3), (1, 2, 600)])
def test_fold_shifts(library, depthwise, size, inputs, outputs):
    """What a shift of each input channel adds to each output channel; w of [height, width, in, out]."""
    rng = np.random.default_rng(size + inputs)
    w = rng.standard_normal((size, size, inputs, outputs)).astype(f32)
    shift = rng.standard_normal(inputs)
    terms = w.astype(f64) * shift[:, None]
    wanted = (terms.sum((0, 1)) if depthwise else terms.sum((0, 1, 2))).ravel()
    cut = (size * size, inputs * outputs, 1) if depthwise else (size * size * inputs, outputs, 1)
    by_input = Layout(size * size, inputs, outputs)
    bias = np.zeros(cut[1], f32)
    where = c_size_t(0)

    def fold():
        return library.amct_fold_shifts(
            address(bias), address(w), Layout(*cut), by_input, address(shift), byref(where)
        )

    assert fold() == FOLDABLE
    np.testing.assert_allclose(bias, wanted, rtol=1e-7, atol=1e-12)
    w[:, :, -1, -1] = 1
    shift[-1] = 1e39
    w[:, :, -1, :-1] = 0
    assert (fold(), where.value) == (OVERFLOWS, cut[1] - 1)


# Scales and integers


def scales_of(library, w, per_channel):
    scale = np.zeros(w.shape[1] if per_channel else 1, f32)
    status = library.amct_weight_scales(address(scale), address(w), Layout(*w.shape), c_bool(per_channel), None)
    return status, scale


@pytest.mark.parametrize("shape", LAYOUTS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_weight_scales_and_integers(library, shape, per_channel):
    rng = np.random.default_rng(2)
    w = (rng.standard_normal(shape) * 10.0 ** rng.uniform(-6, 6)).astype(f32)
    if shape[1] > 2:
        w[:, 1] = 0
    status, scale = scales_of(library, w, per_channel)
    largest = np.abs(w).max(axis=(0, 2)) if per_channel else np.abs(w).max(keepdims=True).reshape(1)
    wanted = np.where(largest == 0, f32(1), largest / f32(127)).astype(f32)
    assert status == 0 and scale.tobytes() == wanted.tobytes()

    used = wanted * f32(0.9)  # some saturate
    q = np.zeros(w.shape, np.int8)
    library.amct_weight_quantize(address(q), address(w), Layout(*shape), address(used), c_size_t(used.size))
    spread = used[:, None] if per_channel else used
    assert np.array_equal(q, np.clip(away((w / spread).astype(f32)), -128, 127).astype(np.int8))

    where = c_size_t(0)
    library.amct_weight_worst_ratio.restype = c_float
    ratio = library.amct_weight_worst_ratio(
        address(w), Layout(*shape), address(used), c_size_t(used.size), byref(where)
    )
    ratios = np.abs(w).max(axis=(0, 2)) / used
    assert f32(ratio) == ratios.max() and ratios[where.value] == ratios.max()


def test_weight_scales_refuse_what_is_not_finite(library):
    for value in (np.nan, np.inf, -np.inf):
        w = np.ones((2, 3, 2), f32)
        w[1, 2, 0] = value
        for per_channel in (True, False):
            assert scales_of(library, w, per_channel)[0] != 0


def test_tiny_weights_have_a_scale(library):
    """A channel that is not zero must not get a scale of 0."""
    w = np.full((1, 1, 4), 1e-44, f32)
    status, scale = scales_of(library, w, True)
    assert status == 0 and scale[0] > 0


# Biases


def step_of(scale_d, scale_w):
    return f64(f32(f32(scale_d) * f32(scale_w)))


@pytest.mark.parametrize("seed", range(5))
def test_bias_quantize(library, seed):
    rng = np.random.default_rng(seed)
    for _ in range(2000):
        b, d, w = (f32(s * 10.0 ** rng.uniform(-6, 3)) for s in (rng.choice([-1, 1]), 1, 1))
        assert f32(library.amct_bias_quantize(b, d, w)) == f32(away(f64(b) / step_of(d, w)))
    assert library.amct_bias_quantize(f32(2.5), f32(1), f32(1)) == 3
    assert library.amct_bias_quantize(f32(-2.5), f32(1), f32(1)) == -3


@pytest.mark.parametrize("seed", range(5))
def test_bias_fit_is_the_smallest(library, seed):
    rng = np.random.default_rng(seed)
    raised = 0
    for _ in range(2000):
        b = f32(rng.choice([-1, 1]) * 10.0 ** rng.uniform(-3, 6))
        d, w = f32(10.0 ** rng.uniform(-4, 1)), f32(10.0 ** rng.uniform(-12, 0))
        fit = f32(library.amct_bias_fit(b, d, w))
        assert fit >= w and abs(f32(library.amct_bias_quantize(b, d, fit))) <= BIAS_LIMIT
        if fit > w:
            raised += 1
            below = np.nextafter(fit, f32(0))
            with np.errstate(divide="ignore"):
                assert abs(away(f64(b) / step_of(d, below))) > BIAS_LIMIT
    assert 50 < raised < 1950


def test_deq_words(library):
    rng = np.random.default_rng(3)
    for _ in range(500):
        d, w = (f32(10.0 ** rng.uniform(-6, 3)) for _ in range(2))
        shift, offset = int(rng.integers(0, 17)), int(rng.integers(-128, 128))
        word = library.amct_deq_pack(d, w, shift, offset)
        assert np.uint32(word & 0xFFFFFFFF).view(f32) == d * w
        assert word >> 32 & 0xFF == shift and word >> 40 & 0xFF == offset & 0xFF and word >> 48 == 0


# Half precision


def test_every_half(library):
    bits = np.arange(65536, dtype=np.uint16)
    floats = np.array([library.amct_half_to_float(int(b)) for b in bits], f32)
    wanted = bits.view(np.float16).astype(f32)
    assert np.array_equal(floats, wanted, equal_nan=True)
    back = np.array([library.amct_half_from_float(f) for f in floats[~np.isnan(wanted)]], np.uint16)
    assert np.array_equal(back, bits[~np.isnan(wanted)])


def test_floats_to_half(library):
    rng = np.random.default_rng(4)
    values = np.concatenate([
        (rng.standard_normal(20000) * 10.0 ** rng.uniform(-9, 6, 20000)).astype(f32),
        np.array([65504, 65519.99, 65520, 1e38, np.inf, -np.inf, 0, -0.0, 2**-24, 2**-25, 2**-25 * 1.0001], f32),
    ])  # fmt: skip
    found = np.array([library.amct_half_from_float(v) for v in values], np.uint16)
    with np.errstate(over="ignore"):
        assert np.array_equal(found, values.astype(np.float16).view(np.uint16))
    assert np.isnan(np.uint16(library.amct_half_from_float(np.nan)).view(np.float16))


def test_bfloat(library):
    library.amct_bfloat_to_float.argtypes = [ctypes.c_uint16]
    for bits in (0, 0x3F80, 0xC2F7, 0x7F80, 0x0001, 0x8000):
        assert f32(library.amct_bfloat_to_float(bits)) == (np.uint32(bits << 16)).view(f32)
