"""How codebooks and index streams are laid out in a frame, shared by dense and sparse coding.

An index alphabet of up to 4,096 levels is one stream. A larger one is split in two, the index's
high part (index >> 8) and its low byte: sorted codebooks make the low byte nearly uniform, so
that little is lost, and decoding tables stay small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcz.codec import huffman, kernels
from dcz.codec.entropy import StreamStatistics, cross_entropy_bits, stream_statistics
from dcz.codec.errors import CorruptError
from dcz.codec.frame import (
    AnyArray,
    Member,
    Moments,
    SharedTensor,
    count_nonzero,
    moments,
    part,
    split,
)
from dcz.codec.huffman import Lengths
from dcz.codec.segments import Offsets, takes_bits
from dcz.codec.varint import Cursor, encode_varint

MAX_LEVELS = 65536


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of symbols and the code made for it.

    Attributes
    ----------
    name : str
        As in `StreamStatistics.stream`.
    symbols : uint8 or uint16 array
    counts : int64[alphabet]
    lengths : uint8[alphabet]
        Code lengths, in bits.
    table : bytes
        The lengths as the file holds them.
    """

    name: str
    symbols: AnyArray
    counts: Offsets
    lengths: Lengths
    table: bytes

    @property
    def payload_bits(self) -> int:
        """Size of the coded symbols without framing."""
        return cross_entropy_bits(self.counts, self.lengths)

    @property
    def size_estimate(self) -> int:
        """Bytes of table and coded symbols, framing and padding left out."""
        return len(self.table) + -(-self.payload_bits // 8)

    def statistics(self, segments: int) -> StreamStatistics:
        """Statistics once the coded segments' size, in bytes, is known."""
        return stream_statistics(
            self.name, self.counts, self.lengths, table=len(self.table), segments=segments
        )


def make_stream(name: str, symbols: AnyArray, alphabet: int) -> Stream:
    """Count the symbols and make their code."""
    counts = kernels.count_symbols(symbols, alphabet)
    lengths = _lengths_even_if_empty(counts)
    return Stream(name, symbols, counts, lengths, huffman.encode_table(lengths))


def _lengths_even_if_empty(counts: Offsets) -> Lengths:
    if counts.any():
        return huffman.code_lengths(counts)
    lengths = np.zeros(counts.size, np.uint8)
    lengths[0] = 1
    return lengths


def index_streams(indices: AnyArray, levels: int) -> tuple[Stream, ...]:
    """The stream, or the two streams, of an index array."""
    if levels <= huffman.MAX_ALPHABET:
        return (make_stream("index", indices, levels),)
    high = (indices >> 8).astype(np.uint8)
    low = (indices & 0xFF).astype(np.uint8)
    return (
        make_stream("index-high", high, (levels - 1 >> 8) + 1),
        make_stream("index-low", low, 256),
    )


def nonzero_of(tensors: Sequence[SharedTensor], streams: Sequence[Stream]) -> tuple[int, ...]:
    """Elements of each tensor that are not zero; `streams` are those of all their indices."""
    if len(tensors) == 1 and len(streams) == 1:
        book = tensors[0].codebook
        return (count_nonzero(book, streams[0].counts[: book.size]),)
    indices = np.concatenate([tensor.indices for tensor in tensors])
    members = [tensor.member for tensor in tensors]
    return nonzero_by_member(indices, members, [tensor.codebook for tensor in tensors])


def moments_of(
    tensors: Sequence[SharedTensor], streams: Sequence[Stream]
) -> tuple[Moments | None, ...]:
    """Moments of each tensor; `streams` are those of all their indices."""
    if len(tensors) == 1 and len(streams) == 1:
        book = tensors[0].codebook
        return (moments(book, streams[0].counts[: book.size]),)
    indices = np.concatenate([tensor.indices for tensor in tensors])
    members = [tensor.member for tensor in tensors]
    return moments_by_member(indices, members, [tensor.codebook for tensor in tensors])


@dataclass(frozen=True, slots=True)
class Code:
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
    lengths = huffman.decode_table(cursor, name)
    return Code(name, lengths, cursor.position - start)


def read_index_codes(cursor: Cursor, levels: int) -> tuple[Code, ...]:
    """Read the code, or the two codes, of an index with this many levels. Raises CorruptError."""
    if levels <= huffman.MAX_ALPHABET:
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


def nonzero_by_member(
    indices: AnyArray, members: Sequence[Member], books: Sequence[AnyArray]
) -> tuple[int, ...]:
    """Elements of each member that are not zero. Raises CorruptError past a codebook's end."""
    counts = occurrences_by_member(indices, members, books)
    return tuple(count_nonzero(*pair) for pair in zip(books, counts, strict=True))


def moments_by_member(
    indices: AnyArray, members: Sequence[Member], books: Sequence[AnyArray]
) -> tuple[Moments | None, ...]:
    """Moments of each member. Raises CorruptError for an index past its codebook's end."""
    counts = occurrences_by_member(indices, members, books)
    return tuple(moments(*pair) for pair in zip(books, counts, strict=True))


def occurrences_by_member(
    indices: AnyArray, members: Sequence[Member], books: Sequence[AnyArray]
) -> list[Offsets]:
    """How often each member has each entry of its codebook. Raises CorruptError past its end."""
    parts = zip(split(indices, members), books, strict=True)
    return [_occurrences(part, book) for part, book in parts]


@dataclass(slots=True)
class Census:
    """Counts what a frame holds piece by piece, so that never all of it is in memory.

    Attributes
    ----------
    symbols : list of int64[alphabet], one for each code
    entries : list of int64[levels], one for each member
    """

    symbols: list[Offsets]
    entries: list[Offsets]

    @classmethod
    def of(cls, codes: Sequence[Code], books: Sequence[AnyArray]) -> Census:
        """Nothing counted yet."""
        return cls(
            [np.zeros(code.lengths.size, np.int64) for code in codes],
            [np.zeros(book.size, np.int64) for book in books],
        )

    def add_symbols(self, symbols: Sequence[AnyArray]) -> None:
        """Count symbols of each code."""
        for counts, values in zip(self.symbols, symbols, strict=True):
            counts += kernels.count_symbols(values, counts.size)

    def add_indices(
        self, indices: AnyArray, members: Sequence[Member], books: Sequence[AnyArray]
    ) -> None:
        """Count codebook entries. Raises CorruptError for an index past its codebook's end."""
        found = occurrences_by_member(indices, part(members, indices.size), books)
        for counts, own in zip(self.entries, found, strict=True):
            counts += own


def _occurrences(indices: AnyArray, book: AnyArray) -> Offsets:
    if indices.size == 0:  # then the codebook may be empty too
        return np.zeros(book.size, np.int64)
    try:
        return kernels.count_symbols(indices.astype(np.uint16, copy=False), book.size)
    except ValueError:
        raise CorruptError(f"index in a codebook of {book.size} levels is past its end") from None


def code_statistics(code: Code, counts: Offsets, segments: int) -> StreamStatistics:
    """Statistics of symbols that occur so often and whose segments take `segments` bytes."""
    return stream_statistics(
        code.name, counts, code.lengths, table=code.table_bytes, segments=segments
    )
