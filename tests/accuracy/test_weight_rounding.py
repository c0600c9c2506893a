# SPDX-License-Identifier: Apache-2.0
"""Rounding by samples of the inputs against NumPy: GPTQ as its paper has it, and the sample that it works on."""

import os

import numpy as np
import pytest

if "AMCT_PROBE" not in os.environ:
    pytest.skip("AMCT_PROBE is not set: the numeric oracles do not run", allow_module_level=True)

from numeric_probe import InputRows, load, weight_round
from test_bias_correction import taps_of, window_of
from test_ifmr import KINDS, make

f32 = np.float32
MOST, MOST_BYTES, FEWEST = 2048, 8 << 20, 256


@pytest.fixture(scope="module", params=["as shipped", "plain"])
def library(request):
    return load(plain=request.param == "plain")


# Rounding


def scales_of(w, axis=None):
    return np.maximum(np.abs(w).max(axis=axis) / f32(127), f32(1e-30)).astype(f32)


def hessian(steps, damping):
    """Mean products of the columns, and what is added to the diagonal."""
    x = steps.astype(np.float64)
    h = x.T @ x / len(x)
    return h + damping * np.trace(h) / len(h) * np.eye(len(h))


def gptq(w, h):
    """Algorithm 1 of the paper, a column at a time, most important first: the rest is updated by Cholesky(H^-1)."""
    order = np.lexsort((np.arange(len(h)), np.diag(h)))[::-1]
    w, h = w[order].copy(), h[np.ix_(order, order)]
    upper = np.linalg.cholesky(np.linalg.inv(h)).T
    q = np.zeros(w.shape)
    for k in range(len(w)):
        q[k] = np.clip(np.round(w[k]), -127, 127)
        missed = (w[k] - q[k]) / upper[k, k]
        w[k:] -= np.outer(upper[k, k:], missed)
    out = np.zeros_like(q)
    out[order] = q
    return out


def loss(w, q, h):
    d = w - q
    return np.einsum("kc,kl,lc->c", d, h, d)


def problem(kind, seed):
    """Steps of correlated columns on the grid of a kind of data, weights, scales."""
    rng = np.random.default_rng(seed)
    inputs, outputs = int(rng.integers(3, 80)), int(rng.integers(1, 20))
    x = make(kind, seed, 20_000, 60_000)
    x = x[: x.size // inputs * inputs].reshape(-1, inputs)[:1500]
    x = x + rng.standard_normal(inputs).astype(f32) * x[:, :1]  # columns that go together
    scale = max(float(x.max() - min(x.min(), 0)) / 255, 1e-38)
    steps = np.clip(np.round(x / scale), -255, 255).astype(np.int16)
    w = (rng.standard_t(3, (inputs, outputs)) * 10.0 ** rng.uniform(-6, 2)).astype(f32)
    return steps, w, scales_of(w, 0) if seed % 3 else scales_of(w)


def test_rounding_is_brute_force():
    """102 tensors: nearly all weights as the paper's algorithm has them, no loss 0.1 % above, none above the nearest."""
    libraries = load(), load(plain=True)
    same = count = 0
    for seed in range(6 * len(KINDS)):
        kind = list(KINDS)[seed % len(KINDS)]
        steps, w, scale = problem(kind, seed)
        damping = (0.1, 0.01)[seed % 5 == 0]
        q = weight_round(libraries[0], (w, scale), (*w.shape, 1), steps, damping=damping)
        plain = weight_round(libraries[1], (w, scale), (*w.shape, 1), steps, damping=damping)
        assert q.tobytes() == plain.tobytes()
        h = hessian(steps, damping)
        exact = w.astype(np.float64) / scale.astype(np.float64)
        nearest = np.clip(np.round(exact), -127, 127)
        if np.trace(h) == 0:
            assert (q == nearest).all()
            continue
        wanted = gptq(exact, h)
        found, least, before = (loss(exact, v, h).sum() for v in (q.astype(float), wanted, nearest))
        assert found <= 1.001 * least, (kind, seed)
        assert found <= 1.0001 * before, (kind, seed)
        same, count = same + (q == wanted).sum(), count + q.size
    print("same steps: %d of %d" % (same, count))
    assert same >= 0.99 * count


def test_the_best_of_all_roundings_is_near(library):
    """All 2^8 ways to round eight weights up or down: the loss is near their least."""
    rng = np.random.default_rng(1)
    ways = np.array(np.meshgrid(*[[0, 1]] * 8)).reshape(8, -1)
    ratios = []
    for _ in range(20):
        mixed = rng.standard_normal((500, 3)) @ rng.standard_normal((3, 8)) + 0.3 * rng.standard_normal((500, 8))
        steps = np.clip(np.round(mixed * 20), -255, 255).astype(np.int16)
        w = rng.standard_normal((8, 1)).astype(f32)
        scale = scales_of(w, 0)
        h = hessian(steps, 0.1)
        exact = w.astype(np.float64) / scale.astype(np.float64)
        best = loss(exact, np.floor(exact) + ways, h).min()
        q = weight_round(library, (w, scale), (8, 1, 1), steps)
        ratios.append(loss(exact, q.astype(float), h)[0] / best)
    assert np.mean(ratios) < 1.3
    assert np.median(ratios) < 1.1


@pytest.mark.parametrize("groups, outputs", [(1, 12), (3, 4), (12, 2)])
def test_groups(library, groups, outputs):
    """Each group on its own inputs: plain, grouped and depthwise convolutions."""
    rng = np.random.default_rng(groups)
    taps, inputs = 9, 12 // groups
    steps = rng.integers(0, 256, (700, taps, 12)).astype(np.int16)
    steps[:, :, 1:] += steps[:, :, :-1]
    steps //= 2
    w = rng.standard_normal((taps, inputs, groups * outputs)).astype(f32)
    scale = scales_of(w, (0, 1))
    layout = (taps * inputs, groups * outputs, 1)
    q = weight_round(library, (w, scale), layout, steps.reshape(700, -1), taps)
    for g in range(groups):
        own = slice(g * outputs, (g + 1) * outputs)
        seen = steps[:, :, g * inputs : (g + 1) * inputs].reshape(700, -1)
        alone = w[:, :, own].reshape(taps * inputs, outputs)
        wanted = weight_round(library, (alone, scale[own]), (taps * inputs, outputs, 1), seen)
        assert (q[:, :, own].reshape(alone.shape) == wanted).all()


def test_many_inputs_are_taken_in_parts(library):
    """Over 2,304 inputs in as few equal parts as do, each by itself."""
    rng = np.random.default_rng(2)
    steps = np.maximum(rng.standard_normal((300, 40)) @ rng.standard_normal((40, 2400)) * 8, 0)
    steps = np.minimum(steps, 255).astype(np.int16)
    w = rng.standard_normal((2400, 2)).astype(f32)
    scale = scales_of(w, 0)
    q = weight_round(library, (w, scale), (2400, 2, 1), steps)
    for part in (slice(0, 1200), slice(1200, 2400)):
        alone = weight_round(library, (w[part], scale), (1200, 2, 1), steps[:, part])
        assert (q[part] == alone).all()


def test_weights_at_the_ends_of_their_grid(library):
    """No step beyond 127, whatever the errors before ask for."""
    rng = np.random.default_rng(3)
    steps = np.repeat(rng.integers(0, 256, (500, 1)), 30, axis=1).astype(np.int16)
    w = rng.choice([-1.0, 1.0, 0.996], (30, 16)).astype(f32)
    q = weight_round(library, (w, scales_of(w, 0)), (30, 16, 1), steps, damping=0.001)
    assert np.abs(q.astype(int)).max() == 127


@pytest.mark.parametrize(
    "layout, width, taps, damping",
    [((9, 4, 1), 9, 0, 0.1), ((9, 4, 1), 9, 2, 0.1), ((9, 4, 1), 10, 9, 0.1), ((9, 4, 1), 27, 9, 0.1), ((9, 4, 1), 9, 9, 0)],
)
def test_numbers_that_do_not_belong_together(library, layout, width, taps, damping):
    steps = np.ones((5, width), np.int16)
    assert weight_round(library, (np.ones((9, 4)), np.ones(4)), layout, steps, taps, damping=damping) is None


# The sample

WINDOWS = [
    # size, channels, kernel, stride, dilation, same
    ((7, 9), 5, (1, 1), (1, 1), (1, 1), True),
    ((8, 7), 3, (3, 3), (2, 2), (1, 1), True),
    ((9, 11), 4, (3, 2), (1, 3), (2, 1), False),
    ((3, 3), 2, (5, 5), (1, 1), (1, 1), True),
]


def all_rows(x, kernel, stride, dilation, same):
    """Every position's row; taps_of leaves out rows of large pictures, of which there are none here."""
    seen = taps_of(x.astype(np.float64), kernel, stride, dilation, same)
    return seen.reshape(-1, seen.shape[3] * seen.shape[4])


def sort_rows(rows):
    return rows[np.lexsort(rows.T[::-1])]


@pytest.mark.parametrize("shape", WINDOWS)
def test_all_rows_where_they_are_few(library, shape):
    size, channels, kernel, stride, dilation, same = shape
    x = np.random.default_rng(4).integers(-100, 100, (6, *size, channels)).astype(f32)
    rows = InputRows(library, window_of(kernel, stride, dilation, same), channels)
    rows.add(x)
    wanted = sort_rows(all_rows(x, kernel, stride, dilation, same))
    assert (rows.steps(1.0, 0) == wanted).all()
    first = InputRows(library, window_of(kernel, stride, dilation, same, True), channels)
    first.add(x.transpose(0, 3, 1, 2))
    assert (first.steps(1.0, 0) == wanted).all()


def test_rows_of_matrices(library):
    x = np.random.default_rng(5).integers(-100, 100, (3, 50, 7)).astype(f32)
    window = window_of((1, 1), (1, 1), (1, 1), True)
    window.flat = True
    rows = InputRows(library, window, 7)
    rows.add(x)
    assert (rows.steps(1.0, 0) == sort_rows(x.reshape(-1, 7))).all()


def test_steps_are_those_of_the_deployed_layer(library):
    x = np.random.default_rng(6).normal(0, 3, (40, 6)).astype(f32)
    window = window_of((1, 1), (1, 1), (1, 1), True)
    window.flat = True
    rows = InputRows(library, window, 6)
    rows.add(x)
    scale, offset = f32(0.03), -17
    scaled = (x * (f32(1) / scale)).astype(f32)
    rounded = np.copysign(np.floor(np.abs(scaled.astype(np.float64)) + 0.5), scaled)
    wanted = np.clip(rounded + offset, -128, 127) - offset
    assert (rows.steps(scale, offset) == sort_rows(wanted)).all()


@pytest.mark.parametrize("channels", [3, 1200])
def test_sample_is_bounded_spread_and_of_any_order(library, channels):
    """A choice of the positions that is even over pictures, and the same for any order and split."""
    rng = np.random.default_rng(7)
    pictures = rng.integers(1, 120, (60, 12, 12, channels)).astype(f32)
    pictures[:, :, :, 0] = np.arange(60)[:, None, None]  # tells which picture
    pictures[10:20] = pictures[10]  # some are the same
    window = window_of((1, 1), (1, 1), (1, 1), True)
    wanted = None
    for seed in range(4):
        rows = InputRows(library, window, channels)
        order = rng.permutation(60) if seed else np.arange(60)
        for part in np.array_split(pictures[order], seed + 1):
            rows.add(part)
        steps = rows.steps(1.0, 0)
        wanted = steps if wanted is None else wanted
        assert steps.tobytes() == wanted.tobytes()
    most = max(min(MOST, MOST_BYTES // (4 * channels)), FEWEST)
    assert len(wanted) == most
    shares = np.bincount(wanted[:, 0], minlength=60)
    assert shares[0:10].min() > 0 and shares[20:].min() > 0
    assert shares[0:10].max() < 4 * most / 60
    # rows of the data: none made up, none taken more often than it stands there
    given = {}
    for row in pictures.reshape(-1, channels).astype(np.int16):
        given[row.tobytes()] = given.get(row.tobytes(), 0) + 1
    for row in wanted:
        given[row.tobytes()] -= 1
        assert given[row.tobytes()] >= 0


def test_pictures_that_look_alike_are_told_apart(library):
    """Mostly black: the values that a rank is made of are all zero."""
    rng = np.random.default_rng(8)
    pictures = np.zeros((50, 64, 64, 1), f32)
    pictures[:, 1::4, 1::4] = rng.integers(0, 100, (50, 16, 16, 1))
    window = window_of((3, 3), (1, 1), (1, 1), True)
    kept = []
    for order in (np.arange(50), np.arange(50)[::-1], rng.permutation(50)):
        rows = InputRows(library, window, 1)
        for i in order:
            rows.add(pictures[i : i + 1])
        kept.append(rows.steps(1.0, 0).tobytes())
    assert kept[0] == kept[1] == kept[2]
