# SPDX-License-Identifier: Apache-2.0
"""The sketch and IFMR on it against NumPy over all the values."""

import os

import numpy as np
import pytest

if "AMCT_PROBE" not in os.environ:
    pytest.skip("AMCT_PROBE is not set: the numeric oracles do not run", allow_module_level=True)

from ctypes import c_size_t

from numeric_probe import Sketch, address, load

f32 = np.float32
MOST = np.finfo(np.float32).max
EXACT = 4096


@pytest.fixture(scope="module", params=["as shipped", "plain"])
def library(request):
    return load(plain=request.param == "plain")


# References


def sketch_reference(values):
    """The definition in sketch.h on sorted values."""
    v = np.sort(np.asarray(values, f32) + f32(0))
    top = v[::-1][:EXACT]
    left = v[: v.size - top.size]
    bottom, rest = left[:EXACT], left[EXACT:].astype(np.float64)
    if rest.size == 0:
        return top, bottom, np.zeros(0, np.uint64), 0.0, 0.0, False
    width = 2.0**-149
    while np.floor(rest[-1] / width) - np.floor(rest[0] / width) >= 65536:
        width *= 2
    j = np.floor(rest / width)
    bins = np.bincount((j - j[0]).astype(np.int64)).astype(np.uint64)
    return top, bottom, bins, j[0], width, bool(np.all(j * width == rest))


def same(a, b):
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(a, b))


def round_away(x):
    return np.copysign(np.floor(np.abs(x.astype(np.float64)) + 0.5), x).astype(f32)


def candidates(max0, min0, asymmetric=True):
    """(low, high, scale) of each r; float32 step by float32 step."""
    out, i = [], 0
    while f32(f32(0.7) + f32(f32(i) * f32(0.01))) < f32(1.3):
        r = f32(f32(0.7) + f32(f32(i) * f32(0.01)))
        if asymmetric:
            low, high = min0, f32(r * max0)
            scale = f32(f32(high - low) / f32(255))
        else:
            high = f32(r * max(max0, -min0))
            low, scale = -high, f32(high / f32(128 if max0 < -min0 else 127))
        out.append((low, high, scale if scale >= f32(1.192092896e-7) else f32(1)))
        i += 1
    return out


def loss_of(x, low, high, scale):
    miss = round_away(np.minimum(np.maximum(x, low), high) / scale) * scale - x
    return np.mean(np.square(miss.astype(np.float64)))


def brute_force(x, p=0.999999, asymmetric=True):
    """All candidates' scales, offsets and losses over all values, and the index of the chosen one."""
    v = np.sort(x)
    k = max(1, v.size - int(p * v.size))
    max0, min0 = max(v[-k], f32(0)), min(v[k - 1], f32(0))
    cands = candidates(max0, min0, asymmetric)
    losses = np.array([loss_of(x, *c) for c in cands])
    scales = np.array([c[2] for c in cands])
    tiny = losses < 1e-6 * scales.astype(np.float64) ** 2
    best = int(np.argmin(losses))
    best = int(np.argmax(tiny)) if tiny[best] else best
    offsets = [int(-128 - round_away(np.asarray(min0 / s, f32))) if asymmetric else 0 for s in scales]
    return scales, offsets, losses, best


# Data of the shapes that nets produce

KINDS = {
    "relu": lambda g, rng: np.maximum(g, 0) * 10.0 ** rng.uniform(-3, 3),
    "relu6": lambda g, rng: np.clip(g * rng.uniform(1, 6), 0, 6),
    "silu": lambda g, rng: 3 * g / (1 + np.exp(-3 * g)),
    "gaussian": lambda g, rng: (g + rng.uniform(-1, 1)) * 10.0 ** rng.uniform(-3, 3),
    "laplace": lambda g, rng: rng.laplace(size=g.size) * 10.0 ** rng.uniform(-3, 3),
    "heavy": lambda g, rng: rng.standard_t(rng.uniform(1, 4), size=g.size),
    "image": lambda g, rng: rng.integers(0, 256, g.size) / 128 - 1,
    "pixels": lambda g, rng: np.clip(60 * g + 128, 0, 255).round(),
    "constant": lambda g, rng: np.full(g.size, rng.uniform(-5, 5)),
    "mixture": lambda g, rng: np.where(rng.random(g.size) < 0.9, 0.1 * g, 3 * g + 5),
    "outlier": lambda g, rng: np.concatenate([np.maximum(g[1:], 0), [1e4]]),
    "denormal": lambda g, rng: g * 1e-40,
    "late start": lambda g, rng: np.concatenate([np.zeros(g.size // 4), g[g.size // 4 :]]),
    "negative": lambda g, rng: -np.abs(g) * 10.0 ** rng.uniform(-3, 3),
    "tanh": lambda g, rng: np.tanh(2 * g),
    "hard sigmoid": lambda g, rng: np.clip(g / 3 + 0.5, 0, 1),
    "half": lambda g, rng: g.astype(np.float16),
}


def make(kind, seed, low=20_000, high=1_000_000):
    rng = np.random.default_rng(seed)
    count = int(np.exp(rng.uniform(np.log(low), np.log(high))))
    return KINDS[kind](rng.standard_normal(count), rng).astype(f32)


# Sketch

SHAPES = {
    "empty": [],
    "one": [3.5],
    "lists only": np.arange(8192),
    "one in the bins": np.arange(8193),
    "all equal": np.full(50_000, 1.1),
    "zeros of both signs": np.tile([0.0, -0.0], 20_000),
    "ties at the lists' ends": np.repeat([-1, 0, 1], [9000, 5000, 9000]),
    "extremes": np.tile([MOST, -MOST, 0, 1e-45, -1e-45], 3000),
    "largest only": np.full(30_000, MOST),
    "denormals": np.arange(-20_000, 20_000) * 1.4e-45,
    "wide powers": np.exp2(np.linspace(-149, 127, 30_000)),
    "far from zero": 1000 + np.arange(40_000) * 2.0**-14,
    "descending": -np.arange(60_000.0),
}


def data_of(name):
    return np.asarray(SHAPES[name], f32) if name in SHAPES else make(name, 5, 20_000, 150_000)


@pytest.mark.parametrize("name", list(SHAPES) + list(KINDS))
def test_sketch_is_its_definition_in_any_order(library, name):
    x = data_of(name)
    rng = np.random.default_rng(1)
    wanted = sketch_reference(x)
    assert same(Sketch(library, x).look(), wanted)
    assert same(Sketch(library, np.sort(x)).look(), wanted)
    assert same(Sketch(library, np.sort(x)[::-1]).look(), wanted)
    mixed = rng.permutation(x)
    cuts = np.sort(rng.integers(0, x.size + 1, 7))
    sketch = Sketch(library)
    for part in np.split(mixed, cuts):
        sketch.add(part)
        sketch.look()  # looking in between changes nothing
    assert same(sketch.look(), wanted)


@pytest.mark.parametrize("name", list(SHAPES) + list(KINDS))
def test_merged_shards_are_one_sketch(library, name):
    x = data_of(name)
    shards = [np.sort(x)[: x.size // 3], np.sort(x)[x.size // 3 :], x[:100] * f32(0.001), np.zeros(0, f32)]
    wanted = sketch_reference(np.concatenate(shards))
    for order in ([0, 1, 2, 3], [2, 1, 0, 3], [3, 0, 2, 1]):
        sketch = Sketch(library)
        for i in order:
            sketch.merge(Sketch(library, shards[i]))
        assert same(sketch.look(), wanted)


@pytest.mark.parametrize("name", list(SHAPES) + list(KINDS))
def test_branches_are_one_sketch(library, name):
    """Sorted and mixed parts, so that branches meet values beyond all that their trunk has seen."""
    x = data_of(name)
    for order in (np.sort(x), np.sort(x)[::-1], np.random.default_rng(2).permutation(x)):
        parts = np.array_split(order, 9)
        sketch = Sketch(library, parts[0])
        for i in range(1, 9, 2):
            first, second = sketch.branch(parts[i]), sketch.branch(*np.array_split(parts[i + 1], 2))
            if i % 4 == 1:
                first.merge(second)
            else:
                sketch.merge(second)
            sketch.merge(first)
        assert same(sketch.look(), sketch_reference(x))


# Sketch of large pictures


def mix(x):
    x = (x ^ x >> 16) * 0x7FEB352D & 0xFFFFFFFF
    x = (x ^ x >> 15) * 0x846CA68B & 0xFFFFFFFF
    return x ^ x >> 16


def weights_of(row):
    """What each value of a picture counts: sampling.h."""
    every = 1
    while every < 16 and row // (2 * every) >= 16384:
        every *= 2
    weights = np.ones(row, np.int64)
    for group in range(row // (64 * every)):
        chosen = group * every + mix(group) % every
        weights[64 * every * group : 64 * every * (group + 1)] = 0
        weights[64 * chosen : 64 * (chosen + 1)] = every
    return weights


def sampled_reference(values, weights):
    """sketch_reference where values have weights: the bins by what their values weigh, less one for each that is listed."""
    top, bottom, bins, first, width, _ = sketch_reference(values)
    v = np.asarray(values, np.float64)
    if width == 0.0:
        return top, bottom, bins, first, width, False
    rest = np.sort(v)[bottom.size : v.size - top.size]
    low, high = rest[0], rest[-1]
    within = (v >= low) & (v <= high)
    bin_of = np.floor(v[within] / width - first).astype(np.int64)
    counts = np.bincount(bin_of, weights[within], bins.size).astype(np.int64)
    counts[-1] -= np.count_nonzero(top == high)
    counts[0] -= np.count_nonzero(bottom == low)
    seen = np.concatenate([v[within & (weights > 0)], [low, high]])
    on_edges = bool(np.all(np.floor(seen / width) * width == seen))
    return top, bottom, np.maximum(counts, 0).astype(np.uint64), first, width, on_edges


PICTURES = {  # values of a picture, pictures, kind
    "small": (9_000, 5, "relu"),
    "every second": (80_000, 6, "gaussian"),
    "every sixteenth": (600_000, 2, "gaussian"),
    "many zeros": (70_001, 4, "relu"),
    "ties at the top": (300_000, 3, "relu6"),
    "pixels": (150_528, 4, "pixels"),
    "integers": (75_000, 5, "few integers"),
    "constant": (66_000, 3, "constant"),
    "outliers": (132_000, 3, "heavy"),
    "negative": (131_072, 3, "negative"),
}


def pictures_of(name):
    row, count, kind = PICTURES[name]
    rng = np.random.default_rng(9)
    if kind == "few integers":
        return rng.integers(-2, 3, (count, row)).astype(f32)
    x = KINDS[kind](rng.standard_normal(count * row), rng)
    return np.resize(x, (count, row)).astype(f32)


def add_in_parts(picture, rng, trunk, aside):
    """To the trunk, straight or by branches, and to a sketch beside it."""
    row = picture.size
    cuts = np.unique(np.concatenate([[0, row], rng.integers(0, row // 64, 3) * 64]))
    for first, last in zip(cuts, cuts[1:]):
        to = [trunk, aside, trunk.branch()][rng.integers(3)]
        to.add_sampled(picture[first:last], row, first)
        if to is aside:
            aside.look()  # changes nothing
        elif to is not trunk:
            trunk.merge(to)


@pytest.mark.parametrize("name", PICTURES)
def test_large_pictures_are_sampled(library, name):
    """The bytes of the definition, for any order of pictures, parts, branches and mergers."""
    x = pictures_of(name)
    row = x.shape[1]
    wanted = sampled_reference(x.ravel(), np.tile(weights_of(row), x.shape[0]))
    whole = Sketch(library)
    whole.add_sampled(x, row)
    assert same(whole.look(), wanted)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        order = rng.permutation(x.shape[0]) if seed % 3 else np.argsort(x.max(axis=1) * (-1) ** seed)
        trunk, aside = Sketch(library), Sketch(library)
        for picture in x[order]:
            add_in_parts(picture, rng, trunk, aside)
        trunk.look()
        trunk.merge(aside)
        assert same(trunk.look(), wanted), seed


def test_samples_see_all_channels():
    """A picture of 112 x 112 values of 2 to 1,280 channels: each is sampled about as often as the others."""
    for channels in (2, 3, 16, 24, 32, 64, 96, 128, 144, 168, 192, 256, 672, 1280):
        row = 112 * 112 * channels
        by_channel = weights_of(row).reshape(-1, channels).sum(axis=0)
        assert by_channel.sum() == row
        assert np.all(np.abs(by_channel / (row / channels) - 1) < 0.35), channels


@pytest.mark.parametrize("kind", ["relu", "relu6", "silu", "gaussian", "laplace", "heavy", "mixture", "tanh", "half"])
@pytest.mark.parametrize("seed", range(3))
def test_samples_pick_the_scale_of_all_data(library, kind, seed):
    """Within a step of brute force, or where the losses are the same to 1 %; pictures are correlated in space."""
    rng = np.random.default_rng(seed)
    shape = 4, 32, 32, 128  # one chunk of eight counts
    level = rng.normal(0, 0.5, (4, 8, 8, 1)).repeat(4, axis=1).repeat(4, axis=2)
    noise = rng.standard_normal(shape) * rng.uniform(0.3, 2, shape[3]) + level
    x = KINDS[kind](noise.ravel(), rng).astype(f32)
    scales, _, losses, best = brute_force(x)
    sketch = Sketch(library)
    sketch.add_sampled(x, x.size // shape[0])
    picked = int(np.argmin(np.abs(scales - sketch.ifmr()[0])))
    assert abs(picked - best) <= 1 or losses[picked] <= losses[best] * 1.01, (picked, best, losses[picked] / losses[best])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(library, value):
    x = np.clip(np.random.default_rng(3).standard_normal(200_000), 0, None).astype(f32)
    for at in (0, 77, 100_000, 199_999):
        y = x.copy()
        y[at] = value
        trunk = Sketch(library, x)
        for sketch in (trunk.branch(), Sketch(library), trunk):
            assert library.amct_sketch_add(sketch.handle, address(y), c_size_t(y.size), None) != 0
        assert same(trunk.look(), sketch_reference(x))  # as it was


def test_many_random_mergers(library):
    rng = np.random.default_rng(11)
    for _ in range(40):
        parts = [
            (rng.standard_normal(rng.integers(0, 20_000)) * 10.0 ** rng.uniform(-44, 38)).clip(-MOST, MOST).astype(f32)
            for _ in range(rng.integers(1, 5))
        ]
        sketch = Sketch(library)
        for part in parts:
            sketch.merge(Sketch(library, *np.array_split(part, 3)))
        assert same(sketch.look(), sketch_reference(np.concatenate(parts)))


@pytest.mark.parametrize("wider", [False, True])
def test_beyond_32_bits(library, wider):
    """Values that were seen thousands of millions of times: merged in Fibonacci's way, added to, and coarsened."""
    x = np.random.default_rng(5).integers(-3000, 3000, 20_000).astype(f32) / f32(8)
    x[:7000] = 0
    a, b, times = Sketch(library, x), Sketch(library, x), [1, 1]
    while times[0] * x.size < 2**34:
        a.merge(b)
        times[0] += times[1]
        b.merge(a)
        times[1] += times[0]
    a.add(x)
    times[0] += 1
    ends = np.array([-4096, 4096], f32) * f32(1 if wider else 0)
    for _ in range(5000 if wider else 0):  # full lists, so that the bins reach further
        a.add(ends)
    if wider:
        a.merge(Sketch(library, *[ends] * 5000))
    top, bottom, bins, first, width, _ = a.look()
    if wider:
        assert (top == 4096).all() and (bottom == -4096).all()
    else:
        assert (top == x.max()).all() and (bottom == x.min()).all()
    wanted = np.zeros(bins.size, np.uint64)
    values, counts = np.unique(x, return_counts=True)
    for value, count in zip(values, counts):
        wanted[int(np.floor(value / width) - first)] += np.uint64(int(count) * times[0])
    for end, inside in ((4096, x.max()), (-4096, x.min())):
        if wider:
            wanted[int(np.floor(end / width) - first)] += np.uint64(10_000 - 4096)
        else:
            wanted[int(np.floor(inside / width) - first)] -= np.uint64(4096)
    assert (bins == wanted).all()


@pytest.mark.parametrize("name", list(KINDS))
def test_kth_values(library, name):
    x = data_of(name)
    v = np.sort(x)
    sketch = Sketch(library, x)
    width = sketch.look()[4]
    for k in (1, 2, 4096, 4097, 5000, x.size // 2, x.size - 4097, x.size - 4096, x.size - 1, x.size):
        for got, true in ((sketch.kth(k, True), v[-k]), (sketch.kth(k, False), v[k - 1])):
            if k <= EXACT or k > x.size - EXACT:
                assert got == true
            else:
                assert abs(got - float(true)) <= width / 2 + abs(float(true)) * 2**-24


# IFMR


def test_ifmr_is_brute_force():
    """At least 99 of 100 tensors get the scale that all values choose, and no loss is 0.1 % above the best."""
    libraries = load(), load(plain=True)
    kinds, same_scale, count = list(KINDS), 0, 102
    for seed in range(count):
        kind = kinds[seed % len(kinds)]
        x = make(kind, seed)
        scales, offsets, losses, best = brute_force(x)
        scale, offset = Sketch(libraries[0], *np.array_split(x, 3)).ifmr()
        assert Sketch(libraries[1], x).ifmr() == (scale, offset)
        chosen = int(np.argmax(scales == scale))
        assert (scales[chosen], offsets[chosen]) == (scale, offset), (kind, seed)
        same_scale += scale == scales[best]
        tiny = losses[[chosen, best]] < 1e-6 * scales[[chosen, best]].astype(np.float64) ** 2
        assert losses[chosen] <= 1.001 * losses[best] or tiny.all(), (kind, seed, chosen, best)
    print("same scale: %d of %d" % (same_scale, count))
    assert same_scale >= 0.99 * count


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("p, asymmetric", [(0.999999, False), (0.999, True), (0.9, False)])
def test_ifmr_options(library, kind, p, asymmetric):
    x = make(kind, 77, 20_000, 60_000)
    scales, offsets, losses, best = brute_force(x, p, asymmetric)
    scale, offset = Sketch(library, x).ifmr(p_max=p, p_min=p, asymmetric=asymmetric)
    if p == 0.999 or p == 0.999999:  # k is within the lists: the candidates are the same floats
        chosen = int(np.argmax(scales == scale))
        assert (scales[chosen], offsets[chosen]) == (scale, offset)
        assert losses[chosen] <= 1.001 * losses[best] + 1e-6 * float(scale) ** 2
    else:  # k-th value from a bin: the grid moves by a hair
        nearest = int(np.argmin(np.abs(scales - scale)))
        assert abs(scales[nearest] - scale) <= 1e-3 * scales[nearest]
        assert losses[nearest] <= 1.01 * losses[best] + 1e-6 * float(scale) ** 2


def test_relu6_scales_bit_for_bit(library):
    """Whatever r the data choose, scale = f32(f32(6*r)/255); i = 27 gives 0.0228235275."""
    wanted = [c[2] for c in candidates(f32(6), f32(0))]
    assert len(wanted) == 60 and wanted[27] == f32(0.0228235275)
    rng, seen = np.random.default_rng(3), set()
    for gain in np.linspace(0.2, 8, 40):
        x = np.clip(rng.standard_normal(300_000) * gain, 0, 6).astype(f32)
        x[0] = 6
        scale, offset = Sketch(library, x).ifmr()
        assert scale in wanted and offset == -128
        seen.add(wanted.index(scale))
    assert len(seen) >= 5


@pytest.mark.parametrize("i", range(60))
def test_each_candidate_can_win(library, i):
    """The data are the grid of candidate i, with one value at 6 to set the maximum."""
    low, high, scale = candidates(f32(6), f32(0))[i]
    x = np.repeat((np.arange(256, dtype=f32) * scale).astype(f32), 200)
    x = np.append(np.minimum(x, f32(6)), f32(6))
    scales, _, _, best = brute_force(x)
    assert Sketch(library, x).ifmr()[0] == scales[best]


def test_known_answers(library):
    rng = np.random.default_rng(0)
    image = (rng.integers(0, 256, 150_528) / 128 - 1).astype(f32)
    image[:2] = -1, 255 / 128 - 1
    assert Sketch(library, image).ifmr() == (f32(0.0078125), 0)
    assert Sketch(library, np.zeros(100)).ifmr() == (f32(1), -128)
    assert Sketch(library, np.zeros(100_000)).ifmr(asymmetric=False) == (f32(1), 0)
    assert Sketch(library, np.full(100, 1e-40)).ifmr() == (f32(1), -128)
    scale, offset = Sketch(library, [-3.0]).ifmr()
    assert (scale, offset) == (f32(f32(3) / f32(255)), 127)
    for huge in ([MOST, -MOST], np.tile([MOST, -MOST], 20_000)):
        scale, offset = Sketch(library, huge).ifmr()
        assert np.isfinite(scale) and -2 <= offset <= 50
