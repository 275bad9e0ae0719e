"""Context mixing: the smallest code there is here, and the slowest.

Positions in the codebook are coded as binary decisions by adaptive models, which learn from the
neighbours of each weight in its row, its column and its kernel; see `kernels.encode_mixed`. There
are no tables: the models begin anew in every chunk of 2**22 weights.

Payload: reconstruction, geometry of the tensor, sizes of the chunks, chunks.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dcz.codec import kernels, multiples, trellis
from dcz.codec.codebook import read_codebooks, write_codebooks
from dcz.codec.entropy import StreamStatistics, entropy_bits, fixed_bits
from dcz.codec.errors import CorruptError, corrupt
from dcz.codec.frame import (
    AnyArray,
    Description,
    Digests,
    Frame,
    Member,
    Parts,
    SharedTensor,
    count_nonzero,
    is_floating,
    moments,
)
from dcz.codec.kernels import Chunk
from dcz.codec.trellis import CHUNK, STATES, TrellisTensor
from dcz.codec.varint import Cursor, encode_varint

CODER = 6
# The kind of reconstruction beside those of trellises.
MULTIPLES = 1
# Decoded positions lie within this of zero, whatever the bytes.
REACH = 1 << 19
PIECE = 1 << 16
COUNTED = 1 << 19

Positions = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Geometry:
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
        while shape and (shape[0] == 1 or math.prod(shape[1:]) > kernels.ROW_LIMIT):
            shape = shape[1:]
        width = shape[-1] if len(shape) > 3 else 1
        return cls(math.prod(shape[1:]), math.prod(shape[2:]), width)

    def encode(self) -> bytes:
        """The geometry as a frame holds it."""
        return b"".join(map(encode_varint, (self.row, self.kernel, self.width)))

    @classmethod
    def decode(cls, cursor: Cursor) -> Geometry:
        """Read what `encode` wrote. Raises CorruptError."""
        row = cursor.varint("row", low=1, high=kernels.ROW_LIMIT)
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

    def values(self, positions: Positions) -> AnyArray:
        """The elements at some positions."""
        return self.codebook[self.indices(positions)]

    def statistics(self, counts: npt.NDArray[np.int64]) -> tuple[AnyArray, npt.NDArray[np.int64]]:
        """The codebook and how often each entry occurs, given counts from -REACH on."""
        first = REACH - 2 * self.zero
        return self.codebook, counts[first : first + 2 * self.codebook.size : 2]


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
        kind = self.states.bit_length() - 1 if self.states > 1 else MULTIPLES
        return bytes([kind]) + struct.pack("<f", self.step)

    def values(self, positions: Positions) -> AnyArray:
        """The elements at some positions."""
        return trellis.values_at(positions, self.step, self.dtype)

    def statistics(self, counts: npt.NDArray[np.int64]) -> tuple[AnyArray, npt.NDArray[np.int64]]:
        """The values in use and how often each occurs, given counts from -REACH on."""
        used = np.flatnonzero(counts)
        return self.values((used - REACH).astype(np.int32)), counts[used]


Points = CodebookPoints | TrellisPoints


def read_points(kind: int, cursor: Cursor, member: Member) -> Points:
    """Read what `encode` wrote behind the kind. Raises CorruptError."""
    if kind == 0:
        (book,) = read_codebooks(cursor, [member])
        return CodebookPoints(book, cursor.varint("index of zero", high=max(book.size, 1) - 1))
    states = 1 if kind == MULTIPLES else 1 << kind
    if states not in (1, *STATES):
        raise CorruptError(f"reconstruction: {kind} is none of 0 to 6")
    if not is_floating(member.dtype):
        raise CorruptError(f"reconstruction: steps of {member.dtype} elements")
    (step,) = struct.unpack("<f", cursor.take(4, "half step"))
    if not 0 < step < np.inf:
        raise CorruptError(f"half step: {step} is not positive and finite")
    return TrellisPoints(step, states, member.dtype)


def codable(tensor: SharedTensor) -> bool:
    """Whether a tensor is within what this coder can hold: some elements, some levels."""
    return tensor.indices.size > 0 and tensor.codebook.size > 0


def encode(tensor: SharedTensor, shape: tuple[int, ...]) -> Frame:
    """Code one shared tensor.

    Parameters
    ----------
    tensor : SharedTensor
        With at least one element; a `TrellisTensor` keeps its step.
    shape : tuple of int
        Of the tensor.
    """
    points, positions = locate(tensor, multiples.SPREAD)
    geometry = Geometry.of(shape)
    coded = [
        kernels.encode_mixed(positions[c.start : c.start + c.numel], c, points.states)
        for c in geometry.chunks(positions.size)
    ]
    head = points.encode()
    framing = geometry.encode() + b"".join(encode_varint(len(data)) for data in coded)
    layout = Layout(len(head), len(framing), sum(len(data) for data in coded))
    counts = np.zeros(2 * REACH + 1, np.int64)
    _count(positions, counts)
    return Frame(
        CODER, b"".join([head, framing, *coded]), describe(layout, *points.statistics(counts))
    )


def locate(tensor: SharedTensor, spread: int) -> tuple[Points, Positions]:
    """A tensor's points, and the position of each element; see `multiples.find` for `spread`."""
    if isinstance(tensor, TrellisTensor):
        points = TrellisPoints(tensor.step, tensor.states, tensor.codebook.dtype)
        return points, tensor.positions
    book = tensor.codebook
    found = multiples.find(book, spread)
    if found is not None:
        return TrellisPoints(found[0], 1, book.dtype), found[1][tensor.indices]
    by_value = book.astype(np.float64) if is_floating(book.dtype) else book
    order = np.argsort(by_value, kind="stable")
    zero = int(np.argmin(np.abs(by_value[order])))
    places = 2 * (np.argsort(order) - zero).astype(np.int32)
    return CodebookPoints(book[order], zero), places[tensor.indices]


def _count(positions: Positions, counts: npt.NDArray[np.int64]) -> None:
    """Add how often each position occurs, from -REACH on."""
    for at in range(0, positions.size, COUNTED):
        counts += np.bincount(positions[at : at + COUNTED] + REACH, minlength=counts.size)


class Decoder:
    """Decodes a frame of mixed contexts; see `FrameDecoder`."""

    unit = CHUNK

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        cursor = Cursor(payload)
        if len(members) != 1 or members[0].numel == 0:
            raise CorruptError("a frame of mixed contexts has one tensor, which is not empty")
        self.payload = payload
        self.points = read_points(cursor.byte("reconstruction"), cursor, members[0])
        head = cursor.position
        geometry = Geometry.decode(cursor)
        numel = members[0].numel
        # One byte of the payload for each chunk at least, before anything is allocated for it.
        sizes = [cursor.varint("chunk size", high=len(payload)) for _ in range(0, numel, CHUNK)]
        self.offsets = np.cumsum([cursor.position, *sizes]).tolist()
        self.chunks = geometry.chunks(numel)
        framing = cursor.position - head
        cursor.take(sum(sizes), "chunks")
        cursor.finish("frame")
        self.layout = Layout(head, framing, sum(sizes))

    def _positions(self, numbers: range) -> Iterator[tuple[Chunk, Positions]]:
        for number in numbers:
            data = self.payload[self.offsets[number] : self.offsets[number + 1]]
            with corrupt("mixed chunk"):
                found = kernels.decode_mixed(data, self.chunks[number], self.points.states)
            yield self.chunks[number], found

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode elements start to stop into `out`."""
        for chunk, positions in self._positions(range(start // CHUNK, -(-stop // CHUNK))):
            for at in range(0, chunk.numel, PIECE):
                piece = positions[at : at + PIECE]
                first = chunk.start - start + at
                out[first : first + piece.size] = self.points.values(piece)
        if digests is not None:
            kernels.write_digests(out, digests)

    def describe(self) -> Description:
        """Sizes and entropies of the index stream."""
        counts = np.zeros(2 * REACH + 1, np.int64)
        for _, positions in self._positions(range(len(self.chunks))):
            _count(positions, counts)
            for at in range(0, positions.size, PIECE):
                # Refuses those past a codebook's end.
                self.points.values(positions[at : at + PIECE])
        return describe(self.layout, *self.points.statistics(counts))


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of a payload's parts, in bytes: reconstruction, geometry and sizes, and chunks."""

    points: int
    framing: int
    chunks: int


def describe(layout: Layout, values: AnyArray, counts: npt.NDArray[np.int64]) -> Description:
    """What a frame holds, given its values and how often each occurs."""
    parts = Parts()
    parts.add("codebooks", layout.points)
    parts.add("indices", layout.framing + layout.chunks)
    symbols, entropy = int(counts.sum()), entropy_bits(counts)
    stream = StreamStatistics(
        stream="index",
        symbols=symbols,
        alphabet=int(counts.size),
        fixed_bits=fixed_bits(symbols, int(counts.size)),
        entropy_bits=entropy,
        kl_bits=8 * layout.chunks - entropy,
        table_bits=0,
        framing_bits=8 * layout.framing,
    )
    return Description(
        parts=parts.sizes,
        streams=(stream,),
        levels=(int(values.size),),
        nonzero=(count_nonzero(values, counts),),
        moments=(moments(values, counts),),
    )
