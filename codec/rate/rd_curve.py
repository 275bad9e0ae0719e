"""How many levels each tensor gets at a slope that the whole model has in common.

Bits go where they lower the error most: the tensors' rate-distortion curves are cut at one slope
(Shoham and Gersho 1988). A curve is measured on the tensor's histogram with cells of equal width,
where k-means starts: it ends with a slightly smaller error. That is a uniform grid, too, so that
the curves tell roughly what any quantizer will come to.

Every operation here is exactly rounded by IEEE 754 or done in a fixed order, so that all machines
choose the same levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from ..entropy import log2
from ..kernels import levels as kernels
from ..kernels.reference.encode import curves as encode_curves
from ..share.histogram import POSITIONS, Histogram

# In the codebooks' sense: the weights stay as they are.
UNSHARED = encode_curves.UNSHARED
_QUANTILES, _EVERY = 2048, 8

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Point:
    """One choice for a tensor: `levels` cost `bits` and leave a squared error of `error`."""

    levels: int
    bits: float
    error: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The choices for a tensor on the lower convex hull of error over bits, fewest bits first.

    Attributes
    ----------
    levels : int64[points]
        `UNSHARED` for the last.
    bits, errors : float64[points]
        What they cost and leave; bits ascend, errors descend.
    """

    levels: Integers
    bits: Floats
    errors: Floats

    def at(self, slope: float) -> Point:
        """The last point up to which every bit saves at least a squared error of `slope`."""
        saved = -np.diff(self.errors) / np.diff(self.bits)
        place = int(np.searchsorted(-saved, -slope, side="right"))
        return Point(int(self.levels[place]), float(self.bits[place]), float(self.errors[place]))

    def slope_for(self, error: float) -> float:
        """The greatest slope that leaves a squared error of at most so much."""
        place = int(np.argmax(self.errors <= error))
        if place == 0:
            return np.inf if self.errors[0] <= error else 0.0
        before, after = place - 1, place
        saved = self.errors[before] - self.errors[after]
        return float(saved / (self.bits[after] - self.bits[before]))


class Curves:
    """Several curves, to be cut all at once.

    Parameters
    ----------
    curves : sequence of Curve
    """

    def __init__(self, curves: Sequence[Curve]) -> None:
        lengths = np.array([curve.bits.size for curve in curves])
        self._lengths, self._starts = lengths, np.cumsum(lengths) - lengths
        self._bits = np.concatenate([curve.bits for curve in curves])
        self._errors = np.concatenate([curve.errors for curve in curves])
        # What a bit more saves; nothing at the end of each curve.
        gains, costs = -np.diff(self._errors, append=0), np.diff(self._bits, append=1)
        costs[self._starts + lengths - 1] = 1
        self._saved = gains / costs
        self._saved[self._starts + lengths - 1] = -np.inf

    def at(self, slopes: Floats) -> tuple[Floats, Floats]:
        """Bits and errors of each curve where it is cut at its slope, as `Curve.at` does."""
        past = self._saved >= np.repeat(slopes, self._lengths)
        places = self._starts + np.add.reduceat(past, self._starts, dtype=np.int64)
        return self._bits[places], self._errors[places]


ALREADY_SHARED = Curve(np.ones(1, np.int64), np.zeros(1), np.zeros(1))


def measure(shape: Histogram, value_bits: int) -> Curve:
    """The curve of a tensor.

    Parameters
    ----------
    shape : Histogram
        Its surviving weights.
    value_bits : int
        Size of one codebook entry, and of a weight that is not shared.
    """
    width = shape.high - shape.low
    return Curve(*kernels.rate_curve(shape.means / POSITIONS, shape.counts, width, value_bits))


def typical(numel: int, energy: float, value_bits: int) -> Curve:
    """About the curve of a small tensor: that of a Laplacian source. A search may begin with it.

    Parameters
    ----------
    numel : int
    energy : float
        Sum of squares.
    value_bits : int
        Size of a weight that is not shared.
    """
    levels, bits, errors = _laplacian()
    own = Curve(levels, numel * bits, energy * errors)
    kept = int(np.searchsorted(own.bits, float(numel * value_bits)))
    return Curve(own.levels[:kept], own.bits[:kept], own.errors[:kept])


@cache
def _laplacian() -> tuple[Integers, Floats, Floats]:
    """Levels, bits a weight and errors over the energy of a Laplacian source."""
    ranks = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    side = -log2(ranks[::-1])
    means = np.concatenate((-side[::-1], side)) / (2 * side[-1]) + 0.5
    many = np.full(means.size, 1 << 20)
    levels, bits, errors = kernels.rate_curve(means, many, 1.0, 64)
    some = slice(None, -1, _EVERY)
    weights = float(many.sum())
    energy = float(np.cumsum((means - 0.5) ** 2)[-1]) * (1 << 20)
    return levels[some], bits[some] / weights, errors[some] / energy
