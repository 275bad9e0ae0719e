"""What frames of Huffman codes hold: dense, by gaps, or by classes of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..decode import dense, row_classes, sparse
from ..decode.dense import join
from ..decode.sparse import SPAN
from ..entropy import entropy_bits, fixed_bits
from ..kernels import coding
from ..wire.arrays import AnyArray
from ..wire.code_table import Lengths
from ..wire.codebook import Code
from ..wire.row_classes import Runs, segment_sizes
from ..wire.segments import Offsets, decode_symbols, pieces, takes_bits
from .census import Census
from .description import Description, Parts, count_nonzero, moments
from .streams import StreamStatistics, code_statistics


def describe_sparse(frame: sparse.Decoder) -> Description:
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


def _census(frame: sparse.Decoder, codes: Sequence[Code], books: Sequence[AnyArray]) -> Census:
    census = Census.of(codes, books)
    offsets = [frame.gap_offsets, *frame.index_offsets]
    sizes = [frame.gap_counts, *[frame.survivor_counts] * len(frame.index_codes)]
    for piece in pieces(0, frame.gap_counts.size, sparse.AT_ONCE):
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


# Blocks whose symbols are held in memory at a time, where they are only counted.
AT_ONCE = 2


def payload_bits(counts: Offsets, lengths: Lengths) -> int:
    """Bits of coded symbols."""
    return int(np.sum(counts * lengths)) if takes_bits(lengths) else 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of a payload's parts, in bytes."""

    codebook: int
    class_map: int
    tables: int
    segments: int


def describe_layout(
    layout: Layout, counts: Offsets, bits: int, runs: Runs, codebook: Any
) -> Description:
    """What a frame holds, given how often each index occurs and the bits of all symbols."""
    parts = Parts()
    parts.add("codebooks", layout.codebook)
    parts.add("tables", layout.class_map + layout.tables)
    parts.add("indices", layout.segments)
    symbols, entropy = int(counts.sum()), entropy_bits(counts)
    stream = StreamStatistics(
        stream="index",
        symbols=symbols,
        alphabet=int(counts.size),
        fixed_bits=fixed_bits(symbols, int(counts.size)),
        entropy_bits=entropy,
        kl_bits=bits - entropy,
        table_bits=8 * (layout.class_map + layout.tables),
        framing_bits=8 * layout.segments - bits,
    )
    return Description(
        parts=parts.sizes,
        streams=(stream,),
        levels=(int(codebook.size),),
        nonzero=(count_nonzero(codebook, counts),),
        moments=(moments(codebook, counts),),
    )


def describe_classes(frame: row_classes.Decoder) -> Description:
    """Sizes and entropies of the index stream; decodes every symbol."""
    counts = np.zeros(frame.codebook.size, np.int64)
    bits = 0
    elements = segment_sizes(frame.runs, frame.member.numel)
    for k, (lengths, members) in enumerate(frame.codes.each()):
        own, fillers = _count_symbols(frame, k, lengths, members, elements[:, k])
        np.add.at(counts, members, own[:, None])
        np.subtract.at(counts, fillers, 1)
        bits += payload_bits(own, lengths)
    sizes = np.diff((0, *frame.ends)).tolist()
    return describe_layout(Layout(*sizes), counts, bits, frame.runs, frame.codebook)


def _count_symbols(
    frame: row_classes.Decoder, k: int, lengths: Lengths, members: AnyArray, elements: Offsets
) -> tuple[Offsets, AnyArray]:
    """How often each symbol of class k occurs, and what fills its last pairs.

    `elements` tells how many there are in each block.
    """
    width = members.shape[1]
    found, fillers = np.zeros(lengths.size, np.int64), []
    for piece in pieces(0, len(elements), AT_ONCE):
        sizes = -(-elements[piece] // width)
        symbols = decode_symbols(frame.payload, frame.offsets[piece, k], sizes, lengths, "index")
        found += coding.count_symbols(symbols, lengths.size)
        filled = elements[piece] % width > 0
        fillers.append(members[symbols[np.cumsum(sizes)[filled] - 1], -1])
    return found, np.concatenate(fillers)


def describe_dense(frame: dense.Decoder) -> Description:
    """Sizes and entropies of the index streams; decodes every symbol."""
    census = Census.of(frame.codes, frame.codebooks)
    for piece in pieces(0, frame.counts.size, dense.AT_ONCE):
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
