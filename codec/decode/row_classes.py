"""Coding by classes: dense coding in which every class of runs has a code of its own.

A symbol of a class's code is one index or, where that is shorter, a pair of neighbouring ones:
pairs reach fractions of a bit and see that neighbours are alike, at one look-up for two weights.

Payload: codebook, runs and their classes, code tables, then for each block of runs one segment for
each class.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CorruptError, corrupt
from ..kernels import coding
from ..kernels.digest import Digests
from ..wire.arrays import AnyArray, Member, is_floating, patterns
from ..wire.code_table import MAX_ALPHABET
from ..wire.codebook import read_codebooks
from ..wire.grid_book import GridBook
from ..wire.row_classes import Runs
from ..wire.segments import Offsets
from ..wire.varint import Cursor

VALUES, GRID = 0, 1


def _read_book(cursor: Cursor, member: Member) -> AnyArray:
    kind = cursor.byte("codebook kind")
    if kind not in (VALUES, GRID):
        raise CorruptError(f"codebook kind: {kind} is neither 0 nor 1")
    if kind == VALUES:
        (book,) = read_codebooks(cursor, [member])
    elif is_floating(member.dtype):
        book = GridBook.decode(cursor).values(member.dtype)
    else:
        raise CorruptError(f"codebook kind: a grid of {member.dtype} elements")
    if not 1 <= book.size <= MAX_ALPHABET:
        raise CorruptError(f"codebook levels: {book.size} is outside 1 to {MAX_ALPHABET}")
    return book


class Decoder:
    """Decodes a frame of classes; see `FrameDecoder`."""

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        cursor = Cursor(payload)
        if len(members) != 1 or members[0].numel == 0:
            raise CorruptError("a frame of classes has one tensor, which is not empty")
        self.payload = payload
        self.member = members[0]
        self.codebook = _read_book(cursor, self.member)
        map_start = cursor.position
        self.runs = Runs.decode(cursor, self.member.numel)
        table_start, kinds = cursor.position, self.runs.count
        with corrupt("class tables"):
            self.codes, table_end = coding.read_class_codes(
                payload, table_start, kinds, self.codebook.size, self.codebook.itemsize
            )
        self.values = patterns(self.codebook)[self.codes.members]
        self.unit = self.runs.runs_in_block * self.runs.length
        offsets = self._find_segments(table_end)
        # Where each segment begins: int64[blocks, classes].
        self.offsets = offsets[:-1].reshape(-1, kinds)
        cursor.position = int(offsets[-1])
        self.ends = map_start, table_start, table_end, cursor.position
        cursor.finish("frame")

    def _find_segments(self, position: int) -> Offsets:
        runs = self.runs
        with corrupt("index segments"):
            return coding.find_class_segments(
                self.payload,
                position,
                runs.classes,
                runs.length,
                runs.runs_in_block,
                self.member.numel,
                self.codes,
            )

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode elements start to stop into `out`."""
        blocks = slice(start // self.unit, -(-stop // self.unit))
        length = self.runs.length
        with corrupt("index"):
            coding.decode_runs(
                self.payload,
                self.offsets[blocks],
                self.runs.classes[start // length : -(-stop // length)],
                length,
                self.runs.runs_in_block,
                self.codes,
                self.values,
                patterns(out),
                digests,
            )
