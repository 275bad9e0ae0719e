"""How many levels each tensor gets, so that the whole model's error stays within a bound.

Bits go where they lower the error most: the tensors' rate-distortion curves are cut at one slope
(Shoham and Gersho 1988). A curve is measured on the tensor's histogram with cells of equal width,
where k-means starts: it ends with a slightly smaller error.

Every operation here is exactly rounded by IEEE 754 or done in a fixed order, so that all machines
choose the same levels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dcz.codec.entropy import log2
from dcz.codec.share import POSITIONS, Histogram

MAX_MEASURED = 4096
_LEVELS = sorted({round(2 ** (quarter / 4)) for quarter in range(65)})

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """One choice for a tensor: `levels` cost `bits` and leave a squared error of `error`."""

    levels: int
    bits: float
    error: float


def curve(shape: Histogram, value_bits: int) -> list[Point]:
    """The choices for a tensor, fewest levels first.

    Parameters
    ----------
    shape : Histogram
        Its surviving weights.
    value_bits : int
        Size of one codebook entry.
    """
    counts = shape.counts.astype(np.float64)
    means = shape.means / POSITIONS
    centred = means - 0.5
    sums = [_prefix(counts), _prefix(counts * centred), _prefix(counts * centred * centred)]
    width = shape.high - shape.low
    points: list[Point] = []
    for levels in _LEVELS:
        if levels > MAX_MEASURED:
            points.append(_extrapolate(points[-1], levels, sums[0][-1], value_bits))
        else:
            points.append(_measure(levels, means, sums, width, value_bits))
    return points


def _measure(
    levels: int, means: Floats, sums: list[Floats], width: float, value_bits: int
) -> Point:
    cuts = np.searchsorted(means, np.arange(1, levels) / levels)
    edges = np.concatenate(([0], cuts, [means.size]))
    weight, first, second = (np.diff(total[edges]) for total in sums)
    filled = weight > 0
    weight = weight[filled]
    error = _total(second[filled] - first[filled] * first[filled] / weight)
    rate = _total(weight * (log2(_total(weight)) - log2(weight)))
    bits = rate + weight.size * value_bits
    return Point(levels, bits, max(error, 0.0) * width * width)


def _extrapolate(point: Point, levels: int, total: float, value_bits: int) -> Point:
    """The high-rate law: twice the levels cost a bit a weight and leave a quarter of the error."""
    ratio = levels / point.levels
    bits = point.bits + total * float(log2(ratio)) + (levels - point.levels) * value_bits
    return Point(levels, bits, point.error / (ratio * ratio))


def _prefix(values: Floats) -> Floats:
    return np.concatenate(([0.0], np.cumsum(values)))


def _total(values: Floats) -> float:
    return float(np.cumsum(values)[-1])


def choose_levels(curves: Sequence[Sequence[Point]], max_error: float) -> list[Point]:
    """One point of each curve: the least bits in all with a total error of at most `max_error`.

    Steps along the curves' convex hulls are taken in the order of the error they save per bit.
    Where no levels meet the bound, every tensor gets its last point and a share of the bound.
    """
    hulls = [_hull(points) for points in curves]
    chosen = [hull[0] for hull in hulls]
    error = sum(point.error for point in chosen)
    steps = [
        ((before.error - after.error) / (after.bits - before.bits), number, after)
        for number, hull in enumerate(hulls)
        for before, after in itertools.pairwise(hull)
    ]
    for _, number, point in sorted(steps, key=lambda step: -step[0]):
        if error <= max_error:
            break
        error += point.error - chosen[number].error
        chosen[number] = point
    if error <= max_error:
        return chosen
    return [replace(point, error=point.error * (max_error / error)) for point in chosen]


def _hull(points: Sequence[Point]) -> list[Point]:
    """Lower convex hull of error over bits, both strictly monotone."""
    hull: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bits, p.error)):
        if hull and point.error >= hull[-1].error:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
            hull.pop()
        if hull and point.bits <= hull[-1].bits:
            continue
        hull.append(point)
    return hull


def _slope(before: Point, after: Point) -> float:
    return (after.error - before.error) / (after.bits - before.bits)
