"""Sharing by a trellis whose half step differs from one class of rows to the next.

Rows in which errors count for more have finer steps. One trellis runs through all rows, on weights
in steps of their own: a bit saves as much there as anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ...weights import Weights
from ...wire import trellis_states
from ...wire.arrays import AnyArray
from ...wire.codebook import MAX_LEVELS
from ...wire.row_classes import Runs
from ...wire.trellis_states import DEFAULT_STATES
from ..shared_tensor import SharedTensor
from . import quantize as trellis
from .quantize import SLOPE_FACTOR

Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RowTrellisTensor(SharedTensor):
    """A tensor shared by a trellis with a half step for each class of rows.

    Attributes
    ----------
    steps : float32[classes]
        Half steps.
    runs : Runs
        Rows and their classes.
    states : int
        Of the trellis.
    offsets : int32[classes]
        What leads from an index of a class to the position, in half steps.
    """

    steps: Floats32
    runs: Runs
    states: int
    offsets: npt.NDArray[np.int32]

    @classmethod
    def of(
        cls,
        positions: npt.NDArray[np.int32],
        steps: Floats32,
        classes: npt.NDArray[np.uint8],
        states: int,
        dtype: np.dtype[Any],
    ) -> Self:
        """From the positions of int32[rows, n] and the class of each row.

        Raises ValueError if the steps have more than 65,536 multiples between the least and the
        greatest in use.
        """
        least, greatest = _ranges(positions, classes, steps.size)
        ends = np.cumsum(greatest - least + 1)
        if ends[-1] > MAX_LEVELS:
            raise ValueError(f"steps with {ends[-1]} multiples, over {MAX_LEVELS}")
        offsets = (greatest + 1 - ends).astype(np.int32)
        indices = (positions - offsets[classes][:, None]).astype(
            np.uint8 if ends[-1] <= 256 else np.uint16
        )
        parts = [
            trellis_states.values_at(np.arange(low, high + 1), step, dtype)
            for low, high, step in zip(
                least.tolist(), greatest.tolist(), steps.tolist(), strict=True
            )
        ]
        return cls(
            indices.reshape(-1),
            np.concatenate(parts),
            False,
            steps=steps,
            runs=Runs(positions.shape[1], classes),
            states=states,
            offsets=offsets,
        )

    @property
    def positions(self) -> npt.NDArray[np.int32]:
        """The weights in half steps of their rows: int32[numel]."""
        rows = self.indices.reshape(-1, self.runs.length).astype(np.int32)
        rows += self.offsets[self.runs.classes][:, None]
        return rows.reshape(-1)


def quantize(
    values: Weights,
    shape: tuple[int, ...],
    steps: Sequence[float],
    classes: npt.NDArray[np.uint8],
    states: int = DEFAULT_STATES,
    dtype: np.dtype[Any] | None = None,
    slope_factor: float = SLOPE_FACTOR,
) -> RowTrellisTensor:
    """Share weights by a trellis; see `trellis.quantize`.

    Parameters
    ----------
    values : float32[numel] or float64[numel]
        Finite; zeros stay zero.
    shape : tuple of int
        For which `stepped.takes_rows`.
    steps : sequence of float
        The half step of each class, which is rounded to float32; the values of its rows lie within
        65,536 of them from zero.
    classes : uint8[rows]
        All of them are used.
    states : int
        One of `trellis.STATES`.
    dtype : dtype or None
        Of the codebook; that of the values if None.
    slope_factor : float
        What a bit may cost, in squared half steps.

    Raises
    ------
    ValueError
        If a step is too small, there is no such trellis, or the steps have more than 65,536
        multiples between the least and the greatest in use.
    """
    half_steps = checked(steps)
    scaled = in_steps(values.reshape(shape[0], -1), half_steps, classes)
    positions = trellis.positions_of(scaled.reshape(-1), shape, 1.0, states, slope_factor)
    return RowTrellisTensor.of(
        positions.reshape(scaled.shape),
        half_steps,
        classes,
        states,
        np.dtype(dtype or values.dtype),
    )


def checked(steps: Sequence[float]) -> Floats32:
    """Half steps as a file holds them. Raises ValueError unless they are positive and finite."""
    half_steps = np.array(steps, np.float32)
    if not np.all((half_steps > 0) & (half_steps < np.inf)):
        raise ValueError(f"a trellis needs positive steps, not {list(steps)}")
    return half_steps


def in_steps(rows: AnyArray, half_steps: Floats32, classes: npt.NDArray[np.uint8]) -> AnyArray:
    """Rows in half steps of their own."""
    with np.errstate(over="ignore"):
        scaled: AnyArray = np.divide(rows, half_steps.astype(rows.dtype)[classes][:, None])
    return scaled


def _ranges(positions: AnyArray, classes: AnyArray, count: int) -> tuple[AnyArray, AnyArray]:
    """The least and the greatest position of each class, int64[count]."""
    least, greatest = np.zeros((2, count), np.int64)
    np.minimum.at(least, classes, positions.min(axis=1))
    np.maximum.at(greatest, classes, positions.max(axis=1))
    return least, greatest
