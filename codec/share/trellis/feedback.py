"""Error compensation along a trellis: columns that are still to be quantized make up for others.

As in `compensate`, a layer's columns are quantized one by one, those with the largest moments
first, and the error of each is passed on. Errors within a column do not touch each other: a path
through a trellis leads from row to row. It ends where it began, so that the file may have the
columns in their own order, whatever the one in which they were quantized.

The linear algebra is the machine's own; see `compensate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...calibration.sensitivity import Factor, Floats32, group_slices
from ...kernels import levels as kernels
from ...kernels.reference.decode import mixing
from ...weights import Weights
from ...wire import trellis_states
from ...wire.arrays import AnyArray
from ...wire.codebook import MAX_LEVELS
from ...wire.trellis_states import CHUNK, Floats
from ..error_feedback import pass_errors_on
from . import per_row
from . import quantize as trellis
from .per_row import RowTrellisTensor
from .quantize import SLOPE_FACTOR, TrellisTensor

# Paths that end where they began gain nothing in shorter columns.
FEWEST_ROWS = 32


@dataclass(frozen=True, slots=True)
class ColumnTrellisTensor(TrellisTensor):
    """A tensor shared by a trellis that runs through its columns, one after the other.

    Attributes
    ----------
    rows : int
        All that has one first index is a row.
    """

    rows: int

    @property
    def positions_by_columns(self) -> npt.NDArray[np.int32]:
        """The weights in half steps, column after column: int32[numel]."""
        return _by_columns(self.positions, self.rows)


@dataclass(frozen=True, slots=True)
class ColumnRowTrellisTensor(RowTrellisTensor):
    """The same with a half step for each class of rows."""

    @property
    def rows(self) -> int:
        """All that has one first index is a row."""
        return self.runs.classes.size

    @property
    def positions_by_columns(self) -> npt.NDArray[np.int32]:
        """The weights in half steps of their rows, column after column: int32[numel]."""
        return _by_columns(self.positions, self.rows)


def _by_columns(positions: npt.NDArray[np.int32], rows: int) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(positions.reshape(rows, -1).T).reshape(-1)


def takes_columns(shape: tuple[int, ...], groups: int) -> bool:
    """Whether columns are long enough for a trellis, and not too long for a file."""
    return FEWEST_ROWS * groups <= shape[0] <= mixing.ROW_LIMIT


@dataclass(frozen=True, slots=True)
class Compensation:
    """How errors make up for each other.

    Attributes
    ----------
    states : int
        One of `trellis.STATES`.
    factors : tuple of Factor
        One for each group of rows.
    pruned : bool[numel] or None
        Where zero has to stay.
    """

    states: int
    factors: tuple[Factor, ...]
    pruned: AnyArray | None = None

    def positions(self, matrix: Floats32, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
        """The positions of weights in half steps: int32[rows, n] of float32[rows, n].

        Raises ValueError if the steps are too small.
        """
        classes, rates = trellis.rates_of(matrix.reshape(-1), shape, 1.0, self.states, SLOPE_FACTOR)
        classes = classes.reshape(matrix.shape)
        kept = np.ones(matrix.shape, np.bool_)
        if self.pruned is not None:
            kept = ~self.pruned.reshape(matrix.shape)
        positions = np.empty(matrix.shape, np.int32)
        groups = group_slices(shape[0], len(self.factors))
        for own, factor in zip(groups, self.factors, strict=True):
            group = _Group(kept[own], classes[own], rates, self.states, own.start, shape[0])
            positions[own] = _quantize(matrix[own], group, factor)
        return positions


def quantize(
    values: Weights,
    shape: tuple[int, ...],
    step: float,
    compensation: Compensation,
    dtype: np.dtype[Any],
) -> ColumnTrellisTensor:
    """Share weights by a trellis; errors make up for each other.

    Parameters
    ----------
    values : float32[numel] or float64[numel]
        Finite.
    shape : tuple of int
        For which `takes_columns`.
    step : float
        The half step, a positive float32.
    compensation : Compensation
    dtype : dtype
        Of the codebook.

    Raises
    ------
    ValueError
        If the step is too small.
    """
    matrix = np.asarray(values.reshape(shape[0], -1) / np.float64(step), np.float32)
    positions = compensation.positions(matrix, shape)
    lowest = int(positions.min(initial=0))
    levels = int(positions.max(initial=0)) - lowest + 1
    if levels > MAX_LEVELS:
        raise ValueError(f"a step with {levels} multiples, over {MAX_LEVELS}")
    return ColumnTrellisTensor(
        (positions - lowest).astype(np.uint8 if levels <= 256 else np.uint16).reshape(-1),
        trellis_states.values_at(np.arange(lowest, lowest + levels), step, dtype),
        False,
        step=step,
        states=compensation.states,
        lowest=lowest,
        rows=shape[0],
    )


def quantize_by_rows(
    values: Weights,
    shape: tuple[int, ...],
    steps: Sequence[float],
    classes: npt.NDArray[np.uint8],
    compensation: Compensation,
    dtype: np.dtype[Any],
) -> ColumnRowTrellisTensor:
    """The same with a half step for each class of rows.

    Parameters
    ----------
    values : float32[numel] or float64[numel]
        Finite.
    shape : tuple of int
        For which `takes_columns` and `stepped.takes_rows`.
    steps : sequence of float
        The half step of each class.
    classes : uint8[rows]
        All of them are used.
    compensation : Compensation
    dtype : dtype
        Of the codebook.

    Raises
    ------
    ValueError
        If a step is too small, or no positive float32.
    """
    half_steps = per_row.checked(steps)
    matrix = per_row.in_steps(values.reshape(shape[0], -1), half_steps, classes)
    positions = compensation.positions(np.asarray(matrix, np.float32), shape)
    return ColumnRowTrellisTensor.of(positions, half_steps, classes, compensation.states, dtype)


@dataclass(frozen=True, slots=True)
class _Group:
    """What some rows of a tensor are quantized by.

    Attributes
    ----------
    kept : bool[rows, n]
        Where weights need not be zero.
    classes : uint8[rows, n]
    rates : float64 table
        As `kernels.quantize_trellis` has them.
    states : int
    first, height : int
        Number of the first of them, and rows of the tensor.
    """

    kept: npt.NDArray[np.bool_]
    classes: npt.NDArray[np.uint8]
    rates: Floats
    states: int
    first: int
    height: int

    def positions(self, left: Floats32, column: int, weight: float) -> npt.NDArray[np.int32]:
        """The positions of a column where errors count for so much: int32[rows]."""
        values = np.where(self.kept[:, column], left, np.float32(0))
        classes = np.ascontiguousarray(self.classes[:, column])
        rates = self.rates / weight
        # At the start of a chunk the file's trellis begins anew.
        cut = -(column * self.height + self.first) % CHUNK
        parts = [slice(0, cut), slice(cut, None)] if 0 < cut < left.size else [slice(None)]
        return np.concatenate(
            [
                kernels.quantize_trellis(
                    values[part], 1.0, self.states, classes[part], rates, closed=True
                )[0]
                for part in parts
            ]
        )


def _quantize(rows: Floats32, group: _Group, factor: Factor) -> npt.NDArray[np.int32]:
    """Positions of one group: int32[rows, n]."""
    left = np.ascontiguousarray(rows[:, factor.order].T)
    found = np.empty(rows.shape, np.int32)
    weights = factor.weights

    def quantize_column(column: int) -> npt.NDArray[np.int32]:
        place = int(factor.order[column])
        positions = group.positions(left[column], place, float(weights[column]))
        found[:, place] = positions
        return positions

    pass_errors_on(left, factor, quantize_column)
    return found
