"""Segments: runs of Huffman-coded symbols, found and measured without decoding them.

A segment of fewer than 4,096 symbols is one stream behind its length; a longer one is eight
streams, which a processor decodes side by side, behind eight 16-bit lengths. FORMAT.md has the
layout. Nothing is written for a segment whose code has a single symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ..errors import corrupt
from ..kernels import coding
from .arrays import AnyArray
from .code_table import Lengths
from .varint import Cursor

Offsets = npt.NDArray[np.int64]


def takes_bits(lengths: Lengths) -> bool:
    """Whether symbols of this code cost anything: not when there is only one."""
    return int(np.count_nonzero(lengths)) > 1


def find_segments(cursor: Cursor, counts: Offsets, coded: Sequence[bool], what: str) -> Offsets:
    """Step over the segments of dense blocks; see `kernels.find_segments`.

    Raises
    ------
    CorruptError
        If they break the format, naming `what` they hold.
    """
    with corrupt(f"{what} segments"):
        found = coding.find_segments(cursor.data, cursor.position, counts, coded)
    cursor.position = int(found[-1])
    return found


def find_blocks(cursor: Cursor, counts: Offsets, coded: Sequence[bool]) -> Offsets:
    """Step over sparse blocks; see `kernels.find_blocks`. Raises CorruptError."""
    with corrupt("gap count, survivor count and segments of a block"):
        found = coding.find_blocks(cursor.data, cursor.position, counts, coded)
    if counts.size:
        cursor.position = int(found[-1, -1])
    return found


def decode_symbols(
    payload: memoryview, offsets: Offsets, counts: Offsets, lengths: Lengths, what: str
) -> AnyArray:
    """The symbols of some segments as uint16. Raises CorruptError."""
    out = np.empty(int(counts.sum()), np.uint16)
    with corrupt(what):
        coding.decode_dense(payload, offsets, counts, lengths, identity(lengths.size), out)
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


def pieces(first: int, end: int, at_once: int) -> Iterator[slice]:
    """The blocks from `first` to before `end`, some at a time; at least one piece, maybe empty."""
    for start in range(first, max(end, first + 1), at_once):
        yield slice(start, min(start + at_once, end))


def as_offsets(values: Iterable[int]) -> Offsets:
    """A list of offsets or counts as the kernels take them."""
    return np.fromiter(values, np.int64)
