"""What frames of mixed contexts hold: the values in use, and how often each occurs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from ..decode import context_mixing, context_mixing_group
from ..entropy import entropy_bits, fixed_bits
from ..errors import CorruptError
from ..wire import trellis_states
from ..wire.arrays import AnyArray, is_floating
from ..wire.codebook import MAX_LEVELS
from ..wire.reconstruction import (
    CELLS,
    REACH,
    CodebookPoints,
    Points,
    Positions,
    RowPoints,
    TrellisPoints,
)
from ..wire.trellis_states import values_at
from .description import Description, Moments, Parts, count_nonzero, is_nonzero, moments
from .streams import StreamStatistics

COUNTED = 1 << 19
Counts = npt.NDArray[np.int64]


@dataclass(slots=True)
class PositionCounts:
    """How often each position occurs, in each class of rows.

    Attributes
    ----------
    cells : int64[used]
        Positions in use, from -REACH on, class after class; ascending.
    times : int64[used]
    """

    cells: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    times: Counts = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, points: Points, positions: Positions, start: int) -> None:
        """Count positions from element `start` of the tensor on.

        Raises CorruptError if more are in use than any encoder gives a tensor.
        """
        for at in range(0, positions.size, COUNTED):
            piece = positions[at : at + COUNTED]
            cells = piece + REACH
            if isinstance(points, RowPoints):
                own = points.class_of(start + at, start + at + piece.size)
                cells += own.astype(np.int32) * CELLS
            self._merge(*np.unique(cells, return_counts=True))

    def _merge(self, cells: AnyArray, times: AnyArray) -> None:
        every = np.concatenate([self.cells, cells])
        self.cells, places = np.unique(every, return_inverse=True)
        if self.cells.size > MAX_LEVELS:
            raise CorruptError(f"steps with {self.cells.size} multiples, over {MAX_LEVELS}")
        before, self.times = self.times, np.zeros(self.cells.size, np.int64)
        np.add.at(self.times, places, np.concatenate([before, times]))


def values_in_use(points: Points, counts: PositionCounts) -> tuple[AnyArray, Counts]:
    """A tensor's values, class by class where rows have steps, and how often each occurs."""
    if isinstance(points, RowPoints):
        number, cell = np.divmod(counts.cells, CELLS)
        steps = points.steps[number].astype(np.float64)
        return trellis_states.values_at(cell - REACH, steps, points.dtype), counts.times
    positions = (counts.cells - REACH).astype(np.int32)
    if isinstance(points, TrellisPoints):
        return points.values(positions), counts.times
    times = np.zeros(points.codebook.size, np.int64)
    times[points.indices(positions)] = counts.times
    return points.codebook, times


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of a payload's parts, in bytes: reconstruction, geometry and sizes, and chunks."""

    points: int
    framing: int
    chunks: int


def describe_layout(layout: Layout, values: AnyArray, counts: npt.NDArray[np.int64]) -> Description:
    """What a frame holds, given its values and how often each occurs."""
    parts = Parts()
    parts.add("codebooks", layout.points)
    parts.add("indices", layout.framing + layout.chunks)
    symbols, entropy = int(counts.sum()), entropy_bits(counts)
    stream = StreamStatistics(
        stream="index",
        symbols=symbols,
        alphabet=int(counts.size),
        fixed_bits=fixed_bits(symbols, int(counts.size)),
        entropy_bits=entropy,
        kl_bits=8 * layout.chunks - entropy,
        table_bits=0,
        framing_bits=8 * layout.framing,
    )
    return Description(
        parts=parts.sizes,
        streams=(stream,),
        levels=(int(values.size),),
        nonzero=(count_nonzero(values, counts),),
        moments=(moments(values, counts),),
    )


def describe_mixed(frame: context_mixing.Decoder) -> Description:
    """Sizes and entropies of the index stream; decodes every symbol."""
    counts = PositionCounts()
    for chunk, positions in frame.positions(range(len(frame.chunks))):
        counts.add(frame.points, positions, chunk.start)
    return describe_layout(Layout(*frame.sizes), *values_in_use(frame.points, counts))


# Of each tensor its values, and how often each occurs.
Counted = list[tuple[AnyArray, AnyArray]]


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


def describe_group(frame: context_mixing_group.Decoder) -> Description:
    """Sizes and entropies of the index stream; decodes every symbol."""
    return describe_tensors(frame.points, frame.positions(), frame.head, len(frame.code))
