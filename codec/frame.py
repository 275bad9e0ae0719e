"""What passes between the coders and the container: shared tensors, frames and their decoders.

A frame is one or more tensors of one dtype, laid end to end as one flat array and coded together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import ml_dtypes
import numpy as np
import numpy.typing as npt

from dcz.codec.entropy import StreamStatistics
from dcz.codec.kernels import Digests as Digests

AnyArray = npt.NDArray[Any]

# A frame of several tensors is decoded whole for any of them, so it stays small.
MAX_GROUP = 65536
# One of mixed contexts may take long, but not more than a blink of an eye.
MAX_MIXED_GROUP = 1 << 19

# Dtypes whose only zeros are a word without bits and one with nothing but the sign.
_SIGNED_ZEROS = {np.dtype(t) for t in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)}
_PIECE = 1 << 16
_UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}

PARTS = ("indices", "gaps", "tables", "codebooks", "lossless")


@dataclass(frozen=True, slots=True)
class Member:
    """One tensor of a frame: its dtype, its number of elements, and its shape where that counts."""

    dtype: np.dtype[Any]
    numel: int
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SharedTensor:
    """A tensor after weight sharing.

    Attributes
    ----------
    indices : uint8[numel] or uint16[numel]
        For each weight, in C order, its entry of the codebook.
    codebook : array[levels], the tensor's own dtype
        The shared values.
    has_zero : bool
        Whether entry 0 of the codebook is the zero of the pruned positions.
    """

    indices: AnyArray
    codebook: AnyArray
    has_zero: bool

    @property
    def member(self) -> Member:
        """The tensor as a member of a frame."""
        return Member(self.codebook.dtype, self.indices.size)


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


@dataclass(frozen=True, slots=True)
class Frame:
    """Coded bytes.

    Attributes
    ----------
    coder : int
        Which coder reads the payload, a key of `coders.CODERS`.
    payload : bytes or memoryview
        The coded bytes.
    described : Description or callable
        The description, or what makes it: few of the frames that are tried come to be written.
    least_dense : int
        Bytes that dense coding takes at least, also beside other tensors; 0 where not known.
    """

    coder: int
    payload: bytes | memoryview
    described: Described
    least_dense: int = 0

    @property
    def description(self) -> Description:
        """The same that a decoder of the payload gives."""
        return description_of(self.described)


def description_of(described: Described) -> Description:
    """The description, made if it has to be."""
    return described if isinstance(described, Description) else described()


class FrameDecoder(Protocol):
    """A parsed and validated frame, ready to decode any of its units, from any thread.

    Attributes
    ----------
    unit : int
        Decoding starts at multiples of this many elements.
    """

    unit: int

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode elements start to stop of the frame's flat array.

        Parameters
        ----------
        start, stop : int
            A multiple of `unit`; a multiple of `unit` or the frame's end.
        out : array[stop - start] of the frame's dtype
            Receives the elements.
        digests : uint64[digest_count(out.nbytes)], optional
            Receives the digest of each chunk of `out`; see `kernels.write_digests`.

        Raises
        ------
        CorruptError
            If the coded bytes break the format.
        """


@dataclass(slots=True)
class Parts:
    """Counts a payload's bytes by what they are for."""

    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))

    def add(self, part: str, size: int) -> None:
        """Count `size` more bytes for `part`."""
        self.sizes[part] += size


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is a real floating-point one that can hold weights.

    Those of ml_dtypes are, but for float8_e8m0fnu: its powers of two only scale weights.
    """
    if dtype.kind == "f":
        return True
    name = dtype.name
    return dtype.kind == "V" and name.startswith(("bfloat", "float")) and name != "float8_e8m0fnu"


def numel(members: Sequence[Member]) -> int:
    """Elements of all members together."""
    return sum(member.numel for member in members)


def patterns(array: AnyArray) -> AnyArray:
    """The array's elements as unsigned integers of the same size, without a copy."""
    return array.view(_UNSIGNED[array.dtype.itemsize])


def part(members: Sequence[Member], count: int) -> Sequence[Member]:
    """The members that `count` decoded elements belong to: a frame of several comes whole."""
    return members if len(members) > 1 else [Member(members[0].dtype, count)]


def split(flat: AnyArray, members: Sequence[Member]) -> list[AnyArray]:
    """Each member's part of a frame's flat array."""
    ends = np.cumsum([member.numel for member in members])
    return np.split(flat, ends[:-1])


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
