"""Dense coding: one index for every position (Deep Compression, sections 3 and 4).

Payload: codebooks, index code tables, then for each block of 65,536 positions one segment of
indices (two where the index is split).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from dcz.codec import kernels
from dcz.codec.codebook import (
    Census,
    Stream,
    code_statistics,
    gather,
    index_streams,
    moments_of,
    nonzero_of,
    read_codebooks,
    read_index_codes,
    write_codebooks,
)
from dcz.codec.errors import CorruptError, corrupt
from dcz.codec.frame import (
    AnyArray,
    Description,
    Digests,
    Frame,
    Member,
    Parts,
    SharedTensor,
    count_nonzero,
    moments,
    numel,
    part,
    patterns,
)
from dcz.codec.segments import block_counts, decode_symbols, find_segments, pieces
from dcz.codec.varint import Cursor

CODER = 2
BLOCK = 65536
EVERYTHING = slice(None)
# Blocks whose indices are held in memory at a time, where they are not decoded straight to values.
AT_ONCE = 8


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
        coded = [kernels.encode_segments(s.symbols, starts, s.lengths) for s in self.streams]
        sizes = [len(data) for data, _ in coded]
        tables = b"".join(stream.table for stream in self.streams)
        payload = self.codebooks + tables + interleave(coded)
        if len(self.tensors) > 1 or len(self.streams) > 1:
            return Frame(CODER, payload, self._describe(sizes))
        # What is described later must not hold on to the indices.
        kept = replace(self.streams[0], symbols=self.streams[0].symbols[:0].copy())
        first = self.tensors[0]
        bare = SharedTensor(kept.symbols, first.codebook, first.has_zero)
        later = Draft([bare], self.codebooks, (kept,))
        return Frame(CODER, payload, partial(later._describe, sizes))

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


class Decoder:
    """Decodes a dense frame; see `FrameDecoder`."""

    unit = BLOCK

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        cursor = Cursor(payload)
        self.payload = payload
        self.members = members
        self.codebooks = read_codebooks(cursor, members)
        self.codebook_bytes = cursor.position
        self.codes = read_index_codes(cursor, max(book.size for book in self.codebooks) or 1)
        self.counts = block_counts(numel(members), BLOCK)
        # Where each segment begins, block by block, and the last one ends.
        self.bounds = find_segments(
            cursor, self.counts, [code.coded for code in self.codes], "index"
        )
        self.offsets = [self.bounds[i : -1 : len(self.codes)] for i in range(len(self.codes))]
        cursor.finish("frame")

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode elements start to stop into `out`."""
        blocks = slice(start // BLOCK, -(-stop // BLOCK))
        if len(self.members) > 1 or len(self.codes) > 1:
            for piece in pieces(blocks.start, blocks.stop, AT_ONCE):
                place = out[piece.start * BLOCK - start : piece.stop * BLOCK - start]
                indices = join(self.symbols(piece))
                place[:] = gather(indices, part(self.members, place.size), self.codebooks)
            if digests is not None:
                kernels.write_digests(out, digests)
            return
        if out.size == 0:
            if digests is not None:
                kernels.write_digests(out, digests)
            return
        if self.codebooks[0].size == 0:
            raise CorruptError("index in an empty codebook")
        with corrupt("index"):
            kernels.decode_dense(
                self.payload,
                self.offsets[0][blocks],
                self.counts[blocks],
                self.codes[0].lengths,
                patterns(self.codebooks[0]),
                patterns(out),
                digests,
            )

    def symbols(self, blocks: slice = EVERYTHING) -> list[AnyArray]:
        """Symbols of each code in some blocks."""
        counts = self.counts[blocks]
        return [
            decode_symbols(self.payload, offsets[blocks], counts, code.lengths, code.name)
            for offsets, code in zip(self.offsets, self.codes, strict=True)
        ]

    def indices(self) -> AnyArray:
        """For each position its entry of the codebook, as uint16."""
        return join(self.symbols())


def join(symbols: Sequence[AnyArray]) -> AnyArray:
    """Put a split index together again: high part, then low byte."""
    return symbols[0] if len(symbols) == 1 else symbols[0] << 8 | symbols[1]


def describe_dense(frame: Decoder) -> Description:
    """Sizes and entropies of the index streams; decodes every symbol."""
    census = Census.of(frame.codes, frame.codebooks)
    for piece in pieces(0, frame.counts.size, AT_ONCE):
        symbols = frame.symbols(piece)
        census.add_symbols(symbols)
        census.add_indices(join(symbols), frame.members, frame.codebooks)
    step = len(frame.codes)
    sizes = [int(np.diff(frame.bounds)[i::step].sum()) for i in range(step)]
    parts = Parts()
    parts.add("codebooks", frame.codebook_bytes)
    parts.add("tables", sum(code.table_bytes for code in frame.codes))
    parts.add("indices", sum(sizes))
    held = list(zip(frame.codebooks, census.entries, strict=True))
    return Description(
        parts=parts.sizes,
        streams=tuple(
            code_statistics(code, counts, size)
            for code, counts, size in zip(frame.codes, census.symbols, sizes, strict=True)
        ),
        levels=tuple(book.size for book in frame.codebooks),
        nonzero=tuple(count_nonzero(*pair) for pair in held),
        moments=tuple(moments(*pair) for pair in held),
    )
