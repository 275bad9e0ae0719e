"""How codebooks and index streams are laid out in a frame, shared by dense and sparse coding.

An index alphabet of up to 4,096 levels is one stream. A larger one is split in two, the index's
high part (index >> 8) and its low byte: sorted codebooks make the low byte nearly uniform, so
that little is lost, and decoding tables stay small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import CorruptError
from . import code_table
from .arrays import AnyArray, Member, split
from .code_table import Lengths
from .segments import takes_bits
from .varint import Cursor, encode_varint

MAX_LEVELS = 65536


class Code(NamedTuple):
    """A code as a decoder met it.

    Attributes
    ----------
    name : str
        Of the stream, as in `StreamStatistics.stream`.
    lengths : uint8[alphabet]
        Code lengths, in bits.
    table_bytes : int
        What the table takes in the file.
    """

    name: str
    lengths: Lengths
    table_bytes: int

    @property
    def coded(self) -> bool:
        """Whether its symbols take bits."""
        return takes_bits(self.lengths)


def read_code(cursor: Cursor, name: str) -> Code:
    """Read the code table of one stream. Raises CorruptError."""
    start = cursor.position
    lengths = code_table.decode_table(cursor, name)
    return Code(name, lengths, cursor.position - start)


def read_index_codes(cursor: Cursor, levels: int) -> tuple[Code, ...]:
    """Read the code, or the two codes, of an index with this many levels. Raises CorruptError."""
    if levels <= code_table.MAX_ALPHABET:
        expected = {"index": levels}
    else:
        expected = {"index-high": (levels - 1 >> 8) + 1, "index-low": 256}
    codes = tuple(read_code(cursor, name) for name in expected)
    for code in codes:
        if code.lengths.size != expected[code.name]:
            raise CorruptError(
                f"{code.name} alphabet: {code.lengths.size} symbols for {levels} levels"
            )
    return codes


def write_codebooks(codebooks: Sequence[AnyArray]) -> bytes:
    """For each member the number of its levels and their values, in the tensor's own dtype."""
    return b"".join(encode_varint(book.size) + book.tobytes() for book in codebooks)


def read_codebooks(
    cursor: Cursor, members: Sequence[Member], most: int = MAX_LEVELS
) -> list[AnyArray]:
    """Read what `write_codebooks` wrote, of at most so many levels. Raises CorruptError."""
    books = []
    for member in members:
        levels = cursor.varint("codebook levels", high=most)
        values = cursor.take(levels * member.dtype.itemsize, "codebook")
        books.append(np.frombuffer(values, member.dtype))
    return books


def gather(symbols: AnyArray, members: Sequence[Member], books: Sequence[AnyArray]) -> AnyArray:
    """Look up each member's symbols in its own codebook. Raises CorruptError past its end.

    Parameters
    ----------
    symbols : unsigned integer array[numel of all members]
    members, books
        One codebook for each member, all of one dtype.
    """
    slices = zip(split(symbols, members), books, strict=True)
    return np.concatenate([_look_up(part, book) for part, book in slices])


def _look_up(symbols: AnyArray, book: AnyArray) -> AnyArray:
    if symbols.size and int(symbols.max()) >= book.size:
        raise CorruptError(f"index {int(symbols.max())} in a codebook of {book.size} levels")
    return book[symbols]
