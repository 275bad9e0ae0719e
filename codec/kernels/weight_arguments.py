"""What both backends of the weight kernels share: argument checks and result types."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 65536
MOST_LEVELS = 65536
MOST_PATTERNS = 65536


class Summary(NamedTuple):
    """What one pass over values finds.

    Attributes
    ----------
    minimum, maximum : float
        0.0 for no values; NaN unless all values are finite.
    zeros : int
        Number of values equal to zero.
    finite : bool
        Whether no value is infinite or NaN.
    energy : float
        Sum of squares; NaN unless all values are finite.
    """

    minimum: float
    maximum: float
    zeros: int
    finite: bool
    energy: float


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array contiguous and in the machine's byte order, itself where it is."""
    if array.dtype.isnative and array.flags.c_contiguous:
        return array
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def value_array(values: NDArray[Any]) -> NDArray[Any]:
    """Return values as a contiguous one-dimensional array; ValueError for a wrong dtype."""
    if values.dtype not in (np.float32, np.float64):
        raise ValueError(f"values are {values.dtype}, not float32 or float64")
    return _native(values).reshape(-1)


def pattern_array(patterns: NDArray[Any]) -> NDArray[Any]:
    """Return patterns as a contiguous one-dimensional array; ValueError for a wrong dtype."""
    if patterns.dtype.kind != "u":
        raise ValueError(f"patterns are {patterns.dtype}, not unsigned integers")
    return _native(patterns).reshape(-1)


def index_array(indices: NDArray[Any]) -> NDArray[Any]:
    """Return indices as a contiguous one-dimensional array; ValueError for a wrong dtype."""
    if indices.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"indices are {indices.dtype}, not uint8 or uint16")
    return _native(indices).reshape(-1)


def index_type(symbols: int) -> type[np.uint8] | type[np.uint16]:
    """Return the smallest dtype for so many symbols; ValueError above 65536."""
    if symbols > MOST_LEVELS:
        raise ValueError(f"{symbols} symbols, more than 65536")
    return np.uint8 if symbols <= 256 else np.uint16


def check_levels(levels: int) -> int:
    """Return levels; ValueError unless in 1..65536."""
    if not 1 <= levels <= MOST_LEVELS:
        raise ValueError(f"{levels} levels, not in 1..65536")
    return levels


def magnitude_range(first: float, last: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the bit patterns of a range's ends; ValueError if they are none."""
    if not 0 <= first <= last:
        raise ValueError(f"{first} to {last} is no range of magnitudes")
    ends: NDArray[Any] = np.abs(np.array([first, last], dtype))
    return ends.view(f"u{dtype.itemsize}")


def check_cells(cells: int) -> int:
    """Return cells; ValueError unless in 1..65536."""
    if not 1 <= cells <= BINS:
        raise ValueError(f"{cells} cells, not in 1..65536")
    return cells


def check_rows(rows: int) -> int:
    """Return rows; ValueError if they are negative."""
    if rows < 0:
        raise ValueError(f"{rows} rows")
    return rows


def check_limit(limit: int) -> int:
    """Return limit; ValueError unless in 0..65536."""
    if not 0 <= limit <= MOST_PATTERNS:
        raise ValueError(f"limit {limit}, not in 0..65536")
    return limit
