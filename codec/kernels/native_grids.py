"""The kernels of grids, curves and coded classes in C: arguments are shaped here, used there.

`reference_grids`, `reference_curves` and `reference_class_coding` document each function; they
agree to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import _kernels
from .coding_arguments import Bytes, Integers, Symbols, integer_array
from .reference_class_coding import CodedClass, check_indices
from .reference_curves import LEVELS, Floats, check_bins, level_plan
from .reference_grids import Rounded, check_counts, check_grid
from .reference_runs import Bins, Groups, checked_groups
from .reference_tiny import Positions, check_tiny


def round_grid(
    bins: Bins,
    length: int,
    groups: Groups,
    classes: int,
    shape: tuple[int, int],
    lowest: int,
    slope_factor: float,
) -> Rounded:
    """Round weights to levels: see `reference_grids.round_grid`."""
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
    """Put runs into classes: see `reference_grids.classify`."""
    counts = check_counts(counts, most)
    found = np.empty(len(counts), np.uint8)
    classes, bits = _kernels.classify(counts, counts.shape[1], most, steps, *costs, least, found)
    return (found, bits) if classes else None


def coded_bits(counts: Integers, overhead: int) -> int:
    """About what symbols take: see `reference_grids.coded_bits`."""
    array = integer_array(counts)
    return _kernels.coded_bits(array, array.shape[1], overhead)


def code_class(indices: Symbols, levels: int, *, may_pair: bool) -> CodedClass:
    """Code one class: see `reference_class_coding.code_class`."""
    symbols = check_indices(indices, levels)
    counts = np.empty(levels, np.int64)
    return CodedClass(*_kernels.code_class(symbols, symbols.itemsize, may_pair, counts), counts)


def rate_curve(
    means: Floats, counts: Integers, width: float, value_bits: int
) -> tuple[Integers, Floats, Floats]:
    """Find the lower convex hull of error over bits: see `reference_curves.rate_curve`."""
    means, counts = check_bins(means, counts)
    bits, errors = np.empty(LEVELS.size), np.empty(LEVELS.size)
    hull = np.empty(2 * LEVELS.size, np.uint32)
    kept = hull[
        : _kernels.rate_curve(means, counts, width, value_bits, level_plan(), bits, errors, hull)
    ]
    return LEVELS[kept], bits[kept], errors[kept]


def round_tiny(
    values: npt.NDArray[Any], ends: Integers, steps: Floats, slope_factor: float, left_out: Bytes
) -> Positions:
    """Round many tiny tensors: see `reference_tiny.round_tiny`."""
    array, ends, steps = check_tiny(values, ends, steps, left_out)
    positions = np.zeros(array.size, np.int32)
    wide = array.itemsize == 8
    _kernels.round_tiny(array, wide, ends, steps, slope_factor, left_out, positions)
    return positions
