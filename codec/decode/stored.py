"""Stored: the elements' bytes as they are, little-endian."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import CorruptError
from ..kernels import coding
from ..kernels.digest import Digests
from ..wire.arrays import AnyArray, Member, numel

UNIT = 65536


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
            coding.write_digests(out, digests)
