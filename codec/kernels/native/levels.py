"""Grids, trellises and classes in C; `reference.levels` names what documents each function."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _kernels
from ..coding_arguments import (
    Array,
    Bytes,
    Integers,
    Symbols,
    check_alphabet,
    integer_array,
    require,
    symbol_array,
)
from ..reference.decode import mixing
from ..reference.encode import curves, tiny, trellis
from ..reference.encode.class_coding import CodedClass, check_indices
from ..reference.encode.curves import LEVELS, check_bins, level_plan
from ..reference.encode.grids import Rounded, check_counts, check_grid
from ..reference.encode.runs import Bins, Groups, checked_groups, checked_rows, checked_tables
from ..reference.encode.tiny import check_tiny
from ..reference.encode.trellis import RATE_CLASSES, RATE_LEVELS, TRELLISES
from ..weight_arguments import index_type, value_array

__all__ = [
    "classify",
    "code_class",
    "coded_bits",
    "count_runs",
    "find_bins",
    "map_runs",
    "nearest_classes",
    "quantize_trellis",
    "rate_curve",
    "round_grid",
    "round_tiny",
]


def find_bins(values: npt.NDArray[Any], scale: float, low: float) -> Bins:
    """Number of the bin that each value lies in: see `reference.encode.runs.find_bins`."""
    array = np.require(value_array(values), requirements=["A"])
    bins = np.empty(array.size, np.uint16)
    _kernels.find_bins(array, array.itemsize == 8, scale, low, bins)
    return bins


def count_runs(
    symbols: Symbols, length: int, groups: Groups, group_count: int, alphabet: int
) -> npt.NDArray[np.int64]:
    """Count symbols by groups of runs: see `reference.encode.runs.count_runs`."""
    check_alphabet(alphabet)
    symbols = symbol_array(symbols)
    counts = np.zeros((group_count, alphabet), np.int64)
    own = checked_groups(groups, symbols.size, length, group_count)
    _kernels.count_runs(symbols, symbols.itemsize, length, own, alphabet, counts)
    return counts


def map_runs(bins: Bins, length: int, groups: Groups, tables: npt.NDArray[np.uint16]) -> Symbols:
    """Look bins up in the tables of groups of runs: see `reference.encode.runs.map_runs`."""
    group_count, width = checked_tables(tables)
    out: Array = np.empty(len(bins), index_type(int(tables.max()) + 1))
    own = checked_groups(groups, len(bins), length, group_count)
    tables = np.ascontiguousarray(tables)
    _kernels.map_runs(symbol_array(bins), length, own, tables, width, out, out.itemsize)
    return out


def nearest_classes(counts: Integers, rates: Integers) -> tuple[Bytes, Integers]:
    """Put rows of counts into classes: see `reference.encode.runs.nearest_classes`."""
    counts, rates = checked_rows(counts, rates)
    nearest, sums = np.empty(len(counts), np.uint8), np.zeros_like(rates)
    _kernels.nearest_classes(counts, counts.shape[1], rates, nearest, sums)
    return nearest, sums


def round_grid(
    bins: Bins,
    length: int,
    groups: Groups,
    classes: int,
    shape: tuple[int, int],
    lowest: int,
    slope_factor: float,
) -> Rounded:
    """Round weights to levels: see `reference.encode.grids.round_grid`."""
    levels, bins_a_step = check_grid(shape, classes)
    bins = np.require(bins, np.uint16, ["C", "A"])
    room = np.empty(bins.size, np.uint16)
    own = checked_groups(groups, bins.size, length, classes)
    first, last, corrections = _kernels.round_grid(
        bins, length, own, classes, levels, bins_a_step, lowest, slope_factor, room
    )
    indices: Symbols = room if last - first >= 256 else room.view(np.uint8)[: bins.size]
    return Rounded(indices, first, last, tuple(memoryview(corrections).cast("b").tolist()))


def classify(
    counts: Integers, most: int, steps: int, costs: tuple[int, int], least: int
) -> tuple[Bytes, int] | None:
    """Put runs into classes: see `reference.encode.grids.classify`."""
    counts = check_counts(counts, most)
    found = np.empty(len(counts), np.uint8)
    classes, bits = _kernels.classify(counts, counts.shape[1], most, steps, *costs, least, found)
    return (found, bits) if classes else None


def coded_bits(counts: Integers, overhead: int) -> int:
    """About what symbols take: see `reference.encode.grids.coded_bits`."""
    array = integer_array(counts)
    return _kernels.coded_bits(array, array.shape[1], overhead)


def code_class(indices: Symbols, levels: int, *, may_pair: bool) -> CodedClass:
    """Code one class: see `reference.encode.class_coding.code_class`."""
    symbols = check_indices(indices, levels)
    counts = np.empty(levels, np.int64)
    return CodedClass(*_kernels.code_class(symbols, symbols.itemsize, may_pair, counts), counts)


def rate_curve(
    means: curves.Floats, counts: Integers, width: float, value_bits: int
) -> tuple[Integers, curves.Floats, curves.Floats]:
    """Find the lower convex hull of error over bits: see `reference.encode.curves.rate_curve`."""
    means, counts = check_bins(means, counts)
    bits, errors = np.empty(LEVELS.size), np.empty(LEVELS.size)
    hull = np.empty(2 * LEVELS.size, np.uint32)
    kept = hull[
        : _kernels.rate_curve(means, counts, width, value_bits, level_plan(), bits, errors, hull)
    ]
    return LEVELS[kept], bits[kept], errors[kept]


def round_tiny(
    values: npt.NDArray[Any],
    ends: Integers,
    steps: curves.Floats,
    slope_factor: float,
    left_out: Bytes,
) -> tiny.Positions:
    """Round many tiny tensors: see `reference.encode.tiny.round_tiny`."""
    array, ends, steps = check_tiny(values, ends, steps, left_out)
    positions = np.zeros(array.size, np.int32)
    wide = array.itemsize == 8
    _kernels.round_tiny(array, wide, ends, steps, slope_factor, left_out, positions)
    return positions


def quantize_trellis(
    values: npt.NDArray[Any],
    scale: float,
    states: int,
    classes: Bytes,
    rates: trellis.Floats,
    *,
    closed: bool = False,
) -> tuple[mixing.Positions, Integers]:
    """Find levels along a trellis: see `reference.encode.trellis.quantize_trellis`."""
    require(states > 1 and states in TRELLISES, "a trellis has 4, 8, 16, 32 or 64 states")
    array = np.require(value_array(values), requirements=["A"])
    positions = np.empty(array.size, np.int32)
    counts = np.empty((RATE_CLASSES, 2, RATE_LEVELS), np.int64)
    own = np.ascontiguousarray(classes, np.uint8), np.require(rates, np.float64, ["C", "A"])
    wide = array.itemsize == 8
    _kernels.quantize_trellis(
        array, wide, closed, scale, states, *TRELLISES[states], *own, positions, counts
    )
    return positions, counts
