# SPDX-License-Identifier: Apache-2.0
"""ctypes view of numeric/ for the oracles. AMCT_PROBE names libamct_probe.so of a build with AMCT_TESTS."""

import ctypes
import os
from ctypes import (
    POINTER,
    byref,
    c_bool,
    c_double,
    c_float,
    c_int,
    c_int8,
    c_int32,
    c_size_t,
    c_uint8,
    c_uint64,
)

import numpy as np


class Layout(ctypes.Structure):
    _fields_ = [("outer", c_size_t), ("channels", c_size_t), ("inner", c_size_t)]


class DequantSpec(ctypes.Structure):
    _fields_ = [("deq", ctypes.c_void_p), ("channels", c_size_t), ("inner", c_size_t), ("area", c_double)]


class FoldStep(ctypes.Structure):
    _fields_ = [("kind", c_int)] + [
        (name, ctypes.c_void_p) for name in ("bias", "scale", "offset", "mean", "variance")
    ] + [("epsilon", c_float), ("single", c_bool)]


class EvenWeights(ctypes.Structure):
    _fields_ = [
        ("w", ctypes.c_void_p),
        ("layout", Layout),
        ("scale", ctypes.c_void_p),
        ("scales", c_size_t),
        ("taps", c_size_t),
    ]


class Nudged(ctypes.Structure):
    _fields_ = [("scale", c_float), ("low", c_int32), ("last", c_int32), ("zero", c_int32)]


class NudgedWeights(ctypes.Structure):
    _fields_ = [
        ("weights", ctypes.c_void_p),
        ("layout", Layout),
        ("grids", ctypes.c_void_p),
        ("grid_count", c_size_t),
        ("factor", ctypes.c_void_p),
        ("per_channel", c_bool),
    ]


class View(ctypes.Structure):
    _fields_ = [
        ("count", c_uint64),
        ("top", POINTER(c_float)),
        ("top_count", c_size_t),
        ("bottom", POINTER(c_float)),
        ("bottom_count", c_size_t),
        ("bins", POINTER(ctypes.c_uint32)),
        ("wide", POINTER(c_uint64)),
        ("bin_count", c_size_t),
        ("first", c_double),
        ("width", c_double),
        ("on_edges", c_bool),
    ]


class Place(ctypes.Structure):
    _fields_ = [("row", c_size_t), ("at", c_size_t)]


class RangeOptions(ctypes.Structure):
    _fields_ = (
        [("algorithm", ctypes.c_int64)]
        + [(name, c_double) for name in ("max_percentile", "min_percentile", "start", "end", "step")]
        + [("num_of_bins", ctypes.c_int64), ("asymmetric", c_bool)]
    )


ALGORITHMS = ("ifmr", "hfmg", "min_max", "percentile")


class Window(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64 * 2) for name in ("kernel", "stride", "dilation")] + [
        (name, c_bool) for name in ("same", "channels_first", "flat")
    ]


class Pictures(ctypes.Structure):
    _fields_ = [("count", c_size_t), ("channels", c_size_t), ("inside", ctypes.c_int64 * 2), ("out", ctypes.c_int64 * 2)]


class WeightPair(ctypes.Structure):
    _fields_ = [
        ("w", ctypes.c_void_p),
        ("q", ctypes.c_void_p),
        ("layout", Layout),
        ("scale", ctypes.c_void_p),
        ("scales", c_size_t),
    ]


class Rounding(ctypes.Structure):
    _fields_ = [
        ("w", ctypes.c_void_p),
        ("layout", Layout),
        ("scale", ctypes.c_void_p),
        ("scales", c_size_t),
        ("steps", ctypes.c_void_p),
        ("rows", c_size_t),
        ("width", c_size_t),
        ("taps", c_size_t),
        ("damping", c_double),
    ]


class Range(ctypes.Structure):
    _fields_ = [("scale", c_float), ("offset", c_int32)]


RETURNS = {
    "amct_sketch_new": ctypes.c_void_p,
    "amct_sketch_branch": ctypes.c_void_p,
    "amct_sketch_look": View,
    "amct_sketch_largest": c_float,
    "amct_sketch_smallest": c_float,
    "amct_half_to_float": c_float,
    "amct_half_from_float": ctypes.c_uint16,
    "amct_bfloat_to_float": c_float,
    "amct_bias_quantize": c_float,
    "amct_bias_fit": c_float,
    "amct_weight_worst_ratio": c_float,
    "amct_deq_pack": c_uint64,
    "amct_find_not_finite": c_size_t,
    "amct_input_sums_new": ctypes.c_void_p,
    "amct_input_sums_size": c_size_t,
    "amct_input_sums_means": c_bool,
    "amct_window_fits": c_bool,
    "amct_bias_shift": c_bool,
    "amct_input_rows_new": ctypes.c_void_p,
    "amct_input_rows_count": c_size_t,
    "amct_input_rows_width": c_size_t,
    "amct_input_rows_steps": c_bool,
    "amct_input_rows_possible": c_bool,
}
ARGUMENTS = {
    "amct_bias_quantize": [c_float] * 3,
    "amct_bias_fit": [c_float] * 3,
    "amct_deq_pack": [c_float, c_float, c_uint8, c_int8],
    "amct_half_from_float": [c_float],
    "amct_sketch_largest": [POINTER(View), c_uint64],
    "amct_sketch_smallest": [POINTER(View), c_uint64],
}


def load(plain=False):
    """The library as shipped, or the one without AVX2 copies, which lies beside it."""
    path = os.environ["AMCT_PROBE"]
    if plain:
        path = path.replace("libamct_probe.so", "libamct_probe_plain.so")
    library = ctypes.CDLL(path)
    for name, kind in RETURNS.items():
        getattr(library, name).restype = kind
    for name, kinds in ARGUMENTS.items():
        getattr(library, name).argtypes = kinds
    return library


def address(array):
    return ctypes.c_void_p(array.ctypes.data)


def _copy(pointer, count, dtype):
    if count == 0:
        return np.zeros(0, dtype)
    return np.ctypeslib.as_array(pointer, (count,)).astype(dtype)


class InputSums:
    """Means by tap and channel, of batches all of one window."""

    def __init__(self, library, window, channels):
        self.library, self.window = library, window
        self.handle = ctypes.c_void_p(library.amct_input_sums_new(byref(window), c_size_t(channels)))

    def __del__(self):
        self.library.amct_input_sums_free(self.handle)

    def add(self, batch, first=0, count=None):
        batch = np.ascontiguousarray(batch, np.float32)
        dims = (ctypes.c_int64 * batch.ndim)(*batch.shape)
        pictures = Pictures()
        assert self.library.amct_window_fits(byref(self.window), dims, batch.ndim, byref(pictures))
        count = pictures.count if count is None else count
        self.library.amct_input_sums_add(
            self.handle, byref(pictures), address(batch), c_size_t(first), c_size_t(count)
        )

    def merge(self, other):
        self.library.amct_input_sums_merge(self.handle, other.handle)

    def means(self):
        """float32 [taps * channels], or None where the sums are of no use."""
        mean = np.zeros(self.library.amct_input_sums_size(self.handle), np.float32)
        return mean if self.library.amct_input_sums_means(self.handle, address(mean)) else None


class InputRows:
    """A sample of the rows that a window sees."""

    def __init__(self, library, window, channels):
        self.library, self.window = library, window
        self.handle = ctypes.c_void_p(library.amct_input_rows_new(byref(window), c_size_t(channels)))

    def __del__(self):
        self.library.amct_input_rows_free(self.handle)

    def add(self, batch):
        batch = np.ascontiguousarray(batch, np.float32)
        dims = (ctypes.c_int64 * batch.ndim)(*batch.shape)
        pictures = Pictures()
        assert self.library.amct_window_fits(byref(self.window), dims, batch.ndim, byref(pictures))
        self.library.amct_input_rows_add(self.handle, byref(pictures), address(batch))

    def steps(self, scale, offset):
        """int16 [rows, taps * channels], rows sorted."""
        count, width = (getattr(self.library, "amct_input_rows_" + n)(self.handle) for n in ("count", "width"))
        steps = np.zeros((width, count), np.int16)
        assert self.library.amct_input_rows_steps(self.handle, Range(scale, offset), address(steps))
        return steps.T[np.lexsort(steps[::-1])]


def weight_round(library, weights, layout, steps, taps=1, **options):
    """int8 like the weights, or None where the numbers do not belong together; weights: w and scale."""
    damping = options.get("damping", 0.1)
    w, scale = (np.ascontiguousarray(a, np.float32) for a in weights)
    columns = np.ascontiguousarray(steps.T, np.int16)
    rounding = Rounding(
        address(w), Layout(*layout), address(scale), scale.size, address(columns), *steps.shape, taps, damping
    )
    q = np.zeros(w.shape, np.int8)
    return q if library.amct_weight_round(address(q), byref(rounding), None) == 0 else None


def even_round(library, weights, layout, taps):
    """int8 like the weights, or None where the numbers do not belong together; weights: w and scale."""
    w, scale = (np.ascontiguousarray(a, np.float32) for a in weights)
    of = EvenWeights(address(w), Layout(*layout), address(scale), scale.size, taps)
    q = np.zeros(w.shape, np.int8)
    return q if library.amct_even_round(address(q), byref(of), None) == 0 else None


def nudged_scales(library, weights, layout, grid, **options):
    """scale_w, and whether int8 holds all steps; grid: its scale."""
    w = np.ascontiguousarray(weights, np.float32)
    factor = options.get("factor")
    factor = None if factor is None else np.ascontiguousarray(factor, np.float64)
    nudged = Nudged(grid, 1, 255, 128)
    of = NudgedWeights(
        address(w), Layout(*layout), ctypes.addressof(nudged), 1,
        None if factor is None else address(factor), options.get("per_channel", True),
    )  # fmt: skip
    scale, count, exact = np.zeros(layout[1], np.float32), c_size_t(), c_bool()
    assert library.amct_nudged_scales(address(scale), byref(count), byref(exact), byref(of), None) == 0
    return scale[: count.value], exact.value


def bias_shift(library, weights, layout, mean, taps):
    """double [channels], or None where the numbers do not belong together; weights: w, q and scale."""
    w, q, scale = weights
    w, scale, mean = (np.ascontiguousarray(a, np.float32) for a in (w, scale, mean))
    q = np.ascontiguousarray(q, np.int8)
    pair = WeightPair(address(w), address(q), Layout(*layout), address(scale), scale.size)
    shift = np.zeros(layout[1], np.float64)
    good = library.amct_bias_shift(address(shift), byref(pair), address(mean), c_size_t(mean.size), c_size_t(taps))
    return shift if good else None


def _counts(view):
    """Values in each bin."""
    counts = _copy(view.bins, view.bin_count, np.uint32).astype(np.uint64)
    return counts + _copy(view.wide, view.bin_count, np.uint64) if view.wide else counts


class Sketch:
    def __init__(self, library, *batches):
        self.library = library
        self.handle = ctypes.c_void_p(library.amct_sketch_new())
        for batch in batches:
            self.add(batch)

    def branch(self, *batches):
        """A sketch of batches, for merging into this one."""
        other = Sketch(self.library)
        self.library.amct_sketch_free(other.handle)
        other.handle = ctypes.c_void_p(self.library.amct_sketch_branch(self.handle))
        for batch in batches:
            other.add(batch)
        return other

    def __del__(self):
        self.library.amct_sketch_free(self.handle)

    def add(self, values):
        values = np.ascontiguousarray(values, np.float32)
        assert self.library.amct_sketch_add(self.handle, address(values), c_size_t(values.size), None) == 0

    def add_sampled(self, values, row, at=0):
        """Values of pictures of `row` values; the first is in place `at` of its own."""
        values = np.ascontiguousarray(values, np.float32)
        count, place = c_size_t(values.size), Place(row, at)
        assert self.library.amct_sketch_add_sampled(self.handle, address(values), count, place, None) == 0

    def merge(self, other):
        assert self.library.amct_sketch_merge(self.handle, other.handle, None) == 0

    def look(self):
        """(top, bottom, bins, first, width, on_edges) as arrays and numbers of one's own."""
        view = self.library.amct_sketch_look(self.handle)
        return (
            _copy(view.top, view.top_count, np.float32),
            _copy(view.bottom, view.bottom_count, np.float32),
            _counts(view),
            view.first,
            view.width,
            view.on_edges,
        )

    def kth(self, k, largest):
        view = self.library.amct_sketch_look(self.handle)
        find = self.library.amct_sketch_largest if largest else self.library.amct_sketch_smallest
        return find(byref(view), k)

    def find(self, algorithm, p_max=0.999999, p_min=0.999999, num_of_bins=4096, asymmetric=True):
        """(scale, offset) of an algorithm."""
        return self._range(RangeOptions(ALGORITHMS.index(algorithm), p_max, p_min, 0.7, 1.3, 0.01, num_of_bins, asymmetric))

    def hfmg_ends(self, num_of_bins):
        ends = np.zeros(2, np.float32)
        assert self.library.amct_hfmg_ends(address(ends), self.handle, ctypes.c_int64(num_of_bins), None) == 0
        return ends

    def ifmr(self, p_max=0.999999, p_min=0.999999, start=0.7, end=1.3, step=0.01, asymmetric=True):
        return self._range(RangeOptions(0, p_max, p_min, start, end, step, 4096, asymmetric))

    def _range(self, options):
        found = Range()
        assert self.library.amct_range_find(byref(found), self.handle, byref(options), None) == 0
        return np.float32(found.scale), found.offset
