"""How many levels each tensor gets at a slope that the whole model has in common.

Bits go where they lower the error most: the tensors' rate-distortion curves are cut at one slope
(Shoham and Gersho 1988). A curve is measured on the tensor's histogram with cells of equal width,
where k-means starts: it ends with a slightly smaller error. That is a uniform grid, too, so that
the curves tell roughly what any quantizer will come to.

Every operation here is exactly rounded by IEEE 754 or done in a fixed order, so that all machines
choose the same levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcz.codec.entropy import log2
from dcz.codec.histogram import POSITIONS, Histogram

# In the codebooks' sense: the weights stay as they are.
UNSHARED = 0
_MEASURED = np.array(sorted({round(2 ** (quarter / 4)) for quarter in range(49)}))
_EXTRAPOLATED = np.array([2**16, 2**14, 2**13])[::-1]
_FILLED = np.setdiff1d(np.arange(1, 512), _MEASURED)

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
    bits, errors = _measure(shape, value_bits)
    parts = [
        (_MEASURED, bits, errors),
        _fill(bits, errors),
        _extrapolate(bits[-1], errors[-1], shape.total, value_bits),
        (np.array([UNSHARED]), np.array([float(shape.total * value_bits)]), np.zeros(1)),
    ]
    return _hull(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _measure(shape: Histogram, value_bits: int) -> tuple[Floats, Floats]:
    """Bits and errors of `_MEASURED` levels, all in one go."""
    counts = shape.counts.astype(np.float64)
    means = shape.means / POSITIONS
    centred = means - 0.5
    cuts = np.concatenate([np.arange(levels + 1) / levels for levels in _MEASURED])
    ends = np.cumsum(_MEASURED + 1)
    edges = np.searchsorted(means, cuts)
    edges[ends - 1] = means.size
    moments = (counts, counts * centred, counts * centred * centred)
    weight, first, second = (np.diff(_prefix(moment)[edges]) for moment in moments)
    filled = weight > 0
    filled[ends[:-1] - 1] = False  # from the last edge of one to the first of the next
    weight = np.where(filled, weight, 1.0)
    cell_errors = np.where(filled, second - first * first / weight, 0.0)
    cell_bits = weight * (log2(float(shape.total)) - log2(weight)) + value_bits
    width = shape.high - shape.low
    errors = np.maximum(_sums(cell_errors, ends), 0.0) * width * width
    return _sums(np.where(filled, cell_bits, 0.0), ends), errors


def _sums(cells: Floats, ends: Integers) -> Floats:
    """Sums of the cells of each number of levels; the edges of each end before `ends`."""
    return np.diff(_prefix(cells)[np.concatenate(([0], ends - 1))])


def _prefix(values: Floats) -> Floats:
    return np.concatenate(([0.0], np.cumsum(values)))


def _fill(bits: Floats, errors: Floats) -> tuple[Integers, Floats, Floats]:
    """The numbers of levels between measured ones, where an aim needs steps that fine.

    Bits are taken to be linear in the number's logarithm, the error's root to be inverse to it.
    """
    after = np.searchsorted(_MEASURED, _FILLED)
    before = after - 1
    usable = errors[after] > 0
    levels, after, before = _FILLED[usable], after[usable], before[usable]
    low, high = _MEASURED[before], _MEASURED[after]
    way = log2(levels / low) / log2(high / low)
    roots = 1 / np.sqrt(np.maximum(errors, np.finfo(np.float64).tiny))
    root = roots[before] + (roots[after] - roots[before]) * ((levels - low) / (high - low))
    return levels, bits[before] + way * (bits[after] - bits[before]), 1 / (root * root)


def _extrapolate(
    bits: float, error: float, weights: int, value_bits: int
) -> tuple[Integers, Floats, Floats]:
    """The high-rate law: twice the levels cost a bit a weight and leave a quarter of the error."""
    last = int(_MEASURED[-1])
    ratio = _EXTRAPOLATED / last
    more = weights * log2(ratio) + (_EXTRAPOLATED - last) * float(value_bits)
    return _EXTRAPOLATED, bits + more, error / (ratio * ratio)


def _hull(levels: Integers, bits: Floats, errors: Floats) -> Curve:
    """The lower convex hull of error over bits, both strictly monotone."""
    kept: list[int] = []
    for place in np.lexsort((errors, bits)).tolist():
        if kept and (errors[place] >= errors[kept[-1]] or bits[place] <= bits[kept[-1]]):
            continue
        while len(kept) > 1 and not _turns(bits, errors, kept[-2], kept[-1], place):
            kept.pop()
        kept.append(place)
    return Curve(levels[kept], bits[kept], errors[kept])


def _turns(bits: Floats, errors: Floats, first: int, middle: int, last: int) -> bool:
    """Whether the middle point lies below the line from the first to the last."""
    before = (errors[middle] - errors[first]) / (bits[middle] - bits[first])
    after = (errors[last] - errors[middle]) / (bits[last] - bits[middle])
    return bool(before < after)
