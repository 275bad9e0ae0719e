"""The weight kernels in NumPy: the definition of every result, to the last bit.

A survivor is a value with w != 0 and |w| >= cutoff, compared in double. Sums of doubles are taken
in eight lanes: lane j adds elements j, j + 8, j + 16, ... in order, and the lanes are added in
order at the end. Arrays are one-dimensional; values are float32 or float64. Memory is bounded by
chunks. Clustering is in `cluster`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...weight_arguments import (
    BINS,
    Summary,
    check_cells,
    check_limit,
    check_rows,
    index_array,
    index_type,
    magnitude_range,
    pattern_array,
    value_array,
)
from .cluster import cluster, cube_root, lloyd

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

CHUNK = 1 << 19
LARGEST_POSITION = 2.0**32 - 1
SEGMENTS = 4096
SEGMENT_BITS = 20
SAMPLE_VALUES = 16384
LEAST_WIDTH = 4
SHARED_WIDTH = BINS - SEGMENTS * LEAST_WIDTH


def summarize(values: NDArray[Any]) -> Summary:
    """Summarize values in one pass.

    Raises ValueError if values are not floats of 32 or 64 bits.
    """
    array = value_array(values)
    if array.size == 0:
        return Summary(0.0, 0.0, 0, True, 0.0)
    zeros = array.size - int(np.count_nonzero(array))
    if not all(np.isfinite(chunk).all() for chunk in _chunks(array)):
        return Summary(np.nan, np.nan, zeros, False, np.nan)
    lanes = np.zeros(8)
    with np.errstate(over="ignore", under="ignore"):
        for chunk in _chunks(array):
            wide = chunk.astype(np.float64)
            lanes = _extend_lanes(lanes, wide * wide)
    # adding zero turns -0.0 into 0.0
    return Summary(
        float(array.min()) + 0.0, float(array.max()) + 0.0, zeros, True, _sum_lanes(lanes)
    )


def count_magnitudes(values: NDArray[Any], shift: int, prefix: int) -> NDArray[np.int64]:
    """Count a 16-bit digit of the magnitudes that share the digits above it.

    The key of a value is the bit pattern of |w| as an unsigned integer. Counts
    ``(key >> shift) & 0xffff`` over keys with ``key >> (shift + 16) == prefix``; a shift by the
    whole width gives 0. Returns int64[65536].

    Raises ValueError if values are not floats or shift exceeds their width.
    """
    array = value_array(values)
    bits = array.itemsize * 8
    if not 0 <= shift <= bits:
        raise ValueError(f"shift {shift} beyond a key of {bits} bits")
    counts = np.zeros(BINS, np.int64)
    for chunk in _chunks(array.view(f"u{array.itemsize}")):
        keys = chunk.astype(np.uint64) & np.uint64((1 << (bits - 1)) - 1)
        digits = _shifted(keys, shift, bits) & np.uint64(0xFFFF)
        chosen = digits[_shifted(keys, shift + 16, bits) == np.uint64(prefix)]
        counts += np.bincount(chosen.astype(np.int64), minlength=BINS)
    return counts


def select_magnitudes(
    values: NDArray[Any], first: float, last: float, room: int
) -> tuple[int, int, NDArray[Any]]:
    """Collect the magnitudes in a range, and count those below it.

    Parameters
    ----------
    values : float32[n] or float64[n]
        A NaN lies beyond every range.
    first, last : float
        0 <= first <= last, both of the values' dtype and both in the range.
    room : int
        How many magnitudes to collect at most.

    Returns
    -------
    below, count : int
        How many magnitudes are below the range, and in it.
    found : array[at most room]
        The first of those in it, in their order.

    Raises ValueError for values that are not floats or something else than a range.
    """
    array = value_array(values)
    magnitude_range(first, last, array.dtype)
    below = count = 0
    found = [array[:0]]
    for chunk in _chunks(array):
        magnitudes = np.abs(chunk)
        below += int(np.count_nonzero(magnitudes < first))
        chosen = magnitudes[(magnitudes >= first) & (magnitudes <= last)]
        found.append(chosen[: max(room - count, 0)])
        count += chosen.size
    return below, count, np.concatenate(found)


def count_cells(
    values: NDArray[Any], cutoff: float, low: float, scale: float, cells: int
) -> NDArray[np.int64]:
    """Count the survivors in cells of equal width.

    The cell of a survivor is ``(w - low) * scale`` in the arithmetic of the values' own dtype,
    which low and scale are rounded to, truncated and clamped to 0 .. cells - 1 (to 0 if not a
    number). Returns int64[cells].

    Raises ValueError as `histogram` does, and for cells not in 1..65536.
    """
    array = value_array(values)
    _check_grid(cutoff, low, scale)
    counts = np.zeros(check_cells(cells), np.int64)
    for chunk in _chunks(array):
        kept = chunk[_survives(chunk.astype(np.float64), cutoff)]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            scaled = (kept - array.dtype.type(low)) * array.dtype.type(scale)
        scaled = np.minimum(np.where(scaled > 0.0, scaled, array.dtype.type(0)), cells - 1)
        counts += np.bincount(scaled.astype(np.int64), minlength=cells)
    return counts


def histogram(
    values: NDArray[Any], cutoff: float, low: float, scale: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bin the survivors, finely where they are dense.

    The position of a survivor is ``(w - low) * scale`` in double, truncated and clamped to
    0 .. 2**32 - 1 (to 0 if not a number). Positions fall into 4096 segments of 2**20; each
    segment has bins of equal width, 4 and a part of the other 49152 in proportion to about the
    cube root of its share in a sample of the values: of every ``(n // 16384 | 1)``-th. So an
    outlier costs the other values little resolution.

    Returns
    -------
    counts, sums : int64[bins in use], at most 65,536
        Number of survivors in each bin and sum of their positions; bins are ascending.

    Raises ValueError for values that are not floats, a cutoff that is not a number, low or scale
    that is not finite, or a negative scale.
    """
    array = value_array(values)
    _check_grid(cutoff, low, scale)
    sample = array[:: (array.size // SAMPLE_VALUES) | 1]
    base, width = _plan_grid(_survivor_positions(sample, cutoff, low, scale))
    counts = np.zeros(BINS, np.int64)
    sums = np.zeros(BINS, np.int64)
    for chunk in _chunks(array):
        positions = _survivor_positions(chunk, cutoff, low, scale)
        segments = positions >> SEGMENT_BITS
        offsets = positions & ((1 << SEGMENT_BITS) - 1)
        bins = base[segments] + (offsets * width[segments] >> SEGMENT_BITS)
        counts += np.bincount(bins, minlength=BINS)
        # exact in double: a chunk's sum of positions is below 2**51
        sums += np.bincount(bins, positions, minlength=BINS).astype(np.int64)
    used = np.flatnonzero(counts)
    return counts[used], sums[used]


def assign(
    values: NDArray[Any], cutoff: float, thresholds: ArrayLike, first: int
) -> NDArray[np.uint8 | np.uint16]:
    """Find the level of every survivor.

    Parameters
    ----------
    thresholds : float64[k - 1]
        Finite, ascending; a survivor's level is the number of thresholds below it.
    first : int
        Index of level 0: 0 or 1. Values that do not survive get index 0.

    Returns
    -------
    uint8[n] if first + k <= 256, else uint16[n]

    Raises ValueError for values that are not floats, a cutoff that is not a number, bad
    thresholds, another first or more than 65536 indices.
    """
    array = value_array(values)
    bounds = np.asarray(thresholds, np.float64)
    if np.isnan(cutoff):
        raise ValueError("cutoff is not a number")
    if first not in (0, 1):
        raise ValueError("first is neither 0 nor 1")
    if not np.isfinite(bounds).all() or (bounds[1:] < bounds[:-1]).any():
        raise ValueError("thresholds are not finite and ascending")
    indices = np.empty(array.size, index_type(first + bounds.size + 1))
    for start in range(0, array.size, CHUNK):
        wide = array[start : start + CHUNK].astype(np.float64)
        found = first + np.searchsorted(bounds, wide, side="left")
        indices[start : start + CHUNK] = np.where(_survives(wide, cutoff), found, 0)
    return indices


def measure(
    values: NDArray[Any], indices: NDArray[Any], codebook: ArrayLike, rows: int = 1
) -> NDArray[np.float64]:
    """Sum the squared differences between values and their levels, row by row, in lanes.

    Parameters
    ----------
    values : float32[n] or float64[n]
    indices : uint8[n] or uint16[n]
    codebook : float64[levels]
    rows : int
        Rows of equal length that the values are cut into.

    Returns
    -------
    float64[rows]

    Raises ValueError for wrong dtypes, different lengths, an index outside the codebook or rows
    that are not of equal length.
    """
    array = value_array(values)
    chosen = index_array(indices)
    table = np.asarray(codebook, np.float64)
    if array.size != chosen.size:
        raise ValueError("lengths differ")
    if chosen.size and int(chosen.max()) >= table.size:
        raise ValueError("index outside the codebook")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return _over_rows(array, rows, lambda part, wide: np.square(wide - table[chosen[part]]))


def sum_rows(values: NDArray[Any], rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum up the values of each row, and their squares, in lanes: float64[rows] each.

    Raises ValueError for values that are not floats, or rows that are not of equal length.
    """
    array = value_array(values)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        sums = _over_rows(array, rows, lambda _, wide: wide)
        squares = _over_rows(array, rows, lambda _, wide: wide * wide)
    return np.where(np.isnan(sums), np.nan, sums), squares


def _over_rows(
    array: NDArray[Any],
    rows: int,
    terms: Callable[[slice, NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Sum what `terms` makes of a part of the array: for each row in eight lanes, then those."""
    if array.size % check_rows(rows) if rows else array.size:
        raise ValueError("rows are not of equal length")
    length = array.size // rows if rows else 0
    step = max(CHUNK // max(length, 1), 1)
    found = np.zeros(rows)
    for first in range(0, rows, step):
        count = min(step, rows - first)
        lanes = np.zeros((count, 1, 8))
        for start in range(0, length, CHUNK):  # more than one only where a row is alone
            stop = min(start + CHUNK, length)
            part = slice(first * length + start, (first + count - 1) * length + stop)
            wide = array[part].astype(np.float64)
            own = terms(part, wide).reshape(count, -1)
            padded = np.pad(own, ((0, 0), (0, -own.shape[1] % 8))).reshape(count, -1, 8)
            # accumulate, since reduce may add in pairs
            lanes = np.add.accumulate(np.concatenate([lanes, padded], axis=1), axis=1)[:, -1:]
        found[first : first + count] = np.add.accumulate(lanes[:, 0], axis=1)[:, -1]
    return found


def distinct(patterns: NDArray[Any], limit: int) -> NDArray[Any] | None:
    """Return the distinct patterns, ascending; None if there are more than limit.

    Raises ValueError for patterns that are not unsigned integers or a limit above 65536.
    """
    array = pattern_array(patterns)
    found = array[:0]
    check_limit(limit)
    for chunk in _chunks(array):
        found = np.union1d(found, chunk)
        if found.size > limit:
            return None
    return found


def lookup(patterns: NDArray[Any], table: NDArray[Any]) -> NDArray[np.uint8 | np.uint16]:
    """Return each pattern's place in a strictly ascending table of the same dtype.

    Returns uint8 for tables of up to 256 patterns, else uint16.

    Raises ValueError for wrong dtypes, an unsorted table or a pattern it lacks.
    """
    array = pattern_array(patterns)
    keys = pattern_array(table)
    if array.dtype != keys.dtype:
        raise ValueError("types differ")
    if (keys[1:] <= keys[:-1]).any():
        raise ValueError("table is not ascending")
    indices = np.empty(array.size, index_type(keys.size))
    for start in range(0, array.size, CHUNK):
        chunk = array[start : start + CHUNK]
        found = np.searchsorted(keys, chunk)
        if (found == keys.size).any() or (keys[found] != chunk).any():
            raise ValueError("pattern missing from the table")
        indices[start : start + CHUNK] = found
    return indices


def take(indices: NDArray[Any], codebook: NDArray[Any]) -> NDArray[Any]:
    """Look indices up in a codebook of any dtype of 1, 2, 4 or 8 bytes.

    Raises ValueError for indices of a wrong dtype or outside the codebook.
    """
    chosen = index_array(indices)
    if chosen.size and int(chosen.max()) >= codebook.size:
        raise ValueError("index outside the codebook")
    # Of all modes this one takes them fastest.
    return codebook.take(chosen, mode="clip")


def _check_grid(cutoff: float, low: float, scale: float) -> None:
    if np.isnan(cutoff):
        raise ValueError("cutoff is not a number")
    if not (np.isfinite(low) and np.isfinite(scale) and scale >= 0.0):
        raise ValueError("low or scale is not finite, or scale is negative")


def _chunks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (array[start : start + CHUNK] for start in range(0, array.size, CHUNK))


def _extend_lanes(lanes: NDArray[np.float64], terms: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = np.concatenate([lanes, terms, np.zeros(-terms.size % 8)]).reshape(-1, 8)
    # accumulate, since reduce may add in pairs
    last: NDArray[np.float64] = np.add.accumulate(rows, axis=0)[-1]
    return last


def _sum_lanes(lanes: NDArray[np.float64]) -> float:
    return float(np.add.accumulate(lanes)[-1])


def _shifted(keys: NDArray[np.uint64], shift: int, bits: int) -> NDArray[np.uint64]:
    return keys >> np.uint64(shift) if shift < bits else np.zeros_like(keys)


def _survives(wide: NDArray[np.float64], cutoff: float) -> NDArray[np.bool_]:
    survives: NDArray[np.bool_] = (wide != 0.0) & (np.abs(wide) >= cutoff)
    return survives


def _survivor_positions(
    values: NDArray[Any], cutoff: float, low: float, scale: float
) -> NDArray[np.int64]:
    wide = values.astype(np.float64)
    wide = wide[_survives(wide, cutoff)]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        positions = (wide - low) * scale
    positions = np.where(positions > 0.0, positions, 0.0)
    return np.minimum(positions, LARGEST_POSITION).astype(np.int64)


def _plan_grid(positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    sampled = np.bincount(positions >> SEGMENT_BITS, minlength=SEGMENTS)
    roots = np.where(sampled > 0, cube_root(sampled.astype(np.float64)), 0.0)
    total = np.add.accumulate(roots)[-1]
    shares = roots / total if total > 0.0 else roots
    width = LEAST_WIDTH + (shares * SHARED_WIDTH).astype(np.int64)
    return np.cumsum(width) - width, width
