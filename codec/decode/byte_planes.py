"""Lossless coding by byte planes, for whatever must come back bit for bit.

The bytes of equal significance of all elements form a plane; floating-point numbers are rotated by
one bit first, so that the exponent fills a plane of its own. `plane_methods` codes the planes of
each chunk.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CorruptError
from ..kernels import coding, planes
from ..kernels.digest import Digests
from ..wire.arrays import AnyArray, Member, numel
from ..wire.varint import Cursor
from .plane_methods import decode_planes, read_planes

CHUNK = 1 << 18

PLAIN, ROTATED = range(2)


class Decoder:
    """Decodes a frame of byte planes; see `FrameDecoder`."""

    unit = CHUNK

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        cursor = Cursor(payload)
        self.members = members
        self.size = len(payload)
        itemsize = members[0].dtype.itemsize
        transform = cursor.byte("plane transform")
        if transform not in (PLAIN, ROTATED) or (
            transform == ROTATED and itemsize not in (2, 4, 8)
        ):
            raise CorruptError(f"plane transform {transform} is unknown")
        self.rotated = transform == ROTATED
        total = numel(members)
        self.chunks = [
            read_planes(cursor, itemsize, min(CHUNK, total - start))
            for start in range(0, total, CHUNK)
        ]
        cursor.finish("frame")

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode elements start to stop into `out`."""
        for number in range(start // CHUNK, -(-stop // CHUNK)):
            first = number * CHUNK
            chunk = out[first - start : min(first + CHUNK, stop) - start]
            planes.join_planes(decode_planes(self.chunks[number]), chunk, rotated=self.rotated)
        if digests is not None:
            coding.write_digests(out, digests)
