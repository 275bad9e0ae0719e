"""What the curves of tensors tell of a model before anything is coded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..calibration.sensitivity import Floats
from . import rd_curve
from .rd_curve import Curve
from .target import Outcome


class Forecast:
    """The curves of a model's tensors, cut at slopes that follow one for all.

    Parameters
    ----------
    curves : mapping from int to Curve
        By the tensors' places; at least one.
    importances, weights : sequence of float
        For each place what a squared error counts for where slopes are found, and in the sum.
    steepest : mapping from int to float
        The greatest slope that each place may be cut at.
    """

    def __init__(
        self,
        curves: Mapping[int, Curve],
        importances: Sequence[float],
        weights: Sequence[float],
        steepest: Mapping[int, float],
    ) -> None:
        self.places = list(curves)
        self._curves = rd_curve.Curves(list(curves.values()))
        self._importances = np.array([importances[place] for place in curves])
        self._weights = np.array([weights[place] for place in curves])
        self._steepest = np.array([steepest[place] for place in curves])

    def outcome(self, slope: float) -> Outcome:
        """Size and error of the model."""
        bits, errors = self._cut(slope)
        error = math.fsum((self._weights * errors).tolist())
        return Outcome(round(math.fsum(bits.tolist()) / 8), error)

    def counted_error(self, slope: float, chosen: slice) -> float:
        """Of some of the `places`."""
        return math.fsum((self._weights * self._cut(slope)[1])[chosen].tolist())

    def _cut(self, slope: float) -> tuple[Floats, Floats]:
        return self._curves.at(np.minimum(slope / self._importances, self._steepest))
