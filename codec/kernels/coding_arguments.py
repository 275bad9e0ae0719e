"""What both backends of the coding kernels share: types, the format's limits, argument checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

ALPHABET_LIMIT = 4096
LENGTH_LIMIT = 15
STREAMS = 8
MANY_STREAMS_FROM = 4096
STREAM_BYTES_LIMIT = 0xFFFF
COUNTS_LIMIT = 1 << 58

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Symbols = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def require(condition: bool | np.bool_, cause: str) -> None:
    """Raise a ValueError unless the condition holds."""
    if not condition:
        raise ValueError(cause)


def symbol_array(symbols: Symbols) -> Symbols:
    """Return symbols as a contiguous, aligned array; ValueError for a wrong dtype or shape."""
    require(symbols.dtype in (np.uint8, np.uint16), "symbols must be uint8 or uint16")
    require(symbols.ndim == 1, "symbols must be one-dimensional")
    if symbols.flags.c_contiguous and symbols.flags.aligned:
        return symbols
    array: Symbols = np.require(symbols, requirements=["C", "A"])
    return array


def integer_array(numbers: Integers) -> Integers:
    """Return counts or positions as a contiguous, aligned array."""
    array = np.asarray(numbers)
    if array.dtype == np.int64 and array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.require(array, np.int64, ["C", "A"])


def check_alphabet(alphabet: int) -> None:
    """Raise a ValueError unless symbols of 16 bits can fill the alphabet."""
    require(1 <= alphabet <= 1 << 16, "the alphabet must have 1 to 65536 symbols")


def check_span(span: int) -> None:
    """Raise a ValueError unless a block can have that many positions."""
    require(span >= 1, "the span must be positive")


def check_filler(filler: int) -> None:
    """Raise a ValueError unless a gap of 16 bits can be the filler."""
    require(1 <= filler <= 0xFFFF, "the filler must be 1 to 65535")


def check_limit(limit: int) -> None:
    """Raise a ValueError unless code lengths may have that limit."""
    require(1 <= limit <= LENGTH_LIMIT, "the length limit must be 1 to 15")


def check_output(out: Array) -> None:
    """Raise a ValueError unless values can be decoded into the array."""
    usable = out.ndim == 1 and out.flags.c_contiguous and out.flags.writeable
    require(usable, "the output must be one-dimensional, contiguous and writeable")


def check_codebook(codebook: Array, out: Array) -> None:
    """Raise a ValueError unless the codebook's items have the output's size."""
    require(codebook.ndim == 1, "the codebook must be one-dimensional")
    require(codebook.itemsize in (1, 2, 4, 8), "items must have 1, 2, 4 or 8 bytes")
    require(codebook.itemsize == out.itemsize, "codebook and output differ in item size")
