"""How far a tensor's weights spread: the measure against which errors in it are judged.

An error is small or large beside what the tensor's weights tell apart, which is their spread about
their mean. Three things would make that spread a lie, and are put right:

* weights far from zero, in 5 to 6 say: the mean is taken off;
* a few weights that hold most of the energy: they are outliers, to be kept exactly, and count for
  nothing;
* rows, columns or tails that hold most of it, but are too many to be kept exactly: squares count
  up to `CLIPPED` times their mean, as in Huber's estimate of a scale (Huber 1964, *Robust
  estimation of a location parameter*, proposal 2).

Every operation scales with the weights: those multiplied by a power of two have a spread multiplied
by its square, to the last bit, as long as no number leaves the range of its type.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..kernels import weight_arguments, weights
from ..weights import Weights

# What a square counts for at most, in mean squares: an eighth of a normal row of 64 weights.
CLIPPED = 64.0
# A row's energy, likewise, in mean energies.
CLIPPED_ROW = 16.0
# Weights this many root mean squares from zero are outliers, if they are few.
OUTLYING = 45.0
MOST_OUTLIERS = 1024
OUTLIERS_SHARE = 256
FEWEST_OUTLIERS = 4
# Only where a weight is this many root mean squares away are long tails looked for.
LONG = 16.0
# Rows with less than this part of the mean energy are judged as if they had it.
LEAST_ROW = 1 / 256
# Clipping leaves this much of the energy: weights a thousand times smaller than a good part of the
# others are dead, as strong decay leaves them, and not what the tensor is about.
LEAST_SHARE = 2.0**-20
_ROUNDS = 64

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """What errors in a tensor are judged by.

    Attributes
    ----------
    energy : float
        Sum of squares about the mean, without outliers, long tails clipped; about zero for a
        constant, which has no other.
    rows : float64[rows]
        Sum of squares of each row about the tensor's mean, without outliers; at least
        `LEAST_ROW` of their clipped mean where any is above 0.
    usual_row : float
        That clipped mean.
    outlying : float
        Weights of this magnitude and more are outliers; infinity where there are none.
    """

    energy: float
    rows: Floats
    usual_row: float
    outlying: float = math.inf


def spread_of(values: Weights, rows: int, summary: weight_arguments.Summary) -> Spread:
    """Measure a tensor.

    Parameters
    ----------
    values : float32[numel] or float64[numel]
        Finite, at least one of them.
    rows : int
        Rows of equal length.
    summary : kernels.Summary
        Of the values.
    """
    outlying, share = _tails(values, summary)
    if outlying < math.inf:
        values = np.where(np.abs(values) >= outlying, np.zeros((), values.dtype), values)
    energies = _row_energies(values, rows)
    plain = math.fsum(energies.tolist()) / rows
    if share == 1 and energies.max() <= CLIPPED_ROW * plain and energies.min() > LEAST_ROW * plain:
        return Spread(plain * rows, energies, plain, outlying)
    mean = clipped_mean(energies, np.ones(energies.size), CLIPPED_ROW)
    total = math.fsum(energies.tolist())
    if not total > 0:
        return Spread(summary.energy, energies, mean, outlying)
    # Of what the tails' clipping takes away, a part may be rows that are clipped for themselves.
    by_rows = math.fsum(np.minimum(energies, CLIPPED_ROW * mean).tolist()) / total
    rows_at_least = np.maximum(energies, LEAST_ROW * mean)
    return Spread(total * min(share, by_rows), rows_at_least, mean, outlying)


def _row_energies(values: Weights, rows: int) -> Floats:
    """Sums of squares of each row about the mean of all."""
    sums, squares = weights.sum_rows(values, rows)
    mean = math.fsum(sums.tolist()) / values.size
    energy = math.fsum(squares.tolist())
    if 2 * values.size * mean * mean > energy:
        # What is left after the mean would be lost in the squares' last bits.
        return weights.sum_rows(values.astype(np.float64) - mean, rows)[1]
    length = values.size // rows
    return np.maximum(squares - 2 * mean * sums + length * (mean * mean), 0.0)


def _tails(values: Weights, summary: weight_arguments.Summary) -> tuple[float, float]:
    """Where outliers begin, and what part of the others' energy is left of it once clipped."""
    greatest = max(abs(summary.minimum), abs(summary.maximum))
    if greatest * greatest * values.size <= LONG * LONG * summary.energy:
        return math.inf, 1.0
    squares, counts, edges = magnitudes(values)
    scale = math.sqrt(clipped_mean(squares, counts, CLIPPED))
    outlying = _outlying(edges, counts, OUTLYING * scale, values.size)
    inside = edges < outlying
    squares, counts = squares[inside], counts[inside]
    clipped = np.minimum(squares, CLIPPED * (scale * scale))
    return outlying, max(_sum(counts * clipped) / _sum(counts * squares), LEAST_SHARE)


def _outlying(edges: Floats, counts: Floats, least: float, numel: int) -> float:
    """The magnitude from which on weights are outliers, if they are few enough."""
    beyond = edges >= least
    most = min(MOST_OUTLIERS, max(FEWEST_OUTLIERS, numel // OUTLIERS_SHARE))
    if not beyond.any() or _sum(counts[beyond]) > most:
        return math.inf
    return float(edges[beyond][0])


def magnitudes(values: Weights) -> tuple[Floats, Floats, Floats]:
    """A histogram over the upper half of the magnitudes' bit patterns, but for zeros.

    Returns the square at the middle, the count and the lower edge of each bin in use, ascending.
    """
    width = values.dtype.itemsize
    shift = 8 * width - 16
    counts = weights.count_magnitudes(values, shift, 0)
    digits = np.flatnonzero(counts)
    digits = digits[digits > 0]
    unsigned = np.dtype(f"u{width}")
    edges = (digits.astype(unsigned) << unsigned.type(shift)).view(values.dtype)
    half = unsigned.type(1 << (shift - 1))
    middles = ((digits.astype(unsigned) << unsigned.type(shift)) | half).view(values.dtype)
    squares = np.square(middles.astype(np.float64))
    return squares, counts[digits].astype(np.float64), edges.astype(np.float64)


def clipped_mean(squares: Floats, counts: Floats, most: float) -> float:
    """The mean of squares that count for at most so many times that mean; of those above 0."""
    counts = np.where(squares > 0, counts, 0.0)
    number = _sum(counts)
    if not number:
        return 0.0
    mean = _sum(counts * squares) / number
    if squares.max() <= most * mean:
        return mean
    for _ in range(_ROUNDS):
        clipped = _sum(counts * np.minimum(squares, most * mean)) / number
        if clipped == mean:
            break
        mean = clipped
    return mean


def _sum(terms: Floats) -> float:
    """The sum in order, equal on every machine."""
    return float(np.cumsum(terms)[-1]) if terms.size else 0.0
