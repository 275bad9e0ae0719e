"""What positions of mixed contexts stand for: entries of a codebook, or multiples of a half step.

A half step may be one for the whole tensor, or one for each class of rows.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import CorruptError
from ..kernels.reference.decode import mixing
from ..kernels.reference.decode.mixing import Chunk
from . import trellis_states
from .arrays import AnyArray, Member, is_floating
from .codebook import read_codebooks, write_codebooks
from .row_classes import Runs
from .trellis_states import CHUNK, STATES
from .varint import Cursor, encode_varint


class Geometry(NamedTuple):
    """How a tensor's elements neighbour each other.

    Attributes
    ----------
    row, kernel, width : int
        As in `kernels.Chunk`.
    """

    row: int
    kernel: int
    width: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Geometry:
        """Rows are all that has one first index; kernels all that has one second index too.

        Leading dimensions of 1 do not count, nor do those whose rows would be too long.
        """
        while shape and (shape[0] == 1 or math.prod(shape[1:]) > mixing.ROW_LIMIT):
            shape = shape[1:]
        width = shape[-1] if len(shape) > 3 else 1
        return cls(math.prod(shape[1:]), math.prod(shape[2:]), width)

    def encode(self) -> bytes:
        """The geometry as a frame holds it."""
        return b"".join(map(encode_varint, (self.row, self.kernel, self.width)))

    @classmethod
    def decode(cls, cursor: Cursor) -> Geometry:
        """Read what `encode` wrote. Raises CorruptError."""
        row = cursor.varint("row", low=1, high=mixing.ROW_LIMIT)
        kernel = cursor.varint("kernel", low=1, high=row)
        width = cursor.varint("width", low=1, high=kernel)
        if row % kernel or kernel % width:
            raise CorruptError(f"geometry: {width}, {kernel} and {row} do not divide each other")
        return cls(row, kernel, width)

    def whole(self, numel: int) -> Chunk:
        """A tensor as one chunk."""
        return Chunk(0, numel, self.row, self.kernel, self.width)

    def chunks(self, numel: int) -> list[Chunk]:
        """The chunks of a tensor."""
        return [
            Chunk(start, min(CHUNK, numel - start), self.row, self.kernel, self.width)
            for start in range(0, numel, CHUNK)
        ]


# The kind of reconstruction beside those of trellises.
MULTIPLES = 1
# Added to the kind where each class of rows has a half step.
BY_ROWS = 8
# Added to the kind where positions come column by column.
BY_COLUMNS = 16
# Decoded positions lie within this of zero, whatever the bytes.
REACH = 1 << 19
CELLS = 2 * REACH + 1

Positions = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class CodebookPoints:
    """Reconstruction by a codebook: position 0 is the entry `zero`, others are 2 apart.

    Attributes
    ----------
    codebook : array[levels]
    zero : int
    """

    codebook: AnyArray
    zero: int

    states = 1

    def encode(self) -> bytes:
        """The points as a frame holds them."""
        return b"\0" + write_codebooks([self.codebook]) + encode_varint(self.zero)

    def indices(self, positions: Positions) -> AnyArray:
        """Entries of the codebook. Raises CorruptError past its ends."""
        indices = (positions >> 1) + self.zero
        if indices.size and not 0 <= indices.min() <= indices.max() < self.codebook.size:
            raise CorruptError(f"index in a codebook of {self.codebook.size} levels: past its end")
        return indices

    def values(self, positions: Positions, start: int = 0) -> AnyArray:
        """The elements at the positions from element `start` of the tensor on."""
        return self.codebook[self.indices(positions)]


@dataclass(frozen=True, slots=True)
class TrellisPoints:
    """Reconstruction by a trellis, or by multiples of a step: positions times a half step.

    Attributes
    ----------
    step : float
    states : int
        Of the trellis; 1 for multiples of a step.
    dtype : dtype
    """

    step: float
    states: int
    dtype: np.dtype[Any]

    def encode(self) -> bytes:
        """The points as a frame holds them."""
        return bytes([_kind_of(self.states)]) + struct.pack("<f", self.step)

    def values(self, positions: Positions, start: int = 0) -> AnyArray:
        """The elements at the positions from element `start` of the tensor on."""
        return trellis_states.values_at(positions, self.step, self.dtype)


@dataclass(frozen=True, slots=True)
class RowPoints:
    """Reconstruction by a trellis, or by multiples, with a half step for each class of rows.

    Attributes
    ----------
    steps : float32[classes]
        Half steps.
    runs : Runs
        The rows and their classes, which are two at least.
    states : int
        Of the trellis; 1 for multiples of a step.
    dtype : dtype
    """

    steps: npt.NDArray[np.float32]
    runs: Runs
    states: int
    dtype: np.dtype[Any]

    def encode(self) -> bytes:
        """The points as a frame holds them."""
        kind = bytes([BY_ROWS | _kind_of(self.states)])
        return kind + self.runs.encode() + self.steps.astype("<f4").tobytes()

    def by_columns(self, row: int, numel: int) -> ColumnRowPoints:
        """The same where positions come column by column, each of `row` elements."""
        return ColumnRowPoints(self.steps, self.runs, self.states, self.dtype, row, numel)

    def class_of(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """The class of each element from `start` to before `stop`, as positions come."""
        length = self.runs.length
        rows = slice(start // length, -(-stop // length))
        every = np.repeat(self.runs.classes[rows], length)
        return every[start % length :][: stop - start]

    def values(self, positions: Positions, start: int = 0) -> AnyArray:
        """The elements at the positions from element `start` of the tensor on."""
        steps = self.steps[self.class_of(start, start + positions.size)]
        return trellis_states.values_at(positions, steps.astype(np.float64), self.dtype)


@dataclass(frozen=True, slots=True)
class ColumnRowPoints(RowPoints):
    """Half steps for classes of rows, of positions that come column by column.

    Attributes
    ----------
    row : int
        Elements of a column.
    numel : int
        Of the tensor; columns divide it.
    """

    row: int
    numel: int

    def class_of(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """The class of each element from `start` to before `stop`, as positions come."""
        column, within = np.divmod(np.arange(start, stop), self.row)
        element = within * (self.numel // self.row) + column
        classes: npt.NDArray[np.uint8] = self.runs.classes[element // self.runs.length]
        return classes


Points = CodebookPoints | TrellisPoints | RowPoints


def column_by_column(points: Points, row: int, numel: int) -> Points:
    """The points where positions come column by column, each of `row` elements."""
    return points.by_columns(row, numel) if isinstance(points, RowPoints) else points


def _kind_of(states: int) -> int:
    return states.bit_length() - 1 if states > 1 else MULTIPLES


def read_points(kind: int, cursor: Cursor, member: Member) -> Points:
    """Read what `encode` wrote behind the kind. Raises CorruptError."""
    if kind == 0:
        (book,) = read_codebooks(cursor, [member])
        return CodebookPoints(book, cursor.varint("index of zero", high=max(book.size, 1) - 1))
    trellis_kind = kind % BY_ROWS
    states = 1 if trellis_kind == MULTIPLES else 1 << trellis_kind
    if states not in (1, *STATES) or trellis_kind == 0 or kind >= 2 * BY_COLUMNS:
        raise CorruptError(f"reconstruction: {kind} is none of 0 to 6, 9 to 14, 17 to 22, 25 to 30")
    if not is_floating(member.dtype):
        raise CorruptError(f"reconstruction: steps of {member.dtype} elements")
    if not kind & BY_ROWS:
        return TrellisPoints(float(_read_steps(cursor, 1)[0]), states, member.dtype)
    runs = Runs.decode(cursor, member.numel)
    if runs.count == 1:
        raise CorruptError("reconstruction: one class of rows")
    return RowPoints(_read_steps(cursor, runs.count), runs, states, member.dtype)


def _read_steps(cursor: Cursor, count: int) -> npt.NDArray[np.float32]:
    steps = np.frombuffer(cursor.take(4 * count, "half step"), "<f4").astype(np.float32)
    for step in steps.tolist():
        if not 0 < step < np.inf:
            raise CorruptError(f"half step: {step} is not positive and finite")
    return steps
