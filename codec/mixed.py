"""Context mixing: the smallest code there is here, and the slowest.

Positions in the codebook are coded as binary decisions by adaptive models, which learn from the
neighbours of each weight in its row, its column and its kernel; see `kernels.encode_mixed`. There
are no tables: the models begin anew in every chunk of 2**22 weights.

Payload: reconstruction, geometry of the tensor, sizes of the chunks, chunks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcz.codec import kernels, multiples
from dcz.codec.column_trellis import ColumnRowTrellisTensor, ColumnTrellisTensor
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
from dcz.codec.mixed_points import (
    BY_COLUMNS,
    CodebookPoints,
    Points,
    PositionCounts,
    Positions,
    RowPoints,
    TrellisPoints,
    read_points,
    values_in_use,
)
from dcz.codec.row_trellis import RowTrellisTensor
from dcz.codec.tiny import TinyTensor
from dcz.codec.trellis import CHUNK, TrellisTensor
from dcz.codec.varint import Cursor, encode_varint

CODER = 6
PIECE = 1 << 16


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


def codable(tensor: SharedTensor) -> bool:
    """Whether a tensor is within what this coder can hold: some elements, some levels."""
    return tensor.indices.size > 0 and tensor.codebook.size > 0


def encode(tensor: SharedTensor, shape: tuple[int, ...]) -> Frame:
    """Code one shared tensor.

    Parameters
    ----------
    tensor : SharedTensor
        With at least one element; one that a trellis shares keeps its steps.
    shape : tuple of int
        Of the tensor.
    """
    points, positions = locate(tensor, multiples.SPREAD)
    geometry, head = Geometry.of(shape), points.encode()
    if isinstance(tensor, ColumnTrellisTensor | ColumnRowTrellisTensor):
        positions, geometry = tensor.positions_by_columns, Geometry(tensor.rows, 1, 1)
        head = bytes([head[0] | BY_COLUMNS]) + head[1:]
        points = _by_columns(points, tensor.rows, positions.size)
    coded = [
        kernels.encode_mixed(positions[c.start : c.start + c.numel], c, points.states)
        for c in geometry.chunks(positions.size)
    ]
    framing = geometry.encode() + b"".join(encode_varint(len(data)) for data in coded)
    layout = Layout(len(head), len(framing), sum(len(data) for data in coded))
    counts = PositionCounts()
    counts.add(points, positions, 0)
    return Frame(
        CODER,
        b"".join([head, framing, *coded]),
        describe_layout(layout, *values_in_use(points, counts)),
    )


def _by_columns(points: Points, row: int, numel: int) -> Points:
    """The points where positions come column by column."""
    return points.by_columns(row, numel) if isinstance(points, RowPoints) else points


def locate(tensor: SharedTensor | TinyTensor, spread: int) -> tuple[Points, Positions]:
    """A tensor's points, and the position of each element; see `multiples.find` for `spread`."""
    if isinstance(tensor, TinyTensor):
        return TrellisPoints(tensor.step, 1, tensor.dtype), tensor.positions
    if isinstance(tensor, TrellisTensor):
        points = TrellisPoints(tensor.step, tensor.states, tensor.codebook.dtype)
        return points, tensor.positions
    if isinstance(tensor, RowTrellisTensor):
        dtype = tensor.codebook.dtype
        return RowPoints(tensor.steps, tensor.runs, tensor.states, dtype), tensor.positions
    book = tensor.codebook
    found = multiples.find(book, spread)
    if found is not None:
        return TrellisPoints(found[0], 1, book.dtype), found[1][tensor.indices]
    by_value = book.astype(np.float64) if is_floating(book.dtype) else book
    order = np.argsort(by_value, kind="stable")
    zero = int(np.argmin(np.abs(by_value[order])))
    places = 2 * (np.argsort(order) - zero).astype(np.int32)
    return CodebookPoints(book[order], zero), places[tensor.indices]


class Decoder:
    """Decodes a frame of mixed contexts; see `FrameDecoder`."""

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        cursor = Cursor(payload)
        if len(members) != 1 or members[0].numel == 0:
            raise CorruptError("a frame of mixed contexts has one tensor, which is not empty")
        self.payload = payload
        numel = members[0].numel
        kind = cursor.byte("reconstruction")
        self.by_columns = bool(kind & BY_COLUMNS)
        points = read_points(kind, cursor, members[0])
        head = cursor.position
        geometry = Geometry.decode(cursor)
        if self.by_columns and numel % geometry.row:
            raise CorruptError(f"geometry: columns of {geometry.row} in {numel} elements")
        self.points = _by_columns(points, geometry.row, numel) if self.by_columns else points
        self.unit = numel if self.by_columns else CHUNK
        self.row = geometry.row
        # One byte of the payload for each chunk at least, before anything is allocated for it.
        sizes = [cursor.varint("chunk size", high=len(payload)) for _ in range(0, numel, CHUNK)]
        self.offsets = np.cumsum([cursor.position, *sizes]).tolist()
        self.chunks = geometry.chunks(numel)
        framing = cursor.position - head
        cursor.take(sum(sizes), "chunks")
        cursor.finish("frame")
        self.layout = Layout(head, framing, sum(sizes))

    def positions(self, numbers: range) -> Iterator[tuple[Chunk, Positions]]:
        """The chunks of these numbers with their positions."""
        for number in numbers:
            data = self.payload[self.offsets[number] : self.offsets[number + 1]]
            with corrupt("mixed chunk"):
                found = kernels.decode_mixed(data, self.chunks[number], self.points.states)
            yield self.chunks[number], found

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode elements start to stop into `out`."""
        target = out.reshape(self.row, -1).T.flat if self.by_columns else out
        for chunk, positions in self.positions(range(start // CHUNK, -(-stop // CHUNK))):
            for at in range(0, chunk.numel, PIECE):
                piece = positions[at : at + PIECE]
                first = chunk.start + at
                values = self.points.values(piece, first)
                target[first - start : first - start + piece.size] = values
        if digests is not None:
            kernels.write_digests(out, digests)


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of a payload's parts, in bytes: reconstruction, geometry and sizes, and chunks."""

    points: int
    framing: int
    chunks: int


def describe_layout(layout: Layout, values: AnyArray, counts: npt.NDArray[np.int64]) -> Description:
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


def describe_mixed(frame: Decoder) -> Description:
    """Sizes and entropies of the index stream; decodes every symbol."""
    counts = PositionCounts()
    for chunk, positions in frame.positions(range(len(frame.chunks))):
        counts.add(frame.points, positions, chunk.start)
    return describe_layout(frame.layout, *values_in_use(frame.points, counts))
