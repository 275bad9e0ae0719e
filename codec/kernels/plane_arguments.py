"""What both backends of the byte planes share: types and checks of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .coding_arguments import require

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Pairs = npt.NDArray[np.uint16]
Buffer = bytes | memoryview | Bytes


def check_elements(elements: Array, *, rotated: bool) -> None:
    """Raise a ValueError unless the elements can be cut into planes."""
    require(elements.ndim == 1 and elements.flags.c_contiguous, "elements must lie in a row")
    sizes = (2, 4, 8) if rotated else (1, 2, 4, 8, 16)
    require(elements.dtype.itemsize in sizes, f"elements must have one of {sizes} bytes")


def check_planes(planes: Sequence[Buffer], out: Array) -> None:
    """Raise a ValueError unless there is a plane for each byte, of n bytes or of one."""
    require(len(planes) == out.dtype.itemsize, "there must be a plane for each byte")
    require(all(len(plane) in (1, out.size) for plane in planes), "an array has the wrong size")


def check_low_bits(low_bits: int) -> None:
    """Raise a ValueError unless that many bits leave some of a byte."""
    require(1 <= low_bits <= 7, "the low bits must be 1 to 7")


def check_size(array: Bytes, size: int) -> None:
    """Raise a ValueError unless the array has that size."""
    require(array.size == size, "an array has the wrong size")


def plane_array(plane: Bytes) -> Bytes:
    """The plane, contiguous; ValueError for another dtype or shape."""
    require(plane.dtype == np.uint8 and plane.ndim == 1, "a plane must be uint8[n]")
    return np.ascontiguousarray(plane)


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` fields of `bits` bits take."""
    return -(-count * bits // 8)
