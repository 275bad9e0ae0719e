"""A tensor after weight sharing, and tensors whose values are few already."""

from __future__ import annotations

from dataclasses import dataclass

from ..kernels import weights
from ..wire.arrays import AnyArray, Member, patterns


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


ALREADY_SHARED = 256


def already_shared(array: AnyArray, limit: int) -> SharedTensor | None:
    """The tensor as it is, if it holds at most `limit` different bit patterns, else None.

    Exact for every dtype of 1, 2, 4 or 8 bytes. None too where the values are few only because
    the tensor is small: fewer than two weights to a value.
    """
    return by_values(array, min(limit, array.size // 2))


def by_values(array: AnyArray, limit: int) -> SharedTensor | None:
    """The same, however few weights there are to a value."""
    if array.dtype.itemsize not in (1, 2, 4, 8) or array.size == 0:
        return None
    flat = patterns(array.reshape(-1))
    values = weights.distinct(flat, limit)
    if values is None:
        return None
    indices = weights.lookup(flat, values)
    return SharedTensor(indices, values.view(array.dtype), has_zero=int(values[0]) == 0)
