"""What errors in each tensor count for, told from the checkpoint alone.

Noise passes through a network in relative terms: a layer whose weights are off by a thousandth of
their energy gives outputs that are off by a thousandth of theirs, whatever the scale of either, and
the layers after it hand that thousandth on. So the error that is counted is the mean of the
tensors' relative errors, weighted by their roles (`roles.py`); a tensor's own is told against the
spread of its weights (`spread.py`). What is no weight is kept as it is (`recognition.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..calibration.sensitivity import Metric
from ..kernels import weight_arguments
from ..weights import Weights
from .roles import Tied, weights_of
from .spread import CLIPPED_ROW, Floats, Spread, spread_of


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A tensor of weights, as the counting sees it.

    Attributes
    ----------
    name : str
    shape : tuple of int
    spread : Spread
    """

    name: str
    shape: tuple[int, ...]
    spread: Spread

    @classmethod
    def of(
        cls, name: str, shape: tuple[int, ...], values: Weights, summary: weight_arguments.Summary
    ) -> Measured:
        """Measure finite weights, of which there is one at least."""
        rows = shape[0] if len(shape) > 1 else 1
        return cls(name, shape, spread_of(values, rows, summary))


def metrics_of(
    measured: Sequence[Measured], tied: Tied, gains: Mapping[str, float]
) -> dict[str, Metric]:
    """What errors in each tensor of a checkpoint count for; together they are 1 where all is lost.

    Parameters
    ----------
    measured : sequence of Measured
        All tensors whose weights may be changed.
    tied : mapping from a tensor's name to the other names that it is used under
    gains : mapping from a tensor's name to float
        See `weights_of`.
    """
    shapes = {tensor.name: tensor.shape for tensor in measured}
    weights = weights_of(shapes, tied, gains)
    return {
        tensor.name: Metric(
            weights[tensor.name] * row_importances(tensor.spread), whole=weights[tensor.name]
        )
        for tensor in measured
    }


def row_importances(spread: Spread) -> Floats:
    """What a squared error in each row adds to a tensor's relative error: float64[rows].

    One number where rows count alike. A row with much more energy than the others counts as if it
    had `CLIPPED_ROW` times theirs.
    """
    most = CLIPPED_ROW * spread.usual_row
    if spread.rows.max() <= most:
        return np.array([1 / spread.energy])
    return np.asarray(np.minimum(1.0, most / spread.rows) / spread.energy)
