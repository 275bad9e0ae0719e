"""Sharing by a uniform grid: one step for all weights, with rate-distortion rounding.

The grid's levels are the multiples of a step. A weight between two levels goes to the one with the
least squared error + slope x bits, where the bits are those of an ideal code for the weight's
class; levels then move to the mean of their weights, and so on (entropy-constrained scalar
quantization: Chou, Lookabaugh and Gray 1989; for networks Choi, El-Khamy and Lee 2016). One step
and one slope for a whole model spend its bits where they lower the model's error most.

All of it works on a histogram of 64 bins a step for each class, in integers but for a few exactly
rounded operations, so that every machine finds the same levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import RecipeError
from ..kernels import levels as kernels
from ..kernels import weights
from ..kernels.reference.encode import runs as encode_runs
from ..weights import Weights
from ..wire.arrays import AnyArray
from ..wire.code_table import MAX_ALPHABET
from ..wire.grid_book import MAX_LOWEST, GridBook
from ..wire.row_classes import MAX_CLASSES, Runs, one_class
from .row_clustering import find_runs, has_classes
from .shared_tensor import SharedTensor

BINS_A_STEP = 64
MOST_BINS = 65536
# At high rates the squared error falls by 2 ln 2 times itself a bit, and it is step**2 / 12.
SLOPE_FACTOR = 0.12


@dataclass(frozen=True, slots=True)
class GridTensor(SharedTensor):
    """A tensor shared by a grid.

    Attributes
    ----------
    book : GridBook
        What the codebook consists of.
    runs : Runs
        The classes that its levels were chosen for.
    """

    book: GridBook
    runs: Runs


def quantize(
    values: Weights,
    shape: tuple[int, ...],
    step: float,
    slope_factor: float = SLOPE_FACTOR,
    dtype: np.dtype[Any] | None = None,
    most_classes: int = MAX_CLASSES,
) -> GridTensor:
    """Share weights by a grid.

    Parameters
    ----------
    values : float32[numel] or float64[numel]
        Finite; pruned ones are zero, which stays zero.
    shape : tuple of int
        Of the tensor, for its rows and columns to be put into classes.
    step : float
        Distance of levels; rounded to float32.
    slope_factor : float
        What a bit may cost, in squared error over step**2; 0 minds the error alone.
    dtype : dtype or None
        Of the codebook; that of the values if None.
    most_classes : int
        How many classes the rows may be put into.

    Raises
    ------
    RecipeError
        If the grid would have more than 4,096 levels, or a step of no size.
    """
    step = float(np.float32(step))
    fine = _find_bins(values, step)
    runs = _find_runs(fine, shape, most_classes)
    rounded = kernels.round_grid(
        fine.bins,
        runs.length,
        runs.groups,
        runs.count,
        (fine.levels, fine.bins_a_step),
        fine.lowest,
        slope_factor,
    )
    first, levels = fine.lowest + rounded.first, rounded.last - rounded.first + 1
    book = GridBook(step, first, levels, rounded.corrections)
    codebook = book.values(np.dtype(dtype or values.dtype))
    return GridTensor(rounded.indices, codebook, False, book=book, runs=runs)


@dataclass(frozen=True, slots=True)
class _FineBins:
    """Weights in bins of a fraction of a step: level k is around bins (k + 1/2) bins_a_step."""

    bins: encode_runs.Bins
    bins_a_step: int
    lowest: int
    levels: int

    @property
    def rounded(self) -> AnyArray:
        """The level that each weight is nearest to."""
        return np.asarray(self.bins >> self.bins_a_step.bit_length() - 1)


def _find_bins(values: Weights, step: float) -> _FineBins:
    summary = weights.summarize(values)
    if not 0 < step < np.inf:
        raise RecipeError(f"a grid needs a positive step, not {step}")
    ends = summary.minimum / step, summary.maximum / step
    if not all(abs(end) < MAX_LOWEST - 1 for end in ends):
        raise RecipeError(f"a grid of step {step} has too many levels")
    lowest, highest = (math.floor(end + 0.5) for end in ends)
    levels = highest - lowest + 1
    if levels > MAX_ALPHABET:
        raise RecipeError(f"a grid of step {step} has {levels} levels, over {MAX_ALPHABET}")
    bins_a_step = BINS_A_STEP
    while levels * bins_a_step > MOST_BINS:
        bins_a_step //= 2
    scale, low = bins_a_step / step, (lowest - 0.5) * bins_a_step
    bins = np.minimum(kernels.find_bins(values, scale, low), np.uint16(levels * bins_a_step - 1))
    return _FineBins(bins, bins_a_step, lowest, levels)


def _find_runs(fine: _FineBins, shape: tuple[int, ...], most_classes: int) -> Runs:
    if not has_classes(fine.bins.size, shape):
        return one_class(fine.bins.size)
    return find_runs(fine.rounded, fine.levels, shape, most_classes)
