"""Stored: the elements' bytes as they are, little-endian."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dcz.codec import kernels
from dcz.codec.errors import CorruptError
from dcz.codec.frame import (
    AnyArray,
    Description,
    Digests,
    Frame,
    Member,
    Parts,
    count_nonzero,
    numel,
    split,
)

CODER = 0
UNIT = 65536


def encode(arrays: Sequence[AnyArray]) -> Frame:
    """Store one or more flat arrays of one dtype."""
    payload = b"".join(array.tobytes() for array in arrays)
    parts = Parts()
    parts.add("lossless", len(payload))
    nonzero = tuple(count_nonzero(array) for array in arrays)
    return Frame(CODER, payload, Description(parts.sizes, (), (0,) * len(arrays), nonzero))


class Decoder:
    """Reads a stored frame; see `FrameDecoder`."""

    unit = UNIT

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        self.members = members
        self.itemsize = members[0].dtype.itemsize
        expected = numel(members) * self.itemsize
        if len(payload) != expected:
            raise CorruptError(f"stored frame: {len(payload)} bytes for {expected} of tensors")
        self.payload = payload

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Copy elements start to stop into `out`."""
        data = self.payload[start * self.itemsize : stop * self.itemsize]
        out.view(np.uint8)[:] = np.frombuffer(data, np.uint8)
        if digests is not None:
            kernels.write_digests(out, digests)


def describe_stored(frame: Decoder) -> Description:
    """Sizes; stored bytes have no streams."""
    flat = np.empty(numel(frame.members), frame.members[0].dtype)
    frame.decode(0, flat.size, flat)
    parts = Parts()
    parts.add("lossless", len(frame.payload))
    levels = (0,) * len(frame.members)
    return Description(
        parts.sizes,
        (),
        levels,
        tuple(count_nonzero(part) for part in split(flat, frame.members)),
    )
