"""What a frame holds: where its bytes are, its streams, and the moments of its tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

from ..wire.arrays import AnyArray, is_floating, patterns
from .streams import StreamStatistics

# Dtypes whose only zeros are a word without bits and one with nothing but the sign.
_SIGNED_ZEROS = {np.dtype(t) for t in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)}
_PIECE = 1 << 16

PARTS = ("indices", "gaps", "tables", "codebooks", "lossless")


@dataclass(frozen=True, slots=True)
class Moments:
    """What a decoded tensor's variance follows from: the sum of its weights, and of their squares.

    Both are rounded once, so that packing and reading agree to the last bit.
    """

    total: float
    energy: float


@dataclass(frozen=True, slots=True)
class Description:
    """Where a frame's bytes are and what its tensors hold.

    Attributes
    ----------
    parts : mapping from each of `PARTS` to bytes
        Adds up to the payload's size.
    streams : tuple of StreamStatistics
    levels, nonzero : tuple of int, one for each member
        Codebook entries that can occur (0 where there is no codebook), and non-zero elements.
    moments : tuple of Moments or None, one for each member, or empty
        None where there is no codebook, or where it has no finite moments.
    """

    parts: Mapping[str, int]
    streams: tuple[StreamStatistics, ...]
    levels: tuple[int, ...]
    nonzero: tuple[int, ...]
    moments: tuple[Moments | None, ...] = ()


Described = Description | Callable[[], Description]


def description_of(described: Described) -> Description:
    """The description, made if it has to be."""
    return described if isinstance(described, Description) else described()


@dataclass(slots=True)
class Parts:
    """Counts a payload's bytes by what they are for."""

    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))

    def add(self, part: str, size: int) -> None:
        """Count `size` more bytes for `part`."""
        self.sizes[part] += size


def count_nonzero(values: AnyArray, counts: AnyArray | None = None) -> int:
    """How many elements are not zero; given `counts`, how often each value occurs."""
    if counts is None:
        if values.size <= _PIECE:
            return int(np.count_nonzero(is_nonzero(values)))
        pieces = (values[i : i + _PIECE] for i in range(0, values.size, _PIECE))
        return sum(int(np.count_nonzero(is_nonzero(piece))) for piece in pieces)
    return int(np.sum(counts[is_nonzero(values)]))


def is_nonzero(values: AnyArray) -> AnyArray:
    """Which elements are not zero of either sign."""
    if values.dtype in _SIGNED_ZEROS:
        return np.asarray(patterns(values) << 1 != 0)  # without its sign a zero has no bits
    with np.errstate(invalid="ignore"):  # a signalling NaN is not zero either
        return np.asarray(values != 0)


def moments(values: AnyArray, counts: AnyArray) -> Moments | None:
    """Moments of a tensor in which each value occurs so often; None where they are not finite."""
    if not is_floating(values.dtype):
        return None
    times = counts[counts > 0].astype(np.float64)
    with np.errstate(all="ignore"):  # what is not finite is found below
        wide = values[counts > 0].astype(np.float64)
        terms = times * wide, times * wide * wide
    if not all(np.isfinite(term).all() for term in terms):
        return None
    try:
        return Moments(*(math.fsum(term) for term in terms))
    except OverflowError:
        return None
