"""Counting what each tensor of a frame holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import CorruptError
from ..kernels import coding
from ..wire.arrays import AnyArray, Member, part, split
from ..wire.codebook import Code
from ..wire.segments import Offsets
from .description import Moments, count_nonzero, moments


def nonzero_by_member(
    indices: AnyArray, members: Sequence[Member], books: Sequence[AnyArray]
) -> tuple[int, ...]:
    """Elements of each member that are not zero. Raises CorruptError past a codebook's end."""
    counts = occurrences_by_member(indices, members, books)
    return tuple(count_nonzero(*pair) for pair in zip(books, counts, strict=True))


def moments_by_member(
    indices: AnyArray, members: Sequence[Member], books: Sequence[AnyArray]
) -> tuple[Moments | None, ...]:
    """Moments of each member. Raises CorruptError for an index past its codebook's end."""
    counts = occurrences_by_member(indices, members, books)
    return tuple(moments(*pair) for pair in zip(books, counts, strict=True))


def occurrences_by_member(
    indices: AnyArray, members: Sequence[Member], books: Sequence[AnyArray]
) -> list[Offsets]:
    """How often each member has each entry of its codebook. Raises CorruptError past its end."""
    parts = zip(split(indices, members), books, strict=True)
    return [_occurrences(part, book) for part, book in parts]


@dataclass(slots=True)
class Census:
    """Counts what a frame holds piece by piece, so that never all of it is in memory.

    Attributes
    ----------
    symbols : list of int64[alphabet], one for each code
    entries : list of int64[levels], one for each member
    """

    symbols: list[Offsets]
    entries: list[Offsets]

    @classmethod
    def of(cls, codes: Sequence[Code], books: Sequence[AnyArray]) -> Census:
        """Nothing counted yet."""
        return cls(
            [np.zeros(code.lengths.size, np.int64) for code in codes],
            [np.zeros(book.size, np.int64) for book in books],
        )

    def add_symbols(self, symbols: Sequence[AnyArray]) -> None:
        """Count symbols of each code."""
        for counts, values in zip(self.symbols, symbols, strict=True):
            counts += coding.count_symbols(values, counts.size)

    def add_indices(
        self, indices: AnyArray, members: Sequence[Member], books: Sequence[AnyArray]
    ) -> None:
        """Count codebook entries. Raises CorruptError for an index past its codebook's end."""
        found = occurrences_by_member(indices, part(members, indices.size), books)
        for counts, own in zip(self.entries, found, strict=True):
            counts += own


def _occurrences(indices: AnyArray, book: AnyArray) -> Offsets:
    if indices.size == 0:  # then the codebook may be empty too
        return np.zeros(book.size, np.int64)
    try:
        return coding.count_symbols(indices.astype(np.uint16, copy=False), book.size)
    except ValueError:
        raise CorruptError(f"index in a codebook of {book.size} levels is past its end") from None
