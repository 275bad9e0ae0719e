"""Segments: runs of Huffman-coded symbols, found and measured without decoding them.

A segment of fewer than 4,096 symbols is one stream behind its length; a longer one is eight
streams, which a processor decodes side by side, behind eight 16-bit lengths. FORMAT.md has the
layout. Nothing is written for a segment whose code has a single symbol.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from dcz.codec import kernels
from dcz.codec.errors import CorruptError
from dcz.codec.frame import AnyArray
from dcz.codec.huffman import Lengths
from dcz.codec.varint import Cursor

EIGHT_STREAMS_FROM = 4096
_LENGTHS = struct.Struct("<8H")

Offsets = npt.NDArray[np.int64]


def takes_bits(lengths: Lengths) -> bool:
    """Whether symbols of this code cost anything: not when there is only one."""
    return int(np.count_nonzero(lengths)) > 1


def skip_segment(cursor: Cursor, symbols: int, *, coded: bool, what: str) -> int:
    """Step over a segment and return its offset, in bytes.

    Parameters
    ----------
    cursor : Cursor
    symbols : int
    coded : bool
        Whether symbols of its code take bits.
    what : str
        The stream's name.

    Raises
    ------
    TruncatedError
        If it ends past the payload.
    """
    offset = cursor.position
    if symbols == 0 or not coded:
        return offset
    if symbols < EIGHT_STREAMS_FROM:
        size = cursor.varint(what)
    else:
        size = sum(_LENGTHS.unpack(cursor.take(_LENGTHS.size, what)))
    cursor.take(size, what)
    return offset


def decode_symbols(
    payload: memoryview, offsets: Offsets, counts: Offsets, lengths: Lengths, what: str
) -> AnyArray:
    """The symbols of some segments as uint16. Raises CorruptError."""
    out = np.empty(int(counts.sum()), np.uint16)
    with corrupt(what):
        kernels.decode_dense(payload, offsets, counts, lengths, identity(lengths.size), out)
    return out


def identity(alphabet: int) -> npt.NDArray[np.uint16]:
    """A codebook that maps each symbol to itself."""
    return np.arange(alphabet, dtype=np.uint16)


def block_counts(total: int, block: int) -> Offsets:
    """Sizes of the blocks that `total` elements are cut into; the last may be smaller."""
    counts = np.full(-(-total // block), block, np.int64)
    if total % block:
        counts[-1] = total % block
    return counts


def as_offsets(values: Iterable[int]) -> Offsets:
    """A list of offsets or counts as the kernels take them."""
    return np.fromiter(values, np.int64)


class corrupt:  # noqa: N801 - reads as a statement: with corrupt("index"): ...
    """Turn a kernel's ValueError about coded bytes into a CorruptError that says where."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            raise CorruptError(f"{self.what}: {error}") from None
