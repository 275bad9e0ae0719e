"""Sharing by a trellis: dependent quantization with rate-distortion choice of the levels.

Two quantizers of double step take turns, as the parities of the levels before say (see
`kernels.quantize_trellis`): the error is that of a finer grid, the bits are those of a coarse one.
The sequence of levels that has the least squared error + slope x bits is found as the shortest path
through a trellis. Bits are estimated from how often each level occurs among weights of a like row
and column, and estimates follow the levels for a few passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ...entropy import log2
from ...kernels import levels as kernels
from ...kernels.reference.encode import trellis
from ...weights import Weights
from ...wire.arrays import AnyArray
from ...wire.trellis_states import CHUNK, DEFAULT_STATES, Floats, values_at
from ..shared_tensor import SharedTensor

# What a bit may cost, in squared half steps.
SLOPE_FACTOR = 0.2
# What a bit saves when the step changes, in squared half steps: at high rates 2 ln 2 times the
# error, which is 0.22. It tells the step that suits a slope where other tensors are on grids.
SAVING_FACTOR = 0.3
# Estimates of bits do not gain from more states; the last pass decides the levels.
PASSES, ESTIMATING_STATES = 3, 8
# Positive and negative ones together are told apart by 16 bits.
MOST_STEPS = 32_000
# Sums of magnitudes are taken in 256ths of a half step. A class is a quarter of an octave of the
# magnitude that is expected; class 16 begins at one half step.
PARTS_BITS = 8
LARGEST_PART = 1 << 28
PIECE = 1 << 18
FEWEST_ROWS = 4
CLASS_OF_ONE = 16
# What one weight counts for against the whole prior of a class, and in both classes beside its own.
COUNTED, PRIOR, LEAKED = 64, 512, 3
_ROOTS = (1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429)

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrellisTensor(SharedTensor):
    """A tensor shared by a trellis.

    Attributes
    ----------
    step : float
        The half step, a float32: entry i of the codebook is lowest + i of them.
    states : int
        Of the trellis.
    lowest : int
    """

    step: float
    states: int
    lowest: int

    @property
    def positions(self) -> npt.NDArray[np.int32]:
        """The weights in half steps: int32[numel]."""
        return self.indices.astype(np.int32) + np.int32(self.lowest)


def quantize(
    values: Weights,
    shape: tuple[int, ...],
    step: float,
    states: int = DEFAULT_STATES,
    dtype: np.dtype[Any] | None = None,
    slope_factor: float = SLOPE_FACTOR,
) -> TrellisTensor:
    """Share weights by a trellis.

    Parameters
    ----------
    values : float32[numel] or float64[numel]
        Finite; zeros stay zero.
    shape : tuple of int
        Of the tensor.
    step : float
        The half step, which is rounded to float32; the values lie within 32,000 of them from zero.
    states : int
        One of `STATES`: twice as many take twice the time, and save a little.
    dtype : dtype or None
        Of the codebook; that of the values if None.
    slope_factor : float
        What a bit may cost, in squared half steps.

    Raises
    ------
    ValueError
        If the step is too small, or there is no such trellis.
    """
    step = float(np.float32(step))
    if not 0 < step < np.inf:
        raise ValueError(f"a trellis needs a positive step, not {step}")
    positions = positions_of(values, shape, step, states, slope_factor)
    lowest = int(positions.min(initial=0))
    levels = int(positions.max(initial=0)) - lowest + 1
    indices = (positions - lowest).astype(np.uint8 if levels <= 256 else np.uint16)
    book = values_at(np.arange(lowest, lowest + levels), step, np.dtype(dtype or values.dtype))
    return TrellisTensor(indices, book, False, step=step, states=states, lowest=lowest)


def positions_of(
    values: Weights, shape: tuple[int, ...], step: float, states: int, slope_factor: float
) -> npt.NDArray[np.int32]:
    """The positions, in half steps, that `quantize` gives weights, whose step is a float32."""
    classes, rates = rates_of(values, shape, step, states, slope_factor)
    return _run(values, step, states, classes, rates)[0]


def rates_of(
    values: Weights, shape: tuple[int, ...], step: float, states: int, slope_factor: float
) -> tuple[npt.NDArray[np.uint8], Floats]:
    """The class of each weight, and their rates; see `kernels.quantize_trellis`.

    Raises ValueError if the step is too small.
    """
    classes = _classes(values, shape, step)
    counts = np.zeros((trellis.RATE_CLASSES, 2, trellis.RATE_LEVELS), np.int64)
    for _ in range(PASSES - 1):
        fewer = min(states, ESTIMATING_STATES)
        counts = _run(values, step, fewer, classes, slope_factor * _rates(counts))[1]
    return classes, slope_factor * _rates(counts)


def _run(
    values: Weights, step: float, states: int, classes: AnyArray, rates: Floats
) -> tuple[npt.NDArray[np.int32], Counts]:
    """Quantize chunk by chunk; positions and counts as the kernel gives them."""
    positions = np.empty(values.size, np.int32)
    counts = np.zeros(rates.shape, np.int64)
    for start in range(0, values.size, CHUNK):
        part = slice(start, start + CHUNK)
        positions[part], own = kernels.quantize_trellis(
            values[part], 1 / step, states, classes[part], rates
        )
        counts += own
    return positions, counts


def _classes(values: Weights, shape: tuple[int, ...], step: float) -> npt.NDArray[np.uint8]:
    """For each weight the class of its expected magnitude: mean of row x mean of column / mean."""
    rows = shape[0] if len(shape) > 1 and values.size else 1
    matrix = values.reshape(rows, -1)
    across, down = _sums(matrix, step)
    total = log2(float(across.sum() + 1))
    if min(matrix.shape) < FEWEST_ROWS:
        mean = total - log2(float(max(values.size, 1)))
        row, column = np.full(across.shape, mean), np.zeros(down.shape)
    else:
        row, column = log2(across + 1), log2(down + 1) - total
    # The means as logarithms, in 64ths of an octave: they add up without rounding.
    by_row = np.rint(64 * (row - PARTS_BITS)).astype(np.int16)
    by_column = np.rint(64 * column).astype(np.int16)
    quarters = by_row[:, None] + by_column[None, :] >> 4
    top = trellis.RATE_CLASSES - 1
    found: AnyArray = np.clip(quarters + CLASS_OF_ONE, 0, top).astype(np.uint8)
    return found.reshape(-1)


def _sums(matrix: Weights, step: float) -> tuple[Counts, Counts]:
    """Sums of magnitudes over each row and each column, in parts of a half step."""
    across = np.zeros(matrix.shape[0], np.int64)
    down = np.zeros(matrix.shape[1], np.int64)
    many = max(PIECE // max(matrix.shape[1], 1), 1)
    for start in range(0, len(matrix), many):
        parts = np.abs(matrix[start : start + many]) * np.float64((1 << PARTS_BITS) / step)
        whole = np.rint(np.minimum(parts, LARGEST_PART)).astype(np.int64)
        across[start : start + many] = whole.sum(axis=1)
        down += whole.sum(axis=0)
    return across, down


def _rates(counts: Counts) -> Floats:
    """Bits of each magnitude, its sign included, in each class and parity of the state.

    Frequencies are those that were counted, some of the neighbouring classes', and some of a
    geometric distribution with the mean of the class.
    """
    smooth = COUNTED * counts + _prior()
    smooth[1:] += LEAKED * counts[:-1]
    smooth[:-1] += LEAKED * counts[1:]
    bits = log2(smooth.sum(axis=2, keepdims=True)) - log2(smooth)
    bits[:, :, 1:] += 1
    return np.asarray(bits)


@cache
def _prior() -> Counts:
    """Frequencies of a geometric distribution for each class."""
    counts = np.empty((trellis.RATE_CLASSES, 2, trellis.RATE_LEVELS), np.int64)
    for k in range(trellis.RATE_CLASSES):
        quarters = k - CLASS_OF_ONE
        mean = math.ldexp(_ROOTS[quarters % 4], quarters // 4) / 2
        ratio = mean / (1 + mean)
        powers = np.cumprod(np.r_[1.0, np.full(trellis.RATE_LEVELS - 1, ratio)])
        counts[k] = np.rint(PRIOR * (1 - ratio) * powers) + 1
    return counts
