"""A grid whose step differs from one class of rows to the next.

Rows in which errors count for more have a finer grid. The codebook holds the classes' grids one
after the other, and each class of the code uses its own part: decoding knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from ..weights import Weights
from ..wire.code_table import MAX_ALPHABET
from ..wire.grid_book import GridBook
from ..wire.row_classes import BLOCK, MAX_CLASSES, MIN_LENGTH, Runs
from . import uniform
from .shared_tensor import SharedTensor
from .uniform import GridTensor


@dataclass(frozen=True, slots=True)
class SteppedTensor(SharedTensor):
    """A tensor shared by grids of several steps.

    Attributes
    ----------
    books : tuple of GridBook
        What the codebook consists of, one after the other.
    runs : Runs
        Rows and their classes.
    book_of : tuple of int
        The book of each class.
    """

    books: tuple[GridBook, ...]
    runs: Runs
    book_of: tuple[int, ...]


def takes_rows(shape: tuple[int, ...]) -> bool:
    """Whether a tensor's rows may be put into classes."""
    length = int(np.prod(shape[1:], dtype=np.int64))
    return len(shape) > 1 and MIN_LENGTH <= length <= BLOCK


def quantize(
    values: Weights,
    shape: tuple[int, ...],
    steps: Sequence[float],
    classes: npt.NDArray[np.uint8],
    dtype: np.dtype[Any],
) -> SteppedTensor:
    """Share weights by a grid for each class of rows; see `grid.quantize`.

    Parameters
    ----------
    values : float32[numel] or float64[numel]
    shape : tuple of int
        For which `takes_rows`.
    steps : sequence of float
        One for each class.
    classes : uint8[rows]
    dtype : dtype
        Of the codebook.

    Raises
    ------
    RecipeError
        If the grids have more than 4,096 levels in all, or a step has no size.
    """
    rows = values.reshape(shape[0], -1)
    most = MAX_CLASSES // len(steps)
    parts = [
        uniform.quantize(
            rows[classes == number].reshape(-1),
            (int(np.count_nonzero(classes == number)), *shape[1:]),
            step,
            dtype=dtype,
            most_classes=most,
        )
        for number, step in enumerate(steps)
    ]
    starts = np.cumsum([0, *(part.book.levels for part in parts)])
    if starts[-1] > MAX_ALPHABET:
        raise RecipeError(f"grids of {starts[-1]} levels, over {MAX_ALPHABET}")
    indices = np.empty(rows.shape, np.uint8 if starts[-1] <= 256 else np.uint16)
    found = np.empty(shape[0], np.uint8)
    book_of: list[int] = []
    for number, part in enumerate(parts):
        own = classes == number
        indices[own] = part.indices.reshape(-1, rows.shape[1]) + starts[number].astype(
            indices.dtype
        )
        found[own] = len(book_of) + class_of_rows(part.runs, int(np.count_nonzero(own)))
        book_of += [number] * part.runs.count
    return SteppedTensor(
        indices.reshape(-1),
        np.concatenate([part.codebook for part in parts]),
        False,
        books=tuple(part.book for part in parts),
        runs=Runs(rows.shape[1], found),
        book_of=tuple(book_of),
    )


def class_of_rows(runs: Runs, rows: int) -> npt.NDArray[np.uint8]:
    """The class of each row, also where the runs are longer, which are all of one class then."""
    return runs.classes if runs.count > 1 else np.zeros(rows, np.uint8)


def books_of(tensor: GridTensor | SteppedTensor) -> tuple[tuple[GridBook, ...], tuple[int, ...]]:
    """The books of a tensor, and which of them each class uses."""
    if isinstance(tensor, SteppedTensor):
        return tensor.books, tensor.book_of
    return (tensor.book,), (0,) * tensor.runs.count
