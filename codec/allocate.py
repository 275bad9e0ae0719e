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

from dcz.codec import kernels
from dcz.codec.histogram import POSITIONS, Histogram

# In the codebooks' sense: the weights stay as they are.
UNSHARED = kernels.UNSHARED

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
