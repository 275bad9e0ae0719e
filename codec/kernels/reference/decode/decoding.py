"""Decoding in NumPy: codebook look-ups, and survivors put back between their gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...coding_arguments import (
    Array,
    Bytes,
    Integers,
    check_codebook,
    check_filler,
    check_output,
    integer_array,
    require,
)
from ...digest import Digests, write_digests
from .streams import decode_segments

# So many symbols, their wide copies and their values stay in the cache.
_LOOKED_UP_AT_ONCE = 1 << 14


def decode_dense(
    payload: Any,
    offsets: Integers,
    counts: Integers,
    lengths: Bytes,
    codebook: Array,
    out: Array,
    digests: Digests | None = None,
) -> None:
    """Decode segments and look each symbol up in a codebook.

    Parameters
    ----------
    payload : buffer
    offsets : int64[segments]
        Where each segment begins in the payload, in bytes.
    counts : int64[segments]
        Symbols in each segment.
    lengths : uint8[alphabet]
        Code length of each symbol.
    codebook : array[>= alphabet]
        The value of each symbol; items of 1, 2, 4 or 8 bytes.
    out : array[sum(counts)]
        Receives the values; items as large as the codebook's.
    digests : uint64[digest_count(out.nbytes)], optional
        Receives the digests of `out`.

    Raises
    ------
    ValueError
        If the arguments do not fit together or the payload is not what `encode_segments` makes
        of some symbols. `out` then holds nothing of use.
    """
    table, target = _unsigned_pair(codebook, lengths, out)
    bounds = _checked_counts(counts)
    require(int(bounds[-1]) == len(target), "the counts do not add up to the output's size")
    for first, last, symbols in decode_segments(payload, offsets, counts, lengths):
        _look_up(table, symbols, target[bounds[first] : bounds[last]])
    if digests is not None:
        write_digests(out, digests)


def _look_up(table: Array, symbols: npt.NDArray[np.uint16], out: Array) -> None:
    """Look symbols up a part at a time: NumPy makes a wide copy of indices of 16 bits."""
    for start in range(0, len(symbols), _LOOKED_UP_AT_ONCE):
        part = slice(start, start + _LOOKED_UP_AT_ONCE)
        table.take(symbols[part], out=out[part], mode="clip")


def decode_sparse(
    payload: Any,
    gap_offsets: Integers,
    gap_counts: Integers,
    index_offsets: Integers,
    index_counts: Integers,
    gap_lengths: Bytes,
    filler: int,
    index_lengths: Bytes,
    codebook: Array,
    span: int,
    out: Array,
    digests: Digests | None = None,
) -> None:
    """Decode blocks of sparse values: gaps, then the survivors between them.

    Parameters
    ----------
    payload : buffer
    gap_offsets, gap_counts : int64[blocks]
        Where each block's segment of gaps begins in the payload, and how many gaps it has.
    index_offsets, index_counts : int64[blocks]
        The same for the segments of survivors.
    gap_lengths : uint8[<= filler + 1]
        Code length of each gap.
    filler : int
        The gap that stands for `filler` zeros and no survivor, 1 to 65535.
    index_lengths : uint8[alphabet]
        Code length of each survivor's symbol.
    codebook : array[>= alphabet]
        The value of each symbol; items of 1, 2, 4 or 8 bytes.
    span : int
        Positions in each block but perhaps the last, which may be shorter.
    out : array
        Receives the values, zero (all bits) where nothing survived.
    digests : uint64[digest_count(out.nbytes)], optional
        Receives the digests of `out`.

    Raises
    ------
    ValueError
        If the arguments do not fit together, the payload is not what `encode_segments` makes of
        some symbols, or a block's gaps do not fit its survivors and its size.
    """
    table, target = _unsigned_pair(codebook, index_lengths, out)
    check_filler(filler)
    require(len(gap_lengths) <= filler + 1, "there are gaps above the filler")
    gap_bounds, index_bounds = _checked_counts(gap_counts), _checked_counts(index_counts)
    blocks = len(gap_bounds) - 1
    require(len(index_bounds) - 1 == blocks, "gaps and survivors differ in blocks")
    require(span >= 1 and -(-len(target) // span) == blocks, "the blocks do not fill the output")
    sizes = np.diff(np.minimum(np.arange(blocks + 1) * span, len(target)))
    require(not (np.diff(gap_bounds) > sizes).any(), "a block has more gaps than positions")
    require(not (np.diff(index_bounds) > np.diff(gap_bounds)).any(), "a block has too few gaps")
    survivors = np.empty(int(index_bounds[-1]), dtype=table.dtype)
    decode_dense(payload, index_offsets, index_counts, index_lengths, table, survivors)
    target[:] = 0
    for first, last, gaps in decode_segments(payload, gap_offsets, gap_counts, gap_lengths):
        bounds = gap_bounds[first : last + 1] - gap_bounds[first]
        expected = np.diff(index_bounds[first : last + 1])
        positions = _positions(gaps, bounds, filler, sizes[first:last], expected)
        target[first * span + positions] = survivors[index_bounds[first] : index_bounds[last]]
    if digests is not None:
        write_digests(out, digests)


def _positions(
    gaps: npt.NDArray[np.uint16], bounds: Integers, filler: int, sizes: Integers, expected: Integers
) -> Integers:
    """Where the survivors of some blocks are, counted from the first block's first position.

    All blocks but the last have the same size.
    """
    is_filler = gaps == filler
    steps = gaps.astype(np.int64) + ~is_filler
    reached = np.concatenate(([0], np.cumsum(steps)))
    require(not (np.diff(reached[bounds]) > sizes).any(), "a gap leads out of its block")
    found = np.concatenate(([0], np.cumsum(~is_filler)))[bounds]
    require(bool((np.diff(found) == expected).all()), "gaps and survivors differ in number")
    filled = bounds[1:][np.diff(bounds) > 0]
    require(not is_filler[filled - 1].any(), "a block ends in a filler")
    block = np.repeat(np.arange(len(sizes)), np.diff(bounds))
    positions: Integers = reached[1:] - 1 - reached[bounds[:-1]][block] + block * sizes[0]
    survivors: Integers = positions[~is_filler]
    return survivors


def _unsigned_pair(codebook: Array, lengths: Bytes, out: Array) -> tuple[Array, Array]:
    """Codebook and output as unsigned integers."""
    check_output(out)
    check_codebook(codebook, out)
    require(len(codebook) >= len(lengths), "the codebook is smaller than the alphabet")
    unsigned = f"u{out.itemsize}"
    return np.ascontiguousarray(codebook).view(unsigned), out.view(unsigned)


def _checked_counts(counts: Integers) -> Integers:
    """Running sums of the counts, from 0."""
    counts = integer_array(counts)
    require(not (counts < 0).any(), "a count is negative")
    bounds = [0, *np.cumsum(counts.astype(object)).tolist()] if len(counts) else [0]
    require(bounds[-1] < 1 << 62, "the counts are too large")
    return np.array(bounds, dtype=np.int64)
