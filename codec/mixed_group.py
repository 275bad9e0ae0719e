"""Context mixing of several tensors as one: what is learned from a tensor serves the next.

A tensor of a few hundred weights ends before adaptive models have learned anything. Here a tiny
network's tensors follow one another in one code, which has one header, checksum and ending.

Payload: of each tensor reconstruction and geometry, then the code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import accumulate, pairwise

import numpy as np

from dcz.codec import kernels, mixed
from dcz.codec.entropy import StreamStatistics, fixed_bits
from dcz.codec.errors import CorruptError, corrupt
from dcz.codec.frame import (
    MAX_MIXED_GROUP,
    AnyArray,
    Description,
    Digests,
    Frame,
    Member,
    Moments,
    Parts,
    SharedTensor,
    is_floating,
    is_nonzero,
    moments,
    numel,
)
from dcz.codec.mixed import Geometry
from dcz.codec.mixed_points import (
    CELLS,
    REACH,
    CodebookPoints,
    Points,
    Positions,
    TrellisPoints,
    read_points,
)
from dcz.codec.tiny import TinyTensor
from dcz.codec.trellis import TrellisTensor, values_at
from dcz.codec.varint import Cursor

CODER = 7
# Reconstruction: that of the member before; by steps without their lowest byte, which is 0.
AS_BEFORE, SHORT = 7, 8
# The geometry is not that of the shape.
OWN_GEOMETRY = 16
# Multiples of a step between the least and the greatest value, for each value.
SPREAD = 64
# Lengths of the lines of pixels, or the maps of filters, that rows of a matrix may consist of.
LONGEST_KERNEL = 64
# A geometry of its own takes up to five bytes.
LEAST_GAIN = 6

# Of each tensor its values, and how often each occurs.
Counted = list[tuple[AnyArray, AnyArray]]


def states_of(tensor: SharedTensor | TinyTensor) -> int:
    """States of a tensor's trellis, 1 without one: those of a group are equal."""
    return tensor.states if isinstance(tensor, TrellisTensor) else 1


def encode(
    tensors: Sequence[SharedTensor | TinyTensor], shapes: Sequence[tuple[int, ...]]
) -> Frame:
    """Code shared tensors together.

    Parameters
    ----------
    tensors : sequence of SharedTensor or TinyTensor
        Of one dtype and equal `states_of`, with 1 to `MAX_MIXED_GROUP` elements together, and none
        of them empty.
    shapes : sequence of tuple of int
    """
    states = states_of(tensors[0])
    head = bytearray()
    before = None
    points, positions, chunks = [], [], []
    for tensor, shape in zip(tensors, shapes, strict=True):
        own, places = mixed.locate(tensor, SPREAD)
        searched = states == 1 and not isinstance(tensor, TinyTensor)
        geometry = _best_geometry(places, shape) if searched else Geometry.of(shape)
        head += _encode_head(own, before, geometry, shape)
        before = own
        points.append(own)
        positions.append(places)
        chunks.append(geometry.whole(places.size))
    code = kernels.encode_mixed_group(np.concatenate(positions), chunks, states)
    described = partial(describe_tensors, points, positions, len(head), len(code))
    return Frame(CODER, bytes(head) + code, described)


def _best_geometry(positions: Positions, shape: tuple[int, ...]) -> Geometry:
    """The shape's, or for a matrix one that finds the pixels or maps in its flattened rows."""
    plain = Geometry.of(shape)
    kernels_of_it = range(2, min(plain.row // 2, LONGEST_KERNEL) + 1) if plain.kernel == 1 else ()
    if not positions.any():
        return plain
    divisors = [kernel for kernel in kernels_of_it if plain.row % kernel == 0]
    others = [Geometry(plain.row, kernel, 1) for kernel in divisors]
    sizes = {
        geometry: len(kernels.encode_mixed_group(positions, [geometry.whole(positions.size)], 1))
        for geometry in [plain, *others]
    }
    best = min(sizes, key=lambda geometry: sizes[geometry])
    return best if sizes[best] + LEAST_GAIN <= sizes[plain] else plain


def _encode_head(
    points: Points, before: Points | None, geometry: Geometry, shape: tuple[int, ...]
) -> bytes:
    coded = points.encode()
    if before is not None and coded == before.encode():
        coded = bytes([AS_BEFORE])
    elif isinstance(points, TrellisPoints) and coded[1] == 0:
        coded = bytes([coded[0] | SHORT]) + coded[2:]
    if geometry == Geometry.of(shape):
        return coded
    return bytes([coded[0] | OWN_GEOMETRY]) + geometry.encode() + coded[1:]


def _read_head(cursor: Cursor, member: Member, before: Points | None) -> tuple[Points, Geometry]:
    """Read what `_encode_head` wrote. Raises CorruptError."""
    flags = cursor.byte("reconstruction")
    if not flags & OWN_GEOMETRY:
        return _read_points(flags, cursor, member, before), Geometry.of(member.shape)
    geometry = Geometry.decode(cursor)
    if geometry.row > member.numel:
        raise CorruptError(f"geometry: rows of {geometry.row} in {member.numel} elements")
    return _read_points(flags & ~OWN_GEOMETRY, cursor, member, before), geometry


def _read_points(kind: int, cursor: Cursor, member: Member, before: Points | None) -> Points:
    if kind == AS_BEFORE and before is not None:
        return before
    if kind < AS_BEFORE:
        return read_points(kind, cursor, member)
    if not SHORT < kind < SHORT | AS_BEFORE:
        raise CorruptError(f"reconstruction: {kind} is none of those there are")
    step = memoryview(b"\0" + cursor.take(3, "half step"))
    return read_points(kind - SHORT, Cursor(step), member)


class Decoder:
    """Decodes a frame of mixed contexts of several tensors; see `FrameDecoder`."""

    unit = MAX_MIXED_GROUP

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        if not all(member.numel for member in members) or numel(members) > MAX_MIXED_GROUP:
            raise CorruptError("mixed contexts of several tensors: one is empty, or all too large")
        cursor = Cursor(payload)
        self.points: list[Points] = []
        self.chunks = []
        for member in members:
            before = self.points[-1] if self.points else None
            points, geometry = _read_head(cursor, member, before)
            self.points.append(points)
            self.chunks.append(geometry.whole(member.numel))
        if len({points.states for points in self.points}) > 1:
            raise CorruptError("reconstruction: trellises of several numbers of states")
        self.head = cursor.position
        self.code = payload[self.head :]

    def positions(self) -> list[Positions]:
        """The positions of each tensor."""
        with corrupt("mixed contexts"):
            found = kernels.decode_mixed_group(self.code, self.chunks, self.points[0].states)
        ends = np.cumsum([chunk.numel for chunk in self.chunks])
        return np.split(found, ends[:-1])

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode all elements into `out`."""
        parts = zip(self.points, self.positions(), strict=True)
        np.concatenate([points.values(part) for points, part in parts], out=out)
        if digests is not None:
            kernels.write_digests(out, digests)


def describe_tensors(
    points: Sequence[Points], positions: Sequence[Positions], head: int, code: int
) -> Description:
    """What a frame holds: `head` and `code` in bytes, and the positions of each tensor."""
    parts = Parts()
    parts.add("codebooks", head)
    parts.add("indices", code)
    counted = _count_each(points, positions)
    entropy = math.fsum(_entropies(counted))
    stream = StreamStatistics(
        stream="index",
        symbols=sum(part.size for part in positions),
        alphabet=max(values.size for values, _ in counted),
        fixed_bits=sum(
            fixed_bits(part.size, values.size)
            for part, (values, _) in zip(positions, counted, strict=True)
        ),
        entropy_bits=entropy,
        kl_bits=8 * code - entropy,
        table_bits=0,
        framing_bits=0,
    )
    return Description(
        parts=parts.sizes,
        streams=(stream,),
        levels=tuple(int(values.size) for values, _ in counted),
        nonzero=_nonzero(counted),
        moments=_moments(counted),
    )


def _starts(counted: Counted) -> list[int]:
    return list(accumulate((values.size for values, _ in counted), initial=0))


def _entropies(counted: Counted) -> list[float]:
    """Of each tensor's positions, in bits."""
    starts = _starts(counted)
    counts = np.concatenate([own for _, own in counted])
    totals = np.add.reduceat(counts, starts[:-1])
    logs = np.log2(np.repeat(totals, np.diff(starts))) - np.log2(np.maximum(counts, 1))
    bits: list[float] = np.add.reduceat(counts * logs, starts[:-1]).tolist()
    return bits


def _nonzero(counted: Counted) -> tuple[int, ...]:
    """Elements of each tensor that are not zero."""
    values = np.concatenate([own for own, _ in counted])
    counts = np.concatenate([own for _, own in counted])
    found = np.add.reduceat(counts * is_nonzero(values), _starts(counted)[:-1])
    return tuple(found.tolist())


def _moments(counted: Counted) -> tuple[Moments | None, ...]:
    """Moments of each tensor, as `frame.moments` has them."""
    values = np.concatenate([own for own, _ in counted])
    times = np.concatenate([own for _, own in counted]).astype(np.float64)
    with np.errstate(all="ignore"):  # then each is looked at by itself
        first = times * values.astype(np.float64)
        second = first * values.astype(np.float64)
        ordinary = is_floating(values.dtype) and float(np.sum(second)) < np.inf
    if not ordinary:
        return tuple(moments(*own) for own in counted)
    terms = first.tolist(), second.tolist()
    return tuple(
        Moments(*(math.fsum(each[i:j]) for each in terms)) for i, j in pairwise(_starts(counted))
    )


def _count_each(points: Sequence[Points], positions: Sequence[Positions]) -> Counted:
    """Each tensor's values, and how often each occurs."""
    stepped = [own for own in points if isinstance(own, TrellisPoints)]
    if len(stepped) < len(points):
        return [_count(*pair) for pair in zip(points, positions, strict=True)]
    # Many may be tiny: they are counted all at once.
    sizes = [part.size for part in positions]
    members = np.repeat(np.arange(len(sizes)), sizes)
    keys = members * CELLS + (np.concatenate(positions) + REACH)
    used, counts = np.unique(keys, return_counts=True)
    member, cell = np.divmod(used, CELLS)
    steps = np.array([own.step for own in stepped])
    values = values_at(cell - REACH, steps[member], stepped[0].dtype)
    ends = np.cumsum(np.bincount(member, minlength=len(sizes))).tolist()
    return [(values[i:j], counts[i:j]) for i, j in pairwise([0, *ends])]


def _count(points: Points, positions: Positions) -> tuple[AnyArray, AnyArray]:
    """A tensor's values, and how often each occurs."""
    used, counts = np.unique(positions, return_counts=True)
    if not isinstance(points, CodebookPoints):
        return points.values(used), counts
    every = np.zeros(points.codebook.size, np.int64)
    every[points.indices(used)] = counts
    return points.codebook, every


def describe_group(frame: Decoder) -> Description:
    """Sizes and entropies of the index stream; decodes every symbol."""
    return describe_tensors(frame.points, frame.positions(), frame.head, len(frame.code))
