"""Sparse coding: gaps between survivors, and the survivors' indices (Deep Compression, section 2).

A gap counts the zeros before a survivor. A gap that does not fit the alphabet is preceded by
fillers, each standing for `filler` zeros; unlike the paper's, a filler takes no index. Positions
are counted anew in every block of 2**18, so that blocks decode on their own.

Payload: codebooks of the survivors, the filler, gap code table, index code tables, then for each
block the number of gap symbols, the number of survivors, and the segments of gaps and of indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcz.codec import kernels
from dcz.codec.codebook import (
    MAX_LEVELS,
    Census,
    Code,
    Stream,
    code_statistics,
    gather,
    index_streams,
    make_stream,
    read_code,
    read_codebooks,
    read_index_codes,
    write_codebooks,
)
from dcz.codec.dense import EVERYTHING, concatenate
from dcz.codec.entropy import entropy_bits
from dcz.codec.errors import CorruptError, corrupt
from dcz.codec.frame import (
    AnyArray,
    Description,
    Digests,
    Frame,
    Member,
    Moments,
    Parts,
    SharedTensor,
    count_nonzero,
    moments,
    numel,
    part,
    patterns,
)
from dcz.codec.segments import block_counts, decode_symbols, find_blocks, pieces
from dcz.codec.varint import Cursor, encode_varint

CODER = 3
SPAN = 1 << 18
FILLER = 255
SMALL_FILLERS = (15, 31, 63, 127, FILLER)
SMALL_BELOW = 32768
# Zero is an entry too.
MAX_SURVIVING_LEVELS = MAX_LEVELS - 1
# Blocks whose indices are held in memory at a time, where they are not decoded straight to values.
AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Draft:
    """Shared tensors ready to be coded by gaps: codes are made, bits are not yet written.

    Attributes
    ----------
    nonzero : tuple of int
        Elements of each tensor that are not zero.
    moments : tuple of Moments or None
        Of each tensor.
    books : sequence of array
        Codebooks of the survivors.
    filler : int
    gaps : Stream
    survivors : tuple of Stream
        The survivors' indices.
    gap_starts, survivor_starts : int64[blocks + 1]
        Where each block's symbols start in the two kinds of streams.
    """

    nonzero: tuple[int, ...]
    moments: tuple[Moments | None, ...]
    books: Sequence[AnyArray]
    filler: int
    gaps: Stream
    survivors: tuple[Stream, ...]
    gap_starts: AnyArray
    survivor_starts: AnyArray

    @property
    def size(self) -> int:
        """Bytes that `encode` will give, to within the padding of its segments."""
        streams = self.gaps.size_estimate + sum(s.size_estimate for s in self.survivors)
        return sum(book.nbytes for book in self.books) + streams

    def encode(self) -> Frame:
        """Write the frame."""
        gaps = kernels.encode_segments(self.gaps.symbols, self.gap_starts, self.gaps.lengths)
        survivors = [
            kernels.encode_segments(s.symbols, self.survivor_starts, s.lengths)
            for s in self.survivors
        ]
        tables = encode_varint(self.filler) + self.gaps.table
        tables += b"".join(stream.table for stream in self.survivors)
        blocks = _interleave(self._headers(), [gaps, *survivors])
        codebooks = write_codebooks(self.books)
        parts = Parts()
        parts.add("codebooks", len(codebooks))
        parts.add("tables", len(tables))
        parts.add("indices", sum(len(data) for data, _ in survivors))
        parts.add("gaps", len(blocks) - parts.sizes["indices"])
        description = Description(
            parts=parts.sizes,
            streams=(
                self.gaps.statistics(parts.sizes["gaps"]),
                *(s.statistics(len(c[0])) for s, c in zip(self.survivors, survivors, strict=True)),
            ),
            levels=tuple(book.size for book in self.books),
            nonzero=self.nonzero,
            moments=self.moments,
        )
        return Frame(CODER, codebooks + tables + blocks, description)

    def _headers(self) -> list[bytes]:
        counts = zip(np.diff(self.gap_starts), np.diff(self.survivor_starts), strict=True)
        return [encode_varint(int(g)) + encode_varint(int(s)) for g, s in counts]


def draft(
    tensors: Sequence[SharedTensor],
    nonzero: tuple[int, ...],
    moments: tuple[Moments | None, ...],
) -> Draft:
    """Find the gaps of one or more pruned tensors, with zero as entry 0 of each codebook.

    `nonzero` tells for each how many elements are not zero, `moments` their sums.
    """
    books = [tensor.codebook[1:] for tensor in tensors]
    indices = concatenate([tensor.indices for tensor in tensors])
    fillers = SMALL_FILLERS if indices.size < SMALL_BELOW else (FILLER,)
    filler, gaps, split = min(
        (_split(indices, filler) for filler in fillers), key=lambda found: found[1].size_estimate
    )
    _, survivors, gap_starts, survivor_starts = split
    streams = index_streams(survivors, max(book.size for book in books) or 1)
    return Draft(nonzero, moments, books, filler, gaps, streams, gap_starts, survivor_starts)


def size_bound(counts: AnyArray) -> float:
    """Bytes of any draft at least: the indices' entropy, and a bit a gap unless all are equal.

    Parameters
    ----------
    counts : int64[levels]
        How often each index occurs in the dense tensor, that of zero first.
    """
    return (entropy_bits(counts[1:]) + int(counts[1:].sum())) / 8


def _split(indices: AnyArray, filler: int) -> tuple[int, Stream, tuple[AnyArray, ...]]:
    split = kernels.split_sparse(indices, SPAN, filler)
    gaps = split[0]
    alphabet = int(gaps.max()) + 1 if gaps.size else 1
    return filler, make_stream("gap", gaps, alphabet), split


def _interleave(headers: list[bytes], coded: list[tuple[bytes, AnyArray]]) -> bytes:
    pieces = []
    for block, header in enumerate(headers):
        pieces.append(header)
        pieces += [data[at[block] : at[block + 1]] for data, at in coded]
    return b"".join(pieces)


class Decoder:
    """Decodes a sparse frame; see `FrameDecoder`."""

    unit = SPAN

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        cursor = Cursor(payload)
        self.payload = payload
        self.members = members
        self.codebooks = read_codebooks(cursor, members, MAX_SURVIVING_LEVELS)
        self.codebook_bytes = cursor.position
        levels = max(book.size for book in self.codebooks) or 1
        self.filler = cursor.varint("filler", low=1, high=4095)
        self.gap_code = read_code(cursor, "gap")
        self.index_codes = read_index_codes(cursor, levels)
        self.table_bytes = cursor.position - self.codebook_bytes
        if self.gap_code.lengths.size > self.filler + 1:
            raise CorruptError(f"gap alphabet: more symbols than the filler {self.filler} allows")
        self.total = numel(members)
        coded = [self.gap_code.coded, *(code.coded for code in self.index_codes)]
        self.blocks_start = cursor.position
        found = find_blocks(cursor, block_counts(self.total, SPAN), coded)
        self.gap_counts, self.survivor_counts, self.gap_offsets = found[:3]
        # Where the segments of each index begin, and at last where the blocks end.
        self.bounds = found[3:]
        self.index_offsets = self.bounds[:-1]
        cursor.finish("frame")

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode elements start to stop into `out`, zeros included."""
        blocks = slice(start // SPAN, -(-stop // SPAN))
        if len(self.members) > 1 or len(self.index_codes) > 1:
            books = self.books_with_zero()
            for piece in pieces(blocks.start, blocks.stop, AT_ONCE):
                place = out[piece.start * SPAN - start : piece.stop * SPAN - start]
                indices = self.indices_in(piece, place.size)
                place[:] = gather(indices, part(self.members, place.size), books)
            if digests is not None:
                kernels.write_digests(out, digests)
            return
        book = patterns(self.codebooks[0])
        if book.size == 0 and self.survivor_counts.any():
            raise CorruptError("index in an empty codebook")
        if book.size == 0:
            book = np.zeros(1, book.dtype)
        self._scatter(blocks, 0, book, patterns(out), digests)

    def _scatter(
        self,
        blocks: slice,
        index: int,
        book: AnyArray,
        out: AnyArray,
        digests: Digests | None = None,
    ) -> None:
        with corrupt("gaps and indices"):
            kernels.decode_sparse(
                self.payload,
                self.gap_offsets[blocks],
                self.gap_counts[blocks],
                self.index_offsets[index][blocks],
                self.survivor_counts[blocks],
                self.gap_code.lengths,
                self.filler,
                self.index_codes[index].lengths,
                book,
                SPAN,
                out,
                digests,
            )

    def books_with_zero(self) -> list[AnyArray]:
        """The codebooks with zero before the survivors' entries."""
        return [np.concatenate([np.zeros(1, book.dtype), book]) for book in self.codebooks]

    def indices(self) -> AnyArray:
        """For each position 0 for a zero, or one more than its index; as uint32."""
        return self.indices_in(EVERYTHING, self.total)

    def indices_in(self, blocks: slice, positions: int) -> AnyArray:
        """What `indices` gives, of so many positions in some blocks."""
        scattered = [np.empty(positions, np.uint32) for _ in self.index_codes]
        for number, code in enumerate(self.index_codes):
            book = np.arange(code.lengths.size, dtype=np.uint32) + np.uint32(number == 0)
            self._scatter(blocks, number, book, scattered[number])
        if len(scattered) == 1:
            return scattered[0]
        high, low = scattered
        return np.where(high > 0, (high - 1 << 8 | low) + 1, 0)


def describe_sparse(frame: Decoder) -> Description:
    """Sizes and entropies of the gap and index streams; decodes every symbol."""
    index_bytes = [int(size) for size in np.diff(frame.bounds, axis=0).sum(axis=1)]
    gap_bytes = len(frame.payload) - frame.blocks_start - sum(index_bytes)
    parts = Parts()
    parts.add("codebooks", frame.codebook_bytes)
    parts.add("tables", frame.table_bytes)
    parts.add("indices", sum(index_bytes))
    parts.add("gaps", gap_bytes)
    codes = [frame.gap_code, *frame.index_codes]
    books = frame.books_with_zero()
    census = _census(frame, codes, books)
    held = list(zip(books, census.entries, strict=True))
    sizes = [gap_bytes, *index_bytes]
    return Description(
        parts=parts.sizes,
        streams=tuple(
            code_statistics(code, counts, size)
            for code, counts, size in zip(codes, census.symbols, sizes, strict=True)
        ),
        levels=tuple(book.size for book in frame.codebooks),
        nonzero=tuple(count_nonzero(*pair) for pair in held),
        moments=tuple(moments(*pair) for pair in held),
    )


def _census(frame: Decoder, codes: Sequence[Code], books: Sequence[AnyArray]) -> Census:
    census = Census.of(codes, books)
    offsets = [frame.gap_offsets, *frame.index_offsets]
    sizes = [frame.gap_counts, *[frame.survivor_counts] * len(frame.index_codes)]
    for piece in pieces(0, frame.gap_counts.size, AT_ONCE):
        streams = zip(codes, offsets, sizes, strict=True)
        census.add_symbols(
            [
                decode_symbols(frame.payload, at[piece], n[piece], code.lengths, code.name)
                for code, at, n in streams
            ]
        )
        positions = min(piece.stop * SPAN, frame.total) - piece.start * SPAN
        census.add_indices(frame.indices_in(piece, positions), frame.members, books)
    return census
