"""Sizes at equal error: points of a rate-distortion curve, and bytes between two of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_POINTS = 30
FARTHEST = 1e3


@dataclass(frozen=True, slots=True)
class Point:
    """Bytes, and the relative squared error sum (w - w')^2 / sum w^2 that they leave."""

    bytes: int
    error: float


@dataclass(frozen=True, slots=True)
class Bracket:
    """The neighbouring points on both sides of an error, and the steps that gave them.

    Attributes
    ----------
    finer, coarser : Point
        With at most, and with at least, the error that was asked for.
    step : int
        The step that gave `finer`; the next one gave `coarser`.
    """

    finer: Point
    coarser: Point
    step: int

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> Bracket:
        """From its fields by name."""
        return cls(Point(**figures["finer"]), Point(**figures["coarser"]), figures["step"])

    def bytes_at(self, error: float) -> float:
        """Return the bytes at an error: log bytes are straight in log error between the points."""
        if self.finer.error == self.coarser.error:
            return float(min(self.finer.bytes, self.coarser.bytes))
        low, high, wanted = map(math.log, (self.finer.error, self.coarser.error, error))
        share = (wanted - low) / (high - low)
        ratio = self.coarser.bytes / self.finer.bytes
        return float(self.finer.bytes * ratio**share)


def bracket(measure: Callable[[int], Point], error: float, start: int, growth: float) -> Bracket:
    """Find the two neighbouring steps with at most, and with more than, an error.

    Parameters
    ----------
    measure : callable
        Gives the point at a whole step; a greater step gives a greater error.
    error : float
    start : int
        The step to begin at.
    growth : float
        By how much a step multiplies the error, about.

    Raises
    ------
    ValueError
        If the error is not reached.
    """
    finer: dict[int, Point] = {}
    coarser: dict[int, Point] = {}
    step = start
    for _ in range(MOST_POINTS):
        found = measure(step)
        (finer if found.error <= error else coarser)[step] = found
        if not finer or not coarser:
            step += _steps_ahead(error / max(found.error, error / FARTHEST), growth)
            continue
        low, high = max(finer), min(coarser)
        if high - low == 1:
            return Bracket(finer[low], coarser[high], low)
        span = math.log(coarser[high].error / max(finer[low].error, error / FARTHEST))
        share = math.log(error / max(finer[low].error, error / FARTHEST)) / span
        step = min(max(round(low + share * (high - low)), low + 1), high - 1)
    raise ValueError(f"no points on both sides of an error of {error:g}")


def _steps_ahead(ratio: float, growth: float) -> int:
    """Steps that multiply an error by a ratio, but one at least."""
    steps = round(math.log(ratio) / math.log(growth))
    return steps or (1 if ratio >= 1 else -1)
