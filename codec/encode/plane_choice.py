"""How each byte plane of a chunk is written: whichever of the methods takes the fewest bytes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import zstandard

from ..decode.plane_methods import CONSTANT, HUFFMAN, JOINED, LOW_BITS, RAW, ZSTANDARD, Buffer
from ..entropy import cross_entropy_bits
from ..kernels import coding
from ..kernels import planes as kernels
from ..report.planes import PlaneCounts
from ..wire import code_table
from ..wire.arrays import AnyArray
from ..wire.code_table import Lengths
from ..wire.segments import as_offsets
from ..wire.varint import encode_varint

ZSTANDARD_LEVEL = 3
# Looks for matches alone and leaves all other bytes as they are.
MATCHING_LEVEL = -10
SAMPLE = 1 << 14
# Of a small array an eighth will do to tell whether it repeats itself.
LEAST_SAMPLE, SAMPLED_PART = 1 << 10, 8
# A plane is tried in full if its sample's matches leave less than so many eighths of it.
REPEATED = 6
# A plane that loses less than this share to a code stays raw, which is read in no time.
WORTHWHILE = 256
# Codes of pairs: tables of 2^12 entries still fit the nearest cache.
PAIR_LIMIT = 12
SEGMENT_OVERHEAD = 24


@dataclass(frozen=True, slots=True)
class EncodedPlane:
    """A plane's share of the payload.

    Attributes
    ----------
    pieces : tuple of buffers
        The payload's bytes, from the method on.
    stream : str
        What the symbols are: "" for a plane's bytes, else a suffix.
    counts : int64[alphabet]
        How often each symbol occurs.
    """

    pieces: tuple[Buffer, ...]
    stream: str
    counts: AnyArray

    @property
    def counted(self) -> PlaneCounts:
        """What a reader counts of it."""
        return PlaneCounts(self.stream, self.counts, sum(len(piece) for piece in self.pieces))


class _Draft(NamedTuple):
    """A method with its size in bytes: exact, or what it takes at most."""

    method: int
    size: int
    data: Buffer
    lengths: Lengths | None = None


class _Pairs(NamedTuple):
    """Two planes as pairs: a symbol for each element, and how often each symbol occurs."""

    symbols: AnyArray
    counts: AnyArray
    low_bits: int

    @classmethod
    def of(cls, planes: AnyArray, low_bits: int) -> _Pairs:
        """The last two planes as pairs."""
        return cls(*kernels.pair_symbols(planes[-2], planes[-1], low_bits), low_bits)


def encode_planes(planes: AnyArray, upper_bits: int) -> list[EncodedPlane]:
    """Code the planes of one chunk.

    Parameters
    ----------
    planes : uint8[itemsize, n]
        Least significant bytes first.
    upper_bits : int
        How many of the last plane but one's upper bits may be coded with the last; 0 for none.
    """
    pairs = _Pairs.of(planes, 8 - upper_bits) if upper_bits else None
    counts = [kernels.count_bytes(plane) for plane in planes[: None if pairs is None else -1]]
    if pairs is not None:
        counts.append(pairs.counts.reshape(256, -1).sum(axis=1))
    drafts = [_draft(plane, count) for plane, count in zip(planes, counts, strict=True)]
    pair = None
    if pairs is not None and _may_pair(drafts):
        limit = drafts[-1].size + drafts[-2].size
        pair = _encode_pair(pairs, planes[-2], counts[-2], limit)
    alone = len(planes) - 2 if pair else len(planes)
    coded = [_write(planes[i], counts[i], drafts[i]) for i in range(alone)]
    return coded + (pair or [])


def _may_pair(drafts: list[_Draft]) -> bool:
    return drafts[-1].method == HUFFMAN and drafts[-2].method in (RAW, HUFFMAN)


def _draft(plane: AnyArray, counts: AnyArray) -> _Draft:
    if np.count_nonzero(counts) == 1:
        return _Draft(CONSTANT, 1, plane[:1])
    best = _Draft(RAW, plane.size, plane)
    if not _is_noise(counts, plane.size):
        lengths = code_table.code_lengths(counts)
        size = _coded_size(counts, lengths)
        if size < plane.size - plane.size // WORTHWHILE:
            best = _Draft(HUFFMAN, size, b"", lengths)
    if _repeats(plane):
        packed = _compress(plane)
        if len(packed) < best.size:
            best = _Draft(ZSTANDARD, len(packed), packed)
    return best


def _is_noise(counts: AnyArray, size: int) -> bool:
    """Whether even the collision entropy, which is below Shannon's, is within 1/32 bit of 8."""
    return 256 * 100 * int(np.sum(counts * counts)) <= 102 * size * size


def _coded_size(counts: AnyArray, lengths: Lengths) -> int:
    """Bytes of a table and of one segment, padding at its most."""
    bits = cross_entropy_bits(counts, lengths)
    return len(code_table.encode_table(lengths)) + bits // 8 + SEGMENT_OVERHEAD


def _repeats(plane: AnyArray) -> bool:
    """Whether a sample of the plane holds repetitions, or all of it may: it is small."""
    if plane.size <= SAMPLE:
        return True
    half = SAMPLE // 2
    middle = plane.size // 2
    sample = np.concatenate([plane[:half], plane[middle : middle + half]])
    return len(_compressors.matching.compress(sample.data)) < REPEATED * sample.size // 8


class _Compressors(threading.local):
    """Zstandard's working memory, for each thread."""

    def __init__(self) -> None:
        self.full = zstandard.ZstdCompressor(level=ZSTANDARD_LEVEL)
        self.matching = zstandard.ZstdCompressor(level=MATCHING_LEVEL)


_compressors = _Compressors()


def _compress(plane: AnyArray) -> bytes:
    return _compressors.full.compress(plane.data)


def repetition(array: AnyArray) -> float:
    """What zstandard leaves of the array's first bytes, as a share of them."""
    size = min(SAMPLE, max(array.nbytes // SAMPLED_PART, LEAST_SAMPLE))
    sample = array.view(np.uint8)[:size]
    return len(_compress(sample)) / max(sample.size, 1)


def _write(plane: AnyArray, counts: AnyArray, draft: _Draft) -> EncodedPlane:
    method = bytes([draft.method])
    if draft.method in (RAW, CONSTANT):
        return EncodedPlane((method, draft.data), "", counts)
    data: list[Buffer] = [draft.data]
    if draft.lengths is not None:
        data = _encode_huffman(plane, draft.lengths)
    size = encode_varint(sum(map(len, data)))
    return EncodedPlane((method, size, *data), "", counts)


def _encode_huffman(symbols: AnyArray, lengths: Lengths) -> list[Buffer]:
    data, _ = coding.encode_segments(symbols, as_offsets((0, symbols.size)), lengths)
    return [code_table.encode_table(lengths), data]


def _encode_pair(
    pairs: _Pairs, low: AnyArray, low_counts: AnyArray, limit: int
) -> list[EncodedPlane] | None:
    """The two planes as a pair, or None if that takes `limit` bytes or more."""
    counts, low_bits = pairs.counts, pairs.low_bits
    symbols_per_byte = counts.size // 256
    used = np.flatnonzero(counts)
    base = int(used[0]) // symbols_per_byte
    first, end = base * symbols_per_byte, (int(used[-1]) // symbols_per_byte + 1) * symbols_per_byte
    occurring = counts[first:end]
    if occurring.size > code_table.MAX_ALPHABET:
        return None
    lengths = coding.code_lengths(occurring, PAIR_LIMIT)
    if _coded_size(occurring, lengths) + low.size * low_bits // 8 >= limit:
        return None
    data = _encode_huffman(pairs.symbols - np.uint16(first), lengths)
    below = (bytes([LOW_BITS, low_bits]), kernels.pack_bits(low, low_bits))
    joined = (bytes([JOINED, base]), encode_varint(sum(map(len, data))), *data)
    return [
        EncodedPlane(below, f"-low-{low_bits}", low_counts.reshape(-1, 1 << low_bits).sum(axis=0)),
        EncodedPlane(joined, f"-joined-{8 - low_bits}", counts),
    ]
