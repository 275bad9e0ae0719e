"""The `.dcz` file as it is read: header, frames, index, trailer. FORMAT.md has the layout.

The trailer and the index are looked at first, frames only when their tensors are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...codec.decode.registry import open_frame
from ...codec.errors import ChecksumError, CorruptError, LimitError, TruncatedError, VersionError
from ...codec.wire.arrays import Member, numel
from ...codec.wire.coders import CODERS
from .digest import checksum
from .index import FrameEntry, decode_index
from .limits import Budget, DecodeLimits

if TYPE_CHECKING:
    from ...codec.decode.frame import FrameDecoder

MAGIC = b"\x89DCZ\r\n\x1a"
VERSION = 1
HEADER = MAGIC + bytes([VERSION])
END_MAGIC = b"ZCD\x1a"
TRAILER_BYTES = 12


class Container:
    """A parsed file.

    Attributes
    ----------
    index : Index
    size, index_bytes : int
        Of the file and of its index.
    """

    def __init__(self, data: memoryview, limits: DecodeLimits) -> None:
        """Read header, trailer and index.

        Raises
        ------
        CorruptError
            If the file breaks the format; TruncatedError and ChecksumError are its kinds.
        VersionError
            If it needs a newer release.
        LimitError
            If it declares more than `limits` allow.
        """
        _check_header(data)
        index_start, index_data = _find_index(data, limits)
        self.index = decode_index(index_data, limits, Budget(len(data) + limits.index_memory))
        self.size = len(data)
        self.index_bytes = len(index_data)
        self._payloads = _cut(data[len(HEADER) : index_start], self.index.frames)
        self._members: list[list[Member]] = [[] for _ in self.index.frames]
        for tensor in self.index.tensors.values():
            if tensor.alias_of is None:
                member = Member(np.dtype(tensor.info.dtype), tensor.info.numel, tensor.info.shape)
                self._members[tensor.frame].append(member)
        for number, members in enumerate(self._members):
            limit = CODERS[self.index.frames[number].coder].group_limit
            if len(members) > 1 and numel(members) > limit:
                raise CorruptError(f"frame {number}: too large for a frame of several tensors")

    def members(self, frame: int) -> Sequence[Member]:
        """The members of a frame."""
        return self._members[frame]

    def open_frame(self, frame: int) -> FrameDecoder:
        """Check a frame's checksum and parse it. Raises ChecksumError, CorruptError."""
        entry = self.index.frames[frame]
        payload = self._payloads[frame]
        if checksum(payload) != entry.checksum:
            raise ChecksumError(f"frame {frame}: checksum does not match")
        return open_frame(entry.coder, payload, self._members[frame])

    def coder_name(self, frame: int) -> str:
        """What reports call the coder of a frame."""
        return CODERS[self.index.frames[frame].coder].name


def _check_header(data: memoryview) -> None:
    start = bytes(data[: len(MAGIC)])
    if start != MAGIC:
        if MAGIC.startswith(start):
            raise TruncatedError("the file ends within its header")
        raise CorruptError("not a .dcz file: it starts with other bytes")
    if len(data) < len(HEADER) + TRAILER_BYTES:
        raise TruncatedError("the file is shorter than its header and trailer")
    version = data[len(MAGIC)]
    if version == 0:
        raise CorruptError("format version 0 does not exist")
    if version > VERSION:
        raise VersionError(
            f"the file needs a release that reads format version {version}, "
            f"this one reads up to {VERSION}"
        )


def _find_index(data: memoryview, limits: DecodeLimits) -> tuple[int, memoryview]:
    if bytes(data[-len(END_MAGIC) :]) != END_MAGIC:
        raise TruncatedError("the end mark is missing: the file is cut off or was added to")
    trailer = len(data) - TRAILER_BYTES
    length = int.from_bytes(data[trailer : trailer + 4], "little")
    seal = int.from_bytes(data[trailer + 4 : trailer + 8], "little")
    start = trailer - length
    if start < len(HEADER):
        raise CorruptError(f"index length: {length} bytes do not fit in the file")
    if length > limits.index_bytes:
        raise LimitError(f"index of {length} bytes is over the limit of {limits.index_bytes}")
    if checksum(data[: len(HEADER)], data[start : trailer + 4]) != seal:
        raise ChecksumError("index: checksum does not match")
    return start, data[start:trailer]


def _cut(body: memoryview, frames: Sequence[FrameEntry]) -> list[memoryview]:
    """Frames stand back to back and fill the space before the index exactly."""
    payloads = []
    position = 0
    for number, frame in enumerate(frames):
        if frame.length > len(body) - position:
            raise CorruptError(f"frame {number}: {frame.length} bytes do not fit in the file")
        payloads.append(body[position : position + frame.length])
        position += frame.length
    if position != len(body):
        raise CorruptError(f"{len(body) - position} bytes before the index belong to no frame")
    return payloads
