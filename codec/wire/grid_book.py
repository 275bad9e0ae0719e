"""The codebook of a uniform grid: multiples of a step, those around zero corrected."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

from ..errors import CorruptError
from .arrays import AnyArray
from .code_table import MAX_ALPHABET
from .varint import Cursor, encode_varint

PARTS_OF_STEP = 64
MAX_LOWEST = 2**16


class GridBook(NamedTuple):
    """A codebook of consecutive multiples of a step, the ones around zero corrected.

    Attributes
    ----------
    step : float
        Distance of neighbouring levels; a float32.
    lowest : int
        Entry 0 of the codebook is `lowest` steps.
    levels : int
        Number of entries.
    corrections : tuple of int
        Of the levels from -n to n, in 64ths of a step; an odd number of them, or none.
    """

    step: float
    lowest: int
    levels: int
    corrections: tuple[int, ...] = ()

    def values(self, dtype: np.dtype[Any]) -> AnyArray:
        """The codebook: whole 64ths of a step, rounded to float32 and to the dtype."""
        end = self.lowest + self.levels
        parts = np.arange(PARTS_OF_STEP * self.lowest, PARTS_OF_STEP * end, PARTS_OF_STEP)
        reach = len(self.corrections) // 2
        first, last = max(-reach, self.lowest), min(reach + 1, end)
        if self.corrections and first < last:
            corrected = self.corrections[first + reach : last + reach]
            parts[first - self.lowest : last - self.lowest] += corrected
        values = parts * (self.step / PARTS_OF_STEP)
        with np.errstate(over="ignore"):
            narrow = values.astype(dtype if dtype.itemsize > 4 else np.float32)
            return narrow.astype(dtype, copy=False)

    def encode(self) -> bytes:
        """The book as a frame holds it."""
        count = len(self.corrections)
        return (
            struct.pack("<f", self.step)
            + encode_varint(_zigzag(self.lowest))
            + encode_varint(self.levels)
            + struct.pack(f"<B{count}b", count, *self.corrections)
        )

    @classmethod
    def decode(cls, cursor: Cursor) -> GridBook:
        """Read what `encode` wrote. Raises CorruptError."""
        (step,) = struct.unpack("<f", cursor.take(4, "grid step"))
        if not 0 < step < np.inf:
            raise CorruptError(f"grid step: {step} is not positive and finite")
        zigzag = cursor.varint("grid lowest level", high=2 * MAX_LOWEST)
        levels = cursor.varint("grid levels", low=1, high=MAX_ALPHABET)
        count = cursor.byte("grid corrections")
        if count % 2 == 0 and count > 0:
            raise CorruptError(f"grid corrections: {count} is not odd")
        corrections = struct.unpack(f"<{count}b", cursor.take(count, "grid corrections"))
        return cls(step, zigzag >> 1 ^ -(zigzag & 1), levels, corrections)


def _zigzag(number: int) -> int:
    return 2 * number if number >= 0 else -2 * number - 1
