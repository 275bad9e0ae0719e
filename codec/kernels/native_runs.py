"""The kernels on runs in C: arrays are brought into shape here, checked and used there.

`reference_runs` documents each function; the two modules agree to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import _kernels
from .coding_arguments import Array, Bytes, Integers, Symbols, check_alphabet, symbol_array
from .reference_runs import Bins, Groups, checked_groups, checked_rows, checked_tables
from .weight_arguments import index_type, value_array


def find_bins(values: npt.NDArray[Any], scale: float, low: float) -> Bins:
    """Number of the bin that each value lies in: see `reference_runs.find_bins`."""
    array = np.require(value_array(values), requirements=["A"])
    bins = np.empty(array.size, np.uint16)
    _kernels.find_bins(array, array.itemsize == 8, scale, low, bins)
    return bins


def count_runs(
    symbols: Symbols, length: int, groups: Groups, group_count: int, alphabet: int
) -> npt.NDArray[np.int64]:
    """Count symbols by groups of runs: see `reference_runs.count_runs`."""
    check_alphabet(alphabet)
    symbols = symbol_array(symbols)
    counts = np.zeros((group_count, alphabet), np.int64)
    own = checked_groups(groups, symbols.size, length, group_count)
    _kernels.count_runs(symbols, symbols.itemsize, length, own, alphabet, counts)
    return counts


def map_runs(bins: Bins, length: int, groups: Groups, tables: npt.NDArray[np.uint16]) -> Symbols:
    """Look bins up in the tables of groups of runs: see `reference_runs.map_runs`."""
    group_count, width = checked_tables(tables)
    out: Array = np.empty(len(bins), index_type(int(tables.max()) + 1))
    own = checked_groups(groups, len(bins), length, group_count)
    tables = np.ascontiguousarray(tables)
    _kernels.map_runs(symbol_array(bins), length, own, tables, width, out, out.itemsize)
    return out


def nearest_classes(counts: Integers, rates: Integers) -> tuple[Bytes, Integers]:
    """Put rows of counts into classes: see `reference_runs.nearest_classes`."""
    counts, rates = checked_rows(counts, rates)
    nearest, sums = np.empty(len(counts), np.uint8), np.zeros_like(rates)
    _kernels.nearest_classes(counts, counts.shape[1], rates, nearest, sums)
    return nearest, sums
