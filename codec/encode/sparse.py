"""Writing gaps between survivors, and the survivors' indices; `decode.sparse` has the layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..decode.sparse import SPAN
from ..entropy import entropy_bits
from ..kernels import coding
from ..report.description import Description, Moments, Parts
from ..share.shared_tensor import SharedTensor
from ..wire.arrays import AnyArray
from ..wire.codebook import write_codebooks
from ..wire.coders import SPARSE
from ..wire.varint import encode_varint
from .dense import Stream, concatenate, index_streams, make_stream
from .frame import Frame

FILLER = 255
SMALL_FILLERS = (15, 31, 63, 127, FILLER)
SMALL_BELOW = 32768


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
        gaps = coding.encode_segments(self.gaps.symbols, self.gap_starts, self.gaps.lengths)
        survivors = [
            coding.encode_segments(s.symbols, self.survivor_starts, s.lengths)
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
        return Frame(SPARSE, codebooks + tables + blocks, description)

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
    split = coding.split_sparse(indices, SPAN, filler)
    gaps = split[0]
    alphabet = int(gaps.max()) + 1 if gaps.size else 1
    return filler, make_stream("gap", gaps, alphabet), split


def _interleave(headers: list[bytes], coded: list[tuple[bytes, AnyArray]]) -> bytes:
    pieces = []
    for block, header in enumerate(headers):
        pieces.append(header)
        pieces += [data[at[block] : at[block + 1]] for data, at in coded]
    return b"".join(pieces)
