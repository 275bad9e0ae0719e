"""Storing the elements' bytes as they are."""

from __future__ import annotations

from collections.abc import Sequence

from ..report.description import Description, Parts, count_nonzero
from ..wire.arrays import AnyArray
from ..wire.coders import STORED
from .frame import Frame


def encode(arrays: Sequence[AnyArray]) -> Frame:
    """Store one or more flat arrays of one dtype."""
    payload = b"".join(array.tobytes() for array in arrays)
    parts = Parts()
    parts.add("lossless", len(payload))
    nonzero = tuple(count_nonzero(array) for array in arrays)
    return Frame(STORED, payload, Description(parts.sizes, (), (0,) * len(arrays), nonzero))
