"""Encoding in NumPy: counts, gaps and survivors, coded segments."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...coding_arguments import (
    MANY_STREAMS_FROM,
    STREAM_BYTES_LIMIT,
    STREAMS,
    Bytes,
    Integers,
    Symbols,
    check_alphabet,
    check_filler,
    check_span,
    integer_array,
    require,
    symbol_array,
)
from ..decode.codes import assigned_codes, checked_lengths
from ..decode.streams import segment_groups

_GROUP_SYMBOLS = 1 << 22


def count_symbols(symbols: Symbols, alphabet: int) -> Integers:
    """Count how often each symbol occurs.

    Parameters
    ----------
    symbols : uint8[n] or uint16[n]
    alphabet : int
        Number of symbols there are, 1 to 65536.

    Returns
    -------
    int64[alphabet]

    Raises
    ------
    ValueError
        If a symbol is not in the alphabet.
    """
    check_alphabet(alphabet)
    counts = np.bincount(symbol_array(symbols), minlength=alphabet).astype(np.int64, copy=False)
    require(len(counts) == alphabet, "a symbol is outside the alphabet")
    return counts


def split_sparse(
    indices: Symbols, span: int, filler: int
) -> tuple[npt.NDArray[np.uint16], Symbols, Integers, Integers]:
    """Split sparse indices into the gaps between survivors and the survivors' own indices.

    Deep Compression (Han, Mao and Dally, 2016), section 2: a gap too long for its code is
    bridged by fillers. The count starts anew in each block of `span` positions.

    Parameters
    ----------
    indices : uint8[n] or uint16[n]
        0 for a pruned position, level + 1 for a survivor.
    span : int
        Positions in a block.
    filler : int
        The gap that stands for `filler` pruned positions and no survivor, 1 to 65535.

    Returns
    -------
    gaps : uint16[...]
    survivors : same dtype as `indices`
        The levels, that is index - 1.
    gap_starts, survivor_starts : int64[blocks + 1]
        Where each block's gaps and survivors begin.

    Raises
    ------
    ValueError
        If `span` or `filler` is out of range.
    """
    check_span(span)
    check_filler(filler)
    indices = symbol_array(indices)
    edges = np.minimum(np.arange(-(-len(indices) // span) + 1, dtype=np.int64) * span, len(indices))
    positions = np.flatnonzero(indices)
    before = np.empty_like(positions)
    before[1:] = positions[:-1]
    before[:1] = -1
    zeros = positions - np.maximum(before + 1, positions - positions % span)
    fillers = zeros // filler
    ends = np.cumsum(fillers + 1)
    gaps = np.full(ends[-1] if len(ends) else 0, filler, dtype=np.uint16)
    gaps[ends - 1] = zeros % filler
    survivor_starts = np.searchsorted(positions, edges).astype(np.int64, copy=False)
    gap_starts = np.concatenate(([0], ends))[survivor_starts].astype(np.int64, copy=False)
    return gaps, indices[positions] - indices.dtype.type(1), gap_starts, survivor_starts


def encode_segments(symbols: Symbols, starts: Integers, lengths: Bytes) -> tuple[bytes, Integers]:
    """Code segments of symbols, one after the other.

    Parameters
    ----------
    symbols : uint8[n] or uint16[n]
    starts : int64[segments + 1]
        Segment i is ``symbols[starts[i]:starts[i + 1]]``.
    lengths : uint8[alphabet]
        Code length of each symbol.

    Returns
    -------
    payload : bytes
    offsets : int64[segments + 1]
        Where each segment begins in the payload, in bytes.

    Raises
    ------
    ValueError
        If a symbol has no code, the code is not complete, the starts are not ascending positions
        in `symbols`, or one of eight streams takes more than 65535 bytes.
    """
    symbols = symbol_array(symbols)
    starts = integer_array(starts)
    require(len(starts) >= 1, "the starts must end with the end of the last segment")
    require(starts[0] >= 0 and starts[-1] <= len(symbols), "a segment is outside the symbols")
    require(not (starts[1:] < starts[:-1]).any(), "the segments' starts are not ascending")
    offsets = np.zeros(len(starts), dtype=np.int64)
    if starts[0] == starts[-1]:
        return b"", offsets
    lengths = checked_lengths(lengths)
    coded = symbols[starts[0] : starts[-1]]
    require(int(coded.max()) < len(lengths), "a symbol has no code")
    require(bool(lengths[coded].all()), "a symbol has no code")
    if np.count_nonzero(lengths) == 1:
        return b"", offsets
    codes = assigned_codes(lengths)
    parts = [
        _encode_group(symbols, starts[first : last + 1], lengths, codes)
        for first, last in segment_groups(np.diff(starts), _GROUP_SYMBOLS)
    ]
    np.cumsum(np.concatenate([sizes for _, sizes in parts]), out=offsets[1:])
    return b"".join(payload for payload, _ in parts), offsets


def _encode_group(
    symbols: Symbols, starts: Integers, lengths: Bytes, codes: Integers
) -> tuple[bytes, Integers]:
    """Code some segments: their bytes, and the size of each."""
    pairs = zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    streams = [_streams_of(symbols[first:last]) for first, last in pairs]
    flat = [stream for segment in streams for stream in segment]
    packed, sizes = _pack_bits(flat, lengths, codes)
    ends = np.cumsum(sizes).tolist()
    pieces: list[bytes] = []
    taken = 0
    for segment in streams:
        if not segment:
            pieces.append(b"")
            continue
        own = sizes[taken : taken + len(segment)]
        begin, taken = ends[taken] - int(sizes[taken]), taken + len(segment)
        pieces.append(_segment_header(own) + packed[begin : ends[taken - 1]].tobytes())
    return b"".join(pieces), np.array([len(piece) for piece in pieces], dtype=np.int64)


def _streams_of(segment: Symbols) -> list[Symbols]:
    if len(segment) == 0:
        return []
    if len(segment) < MANY_STREAMS_FROM:
        return [segment]
    return [segment[stream::STREAMS] for stream in range(STREAMS)]


def _segment_header(sizes: Integers) -> bytes:
    if len(sizes) == 1:
        return varint_bytes(int(sizes[0]))
    require(int(sizes.max()) <= STREAM_BYTES_LIMIT, "a stream is longer than 65535 bytes")
    return sizes.astype("<u2").tobytes()


def varint_bytes(number: int) -> bytes:
    """The number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _pack_bits(streams: list[Symbols], lengths: Bytes, codes: Integers) -> tuple[Bytes, Integers]:
    """The streams' bits, each padded to whole bytes, end to end; and their sizes in bytes."""
    symbols = np.concatenate(streams)
    ends = np.cumsum([len(stream) for stream in streams])
    bits = lengths[symbols].astype(np.int64)
    reached = np.cumsum(bits)
    stream_bits = np.diff(reached[ends - 1], prepend=0)
    sizes = (stream_bits + 7) >> 3
    padding = 8 * sizes - stream_bits
    shifts = np.cumsum(padding) - padding
    positions = reached - bits + np.repeat(shifts, np.diff(ends, prepend=0))
    # Codes share no bits, so summing those that begin in one 32-bit word equals OR-ing them.
    word = positions >> 5
    heads = np.flatnonzero(np.diff(word, prepend=-1))
    shifted = codes[symbols].astype(np.uint64) << (positions & 31).astype(np.uint64)
    sums = np.add.reduceat(shifted, heads)
    words = np.zeros(int(sizes.sum()) // 4 + 2, dtype="<u4")
    words[word[heads]] = sums & np.uint64(0xFFFFFFFF)
    words[word[heads] + 1] |= (sums >> np.uint64(32)).astype(np.uint32)
    return words.view(np.uint8), sizes
