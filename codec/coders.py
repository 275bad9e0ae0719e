"""The static table of coders, and the choice between them by exact size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dcz.codec import classes, dense, kernels, mixed, mixed_group, planes, sparse, stored
from dcz.codec.codebook import moments_of, nonzero_of
from dcz.codec.entropy import log2
from dcz.codec.errors import VersionError
from dcz.codec.frame import (
    MAX_GROUP,
    MAX_MIXED_GROUP,
    AnyArray,
    Frame,
    FrameDecoder,
    Member,
    SharedTensor,
    is_floating,
    patterns,
)
from dcz.codec.row_trellis import RowTrellisTensor
from dcz.codec.trellis import TrellisTensor

PADDING = 64
# Where a few bytes of a frame's head may decide, all that can code a tensor is tried.
SMALL = 4096
VARIED_SAMPLE = 1 << 14
# In hundredths of a bit.
HALF_NAT = 72
# A codebook is worth the time to find it if it saves at least this part of the planes' bytes.
WORTH = 64


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
    planes.CODER: Coder("lossless", 1, planes.Decoder),
    dense.CODER: Coder("huffman-dense", 1, dense.Decoder),
    sparse.CODER: Coder("huffman-sparse", 1, sparse.Decoder),
    classes.CODER: Coder("huffman-classes", 1, classes.Decoder),
    mixed.CODER: Coder("mixed", 1, mixed.Decoder),
    mixed_group.CODER: Coder("mixed-group", 1, mixed_group.Decoder, MAX_MIXED_GROUP, 4),
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


def encode(tensor: SharedTensor, shape: tuple[int, ...], coder: str = "auto") -> Frame:
    """Code one shared tensor.

    Parameters
    ----------
    tensor : SharedTensor
        A `GridTensor` keeps the classes and the compact codebook of its quantizer; one that a
        trellis shares keeps its steps, which only ``mixed`` knows.
    shape : tuple of int
        Of the tensor, whose rows are put into classes.
    coder : {"huffman", "auto", "mixed"}
        ``huffman`` has one Huffman code for single indices, as Deep Compression has; ``auto`` may
        use codes for pairs of indices and for classes of rows, where these are smaller. Pairs
        decode as fast as single indices; classes of rows, which take longer, are chosen only
        where they save one part in `runs.CLASS_PRICE`. ``mixed`` mixes contexts: the smallest code
        and by far the slowest.

    Raises
    ------
    ValueError
        For another coder.
    """
    if coder not in ("huffman", "auto", "mixed"):
        raise ValueError(f"coder {coder!r} is none of 'huffman', 'auto' and 'mixed'")
    if coder == "mixed" and mixed.codable(tensor):
        frame = mixed.encode(tensor, shape)
        if isinstance(tensor, TrellisTensor | RowTrellisTensor):
            return frame
        return smallest([frame, _encode_by_tables(tensor, shape)])
    return encode_shared([tensor]) if coder == "huffman" else _encode_by_tables(tensor, shape)


def _encode_by_tables(tensor: SharedTensor, shape: tuple[int, ...]) -> Frame:
    """The smallest of what static codes give: by classes, by gaps and dense."""
    if not classes.codable(tensor):
        return encode_shared([tensor])
    frame = classes.encode(tensor, shape)
    by_gaps = _zero_first(tensor)
    if not by_gaps.has_zero and not 0 < frame.least_dense < len(frame.payload):
        return frame
    if not by_gaps.has_zero and tensor.indices.size > SMALL:
        return frame
    return smallest([frame, encode_shared([by_gaps])])


def _zero_first(tensor: SharedTensor) -> SharedTensor:
    """The tensor with zero as entry 0 of its codebook, if most of it is zero: to code gaps."""
    zeros = np.flatnonzero(patterns(tensor.codebook) == 0)
    if tensor.has_zero or zeros.size != 1:
        return tensor
    zero, levels = int(zeros[0]), tensor.codebook.size
    if 2 * int(np.count_nonzero(tensor.indices == zero)) < tensor.indices.size:
        return tensor
    order = np.concatenate(([zero], np.delete(np.arange(levels), zero)))
    place = np.argsort(order).astype(tensor.indices.dtype)
    return SharedTensor(place[tensor.indices], tensor.codebook[order], True)


def encode_shared(tensors: Sequence[SharedTensor]) -> Frame:
    """Code shared tensors densely or by gaps, whichever is smaller.

    Sizes are known before any bit is written, but for padding: only where that could decide are
    both written.
    """
    first = dense.draft(tensors)
    if not all(tensor.has_zero for tensor in tensors):
        return first.encode()
    padding = PADDING * (1 + sum(tensor.indices.size for tensor in tensors) // dense.BLOCK)
    if sparse.size_bound(first.streams[0].counts) > first.size + padding:
        return first.encode()
    held = nonzero_of(tensors, first.streams), moments_of(tensors, first.streams)
    second = sparse.draft(tensors, *held)
    if abs(first.size - second.size) <= padding:
        return smallest([first.encode(), second.encode()])
    return second.encode() if second.size < first.size else first.encode()


def encode_lossless(arrays: Sequence[AnyArray]) -> Frame:
    """Code flat arrays of one dtype bit for bit: by byte planes, or stored if that is smaller."""
    frame = planes.encode(arrays)
    if len(frame.payload) < sum(array.nbytes for array in arrays):
        return frame
    return stored.encode(arrays)


def is_too_varied(array: AnyArray) -> bool:
    """Whether a large tensor of 16-bit floats has too many values for a codebook to be worth it.

    Told from a sample: a codebook holds the sample's values at least, and its indices take their
    joint entropy; byte planes take the entropies of the bytes. What the sample's own entropy is too
    low by is added (Miller 1955): half a nat for each value.
    """
    if not is_floating(array.dtype) or array.dtype.itemsize != 2 or array.size < VARIED_SAMPLE:
        return False
    sample = array[:VARIED_SAMPLE]
    planes = [kernels.count_bytes(plane) for plane in kernels.split_planes(sample, rotated=True)]
    words = np.sort(patterns(sample), kind="stable")
    ends = np.flatnonzero(words[1:] != words[:-1])
    counts = np.diff(ends, prepend=-1, append=words.size - 1)
    apart, joint = _entropies(np.concatenate(planes), counts)
    codebook = 16 * counts.size * sample.size // array.size
    unseen = HALF_NAT * counts.size // 100
    return WORTH * (joint + unseen + codebook) >= (WORTH - 1) * apart


def _entropies(*counts: AnyArray) -> list[int]:
    """Order-0 entropies of a sample's symbols in whole bits, equal on every machine.

    Counts add up to the sample's size, or to a multiple of it: bytes of several planes are apart.
    """
    ends = np.cumsum([each.size for each in counts])
    each = np.concatenate(counts)
    bits = each * (log2(VARIED_SAMPLE) - log2(np.maximum(each, 1)))
    parts = np.split(np.rint(64 * bits).astype(np.int64), ends[:-1])
    return [int(part.sum()) // 64 for part in parts]


def smallest(frames: Sequence[Frame]) -> Frame:
    """The frame with the least bytes; the first of equals, in the order given."""
    return min(frames, key=lambda frame: len(frame.payload))
