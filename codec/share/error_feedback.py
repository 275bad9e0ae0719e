"""Error compensation: columns that are still to be quantized make up for those that are.

Column by column, weights are put on the grid, and the error is passed on to the columns after it
in the way that moves the layer's output least: optimal brain surgery (Hassibi and Stork 1993) for
quantization (Frantar and Alistarh 2022), by the Cholesky factor of the inverse second moments and
in blocks (GPTQ: Frantar et al. 2023). Weights that are pruned are put at zero in the same way
(SparseGPT: Frantar and Alistarh 2023). A weight goes to that of two levels that has the least
squared error + slope x bits, where the error counts as far as later columns cannot make up for it.

The linear algebra is the machine's own: the file that comes of it may differ from one machine to
the next in its last bits, which decoding never sees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..calibration.sensitivity import Factor, Floats32, group_slices
from ..kernels import levels as kernels
from ..weights import Weights
from ..wire.arrays import AnyArray
from .uniform import SLOPE_FACTOR, GridTensor
from .uniform_per_row import SteppedTensor, books_of, class_of_rows

COLUMNS = 64
# Rows at a time: they have nothing to do with each other, and take memory.
ROWS = 1 << 12
# What a level that did not occur counts as having occurred.
UNSEEN = 0.5

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Levels:
    """What the rows of a tensor can be put on.

    Attributes
    ----------
    step : float32[rows]
    lowest, highest : float32[rows]
        Levels, in steps.
    start : int64[rows]
        Where level 0 of the row's class is in the tables.
    values, prices : float32 tables
        What a level stands for, in steps, and what it costs: slope x bits over step**2.
    first : int64[rows]
        Index of the codebook of level 0.
    """

    step: Floats32
    lowest: Floats32
    highest: Floats32
    start: Integers
    values: Floats32
    prices: Floats32
    first: Integers


def compensate(
    tensor: GridTensor | SteppedTensor,
    values: Weights,
    shape: tuple[int, ...],
    factors: tuple[Factor, ...],
    pruned: AnyArray | None = None,
) -> GridTensor | SteppedTensor:
    """The same grids and classes, with indices by which errors make up for each other.

    Parameters
    ----------
    tensor : GridTensor or SteppedTensor
        The weights as they are put on the grid one by one.
    values : float32[numel] or float64[numel]
    shape : tuple of int
    factors : tuple of Factor
        One for each group of rows.
    pruned : bool[numel], optional
        Where zero has to stay.
    """
    rows = values.reshape(shape[0], -1)
    levels = _levels(tensor, shape[0])
    found = np.empty(rows.shape, tensor.indices.dtype)
    masks = None if pruned is None else pruned.reshape(rows.shape)
    for group, factor in zip(group_slices(shape[0], len(factors)), factors, strict=True):
        for start in range(group.start, group.stop, ROWS):
            own = slice(start, min(start + ROWS, group.stop))
            mask = None if masks is None else masks[own]
            found[own] = _quantize(rows[own], _part(levels, own), factor, mask)
    return dataclasses.replace(tensor, indices=found.reshape(-1))


def _levels(tensor: GridTensor | SteppedTensor, rows: int) -> _Levels:
    books, book_of = books_of(tensor)
    runs, levels = tensor.runs, tensor.codebook.size
    counts = kernels.count_runs(tensor.indices, runs.length, runs.groups, runs.count, levels)
    total = counts.sum(axis=1, keepdims=True) + UNSEEN * levels
    prices = SLOPE_FACTOR * (np.log2(total) - np.log2(counts + UNSEEN))
    classes = class_of_rows(runs, rows).astype(np.int64)
    starts = np.cumsum([0, *(book.levels for book in books)])
    book = np.array(book_of)[classes]
    lowest = np.array([b.lowest for b in books])[book]
    highest = lowest + np.array([b.levels for b in books])[book] - 1
    first = starts[book] - lowest
    steps = np.repeat([b.step for b in books], [b.levels for b in books])
    table = tensor.codebook.astype(np.float64) / steps
    return _Levels(
        np.array([b.step for b in books], np.float32)[book],
        lowest.astype(np.float32),
        highest.astype(np.float32),
        classes * levels + first,
        np.tile(table, runs.count).astype(np.float32),
        prices.reshape(-1).astype(np.float32),
        first,
    )


def _part(levels: _Levels, own: slice) -> _Levels:
    """The levels of some of the rows."""
    return dataclasses.replace(
        levels,
        **{
            name: getattr(levels, name)[own]
            for name in ("step", "lowest", "highest", "start", "first")
        },
    )


def _quantize(rows: Weights, levels: _Levels, factor: Factor, pruned: AnyArray | None) -> AnyArray:
    """Indices of one group: int64[rows, n]."""
    left = np.ascontiguousarray((rows / levels.step[:, None])[:, factor.order].T, np.float32)
    masks = None if pruned is None else np.ascontiguousarray(pruned[:, factor.order].T)
    found = np.empty(left.shape, np.int64)
    weights = factor.weights.astype(np.float32)

    def quantize(column: int) -> AnyArray:
        mask = None if masks is None else masks[column]
        level = _nearest(left[column], levels, weights[column], mask)
        found[column] = level
        chosen: AnyArray = levels.values[levels.start + level]
        return chosen

    pass_errors_on(left, factor, quantize)
    result = np.empty((left.shape[1], len(left)), np.int64)
    result[:, factor.order] = (found + levels.first).T
    return result


def pass_errors_on(left: Floats32, factor: Factor, quantize: Callable[[int], AnyArray]) -> None:
    """Quantize columns one by one; those behind each make up for its error.

    Parameters
    ----------
    left : float32[n, rows]
        The columns in the factor's order; changed in place as they take errors up.
    factor : Factor
    quantize : callable
        Given a column's number in that order, what stands in place of `left` there: array[rows].
    """
    for start in range(0, len(left), COLUMNS):
        stop = min(start + COLUMNS, len(left))
        errors = np.empty((stop - start, left.shape[1]), np.float32)
        upper = factor.upper[start:stop, start:]
        for at, column in enumerate(range(start, stop)):
            errors[at] = (left[column] - quantize(column)) / upper[at, at]
            left[column + 1 : stop] -= np.outer(upper[at, at + 1 : stop - start], errors[at])
        left[stop:] -= upper[:, stop - start :].T @ errors


def _nearest(x: Floats32, levels: _Levels, weight: np.float32, pruned: AnyArray | None) -> Integers:
    """For each row the level of least cost: the nearest one, or its neighbour towards zero."""
    near = np.clip(np.rint(x), levels.lowest, levels.highest)
    lower = np.clip(near - np.sign(near), levels.lowest, levels.highest)
    near_at = levels.start + near.astype(np.int64)
    lower_at = levels.start + lower.astype(np.int64)
    cost = weight * np.square(x - levels.values[near_at]) + levels.prices[near_at]
    other = weight * np.square(x - levels.values[lower_at]) + levels.prices[lower_at]
    level = np.where(other < cost, lower, near).astype(np.int64)
    return level if pruned is None else np.where(pruned, 0, level)
