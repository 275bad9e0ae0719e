"""The weight kernels in C: coerce arguments, allocate results, call the extension.

`reference.encode.weights` has the same functions and documents what they compute.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _kernels
from ..coding_arguments import integer_array
from ..weight_arguments import (
    BINS,
    Summary,
    check_cells,
    check_levels,
    check_limit,
    check_rows,
    index_array,
    index_type,
    magnitude_range,
    pattern_array,
    value_array,
)

__all__ = [
    "assign",
    "cluster",
    "count_cells",
    "count_magnitudes",
    "distinct",
    "histogram",
    "lloyd",
    "lookup",
    "measure",
    "select_magnitudes",
    "sum_rows",
    "summarize",
    "take",
]


class _Bins(threading.local):
    """A histogram's memory, which would cost small tensors more to get anew than to fill."""

    def __init__(self) -> None:
        self.counts = np.empty(BINS, np.int64)
        self.sums = np.empty(BINS, np.int64)


_bins = _Bins()


def summarize(values: NDArray[Any]) -> Summary:
    """Summarize values; see `reference.encode.weights.summarize`."""
    return Summary(*_kernels.summarize(value_array(values)))


def count_magnitudes(values: NDArray[Any], shift: int, prefix: int) -> NDArray[np.int64]:
    """Count a digit of the magnitudes; see `reference.encode.weights.count_magnitudes`."""
    counts = np.zeros(BINS, np.int64)
    _kernels.count_magnitudes(value_array(values), shift, prefix, counts)
    return counts


def select_magnitudes(
    values: NDArray[Any], first: float, last: float, room: int
) -> tuple[int, int, NDArray[Any]]:
    """Collect the magnitudes in a range; see `reference.encode.weights.select_magnitudes`."""
    array = value_array(values)
    start, stop = magnitude_range(first, last, array.dtype)
    found = np.empty(room, start.dtype)
    below, count = _kernels.select_magnitudes(array, int(start), int(stop), found)
    return below, count, found[: min(count, room)].view(array.dtype)


def count_cells(
    values: NDArray[Any], cutoff: float, low: float, scale: float, cells: int
) -> NDArray[np.int64]:
    """Count survivors in cells of equal width; see `reference.encode.weights.count_cells`."""
    counts = np.empty(check_cells(cells), np.int64)
    _kernels.count_cells(value_array(values), cutoff, low, scale, counts)
    return counts


def histogram(
    values: NDArray[Any], cutoff: float, low: float, scale: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bin the survivors; see `reference.encode.weights.histogram`."""
    counts, sums = _bins.counts, _bins.sums
    used = _kernels.histogram(value_array(values), cutoff, low, scale, counts, sums)
    return counts[:used].copy(), sums[:used].copy()


def cluster(counts: NDArray[np.int64], sums: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """Find k-means centroids; see `reference.encode.weights.cluster`."""
    centroids = np.empty(check_levels(levels), np.float64)
    found = _kernels.cluster(integer_array(counts), integer_array(sums), centroids)
    return centroids[:found].copy()


def lloyd(
    counts: NDArray[np.int64], sums: NDArray[np.int64], centroids: ArrayLike, steps: int
) -> NDArray[np.float64]:
    """Iterate k-means from given centroids; see `reference.encode.weights.lloyd`."""
    moving = np.array(centroids, np.float64, ndmin=1)
    found = _kernels.lloyd(integer_array(counts), integer_array(sums), moving, steps)
    return moving[:found].copy()


def assign(
    values: NDArray[Any], cutoff: float, thresholds: ArrayLike, first: int
) -> NDArray[np.uint8 | np.uint16]:
    """Find the level of every survivor; see `reference.encode.weights.assign`."""
    array = value_array(values)
    bounds = _floats(thresholds)
    indices = np.empty(array.size, index_type(first + bounds.size + 1))
    _kernels.assign(array, cutoff, bounds, first, indices)
    return indices


def measure(
    values: NDArray[Any], indices: NDArray[Any], codebook: ArrayLike, rows: int = 1
) -> NDArray[np.float64]:
    """Sum the squared errors of each row; see `reference.encode.weights.measure`."""
    errors = np.empty(check_rows(rows), np.float64)
    _kernels.measure(value_array(values), index_array(indices), _floats(codebook), errors)
    return errors


def sum_rows(values: NDArray[Any], rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum up each row, and its squares; see `reference.encode.weights.sum_rows`."""
    sums, squares = np.empty((2, check_rows(rows)), np.float64)
    _kernels.sum_rows(value_array(values), sums, squares)
    return sums, squares


def distinct(patterns: NDArray[Any], limit: int) -> NDArray[Any] | None:
    """Collect the distinct patterns; see `reference.encode.weights.distinct`."""
    array = pattern_array(patterns)
    keys = np.empty(check_limit(limit), np.uint64)
    found = _kernels.distinct(array, keys)
    return None if found > limit else np.sort(keys[:found]).astype(array.dtype)


def lookup(patterns: NDArray[Any], table: NDArray[Any]) -> NDArray[np.uint8 | np.uint16]:
    """Find each pattern's place in a table; see `reference.encode.weights.lookup`."""
    array = pattern_array(patterns)
    indices = np.empty(array.size, index_type(table.size))
    _kernels.lookup(array, pattern_array(table), indices)
    return indices


def take(indices: NDArray[Any], codebook: NDArray[Any]) -> NDArray[Any]:
    """Look indices up in a codebook; see `reference.encode.weights.take`."""
    table = np.ascontiguousarray(codebook)
    items = _aligned(table.view(f"u{table.itemsize}"))
    out = np.empty(indices.size, table.dtype)
    _kernels.take(_aligned(index_array(indices)), items, out.view(items.dtype))
    return out


def _floats(values: ArrayLike) -> NDArray[np.float64]:
    return _aligned(np.ascontiguousarray(values, np.float64))


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.flags.aligned else np.require(array, None, ["A"])
