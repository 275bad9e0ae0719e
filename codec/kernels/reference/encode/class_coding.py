"""Coding one class of a tensor in one segment, in NumPy: the reference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ....entropy import log2
from ...coding_arguments import (
    ALPHABET_LIMIT,
    BITMAP,
    PAIRED_LEVELS_LIMIT,
    PAIRS,
    Integers,
    Symbols,
    require,
    symbol_array,
)
from ..decode.codes import code_lengths, write_lengths
from .encoding import count_symbols, encode_segments, varint_bytes

# Longer codes would gain little, and their table would leave the nearest cache.
PAIR_LENGTH_LIMIT = 14
SEGMENT_BYTES = 20
# By which a bound stays below an entropy that was rounded.
MARGIN = 2.0**-20


class CodedClass(NamedTuple):
    """A class as a frame holds it.

    Attributes
    ----------
    table, segment : bytes
    bits : int
        Of the symbols, without framing.
    least : int
        Bytes that any code for single indices takes, by their entropy.
    counts : int64[levels]
        How often each index occurs.
    """

    table: bytes
    segment: bytes
    bits: int
    least: int
    counts: Integers

    @property
    def estimate(self) -> int:
        """Bytes of table and symbols, with about what frames a segment."""
        return len(self.table) + -(-self.bits // 8) + (SEGMENT_BYTES if self.bits else 0)


def code_class(indices: Symbols, levels: int, *, may_pair: bool) -> CodedClass:
    """Code indices by the shorter of a code for single ones and one for pairs of neighbours.

    Parameters
    ----------
    indices : uint8[n] or uint16[n]
        At least one.
    levels : int
        Of the codebook, at most 4,096.
    may_pair : bool
        Whether pairs are allowed, for codebooks of which 128 levels at most are in use.

    Raises
    ------
    ValueError
        For an index outside the codebook.
    """
    symbols = check_indices(indices, levels)
    counts = count_symbols(symbols, levels)
    used = np.flatnonzero(counts)
    ranks = _ranks(used, levels)[symbols]
    head = _head(used, 0)
    single = _coded(head, ranks, counts[used], _length_limit(used.size), counts)
    if not may_pair or not 1 < used.size <= PAIRED_LEVELS_LIMIT:
        return single
    even = np.pad(ranks, (0, ranks.size % 2))
    pairs = even[0::2] * np.uint16(used.size) + even[1::2]
    pair_counts = count_symbols(pairs, used.size**2)
    places = np.flatnonzero(pair_counts)
    if places.size > ALPHABET_LIMIT:
        return single
    head = _head(used, PAIRS) + _bitmap(places, used.size**2)
    pair_ranks = _ranks(places, pair_counts.size)[pairs]
    paired = _coded(head, pair_ranks, pair_counts[places], PAIR_LENGTH_LIMIT, counts)
    return paired if paired.estimate < single.estimate else single


def check_indices(indices: Symbols, levels: int) -> Symbols:
    """Return indices as an array; ValueError unless there are some, and not too many levels."""
    symbols = symbol_array(indices)
    require(symbols.size > 0, "a class has at least one element")
    require(1 <= levels <= ALPHABET_LIMIT, "an alphabet has 1 to 4096 symbols")
    return symbols


def _coded(
    head: bytes, symbols: Symbols, occurring: Integers, limit: int, counts: Integers
) -> CodedClass:
    lengths = code_lengths(occurring, limit)
    single = lengths.size == 1
    table = head + varint_bytes(lengths.size) + (b"" if single else write_lengths(lengths))
    data, _ = encode_segments(symbols, np.array([0, symbols.size]), lengths)
    bits = 0 if single else int(occurring.dot(lengths))
    return CodedClass(table, data, bits, _least(counts), counts)


def _least(counts: Integers) -> int:
    used = counts[counts > 0]
    bits = np.cumsum(used * (log2(float(used.sum())) - log2(used)))[-1]
    return int(float(bits) * (1 - MARGIN) / 8)


def _length_limit(alphabet: int) -> int:
    if alphabet <= 64:
        return 11
    return 12 if alphabet <= 256 else 15


def _head(used: Integers, flags: int) -> bytes:
    first, span = int(used[0]), int(used[-1] - used[0]) + 1
    gaps = used.size < span
    head = bytes([flags | (BITMAP if gaps else 0)]) + varint_bytes(first) + varint_bytes(span)
    return head + _bitmap(used - first, span) if gaps else head


def _bitmap(places: Integers, size: int) -> bytes:
    bits = np.zeros(size, np.uint8)
    bits[places] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def _ranks(used: Integers, size: int) -> npt.NDArray[np.uint16]:
    ranks = np.zeros(size, np.uint16)
    ranks[used] = np.arange(used.size)
    return ranks
