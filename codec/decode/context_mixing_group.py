"""Context mixing of several tensors as one: what is learned from a tensor serves the next.

A tensor of a few hundred weights ends before adaptive models have learned anything. Here a tiny
network's tensors follow one another in one code, which has one header, checksum and ending.

Payload: of each tensor reconstruction and geometry, then the code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import CorruptError, corrupt
from ..kernels import coding, mixing
from ..kernels.digest import Digests
from ..wire.arrays import MAX_MIXED_GROUP, AnyArray, Member, numel
from ..wire.reconstruction import Geometry, Points, Positions, read_points
from ..wire.varint import Cursor

# Reconstruction: that of the member before; by steps without their lowest byte, which is 0.
AS_BEFORE, SHORT = 7, 8
# The geometry is not that of the shape.
OWN_GEOMETRY = 16


def _read_head(cursor: Cursor, member: Member, before: Points | None) -> tuple[Points, Geometry]:
    """Read what `_encode_head` wrote. Raises CorruptError."""
    flags = cursor.byte("reconstruction")
    if not flags & OWN_GEOMETRY:
        return _read_points(flags, cursor, member, before), Geometry.of(member.shape)
    geometry = Geometry.decode(cursor)
    if geometry.row > member.numel:
        raise CorruptError(f"geometry: rows of {geometry.row} in {member.numel} elements")
    return _read_points(flags & ~OWN_GEOMETRY, cursor, member, before), geometry


def _read_points(kind: int, cursor: Cursor, member: Member, before: Points | None) -> Points:
    if kind == AS_BEFORE and before is not None:
        return before
    if kind < AS_BEFORE:
        return read_points(kind, cursor, member)
    if not SHORT < kind < SHORT | AS_BEFORE:
        raise CorruptError(f"reconstruction: {kind} is none of those there are")
    step = memoryview(b"\0" + cursor.take(3, "half step"))
    return read_points(kind - SHORT, Cursor(step), member)


class Decoder:
    """Decodes a frame of mixed contexts of several tensors; see `FrameDecoder`."""

    unit = MAX_MIXED_GROUP

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        if not all(member.numel for member in members) or numel(members) > MAX_MIXED_GROUP:
            raise CorruptError("mixed contexts of several tensors: one is empty, or all too large")
        cursor = Cursor(payload)
        self.points: list[Points] = []
        self.chunks = []
        for member in members:
            before = self.points[-1] if self.points else None
            points, geometry = _read_head(cursor, member, before)
            self.points.append(points)
            self.chunks.append(geometry.whole(member.numel))
        if len({points.states for points in self.points}) > 1:
            raise CorruptError("reconstruction: trellises of several numbers of states")
        self.head = cursor.position
        self.code = payload[self.head :]

    def positions(self) -> list[Positions]:
        """The positions of each tensor."""
        with corrupt("mixed contexts"):
            found = mixing.decode_mixed_group(self.code, self.chunks, self.points[0].states)
        ends = np.cumsum([chunk.numel for chunk in self.chunks])
        return np.split(found, ends[:-1])

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode all elements into `out`."""
        parts = zip(self.points, self.positions(), strict=True)
        np.concatenate([points.values(part) for points, part in parts], out=out)
        if digests is not None:
            coding.write_digests(out, digests)
