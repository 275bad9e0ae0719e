"""Rounding many tiny tensors at once, in NumPy: the reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ...coding_arguments import ALPHABET_LIMIT, Bytes, Integers, require
from ...weight_arguments import value_array
from .grids import MOST_BINS, Floats, round_grid
from .runs import find_bins

TINY = 128
BINS_A_STEP = 64
LOWEST_LIMIT = 65535

Positions = npt.NDArray[np.int32]


def round_tiny(
    values: npt.NDArray[Any], ends: Integers, steps: Floats, slope_factor: float, left_out: Bytes
) -> Positions:
    """Round tensors to the multiples of their steps, as `round_grid` does.

    Parameters
    ----------
    values : float32[n] or float64[n]
        Finite; of 1 to 128 in each tensor, one tensor after the other.
    ends : int64[tensors]
        Where each ends.
    steps : float64[tensors]
    slope_factor : float
        As `round_grid` takes it.
    left_out : uint8[tensors]
        1 for tensors not to be looked at. Becomes 1 for those that are to stay as they are, having
        at most one value for two weights, or nothing but zero; and for those of too many levels.

    Returns
    -------
    int32[n]
        For each weight twice the multiple; unspecified for tensors that are left out.

    Raises
    ------
    ValueError
        If the arguments do not fit together.
    """
    array, ends, steps = check_tiny(values, ends, steps, left_out)
    positions = np.zeros(array.size, np.int32)
    begin = 0
    for number, end in enumerate(ends.tolist()):
        if not left_out[number]:
            own = array[begin:end].astype(np.float64)
            few = np.unique(own.view(np.uint64)).size <= own.size // 2
            found = None if few else _round_one(own, float(steps[number]), slope_factor)
            left_out[number] = found is None
            positions[begin:end] = 0 if found is None else found
        begin = end
    return positions


def check_tiny(
    values: npt.NDArray[Any], ends: Integers, steps: Floats, left_out: Bytes
) -> tuple[npt.NDArray[Any], Integers, Floats]:
    """Return the arrays; ValueError unless they fit together."""
    array = np.require(value_array(values), requirements=["A"])
    ends = np.require(ends, np.int64, ["C", "A"])
    steps = np.require(steps, np.float64, ["C", "A"])
    sizes = np.diff(ends, prepend=0)
    require(bool(np.all((sizes > 0) & (sizes <= TINY))), "a tiny tensor has 1 to 128 weights")
    require(int(sizes.sum()) == array.size, "tensors do not end where the values do")
    fit = steps.size == ends.size == left_out.size and left_out.dtype == np.uint8
    require(fit, "an array has the wrong size")
    return array, ends, steps


def _round_one(values: Floats, step: float, slope_factor: float) -> Positions | None:
    least, greatest = float(values.min()), float(values.max())
    if least == greatest == 0 or not step > 0 or not (greatest - least) / step < ALPHABET_LIMIT - 1:
        return None
    least, greatest = least / step, greatest / step
    if not max(abs(least), abs(greatest)) < LOWEST_LIMIT:
        return None
    lowest = math.floor(least + 0.5)
    levels = math.floor(greatest + 0.5) - lowest + 1
    if levels > ALPHABET_LIMIT:
        return None
    bins_a_step = BINS_A_STEP
    while levels * bins_a_step > MOST_BINS:
        bins_a_step //= 2
    bins = find_bins(values, bins_a_step / step, (lowest - 0.5) * bins_a_step)
    bins = np.minimum(bins, np.uint16(levels * bins_a_step - 1))
    group = np.zeros(1, np.uint32)
    rounded = round_grid(bins, TINY, group, 1, (levels, bins_a_step), lowest, slope_factor)
    return 2 * (rounded.indices.astype(np.int32) + np.int32(lowest + rounded.first))
