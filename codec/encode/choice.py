"""The choice between coders, by exact size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..decode import dense
from ..entropy import log2
from ..kernels import planes as kernels
from ..share.shared_tensor import SharedTensor
from ..share.trellis.per_row import RowTrellisTensor
from ..share.trellis.quantize import TrellisTensor
from ..wire.arrays import AnyArray, is_floating, patterns
from . import byte_planes, context_mixing, row_classes, sparse, stored
from . import dense as encode_dense
from .dense import moments_of, nonzero_of
from .frame import Frame

PADDING = 64
# Where a few bytes of a frame's head may decide, all that can code a tensor is tried.
SMALL = 4096
VARIED_SAMPLE = 1 << 14
# In hundredths of a bit.
HALF_NAT = 72
# A codebook is worth the time to find it if it saves at least this part of the planes' bytes.
WORTH = 64


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
    if coder == "mixed" and context_mixing.codable(tensor):
        frame = context_mixing.encode(tensor, shape)
        if isinstance(tensor, TrellisTensor | RowTrellisTensor):
            return frame
        return smallest([frame, _encode_by_tables(tensor, shape)])
    return encode_shared([tensor]) if coder == "huffman" else _encode_by_tables(tensor, shape)


def _encode_by_tables(tensor: SharedTensor, shape: tuple[int, ...]) -> Frame:
    """The smallest of what static codes give: by classes, by gaps and dense."""
    if not row_classes.codable(tensor):
        return encode_shared([tensor])
    frame = row_classes.encode(tensor, shape)
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
    first = encode_dense.draft(tensors)
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
    frame = byte_planes.encode(arrays)
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
