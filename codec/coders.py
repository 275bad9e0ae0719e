"""The static table of coders, and the choice between them by exact size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dcz.codec import dense, planes, sparse, stored
from dcz.codec.errors import VersionError
from dcz.codec.frame import AnyArray, Frame, FrameDecoder, Member, SharedTensor

PADDING = 64


@dataclass(frozen=True, slots=True)
class Coder:
    """A row of the table of coders.

    Attributes
    ----------
    name : str
        As reports show it.
    since : int
        The first format version that has the coder.
    decoder : callable
        Parses a payload for its members; raises CorruptError.
    """

    name: str
    since: int
    decoder: Callable[[memoryview, Sequence[Member]], FrameDecoder]


CODERS: dict[int, Coder] = {
    stored.CODER: Coder("stored", 1, stored.Decoder),
    planes.CODER: Coder("lossless", 1, planes.Decoder),
    dense.CODER: Coder("huffman-dense", 1, dense.Decoder),
    sparse.CODER: Coder("huffman-sparse", 1, sparse.Decoder),
}


def open_frame(coder: int, payload: memoryview, members: Sequence[Member]) -> FrameDecoder:
    """Parse and validate a frame.

    Raises
    ------
    CorruptError
        If the payload breaks the format.
    VersionError
        If this release does not know the coder.
    """
    if coder not in CODERS:
        raise VersionError(f"coder {coder} is not known to this release")
    return CODERS[coder].decoder(payload, members)


Encode = Callable[[Sequence[SharedTensor]], Frame]


def encode_shared(tensors: Sequence[SharedTensor]) -> Frame:
    """Code shared tensors densely or by gaps, whichever is smaller."""
    if not all(tensor.has_zero for tensor in tensors):
        return dense.encode(tensors)
    candidates: list[Encode] = [dense.encode, sparse.encode]
    if len(tensors) == 1:
        candidates = _worth_trying(tensors[0])
    return smallest([encode(tensors) for encode in candidates])


def _worth_trying(tensor: SharedTensor) -> list[Encode]:
    """Leave out a coder whose size, known but for padding, is beyond the other's."""
    dense_size = dense.size_estimate(tensor)
    zeros = int(np.count_nonzero(tensor.indices == 0))
    padding = PADDING * (1 + tensor.indices.size // dense.BLOCK)
    if sparse.size_bound(tensor, zeros) > dense_size + padding:
        return [dense.encode]
    sparse_size = sparse.size_estimate(tensor)
    if abs(sparse_size - dense_size) <= padding:
        return [dense.encode, sparse.encode]
    return [sparse.encode] if sparse_size < dense_size else [dense.encode]


def encode_lossless(arrays: Sequence[AnyArray]) -> Frame:
    """Code flat arrays of one dtype bit for bit: by byte planes, or stored if that is smaller."""
    return smallest([stored.encode(arrays), planes.encode(arrays)])


def smallest(frames: Sequence[Frame]) -> Frame:
    """The frame with the least bytes; the first of equals, in the order given."""
    return min(frames, key=lambda frame: len(frame.payload))
