"""What both backends of the coding kernels share: types, the format's limits, argument checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

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


CLASS_LIMIT = 16
PAIRED_LEVELS_LIMIT = 128
PAIRED_BYTES_LIMIT = 4
PAIRS, BITMAP = 1, 2


class ClassCodes(NamedTuple):
    """The codes of all classes, one behind the other.

    Attributes
    ----------
    alphabets : int64[classes]
        Symbols of each code.
    widths : int64[classes]
        Elements that a symbol stands for, 1 or 2.
    coded : bool[classes]
        Whether the symbols of each code take bits: not where only one is in use.
    lengths : uint8[symbols]
        Code length of each symbol, in bits.
    members : uint16[elements of all symbols]
        Which entry of the codebook each element of each symbol is.
    """

    alphabets: Integers
    widths: Integers
    coded: npt.NDArray[np.bool_]
    lengths: Bytes
    members: npt.NDArray[np.uint16]

    def each(self) -> Iterator[tuple[Bytes, npt.NDArray[np.uint16]]]:
        """For each class the lengths uint8[alphabet], and the members uint16[alphabet, width]."""
        symbol = member = 0
        for alphabet, width in zip(self.alphabets.tolist(), self.widths.tolist(), strict=True):
            members = self.members[member : member + alphabet * width]
            yield self.lengths[symbol : symbol + alphabet], members.reshape(alphabet, width)
            symbol, member = symbol + alphabet, member + alphabet * width


def check_table(classes: int, levels: int, item_size: int) -> None:
    """Raise ValueError unless there can be so many classes, for values of that number and size."""
    require(1 <= classes <= CLASS_LIMIT, "there are 1 to 16 classes")
    require(1 <= levels <= ALPHABET_LIMIT, "unusable codebook")
    require(item_size in (1, 2, 4, 8), "items must have 1, 2, 4 or 8 bytes")


def check_values(values: Array, codes: ClassCodes, out: Array) -> None:
    """Raise ValueError unless there is a value for each member, of the output's dtype."""
    require(values.dtype == out.dtype, "values and output differ in dtype")
    require(values.shape == codes.members.shape, "values and members differ in number")


def check_classes(classes: Bytes) -> None:
    """Raise ValueError unless there can be a class for each run."""
    require(classes.dtype == np.uint8 and classes.ndim == 1, "classes are uint8[runs]")


def check_runs(classes: Bytes, length: int, runs_in_block: int, numel: int, kinds: int) -> None:
    """Raise ValueError unless runs fill so many elements and each is in one of the classes."""
    check_classes(classes)
    require(length >= 1 and runs_in_block >= 1, "a run has at least one element")
    require(1 <= kinds <= CLASS_LIMIT, "there are 1 to 16 classes")
    require(numel >= 0 and len(classes) == -(-numel // length), "the runs do not fill the output")
    require(len(classes) == 0 or int(classes.max()) < kinds, "a run is in no class")


def checked_offsets(offsets: Integers, runs: int, runs_in_block: int, classes: int) -> Integers:
    """Return offsets as int64[blocks, classes]; ValueError unless there are that many."""
    array = integer_array(offsets)
    blocks = -(-runs // runs_in_block)
    require(array.size == blocks * classes, "blocks and offsets differ in number")
    return array.reshape(blocks, classes)


ALPHABET_LIMIT = 4096
LENGTH_LIMIT = 15
STREAMS = 8
MANY_STREAMS_FROM = 4096
STREAM_BYTES_LIMIT = 0xFFFF
COUNTS_LIMIT = 1 << 58

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
