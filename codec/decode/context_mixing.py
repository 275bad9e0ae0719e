"""Context mixing: the smallest code there is here, and the slowest.

Positions in the codebook are coded as binary decisions by adaptive models, which learn from the
neighbours of each weight in its row, its column and its kernel; see `kernels.encode_mixed`. There
are no tables: the models begin anew in every chunk of 2**22 weights.

Payload: reconstruction, geometry of the tensor, sizes of the chunks, chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..errors import CorruptError, corrupt
from ..kernels import coding, mixing
from ..kernels.digest import Digests
from ..kernels.reference.decode.mixing import Chunk
from ..wire.arrays import AnyArray, Member
from ..wire.reconstruction import BY_COLUMNS, Geometry, Positions, column_by_column, read_points
from ..wire.trellis_states import CHUNK
from ..wire.varint import Cursor

PIECE = 1 << 16


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
        self.points = column_by_column(points, geometry.row, numel) if self.by_columns else points
        self.unit = numel if self.by_columns else CHUNK
        self.row = geometry.row
        # One byte of the payload for each chunk at least, before anything is allocated for it.
        sizes = [cursor.varint("chunk size", high=len(payload)) for _ in range(0, numel, CHUNK)]
        self.offsets = np.cumsum([cursor.position, *sizes]).tolist()
        self.chunks = geometry.chunks(numel)
        framing = cursor.position - head
        cursor.take(sum(sizes), "chunks")
        cursor.finish("frame")
        # Bytes of the reconstruction, of geometry and sizes, and of the chunks.
        self.sizes = head, framing, sum(sizes)

    def positions(self, numbers: range) -> Iterator[tuple[Chunk, Positions]]:
        """The chunks of these numbers with their positions."""
        for number in numbers:
            data = self.payload[self.offsets[number] : self.offsets[number + 1]]
            with corrupt("mixed chunk"):
                found = mixing.decode_mixed(data, self.chunks[number], self.points.states)
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
            coding.write_digests(out, digests)
