"""The table of a class: which indices, or pairs of them, have codes, and how long these are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcz.codec import huffman, kernels
from dcz.codec.errors import CorruptError
from dcz.codec.frame import AnyArray, patterns
from dcz.codec.huffman import Lengths
from dcz.codec.segments import Offsets
from dcz.codec.varint import Cursor, encode_varint

PAIRS, BITMAP = 1, 2
MOST_PAIRED_LEVELS = 128
MOST_PAIRED_BYTES = 4


@dataclass(frozen=True, slots=True)
class ClassTable:
    """The code of a class, for single indices or for pairs.

    Attributes
    ----------
    used : int64[n]
        The indices that occur, ascending.
    pairs : int64[m] or None
        The pairs that occur, ascending: i * n + j for the i-th and the j-th of `used`. None for a
        code of single indices.
    lengths : uint8[m or n]
        Code length of each pair or index, in bits.
    """

    used: Offsets
    pairs: Offsets | None
    lengths: Lengths

    @property
    def width(self) -> int:
        """Indices in a symbol."""
        return 1 if self.pairs is None else 2

    def encode(self) -> bytes:
        """The table as a frame holds it."""
        first, span = int(self.used[0]), int(self.used[-1] - self.used[0]) + 1
        full = self.used.size == span
        flags = (PAIRS if self.pairs is not None else 0) | (0 if full else BITMAP)
        head = bytes([flags]) + encode_varint(first) + encode_varint(span)
        if not full:
            head += _bitmap(self.used - first, span)
        if self.pairs is not None:
            head += _bitmap(self.pairs, self.used.size**2)
        return head + huffman.encode_table(self.lengths)

    @classmethod
    def decode(cls, cursor: Cursor, levels: int, item_size: int) -> ClassTable:
        """Read a table for a codebook of so many levels and bytes. Raises CorruptError."""
        flags = cursor.byte("table flags")
        if flags > PAIRS | BITMAP:
            raise CorruptError(f"table flags: {flags} is over {PAIRS | BITMAP}")
        first = cursor.varint("first index", high=levels - 1)
        span = cursor.varint("span of indices", low=1, high=levels - first)
        used = np.arange(span)
        if flags & BITMAP:
            used = _read_bitmap(cursor, span, "indices in use")
        pairs = None
        if flags & PAIRS:
            if used.size > MOST_PAIRED_LEVELS or item_size > MOST_PAIRED_BYTES:
                raise CorruptError(f"table flags: pairs of {used.size} values of {item_size} bytes")
            pairs = _read_bitmap(cursor, used.size**2, "pairs in use")
        lengths = huffman.decode_table(cursor, "index")
        if lengths.size != (used.size if pairs is None else pairs.size):
            raise CorruptError(f"index alphabet: {lengths.size} symbols do not fit those in use")
        return cls(first + used, pairs, lengths)

    def add_counts(self, counts: Offsets, padding: int, total: Offsets) -> None:
        """Add to `total` how often each index occurs, by the counts of symbols."""
        if self.pairs is None:
            total[self.used] += counts
            return
        for ranks in np.divmod(self.pairs, self.used.size):
            np.add.at(total, self.used[ranks], counts)
        total[self.used[0]] -= padding

    def code(self, codebook: AnyArray) -> kernels.ClassCode:
        """The code with the values of its symbols."""
        values = codebook[self.used]
        if self.pairs is not None:
            values = values[np.stack(np.divmod(self.pairs, self.used.size), axis=1)].reshape(-1)
        return kernels.ClassCode(self.lengths, self.width, patterns(values))


def _bitmap(places: Offsets, size: int) -> bytes:
    """A bit for each of `size` places, each byte's lowest first."""
    bits = np.zeros(size, np.uint8)
    bits[places] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def _read_bitmap(cursor: Cursor, size: int, what: str) -> Offsets:
    coded = np.frombuffer(cursor.take(-(-size // 8), what), np.uint8)
    bits = np.unpackbits(coded, bitorder="little")
    if not bits.any() or bits[size:].any():
        raise CorruptError(f"{what}: there are none, or bits past the end")
    return np.flatnonzero(bits)
