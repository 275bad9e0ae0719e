"""The table of a class: which indices, or pairs of them, have codes, and how long these are.

`kernels.read_class_codes` reads what is written here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels.coding_arguments import BITMAP, PAIRS
from ..wire import code_table
from ..wire.code_table import Lengths
from ..wire.segments import Offsets
from ..wire.varint import encode_varint


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
        return head + code_table.encode_table(self.lengths)

    def add_counts(self, counts: Offsets, padding: int, total: Offsets) -> None:
        """Add to `total` how often each index occurs, by the counts of symbols."""
        if self.pairs is None:
            total[self.used] += counts
            return
        for ranks in np.divmod(self.pairs, self.used.size):
            np.add.at(total, self.used[ranks], counts)
        total[self.used[0]] -= padding


def _bitmap(places: Offsets, size: int) -> bytes:
    """A bit for each of `size` places, each byte's lowest first."""
    bits = np.zeros(size, np.uint8)
    bits[places] = 1
    return np.packbits(bits, bitorder="little").tobytes()
