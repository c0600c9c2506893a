# SPDX-License-Identifier: Apache-2.0
"""Means by tap and channel, and the shift of a bias by them, against NumPy."""

import ctypes
import itertools
import os

import numpy as np
import pytest

if "AMCT_PROBE" not in os.environ:
    pytest.skip("AMCT_PROBE is not set: the numeric oracles do not run", allow_module_level=True)

from numeric_probe import InputSums, Window, bias_shift, load
from test_ifmr import KINDS, make

f32 = np.float32


@pytest.fixture(scope="module", params=["as shipped", "plain"])
def library(request):
    return load(plain=request.param == "plain")


def window_of(kernel, stride, dilation, same, channels_first=False):
    pair = ctypes.c_int64 * 2
    return Window(pair(*kernel), pair(*stride), pair(*dilation), same, channels_first, False)


def taps_of(x, kernel, stride, dilation, same):
    """double [pictures, rows out, columns out, taps, channels]: what each position sees."""
    n, h, w, c = x.shape
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    if same:
        out = [-(-size // s) for size, s in zip((h, w), stride)]
        pad = [max(0, (o - 1) * s + e - size) for o, s, e, size in zip(out, stride, extent, (h, w))]
    else:
        out = [max(0, (size - e) // s + 1) for size, s, e in zip((h, w), stride, extent)]
        pad = [0, 0]
    wide = np.zeros((n, h + pad[0], w + pad[1], c))
    wide[:, pad[0] // 2 : pad[0] // 2 + h, pad[1] // 2 : pad[1] // 2 + w] = x
    seen = []
    for i, j in itertools.product(range(kernel[0]), range(kernel[1])):
        rows = [i * dilation[0] + o * stride[0] for o in range(out[0])]
        columns = [j * dilation[1] + o * stride[1] for o in range(out[1])]
        seen.append(wide[:, rows][:, :, columns])
    step = max(1, min(out[0] * out[1] // 256, out[0] // 4))
    return np.stack(seen, axis=3)[:, step // 2 :: step]


WINDOWS = [
    # size, channels, kernel, stride, dilation
    ((7, 7), 5, (1, 1), (1, 1), (1, 1)),
    ((7, 9), 5, (1, 1), (2, 2), (1, 1)),
    ((17, 15), 8, (3, 3), (1, 1), (1, 1)),
    ((16, 17), 33, (3, 3), (2, 2), (1, 1)),
    ((21, 13), 4, (5, 3), (1, 2), (1, 1)),
    ((12, 40), 3, (7, 7), (2, 2), (1, 1)),
    ((14, 14), 6, (3, 3), (1, 1), (2, 2)),
    ((14, 19), 6, (3, 3), (2, 3), (3, 2)),
    ((2, 3), 4, (5, 5), (1, 1), (1, 1)),
    ((3, 4), 4, (3, 3), (4, 5), (1, 1)),
    ((1, 1), 70, (1, 1), (1, 1), (1, 1)),
    ((8, 8), 2, (8, 8), (1, 1), (1, 1)),
    # of these, not all rows count
    ((64, 64), 3, (1, 1), (1, 1), (1, 1)),
    ((57, 63), 3, (3, 3), (1, 1), (1, 1)),
    ((112, 112), 2, (3, 3), (2, 2), (1, 1)),
    ((6, 900), 2, (1, 3), (1, 1), (1, 1)),
]


@pytest.mark.parametrize("same", [True, False], ids=["same", "valid"])
@pytest.mark.parametrize("shape", WINDOWS)
def test_means_of_taps(library, shape, same):
    size, channels, kernel, stride, dilation = shape
    x = (np.random.default_rng(1).standard_normal((6, *size, channels)) * 3 + 1).astype(f32)
    seen = taps_of(x.astype(np.float64), kernel, stride, dilation, same)
    sums = InputSums(library, window_of(kernel, stride, dilation, same), channels)
    sums.add(x)
    if seen.size == 0:
        assert sums.means() is None
        return
    wanted = seen.mean(axis=(0, 1, 2))
    assert np.allclose(sums.means().reshape(wanted.shape), wanted, rtol=0, atol=2e-6)
    # channels first
    first = InputSums(library, window_of(kernel, stride, dilation, same, True), channels)
    first.add(x.transpose(0, 3, 1, 2))
    assert first.means().tobytes() == sums.means().tobytes()


def test_order_split_and_clones_do_not_matter(library):
    rng = np.random.default_rng(2)
    x = (rng.standard_normal((40, 9, 11, 7)) * 10.0 ** rng.uniform(-6, 6, (40, 1, 1, 1))).astype(f32)
    window = window_of((3, 3), (1, 1), (1, 1), True)
    whole = InputSums(library, window, 7)
    whole.add(x)
    for seed in range(5):
        mixed = np.random.default_rng(seed).permutation(x)
        parts = [InputSums(load(plain=seed % 2 == 0), window, 7) for _ in range(3)]
        for n, batch in enumerate(np.array_split(mixed, 8)):
            parts[n % 3].add(batch, 0, 2)
            parts[(n + 1) % 3].add(batch, 2, len(batch) - 2)
        for part in parts[1:]:
            parts[0].merge(part)
        assert parts[0].means().tobytes() == whole.means().tobytes()


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1.0, 1e6])
def test_magnitudes(library, scale):
    """What is below 2^-62 of a picture's sum counts as nothing: means keep their size down to there."""
    x = (np.random.default_rng(3).uniform(0.5, 1, (4, 8, 8, 3)) * scale).astype(f32)
    sums = InputSums(library, window_of((1, 1), (1, 1), (1, 1), True), 3)
    sums.add(x)
    wanted = x.astype(np.float64).mean(axis=(0, 1, 2))
    assert np.allclose(sums.means(), wanted, rtol=1e-6, atol=2**-60)


@pytest.mark.parametrize("value", [1e9, 3e38])
def test_sums_out_of_bounds_are_of_no_use(library, value):
    sums = InputSums(library, window_of((1, 1), (1, 1), (1, 1), True), 2)
    sums.add(np.ones((3, 4, 4, 2), f32))
    assert sums.means() is not None
    sums.add(np.full((1, 4, 4, 2), value, f32))
    assert sums.means() is None
    other = InputSums(library, sums.window, 2)
    other.add(np.ones((3, 4, 4, 2), f32))
    other.merge(sums)
    assert other.means() is None


@pytest.mark.parametrize("shape", [(9, 4), (2, 3, 4), (70_000, 2)])
def test_products_of_matrices(library, shape):
    x = np.random.default_rng(4).standard_normal(shape).astype(f32)
    window = window_of((1, 1), (1, 1), (1, 1), True)
    window.flat = True
    sums = InputSums(library, window, shape[-1])
    sums.add(x)
    wanted = x.reshape(-1, shape[-1]).astype(np.float64).mean(axis=0)
    assert np.allclose(sums.means(), wanted, rtol=0, atol=1e-6)


# the shift


def quantized(w, axes):
    """int8 weights and a scale a channel: channels on the given axes."""
    most = np.abs(w).max(axis=tuple(i for i in range(w.ndim) if i not in axes), keepdims=True)
    scale = (most / 127).astype(f32)
    return np.clip(np.round(w / scale), -128, 127).astype(np.int8), scale


@pytest.mark.parametrize("groups", [1, 3])
def test_shift_of_a_convolution(library, groups):
    """It is the mean difference of the outputs."""
    rng = np.random.default_rng(5)
    x = rng.uniform(0, 2, (3, 9, 9, 12)).astype(f32)
    w = rng.standard_normal((3, 3, 12 // groups, 6)).astype(f32)
    q, scale = quantized(w, (3,))
    seen = taps_of(x.astype(np.float64), (3, 3), (1, 1), (1, 1), True)
    missed = (w.astype(np.float64) - scale.astype(np.float64) * q).reshape(9, 12 // groups, 6)
    wanted = np.zeros(6)
    for c in range(6):
        g = c // (6 // groups) * (12 // groups)
        wanted[c] = (seen[..., g : g + 12 // groups] * missed[:, :, c]).sum(axis=(3, 4)).mean()
    sums = InputSums(library, window_of((3, 3), (1, 1), (1, 1), True), 12)
    sums.add(x)
    shift = bias_shift(library, (w, q, scale), (9 * 12 // groups, 6, 1), sums.means(), 9)
    assert np.allclose(shift, wanted, rtol=0, atol=1e-6 * np.abs(w).sum())


def test_shift_is_brute_force(library):
    """Of a product of matrices, for data of all the kinds that nets produce: 102 tensors."""
    for seed in range(6 * len(KINDS)):
        kind = list(KINDS)[seed % len(KINDS)]
        rng = np.random.default_rng(seed)
        x = make(kind, seed, 20_000, 40_000)
        x = x[: x.size // 24 * 24].reshape(-1, 24)
        w = rng.standard_normal((24, 7)).astype(f32)
        q, scale = quantized(w, (1,))
        missed = w.astype(np.float64) - scale.astype(np.float64) * q
        window = window_of((1, 1), (1, 1), (1, 1), True)
        window.flat = True
        sums = InputSums(library, window, 24)
        sums.add(x)
        shift = bias_shift(library, (w, q, scale), (24, 7, 1), sums.means(), 1)
        # the outputs of both, over all the data
        wanted = (x.astype(np.float64) @ missed).mean(axis=0)
        slack = 2.0**-60 + 1e-6 * np.abs(x).max() * np.abs(missed).sum()
        assert np.allclose(shift, wanted, rtol=0, atol=slack), kind


def test_shift_of_a_depthwise_convolution(library):
    rng = np.random.default_rng(6)
    x = rng.uniform(-1, 2, (3, 9, 9, 5)).astype(f32)
    w = rng.standard_normal((3, 3, 5, 2)).astype(f32)
    q, scale = quantized(w, (2, 3))
    seen = taps_of(x.astype(np.float64), (3, 3), (2, 2), (1, 1), False)
    missed = (w.astype(np.float64) - scale.astype(np.float64) * q).reshape(9, 5, 2)
    wanted = np.einsum("nhwtc,tcm->cm", seen, missed).ravel() / np.prod(seen.shape[:3])
    sums = InputSums(library, window_of((3, 3), (2, 2), (1, 1), False), 5)
    sums.add(x)
    shift = bias_shift(library, (w, q, scale), (9, 10, 1), sums.means(), 9)
    assert np.allclose(shift, wanted, rtol=0, atol=1e-5)


def test_one_scale_for_all_channels(library):
    rng = np.random.default_rng(7)
    w, mean = rng.standard_normal((20, 6)).astype(f32), rng.uniform(-1, 1, 20).astype(f32)
    scale = np.array([np.abs(w).max() / 127], f32)
    q = np.round(w / scale).astype(np.int8)
    shift = bias_shift(library, (w, q, scale), (20, 6, 1), mean, 1)
    wanted = mean.astype(np.float64) @ (w.astype(np.float64) - float(scale[0]) * q)
    assert np.allclose(shift, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "layout, means, taps",
    [
        ((9, 4, 1), 9, 0),
        ((9, 4, 1), 9, 2),
        ((9, 4, 1), 10, 9),
        ((18, 4, 1), 9, 9),
        ((9, 4, 1), 27, 9),
        ((9, 4, 2), 9, 9),
    ],
)
def test_numbers_that_do_not_belong_together(library, layout, means, taps):
    count = layout[0] * layout[1] * layout[2]
    none = bias_shift(library, (np.ones(count), np.ones(count), np.ones(layout[1])), layout, np.ones(means), taps)
    assert none is None
