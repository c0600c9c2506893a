# SPDX-License-Identifier: Apache-2.0
"""Weights trained on uneven ranges against NumPy: the scale that loses least, and rounding without data."""

import itertools
import os

import numpy as np
import pytest

if "AMCT_PROBE" not in os.environ:
    pytest.skip("AMCT_PROBE is not set: the numeric oracles do not run", allow_module_level=True)

from numeric_probe import even_round, load, nudged_scales

f32 = np.float32


@pytest.fixture(scope="module", params=["as shipped", "plain"])
def library(request):
    return load(plain=request.param == "plain")


def half_away(x):
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


# Rounding


def loss(d, by_channel=0.5):
    """Of one channel, d by tap and input."""
    return (d**2).sum() + (d.sum(0) ** 2).sum() + by_channel * d.sum() ** 2


def rounded(x):
    """The steps of one channel, x by tap and input: the loss is computed anew for each weight."""
    q = np.clip(half_away(x), -128, 127)
    away = np.abs(q - x)
    for at in np.argsort(-away, axis=None, kind="stable"):
        at = np.unravel_index(at, x.shape)
        other = q.copy()
        other[at] += -1 if q[at] > x[at] else 1
        if -128 <= other[at] <= 127 and loss(other - x) < loss(q - x) - 1e-9:
            q = other
    return q


@pytest.mark.parametrize("seed", range(20))
def test_rounding_is_brute_force(library, seed):
    """A weight at a time, in the same order; weights by tap, input and channel, or by tap, channel and input."""
    rng = np.random.default_rng(seed)
    taps, inputs, channels = (
        int(rng.integers(1, 10)),
        int(rng.integers(1, 12)),
        int(rng.integers(1, 6)),
    )
    w = rng.standard_normal((taps, inputs, channels)).astype(f32)
    scale = (np.abs(w).max((0, 1)) / f32(rng.uniform(126, 127.5))).astype(f32)
    q = even_round(library, (w, scale), (taps * inputs, channels, 1), taps)
    turned = even_round(library, (w.transpose(0, 2, 1), scale), (taps, channels, inputs), taps)
    assert np.array_equal(q, turned.transpose(0, 2, 1))
    for c in range(channels):
        x = w[:, :, c].astype(float) / float(scale[c])
        nearest = np.clip(half_away(x), -128, 127)
        assert np.array_equal(q[:, :, c], rounded(x))
        assert loss(q[:, :, c] - x) <= loss(nearest - x)


def test_rounding_is_near_the_best(library):
    """Of 10 weights all 1,024 ways to round are tried."""
    ratios = []
    for seed in range(40):
        x = np.random.default_rng(seed).uniform(-100, 100, (5, 2)).astype(f32)
        q = even_round(library, (x[..., None], np.ones(1, f32)), (10, 1, 1), 5)[..., 0]
        ways = np.array(list(itertools.product([0, 1], repeat=10))).reshape(-1, 5, 2)
        best = min(loss(np.floor(x) + way - x) for way in ways)
        ratios.append(loss(q - x) / best)
    assert np.mean(ratios) < 1.15
    assert np.median(ratios) < 1.05


def test_weights_on_their_steps_stay(library):
    steps = np.arange(-128, 128).reshape(4, 64, 1)
    for scale in f32([1, 0.1, 3e-5]):
        q = even_round(library, (steps * scale, f32([scale])), (256, 1, 1), 4)
        assert np.array_equal(q, steps)


def test_taps_divide_the_weights(library):
    w = np.ones((3, 1), f32)
    assert even_round(library, (w, f32([1])), (3, 1, 1), 2) is None
    assert even_round(library, (w, f32([1])), (3, 1, 1), 0) is None


# Scales


def least(t):
    """The ratio that loses least of the steps `t`, beyond int8."""
    ratios = np.abs(t).max() * (1024 + np.arange(1, 129)) / (1024 * 128)
    losses = [((t - r * np.clip(half_away(t / r), -128, 127)) ** 2).sum() for r in ratios]
    return ratios[int(np.argmin(losses))]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("per_channel", [True, False])
def test_scales_lose_least(library, seed, per_channel):
    """Of channels that int8 holds the grid's own; of others, or of all, the best of the candidates."""
    rng = np.random.default_rng(seed)
    channels, reach = int(rng.integers(1, 9)), int(rng.integers(100, 255))
    t = np.clip(
        half_away(rng.standard_normal((rng.integers(5, 400), channels)) * reach / 3),
        reach - 254,
        reach,
    )
    grid = f32(rng.uniform(1e-4, 1e-2))
    factor = rng.uniform(-2, 2, channels) if per_channel and seed % 2 else None
    scale, exact = nudged_scales(
        library, t * grid, (len(t), channels, 1), grid, factor=factor, per_channel=per_channel
    )
    signed = t * (1 if factor is None else np.sign(factor))
    held = np.logical_and(signed <= 127, signed >= -128)
    assert exact == bool(held.all())
    if not per_channel:
        expected = 1 if exact else least(signed)
    else:
        expected = np.array(
            [1 if held[:, c].all() else least(signed[:, c]) for c in range(channels)]
        )
        expected = expected * (1 if factor is None else np.abs(factor))
    assert np.allclose(scale, expected * grid, rtol=3e-7, atol=0)
    largest = np.abs(t * grid).max(0) * (1 if factor is None else np.abs(factor))
    assert np.all(largest / scale <= 128)
