"""The distribution of a tensor's weights, as fine as the levels that will be found from it need.

Few weights keep their own positions. More are counted in cells of equal width where those suit
the distribution; where weights crowd in a small part of their range, bins are laid out to follow
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..kernels import weight_arguments
from ..kernels import weights as kernels
from ..weights import Weights

POSITIONS = 2**32 - 1
# Sorting so few is faster than going through a table of bins.
FEW_WEIGHTS = 16384
SAMPLED_WEIGHTS = 4096
SAMPLED_CELLS = 256
# Cells to a level, where levels lie closest: errors grow by some 0.02%, and with its square.
CELLS_PER_LEVEL = 16
LEAST_CELLS, MOST_CELLS = 4096, 65536
MANY_LEVELS = 65536
# Scales that float32 arithmetic takes without overflow.
LEAST_SCALE, GREATEST_SCALE = 2.0**-100, 2.0**100

Centroids = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Histogram:
    """The surviving weights of a tensor on a grid of 2**32 positions from `low` to `high`.

    Attributes
    ----------
    counts, sums : int64[bins in use]
        For each bin the number of weights and the sum of their positions, which may all be taken
        for the bin's centre. Bins ascend. Integers, so that no order of summation shows.
    low, high : float
        The smallest and the greatest weight.
    """

    counts: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]
    low: float
    high: float

    @cached_property
    def total(self) -> int:
        """Number of weights."""
        return int(self.counts.sum())

    @cached_property
    def means(self) -> Centroids:
        """Mean positions of the bins in use, ascending."""
        return np.asarray(self.sums / self.counts)

    @cached_property
    def cumulative(self) -> npt.NDArray[np.int64]:
        """How many weights lie in the first 0, 1, 2, ... bins in use."""
        return np.concatenate(([0], np.cumsum(self.counts)))

    def edges(self, centroids: Centroids) -> npt.NDArray[np.int64]:
        """How many bins in use belong to the first 0, 1, 2, ... centroids, each to the nearest."""
        midpoints = (centroids[:-1] + centroids[1:]) / 2
        inner = np.searchsorted(self.means, midpoints, side="right")
        return np.concatenate(([0], inner, [self.means.size]))

    def occupancy(self, centroids: Centroids) -> npt.NDArray[np.int64]:
        """How many weights are nearest to each centroid."""
        return np.diff(self.cumulative[self.edges(centroids)])

    def weights(self, positions: Centroids) -> Centroids:
        """The weights that positions stand for."""
        step = (self.high - self.low) / POSITIONS
        return self.low + (positions + 0.5) * step


def histogram(
    values: Weights, cutoff: float, summary: weight_arguments.Summary, levels: int = MANY_LEVELS
) -> Histogram:
    """Histogram of the weights that survive `cutoff`.

    Parameters
    ----------
    values : float32[numel] or float64[numel]
        They must be `share.shareable`.
    cutoff : float
        The smallest magnitude that survives.
    summary : Summary
        Of the values.
    levels : int
        How many levels will be found from the histogram at most.
    """
    low, high = summary.minimum, summary.maximum
    scale = POSITIONS / (high - low) if high > low else 0.0
    if values.size <= FEW_WEIGHTS:
        counts, sums = _own_positions(values, cutoff, low, scale)
    elif cells := _cells(values, cutoff, low, scale, levels):
        counts, sums = _equal_cells(values, cutoff, low, scale, cells)
    else:
        counts, sums = kernels.histogram(values, cutoff, low, scale)
    return Histogram(counts, sums, low, high)


def _own_positions(
    values: Weights, cutoff: float, low: float, scale: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    positions = np.sort(_positions(values, cutoff, low, scale))
    first = np.flatnonzero(np.diff(positions, prepend=np.int64(-1)))
    counts = np.diff(first, append=positions.size)
    return counts, positions[first] * counts


def _positions(values: Weights, cutoff: float, low: float, scale: float) -> npt.NDArray[np.int64]:
    wide = values.astype(np.float64)
    wide = wide[(wide != 0.0) & (np.abs(wide) >= cutoff)]
    return np.asarray(np.clip((wide - low) * scale, 0, POSITIONS), np.int64)


def _cells(values: Weights, cutoff: float, low: float, scale: float, levels: int) -> int:
    """How many cells of equal width find so many levels, or 0 if equal cells do not suit.

    Optimal levels lie as densely as the cube root of the weights (Panter and Dite 1951); the
    square root, which is exactly rounded everywhere, asks for a few more cells.
    """
    in_range = scale / POSITIONS >= LEAST_SCALE and scale <= GREATEST_SCALE
    if values.dtype != np.float64 and not in_range:
        return 0
    sample = values[:: (values.size // SAMPLED_WEIGHTS) | 1]  # odd: not in step with rows
    counts = kernels.count_cells(
        sample, cutoff, low, scale * (SAMPLED_CELLS / 2**32), SAMPLED_CELLS
    )
    density = np.sqrt(counts)
    total = float(np.cumsum(density)[-1])
    if total == 0.0:
        return 0
    wanted = CELLS_PER_LEVEL * levels * SAMPLED_CELLS * float(density.max()) / total
    cells = LEAST_CELLS
    while cells < wanted:
        cells *= 2
    return cells if cells <= MOST_CELLS else 0


def _equal_cells(
    values: Weights, cutoff: float, low: float, scale: float, cells: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    counts = kernels.count_cells(values, cutoff, low, scale * (cells / 2**32), cells)
    used = np.flatnonzero(counts)
    width = 2**32 // cells
    return counts[used], counts[used] * (used * width + width // 2)
