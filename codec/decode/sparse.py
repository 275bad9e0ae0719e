"""Sparse coding: gaps between survivors, and the survivors' indices (Deep Compression, section 2).

A gap counts the zeros before a survivor. A gap that does not fit the alphabet is preceded by
fillers, each standing for `filler` zeros; unlike the paper's, a filler takes no index. Positions
are counted anew in every block of 2**18, so that blocks decode on their own.

Payload: codebooks of the survivors, the filler, gap code table, index code tables, then for each
block the number of gap symbols, the number of survivors, and the segments of gaps and of indices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import CorruptError, corrupt
from ..kernels import coding
from ..kernels.digest import Digests
from ..wire.arrays import AnyArray, Member, numel, part, patterns
from ..wire.codebook import MAX_LEVELS, gather, read_code, read_codebooks, read_index_codes
from ..wire.segments import block_counts, find_blocks, pieces
from ..wire.varint import Cursor
from .dense import EVERYTHING

SPAN = 1 << 18
# Zero is an entry too.
MAX_SURVIVING_LEVELS = MAX_LEVELS - 1
# Blocks whose indices are held in memory at a time, where they are not decoded straight to values.
AT_ONCE = 2


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
                coding.write_digests(out, digests)
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
            coding.decode_sparse(
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
