"""The least squared error of k-means in one dimension, with nothing of dcz.

A clustering cuts the sorted values into k runs. `Cells` groups neighbouring values so that a cut
inside a cell would save at most a known amount: with a cell for every value nothing is lost. Cuts
between cells are then searched exactly:

* `layered`: dynamic programming over 1, 2, ..., k runs. The best last cut moves monotonely, so
  that each layer is found by halving (Wu 1991; Gronlund et al. 2017).
* `penalised`: the least of error + price * runs over any number of runs, in one pass. For every
  price, that minimum less price * k is a lower bound of the error with k runs (weak duality), and
  it is the least error itself where the minimum has k runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

MOST_PRICES = 16


@dataclass(frozen=True, slots=True)
class Cells:
    """Sorted values in groups.

    Attributes
    ----------
    weight, first, second : float64[cells + 1]
        Sums of 1, x and x*x of the values before each cell, about the mean of all.
    within : float
        Squared error that is left inside the cells.
    slack : float
        How much less the error with cuts anywhere can be than with cuts between cells.
    """

    weight: Float64
    first: Float64
    second: Float64
    within: float
    slack: float

    @property
    def size(self) -> int:
        """Number of cells."""
        return len(self.weight) - 1

    def error(self, start: Int64 | int, stop: Int64 | int) -> Any:
        """Squared error of the runs of cells from start to stop, about their means."""
        weight = self.weight[stop] - self.weight[start]
        first = self.first[stop] - self.first[start]
        return np.maximum(self.second[stop] - self.second[start] - first * first / weight, 0.0)


def make_cells(values: npt.NDArray[Any], most: int) -> Cells:
    """Group values into at most about `most` cells.

    An optimal cut lies midway between two centroids, d apart. Moving it past values x costs
    2 * d * sum |x - cut|: to the better end of its cell at most d * sum |x - mean| of the cell,
    which is what both ends cost where the cut is at the mean. All d add up to no more than the
    range. Cells are narrow where the values are dense, so that these sums are about equal.
    """
    ordered = np.sort(values.astype(np.float64).reshape(-1))
    ordered -= ordered.mean()
    edges = np.arange(len(ordered) + 1) if len(ordered) <= most else _edges(ordered, most)
    sums = [np.concatenate([[0.0], np.cumsum(part)])[edges] for part in (ordered, ordered**2)]
    counts = np.diff(edges).astype(np.float64)
    means = np.diff(sums[0]) / counts
    apart = ordered - np.repeat(means, np.diff(edges))
    within = np.square(apart).sum()
    moved = float(np.add.reduceat(np.abs(apart), edges[:-1]).max())
    slack = float(ordered[-1] - ordered[0]) * moved
    weight = edges.astype(np.float64)
    # The squares of the cells' means alone: what lies within cells can't cancel in differences.
    second = np.concatenate([[0.0], np.cumsum(counts * means * means)])
    return Cells(weight, sums[0], second, float(within), slack)


def _edges(ordered: Float64, most: int) -> Int64:
    """Cut sorted values into runs of equal sums of the square roots of their distances.

    Where n distances are equal, the square of that sum is width times n. A value that is far from
    its neighbours gets a cell of its own, whose width is zero.
    """
    sums = np.cumsum(np.sqrt(np.diff(ordered)))
    runs = np.floor(sums * (most / sums[-1])).astype(np.int64)
    cuts = np.flatnonzero(np.diff(runs, prepend=0)) + 1
    return np.concatenate([[0], cuts, [len(ordered)]])


def layered(cells: Cells, wanted: Sequence[int]) -> dict[int, float]:
    """Return the least error for each wanted number of runs, cuts between cells only."""
    size = cells.size
    ends = np.arange(1, size + 1)
    least = np.concatenate([[0.0], cells.error(0, ends)])
    found = {1: float(least[-1])}
    for runs in range(2, max(wanted) + 1):
        least = _next_layer(cells, least, runs)
        found[runs] = float(least[-1])
    return {runs: found[min(runs, size)] + cells.within for runs in wanted}


def _next_layer(cells: Cells, least: Float64, runs: int) -> Float64:
    """Add one more run: for each end the best place where it may start."""
    size = cells.size
    result = np.zeros(size + 1)
    if runs > size:
        return result
    cuts = np.full(size + 2, runs - 1)
    cuts[size + 1] = size - 1
    step = 1 << (size + 1).bit_length()
    while step > 1:
        step //= 2
        ends = np.arange(step, size + 1, 2 * step)
        ends = ends[ends >= runs]
        if not len(ends):
            continue
        low = np.maximum(cuts[ends - step], runs - 1)
        high = np.minimum(cuts[np.minimum(ends + step, size + 1)], ends - 1)
        result[ends], cuts[ends] = _least(cells, least, low, high, ends)
    return result


def _least(
    cells: Cells, least: Float64, low: Int64, high: Int64, ends: Int64
) -> tuple[Float64, Int64]:
    """For each end the least error over starts from low to high, and the start."""
    lengths = high - low + 1
    places = np.cumsum(lengths) - lengths
    starts = np.arange(lengths.sum()) + np.repeat(low - places, lengths)
    errors = least[starts] + cells.error(starts, np.repeat(ends, lengths))
    minima = np.minimum.reduceat(errors, places)
    hits = np.flatnonzero(errors == np.repeat(minima, lengths))
    return minima, starts[hits[np.searchsorted(hits, places)]]


def penalised(cells: Cells, price: float) -> tuple[float, int]:
    """Return the least of error + price * runs, and how many runs that takes.

    Of two starts the later one, once better, stays better as the run's end moves on. Starts are
    kept in a queue with the end from which each is the best.
    """
    weight, first, second = cells.weight.tolist(), cells.first.tolist(), cells.second.tolist()
    size = cells.size
    total = [0.0] * (size + 1)
    runs = [0] * (size + 1)

    def cost(start: int, stop: int) -> float:
        difference = first[stop] - first[start]
        spread = difference * difference / (weight[stop] - weight[start])
        inside: float = second[stop] - second[start] - spread
        return total[start] + price + (inside if inside > 0.0 else 0.0)

    def overtakes(early: int, late: int, after: int) -> int:
        """The first end from which `late` is at least as good; size + 1 if there is none."""
        low, high = after, size + 1
        while low < high:
            middle = (low + high) // 2
            if cost(late, middle) <= cost(early, middle):
                high = middle
            else:
                low = middle + 1
        return low

    queue, since, front = [0], [1], 0
    for end in range(1, size + 1):
        while front + 1 < len(queue) and since[front + 1] <= end:
            front += 1
        total[end] = cost(queue[front], end)
        runs[end] = runs[queue[front]] + 1
        if end == size:
            break
        while len(queue) - 1 > front and cost(end, max(since[-1], end + 1)) <= cost(
            queue[-1], max(since[-1], end + 1)
        ):
            queue.pop()
            since.pop()
        start = overtakes(queue[-1], end, max(end + 1, since[-1]))
        if start <= size:
            queue.append(end)
            since.append(start)
    return total[size], runs[size]


def lower_bound(cells: Cells, levels: int, guess: float) -> float:
    """Return a lower bound of the error with `levels` runs, cuts between cells only.

    It is the least error itself where a price is found that gives that many runs.

    Parameters
    ----------
    guess : float
        About the least error; it only says where to look for the price.
    """
    if levels >= cells.size:
        return cells.within
    # Error falls with the square of the runs, and its slope is the price.
    price = 2 * max(guess - cells.within, 1e-300) / levels
    low, high = 0.0, float("inf")
    best = 0.0
    for _ in range(MOST_PRICES):
        least, runs = penalised(cells, price)
        best = max(best, least - price * levels)
        if runs == levels:
            break
        if runs > levels:
            low = price
        else:
            high = price
        price *= (runs / levels) ** 3
        if not low < price < high:
            price = (low + high) / 2 if high < float("inf") else 2 * low
    return best + cells.within
