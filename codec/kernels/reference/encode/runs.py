"""Kernels on runs in NumPy: the oracle the C kernels are held to, and their stand-in.

A *run* is a number of consecutive elements of a tensor, such as a row of a matrix. All runs of a
tensor have the same length (the last may be shorter), and each is in a group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...coding_arguments import (
    CLASS_LIMIT,
    Array,
    Bytes,
    Integers,
    Symbols,
    check_alphabet,
    integer_array,
    require,
    symbol_array,
)
from ...weight_arguments import index_type, value_array

_PIECE = 1 << 22

Groups = npt.NDArray[np.uint32]
Bins = npt.NDArray[np.uint16]


def find_bins(values: npt.NDArray[Any], scale: float, low: float) -> Bins:
    """Number of the bin that each value lies in: the whole part of value * scale - low.

    Parameters
    ----------
    values : float32[n] or float64[n]
        Finite.
    scale : float
        Bins to a unit, with products that do not overflow.
    low : float
        Lower end of bin 0, in bins.

    Returns
    -------
    uint16[n]
        0 for what lies lower, 65535 for what lies higher.
    """
    array = value_array(values)
    bins = np.empty(array.size, np.uint16)
    for start in range(0, array.size, _PIECE):
        position = array[start : start + _PIECE].astype(np.float64) * scale - low
        bins[start : start + _PIECE] = np.clip(position, 0, 65535).astype(np.uint16)
    return bins


def count_runs(
    symbols: Symbols, length: int, groups: Groups, group_count: int, alphabet: int
) -> npt.NDArray[np.int64]:
    """Count how often each symbol occurs in the runs of each group.

    Parameters
    ----------
    symbols : uint8[n] or uint16[n]
    length : int
        Elements of a run, at least 1.
    groups : uint32[runs]
        Group of each run.
    group_count, alphabet : int
        How many groups and symbols there are; symbols at most 65536.

    Returns
    -------
    int64[group_count, alphabet]

    Raises
    ------
    ValueError
        If a symbol or a group is out of range.
    """
    check_alphabet(alphabet)
    symbols = symbol_array(symbols)
    counts = np.zeros(group_count * alphabet, np.int64)
    checked = checked_groups(groups, symbols.size, length, group_count)
    for start, own in _group_pieces(symbols.size, length, checked):
        part = symbols[start : start + own.size].astype(np.int64)
        require(part.size == 0 or int(part.max()) < alphabet, "a symbol is outside the alphabet")
        counts += np.bincount(own * alphabet + part, minlength=counts.size)
    return counts.reshape(group_count, alphabet)


def map_runs(bins: Bins, length: int, groups: Groups, tables: npt.NDArray[np.uint16]) -> Symbols:
    """Look each bin up in the table of its run's group.

    Parameters
    ----------
    bins : uint16[n]
    length, groups
        As in `count_runs`.
    tables : uint16[group_count, width]

    Returns
    -------
    uint8[n] or uint16[n]
        The narrower one if all entries fit.

    Raises
    ------
    ValueError
        If a bin or a group has no entry.
    """
    group_count, width = checked_tables(tables)
    out: Array = np.empty(len(bins), index_type(int(tables.max()) + 1))
    flat = tables.reshape(-1)
    checked = checked_groups(groups, len(bins), length, group_count)
    for start, own in _group_pieces(len(bins), length, checked):
        part = bins[start : start + own.size]
        require(part.size == 0 or int(part.max()) < width, "a bin has no entry in the table")
        out[start : start + own.size] = flat[own * width + part]
    return out


def nearest_classes(counts: Integers, rates: Integers) -> tuple[Bytes, Integers]:
    """Put rows of counts into the classes that code them shortest.

    Parameters
    ----------
    counts : int64[rows, alphabet]
    rates : int64[classes, alphabet]
        What each symbol costs in each class, at most 16 of them; no sum of products overflows.

    Returns
    -------
    nearest : uint8[rows]
        Class with the least sum of products, the first of equals.
    sums : int64[classes, alphabet]
        The counts of each class.

    Raises
    ------
    ValueError
        If the arguments do not fit together.
    """
    counts, rates = checked_rows(counts, rates)
    nearest = np.argmin(counts @ rates.T, axis=1).astype(np.uint8)
    sums = np.zeros_like(rates)
    np.add.at(sums, nearest, counts)
    return nearest, sums


def _group_pieces(count: int, length: int, groups: Groups) -> Any:
    """For pieces of the elements, where each begins and the group of each of its elements."""
    for start in range(0, count, _PIECE):
        runs = np.arange(start, min(start + _PIECE, count)) // length
        yield start, groups[runs].astype(np.int64)


def checked_groups(groups: Groups, count: int, length: int, group_count: int) -> Groups:
    """Return the groups as an array; ValueError unless there is one below the limit a run."""
    require(length >= 1, "a run has at least one element")
    array = np.require(groups, np.uint32, ["C", "A"])
    require(array.size == -(-count // length), "runs and groups differ in number")
    require(not (array >= group_count).any(), "a group has no place in the result")
    return array


def checked_tables(tables: npt.NDArray[np.uint16]) -> tuple[int, int]:
    """The shape of tables; ValueError unless they are uint16 with at least one entry."""
    usable = tables.ndim == 2 and tables.dtype == np.uint16 and tables.size > 0
    require(usable, "tables are uint16[groups, width]")
    return tables.shape[0], tables.shape[1]


def checked_rows(counts: Integers, rates: Integers) -> tuple[Integers, Integers]:
    """Return counts and rates as arrays; ValueError unless their shapes fit."""
    counts, rates = integer_array(counts), integer_array(rates)
    fit = counts.ndim == rates.ndim == 2 and counts.shape[1] == rates.shape[1] > 0
    require(fit and 1 <= len(rates) <= CLASS_LIMIT, "counts and rates do not fit together")
    return counts, rates
