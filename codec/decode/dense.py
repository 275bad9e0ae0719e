"""Dense coding: one index for every position (Deep Compression, sections 3 and 4).

Payload: codebooks, index code tables, then for each block of 65,536 positions one segment of
indices (two where the index is split).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CorruptError, corrupt
from ..kernels import coding
from ..kernels.digest import Digests
from ..wire.arrays import AnyArray, Member, numel, part, patterns
from ..wire.codebook import gather, read_codebooks, read_index_codes
from ..wire.segments import block_counts, decode_symbols, find_segments, pieces
from ..wire.varint import Cursor

BLOCK = 65536
EVERYTHING = slice(None)
# Blocks whose indices are held in memory at a time, where they are not decoded straight to values.
AT_ONCE = 8


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
                coding.write_digests(out, digests)
            return
        if out.size == 0:
            if digests is not None:
                coding.write_digests(out, digests)
            return
        if self.codebooks[0].size == 0:
            raise CorruptError("index in an empty codebook")
        with corrupt("index"):
            coding.decode_dense(
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
