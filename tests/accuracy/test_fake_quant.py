# SPDX-License-Identifier: Apache-2.0
"""Fake quantization: the grid of every pair of clips, the same bits in every clone."""

import ctypes
import os
from ctypes import c_bool, c_float, c_int32, c_size_t

import numpy as np
import pytest

if "AMCT_PROBE" not in os.environ:
    pytest.skip("AMCT_PROBE is not set: the numeric oracles do not run", allow_module_level=True)

from numeric_probe import FoldStep, Layout, address, load

f32 = np.float32


class Grid(ctypes.Structure):
    _fields_ = [(name, c_float) for name in ("clip_max", "clip_min", "scale", "offset")]


class Sums(ctypes.Structure):
    _fields_ = [("clip_max", ctypes.c_double), ("clip_min", ctypes.c_double)]


class Trained(ctypes.Structure):
    _fields_ = [
        ("weights", ctypes.c_void_p),
        ("layout", Layout),
        ("per_channel", c_bool),
        ("may_split", c_bool),
        ("steps", ctypes.c_void_p),
        ("step_count", c_size_t),
        ("scale_d", c_float),
    ]


@pytest.fixture(scope="module", params=["as shipped", "plain"])
def library(request):
    return prepared(plain=request.param == "plain")


def prepared(plain):
    library = load(plain=plain)
    library.amct_ulq_grid_of.restype = Grid
    library.amct_ulq_grid_of.argtypes = [c_float, c_float]
    return library


def test_every_grid_holds_zero_and_both_clips(library):
    rng = np.random.RandomState(0)
    for _ in range(3000):
        high, low = (10.0 ** rng.uniform(-8, 30, 2)).astype(f32) * f32([1, -1])
        grid = library.amct_ulq_grid_of(high, low)
        assert grid.scale > 0 and -128 <= grid.offset <= 127 and grid.offset == int(grid.offset)
        if grid.scale == 1 and high - low < 1e-4:
            assert grid.offset == -128
            continue
        step = float(grid.scale)
        assert abs((127 - grid.offset) * step - float(high)) <= 0.5001 * step
        assert abs(-(128 + grid.offset) * step - float(low)) <= 0.5001 * step


def test_clips_of_a_grid_give_the_grid_again(library):
    rng = np.random.RandomState(1)
    high, low = c_float(), c_float()
    for _ in range(2000):
        scale, offset = f32(10.0 ** rng.uniform(-6, 6)), int(rng.randint(-128, 128))
        library.amct_ulq_clips(
            c_float(scale), c_int32(offset), c_bool(False), ctypes.byref(high), ctypes.byref(low)
        )
        grid = library.amct_ulq_grid_of(high.value, low.value)
        assert abs(grid.scale / scale - 1) < 1e-6 and grid.offset == offset
    library.amct_ulq_clips(
        c_float(0.1), c_int32(127), c_bool(True), ctypes.byref(high), ctypes.byref(low)
    )
    assert (high.value, low.value) == (1, 0)


def test_clones_agree_bit_for_bit():
    rng = np.random.RandomState(2)
    for count in (0, 1, 7, 8, 63, 4097, 20001):
        x, g = rng.normal(0, 1, (2, count)).astype(f32)
        results = []
        for library in (prepared(False), prepared(True)):
            grid = library.amct_ulq_grid_of(1.1, -0.4)
            y, dx, sums = np.empty_like(x), np.empty_like(x), Sums(0, 0)
            library.amct_ulq_forward(address(y), address(x), c_size_t(count), ctypes.byref(grid))
            library.amct_ulq_backward(
                address(dx), ctypes.byref(sums), address(g), address(x), c_size_t(count), ctypes.byref(grid)
            )
            results.append((y.tobytes(), dx.tobytes(), sums.clip_max, sums.clip_min))
            over, again = g.copy(), Sums(0, 0)
            library.amct_ulq_backward(
                address(over), ctypes.byref(again), address(over), address(x), c_size_t(count), ctypes.byref(grid)
            )
            results.append((y.tobytes(), over.tobytes(), again.clip_max, again.clip_min))
        assert len(set(results)) == 1


def test_weights_on_their_grid_are_the_deployed_integers_times_the_scale(library):
    rng = np.random.RandomState(3)
    for layout in (Layout(37, 5, 1), Layout(3, 5, 7), Layout(1, 5, 1)):
        w = rng.normal(0, 1, layout.outer * layout.channels * layout.inner).astype(f32)
        w[::11] *= f32(1e-3)  # rounds to 0 and to -0, which no integer is
        y, q, scale = np.empty_like(w), np.empty(w.size, np.int8), np.empty(layout.channels, f32)
        assert library.amct_arq_forward(address(y), address(w), layout, c_bool(True), None) == 0
        assert library.amct_weight_scales(address(scale), address(w), layout, c_bool(True), None) == 0
        library.amct_weight_quantize(address(q), address(w), layout, address(scale), c_size_t(layout.channels))
        deployed = q.reshape(-1, layout.channels, layout.inner).astype(f32) * scale[:, None]
        assert y.tobytes() == deployed.astype(f32).tobytes()


class Ends(ctypes.Structure):
    _fields_ = [("high", ctypes.c_void_p), ("low", ctypes.c_void_p)]


def test_shifts_of_channels_wherever_they_stand(library):
    """N of accumulators 2^15 and around it; channels last, and channels first."""
    accumulators = np.array([[1, 32767], [-32768, 32768], [-32769, 0], [65535, 65536], [-(2**31), 5]], f32)
    wanted = [[1, 1, 1, 2, 16], [1], [1, 1, 1, 2, 16]]
    for x, channels, inner in ((accumulators.T, 5, 1), (accumulators[:2].T, 1, 1), (accumulators, 5, 2)):
        x = np.ascontiguousarray(x)
        layout = Layout(x.size // channels // inner, channels, inner)
        high, low, shift = np.zeros(channels, f32), np.zeros(channels, f32), np.zeros(channels, np.uint32)
        ends = Ends(high.ctypes.data, low.ctypes.data)
        library.amct_output_ends_add(ctypes.byref(ends), address(x), layout)
        trained = Trained(None, Layout(1, channels, 1), True, True, None, 0, 1.0)
        ones = np.ones(channels, f32)
        status = library.amct_search_n(
            address(shift), address(ones), c_size_t(channels), ctypes.byref(trained), ctypes.byref(ends), None
        )
        assert status == 0 and shift.tolist() == wanted.pop(0)
    high[:], low[:] = 32767, -32768
    assert library.amct_search_n(
        address(shift), address(ones), c_size_t(5), ctypes.byref(trained), ctypes.byref(ends), None
    ) == 0 and shift.tolist() == [0] * 5


def scales(library, w, layout, steps, per_channel=True, scale_d=0.1):
    array = (FoldStep * max(len(steps), 1))(*steps)
    out = np.zeros(layout.channels + 1, f32)
    count, folded = c_size_t(), c_size_t()
    trained = Trained(
        w.ctypes.data, layout, per_channel, True, ctypes.cast(array, ctypes.c_void_p), len(steps), scale_d
    )
    status = library.amct_trained_scales(
        address(out), ctypes.byref(count), ctypes.byref(folded), ctypes.byref(trained), None
    )
    assert status == 0
    return out[: count.value], folded.value


def test_a_step_that_cannot_be_folded_does_not_count(library):
    w = np.linspace(-1, 1, 12).astype(f32)
    ones, twos, negative = np.ones(3, f32), np.full(3, 2, f32), np.full(3, -1, f32)
    good = FoldStep(1, None, *(address(twos), address(ones), address(ones), address(ones)), 0)
    bad = FoldStep(1, None, *(address(ones), address(ones), address(ones), address(negative)), 0)
    layout = Layout(4, 3, 1)
    plain, none = scales(library, w, layout, [bad, good])
    assert none == 0 and np.array_equal(plain, np.abs(w.reshape(4, 3)).max(0) / f32(127))
    doubled, one = scales(library, w, layout, [good, bad])
    assert one == 1 and np.array_equal(doubled, 2 * plain)


def test_scales_are_raised_where_the_bias_would_overflow(library):
    w = np.full(4, 1e-6, f32)
    bias = np.array([1e4, 0], f32)
    steps = [FoldStep(0, bias=address(bias))]
    raised, _ = scales(library, w, Layout(2, 2, 1), steps, scale_d=1e-6)
    assert raised[0] > raised[1] and 1e4 / (1e-6 * float(raised[0])) <= 2147483648
    one, _ = scales(library, w, Layout(2, 2, 1), steps, per_channel=False, scale_d=1e-6)
    assert one.tolist() == [raised[0]]
