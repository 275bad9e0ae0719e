"""Sparse coding: gaps between survivors, and the survivors' indices (Deep Compression, section 2).

A gap counts the zeros before a survivor. A gap that does not fit the alphabet is preceded by
fillers, each standing for `filler` zeros; unlike the paper's, a filler takes no index. Positions
are counted anew in every block of 2**18, so that blocks decode on their own.

Payload: codebooks of the survivors, the filler, gap code table, index code tables, then for each
block the number of gap symbols, the number of survivors, and the segments of gaps and of indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dcz.codec import kernels
from dcz.codec.codebook import (
    Code,
    Stream,
    count_nonzero,
    gather,
    index_streams,
    make_stream,
    read_code,
    read_codebooks,
    read_index_codes,
    write_codebooks,
)
from dcz.codec.dense import EVERYTHING, concatenate
from dcz.codec.errors import CorruptError
from dcz.codec.frame import (
    AnyArray,
    Description,
    Frame,
    Member,
    Parts,
    SharedTensor,
    numel,
    part,
    patterns,
)
from dcz.codec.segments import as_offsets, block_counts, corrupt, decode_symbols, skip_segment
from dcz.codec.varint import Cursor, encode_varint

CODER = 3
SPAN = 1 << 18
FILLER = 255
SMALL_FILLERS = (15, 31, 63, 127, FILLER)
SMALL_BELOW = 32768


def encode(tensors: Sequence[SharedTensor]) -> Frame:
    """Code one or more pruned and shared tensors, each with zero as entry 0 of its codebook."""
    books = [tensor.codebook[1:] for tensor in tensors]
    indices = concatenate([tensor.indices for tensor in tensors])
    gaps, survivors, filler, starts = _split(indices, max(book.size for book in books) or 1)
    codebooks = write_codebooks(books)
    coded_gaps = kernels.encode_segments(gaps.symbols, starts[0], gaps.lengths)
    coded = [kernels.encode_segments(s.symbols, starts[1], s.lengths) for s in survivors]
    headers = [
        encode_varint(gap_count) + encode_varint(survivor_count)
        for gap_count, survivor_count in zip(*(np.diff(s).tolist() for s in starts), strict=True)
    ]
    tables = encode_varint(filler) + gaps.table + b"".join(s.table for s in survivors)
    blocks = _interleave(headers, [coded_gaps, *coded])
    parts = Parts()
    parts.add("codebooks", len(codebooks))
    parts.add("tables", len(tables))
    parts.add("indices", sum(len(data) for data, _ in coded))
    parts.add("gaps", len(blocks) - parts.sizes["indices"])
    return Frame(
        coder=CODER,
        payload=codebooks + tables + blocks,
        parts=parts.sizes,
        streams=(
            gaps.statistics(parts.sizes["gaps"]),
            *(s.statistics(len(c[0])) for s, c in zip(survivors, coded, strict=True)),
        ),
    )


def size_estimate(tensor: SharedTensor) -> int:
    """Bytes `encode` will need, to within the padding of its segments."""
    levels = max(tensor.codebook.size - 1, 1)
    gaps, survivors, _, _ = _split(tensor.indices, levels)
    tables = gaps.size_estimate + sum(stream.size_estimate for stream in survivors)
    return tensor.codebook.nbytes + tables


def size_bound(tensor: SharedTensor, zeros: int) -> int:
    """Bytes `encode` needs at least: a bit for each gap, unless all gaps are equal."""
    return (tensor.indices.size - zeros) // 8


def _split(
    indices: AnyArray, levels: int
) -> tuple[Stream, tuple[Stream, ...], int, tuple[AnyArray, AnyArray]]:
    """Gap stream, index streams, filler, and where each block's symbols start in the two."""
    fillers = SMALL_FILLERS if indices.size < SMALL_BELOW else (FILLER,)
    filler, (gaps, survivors, *starts) = min(
        ((filler, kernels.split_sparse(indices, SPAN, filler)) for filler in fillers),
        key=lambda split: _gap_stream(split[1][0]).size_estimate,
    )
    return _gap_stream(gaps), index_streams(survivors, levels), filler, (starts[0], starts[1])


def _gap_stream(gaps: AnyArray) -> Stream:
    alphabet = int(gaps.max()) + 1 if gaps.size else 1
    return make_stream("gap", gaps, alphabet)


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
        self.codebooks = read_codebooks(cursor, members)
        self.codebook_bytes = cursor.position
        levels = max(book.size for book in self.codebooks) or 1
        self.filler = cursor.varint("filler", low=1, high=4095)
        self.gap_code = read_code(cursor, "gap")
        self.index_codes = read_index_codes(cursor, levels)
        self.table_bytes = cursor.position - self.codebook_bytes
        if self.gap_code.lengths.size > self.filler + 1:
            raise CorruptError(f"gap alphabet: more symbols than the filler {self.filler} allows")
        self.total = numel(members)
        self._find_segments(cursor)
        cursor.finish("frame")

    def _find_segments(self, cursor: Cursor) -> None:
        start = cursor.position
        blocks = [
            self._find_block(cursor, positions)
            for positions in block_counts(self.total, SPAN).tolist()
        ]
        columns = [as_offsets(column) for column in zip(*blocks, strict=True)] or [
            as_offsets(()) for _ in range(4 + len(self.index_codes))
        ]
        self.gap_counts, self.survivor_counts, self.gap_offsets, *ends = columns
        self.index_offsets = ends[: len(self.index_codes)]
        index_ends = ends[1:]
        self.index_bytes = [
            int((end - begin).sum())
            for begin, end in zip(self.index_offsets, index_ends, strict=True)
        ]
        self.gap_bytes = cursor.position - start - sum(self.index_bytes)

    def _find_block(self, cursor: Cursor, positions: int) -> tuple[int, ...]:
        """Counts, then the offsets of the gaps, of each index segment, and of the block's end."""
        gap_count = cursor.varint("gap count", high=positions)
        survivor_count = cursor.varint("survivor count", high=gap_count)
        gap_offset = skip_segment(cursor, gap_count, self.gap_code.lengths, "gap")
        index_offsets = [
            skip_segment(cursor, survivor_count, code.lengths, code.name)
            for code in self.index_codes
        ]
        return gap_count, survivor_count, gap_offset, *index_offsets, cursor.position

    def decode(self, start: int, stop: int, out: AnyArray) -> None:
        """Decode elements start to stop into `out`, zeros included."""
        blocks = slice(start // SPAN, -(-stop // SPAN))
        if len(self.members) > 1 or len(self.index_codes) > 1:
            indices = self._indices(blocks, stop - start)
            out[:] = gather(indices, part(self.members, stop - start), self._books_with_zero())
            return
        book = patterns(self.codebooks[0])
        if book.size == 0 and self.survivor_counts.any():
            raise CorruptError("index in an empty codebook")
        if book.size == 0:
            book = np.zeros(1, book.dtype)
        self._scatter(blocks, 0, book, patterns(out))

    def _scatter(self, blocks: slice, index: int, book: AnyArray, out: AnyArray) -> None:
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
            )

    def _books_with_zero(self) -> list[AnyArray]:
        return [np.concatenate([np.zeros(1, book.dtype), book]) for book in self.codebooks]

    def indices(self) -> AnyArray:
        """For each position 0 for a zero, or one more than its index; as uint32."""
        return self._indices(EVERYTHING, self.total)

    def _indices(self, blocks: slice, positions: int) -> AnyArray:
        scattered = [np.empty(positions, np.uint32) for _ in self.index_codes]
        for number, code in enumerate(self.index_codes):
            book = np.arange(code.lengths.size, dtype=np.uint32) + np.uint32(number == 0)
            self._scatter(blocks, number, book, scattered[number])
        if len(scattered) == 1:
            return scattered[0]
        high, low = scattered
        return np.where(high > 0, (high - 1 << 8 | low) + 1, 0)

    def describe(self) -> Description:
        """Sizes and entropies of the gap and index streams."""
        parts = Parts()
        parts.add("codebooks", self.codebook_bytes)
        parts.add("tables", self.table_bytes)
        parts.add("indices", sum(self.index_bytes))
        parts.add("gaps", self.gap_bytes)
        return Description(
            parts=parts.sizes,
            streams=(
                self._stream(self.gap_code, self.gap_offsets, self.gap_counts, self.gap_bytes),
                *(
                    self._stream(code, offsets, self.survivor_counts, size)
                    for code, offsets, size in zip(
                        self.index_codes, self.index_offsets, self.index_bytes, strict=True
                    )
                ),
            ),
            levels=tuple(book.size for book in self.codebooks),
            nonzero=count_nonzero(self.indices(), self.members, self._books_with_zero()),
        )

    def _stream(self, code: Code, offsets: AnyArray, counts: AnyArray, size: int) -> Any:
        symbols = decode_symbols(self.payload, offsets, counts, code.lengths, code.name)
        return code.statistics(symbols, size)
