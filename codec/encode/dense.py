"""Writing one index for every position; `decode.dense` has the layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..decode.dense import BLOCK
from ..entropy import cross_entropy_bits
from ..kernels import coding
from ..report.census import moments_by_member, nonzero_by_member
from ..report.description import Description, Moments, Parts, count_nonzero, moments
from ..report.streams import StreamStatistics, stream_statistics
from ..share.shared_tensor import SharedTensor
from ..wire import code_table
from ..wire.arrays import AnyArray
from ..wire.code_table import Lengths
from ..wire.codebook import write_codebooks
from ..wire.coders import DENSE
from ..wire.segments import Offsets, block_counts
from .frame import Frame


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
    counts = coding.count_symbols(symbols, alphabet)
    lengths = _lengths_even_if_empty(counts)
    return Stream(name, symbols, counts, lengths, code_table.encode_table(lengths))


def _lengths_even_if_empty(counts: Offsets) -> Lengths:
    if counts.any():
        return code_table.code_lengths(counts)
    lengths = np.zeros(counts.size, np.uint8)
    lengths[0] = 1
    return lengths


def index_streams(indices: AnyArray, levels: int) -> tuple[Stream, ...]:
    """The stream, or the two streams, of an index array."""
    if levels <= code_table.MAX_ALPHABET:
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
class Draft:
    """Shared tensors ready to be coded densely: codes are made, bits are not yet written.

    Attributes
    ----------
    tensors : sequence of SharedTensor
    codebooks : bytes
    streams : tuple of Stream
        Of the tensors' indices end to end.
    """

    tensors: Sequence[SharedTensor]
    codebooks: bytes
    streams: tuple[Stream, ...]

    @property
    def size(self) -> int:
        """Bytes that `encode` will give, to within the padding of its segments."""
        return len(self.codebooks) + sum(stream.size_estimate for stream in self.streams)

    def encode(self) -> Frame:
        """Write the frame."""
        counts = block_counts(self.streams[0].symbols.size, BLOCK)
        starts = np.concatenate(([0], np.cumsum(counts)))
        coded = [coding.encode_segments(s.symbols, starts, s.lengths) for s in self.streams]
        sizes = [len(data) for data, _ in coded]
        tables = b"".join(stream.table for stream in self.streams)
        payload = self.codebooks + tables + interleave(coded)
        if len(self.tensors) > 1 or len(self.streams) > 1:
            return Frame(DENSE, payload, self._describe(sizes))
        # What is described later must not hold on to the indices.
        kept = replace(self.streams[0], symbols=self.streams[0].symbols[:0].copy())
        first = self.tensors[0]
        bare = SharedTensor(kept.symbols, first.codebook, first.has_zero)
        later = Draft([bare], self.codebooks, (kept,))
        return Frame(DENSE, payload, partial(later._describe, sizes))

    def _describe(self, sizes: Sequence[int]) -> Description:
        """What the frame holds, given the bytes of each coded stream."""
        parts = Parts()
        parts.add("codebooks", len(self.codebooks))
        parts.add("tables", sum(len(stream.table) for stream in self.streams))
        parts.add("indices", sum(sizes))
        return Description(
            parts=parts.sizes,
            streams=tuple(s.statistics(size) for s, size in zip(self.streams, sizes, strict=True)),
            levels=tuple(tensor.codebook.size for tensor in self.tensors),
            nonzero=nonzero_of(self.tensors, self.streams),
            moments=moments_of(self.tensors, self.streams),
        )


def draft(tensors: Sequence[SharedTensor]) -> Draft:
    """Make the code tables that one or more shared tensors have in common."""
    levels = max(max(tensor.codebook.size for tensor in tensors), 1)
    indices = concatenate([tensor.indices for tensor in tensors])
    codebooks = write_codebooks([tensor.codebook for tensor in tensors])
    return Draft(tensors, codebooks, index_streams(indices, levels))


def concatenate(arrays: Sequence[AnyArray]) -> AnyArray:
    """Lay arrays end to end, in the widest of their dtypes; one array is not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def interleave(coded: Sequence[tuple[bytes, AnyArray]]) -> bytes:
    """Segments of several streams in the order a reader meets them: block by block."""
    if len(coded) == 1:
        return coded[0][0]
    blocks = range(len(coded[0][1]) - 1)
    return b"".join(data[at[i] : at[i + 1]] for i in blocks for data, at in coded)
