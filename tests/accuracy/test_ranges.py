# SPDX-License-Identifier: Apache-2.0
"""HFMG, min_max and percentile on the sketch against NumPy over all the values."""

import os

import numpy as np
import pytest

if "AMCT_PROBE" not in os.environ:
    pytest.skip("AMCT_PROBE is not set: the numeric oracles do not run", allow_module_level=True)

from numeric_probe import ALGORITHMS, Sketch, load
from test_ifmr import EXACT, KINDS, make, round_away

f32 = np.float32


@pytest.fixture(scope="module", params=["as shipped", "plain"])
def library(request):
    return load(plain=request.param == "plain")


def range_between(low, high, asymmetric=True):
    """Scale and offset of a range, float32 step by float32 step."""
    low, high = min(f32(low), f32(0)), max(f32(high), f32(0))
    if asymmetric:
        scale = f32(f32(high - low) / f32(255))
        scale = scale if scale >= f32(1.192092896e-7) else f32(1)
        return scale, int(min(-128 - round_away(np.asarray(low / scale, f32)), 127))
    scale = f32(max(high, -low) / f32(128 if high < -low else 127))
    return (scale if scale >= f32(1.192092896e-7) else f32(1)), 0


@pytest.mark.parametrize("asymmetric", [True, False])
@pytest.mark.parametrize("seed", [21, 31, 41])
@pytest.mark.parametrize("kind", list(KINDS))
def test_min_max_is_exact(library, kind, seed, asymmetric):
    x = make(kind, seed + 100 * asymmetric, 20_000, 300_000)
    found = Sketch(library, *np.array_split(x, 3)).find("min_max", asymmetric=asymmetric)
    assert found == range_between(x.min(), x.max(), asymmetric)


@pytest.mark.parametrize("p_max, p_min", [(0.999999, 0.999999), (0.999, 0.99), (1.0, 0.7)])
@pytest.mark.parametrize("seed", [22, 32])
@pytest.mark.parametrize("kind", list(KINDS))
def test_percentile_is_the_kth_value(library, kind, seed, p_max, p_min):
    x = make(kind, seed + int(1000 * p_max), 20_000, 300_000)
    v, sketch = np.sort(x), Sketch(library, x)
    k_max, k_min = (max(1, v.size - int(p * v.size)) for p in (p_max, p_min))
    scale, offset = sketch.find("percentile", p_max=p_max, p_min=p_min)
    wanted_scale, wanted_offset = range_between(v[k_min - 1], v[-k_max])
    if max(k_max, k_min) <= EXACT:
        assert (scale, offset) == (wanted_scale, wanted_offset)
    else:  # to half a bin of the sketch at either end
        slack = sketch.look()[4] / 255 + 1e-6 * wanted_scale
        assert abs(float(scale) - float(wanted_scale)) <= slack
        assert abs(offset - wanted_offset) <= 1


# HFMG


def histogram_of(x, bins):
    """Counts in equal bins over the values' own range, and where they begin and how wide they are."""
    v = x.astype(np.float64)
    low, width = v.min(), (v.max() - v.min()) / bins
    place = np.clip(np.floor((v - low) / width), 0, bins - 1).astype(np.int64)
    return np.bincount(place, minlength=bins).astype(np.float64), low, width


def hfmg_candidates(counts):
    """(first, last) bin of each candidate: what hfmg.h says, by cumulated counts."""
    total, bins = counts.sum(), counts.size
    step, out, a, b = np.ceil(total / 100000), [], 0, bins - 1
    while (b + 1 - a) * 4 >= bins:
        out.append((a, b))
        up, down = np.cumsum(counts[a : b + 1]), np.cumsum(counts[a : b + 1][::-1])
        lower, upper = (int(np.argmax(s >= step)) + 1 if s[-1] >= step else s.size for s in (up, down))
        if lower > upper:
            a += lower
        else:
            b -= upper
    return out


def hfmg_loss(counts, a, b):
    """The integral cut at every bin edge, cell edge and nowhere else, piece by piece."""
    cell = (b + 1 - a) / 256
    cuts = np.union1d(np.arange(counts.size + 1), a + cell * np.arange(257))
    left, right = cuts[:-1], cuts[1:]
    middle = (left + right) / 2
    density = counts[np.minimum(middle.astype(np.int64), counts.size - 1)]
    centre = a + cell * (np.clip(np.floor((middle - a) / cell), 0, 255) + 0.5)
    return np.sum(density * ((right - centre) ** 3 - (left - centre) ** 3) / 3)


@pytest.mark.parametrize("bins", [1024, 4096])
@pytest.mark.parametrize("seed", [23, 33, 43])
@pytest.mark.parametrize("kind", list(KINDS))
def test_hfmg_is_brute_force(bins, seed, kind):
    """A loss at most 0.1 % above the least of all candidates (or of one in some, where they are many)."""
    x = make(kind, seed + bins, 20_000, 120_000)
    sketch = Sketch(load(), *np.array_split(x, 3))
    low_end, high_end = sketch.hfmg_ends(bins)
    assert sketch.find("hfmg", num_of_bins=bins) == range_between(low_end, high_end)
    assert sketch.find("hfmg", num_of_bins=bins, asymmetric=False) == range_between(low_end, high_end, False)
    assert Sketch(load(plain=True), x).hfmg_ends(bins).tobytes() == np.array([low_end, high_end]).tobytes()
    if x.min() == x.max():
        assert low_end == high_end == x[0]
        return
    counts, low, width = histogram_of(x, bins)
    found = hfmg_candidates(counts)
    least = min(hfmg_loss(counts, a, b) for a, b in found[:: 1 + len(found) // 80])
    chosen = hfmg_loss(counts, (low_end - low) / width, (high_end - low) / width - 1)
    assert chosen <= 1.001 * least, (kind, chosen / least)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", list(KINDS))
def test_order_and_split_do_not_matter(library, kind, algorithm):
    x = make(kind, 24, 20_000, 60_000)
    mixed = np.random.default_rng(4).permutation(x)
    wanted = Sketch(library, x).find(algorithm)
    assert Sketch(library, *np.array_split(mixed, 7)).find(algorithm) == wanted
    assert Sketch(load(plain=True), np.sort(x)).find(algorithm) == wanted


def test_hfmg_cuts_a_lone_outlier(library):
    """What clipping it loses, 2^2, is less than what the finer grid gains over a million values."""
    x = np.concatenate([np.random.default_rng(5).uniform(0, 1, 1_000_000), [3.0]]).astype(f32)
    scale, offset = Sketch(library, x).find("hfmg")
    assert offset == -128
    assert 0.9 / 255 < scale < 1.1 / 255
    assert Sketch(library, x).find("min_max")[0] == f32(3) / f32(255)
