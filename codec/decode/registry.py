"""The table of coders: what reads which frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import VersionError
from ..wire.arrays import MAX_GROUP, MAX_MIXED_GROUP, Member
from . import byte_planes, context_mixing, context_mixing_group, dense, row_classes, sparse, stored
from .frame import FrameDecoder


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
    group_limit : int
        Elements of all members together at most, where there are several.
    digest_bytes : int
        What the index keeps of a member's digest: the lower 8 or 4 bytes.
    """

    name: str
    since: int
    decoder: Callable[[memoryview, Sequence[Member]], FrameDecoder]
    group_limit: int = MAX_GROUP
    digest_bytes: int = 8


CODERS: dict[int, Coder] = {
    stored.CODER: Coder("stored", 1, stored.Decoder),
    byte_planes.CODER: Coder("lossless", 1, byte_planes.Decoder),
    dense.CODER: Coder("huffman-dense", 1, dense.Decoder),
    sparse.CODER: Coder("huffman-sparse", 1, sparse.Decoder),
    row_classes.CODER: Coder("huffman-classes", 1, row_classes.Decoder),
    context_mixing.CODER: Coder("mixed", 1, context_mixing.Decoder),
    context_mixing_group.CODER: Coder(
        "mixed-group", 1, context_mixing_group.Decoder, MAX_MIXED_GROUP, 4
    ),
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
