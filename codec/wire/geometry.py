"""How a tensor's elements neighbour each other, as frames of mixed contexts hold it."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..errors import CorruptError
from ..kernels.reference.decode import mixing
from ..kernels.reference.decode.mixing import Chunk
from .trellis_states import CHUNK
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
