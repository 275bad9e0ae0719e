"""Where segments are in a payload, found by stepping over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...coding_arguments import MANY_STREAMS_FROM, STREAMS, Bytes, Integers, integer_array, require


def find_segments(payload: Any, position: int, counts: Integers, coded: Sequence[bool]) -> Integers:
    """Find the segments of dense blocks, which follow each other.

    Parameters
    ----------
    payload : buffer
    position : int
        Where the first segment begins, in bytes.
    counts : int64[blocks]
        Symbols of each block.
    coded : sequence of bool
        For each code whether its symbols take bits. A block has one segment for each code.

    Returns
    -------
    int64[blocks * codes + 1]
        Where each segment begins, and where the last one ends, in bytes.

    Raises
    ------
    EOFError
        If the payload ends too early.
    ValueError
        If it breaks the format otherwise, or an argument is out of range.
    """
    walk = _Walk(payload, position, counts, coded)
    found = [walk.skip(count, code) for count in integer_array(counts).tolist() for code in coded]
    return np.array([*found, walk.position], dtype=np.int64)


def find_blocks(payload: Any, position: int, counts: Integers, coded: Sequence[bool]) -> Integers:
    """Find the segments of sparse blocks, each behind its numbers of gaps and survivors.

    Parameters
    ----------
    payload, position
        As for `find_segments`.
    counts : int64[blocks]
        Positions of each block.
    coded : sequence of bool
        As for `find_segments`, the code of the gaps first.

    Returns
    -------
    int64[codes + 3, blocks]
        For each block how many gaps and survivors it has, where the segment of each code begins,
        and where the block ends, in bytes.

    Raises
    ------
    EOFError, ValueError
        As `find_segments`.
    """
    walk = _Walk(payload, position, counts, coded)
    found = [walk.block(positions) for positions in integer_array(counts).tolist()]
    return np.array(found, dtype=np.int64).reshape(len(found), len(coded) + 3).T.copy()


class _Walk:
    """A position in a payload that moves on from field to field."""

    def __init__(
        self, payload: Any, position: int, counts: Integers, coded: Sequence[bool]
    ) -> None:
        self.payload: Bytes = np.frombuffer(payload, dtype=np.uint8)
        self.position = position
        self.coded = coded
        require(len(coded) > 0, "there must be a code")
        require(0 <= position <= len(self.payload), "a segment is outside the payload")
        require(not (integer_array(counts) < 0).any(), "a count is negative")

    def block(self, positions: int) -> list[int]:
        """Step over a sparse block; the numbers that `find_blocks` gives for it."""
        gaps, survivors = self._varint(), 0
        require(gaps <= positions, "a block has more gaps than positions")
        survivors = self._varint()
        require(survivors <= gaps, "a block has too few gaps")
        starts = [self.skip(gaps, self.coded[0])]
        starts += [self.skip(survivors, code) for code in self.coded[1:]]
        return [gaps, survivors, *starts, self.position]

    def skip(self, count: int, coded: bool) -> int:
        """Step over a segment; where it began."""
        start = self.position
        if count == 0 or not coded:
            return start
        if count < MANY_STREAMS_FROM:
            size = self._varint()
        else:
            header = self.payload[start : start + 2 * STREAMS]
            if len(header) < 2 * STREAMS:
                raise EOFError("a segment's header ends after the payload")
            self.position += 2 * STREAMS
            size = int(header.view("<u2").sum())
        if size > len(self.payload) - self.position:
            raise EOFError("a stream ends after the payload")
        self.position += size
        return start

    def _varint(self) -> int:
        """A size or count within a block, which takes three bytes at most."""
        number, self.position = read_varint(self.payload, self.position)
        return number


def read_varint(buffer: Bytes, offset: int) -> tuple[int, int]:
    """A number of at most three groups of seven bits, and the position after it."""
    number = 0
    for i, byte in enumerate(buffer[offset : offset + 3].tolist()):
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            require(byte > 0 or i == 0, "a stream's size is not in its shortest form")
            return number, offset + i + 1
    raise ValueError("a stream's size is cut off or too large")
