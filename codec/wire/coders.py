"""The coders that a frame may have, by the numbers that stand for them in a file."""

from __future__ import annotations

from typing import NamedTuple

from .arrays import MAX_GROUP, MAX_MIXED_GROUP

STORED, BYTE_PLANES, DENSE, SPARSE, ROW_CLASSES, MIXING, MIXING_GROUP = 0, 1, 2, 3, 4, 6, 7


class Coder(NamedTuple):
    """A row of the table of coders.

    Attributes
    ----------
    name : str
        As reports show it.
    module : str
        Of the folder `decode`: reads the coder's frames.
    since : int
        The first format version that has the coder.
    group_limit : int
        Elements of all members together at most, where there are several.
    digest_bytes : int
        What the index keeps of a member's digest: the lower 8 or 4 bytes.
    """

    name: str
    module: str
    since: int = 1
    group_limit: int = MAX_GROUP
    digest_bytes: int = 8


CODERS = {
    STORED: Coder("stored", "stored"),
    BYTE_PLANES: Coder("lossless", "byte_planes"),
    DENSE: Coder("huffman-dense", "dense"),
    SPARSE: Coder("huffman-sparse", "sparse"),
    ROW_CLASSES: Coder("huffman-classes", "row_classes"),
    MIXING: Coder("mixed", "context_mixing"),
    MIXING_GROUP: Coder("mixed-group", "context_mixing_group", 1, MAX_MIXED_GROUP, 4),
}
