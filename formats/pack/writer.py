"""Writing the `.dcz` file: frames as they come, then the index. FORMAT.md has the layout.

The writer needs no seeking and keeps nothing but the index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO

from ...codec.encode.frame import Frame
from ...codec.wire.varint import encode_varint
from ..container.container import END_MAGIC, HEADER
from ..container.digest import checksum
from ..container.dtypes import by_numpy
from ..container.index import (
    _FLOAT32,
    _FLOAT64,
    APPROXIMATE,
    COPY,
    EXACT,
    TIED,
    FrameEntry,
    Index,
    TensorEntry,
)
from ..container.metadata import encode_metadata


class ContainerWriter:
    """Writes a file in one pass."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._stream.write(HEADER)
        self.frames: list[FrameEntry] = []

    def add_frame(self, frame: Frame) -> int:
        """Write a frame and return its number."""
        self._stream.write(frame.payload)
        entry = FrameEntry(frame.coder, len(frame.payload), checksum(memoryview(frame.payload)))
        self.frames.append(entry)
        return len(self.frames) - 1

    def finish(self, index: Index) -> None:
        """Write the index, whose frames are those added here, and the trailer."""
        data = encode_index(index)
        length = len(data).to_bytes(4, "little")
        seal = checksum(HEADER, data, length).to_bytes(4, "little")
        self._stream.write(data + length + seal + END_MAGIC)


def encode_index(index: Index) -> bytes:
    """Write an index."""
    out = bytearray(encode_varint(len(index.frames)))
    for frame in index.frames:
        out.append(frame.coder)
        out += encode_varint(frame.length) + frame.checksum.to_bytes(4, "little")
    out += encode_varint(len(index.tensors))
    previous = b""
    numbers = {name: number for number, name in enumerate(index.tensors)}
    for tensor in index.tensors.values():
        name = tensor.info.name.encode()
        out += _encode_name(name, previous) + _encode_tensor(tensor, numbers, index.frames)
        previous = name
    if index.relative_error is not None:
        out += _FLOAT64.pack(index.relative_error)
    return bytes(out) + encode_metadata(index.metadata)


def _encode_name(name: bytes, previous: bytes) -> bytes:
    pairs = enumerate(zip(name, previous, strict=False))
    common = next((i for i, (a, b) in pairs if a != b), min(len(name), len(previous)))
    return encode_varint(common) + encode_varint(len(name) - common) + name[common:]


def _encode_tensor(
    tensor: TensorEntry, numbers: Mapping[str, int], frames: Sequence[FrameEntry]
) -> bytes:
    if tensor.alias_of is not None:
        kind = TIED if tensor.tied else COPY
        return bytes([kind << 6]) + encode_varint(numbers[tensor.alias_of])
    kind = EXACT if tensor.relative_error is None else APPROXIMATE
    out = bytes([kind << 6 | by_numpy(tensor.info.dtype).code])
    out += encode_varint(len(tensor.info.shape))
    out += b"".join(encode_varint(size) for size in tensor.info.shape)
    digest = tensor.digest.to_bytes(8, "little")
    out += encode_varint(tensor.frame) + digest[: frames[tensor.frame].digest_bytes]
    return out + (b"" if tensor.relative_error is None else _FLOAT32.pack(tensor.relative_error))
